/* query.c - questions about channels: one owner is asked, or every shard in turn.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/internal.h"
#include "channel/presence_log.h"
#include "channel/questions.h"
#include "base/mem.h"
#include <stdlib.h>

struct query *query_new(struct env *env, enum query_kind kind, struct app *app, void (*done)(struct query *))
{
    struct query *q = mem_new(struct query);
    q->kind = kind;
    q->app = app;
    q->reply_shard = env->shard;
    q->home = env;
    q->done = done;
    return q;
}

void query_free(struct query *q)
{
    arena_free(&q->arena);
    free(q->channels);
    free(q);
}

static void answer_channel(struct query *q, const struct channel *ch)
{
    uint64_t now = env_now_ms(ch->env);
    q->subscription_count = channel_subscriptions(ch);
    q->user_count = (uint32_t)presence_count(ch->presence);
    if (ch->cached_json != NULL && ch->cached_until_ms > now) {
        q->cached = arena_copy(&q->arena, str_of(ch->cached_json));
        q->cached_ttl_s = (ch->cached_until_ms - now) / 1000;
    }
}

static void answer_member(struct query *q, const struct channel *ch)
{
    q->subscription_count = channel_subscriptions(ch);
    q->user_count = presence_has_here(ch->presence, q->member);
}

static void answer_users(struct query *q, const struct channel *ch)
{
    size_t n = presence_count(ch->presence), at = 0;
    q->users = arena_alloc(&q->arena, (n ? n : 1) * sizeof(*q->users));
    for (struct str id; q->users_count < n && (id = presence_next(ch->presence, &at)).p != NULL;)
        q->users[q->users_count++] = arena_copy(&q->arena, id);
}

static void answer_channels(struct query *q, const struct channel *ch)
{
    if (ch->app != q->app || channel_subscriptions(ch) == 0 || !str_starts(ch->name, q->channel) ||
        ch->kind.server_to_user || ch->kind.meta || ch->kind.internal)
        return;
    if (q->channels_count == q->channels_cap) {
        q->channels_cap = q->channels_cap ? q->channels_cap * 2 : 16;
        q->channels = mem_realloc(q->channels, q->channels_cap * sizeof(*q->channels));
    }
    q->channels[q->channels_count++] = (struct query_channel){arena_copy(&q->arena, ch->name), channel_subscriptions(ch),
                                                              (uint32_t)presence_count(ch->presence)};
}

static void answer_totals(struct query *q, const struct channel *ch)
{
    if ((q->app != NULL && ch->app != q->app) || channel_subscriptions(ch) == 0 || ch->kind.meta || ch->kind.internal)
        return;
    if (ch->kind.server_to_user) {
        q->users_here++;
        return;
    }
    q->occupied++;
    q->subscriptions += channel_subscriptions(ch);
    if (ch->kind.kind != CHANNEL_PRESENCE)
        return;
    q->presence_channels++;
    q->presence_subscriptions += channel_subscriptions(ch);
    q->presence_members += presence_count(ch->presence);
}

static void ask_all_here(struct query *q, struct hub *hub)
{
    size_t at = 0;
    presence_log_count_doubts(hub, q->app, &q->logs_degraded, &q->logs_reset_required);
    for (struct channel *ch; (ch = map_next(&hub->owned, &at)) != NULL;) {
        if (q->kind == QUERY_CHANNELS)
            answer_channels(q, ch);
        else
            answer_totals(q, ch);
    }
}

static void query_returns(struct task *task)
{
    struct query *q = list_of(task, struct query, task);
    if (!questions_ask(q->home, q))
        q->done(q);
}

static void query_arrives(struct task *task)
{
    struct query *q = list_of(task, struct query, task);
    struct env *env = q->at;
    if (q->kind == QUERY_CHANNELS || q->kind == QUERY_TOTALS) {
        ask_all_here(q, env->hub);
        if (--q->asked > 0) {
            q->at = env->all[q->asked - 1];
            env->post(env, q->asked - 1, &q->task);
            return;
        }
    } else {
        struct channel *ch = owner_find(env->hub, q->app, q->channel);
        q->presence_log = presence_log_doubt(env->hub, q->app, q->channel);
        if (ch != NULL && q->kind == QUERY_CHANNEL)
            answer_channel(q, ch);
        else if (ch != NULL && q->kind == QUERY_MEMBER)
            answer_member(q, ch);
        else if (ch != NULL)
            answer_users(q, ch);
    }
    q->task.run = query_returns;
    env->post(env, q->reply_shard, &q->task);
}

void hub_ask(struct env *env, struct query *q)
{
    bool all = q->kind == QUERY_CHANNELS || q->kind == QUERY_TOTALS;
    unsigned first = all ? env->shards - 1 : hub_owner(env, q->app, q->channel);
    q->asked = env->shards;
    q->at = env->all[first];
    q->task.run = query_arrives;
    env->post(env, first, &q->task);
}
