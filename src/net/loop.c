/* loop.c - one epoll instance, one wheel, one mailbox.
 *
 *      wait -> mail -> events -> timers -> tasks -> hooks -> wait ...
 *
 * The wait is as long as the next timer allows; it is nothing when a task or hook asked for another, and the
 * mailbox is asked last whether sleeping is safe (mailbox.c says why that loses no wake-up).
 *
 * loop_remove() during a batch of events: the events of that io still ahead in the batch are struck out, so
 * whoever removed it may free it.
 *
 * Busy time is all time outside of epoll_wait().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/loop.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/mem.h"

enum { EVENTS_MAX = 512, MAIL_BATCH = 256 };

struct tasks {
    struct task **p;
    size_t count, cap;
};

struct loop {
    const struct clock *clock;
    struct mailbox *mailbox;
    struct wheel *wheel;
    size_t mailbox_capacity;
    int epoll_fd;
    uint64_t now_ns;
    struct io mail_io;
    struct tasks tasks; /* asked for, not yet begun */
    struct tasks spare; /* memory of those that ran last */
    struct list hooks;  /* asked for, not yet begun */
    int event_at;       /* [event_at, events_count) of the batch is still to be dispatched */
    int events_count;
    _Atomic int stopped;
    _Atomic uint64_t idle_ns;                 /* time spent waiting */
    _Atomic uint64_t wait_since_ns;           /* 0 = not waiting */
    _Atomic uint64_t asked_ns, asked_idle_ns; /* at the last loop_use() */
    _Atomic uint64_t turns, asked_turns;
    struct epoll_event events[EVENTS_MAX];
};

static void mail_ready(struct io *io, uint32_t events)
{
    /* The wake-up was all; mail is taken in every turn. */
}

struct loop *loop_new(const struct clock *clock, size_t mailbox_capacity_tasks)
{
    struct loop *loop = mem_new(struct loop);
    loop->clock = clock;
    loop->now_ns = clock_mono_ns(clock);
    loop->wheel = wheel_new(loop_now_ms(loop));
    loop->mailbox = mailbox_new(mailbox_capacity_tasks);
    loop->mailbox_capacity = mailbox_capacity_tasks;
    list_init(&loop->hooks);
    atomic_store(&loop->asked_ns, loop->now_ns);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->mail_io = (struct io){mailbox_fd(loop->mailbox), mail_ready};
    if (loop->epoll_fd < 0 || loop_add(loop, &loop->mail_io, EPOLLIN | EPOLLET) != 0) {
        perror("epoll");
        abort();
    }
    return loop;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    close(loop->epoll_fd);
    mailbox_free(loop->mailbox);
    wheel_free(loop->wheel);
    free(loop->tasks.p);
    free(loop->spare.p);
    free(loop);
}

static int control(struct loop *loop, int operation, struct io *io, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = io};
    return epoll_ctl(loop->epoll_fd, operation, io->fd, &event) < 0 ? -errno : 0;
}

int loop_add(struct loop *loop, struct io *io, uint32_t events)
{
    return control(loop, EPOLL_CTL_ADD, io, events);
}

int loop_change(struct loop *loop, struct io *io, uint32_t events)
{
    return control(loop, EPOLL_CTL_MOD, io, events);
}

void loop_remove(struct loop *loop, struct io *io)
{
    control(loop, EPOLL_CTL_DEL, io, 0);
    for (int i = loop->event_at; i < loop->events_count; i++)
        if (loop->events[i].data.ptr == io)
            loop->events[i].data.ptr = NULL;
}

void loop_defer(struct loop *loop, struct task *task)
{
    struct tasks *t = &loop->tasks;
    if (t->count == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 16;
        t->p = mem_realloc(t->p, t->cap * sizeof *t->p);
    }
    t->p[t->count++] = task;
}

void loop_at_end(struct loop *loop, struct turn_hook *hook)
{
    if (!hook->link.next)
        list_append(&loop->hooks, &hook->link);
}

/* How long epoll_wait() may sleep: until the next timer, rounded up to whole milliseconds. */
static int wait_limit_ms(struct loop *loop, uint64_t now_ns, int wait_ms)
{
    if (loop->tasks.count || !list_empty(&loop->hooks) || atomic_load(&loop->stopped))
        return 0;
    uint64_t next_ms = wheel_next_ms(loop->wheel);
    if (next_ms == UINT64_MAX)
        return wait_ms;
    uint64_t limit_ms = next_ms * 1000000u <= now_ns ? 0 : (next_ms * 1000000u - now_ns + 999999u) / 1000000u;
    if (wait_ms >= 0 && limit_ms > (uint64_t)wait_ms)
        return wait_ms;
    return limit_ms > INT_MAX ? INT_MAX : (int)limit_ms;
}

static int poll_events(struct loop *loop, int wait_ms)
{
    int count = epoll_wait(loop->epoll_fd, loop->events, EVENTS_MAX, wait_ms);
    if (count < 0 && errno != EINTR) {
        perror("epoll_wait");
        abort();
    }
    return count < 0 ? 0 : count;
}

