/* cache_redis.c - see cache.h.
 *
 *      mailbox -> unsent -> (written) -> unanswered -> home         answers come in the order of `unanswered`
 *                   ^--------- a break --------'
 *
 * Time in windows is Redis' own, so nodes need not agree on theirs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cluster/cache.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pack.h"
#include "cluster/redis_master.h"

enum { OUT_BYTES = 256 << 10, MAILBOX_TASKS = 2 * CACHE_OPS_MAX, LOOK_MS = 100 };

struct cache {
    struct cache_options options; /* texts in arena */
    struct arena arena;
    struct loop *loop;
    pthread_t thread;
    struct redis_master master;
    struct random random;
    struct list unsent, unanswered;
    struct turn_hook hook;
    struct timer look; /* for what waits too long */
    struct timer grace;
    struct task stop_task;
    uint32_t grace_ms;
    uint64_t down_since_ms; /* 0 = up */
    bool stopping, was_up;
    struct buf scratch[2];
    _Atomic uint64_t in_flight;
    _Atomic bool up, stopped;
    struct metric_series *operations, *failures, *depth, *reconnections;
};

#define TEXT(literal) {(literal), sizeof(literal) - 1}

/* ---- scripts: KEYS[1] is the key ---- */

/* value, ttl */
static const struct str set_new = TEXT("local v=redis.call('GET',KEYS[1]) "
    "if v then return v end "
    "if ARGV[2]=='0' then redis.call('SET',KEYS[1],ARGV[1]) else redis.call('SET',KEYS[1],ARGV[1],'PX',ARGV[2]) end return 1");
/* value, ttl, expected */
static const struct str swap = TEXT("local v=redis.call('GET',KEYS[1]) "
    "if v~=ARGV[3] and v~=ARGV[1] then return 0 end "
    "if ARGV[2]=='0' then redis.call('SET',KEYS[1],ARGV[1]) else redis.call('SET',KEYS[1],ARGV[1],'PX',ARGV[2]) end return 1");
/* expected */
static const struct str remove_same = TEXT("if redis.call('GET',KEYS[1])~=ARGV[1] then return 0 end "
    "redis.call('DEL',KEYS[1]) return 1");
/* amount, ttl */
static const struct str add = TEXT("local n=redis.call('INCRBY',KEYS[1],ARGV[1]) "
    "if ARGV[2]~='0' and redis.call('PTTL',KEYS[1])<0 then redis.call('PEXPIRE',KEYS[1],ARGV[2]) end return n");
/* member, window, places: what is left, or -1. A member that is there already (sent again) keeps its place. */
static const struct str take = TEXT("local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000) "
    "redis.call('ZREMRANGEBYSCORE',KEYS[1],'-inf',now-tonumber(ARGV[2])) "
    "local n=redis.call('ZCARD',KEYS[1]) local max=tonumber(ARGV[3]) "
    "if redis.call('ZSCORE',KEYS[1],ARGV[1]) then return max-n end "
    "if n>=max then return -1 end "
    "redis.call('ZADD',KEYS[1],now,ARGV[1]) redis.call('PEXPIRE',KEYS[1],ARGV[2]) return max-n-1");
/* member, ttl */
static const struct str include = TEXT("redis.call('SADD',KEYS[1],ARGV[1]) redis.call('PEXPIRE',KEYS[1],ARGV[2]) return 1");
/* member, ttl of the other set. Sent again: it is there already. */
static const struct str pass_on = TEXT("if redis.call('SMOVE',KEYS[1],KEYS[2],ARGV[1])==1 then redis.call('PEXPIRE',KEYS[2],ARGV[2]) return 1 end "
    "return redis.call('SISMEMBER',KEYS[2],ARGV[1])");

/* ---- operations ---- */

static void is_home(struct task *task)
{
    struct cache_op *op = list_of(task, struct cache_op, task);
    op->done(op);
}

static void send_home(struct cache *c, struct cache_op *op)
{
    op->task.run = is_home;
    if (op->done == NULL)
        cache_op_free(op);
    else
        c->options.home(c->options.home_user, op->shard, &op->task);
}

/* On the cache's thread, or after its end. */
static void finish(struct cache *c, struct cache_op *op, enum cache_result result)
{
    op->result = result;
    metric_add(c->operations, METRIC_SHARD_CACHE, 1);
    metric_add(c->failures, METRIC_SHARD_CACHE, result == CACHE_FAILED);
    metric_set(c->depth, METRIC_SHARD_CACHE, (int64_t)atomic_fetch_sub(&c->in_flight, 1) - 1);
    send_home(c, op);
}

