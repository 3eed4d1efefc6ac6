/* server_cache.c - what the nodes share in Redis beside the bus: one connection for the cache, one for the rate limits, since they may be
 * two servers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cluster/cache.h"
#include "server_internal.h"

enum { GRACE_MS = 1000 };

static struct cache *open_one(struct server *server, const char *name, struct str prefix, const struct redis_config *redis, struct buf *error)
{
    return cache_open_redis(&(struct cache_options){.name = name,
                                                   .prefix = prefix,
                                                   .redis = *redis,
                                                   .clock = &clock_system,
                                                   .metrics = server->metrics->registry,
                                                   .home = shards_bring,
                                                   .home_user = server},
                            error);
}

bool server_open_caches(struct server *server, struct buf *error)
{
    const struct config *config = server->config;
    if (config->cache.redis_driver) {
        server->cache = open_one(server, "cache", config->cache.redis_prefix, &config->cache.redis, error);
        if (server->cache == NULL)
            return false;
    }
    if (config->rate_limiter.redis_driver) {
        server->limits = open_one(server, "rate_limiter", config->rate_limiter.redis_prefix, &config->rate_limiter.redis, error);
        return server->limits != NULL;
    }
    return true;
}

void server_stop_caches(struct server *server)
{
    if (server->cache != NULL)
        cache_stop(server->cache, GRACE_MS);
    if (server->limits != NULL)
        cache_stop(server->limits, GRACE_MS);
}

void server_free_caches(struct server *server)
{
    cache_free(server->cache);
    cache_free(server->limits);
}
