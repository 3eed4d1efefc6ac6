/* bus_internal.h - what the files of a bus share; nobody else includes it (tests of the bus may).
 *
 *      any thread                       the bus's thread
 *      bus_publish() ── mailbox ──▶ unsent ─▶ transport ─▶ unanswered ─▶ the broker has it
 *      bus_listen()  ── wishes ───▶ interest.c ◀── peers.c ◀── transport ◀── other nodes
 *
 * An item stays in `unanswered` until the broker has answered. What a break finds there may or may not have arrived: dropped()
 * is told. What is in `unsent` waits for the next connection.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "base/map.h"
#include "base/random.h"
#include "cluster/bus.h"
#include "cluster/bus_wire.h"
#include "net/loop.h"

enum {
    BUS_ANSWER_WAIT_MS = 1000, /* for the peers' answers to HELLO and ANNOUNCE */
    BUS_SUBSCRIBE_WAIT_MS = 5000, /* for the broker's, to all subscriptions of a new connection */
    BUS_MAILBOX_TASKS = 4 * BUS_QUEUE_MAX,
    BUS_CONTROL_MAX = 4 * BUS_QUEUE_MAX, /* items in all that may wait; beyond them the connection is of no use */
};

/* Where an item goes: a topic below BUS_TOPICS_MAX, or one of these. */
enum { BUS_TO_ALL = BUS_TOPICS_MAX, BUS_TO_NODE };

struct bus_item {
    struct task task;
    struct list link;
    struct bus *bus;
    unsigned to;
    char target[BUS_ID_BYTES]; /* BUS_TO_NODE */
    bool counted;              /* somebody's payload: it counts towards BUS_QUEUE_MAX */
    uint64_t generation;       /* of an announcement; 0 = none */
    bool refused;              /* it has come only to be told by dropped() */
    size_t size;
    char bytes[];
};

/* What the users of a topic want, said under the lock. */
struct bus_wish {
    bool on, dirty;
    bool lost; /* payloads were dropped that could not even be shown */
    int window;
    uint32_t epoch; /* one more for each listen that follows a leave */
};

enum topic_state {
    TOPIC_OFF,
    TOPIC_SUBSCRIBING, /* or no connection */
    TOPIC_SUBSCRIBED,  /* not announced yet */
    TOPIC_ANNOUNCED,   /* in bus.announced */
    TOPIC_LISTENING,
};

struct bus_topic {
    enum topic_state state;
    bool told;    /* the peers count it as listened to */
    bool changed; /* the peers must hear of it: in the next announcement */
    bool owed;    /* somebody waits for listening() */
    int window;
    uint32_t epoch;
    uint64_t generation, since_ms; /* of the announcement */
    struct list link;              /* in bus.announced */
};

enum bus_phase {
    BUS_DOWN,
    BUS_SUBSCRIBING, /* connected; the topics' subscriptions are being confirmed */
    BUS_GREETING,    /* HELLO is out */
    BUS_SETTLED,
};

struct bus_peer {
    struct bus *bus;
    char id[BUS_ID_BYTES];
    char node[BUS_NODE_SIZE + 1];
    bool known, warned, twin;    /* its interests are; its number of topics, our name were complained about */
    uint64_t generation;         /* of its interests */
    uint64_t acked;              /* of ours */
    uint64_t heard_ms;
    struct timer death;
    int16_t *windows; /* [topics], BUS_NOBODY */
};

/* A node that has left, and who led then. */
struct bus_gone {
    char id[BUS_ID_BYTES], leader[BUS_ID_BYTES];
    bool clean;
    uint64_t at_ms;
};

/* The broker's side: functions of redis.c, called on the bus's thread. It calls bus_transport_*(). */
struct bus_transport {
    const char *name; /* label `driver` */
    void (*start)(struct bus *bus); /* connects, again and again; bus_transport_up() */
    void (*stop)(struct bus *bus);  /* frees all; no call afterwards */
    void (*subscribe)(struct bus *bus, const unsigned *topics, size_t count); /* only while up */
    void (*unsubscribe)(struct bus *bus, const unsigned *topics, size_t count);
    void (*send)(struct bus *bus); /* something is in bus.unsent; only while up */
    void (*restart)(struct bus *bus, const char *why);
    bool (*is_behind)(const struct bus *bus); /* more has come than could be read */
};

struct bus {
    struct bus_options options; /* strings in arena */
    struct arena arena;
    struct loop *loop;
    pthread_t thread;
    char id[BUS_ID_BYTES];
    char node[BUS_NODE_SIZE + 1];
    const struct bus_transport *transport;
    void *redis; /* the transport's own */

    /* any thread */
    _Atomic uint64_t queued, queued_bytes, refused, refused_bytes;
    _Atomic bool up, everything; /* everything: some peer's interests are not known */
    _Atomic size_t peers_alive, peers_reached;
    _Atomic int16_t *wanted; /* [topics] */
    pthread_mutex_t lock;    /* wishes, dirty, posted */
    struct bus_wish *wishes; /* [topics + 1], the last for payloads to nodes */
    unsigned *dirty;         /* their numbers */
    size_t dirty_count;
    bool posted; /* wishes_task is on its way */
    struct task wishes_task, close_task;
    uint32_t grace_ms;

