/* limits.c - see limits.h. A request takes one place in the sorted set <prefix>:rl:<name>:<address>, under a name of its own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/limits.h"

#include <stdlib.h>

#include "base/mem.h"
#include "cluster/cache.h"

struct limits {
    const char *name;
    struct rate_limit_config config;
    struct limiter *memory;
    struct cache *shared;
    struct metric_series *fallbacks, *crowded;
};

/* In the request's arena. */
struct question {
    struct limits *limits;
    struct env *env;
    struct http_request *request;
    struct str address;
    struct limiter_verdict verdict;
};

struct limits *limits_new(const char *name, const struct rate_limit_config *config, struct cache *shared, struct metric_registry *metrics)
{
    struct limits *l = mem_new(struct limits);
    struct metric_family *family =
        metric_counter(metrics, "rate_limiter_fallback_total", "Requests counted in memory because Redis did not answer", "limiter");
    l->name = name;
    l->config = *config;
    l->memory = limiter_new(config->max_requests, config->window_seconds * 1000, LIMITS_ENTRIES_MAX);
    l->shared = shared;
    l->fallbacks = metric_series(family, (struct str[]){str_of(name)});
    family = metric_counter(metrics, "rate_limiter_crowded_total",
                            "Requests counted in a bucket that addresses share, since too many of them are known", "limiter");
    l->crowded = metric_series(family, (struct str[]){str_of(name)});
    return l;
}

void limits_free(struct limits *l)
{
    if (l == NULL)
        return;
    limiter_free(l->memory);
    free(l);
}

static struct limiter_verdict in_memory(struct limits *l, struct env *env, struct str address)
{
    struct limiter_verdict v = limiter_check(l->memory, address, env_now_ms(env));
    if (v.crowded)
        metric_add(l->crowded, env->shard, 1);
    return v;
}

static struct limiter_verdict fall_back(struct limits *l, struct env *env, struct str address)
{
    metric_add(l->fallbacks, env->shard, 1);
    return in_memory(l, env, address);
}

static void answered(struct cache_op *op)
{
    struct question *q = op->user;
    const struct rate_limit_config *c = &q->limits->config;
    if (op->result == CACHE_FAILED)
        q->verdict = fall_back(q->limits, q->env, q->address);
    else
        q->verdict = (struct limiter_verdict){.allowed = op->result == CACHE_OK,
                                              .limit = c->max_requests,
                                              .remaining = op->number > 0 ? (uint64_t)op->number : 0,
                                              .reset_s = c->window_seconds};
    cache_op_free(op);
    http_head_again(q->request);
}

static void ask(struct question *q)
{
    char member[37];
    struct buf key = {0};
    random_uuid(&q->env->random, member);
    buf_fmt(&key, "rl:%s:%.*s", q->limits->name, STR_ARG(q->address));
    struct cache_op *op = cache_op_new(CACHE_TAKE, buf_view(&key), str_make(member, 36), STR_NONE);
    buf_free(&key);
    op->ttl_ms = q->limits->config.window_seconds * 1000;
    op->amount = (int64_t)q->limits->config.max_requests;
    op->shard = q->env->shard;
    op->done = answered;
    op->user = q;
    cache_submit(q->limits->shared, op);
}

static struct str address_of(const struct http_request *request, uint32_t trust_hops, char peer[46])
{
    conn_peer(request->conn, peer);
    return client_address(str_of(peer), http_get_header(request, STR("x-forwarded-for")), http_get_header(request, STR("x-real-ip")),
                          trust_hops);
}

bool limits_check(struct limits *l, struct env *env, struct http_request *request, struct limiter_verdict *verdict)
{
    char peer[46] = "";
    struct question *q = request->waiting;
    if (q != NULL) {
        *verdict = q->verdict;
        return true;
    }
    struct str address = address_of(request, l->config.trust_hops, peer);
    if (l->shared == NULL || !cache_is_up(l->shared)) {
        *verdict = l->shared == NULL ? in_memory(l, env, address) : fall_back(l, env, address);
        return true;
    }
    q = request->waiting = arena_zalloc(&request->arena, sizeof *q);
    *q = (struct question){.limits = l, .env = env, .request = request, .address = arena_copy(&request->arena, address)};
    http_head_wait(request);
    ask(q);
    return false;
}
