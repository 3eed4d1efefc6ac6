/* claim.c - see claim.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/claim.h"

#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"

static void answer_home(struct task *task)
{
    struct claim *claim = list_of(task, struct claim, task);
    if (claim->result != REPLAY_PENDING || claim->tries == 0) {
        claim->done(claim);
        return;
    }
    claim->tries--;
    wheel_set(claim->home->env->wheel, &claim->timer, env_now_ms(claim->home->env) + claim->wait_ms);
}

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
