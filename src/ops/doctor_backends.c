/* doctor_backends.c - those who must answer: PostgreSQL and Redis, asked the way the server itself will ask them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ops/doctor.h"

#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "cluster/redis_examine.h"
#include "store/postgres_examine.h"

/* FAR_MS: a round trip; SYNC_SLOW_MS: as in doctor_disk.c; FULL_PERCENT: of memory, connections. */
enum { FAR_MS = 5, SYNC_SLOW_MS = 10, SKEW_MAX_MS = 1000, FULL_PERCENT = 80 };

void doctor_compare_clocks(struct doctor *d, const char *whose, int64_t ahead_ms)
{
    bool apart = ahead_ms > SKEW_MAX_MS || ahead_ms < -SKEW_MAX_MS;
    doctor_say(d, apart ? DOCTOR_WARNS : DOCTOR_FINE, "clock", "the clock of %s is %.1f s apart from ours", whose, (double)ahead_ms / 1000);
}

/* ---- PostgreSQL ---- */

static void say_schema(struct doctor *d, const struct postgres_figures *f, const char *prefix)
{
    if (f->schema == f->schema_ours)
        doctor_say(d, DOCTOR_FINE, "postgres", "the tables %s_* have schema version %llu, ours", prefix, (unsigned long long)f->schema);
    else if (!f->may_create)
        doctor_say(d, DOCTOR_FAILS, "postgres", "the tables %s_* are %s, and the role may not create any", prefix,
                   f->schema == 0 ? "not there" : "of an older release");
    else if (f->schema == 0)
        doctor_say(d, DOCTOR_FINE, "postgres", "the tables %s_* will be made by the first node", prefix);
    else
        doctor_say(d, DOCTOR_WARNS, "postgres",
                   "the tables %s_* have schema version %llu: the first node that starts makes %llu of it, older nodes stop writing then",
                   prefix, (unsigned long long)f->schema, (unsigned long long)f->schema_ours);
}

static void say_speed(struct doctor *d, const struct postgres_figures *f)
{
    doctor_say(d, f->round_trip_ms > FAR_MS ? DOCTOR_WARNS : DOCTOR_FINE, "postgres", "a round trip takes %.2f ms", f->round_trip_ms);
    if (f->commit_ms >= 0)
        doctor_say(d, f->commit_ms > SYNC_SLOW_MS + f->round_trip_ms ? DOCTOR_WARNS : DOCTOR_FINE, "postgres",
                   "a commit takes %.2f ms: no acknowledgement comes sooner", f->commit_ms);
}

static void say_room(struct doctor *d, const struct postgres_figures *f)
{
    uint32_t room = f->connections_max > f->connections_used ? f->connections_max - f->connections_used : 0;
    doctor_say(d, room < f->connections_of_node ? DOCTOR_WARNS : DOCTOR_FINE, "postgres",
               "%u of %u connections are in use; a node takes %u: room for %u more nodes", f->connections_used, f->connections_max,
               f->connections_of_node, room / f->connections_of_node);
}

/* What an acknowledgement is worth; synchronous_commit is set by the sessions of the store themselves. */
static void say_promises(struct doctor *d, const struct postgres_figures *f)
{
    if (!f->syncs)
        doctor_say(d, DOCTOR_WARNS, "postgres", "fsync or full_page_writes is off: a power loss takes what was acknowledged, or all");
    else
        doctor_say(d, DOCTOR_FINE, "postgres", "fsync is on, and the store's sessions set synchronous_commit = on");
    if (f->standbys > 0 && !f->waits_for_standby)
        doctor_say(d, DOCTOR_WARNS, "postgres", "%u standbys, and synchronous_standby_names is empty: a failover may lose what was acknowledged",
                   f->standbys);
}

void doctor_postgres(struct doctor *d, const struct config *config)
{
    struct store_postgres to = store_postgres_from(config);
    struct postgres_figures f;
    struct buf error = {0};
    if (!postgres_examine(&to, &clock_system, &f, &error)) {
        doctor_say(d, DOCTOR_FAILS, "postgres", "%s:%u: %.*s", to.host, to.port, STR_ARG(buf_view(&error)));
    } else {
        doctor_say(d, DOCTOR_FINE, "postgres", "%s:%u: PostgreSQL %d.%d, connects in %.1f ms, %s TLS", to.host, to.port, f.version / 10000,
                   f.version % 10000, f.connect_ms, f.encrypted ? "with" : "without");
        say_schema(d, &f, to.table_prefix);
        say_speed(d, &f);
        say_room(d, &f);
        say_promises(d, &f);
        doctor_compare_clocks(d, "PostgreSQL", f.ahead_ms);
    }
    buf_free(&error);
    store_postgres_free(&to);
}

/* ---- Redis ---- */

enum { PURPOSES = 3 };
struct use { /* of one Redis */
    const struct redis_config *redis;
    const char *purposes[PURPOSES]; /* NULL after the last */
    bool remembers;                 /* cache, rate limits: what is evicted is missed */
};

static void add_use(struct use *uses, size_t *count, const struct redis_config *redis, const char *purpose, bool remembers)
{
    struct use *use = uses;
    while (use < uses + *count && !(str_eq(use->redis->host, redis->host) && use->redis->port == redis->port &&
                                    use->redis->sentinels_count == redis->sentinels_count))
        use++;
    if (use == uses + *count)
        *use = (struct use){.redis = redis}, ++*count;
    size_t n = 0;
    while (use->purposes[n] != NULL)
        n++;
    use->purposes[n] = purpose;
    use->remembers |= remembers;
}

