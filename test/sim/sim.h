/* sim.h - a whole server in one process, on simulated time, from one seed (design: "The core is a state machine").
 *
 *   publishers --requests, answers: late or lost-->  shards (hub, rollup, sessions)  --frames: late-->  subscribers
 *                                                       |  mail between shards: late, in order
 *                                                    store (the real engine) over a disk that is slow, fails, or forgets
 *                                                    what was not synced when the process dies
 *
 * One event queue drives it all; every choice comes from the seed, so a history replays exactly. After the faults have
 * stopped and everything has come to rest, check.c judges: each acknowledged token is in the store once and in order, and each
 * subscriber shows what the store holds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "ai/rollup.h"
#include "ai/streams.h"
#include "base/buf.h"
#include "channel/hub.h"
#include "message/metrics.h"
#include "session/session.h"
#include "store/commit.h"

enum { NODES_MAX = 4, TOPICS = 8, SHARDS_MAX = 3, PUBLISHERS = 4, SUBSCRIBERS = 6, CHANNELS = 2, TOKENS_MAX = 120, MESSAGES_MAX = 4 };

/* Faults that the checker must find: the test of the test. */
enum plant { PLANT_NONE, PLANT_LOSE, PLANT_DOUBLE, PLANT_REORDER, PLANT_ACK_EARLY };

struct world;
struct event {
    uint64_t at_ns, order; /* order breaks ties: first scheduled, first run */
    void (*run)(struct world *w, void *what);
    void *what;
    uint32_t life;         /* of the process it belongs to; 0 = outlives it */
};

struct sim_clock {
    struct clock clock;
    struct world *world;
    int64_t wrong_ms; /* of wall time; it jumps */
};

struct shard {
    struct env env;
    struct hub *hub;
    struct sessions *sessions;
    struct world *world;
    struct node *node;
    uint64_t mail_at_ns[SHARDS_MAX]; /* when the newest mail to that shard arrives: order per pair */
};

/* A process. With several of them the store is a service of its own that outlives each, and a bus lies between them. */
struct node {
    struct world *world;
    unsigned index;
    uint32_t life;         /* of its process; 0 = it is down */
    struct sim_clock clock; /* its wall time may be wrong by an hour, and jumps; the store has the world's */
    unsigned shards_count;
    struct shard shards[SHARDS_MAX];
    struct env *envs[SHARDS_MAX];
    struct store *store;   /* as it reaches it */
    int8_t windows[TOPICS]; /* what it listens to; -1 = not */
    uint64_t bus_at_ns[NODES_MAX]; /* when the newest payload for that node arrives: order per pair */
    uint64_t cut_until_ns; /* it is off the bus */
};

struct message_model { /* what the world knows to be true of a message */
    unsigned channel;
    struct message_id id;
    bool created;            /* acknowledged */
    char serial[SERIAL_SIZE + 1];
};

struct publisher {
    struct world *world;
    unsigned index, channel, message; /* appends to messages[message] */
    unsigned tokens, next;            /* next = number of acknowledged tokens */
    bool creating, busy, done;
    uint64_t attempt;                 /* only the newest attempt's answer counts */
};

struct subscriber;
struct world {
    struct random random;
    struct sim_clock clock;
    uint64_t now_ns, started_ns;
    struct event *events;  /* binary heap */
    size_t events_count, events_cap;
    uint64_t order;
    uint32_t lives;        /* how many processes there have been */
    bool calm;             /* no more faults */
    bool verbose;
    enum plant plant;
    uint64_t planted;      /* how often the planted fault was done */

    struct config *config;
    struct apps *apps;
    struct app *app;
    struct metrics *metrics;
    struct disk *disk;
    struct store *store;
    struct store_home home;
    unsigned nodes_count;
    struct node nodes[NODES_MAX];

    char channels[CHANNELS][32];
    struct message_model messages[MESSAGES_MAX];
    unsigned messages_count;
    struct publisher publishers[PUBLISHERS];
    struct subscriber *subscribers[SUBSCRIBERS];

    uint64_t orphan_ttl_ms; /* 0 = longer than any history: no stream is closed by the janitor */
    uint64_t acknowledged, orphans, crashes, store_failures, drops, resumes, rewinds, wildcards, overflows, hot, cold, bus_lost;
    struct buf failure;    /* what the checker found; empty = nothing */
};

/* world.c */
struct world *world_new(uint64_t seed, unsigned nodes, enum plant plant, bool verbose);
void world_run(struct world *w);
/* Runs fn(what) after delay; life: of the node that must still live then, or 0. */
void world_after(struct world *w, uint64_t delay_ns, void (*run)(struct world *, void *), void *what, uint32_t life);
uint64_t world_pick(struct world *w, uint64_t low, uint64_t high); /* uniform, both inclusive */
bool world_chance(struct world *w, unsigned one_in);
void world_fail(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void world_say(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define MS(n) ((uint64_t)(n)*1000000u)

/* server.c */
void node_start(struct node *n);
void node_dies(struct node *n);
/* A living node; NULL = there is none. */
struct node *node_any(struct world *w);
bool node_lives(const struct world *w, uint32_t life);
/* The store of several nodes. */
void store_start(struct world *w);

/* net.c */
void net_env(struct shard *s);   /* its env reaches the other nodes */
void net_up(struct node *n);
void net_down(struct node *n);
void net_trouble(struct world *w, void *node); /* cuts it off the bus for a while, now and then */

/* disk.c */
struct disk *disk_new(struct world *w);
struct store *disk_open_store(struct disk *d, const struct store_options *options);
void disk_process_died(struct disk *d);


/* publisher.c */
void publisher_start(struct world *w, struct publisher *p);
bool publishers_done(const struct world *w);

/* subscriber.c */
struct subscriber *subscriber_new(struct world *w, unsigned index);
void subscriber_start(struct world *w, struct subscriber *s);
void subscriber_node_died(struct subscriber *s, uint32_t life);
/* The text that it shows for a message; absent if it has never seen it. */
struct str subscriber_text(const struct subscriber *s, struct str message_serial);
unsigned subscriber_channel(const struct subscriber *s);
bool subscriber_is_live(const struct subscriber *s);

void sim_deliver(void *sink, struct frame *frame);
void sim_close(void *sink, unsigned code, struct str reason);
void sim_ping(void *sink);
void sim_control(void *sink, int code, struct str reason);

/* check.c */
void check(struct world *w);
