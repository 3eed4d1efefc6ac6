/* questions.c - asking all nodes, and answering them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/questions.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/pack.h"
#include "channel/remote.h"

/* Waits for answers. */
struct question {
    uint64_t id; /* the key in questions->waiting */
    struct env *env;
    struct query *q;
    size_t answers; /* that have not come */
    struct timer timer;
};
struct questions {
    struct map waiting;
    uint64_t last_id;
};

/* Asked by another node. */
struct inquiry {
    struct env *env;
    uint64_t id, place; /* of the question there */
    char node[64];
    size_t node_size;
};

static struct str key_of(const uint64_t *id)
{
    return str_make((const char *)id, sizeof *id);
}

/* ---- asking ---- */

static void end(struct question *question)
{
    struct query *q = question->q;
    struct env *env = question->env;
    map_del(&env->hub->questions->waiting, key_of(&question->id));
    wheel_cancel(env->wheel, &question->timer);
    free(question);
    q->done(q);
}

static void waited_enough(struct timer *timer)
{
    struct question *question = list_of(timer, struct question, timer);
    question->q->incomplete = true;
    end(question);
}

bool questions_ask(struct env *env, struct query *q)
{
    struct hub *hub = env->hub;
    size_t peers = env->bus != NULL && !q->here_only ? env->bus->peers(env) : 0;
    if (hub->questions == NULL)
        hub->questions = mem_new(struct questions);
    q->incomplete = peers > 0 && hub->questions->waiting.count >= QUESTIONS_MAX;
    if (peers == 0 || q->incomplete)
        return false;
    struct question *question = mem_new(struct question);
    struct buf payload = {0};
    *question = (struct question){.id = ++hub->questions->last_id, .env = env, .q = q, .answers = peers, .timer.fire = waited_enough};
    map_put(&hub->questions->waiting, key_of(&question->id), question);
    wheel_set(env->wheel, &question->timer, env_now_ms(env) + env->config->adapter.requests_timeout_ms);
    remote_begin(&payload, REMOTE_QUESTION);
    pack_u64(&payload, 0);
    pack_u64(&payload, env->shard);
    pack_u64(&payload, question->id);
    pack_u64(&payload, q->kind);
    pack_text(&payload, q->app != NULL ? q->app->id : STR_NONE);
    pack_text(&payload, q->channel);
    if (q->kind == QUERY_MEMBER)
        pack_text(&payload, q->member);
    env->bus->send(env, STR_NONE, buf_view(&payload));
    buf_free(&payload);
    return true;
}

void questions_free(struct hub *hub)
{
    if (hub->questions == NULL)
        return;
    map_free(&hub->questions->waiting);
    free(hub->questions);
}

/* ---- answering ---- */

static void totals_of(struct query *q, size_t *count, uint64_t *room[8])
{
    uint64_t *const all[] = {&q->occupied, &q->subscriptions, &q->presence_channels, &q->presence_subscriptions, &q->presence_members};
    *count = sizeof all / sizeof *all;
    memcpy(room, all, sizeof all);
}

static void put_answer(struct buf *out, struct query *q)
{
    uint64_t *totals[8];
    size_t count;
    pack_u64(out, q->subscription_count);
    pack_u64(out, q->user_count);
    pack_text(out, q->cached);
    pack_u64(out, q->cached_ttl_s);
    pack_u64(out, q->users_count);
    for (size_t i = 0; i < q->users_count; i++)
        pack_text(out, q->users[i]);
    pack_u64(out, q->channels_count);
    for (size_t i = 0; i < q->channels_count; i++) {
        pack_text(out, q->channels[i].name);
        pack_u64(out, q->channels[i].subscription_count);
        pack_u64(out, q->channels[i].user_count);
    }
    totals_of(q, &count, totals);
    for (size_t i = 0; i < count; i++)
        pack_u64(out, *totals[i]);
}

static void answered_here(struct query *q)
{
    struct inquiry *inquiry = q->user;
    struct env *env = inquiry->env;
    struct buf payload = {0};
    remote_begin(&payload, REMOTE_ANSWER);
    pack_u64(&payload, inquiry->place);
    pack_u64(&payload, inquiry->id);
    put_answer(&payload, q);
    env->bus->send(env, str_make(inquiry->node, inquiry->node_size), buf_view(&payload));
    buf_free(&payload);
    free(inquiry);
    query_free(q);
}