    /* the bus's thread */
    struct random random;
    enum bus_phase phase;
    bool was_up;  /* once */
    bool closing;
    _Atomic bool refusing; /* another node has our id */
    char nonce[BUS_NONCE_BYTES], nonce_before[BUS_NONCE_BYTES];
    struct list unsent, unanswered;
    size_t waiting; /* items in both */
    struct turn_hook hook;
    struct timer heartbeat, answers, grace;
    struct timer alone;      /* set from a break, or the start, on */
    uint64_t unsettled_ms;   /* since when there is no settled connection */
    bool went_alone;         /* listening() was told without one: missed() is due */
    /* The newest announcement that the broker has answered, and how many connections got what went to all last, ours included.
     * A process that is killed is gone from there at once, long before it counts as dead. */
    uint64_t reached_generation;
    size_t reached;
    _Atomic uint64_t answer_wait_ms; /* BUS_ANSWER_WAIT_MS but for tests */
    uint64_t hello_generation, heartbeat_sent_ms, heartbeat_seen_ms;
    /* interest.c */
    struct bus_topic *topics;
    struct list announced; /* struct bus_topic.link, by generation */
    uint64_t generation;
    size_t subscribing; /* topics */
    size_t changed;     /* topics */
    /* peers.c */
    struct map peers; /* by id */
    size_t unknown;   /* peers whose interests are not known */
    uint64_t crowd_until_ms; /* there are more than BUS_PEERS_MAX */
    struct bus_gone gone[BUS_PEERS_MAX]; /* a ring: number n is at n modulo its size */
    uint64_t gone_count;     /* ever */

    struct metric_series *depth, *dropped, *reconnections, *published, *received, *undecodable, *conflicts;
};

/* bus_open_redis() with a node id of the caller's choice. */
struct bus *bus_open_redis_as(const struct bus_options *options, struct str node, struct buf *error);

/* ---- bus.c ---- */
/* size: of the bytes behind the head. The caller fills bytes + BUS_HEAD_BYTES. */
struct bus_item *bus_item_new(struct bus *bus, enum bus_kind kind, unsigned to, size_t size);
void bus_item_free(struct bus_item *item);
/* Sends m to all, or to the node `target`. Without a connection: nothing, the next HELLO makes up for it. */
void bus_send_message(struct bus *bus, const struct bus_message *m, const char *target);
/* The item leaves for good and was not sent, or who knows. */
void bus_item_dropped(struct bus_item *item);

/* ---- bus_course.c: one connection after another; all on the bus's thread ---- */
void bus_course_init(struct bus *bus);  /* before the thread */
void bus_course_begin(struct bus *bus); /* connects, and again whenever a connection breaks */
/* At the end of this turn what is unsent goes to the transport, and what has changed is announced. */
void bus_flush_soon(struct bus *bus);
/* Somebody has answered HELLO: were they all? */
void bus_settle(struct bus *bus);
/* A node with our id and this nonce is alive: one of the two gives up the bus until a restart. */
void bus_conflict(struct bus *bus, const char *nonce);

/* ---- bus_course.c, too: the transport says ---- */
void bus_transport_up(struct bus *bus);
/* Everything that was subscribed is no longer. */
void bus_transport_down(struct bus *bus);
void bus_transport_subscribed(struct bus *bus, unsigned topic);
/* to: a topic, BUS_TO_ALL, BUS_TO_NODE. */
void bus_transport_received(struct bus *bus, unsigned to, struct str bytes);
/* The oldest unanswered item: how many connections it has reached; -1 = the broker has refused it. */
void bus_transport_answered(struct bus *bus, int64_t reached);

/* ---- interest.c: what this node listens to ---- */
void interest_wishes_arrive(struct task *task);
void interest_up(struct bus *bus);
void interest_down(struct bus *bus);
void interest_subscribed(struct bus *bus, unsigned topic);
/* At the end of a turn: announces what has changed. */
void interest_announce(struct bus *bus);
/* Some peer has acknowledged, has left or joined, or time has passed: topics may be listening now. */
void interest_acked(struct bus *bus);
/* The peers have answered HELLO, or had their time. */
void interest_settled(struct bus *bus);
/* There has been no broker for long enough: whoever waits goes on without (options.alone). */
void interest_goes_alone(struct bus *bus);
/* Sends HELLO, or STATE to `target` as the answer to its generation. */
void interest_send_state(struct bus *bus, enum bus_kind kind, const char *target, uint64_t answers);

/* ---- peers.c: the others ---- */
void peers_take(struct bus *bus, const struct bus_message *m, unsigned to);
void peers_up(struct bus *bus);
void peers_down(struct bus *bus);
void peers_free(struct bus *bus);
/* How many have answered the HELLO of this generation. */
size_t peers_acked(const struct bus *bus, uint64_t generation);
/* As many have acknowledged it as the broker has reached. A peer that died since it did may stand for a slow one: then the heads
 * that are compared every second find what that one has not told. */
bool peers_acked_reached(const struct bus *bus, uint64_t generation);
/* The smallest generation of ours that every peer knows; UINT64_MAX without peers. */
uint64_t peers_acked_all(const struct bus *bus);
/* Says anew what `wanted` and `everything` say. */
void peers_refresh(struct bus *bus);

/* ---- open: the transport makes the bus, adds its own, starts it ---- */
/* node absent = a new id. The prefix is copied, the transport copies the rest that it keeps into bus.arena. */
struct bus *bus_new(const struct bus_options *options, const struct bus_transport *transport, struct str node);
void bus_start(struct bus *bus);
