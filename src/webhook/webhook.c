/* webhook.c - the inbox, the thread, and how both begin and end.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "webhook/internal.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/mailbox.h"

enum { TURN_TASKS = 256, WAIT_MAX_MS = 60000, DEGRADED_MS = 60000, GOODBYE_MS = 500 };

/* ---- on the shards ---- */

void hook_dropped(struct webhooks *w)
{
    atomic_store_explicit(&w->dropped_ms, hook_now_ms(w) + 1, memory_order_relaxed);
}

static struct event *event_new(struct webhooks *w, const struct notice *notice)
{
    struct buf json = {0};
    buf_reserve(&json, 64 + notice->channel.n + notice->fields.n);
    buf_fmt(&json, "{\"name\":\"%s\",\"channel\":", notice_name(notice->kind));
    buf_json(&json, notice->channel);
    if (notice->fields.n > 0) {
        buf_char(&json, ',');
        buf_str(&json, notice->fields);
    }
    buf_char(&json, '}');
    struct event *e = mem_zalloc(sizeof *e + notice->channel.n + json.n);
    memcpy(e->text, notice->channel.p, notice->channel.n);
    memcpy(e->text + notice->channel.n, json.p, json.n);
    e->hooks = w;
    e->app = notice->app;
    e->kind = notice->kind;
    e->channel = str_make(e->text, notice->channel.n);
    e->json = str_make(e->text + notice->channel.n, json.n);
    e->time_ms = clock_wall_ms(w->options.clock);
    buf_free(&json);
    return e;
}

/* Takes a part of the inbox, which event_free() gives back in any case; false if there was none left, or the app has its share. */
static bool reserve(struct webhooks *w, struct bucket *b, size_t bytes)
{
    uint64_t events_before = atomic_fetch_add(&w->inbox_events, 1), bytes_before = atomic_fetch_add(&w->inbox_bytes, bytes);
    uint64_t own_events = atomic_fetch_add(&b->inbox_events, 1), own_bytes = atomic_fetch_add(&b->inbox_bytes, bytes);
    return events_before < INBOX_EVENTS_MAX && bytes_before < INBOX_BYTES_MAX && own_events < w->app_events_max &&
           own_bytes < w->app_bytes_max;
}

void event_free(struct event *e)
{
    struct bucket *b = &e->hooks->buckets[e->app->index];
    atomic_fetch_sub(&e->hooks->inbox_events, 1);
    atomic_fetch_sub(&e->hooks->inbox_bytes, e->json.n);
    atomic_fetch_sub(&b->inbox_events, 1);
    atomic_fetch_sub(&b->inbox_bytes, e->json.n);
    free(e);
}

static void event_arrives(struct task *task)
{
    struct event *e = list_of(task, struct event, task);
    hook_count(e->hooks, e->app, events, 1);
    batch_add(e->hooks, e);
}

static void drop(struct webhooks *w, struct env *env, struct event *e, struct metric_series *count)
{
    metric_add(count, env->shard, 1);
    hook_dropped(w);
    if (!atomic_exchange(&w->said_full, true))
        log_warn("webhook", "app %.*s: an event was dropped; see webhook_events_dropped_total (said once)", STR_ARG(e->app->id));
    event_free(e);
}

void webhooks_notice(struct webhooks *w, struct env *env, const struct notice *notice)
{
    struct event *e = event_new(w, notice);
    const struct app_figures *f = &w->figures[e->app->index];
    e->task.run = event_arrives;
    bool reserved = reserve(w, &w->buckets[e->app->index], e->json.n);
    if (e->json.n > EVENT_MAX)
        drop(w, env, e, f->dropped_large);
    else if (!reserved || mailbox_post(w->inbox, &e->task) != MAILBOX_OK)
        drop(w, env, e, f->dropped_full);
}