static void wait_for_events(struct loop *loop, int wait_ms)
{
    uint64_t before_ns = clock_mono_ns(loop->clock);
    int limit_ms = wait_limit_ms(loop, before_ns, wait_ms);
    if (limit_ms != 0 && !mailbox_sleep(loop->mailbox))
        limit_ms = 0;
    atomic_store_explicit(&loop->wait_since_ns, limit_ms ? before_ns : 0, memory_order_relaxed);
    loop->events_count = poll_events(loop, limit_ms);
    loop->event_at = 0;
    mailbox_awake(loop->mailbox);
    loop->now_ns = clock_mono_ns(loop->clock);
    if (limit_ms == 0)
        return;
    uint64_t idle_ns = atomic_load_explicit(&loop->idle_ns, memory_order_relaxed);
    atomic_store_explicit(&loop->wait_since_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&loop->idle_ns, idle_ns + loop->now_ns - before_ns, memory_order_relaxed);
}

/* At most one mailbox full, so that mail which makes more mail cannot keep the turn from ending. */
static void take_mail(struct loop *loop)
{
    struct task *tasks[MAIL_BATCH];
    for (size_t taken = 0; taken < loop->mailbox_capacity;) {
        size_t count = mailbox_take(loop->mailbox, tasks, MAIL_BATCH);
        for (size_t i = 0; i < count; i++)
            tasks[i]->run(tasks[i]);
        taken += count;
        if (count < MAIL_BATCH)
            break;
    }
}

static void dispatch_events(struct loop *loop)
{
    while (loop->event_at < loop->events_count) {
        struct epoll_event event = loop->events[loop->event_at++];
        struct io *io = event.data.ptr;
        if (!io)
            continue;
        struct io *next = loop->event_at < loop->events_count ? loop->events[loop->event_at].data.ptr : NULL;
        __builtin_prefetch(next);
        io->ready(io, event.events);
    }
    loop->event_at = loop->events_count = 0;
}

static void run_tasks(struct loop *loop)
{
    struct tasks running = loop->tasks;
    if (running.count == 0)
        return;
    loop->tasks = loop->spare;
    loop->tasks.count = 0;
    loop->spare = (struct tasks){0};
    for (size_t i = 0; i < running.count; i++)
        running.p[i]->run(running.p[i]);
    free(loop->spare.p);
    loop->spare = running;
}

static void run_hooks(struct loop *loop)
{
    struct list running;
    list_init(&running);
    list_splice(&running, &loop->hooks);
    for (struct list *link; (link = list_take(&running));) {
        struct turn_hook *hook = list_of(link, struct turn_hook, link);
        hook->link = (struct list){0};
        hook->run(hook);
    }
}

void loop_turn(struct loop *loop, int wait_ms)
{
    wait_for_events(loop, wait_ms);
    uint64_t turns = atomic_load_explicit(&loop->turns, memory_order_relaxed);
    atomic_store_explicit(&loop->turns, turns + 1, memory_order_relaxed);
    take_mail(loop);
    dispatch_events(loop);
    wheel_turn(loop->wheel, loop_now_ms(loop));
    run_tasks(loop);
    run_hooks(loop);
}

void loop_run(struct loop *loop)
{
    while (!atomic_load_explicit(&loop->stopped, memory_order_relaxed))
        loop_turn(loop, -1);
    atomic_store(&loop->stopped, 0);
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stopped, 1);
    ssize_t written = write(mailbox_fd(loop->mailbox), &(uint64_t){1}, sizeof(uint64_t));
    (void)written; /* fails only when the counter is full: then it is readable anyway */
}

struct mailbox *loop_mailbox(struct loop *loop)
{
    return loop->mailbox;
}

struct wheel *loop_wheel(struct loop *loop)
{
    return loop->wheel;
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return loop->now_ns / 1000000u;
}

uint64_t loop_now_ns(const struct loop *loop)
{
    return loop->now_ns;
}

struct loop_use loop_use(struct loop *loop)
{
    uint64_t now_ns = clock_mono_ns(loop->clock);
    uint64_t since_ns = atomic_load_explicit(&loop->wait_since_ns, memory_order_relaxed);
    uint64_t idle_ns = atomic_load_explicit(&loop->idle_ns, memory_order_relaxed);
    uint64_t turns = atomic_load_explicit(&loop->turns, memory_order_relaxed);
    if (since_ns && now_ns > since_ns)
        idle_ns += now_ns - since_ns;
    struct loop_use use = {.all_ns = now_ns - atomic_exchange(&loop->asked_ns, now_ns),
                           .turns = turns - atomic_exchange(&loop->asked_turns, turns)};
    int64_t waited_ns = (int64_t)(idle_ns - atomic_exchange(&loop->asked_idle_ns, idle_ns));
    use.busy_ns = waited_ns < 0 ? use.all_ns : (uint64_t)waited_ns > use.all_ns ? 0 : use.all_ns - (uint64_t)waited_ns;
    return use;
}
