/* cache.h - small shared state of all nodes in Redis: idempotency slots, last events, rate limits (chapter 5, 6.1 and 6.3), wills
 * (channel/will.h).
 *
 *      shard: cache_submit() -> its thread: pipelined to Redis -> home() -> shard: done()
 *
 * A key is <prefix>:<key> in Redis. Operations of one shard on one key are carried out in order. Redis is the authority: what it does
 * not answer is CACHE_FAILED, never a guess. An operation waits at most CACHE_WAIT_MS for a connection and an answer; once Redis has
 * been away for that long, operations fail at once. What a break leaves unanswered is sent again on the next connection, since every
 * verb but CACHE_ADD may be carried out twice: values that claim (SET_NEW, SWAP) and members that take must be unique to their caller.
 *
 * Ownership: a submitted operation is the cache's until done(); cache_op_free() afterwards. Threads: cache_submit(), cache_is_up(): any;
 * done() on the operation's shard. Limit: CACHE_OPS_MAX operations in flight, CACHE_VALUE_MAX bytes of a value; beyond: CACHE_FAILED.
 * Metrics, label cache: cache_operations_total, cache_failures_total, cache_in_flight, cache_reconnections_total.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/list.h"
#include "base/metric.h"
#include "config/config.h"
#include "net/mailbox.h"

enum { CACHE_OPS_MAX = 16384, CACHE_VALUE_MAX = 1 << 20, CACHE_WAIT_MS = 1000 };

enum cache_verb {
    CACHE_GET,         /* OK with `found`, or ABSENT */
    CACHE_SET,
    CACHE_SET_NEW,     /* OK, or TAKEN with `found` */
    CACHE_SWAP,        /* OK if `expected` was there (or `value` already), else TAKEN; both may be equal: only the time to live is new */
    CACHE_REMOVE,
    CACHE_REMOVE_SAME, /* OK if `expected` was there, else TAKEN */
    CACHE_ADD,         /* `amount` to a number that starts as 0: `number`. The time to live begins with the first */
    CACHE_TAKE,        /* one place of `amount` in a sliding window of ttl_ms, for `value`: OK or TAKEN; `number` places are left */
    /* A key may hold a set of texts instead: */
    CACHE_INCLUDE,     /* `value` is a member; the time to live begins anew */
    CACHE_EXCLUDE,     /* it is none */
    CACHE_PASS_ON,     /* from the set at `key` to the one at `expected`, in one step: OK if it is there now, else ABSENT */
    CACHE_SOME,        /* OK with up to `amount` members, any: texts of base/pack.h in `found` */
};

enum cache_result { CACHE_OK, CACHE_ABSENT, CACHE_TAKEN, CACHE_FAILED };

struct cache_op {
    /* in; texts lie in text[] */
    enum cache_verb verb;
    struct str key, value, expected;
    uint64_t ttl_ms; /* 0 = no end */
    int64_t amount;
    unsigned shard;
    void (*done)(struct cache_op *op);
    void *user;
    /* out */
    enum cache_result result;
    struct buf found;
    int64_t number;
    /* the cache's */
    struct task task;
    struct list link;
    struct cache *cache;
    uint64_t submitted_ms;
    char text[];
};

struct cache_options {
    const char *name; /* label and log */
    struct str prefix;
    struct redis_config redis;
    const struct clock *clock;
    struct metric_registry *metrics;
    /* Brings a task to a shard; any thread. */
    void (*home)(void *user, unsigned shard, struct task *task);
    void *home_user;
};

struct cache;
/* Connects in the background and goes on trying. NULL, with a readable reason, for options that cannot work. */
struct cache *cache_open_redis(const struct cache_options *options, struct buf *error);
/* Waits up to grace_ms for what is in flight, fails the rest, ends the thread. Later operations fail. */
void cache_stop(struct cache *cache, uint32_t grace_ms);
/* After cache_stop(), when every done() has run. */
void cache_free(struct cache *cache);
/* False once Redis has been away for CACHE_WAIT_MS. */
bool cache_is_up(const struct cache *cache);

/* Copies the texts; value and expected may be absent. */
struct cache_op *cache_op_new(enum cache_verb verb, struct str key, struct str value, struct str expected);
void cache_op_free(struct cache_op *op);
/* done NULL: nobody wants to know; the cache frees it. */
void cache_submit(struct cache *cache, struct cache_op *op);