bool webhooks_is_healthy(const struct webhooks *w)
{
    uint64_t dropped_ms = atomic_load(&w->dropped_ms);
    return !atomic_load(&w->store_failing) && (dropped_ms == 0 || hook_now_ms(w) > dropped_ms + DEGRADED_MS);
}

uint64_t webhooks_depth(const struct webhooks *w)
{
    return atomic_load(&w->depth);
}

static void replay_returns(struct task *task)
{
    struct webhooks_replay *r = list_of(task, struct webhooks_replay, task);
    r->done(r);
}

static void replay_arrives(struct task *task)
{
    struct webhooks_replay *r = list_of(task, struct webhooks_replay, task);
    struct webhooks *w = r->hooks;
    r->task.run = replay_returns;
    dead_replay(w, r);
}

bool webhooks_replay(struct webhooks *w, struct webhooks_replay *r)
{
    r->hooks = w;
    r->task.run = replay_arrives;
    if (atomic_fetch_add(&w->replays, 1) < REPLAYS_MAX && mailbox_post(w->inbox, &r->task) == MAILBOX_OK)
        return true;
    atomic_fetch_sub(&w->replays, 1);
    return false;
}

/* ---- the thread ---- */

static void take_mail(struct webhooks *w)
{
    struct task *tasks[TURN_TASKS];
    size_t count = mailbox_take(w->inbox, tasks, TURN_TASKS);
    for (size_t i = 0; i < count; i++)
        tasks[i]->run(tasks[i]);
}

void webhooks_turn(struct webhooks *w)
{
    take_mail(w);
    wheel_turn(w->wheel, hook_now_ms(w));
    queue_start(w);
    journal_flush(w);
}

static int wait_ms(const struct webhooks *w)
{
    uint64_t next = wheel_next_ms(w->wheel), now = hook_now_ms(w);
    if (next <= now)
        return 0;
    return next - now < WAIT_MAX_MS ? (int)(next - now) : WAIT_MAX_MS;
}

static bool is_stored(const struct webhooks *w)
{
    return mailbox_depth(w->inbox) == 0 && atomic_load(&w->inbox_events) == 0 && list_empty(&w->pending) && w->under_way == NULL;
}

/* What is stored can wait for the next start; what is not is delivered if it can be. */
static bool is_done(struct webhooks *w, uint64_t since_ms)
{
    uint64_t now = hook_now_ms(w);
    if (now >= atomic_load(&w->stop_ms))
        return true;
    batch_flush(w);
    if (!is_stored(w))
        return false;
    bool busy = w->running + w->slow > 0 || (w->in_memory && !list_empty(&w->active));
    return !busy || (!w->in_memory && now >= since_ms + GOODBYE_MS);
}

static void *run(void *user)
{
    struct webhooks *w = user;
    uint64_t stop_since_ms = 0;
    pthread_setname_np(pthread_self(), "webhooks");
    recover_start(w);
    for (;;) {
        webhooks_turn(w);
        if (atomic_load(&w->stopping)) {
            stop_since_ms = stop_since_ms ? stop_since_ms : hook_now_ms(w);
            if (is_done(w, stop_since_ms))
                break;
        }
        int wait = wait_ms(w);
        wait = mailbox_sleep(w->inbox) ? wait : 0;
        http_outlet_wait(w->outlet, wait < 20 || !stop_since_ms ? wait : 20);
        mailbox_awake(w->inbox);
    }
    w->outlet->abort_all(w->outlet);
    return NULL;
}

/* ---- life ---- */

static size_t count_webhooks(const struct apps *apps)
{
    size_t count = 0;
    for (size_t i = 0; i < apps_count(apps); i++)
        count += apps_at(apps, i)->config->webhooks_count;
    return count;
}