static void say_memory(struct doctor *d, const struct use *use, const struct redis_figures *f)
{
    bool evicts = f->memory_max > 0 && f->policy.n > 0 && !str_eq(f->policy, STR("noeviction"));
    if (evicts && use->remembers)
        doctor_say(d, DOCTOR_WARNS, "redis", "maxmemory-policy %.*s may evict what nodes remember together: idempotency keys, rate limits",
                   STR_ARG(f->policy));
    else if (!evicts && f->memory_max > 0 && f->memory_used > f->memory_max / 100 * FULL_PERCENT)
        doctor_say(d, use->remembers ? DOCTOR_WARNS : DOCTOR_FINE, "redis", "%llu of %llu MiB (maxmemory) are used, and nothing is evicted",
                   (unsigned long long)(f->memory_used >> 20), (unsigned long long)(f->memory_max >> 20));
    else
        doctor_say(d, DOCTOR_FINE, "redis", "maxmemory-policy %.*s%s: nothing that nodes need is evicted", STR_ARG(f->policy),
                   f->memory_max == 0 ? " without a limit" : "");
}

static void say_redis(struct doctor *d, const struct use *use, struct redis_address at, const struct redis_figures *f)
{
    doctor_say(d, DOCTOR_FINE, "redis", "%.*s:%u (%s%s%s%s%s): Redis %.*s, connects in %.1f ms", STR_ARG(at.host), at.port, use->purposes[0],
               use->purposes[1] ? ", " : "", use->purposes[1] ? use->purposes[1] : "", use->purposes[1] && use->purposes[2] ? ", " : "",
               use->purposes[1] && use->purposes[2] ? use->purposes[2] : "", STR_ARG(f->version.n > 0 ? f->version : STR("?")), f->connect_ms);
    if (f->round_trip_ms > 0)
        doctor_say(d, f->round_trip_ms > FAR_MS ? DOCTOR_WARNS : DOCTOR_FINE, "redis", "a round trip takes %.2f ms", f->round_trip_ms);
    if (f->role.n > 0 && !str_eq(f->role, STR("master")))
        doctor_say(d, DOCTOR_FAILS, "redis", "it is a %.*s: nodes publish and write, name the master or its Sentinels", STR_ARG(f->role));
    if (f->policy.n > 0)
        say_memory(d, use, f);
    if (f->clients_max > 0 && f->clients > f->clients_max / 100 * FULL_PERCENT)
        doctor_say(d, DOCTOR_WARNS, "redis", "%llu of %llu clients (maxclients) are connected", (unsigned long long)f->clients,
                   (unsigned long long)f->clients_max);
    if (f->knows_time)
        doctor_compare_clocks(d, "Redis", f->ahead_ms);
}

/* Every Sentinel is asked: the one that does not know would be found when it is needed. False: nobody knows a master. */
static bool find_master(struct doctor *d, const struct redis_config *redis, struct redis_address *at, struct arena *arena)
{
    bool found = false;
    *at = (struct redis_address){redis->host, redis->port};
    for (size_t i = 0; i < redis->sentinels_count; i++) {
        const struct redis_address *s = &redis->sentinels[i];
        struct redis_address said;
        struct buf error = {0};
        if (redis_examine_sentinel(redis, *s, &clock_system, DOCTOR_WAIT_MS, &said, arena, &error)) {
            doctor_say(d, DOCTOR_FINE, "redis", "sentinel %.*s:%u: the master is %.*s:%u", STR_ARG(s->host), s->port, STR_ARG(said.host), said.port);
            *at = found ? *at : said;
            found = true;
        } else {
            doctor_say(d, DOCTOR_WARNS, "redis", "sentinel %.*s:%u: %.*s", STR_ARG(s->host), s->port, STR_ARG(buf_view(&error)));
        }
        buf_free(&error);
    }
    if (redis->sentinels_count > 0 && !found)
        doctor_say(d, DOCTOR_FAILS, "redis", "no Sentinel knows where the master is");
    return found || redis->sentinels_count == 0;
}

static void examine_redis(struct doctor *d, const struct use *use)
{
    struct arena arena = {0};
    struct redis_address at;
    struct redis_figures f;
    struct buf error = {0};
    if (find_master(d, use->redis, &at, &arena)) {
        if (redis_examine(use->redis, at, &clock_system, DOCTOR_WAIT_MS, &f, &arena, &error))
            say_redis(d, use, at, &f);
        else
            doctor_say(d, DOCTOR_FAILS, "redis", "%.*s:%u (%s): %.*s", STR_ARG(at.host), at.port, use->purposes[0], STR_ARG(buf_view(&error)));
    }
    buf_free(&error);
    arena_free(&arena);
}

void doctor_redis(struct doctor *d, const struct config *config)
{
    struct use uses[PURPOSES];
    size_t count = 0;
    signal(SIGPIPE, SIG_IGN);
    if (config->adapter.redis_driver)
        add_use(uses, &count, &config->adapter.redis, "bus", false);
    if (config->cache.redis_driver)
        add_use(uses, &count, &config->cache.redis, "cache", true);
    if (config->rate_limiter.enabled && config->rate_limiter.redis_driver)
        add_use(uses, &count, &config->rate_limiter.redis, "rate limits", true);
    for (size_t i = 0; i < count; i++)
        examine_redis(d, &uses[i]);
}
