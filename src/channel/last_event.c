/* last_event.c - the last event of a cache channel, for whoever comes later (chapter 1, 5.7; chapter 2, 2.5; chapter 5, 6.1).
 *
 * While a node follows a channel it hears every event and keeps the last. With a shared cache the publisher's node writes it there too,
 * and the first attach on a node asks there before it goes on: what is kept here may be older than what other nodes have published while
 * nobody listened here. A cache that fails is like one that is empty.
 *
 * Limits: cache.memory.max_capacity events in all, shared out among the shards, each for channel_limits.cache_ttl; those kept longest go
 * first (cache_channel_events, cache_channel_evictions_total).
 *
 *      app:<id>:channel:<name>:cache_miss     texts of base/pack.h: payload for V1, for V2, the event as the HTTP API shows it
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/pack.h"
#include "channel/internal.h"
#include "cluster/cache.h"

static void forget_place(struct channel *ch)
{
    if (list_empty(&ch->cached_link))
        return;
    list_remove(&ch->cached_link);
    ch->env->hub->cached_count--;
    metrics_gauge(ch->env, ch->app, cached_events, -1);
}

void last_event_drop(struct channel *ch)
{
    forget_place(ch);
    for (int i = 0; i < 2; i++)
        if (ch->cached[i] != NULL)
            frame_drop(ch->cached[i]);
    ch->cached[0] = ch->cached[1] = NULL;
    free(ch->cached_json);
    ch->cached_json = NULL;
}

static uint64_t ttl_ms(const struct channel *ch)
{
    return ch->app->global->channel_limits.cache_ttl_seconds * 1000;
}

/* ---- how many ---- */

static struct channel *oldest(const struct hub *hub)
{
    return list_empty(&hub->cached) ? NULL : list_of(hub->cached.next, struct channel, cached_link);
}

static uint64_t capacity(const struct env *env)
{
    int64_t all = env->config->cache.max_capacity;
    return all <= 0 ? UINT64_MAX : all < env->shards ? 1 : (uint64_t)all / env->shards;
}

static void arm(struct hub *hub)
{
    if (oldest(hub) != NULL && !timer_is_set(&hub->cached_timer))
        wheel_set(hub->env->wheel, &hub->cached_timer, oldest(hub)->cached_until_ms);
}

static void expire(struct timer *timer)
{
    struct hub *hub = list_of(timer, struct hub, cached_timer);
    for (struct channel *ch; (ch = oldest(hub)) != NULL && ch->cached_until_ms <= env_now_ms(hub->env);) {
        last_event_drop(ch);
        owner_settle(ch);
    }
    arm(hub);
}

void last_events_init(struct hub *hub)
{
    list_init(&hub->cached);
    hub->cached_timer.fire = expire;
}

void last_events_free(struct hub *hub)
{
    wheel_cancel(hub->env->wheel, &hub->cached_timer);
}

/* It has got its event just now: all have the same time to live, so it stands last. */
static void take_place(struct channel *ch)
{
    struct hub *hub = ch->env->hub;
    ch->cached_until_ms = env_now_ms(ch->env) + ttl_ms(ch);
    list_append(&hub->cached, &ch->cached_link);
    metrics_gauge(ch->env, ch->app, cached_events, 1);
    if (++hub->cached_count > capacity(ch->env)) {
        struct channel *first = oldest(hub);
        metrics_count(first->env, first->app, cache_evictions, 1);
        last_event_drop(first);
        first->cached_known = false; /* the shared cache may have it still */
        if (first != ch)
            owner_settle(first);
    }
    arm(hub);
}

/* ---- the shared cache ---- */

static struct cache_op *operation(const struct channel *ch, enum cache_verb verb, struct str value)
{
    struct buf key = {0};
    buf_fmt(&key, "app:%.*s:channel:%.*s:cache_miss", STR_ARG(ch->app->id), STR_ARG(ch->name));
    struct cache_op *op = cache_op_new(verb, buf_view(&key), value, STR_NONE);
    buf_free(&key);
    op->shard = ch->env->shard;
    op->ttl_ms = ttl_ms(ch);
    return op;
}

static void share(const struct channel *ch)
{
    struct buf value = {0};
    pack_text(&value, frame_payload(ch->cached[0]));
    pack_text(&value, frame_payload(ch->cached[1]));
    pack_text(&value, str_of(ch->cached_json));
    cache_submit(ch->env->cache, operation(ch, CACHE_SET, buf_view(&value)));
    buf_free(&value);
}

void last_event_keep(struct channel *ch, const struct publish *p)
{
    last_event_drop(ch);
    struct envelope e;
    struct runtime_headers headers;
    channel_envelope(ch, p, &e, &headers);
    ch->cached[0] = envelope_frame(&e, WIRE_V1);
    ch->cached[1] = envelope_frame(&e, WIRE_V2);
    ch->cached_json = str_dup(p->cache_event);
    ch->cached_is_news = true;
    if (ch->env->cache != NULL && !p->foreign)
        share(ch);
    take_place(ch);
}

static void take(struct channel *ch, struct str value)
{
    struct str v1, v2, json;
    if (!unpack_text(&value, &v1) || !unpack_text(&value, &v2) || !unpack_text(&value, &json) || v1.p == NULL || v2.p == NULL || json.p == NULL)
        return;
    last_event_drop(ch);
    ch->cached[0] = frame_new(FRAME_TEXT, v1);
    ch->cached[1] = frame_new(FRAME_TEXT, v2);
    ch->cached_json = str_dup(json);
    take_place(ch);
}

static void answered(struct cache_op *op)
{
    struct channel *ch = op->user;
    ch->cached_asks = false;
    ch->cached_known = true;
    if (op->result == CACHE_OK && !ch->cached_is_news)
        take(ch, buf_view(&op->found));
    cache_op_free(op);
    if (!list_empty(&ch->attaching))
        attach_topic_on(ch);
    owner_settle(ch);
}

bool last_event_known(struct channel *ch)
{
    if (!ch->kind.cache || ch->env->cache == NULL || ch->cached_known)
        return true;
    if (ch->cached_asks)
        return false;
    ch->cached_asks = true;
    ch->cached_is_news = false;
    struct cache_op *op = operation(ch, CACHE_GET, STR_NONE);
    op->done = answered;
    op->user = ch;
    cache_submit(ch->env->cache, op);
    return false;
}
