/* batch.c - events of one app collect, then every webhook gets a body with those it wants (chapter 2, 2.19.2).
 *
 *      size 2, one window    a b c d e     ->   [a b] [c d] [e]      in order; full ones leave at once
 *
 * ai_* events do not wait: one body each, after what was there before them (chapter 4, 7.2). What leaves a window may still be
 * merged with what left another one while it waits for its target (queue.c).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "webhook/internal.h"

static bool is_ai(enum notice_kind kind)
{
    return kind >= NOTICE_AI_RUN_STARTED && kind <= NOTICE_AI_STREAM_CANCELLED;
}

/* The body for one target; empty if it wants none of them. */
static uint32_t put_events(struct buf *body, const struct target *t, const struct list *events, int64_t *time_ms)
{
    uint32_t count = 0;
    list_each(at, events) {
        const struct event *e = list_of(at, struct event, link);
        if (!target_wants(t, e->kind, e->channel))
            continue;
        *time_ms = count == 0 || e->time_ms < *time_ms ? e->time_ms : *time_ms;
        buf_str(body, count++ > 0 ? STR(",") : STR(""));
        buf_str(body, e->json);
    }
    return count;
}

static void make_job(struct webhooks *w, struct target *t, const struct list *events, bool single)
{
    struct buf joined = {0}, body = {0};
    int64_t time_ms = 0;
    uint32_t count = put_events(&joined, t, events, &time_ms);
    if (count > 0) {
        buf_fmt(&body, "{\"time_ms\":%lld,\"events\":[", (long long)time_ms);
        buf_str(&body, buf_view(&joined));
        buf_lit(&body, "]}");
        queue_add(w, t, &(struct draft){buf_view(&body), time_ms, count, single});
    }
    buf_free(&joined);
}

/* A job for every webhook that wants something of it; the events are gone. */
static void cut(struct bucket *b)
{
    struct webhooks *w = b->hooks;
    wheel_cancel(w->wheel, &b->timer);
    b->count = b->bytes = 0;
    if (list_empty(&b->events))
        return;
    bool single = !w->options.config->webhooks.batching.enabled || is_ai(list_of(b->events.next, struct event, link)->kind);
    for (size_t i = 0; i < b->targets_count; i++)
        make_job(w, &b->targets[i], &b->events, single);
    for (struct list *link; (link = list_take(&b->events)) != NULL;)
        event_free(list_of(link, struct event, link));
}

/* While an earlier process's jobs are read, or the store does not keep up, batches wait; the inbox bounds them. */
static bool may_cut(const struct webhooks *w)
{
    return w->recovered && w->pending_bytes < JOURNAL_BYTES_MAX;
}

static void window_ends(struct timer *timer)
{
    struct bucket *b = list_of(timer, struct bucket, timer);
    if (may_cut(b->hooks))
        cut(b);
    else
        wheel_set(b->hooks->wheel, timer, hook_now_ms(b->hooks) + 10);
}

static void put(struct bucket *b, struct event *e)
{
    struct webhooks *w = b->hooks;
    list_append(&b->events, &e->link);
    b->count++;
    b->bytes += e->json.n;
    if (!timer_is_set(&b->timer)) {
        b->timer.fire = window_ends;
        wheel_set(w->wheel, &b->timer, hook_now_ms(w) + w->options.config->webhooks.batching.duration_ms);
    }
}

void batch_add(struct webhooks *w, struct event *e)
{
    struct bucket *b = &w->buckets[e->app->index];
    bool alone = !w->options.config->webhooks.batching.enabled || is_ai(e->kind);
    size_t size = alone ? 1 : (size_t)w->options.config->webhooks.batching.size;
    if (may_cut(w) && b->count > 0 && (b->bytes + e->json.n > BATCH_BYTES_MAX || (alone && is_ai(e->kind))))
        cut(b);
    put(b, e);
    if (may_cut(w) && b->count >= size)
        cut(b);
}

void batch_flush(struct webhooks *w)
{
    for (size_t i = 0; i < apps_count(w->options.apps); i++)
        if (may_cut(w))
            cut(&w->buckets[i]);
}
