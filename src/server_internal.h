/* server_internal.h - what server.c, server_shard.c and server_ws.c share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <pthread.h>

#include "api/api.h"
#include "channel/hub.h"
#include "cluster/bus.h"
#include "net/listen.h"
#include "ops/ops.h"
#include "server.h"
#include "session/session.h"
#include "webhook/webhook.h"

struct limits;

/* Mail that did not fit into another shard's mailbox: it waits here, in order, and is never lost. */
struct outbox {
    struct task **tasks; /* a ring: [first, first + count) modulo cap */
    size_t first, count, cap;
};

enum shard_phase { SHARD_SERVING, SHARD_FLUSHED, SHARD_DRAINING, SHARD_DONE };

struct shard {
    struct server *server;
    struct env env;
    struct loop *loop;
    struct conn_pool *conns;
    struct http_server *http;
    struct listener *listener;
    struct metric_series *turned_away;
    struct sessions *sessions;
    struct api *api;
    struct outbox *outboxes;   /* one per shard */
    struct timer retry;        /* while an outbox is not empty */
    struct timer drain;
    struct turn_hook kick;     /* wakes the store for what the turn has submitted */
    struct task flush_task, drain_task;
    uint64_t drain_spread_ms;
    _Atomic uint64_t deferred; /* posts that had to wait in an outbox */
    _Atomic int phase;         /* enum shard_phase */
    pthread_t thread;
};

struct server {
    const struct config *config;
    struct apps *apps;
    struct metrics *metrics;
    struct store *store;
    struct store_home home;
    struct cache *cache;           /* NULL = not configured */
    struct cache *limits;          /* where the rate limiters count; NULL = in memory */
    struct bus *bus;               /* NULL = the only node, or closed */
    struct env_bus env_bus;        /* how shards reach it */
    _Atomic uint64_t bus_dropped[BUS_TOPICS_MAX / 64]; /* a bit for each topic of which a drop is on its way to its shard */
    _Atomic bool bus_is_deaf;      /* nothing is brought to shards any more */
    struct webhooks *webhooks;     /* NULL = nobody wants to be told */
    struct directory *directory;
    struct revocations *revocations;
    struct quotas *quotas;         /* NULL = the only node */
    struct limits *connects;      /* by client address; NULL = off */
    struct ops ops;
    struct shard *shards;
    struct env **envs;
    unsigned shards_count;
    struct http_server *metrics_http;   /* on shard 0's loop; NULL = off */
    struct listener *metrics_listener;
    uint16_t port;
};

/* ---- server_shard.c ---- */
void shard_open(struct server *server, unsigned index);
/* Listens. False with a reason in error[]. */
bool shard_listen(struct shard *shard, uint16_t port, char error[256]);
/* Before its thread: one turn, that waits at most wait_ms, by the caller's. */
void shard_turn(struct shard *shard, int wait_ms);
void shard_run(struct shard *shard); /* its thread starts */
/* On its thread: what its channels hold back leaves; then phase is SHARD_FLUSHED. All shards flush before one drains: the
 * frames of a channel go to clients of every shard. */
void shard_flush(struct shard *shard);
/* On its thread: tells clients, finishes requests; phase tells how far it is. */
void shard_drain(struct shard *shard, uint64_t spread_ms);
void shard_join(struct shard *shard);
void shard_close(struct shard *shard);
/* For struct store_home: brings completed operations home; any thread. */
void shards_bring(void *server, unsigned shard, struct task *task); /* for webhooks: runs task there; any thread */
void shards_deliver_home(struct store_home *home, struct store_op *chain);
void shards_submitted(struct store_home *home);
/* After all threads have ended: runs what mail is left. */
void shards_settle(struct server *server);

/* ---- server_ws.c ---- */
/* A request below /app/, from on_head(). False: it waits for its limit, and comes again. */
bool ws_request(struct shard *shard, struct http_request *request);
bool ws_is_path(struct str path);
extern const struct session_link ws_link;
size_t ws_room(void *sink);
struct conn_limits ws_send_limits(const struct config *config);
void ws_deliver(void *sink, struct frame *frame);
void ws_control(void *sink, int code, struct str reason);

/* ---- server_bus.c ---- */
/* Before the shards are opened. True, with no bus, if none is configured. */
bool server_open_bus(struct server *server, struct buf *error);
void server_close_bus(struct server *server); /* the shards do not run */

/* ---- server_cache.c ---- */
/* Before the shards are opened. */
bool server_open_caches(struct server *server, struct buf *error);
void server_stop_caches(struct server *server); /* the shards do not run, their mail does yet; harmless twice */
void server_free_caches(struct server *server);