static void op_arrives(struct task *task)
{
    struct cache_op *op = list_of(task, struct cache_op, task);
    struct cache *c = op->cache;
    uint64_t now_ms = loop_now_ms(c->loop);
    if (c->down_since_ms != 0 && now_ms - c->down_since_ms >= CACHE_WAIT_MS) {
        finish(c, op, CACHE_FAILED);
        return;
    }
    op->submitted_ms = now_ms;
    list_append(&c->unsent, &op->link);
    loop_at_end(c->loop, &c->hook);
}

void cache_submit(struct cache *c, struct cache_op *op)
{
    op->cache = c;
    op->task.run = op_arrives;
    bool fits = atomic_fetch_add(&c->in_flight, 1) < CACHE_OPS_MAX && op->value.n <= CACHE_VALUE_MAX && !atomic_load(&c->stopped);
    if (fits && mailbox_post(loop_mailbox(c->loop), &op->task) == MAILBOX_OK)
        return;
    atomic_fetch_sub(&c->in_flight, 1);
    op->result = CACHE_FAILED;
    send_home(c, op);
}

bool cache_is_up(const struct cache *c)
{
    return atomic_load(&c->up);
}

/* ---- to Redis ---- */

static struct str with_prefix(const struct cache *c, struct str key, struct buf *scratch)
{
    buf_clear(scratch);
    buf_str(scratch, c->options.prefix);
    buf_char(scratch, ':');
    buf_str(scratch, key);
    return buf_view(scratch);
}

static void put_command(struct cache *c, const struct cache_op *op)
{
    struct redis_link *link = &c->master.links[0];
    struct str key = with_prefix(c, op->key, &c->scratch[0]), one = STR("1");
    char digits[2][24];
    struct str ttl = str_make(digits[0], (size_t)snprintf(digits[0], sizeof digits[0], "%llu", (unsigned long long)op->ttl_ms));
    struct str amount = str_make(digits[1], (size_t)snprintf(digits[1], sizeof digits[1], "%lld", (long long)op->amount));
    switch (op->verb) {
    case CACHE_GET:
        REDIS_COMMAND(link, STR("GET"), key);
        break;
    case CACHE_SET:
        if (op->ttl_ms == 0)
            REDIS_COMMAND(link, STR("SET"), key, op->value);
        else
            REDIS_COMMAND(link, STR("SET"), key, op->value, STR("PX"), ttl);
        break;
    case CACHE_SET_NEW:
        REDIS_COMMAND(link, STR("EVAL"), set_new, one, key, op->value, ttl);
        break;
    case CACHE_SWAP:
        REDIS_COMMAND(link, STR("EVAL"), swap, one, key, op->value, ttl, op->expected);
        break;
    case CACHE_REMOVE:
        REDIS_COMMAND(link, STR("DEL"), key);
        break;
    case CACHE_REMOVE_SAME:
        REDIS_COMMAND(link, STR("EVAL"), remove_same, one, key, op->expected);
        break;
    case CACHE_ADD:
        REDIS_COMMAND(link, STR("EVAL"), add, one, key, amount, ttl);
        break;
    case CACHE_TAKE:
        REDIS_COMMAND(link, STR("EVAL"), take, one, key, op->value, ttl, amount);
        break;
    case CACHE_INCLUDE:
        REDIS_COMMAND(link, STR("EVAL"), include, one, key, op->value, ttl);
        break;
    case CACHE_EXCLUDE:
        REDIS_COMMAND(link, STR("SREM"), key, op->value);
        break;
    case CACHE_PASS_ON:
        REDIS_COMMAND(link, STR("EVAL"), pass_on, STR("2"), key, with_prefix(c, op->expected, &c->scratch[1]), op->value, ttl);
        break;
    case CACHE_SOME:
        REDIS_COMMAND(link, STR("SRANDMEMBER"), key, amount);
        break;
    }
}

/* As much as fits; the rest when that is written. */
static void send_some(struct cache *c)
{
    if (c->master.state != REDIS_UP || c->master.restart_why != NULL)
        return;
    while (redis_link_pending(&c->master.links[0]) < OUT_BYTES && !list_empty(&c->unsent)) {
        struct list *link = list_take(&c->unsent);
        put_command(c, list_of(link, struct cache_op, link));
        list_append(&c->unanswered, link);
    }
    redis_link_flush(&c->master.links[0]);
}

