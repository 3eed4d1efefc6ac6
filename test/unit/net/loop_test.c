/* loop_test.c - the turn of a loop: its order, its waiting, its safety.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "net/loop.h"

static struct fixture {
    struct loop *loop;
    struct task mail, task, nested;
    struct timer timer;
    struct turn_hook hook;
    struct io io, other_io;
    char log[256];
} * f;

static void note(const char *what)
{
    size_t used = strlen(f->log);
    snprintf(f->log + used, sizeof f->log - used, "%s%s", used ? " " : "", what);
}

static void on_mail(struct task *task)
{
    note("mail");
}

static void on_task(struct task *task)
{
    note("task");
}

static void on_timer(struct timer *timer)
{
    note("timer");
}

static void on_hook(struct turn_hook *hook)
{
    note("hook");
}

static void on_io(struct io *io, uint32_t events)
{
    note("io");
}

static struct io eventfd_io(void (*ready)(struct io *io, uint32_t events))
{
    return (struct io){eventfd(1, EFD_NONBLOCK), ready};
}

static int setup(void **state)
{
    f = mem_new(struct fixture);
    f->loop = loop_new(&clock_system, 16);
    f->mail.run = on_mail;
    f->task.run = on_task;
    f->timer.fire = on_timer;
    f->hook.run = on_hook;
    return 0;
}

static int teardown(void **state)
{
    loop_free(f->loop);
    free(f);
    return 0;
}

static void a_turn_goes_mail_events_timers_tasks_hooks(void **state)
{
    f->io = eventfd_io(on_io);
    loop_at_end(f->loop, &f->hook);
    loop_at_end(f->loop, &f->hook);
    loop_defer(f->loop, &f->task);
    wheel_set(loop_wheel(f->loop), &f->timer, 0);
    assert_int_equal(loop_add(f->loop, &f->io, EPOLLIN | EPOLLET), 0);
    mailbox_post(loop_mailbox(f->loop), &f->mail);

    loop_turn(f->loop, -1);

    assert_string_equal(f->log, "mail io timer task hook");
    close(f->io.fd);
}

static void defer_again(struct task *task)
{
    note("first");
    loop_defer(f->loop, &f->task);
    loop_at_end(f->loop, &f->hook);
}

/* Otherwise two tasks that ask for each other would stop the world. */
static void what_a_task_defers_comes_in_the_next_turn_without_waiting(void **state)
{
    f->nested.run = defer_again;
    loop_defer(f->loop, &f->nested);
    loop_turn(f->loop, -1);
    assert_string_equal(f->log, "first hook");
    loop_turn(f->loop, -1);
    assert_string_equal(f->log, "first hook task");
}

static void remove_both(struct io *io, uint32_t events)
{
    note("remover");
    loop_remove(f->loop, &f->io);
    loop_remove(f->loop, &f->other_io);
}

/* Its event is already in our hands, and its memory may be gone. */
static void a_removed_io_gets_no_event_of_the_same_batch(void **state)
{
    f->io = eventfd_io(remove_both);
    f->other_io = eventfd_io(remove_both);
    loop_add(f->loop, &f->io, EPOLLIN);
    loop_add(f->loop, &f->other_io, EPOLLIN);
    loop_turn(f->loop, 100);
    loop_turn(f->loop, 0);
    assert_string_equal(f->log, "remover");
    close(f->io.fd);
    close(f->other_io.fd);
}

static void waiting_ends_with_the_next_timer_and_not_before(void **state)
{
    uint64_t start_ms = loop_now_ms(f->loop);
    wheel_set(loop_wheel(f->loop), &f->timer, start_ms + 15);
    for (int turns = 0; turns < 100 && *f->log == 0; turns++) /* a turn may end early: a signal, a coarse kernel timer */
        loop_turn(f->loop, -1);
    assert_string_equal(f->log, "timer");
    assert_in_range(loop_now_ms(f->loop) - start_ms, 15, 1000);
}

static void an_error_of_the_kernel_is_returned(void **state)
{
    f->io = (struct io){-1, on_io};
    assert_true(loop_add(f->loop, &f->io, EPOLLIN) < 0);
}

static void *stop_soon(void *unused)
{
    usleep(20000);
    loop_stop(f->loop);
    return NULL;
}

static void another_thread_can_stop_a_sleeping_loop_which_was_idle(void **state)
{
    pthread_t thread;
    loop_use(f->loop);
    pthread_create(&thread, NULL, stop_soon, NULL);
    loop_run(f->loop);
    pthread_join(thread, NULL);
    struct loop_use use = loop_use(f->loop);
    assert_true(use.busy_ns * 2 < use.all_ns);
    assert_in_range(use.turns, 1, 10);
}

static void a_loop_that_works_is_busy(void **state)
{
    uint64_t start_ns = clock_mono_ns(&clock_system);
    loop_use(f->loop);
    while (clock_mono_ns(&clock_system) - start_ns < 5000000)
        loop_turn(f->loop, 0);
    struct loop_use use = loop_use(f->loop);
    assert_true(use.busy_ns * 10 >= use.all_ns * 9);
    assert_true(use.turns > 10);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_turn_goes_mail_events_timers_tasks_hooks),
        TEST(what_a_task_defers_comes_in_the_next_turn_without_waiting),
        TEST(a_removed_io_gets_no_event_of_the_same_batch),
        TEST(waiting_ends_with_the_next_timer_and_not_before),
        TEST(an_error_of_the_kernel_is_returned),
        TEST(another_thread_can_stop_a_sleeping_loop_which_was_idle),
        TEST(a_loop_that_works_is_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
