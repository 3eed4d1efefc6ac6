/* redis_open.c - from options to a bus over Redis: what they must be, copies of them, names.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/mem.h"
#include "cluster/redis_internal.h"

static struct str copy(struct bus *bus, struct str text)
{
    return arena_copy(&bus->arena, text);
}

static void copy_options(struct redis *r, struct bus *bus, const struct redis_config *from)
{
    struct redis_config *to = &r->options;
    *to = *from;
    to->host = copy(bus, from->host);
    to->username = from->username.n > 0 ? copy(bus, from->username) : STR_NONE;
    to->password = from->password.n > 0 ? copy(bus, from->password) : STR_NONE;
    to->name = copy(bus, from->name);
    to->sentinel_username = from->sentinel_username.n > 0 ? copy(bus, from->sentinel_username) : STR_NONE;
    to->sentinel_password = from->sentinel_password.n > 0 ? copy(bus, from->sentinel_password) : STR_NONE;
    to->sentinels = arena_zalloc(&bus->arena, (from->sentinels_count + 1) * sizeof *to->sentinels);
    for (size_t i = 0; i < from->sentinels_count; i++)
        to->sentinels[i] = (struct redis_address){copy(bus, from->sentinels[i].host), from->sentinels[i].port};
}

static struct str name(struct bus *bus, const char *suffix, struct str more)
{
    struct buf text = {0};
    buf_fmt(&text, "%.*s:#%s%.*s", STR_ARG(bus->options.prefix), suffix, STR_ARG(more));
    struct str kept = copy(bus, buf_view(&text));
    buf_free(&text);
    return kept;
}

static bool check(const struct bus_options *o, struct buf *error)
{
    const struct redis_config *r = &o->redis;
    if (o->topics == 0 || o->topics > BUS_TOPICS_MAX)
        buf_fmt(error, "adapter.topics must be from 1 to %d", BUS_TOPICS_MAX);
    else if (o->heartbeat_ms == 0 || o->node_timeout_ms < o->heartbeat_ms)
        buf_lit(error, "adapter.cluster_health: heartbeat_interval_ms must be greater than 0, and at most node_timeout_ms");
    else if (r->sentinels_count == 0 && (r->host.n == 0 || r->port == 0))
        buf_lit(error, "database.redis.host and database.redis.port must be set");
    else if (r->sentinels_count > 0 && r->name.n == 0)
        buf_lit(error, "database.redis.name must be set: the Sentinels know the master by it");
    else if (r->username.n > 0 && r->password.n == 0)
        buf_lit(error, "database.redis.username needs database.redis.password");
    return error->n == 0;
}

static bool make_tls(struct redis *r, const struct redis_config *o, struct buf *error)
{
    if (o->master_tls.enabled && (r->tls = tls_client_new(&o->master_tls, error)) == NULL)
        return false;
    return !o->sentinel_tls.enabled || (r->sentinel_tls = tls_client_new(&o->sentinel_tls, error)) != NULL;
}

struct bus *bus_open_redis_as(const struct bus_options *options, struct str node, struct buf *error)
{
    if (!check(options, error))
        return NULL;
    struct redis *r = mem_new(struct redis);
    r->confirmations = mem_zalloc(options->topics * sizeof *r->confirmations);
    if (!make_tls(r, &options->redis, error)) {
        redis_free(r);
        return NULL;
    }
    struct bus *bus = bus_new(options, &redis_transport, node);
    bus->redis = r;
    r->bus = bus;
    copy_options(r, bus, &options->redis);
    r->broadcast = name(bus, "broadcast:", STR(""));
    r->requests = name(bus, "requests", STR(""));
    r->node = name(bus, "node:", bus_node(bus));
    redis_init(r);
    bus_start(bus);
    return bus;
}

void bus_options_from_config(struct bus_options *options, const struct config *config)
{
    options->prefix = config->adapter.redis_prefix;
    options->topics = config->adapter.topics;
    options->heartbeat_ms = (uint32_t)config->adapter.heartbeat_interval_ms;
    options->node_timeout_ms = (uint32_t)config->adapter.node_timeout_ms;
    options->redis = config->adapter.redis;
}

struct bus *bus_open_redis(const struct bus_options *options, struct buf *error)
{
    return bus_open_redis_as(options, STR_NONE, error);
}