static void turn_ends(struct turn_hook *hook)
{
    send_some(list_of(hook, struct cache, hook));
}

static void has_flushed(struct redis_master *m, struct redis_link *link)
{
    struct cache *c = m->user;
    if (!list_empty(&c->unsent))
        loop_at_end(c->loop, &c->hook);
}

/* ---- from Redis ---- */

static enum cache_result result_of(struct cache_op *op, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_NIL)
        return op->verb == CACHE_GET ? CACHE_ABSENT : CACHE_FAILED;
    if (reply->type == REDIS_REPLY_STRING) {
        if (op->verb == CACHE_SET_NEW && str_eq(redis_text(reply), op->value))
            return CACHE_OK; /* ours, sent twice */
        buf_str(&op->found, redis_text(reply));
        return op->verb == CACHE_SET_NEW ? CACHE_TAKEN : CACHE_OK;
    }
    if (reply->type == REDIS_REPLY_ARRAY) {
        for (size_t i = 0; i < reply->elements; i++)
            pack_text(&op->found, redis_text(reply->element[i]));
        return op->verb == CACHE_SOME ? CACHE_OK : CACHE_FAILED;
    }
    if (reply->type != REDIS_REPLY_INTEGER)
        return reply->type == REDIS_REPLY_STATUS ? CACHE_OK : CACHE_FAILED;
    op->number = reply->integer;
    if (op->verb == CACHE_TAKE)
        return reply->integer >= 0 ? CACHE_OK : CACHE_TAKEN;
    if (op->verb == CACHE_SWAP || op->verb == CACHE_REMOVE_SAME)
        return reply->integer == 1 ? CACHE_OK : CACHE_TAKEN;
    if (op->verb == CACHE_PASS_ON)
        return reply->integer == 1 ? CACHE_OK : CACHE_ABSENT;
    return CACHE_OK;
}

static void stop_if_idle(struct cache *c)
{
    if (c->stopping && list_empty(&c->unsent) && list_empty(&c->unanswered))
        loop_stop(c->loop);
}

static void replied(struct redis_master *m, struct redis_link *link, const redisReply *reply)
{
    struct cache *c = m->user;
    if (list_empty(&c->unanswered)) {
        redis_master_restart(m, "answers what it was not asked");
        return;
    }
    struct cache_op *op = list_of(list_take(&c->unanswered), struct cache_op, link);
    if (redis_refuses_service(reply)) {
        list_prepend(&c->unsent, &op->link);
        redis_master_restart(m, "the server refuses its service");
        return;
    }
    if (reply->type == REDIS_REPLY_ERROR)
        log_warn("cluster", "redis (%s): %.*s", c->options.name, STR_ARG(redis_text(reply)));
    finish(c, op, result_of(op, reply));
    stop_if_idle(c);
}

static void is_up(struct redis_master *m)
{
    struct cache *c = m->user;
    metric_add(c->reconnections, METRIC_SHARD_CACHE, c->was_up);
    c->was_up = true;
    c->down_since_ms = 0;
    atomic_store(&c->up, true);
    loop_at_end(c->loop, &c->hook);
}

/* What is unanswered goes out again, in front; an addition may have been made. */
static void is_down(struct redis_master *m)
{
    struct cache *c = m->user;
    c->down_since_ms = loop_now_ms(c->loop);
    list_each_safe(at, after, &c->unanswered)
    {
        struct cache_op *op = list_of(at, struct cache_op, link);
        if (op->verb != CACHE_ADD)
            continue;
        list_remove(at);
        finish(c, op, CACHE_FAILED);
    }
    list_splice(&c->unanswered, &c->unsent);
    list_splice(&c->unsent, &c->unanswered);
}

/* ---- what waits too long ---- */

static bool is_late(const struct cache *c, const struct list *ops)
{
    return !list_empty(ops) && loop_now_ms(c->loop) - list_of(ops->next, struct cache_op, link)->submitted_ms >= CACHE_WAIT_MS;
}

static void look(struct timer *timer)
{
    struct cache *c = list_of(timer, struct cache, look);
    if (c->down_since_ms != 0 && loop_now_ms(c->loop) - c->down_since_ms >= CACHE_WAIT_MS)
        atomic_store(&c->up, false);
    if (is_late(c, &c->unanswered) && c->master.state == REDIS_UP)
        redis_master_restart(&c->master, "no answer"); /* what is unanswered becomes unsent, and ends below */
    while (is_late(c, &c->unsent))
        finish(c, list_of(list_take(&c->unsent), struct cache_op, link), CACHE_FAILED);
    stop_if_idle(c);
    wheel_set(loop_wheel(c->loop), &c->look, loop_now_ms(c->loop) + LOOK_MS);
}

