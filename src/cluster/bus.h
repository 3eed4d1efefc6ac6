/* bus.h - how the nodes of a fleet hear of each other (design, "Cluster"; chapter 5, section 5).
 *
 *      topics    a channel belongs to one of a fixed number of topics. A node hears those that it listens to.
 *      peers     the living nodes, by their heartbeats; a payload may go to one of them or to all
 *
 *      listen(n) -> subscribed at the broker -> announced, answered by every living peer -> listening(n)
 *
 * From listening(n) on, whatever a peer publishes to n arrives, and what it had committed before can be read from the store:
 * nothing falls between. The bus carries bytes and never looks into them. It is fast, not sure: order is kept from one node to
 * another while nothing breaks; what is lost in a break is announced by missed(), and then the store tells what it was.
 *
 * Ownership: payloads are copied. Threads: every bus_*() any; handlers on the bus's own thread, one at a time.
 * Limits: BUS_QUEUE_MAX payloads of BUS_QUEUE_BYTES_MAX in all wait to be sent (dropped() for each beyond), BUS_PEERS_MAX peers (with
 * more of them this node publishes everything, as if all were wanted), payloads of BUS_PAYLOAD_MAX bytes (larger ones: dropped()). Metrics: horizontal_transport_queue_depth, _messages_dropped_total, _reconnections_total, horizontal_broadcast_published_total,
 * _received_total, horizontal_node_conflicts_total, all with label driver.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/clock.h"
#include "base/metric.h"
#include "config/config.h"
#include "message/env.h"

enum {
    BUS_TOPICS_MAX = 4096,
    BUS_QUEUE_MAX = 8192,
    BUS_PEERS_MAX = 256,
    BUS_PAYLOAD_MAX = 1 << 20,
    BUS_NODE_SIZE = 36, /* a UUID, new at each start */
    BUS_QUEUE_BYTES_MAX = 64 << 20,
    BUS_NO_TOPIC = -1,
    BUS_ALONE_MS = 1000,
    BUS_START_ATTEMPTS = 3, /* about a second and a half */
    BUS_START_WAIT_MS = 5000,
};

struct bus;

enum bus_peer_joins { PEER_NEW, PEER_BACK };

struct bus_handlers {
    /* Published to a topic by another node. */
    void (*published)(void *user, struct str node, unsigned topic, struct str payload);
    /* Sent to this node or to all, by another. */
    void (*received)(void *user, struct str node, struct str payload);
    /* Now it is heard; or, options.alone, there is no broker to hear it from. */
    void (*listening)(void *user, unsigned topic);
    /* From now on something may be missing on all topics that are listened to. */
    void (*missed)(void *user);
    /* PEER_BACK: it was told of as dead before, and was not: it has been silent for too long, or was not heard. leads: as below. */
    void (*peer_joined)(void *user, struct str node, enum bus_peer_joins how, bool leads);
    /* clean: it has said good-bye. Every node is told; leads: this node is the one that does what only one may do. Whoever led may go
     * before it has done so: when it leaves within two node_timeout_ms, its successor is told of that node again, with leads. So
     * somebody leads at least once. */
    void (*peer_left)(void *user, struct str node, bool clean, bool leads);
    /* The queue was full, or a break leaves open whether the payload has arrived. topic: BUS_NO_TOPIC for those of bus_send().
     * payload: absent when so many were dropped at once that they could not be kept for this call; one call then stands for
     * all of that topic. May be NULL. */
    void (*dropped)(void *user, int topic, struct str payload);
};

struct bus_options {
    struct bus_handlers handlers;
    void *user;
    const struct clock *clock;
    struct metric_registry *metrics;
    struct str name;                 /* of this node for people: no two should have the same one; may be absent */
    struct str prefix;               /* of the broker's names, ends as it is configured: "sockudo_adapter:" */
    unsigned topics;
    uint32_t heartbeat_ms, node_timeout_ms;
    /* listening() does not wait for ever for a broker that is away: after BUS_ALONE_MS without one it comes at once, and missed() when
     * there is one. */
    bool alone;
    struct redis_config redis; /* db is selected, though Pub/Sub does not know databases */
};

/* Connects in the background and goes on trying: not being able to is no failure here. NULL, with a readable reason, for options
 * that cannot work. */
struct bus *bus_open_redis(const struct bus_options *options, struct buf *error);
/* For a start that makes no sense without it: waits until it is up. False, with a reason, after BUS_START_ATTEMPTS that have failed or
 * BUS_START_WAIT_MS. */
bool bus_wait_redis(struct bus *bus, struct buf *error);
/* Says good-bye, sends what waits (at most grace_ms), ends the thread. */
void bus_close(struct bus *bus, uint32_t grace_ms);

struct str bus_node(const struct bus *bus);
/* Whether the broker answers, and how many peers are alive. */
bool bus_is_up(const struct bus *bus);
/* Another process has this node's id, and this one has given way: there is no bus until a restart. */
bool bus_gave_way(const struct bus *bus);
size_t bus_peers(const struct bus *bus);
/* How many of them got what went to all last: more will not answer. A process that was killed is not among them, though it counts as
 * alive for node_timeout_ms. */
size_t bus_peers_reached(const struct bus *bus);

/* window: the smallest rollup window index that a connection here has in the topic; told to the peers. May be called again with another
 * one. listening() comes once for each bus_listen() that follows a bus_leave() or nothing. */
void bus_listen(struct bus *bus, unsigned topic, int window);
void bus_leave(struct bus *bus, unsigned topic);
/* The smallest window that a living peer has in the topic; BUS_NOBODY. A read of an array: cheap. A peer whose announcements are not
 * known yet counts as listening to all, with window 0. */
int bus_wanted(const struct bus *bus, unsigned topic);

void bus_publish(struct bus *bus, unsigned topic, struct str payload);
void bus_send(struct bus *bus, struct str node, struct str payload); /* node absent = all */

/* The part of *options that is configured: prefix, topics, intervals, redis. Views of config. Handlers, user, clock and metrics are
 * the caller's. */
void bus_options_from_config(struct bus_options *options, const struct config *config);
