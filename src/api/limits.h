/* limits.h - requests by client address: counted for all nodes in Redis when it is configured, else in this process (chapter 2, 2.17;
 * chapter 5, 6.3).
 *
 * In Redis the window slides, here it is fixed. A Redis that is not there, or fails: the same limits in memory until it is back, and
 * rate_limiter_fallback_total{limiter}.
 *
 * Threads: limits_check(): the request's shard, from on_head(). Limit: LIMITS_ENTRIES_MAX addresses in memory (app/limiter.h);
 * the others share a bucket, and rate_limiter_crowded_total{limiter} counts their requests.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "app/limiter.h"
#include "base/metric.h"
#include "message/env.h"
#include "net/http.h"

enum { LIMITS_ENTRIES_MAX = 100000 };

struct limits;
/* name: "api", "websocket_connect". shared: borrowed, outlives it; NULL = only in memory. */
struct limits *limits_new(const char *name, const struct rate_limit_config *config, struct cache *shared, struct metric_registry *metrics);
void limits_free(struct limits *limits);
/* False: Redis is asked, on_head() is called again with this request (http_head_wait()), and then the verdict is there. */
bool limits_check(struct limits *limits, struct env *env, struct http_request *request, struct limiter_verdict *verdict);