/* ---- life ---- */

static void grace_is_over(struct timer *timer)
{
    loop_stop(list_of(timer, struct cache, grace)->loop);
}

static void stop_arrives(struct task *task)
{
    struct cache *c = list_of(task, struct cache, stop_task);
    c->stopping = true;
    wheel_set(loop_wheel(c->loop), &c->grace, loop_now_ms(c->loop) + c->grace_ms);
    stop_if_idle(c);
}

static void *run(void *user)
{
    struct cache *c = user;
    pthread_setname_np(pthread_self(), c->options.name);
    c->down_since_ms = clock_mono_ms(c->options.clock);
    wheel_set(loop_wheel(c->loop), &c->look, c->down_since_ms + LOOK_MS);
    redis_master_start(&c->master);
    loop_run(c->loop);
    redis_master_stop(&c->master);
    return NULL;
}

/* Signals are the main thread's. */
static void start_thread(struct cache *c)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&c->thread, NULL, run, c) != 0) {
        perror("pthread_create");
        abort();
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void register_metrics(struct cache *c)
{
    struct metric_registry *r = c->options.metrics;
    const struct str values[] = {str_of(c->options.name)};
    c->operations = metric_series(metric_counter(r, "cache_operations_total", "Operations on the shared cache", "cache"), values);
    c->failures = metric_series(metric_counter(r, "cache_failures_total", "Operations that Redis did not carry out, or did not answer", "cache"), values);
    c->depth = metric_series(metric_gauge(r, "cache_in_flight", "Operations on the shared cache that are not answered yet", "cache"), values);
    c->reconnections = metric_series(metric_counter(r, "cache_reconnections_total", "Connections to Redis after the first", "cache"), values);
}

struct cache *cache_open_redis(const struct cache_options *options, struct buf *error)
{
    if (!redis_options_check(&options->redis, "database.redis", error))
        return NULL;
    struct cache *c = mem_new(struct cache);
    c->options = *options;
    c->master = (struct redis_master){.options = &options->redis, .purpose = options->name, .user = c, .links_count = 1, .up = is_up,
                                      .down = is_down, .replied = replied, .flushed = has_flushed};
    if (!redis_master_init(&c->master, error)) {
        free(c);
        return NULL;
    }
    c->options.prefix = arena_copy(&c->arena, options->prefix);
    redis_options_copy(&c->options.redis, &options->redis, &c->arena);
    random_from_kernel(&c->random);
    c->loop = loop_new(options->clock, MAILBOX_TASKS);
    redis_master_attach(&c->master, c->loop, &c->random, &c->options.redis);
    list_init(&c->unsent);
    list_init(&c->unanswered);
    c->hook.run = turn_ends;
    c->look.fire = look;
    c->grace.fire = grace_is_over;
    c->stop_task.run = stop_arrives;
    atomic_store(&c->up, true); /* until CACHE_WAIT_MS say otherwise */
    register_metrics(c);
    start_thread(c);
    return c;
}

static void fail_all(struct cache *c, struct list *ops)
{
    for (struct list *link; (link = list_take(ops)) != NULL;)
        finish(c, list_of(link, struct cache_op, link), CACHE_FAILED);
}

void cache_stop(struct cache *c, uint32_t grace_ms)
{
    struct task *task;
    if (atomic_load(&c->stopped))
        return;
    c->grace_ms = grace_ms;
    while (mailbox_post(loop_mailbox(c->loop), &c->stop_task) != MAILBOX_OK)
        continue;
    pthread_join(c->thread, NULL);
    atomic_store(&c->stopped, true);
    atomic_store(&c->up, false);
    while (mailbox_take(loop_mailbox(c->loop), &task, 1) == 1) {
        if (task->run == op_arrives)
            finish(c, list_of(task, struct cache_op, task), CACHE_FAILED);
        else
            task->run(task); /* a lookup of the link's */
    }
    fail_all(c, &c->unanswered);
    fail_all(c, &c->unsent);
}

void cache_free(struct cache *c)
{
    if (c == NULL)
        return;
    loop_free(c->loop);
    buf_free(&c->scratch[0]);
    buf_free(&c->scratch[1]);
    arena_free(&c->arena);
    free(c);
}
