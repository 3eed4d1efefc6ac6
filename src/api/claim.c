/* claim.c - see claim.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/claim.h"

#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"
#include "cluster/cache.h"

static void answered(struct claim *claim)
{
    if (claim->result != REPLAY_PENDING || claim->tries == 0) {
        claim->done(claim);
        return;
    }
    claim->tries--;
    wheel_set(claim->home->env->wheel, &claim->timer, env_now_ms(claim->home->env) + claim->wait_ms);
}

static void answer_home(struct task *task)
{
    answered(list_of(task, struct claim, task));
}

/* ---- the slots of all nodes ---- */

static struct str marker_of(const struct claim *claim)
{
    return str_make(claim->marker, sizeof claim->marker - 1);
}

/* Nobody waits for these. */
static void tell_cache(struct claim *claim, enum cache_verb verb, struct str value, uint64_t ttl_ms)
{
    struct cache_op *op = cache_op_new(verb, claim->key, value, marker_of(claim));
    op->ttl_ms = ttl_ms;
    cache_submit(claim->home->env->cache, op);
}

static void renew(struct timer *timer)
{
    struct claim *claim = list_of(timer, struct claim, timer);
    tell_cache(claim, CACHE_SWAP, marker_of(claim), CLAIM_SHARED_LEASE_MS);
    wheel_set(claim->home->env->wheel, timer, env_now_ms(claim->home->env) + CLAIM_SHARED_LEASE_MS / 3);
}

static void shared_claimed(struct claim *claim)
{
    claim->result = REPLAY_CLAIMED;
    claim->timer.fire = renew;
    wheel_set(claim->home->env->wheel, &claim->timer, env_now_ms(claim->home->env) + CLAIM_SHARED_LEASE_MS / 3);
}

static void cache_answers(struct cache_op *op)
{
    struct claim *claim = op->user;
    if (op->result == CACHE_OK) {
        shared_claimed(claim);
    } else if (op->result == CACHE_TAKEN && op->found.n > 0 && op->found.p[0] == 'A') {
        claim->result = REPLAY_ANSWER;
        buf_str(&claim->answer, str_from(buf_view(&op->found), 1));
    } else if (op->result == CACHE_TAKEN) {
        claim->result = REPLAY_PENDING;
    } else {
        claim->result = REPLAY_FULL;
        tell_cache(claim, CACHE_REMOVE_SAME, STR_NONE, 0); /* it may have been carried out all the same */
    }
    cache_op_free(op);
    answered(claim);
}

static void ask_cache(struct claim *claim)
{
    struct env *env = claim->home->env;
    struct cache_op *op = cache_op_new(CACHE_SET_NEW, claim->key, marker_of(claim), STR_NONE);
    op->ttl_ms = CLAIM_SHARED_LEASE_MS;
    op->shard = env->shard;
    op->done = cache_answers;
    op->user = claim;
    cache_submit(env->cache, op);
}

static void close_shared(struct claim *claim, struct str body)
{
    struct buf value = {0};
    wheel_cancel(claim->home->env->wheel, &claim->timer);
    if (body.p == NULL) {
        tell_cache(claim, CACHE_REMOVE_SAME, STR_NONE, 0);
        return;
    }
    buf_char(&value, 'A');
    buf_str(&value, body);
    tell_cache(claim, CACHE_SWAP, buf_view(&value), claim->ttl_ms);
    buf_free(&value);
}

/* ---- the slots of this node ---- */

static void ask_keeper(struct task *task)
{
    struct claim *claim = list_of(task, struct claim, task);
    struct env *env = claim->keeper->env;
    struct str body = STR_NONE;
    uint64_t lease_ms = claim->ttl_ms > CLAIM_LEASE_MS ? claim->ttl_ms : CLAIM_LEASE_MS;
    claim->result =
        replay_claim(claim->keeper->replays, claim->key, env_now_ms(env), lease_ms, &claim->token, &body);
    if (claim->result == REPLAY_ANSWER)
        buf_str(&claim->answer, body);
    claim->task.run = answer_home;
    env->post(env, claim->home->env->shard, &claim->task);
}

static void ask(struct claim *claim)
{
    struct env *env = claim->home->env;
    if (env->cache != NULL) {
        ask_cache(claim);
        return;
    }
    claim->task.run = ask_keeper;
    env->post(env, claim->keeper->env->shard, &claim->task);
}

static void ask_again(struct timer *timer)
{
    ask(list_of(timer, struct claim, timer));
}

void claim_start(struct api *api, struct claim *claim)
{
    claim->home = api;
    claim->keeper = api->shared->all[map_hash(claim->key) % api->env->shards];
    claim->timer.fire = ask_again;
    claim->marker[0] = 'P';
    random_uuid(&api->env->random, claim->marker + 1);
    ask(claim);
}

/* What the keeper is to do with the entry, long after the request has gone. */
struct closing {
    struct task task;
    struct api *keeper;
    struct str key, body; /* body absent: release */
    uint64_t token, ttl_ms;
    char text[];
};

static void closing_arrives(struct task *task)
{
    struct closing *m = list_of(task, struct closing, task);
    if (m->body.p)
        replay_complete(m->keeper->replays, m->key, m->token, m->body, env_now_ms(m->keeper->env), m->ttl_ms);
    else
        replay_release(m->keeper->replays, m->key, m->token);
    free(m);
}

static void close_entry(struct claim *claim, struct str body)
{
    if (claim->home->env->cache != NULL) {
        close_shared(claim, body);
        return;
    }
    struct closing *m = mem_zalloc(sizeof *m + claim->key.n + body.n);
    m->task.run = closing_arrives;
    m->keeper = claim->keeper;
    m->token = claim->token;
    m->ttl_ms = claim->ttl_ms;
    memcpy(m->text, claim->key.p, claim->key.n);
    m->key = str_make(m->text, claim->key.n);
    if (body.p) {
        memcpy(m->text + claim->key.n, body.p, body.n);
        m->body = str_make(m->text + claim->key.n, body.n);
    }
    struct env *env = claim->home->env;
    env->post(env, claim->keeper->env->shard, &m->task);
}

void claim_complete(struct claim *claim, struct str body)
{
    close_entry(claim, body);
}

void claim_release(struct claim *claim)
{
    close_entry(claim, STR_NONE);
}

void claim_end(struct claim *claim)
{
    buf_free(&claim->answer);
}
