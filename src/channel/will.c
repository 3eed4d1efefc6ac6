/* will.c - see will.h: writing this node's own.
 *
 *      will_sync() -> (waiting) -> INCLUDE or EXCLUDE, as is true at that moment -> Redis
 *                         ^---------- it failed: a second later ----------'
 *
 * What is noted down is only whom a change concerns; what is true is looked up when it is sent. Redis carries out what one shard sends
 * for one key in order, so the last that was sent is the truth.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/will.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/pack.h"
#include "channel/internal.h"
#include "channel/leavers.h"
#include "cluster/cache.h"
#include "message/notice.h"

struct change {
    struct list link;
    struct will *will;
    struct app *app;
    struct str channel, who; /* text; who: empty = the channel itself */
    char text[];
};

struct will {
    struct env *env;
    struct list waiting; /* struct change.link */
    uint32_t waiting_count, in_flight;
    struct timer again, renew;
};

void will_key(struct buf *out, struct str node, unsigned topic)
{
    buf_fmt(out, "will:%.*s:%u", STR_ARG(node), topic);
}

/* ---- what is true ---- */

static bool is_wanted(const struct channel *ch, struct str who)
{
    const struct env *env = ch->env;
    if (env->bus == NULL || env->cache == NULL || ch->kind.meta || ch->kind.server_to_user || ch->kind.internal)
        return false;
    return notice_wanted(env, ch->app, who.n == 0 ? NOTICE_CHANNEL_VACATED : NOTICE_MEMBER_REMOVED);
}

static bool is_in_it(const struct env *env, const struct change *change)
{
    const struct channel *ch = owner_find(env->hub, change->app, change->channel);
    if (ch == NULL || !is_wanted(ch, change->who))
        return false;
    bool here = change->who.n == 0 ? channel_subscriptions(ch) > 0 : presence_has_here(ch->presence, change->who);
    return here || leavers_waits(ch->leavers, change->who);
}

/* ---- to Redis ---- */

static void send_some(struct will *will);

static void try_again_later(struct will *will)
{
    wheel_set(will->env->wheel, &will->again, env_now_ms(will->env) + AGAIN_MS);
}

static void change_free(struct change *change)
{
    list_remove(&change->link);
    free(change);
}

static void written(struct cache_op *op)
{
    struct change *change = op->user;
    struct will *will = change->will;
    will->in_flight--;
    if (op->result == CACHE_FAILED && will->waiting_count < WILL_WAITING_MAX) {
        list_append(&will->waiting, &change->link);
        will->waiting_count++;
        try_again_later(will);
    } else {
        change_free(change);
        send_some(will);
    }
    cache_op_free(op);
}

static void submit(struct will *will, struct change *change)
{
    struct env *env = will->env;
    struct buf key = {0}, entry = {0};
    will_key(&key, env->bus->self(env), hub_topic(env, change->app, change->channel));
    pack_text(&entry, change->app->id);
    pack_text(&entry, change->channel);
    pack_text(&entry, change->who);
    struct cache_op *op = cache_op_new(is_in_it(env, change) ? CACHE_INCLUDE : CACHE_EXCLUDE, buf_view(&key), buf_view(&entry), STR_NONE);
    buf_free(&key);
    buf_free(&entry);
    op->ttl_ms = WILL_TTL_MS;
    op->shard = env->shard;
    op->done = written;
    op->user = change;
    will->in_flight++;
    cache_submit(env->cache, op);
}

static void send_some(struct will *will)
{
    if (timer_is_set(&will->again) || list_empty(&will->waiting))
        return;
    if (!cache_is_up(will->env->cache)) {
        try_again_later(will);
        return;
    }
    while (will->in_flight < WILL_IN_FLIGHT_MAX && !list_empty(&will->waiting)) {
        will->waiting_count--;
        submit(will, list_of(list_take(&will->waiting), struct change, link));
    }
}

static void is_time_again(struct timer *timer)
{
    send_some(list_of(timer, struct will, again));
}

/* ---- changes ---- */

static void renews(struct timer *timer)
{
    will_renew(list_of(timer, struct will, renew)->env);
}

static struct will *will_of(struct env *env)
{
    struct will *will = env->hub->will;
    if (will == NULL) {
        will = env->hub->will = mem_new(struct will);
        will->env = env;
        will->again.fire = is_time_again;
        will->renew.fire = renews;
        list_init(&will->waiting);
        wheel_set(env->wheel, &will->renew, env_now_ms(env) + RENEW_MS);
    }
    return will;
}

static struct str put(struct change *change, size_t at, struct str text)
{
    memcpy(change->text + at, text.p, text.n);
    return str_make(change->text + at, text.n);
}

void will_sync(struct channel *ch, struct str who)
{
    if (!is_wanted(ch, who))
        return;
    struct will *will = will_of(ch->env);
    if (will->waiting_count >= WILL_WAITING_MAX) {
        metrics_count(ch->env, ch->app, will_dropped, 1);
        return;
    }
    struct change *change = mem_zalloc(sizeof *change + ch->name.n + who.n);
    change->will = will;
    change->app = ch->app;
    change->channel = put(change, 0, ch->name);
    change->who = put(change, ch->name.n, who);
    list_append(&will->waiting, &change->link);
    will->waiting_count++;
    send_some(will);
}

void will_renew(struct env *env)
{
    struct will *will = env->hub->will;
    size_t at = 0, member;
    if (will == NULL)
        return;
    wheel_set(env->wheel, &will->renew, env_now_ms(env) + RENEW_MS);
    for (struct channel *ch; (ch = map_next(&env->hub->owned, &at)) != NULL;) {
        if (channel_subscriptions(ch) > 0)
            will_sync(ch, STR(""));
        member = 0;
        for (struct str id; ch->presence != NULL && (id = presence_next(ch->presence, &member)).p != NULL;)
            if (presence_has_here(ch->presence, id))
                will_sync(ch, id);
    }
}

void will_free(struct hub *hub)
{
    struct will *will = hub->will;
    if (will == NULL)
        return;
    while (!list_empty(&will->waiting))
        change_free(list_of(will->waiting.next, struct change, link));
    wheel_cancel(will->env->wheel, &will->again);
    wheel_cancel(will->env->wheel, &will->renew);
    free(will);
    hub->will = NULL;
}