static void make_targets(struct webhooks *w)
{
    w->targets = mem_zalloc(count_webhooks(w->options.apps) * sizeof *w->targets);
    for (size_t i = 0; i < apps_count(w->options.apps); i++) {
        struct app *app = apps_at(w->options.apps, i);
        struct bucket *b = &w->buckets[i];
        b->hooks = w;
        b->app = app;
        b->targets = &w->targets[w->targets_count];
        b->targets_count = app->config->webhooks_count;
        list_init(&b->events);
        for (unsigned k = 0; k < app->config->webhooks_count; k++) {
            struct target *t = &w->targets[w->targets_count++];
            target_init(t, app, k);
            app->notices |= t->kinds;
        }
    }
}

static uint64_t share(uint64_t whole, size_t parts, uint64_t least)
{
    uint64_t part = whole / parts;
    return part > least ? part : least;
}

struct webhooks *webhooks_new(const struct webhooks_options *o)
{
    if (!o->config->queue.enabled || count_webhooks(o->apps) == 0) {
        figures_of_none(o);
        return NULL;
    }
    struct webhooks *w = mem_new(struct webhooks);
    w->options = *o;
    w->in_memory = o->config->history.backend == BACKEND_MEMORY;
    w->inbox = mailbox_new(INBOX_TASKS);
    w->wheel = wheel_new(hook_now_ms(w));
    w->buckets = mem_zalloc(apps_count(o->apps) * sizeof *w->buckets);
    random_from_kernel(&w->random);
    list_init(&w->jobs);
    list_init(&w->active);
    list_init(&w->pending);
    make_targets(w);
    w->target_jobs_max = share(o->config->queue.memory_capacity, w->targets_count, 1);
    w->app_events_max = share(INBOX_EVENTS_MAX, apps_count(o->apps), APP_EVENTS_MIN);
    w->app_bytes_max = share(INBOX_BYTES_MAX, apps_count(o->apps), APP_BYTES_MIN);
    w->bodies_bytes_max = BODIES_KEPT_MAX;
    w->target_bytes_max = share(QUEUE_BYTES_MAX, w->targets_count, QUEUE_BYTES_MIN);
    figures_of_webhooks(w);
    dead_start(w);
    return w;
}

void webhooks_run(struct webhooks *w)
{
    w->outlet = http_outlet_new(w);
    if (pthread_create(&w->thread, NULL, run, w) != 0) {
        log_error("webhook", "cannot start a thread");
        abort();
    }
    w->running_thread = true;
}

static void wake_only(struct task *task)
{
    free(task);
}

void webhooks_stop(struct webhooks *w, uint64_t until_ms)
{
    struct task *wake = mem_new(struct task);
    wake->run = wake_only;
    atomic_store(&w->stop_ms, until_ms);
    atomic_store(&w->stopping, true);
    if (mailbox_post(w->inbox, wake) != MAILBOX_OK)
        free(wake); /* then it is awake */
    if (w->running_thread)
        pthread_join(w->thread, NULL);
    w->running_thread = false;
    if (w->depth > 0)
        log_info("webhook", "%llu jobs are left%s", (unsigned long long)w->depth,
                 w->in_memory ? " and lost with the memory store" : " for the next start");
}

static void drop_events(struct webhooks *w)
{
    for (size_t i = 0; i < apps_count(w->options.apps); i++)
        for (struct list *link; (link = list_take(&w->buckets[i].events)) != NULL;)
            event_free(list_of(link, struct event, link));
}

void webhooks_free(struct webhooks *w)
{
    if (w == NULL)
        return;
    w->closed = true;
    while (mailbox_depth(w->inbox) > 0)
        take_mail(w);
    drop_events(w);
    queue_free(w);
    journal_drop_all(w);
    if (w->outlet != NULL)
        http_outlet_free(w->outlet);
    if (w->failed_page != NULL)
        scan_free(w->failed_page);
    for (size_t i = 0; i < w->targets_count; i++)
        target_free(&w->targets[i]);
    dead_free(w);
    wheel_free(w->wheel);
    mailbox_free(w->inbox);
    free(w->targets);
    free(w->buckets);
    free(w->figures);
    free(w);
}
