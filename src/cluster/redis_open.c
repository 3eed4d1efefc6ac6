/* redis_open.c - from options to a bus over Redis: what they must be, names.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "cluster/redis_internal.h"

static struct str name(struct bus *bus, const char *suffix, struct str more)
{
    struct buf text = {0};
    buf_fmt(&text, "%.*s:#%s%.*s", STR_ARG(bus->options.prefix), suffix, STR_ARG(more));
    struct str kept = arena_copy(&bus->arena, buf_view(&text));
    buf_free(&text);
    return kept;
}

static bool check(const struct bus_options *o, struct buf *error)
{
    if (o->topics == 0 || o->topics > BUS_TOPICS_MAX)
        buf_fmt(error, "adapter.topics must be from 1 to %d", BUS_TOPICS_MAX);
    else if (o->heartbeat_ms == 0 || o->node_timeout_ms < o->heartbeat_ms)
        buf_lit(error, "adapter.cluster_health: heartbeat_interval_ms must be greater than 0, and at most node_timeout_ms");
    else
        redis_options_check(&o->redis, "database.redis", error);
    return error->n == 0;
}

struct bus *bus_open_redis_as(const struct bus_options *options, struct str node, struct buf *error)
{
    if (!check(options, error))
        return NULL;
    struct redis *r = mem_new(struct redis);
    r->confirmations = mem_zalloc(options->topics * sizeof *r->confirmations);
    redis_init(r);
    r->master.options = &options->redis;
    if (!redis_master_init(&r->master, error)) {
        redis_free(r);
        return NULL;
    }
    struct bus *bus = bus_new(options, &redis_transport, node);
    bus->redis = r;
    r->bus = bus;
    redis_options_copy(&r->options, &options->redis, &bus->arena);
    redis_master_attach(&r->master, bus->loop, &bus->random, &r->options);
    r->broadcast = name(bus, "broadcast:", STR(""));
    r->requests = name(bus, "requests", STR(""));
    r->node = name(bus, "node:", bus_node(bus));
    bus_start(bus);
    return bus;
}

void bus_options_from_config(struct bus_options *options, const struct config *config)
{
    options->name = config->process_id;
    options->prefix = config->adapter.redis_prefix;
    options->topics = config->adapter.topics;
    options->heartbeat_ms = (uint32_t)config->adapter.heartbeat_interval_ms;
    options->node_timeout_ms = (uint32_t)config->adapter.node_timeout_ms;
    options->alone = config->adapter.fallback_to_local;
    options->redis = config->adapter.redis;
}

bool bus_wait_redis(struct bus *bus, struct buf *error)
{
    const struct redis *r = bus->redis;
    const struct timespec look = {.tv_nsec = 5000000};
    uint64_t until_ms = clock_mono_ms(bus->options.clock) + BUS_START_WAIT_MS;
    while (!bus_is_up(bus))
        if (atomic_load(&r->master.failures) >= BUS_START_ATTEMPTS || clock_mono_ms(bus->options.clock) >= until_ms) {
            if (r->options.sentinels_count > 0)
                buf_fmt(error, "adapter: the Sentinels lead to no Redis master '%.*s'", STR_ARG(r->options.name));
            else
                buf_fmt(error, "adapter: no connection to Redis at %.*s:%u", STR_ARG(r->options.host), r->options.port);
            buf_lit(error, ", and adapter.fallback_to_local = false");
            return false;
        } else {
            nanosleep(&look, NULL);
        }
    return true;
}

struct bus *bus_open_redis(const struct bus_options *options, struct buf *error)
{
    return bus_open_redis_as(options, STR_NONE, error);
}
