/* ops.h - what an operator asks of the running server: metrics, health, statistics (chapter 2, 2.15; chapter
 * 4, 8).
 *
 * src/server.c fills the first part of struct ops, calls ops_start() before the first api_new() and the first
 * store_submit(), and hands &ops->api to every api. The routes /live, /up, /usage, /stats reach the main
 * listener that way; /metrics is its own listener's.
 *
 * Threads: ops_start(), ops_stop() from the thread that sets up; ops_metrics_request() from one shard; the
 * routes from any shard, all they read is constant, atomic or asked by mail.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "api/api.h"
#include "message/metrics.h"

struct bus;
struct cache;
struct webhooks;

struct ops_shard {
    struct loop *loop;
    struct conn_pool *conns;
    struct env *env;
};

struct ops {
    const struct config *config;
    struct apps *apps;
    struct store *store;
    struct metrics *metrics;
    struct webhooks *webhooks; /* NULL = none */
    struct cache *cache;       /* NULL = none */
    struct bus *bus;            /* NULL = the only node */
    struct cache *limits_cache; /* where the rate limit is counted; NULL = in memory */
    struct ops_shard *shards;
    unsigned shards_count;
    _Atomic bool draining; /* set when the shutdown begins */

    struct figures *figures; /* ops's own */
    struct api_shared api;   /* routes and limits are ops_start()'s; directory and revocations the server's */
};

void ops_start(struct ops *ops);
/* After the last api_free(). */
void ops_stop(struct ops *ops);
/* The whole metrics listener; for struct http_handler.on_request, `ops` is a struct ops. */
void ops_metrics_request(void *ops, struct http_request *request);
/* The text of /metrics. One caller at a time. */
void ops_metrics_text(struct ops *ops, struct buf *out);
