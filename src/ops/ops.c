/* ops.c - the operational routes of the main listener, and what is set up once.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ops/internal.h"

#include "api/limits.h"

static const struct route routes[] = {
    {HTTP_GET_, "/live", serve_live, 0},
    {HTTP_GET_, "/up", serve_up, 0},
    {HTTP_GET_, "/up/{app}", serve_up_app, 0},
    /* only with http_api.usage_enabled */
    {HTTP_GET_, "/usage", serve_usage, 0},
    {HTTP_GET_, "/stats", serve_stats, 0},
    {HTTP_GET_, "/operator/stats", serve_stats, 0},
};
enum { ROUTES = sizeof routes / sizeof *routes, ROUTES_OF_USAGE = 3 };

void ops_start(struct ops *ops)
{
    const struct config *config = ops->config;
    const struct rate_limit_config *limit = &config->rate_limiter.api;
    ops->api.routes = routes;
    ops->api.routes_count = config->http_api.usage_enabled ? ROUTES : ROUTES - ROUTES_OF_USAGE;
    ops->api.routes_user = ops;
    if (config->rate_limiter.enabled)
        ops->api.limits = limits_new("api", limit, ops->limits_cache, ops->metrics->registry);
    figures_start(ops);
}

void ops_stop(struct ops *ops)
{
    figures_stop(ops);
    limits_free(ops->api.limits);
    ops->api.limits = NULL;
}