void questions_asked(struct env *env, struct str node, struct str payload)
{
    uint64_t place, id, kind;
    struct str app_id, channel, member = STR_NONE;
    if (!unpack_u64(&payload, &place) || !unpack_u64(&payload, &id) || !unpack_u64(&payload, &kind) || kind > QUERY_MEMBER ||
        !unpack_text(&payload, &app_id) || !unpack_text(&payload, &channel) ||
        (kind == QUERY_MEMBER && !unpack_text(&payload, &member)) || node.n > sizeof((struct inquiry *)0)->node)
        return;
    struct app *app = app_id.p != NULL ? apps_by_id(env->apps, app_id) : NULL;
    struct inquiry *inquiry = mem_new(struct inquiry);
    *inquiry = (struct inquiry){.env = env, .id = id, .place = place, .node_size = node.n};
    memcpy(inquiry->node, node.p, node.n);
    struct query *q = query_new(env, (enum query_kind)kind, app, answered_here);
    q->here_only = true;
    q->user = inquiry;
    q->channel = arena_copy(&q->arena, channel);
    q->member = arena_copy(&q->arena, member);
    if (app == NULL && kind != QUERY_TOTALS)
        answered_here(q); /* an app that this node does not have: nothing of it is here */
    else
        hub_ask(env, q);
}

/* ---- adding up ---- */

static bool take_users(struct query *q, struct str *in)
{
    uint64_t count;
    struct str id;
    struct map known = {0};
    if (!unpack_u64(in, &count) || count > in->n)
        return false;
    struct str *all = arena_alloc(&q->arena, (q->users_count + count + 1) * sizeof *all);
    for (size_t i = 0; i < q->users_count; i++) {
        all[i] = q->users[i];
        map_put(&known, all[i], &all[i]);
    }
    bool fine = true;
    for (; count > 0 && (fine = unpack_text(in, &id)); count--)
        if (map_get(&known, id) == NULL) {
            struct str *place = &all[q->users_count++];
            *place = arena_copy(&q->arena, id);
            map_put(&known, *place, place);
        }
    map_free(&known);
    q->users = all;
    return fine;
}

/* known: name -> index + 1 */
static struct query_channel *channel_of(struct query *q, struct map *known, struct str name)
{
    size_t place = (size_t)map_get(known, name);
    if (place > 0)
        return &q->channels[place - 1];
    if (q->channels_count == q->channels_cap) {
        q->channels_cap = q->channels_cap ? q->channels_cap * 2 : 16;
        q->channels = mem_realloc(q->channels, q->channels_cap * sizeof *q->channels);
    }
    struct query_channel *row = &q->channels[q->channels_count++];
    *row = (struct query_channel){.name = arena_copy(&q->arena, name)};
    map_put(known, row->name, (void *)(uintptr_t)q->channels_count);
    return row;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static bool take_channels(struct query *q, struct str *in)
{
    uint64_t count;
    struct str name;
    uint32_t subscriptions, users;
    struct map known = {0};
    bool fine = unpack_u64(in, &count);
    for (size_t i = 0; i < q->channels_count; i++)
        map_put(&known, q->channels[i].name, (void *)(uintptr_t)(i + 1));
    for (; fine && count > 0; count--) {
        fine = unpack_text(in, &name) && unpack_u32(in, &subscriptions) && unpack_u32(in, &users);
        struct query_channel *row = fine ? channel_of(q, &known, name) : NULL;
        if (row == NULL)
            break;
        row->subscription_count += subscriptions;
        row->user_count = larger(row->user_count, users);
    }
    map_free(&known);
    return fine;
}

static void take_answer(struct query *q, struct str in)
{
    uint32_t subscriptions, users;
    uint64_t ttl_s, value, *totals[8];
    size_t count;
    struct str cached;
    if (!unpack_u32(&in, &subscriptions) || !unpack_u32(&in, &users) || !unpack_text(&in, &cached) || !unpack_u64(&in, &ttl_s))
        return;
    q->subscription_count += subscriptions;
    q->user_count = larger(q->user_count, users);
    if (q->cached.p == NULL && cached.p != NULL) {
        q->cached = arena_copy(&q->arena, cached);
        q->cached_ttl_s = ttl_s;
    }
    if (!take_users(q, &in) || !take_channels(q, &in))
        return;
    totals_of(q, &count, totals);
    for (size_t i = 0; i < count && unpack_u64(&in, &value); i++)
        *totals[i] += value;
}

void questions_answered(struct env *env, struct str payload)
{
    uint64_t id;
    if (env->hub->questions == NULL || !unpack_u64(&payload, &id))
        return;
    struct question *question = map_get(&env->hub->questions->waiting, key_of(&id));
    if (question == NULL)
        return; /* too late */
    take_answer(question->q, payload);
    if (--question->answers == 0)
        end(question);
}
