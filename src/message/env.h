/* env.h - what one shard of the core may touch of the world, by handle.
 *
 * Everything between the sockets and the engines (message, channel, ai, session) gets its clock, randomness, store,
 * timers, posting and figures from here and makes no system call itself. Production fills it in src/server.c, the
 * simulation in test/sim.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "app/app.h"
#include "base/clock.h"
#include "base/random.h"
#include "net/frame.h"
#include "net/wheel.h"
#include "store/store.h"

struct metrics; /* message/metrics.h: the figures the core keeps */
struct cache;   /* cluster/cache.h */
struct notice;  /* message/notice.h: what webhooks are told */

struct env;

/* The other nodes (cluster/bus.h), as one shard of the core reaches them. Payloads are borrowed for the call. What comes back is said
 * by hub_published(), hub_listening(), hub_missed(), hub_received() and hub_peer_left(); the first two on the shard that the topic
 * belongs to (topic modulo shards), hub_received() on the one that hub_place() names modulo shards, the others on all. */
enum { BUS_NOBODY = -1 };
struct env_bus {
    unsigned topics;
    int (*wanted)(struct env *env, unsigned topic); /* smallest window that another node wants; BUS_NOBODY */
    void (*publish)(struct env *env, unsigned topic, struct str payload);
    void (*listen)(struct env *env, unsigned topic, unsigned window); /* may be repeated with a smaller one */
    void (*leave)(struct env *env, unsigned topic);
    size_t (*peers)(struct env *env);               /* other nodes that can answer */
    void (*send)(struct env *env, struct str node, struct str payload); /* to one; node absent = to all */
    struct str (*self)(struct env *env);            /* this node's name, as others are told it; all order names the same way */
};

struct env {
    unsigned shard, shards;
    struct env *const *all; /* the env of every shard, [0, shards): only to address mail, never to reach into */
    const struct clock *clock;
    struct random random;
    struct wheel *wheel;
    const struct config *config;
    struct apps *apps;
    struct store *store;
    struct metrics *metrics;
    /* Runs task on `shard`, never before the caller has returned. First in, first out from one shard to another, to
     * itself too. */
    void (*post)(struct env *env, unsigned shard, struct task *task);
    /* Hands a frame to a connection, with one reference. What `sink` is, only the provider knows, unless it is a handle of
     * channel/outlet.h. */
    void (*deliver)(void *sink, struct frame *frame);
    /* Hears what notice_send() says; NULL = nobody listens. Returns at once. */
    void (*notice)(struct env *env, const struct notice *notice);
    const struct env_bus *bus; /* NULL = the only node */
    struct cache *cache; /* shared with other nodes, any thread; NULL = each shard keeps its own */
    _Atomic size_t backlog; /* mail of this shard that waits at it since other shards cannot keep up; read by anybody */
    void *world; /* the provider's */
    struct hub *hub; /* channel/hub.h: this shard's channels */
    uint64_t rollup_pending, full_text_bytes; /* ai/rollup.c, ai/full_text.c: bytes that they hold on this shard */
    struct streams *streams; /* ai/streams.h: the open streams of the channels this shard owns; NULL = nobody watches them */
};

/* Mail is never lost, so who begins something new for other shards asks first: beyond it publishes are PUBLISH_BUSY, and subscribes
 * refused. */
enum { ENV_BACKLOG_MAX = 16384 };
static inline bool env_is_behind(const struct env *env)
{
    return atomic_load_explicit(&env->backlog, memory_order_relaxed) > ENV_BACKLOG_MAX;
}

static inline uint64_t env_now_ms(const struct env *env)
{
    return clock_mono_ms(env->clock);
}
