/* peers.c - the other nodes: who lives, and what each listens to.
 *
 * Whatever comes from a node is a sign of life, and makes a peer of one that was not known. A peer's interests are not known until
 * its HELLO or STATE has come; until then, and whenever its generation is not the one that we have, it counts as listening to
 * everything, and is asked. It dies when nothing has come for node_timeout_ms while we were connected.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "cluster/bus_internal.h"

#define EACH_PEER(peer, bus) \
    for (size_t at_ = 0, once_ = 1; once_; once_ = 0) \
        for (struct bus_peer *peer; (peer = map_next(&(bus)->peers, &at_)) != NULL;)

static struct str id_of(const char *id)
{
    return str_make(id, BUS_ID_BYTES);
}

static struct str node_of(const struct bus_peer *peer)
{
    return str_make(peer->node, BUS_NODE_SIZE);
}

/* ---- what all of them want ---- */

static bool is_crowded(const struct bus *bus)
{
    return bus->crowd_until_ms > loop_now_ms(bus->loop);
}

static void refresh_topic(struct bus *bus, unsigned topic)
{
    int wanted = BUS_NOBODY;
    EACH_PEER(peer, bus)
        if (peer->windows[topic] != BUS_NOBODY && (wanted == BUS_NOBODY || peer->windows[topic] < wanted))
            wanted = peer->windows[topic];
    atomic_store(&bus->wanted[topic], (int16_t)wanted);
}

static void refresh_everything(struct bus *bus)
{
    atomic_store(&bus->everything, bus->phase != BUS_SETTLED || bus->unknown > 0 || is_crowded(bus));
}

void peers_refresh(struct bus *bus)
{
    for (unsigned i = 0; i < bus->options.topics; i++)
        refresh_topic(bus, i);
    refresh_everything(bus);
}

static void make_unknown(struct bus *bus, struct bus_peer *peer)
{
    if (peer->known)
        bus->unknown++;
    peer->known = false;
    refresh_everything(bus);
}

static void ask(struct bus *bus, const struct bus_peer *peer)
{
    struct bus_message m = {.kind = BUS_ASK, .node = bus->id};
    bus_send_message(bus, &m, peer->id);
}

/* ---- life ---- */

/* The smallest living id. */
static const char *leader_of(const struct bus *bus)
{
    const char *smallest = bus->id;
    EACH_PEER(peer, bus)
        if (memcmp(peer->id, smallest, BUS_ID_BYTES) < 0)
            smallest = peer->id;
    return smallest;
}

static void tell_gone(struct bus *bus, const struct bus_gone *gone)
{
    char node[BUS_NODE_SIZE + 1];
    bus_id_write(gone->id, node);
    bus->options.handlers.peer_left(bus->options.user, str_make(node, BUS_NODE_SIZE), gone->clean,
                                    memcmp(gone->leader, bus->id, BUS_ID_BYTES) == 0);
}

/* Tells of a node that is gone, and, if it was the leader, again of those for which it led a moment ago. */
static void node_is_gone(struct bus *bus, const char *id, bool clean)
{
    const char *leader = leader_of(bus);
    uint64_t now_ms = loop_now_ms(bus->loop), first = bus->gone_count > BUS_PEERS_MAX ? bus->gone_count - BUS_PEERS_MAX : 0;
    struct bus_gone *now = &bus->gone[bus->gone_count % BUS_PEERS_MAX];
    *now = (struct bus_gone){.clean = clean, .at_ms = now_ms};
    memcpy(now->id, id, BUS_ID_BYTES);
    memcpy(now->leader, leader, BUS_ID_BYTES);
    uint64_t end = bus->gone_count++;
    tell_gone(bus, now);
    for (uint64_t i = first; i < end; i++) {
        struct bus_gone *gone = &bus->gone[i % BUS_PEERS_MAX];
        if (gone == now || memcmp(gone->leader, id, BUS_ID_BYTES) != 0 || gone->at_ms + 2ull * bus->options.node_timeout_ms < now_ms)
            continue;
        memcpy(gone->leader, leader, BUS_ID_BYTES);
        if (leader == bus->id && map_get(&bus->peers, id_of(gone->id)) == NULL)
            tell_gone(bus, gone);
    }
}

static void forget(struct bus_peer *peer)
{
    struct bus *bus = peer->bus;
    wheel_cancel(loop_wheel(bus->loop), &peer->death);
    map_del(&bus->peers, id_of(peer->id));
    if (!peer->known)
        bus->unknown--;
    free(peer->windows);
    free(peer);
}

static void leave(struct bus_peer *peer, bool clean)
{
    struct bus *bus = peer->bus;
    char node[BUS_NODE_SIZE + 1], id[BUS_ID_BYTES];
    memcpy(node, peer->node, sizeof node);
    memcpy(id, peer->id, sizeof id);
    forget(peer);
    atomic_store(&bus->peers_alive, bus->peers.count);
    peers_refresh(bus);
    log_info("cluster", "node %s %s; %zu peers", node, clean ? "has left" : "is silent and counts as dead", bus->peers.count);
    node_is_gone(bus, id, clean);
    interest_acked(bus);
    bus_settle(bus);
}

static void death_comes(struct timer *timer)
{
    struct bus_peer *peer = list_of(timer, struct bus_peer, death);
    struct bus *bus = peer->bus;
    uint64_t now_ms = loop_now_ms(bus->loop);
    if (bus->phase != BUS_SETTLED) /* we hear nobody: that says nothing about them */
        peer->heard_ms = now_ms;
    if (peer->heard_ms + bus->options.node_timeout_ms <= now_ms)
        leave(peer, false);
    else
        wheel_set(loop_wheel(bus->loop), timer, peer->heard_ms + bus->options.node_timeout_ms);
}

/* An id is new at each start: whoever has one of the dead was none. */
static enum bus_peer_joins joins_how(const struct bus *bus, const char *id)
{
    for (uint64_t i = 0; i < BUS_PEERS_MAX && i < bus->gone_count; i++)
        if (!bus->gone[i].clean && memcmp(bus->gone[i].id, id, BUS_ID_BYTES) == 0)
            return PEER_BACK;
    return PEER_NEW;
}

static struct bus_peer *join(struct bus *bus, const char *id)
{
    enum bus_peer_joins how = joins_how(bus, id);
    bool leads = leader_of(bus) == bus->id;
    struct bus_peer *peer = mem_new(struct bus_peer);
    peer->bus = bus;
    memcpy(peer->id, id, BUS_ID_BYTES);
    bus_id_write(id, peer->node);
    peer->acked = bus->generation; /* it counts us as listening to everything until it has our STATE */
    peer->windows = mem_alloc(bus->options.topics * sizeof *peer->windows);
    for (unsigned i = 0; i < bus->options.topics; i++)
        peer->windows[i] = BUS_NOBODY;
    peer->heard_ms = loop_now_ms(bus->loop);
    peer->death.fire = death_comes;
    wheel_set(loop_wheel(bus->loop), &peer->death, peer->heard_ms + bus->options.node_timeout_ms);
    map_put(&bus->peers, id_of(peer->id), peer);
    bus->unknown++;
    atomic_store(&bus->peers_alive, bus->peers.count);
    refresh_everything(bus);
    log_info("cluster", "node %s has joined; %zu peers", peer->node, bus->peers.count);
    bus->options.handlers.peer_joined(bus->options.user, node_of(peer), how, leads);
    return peer;
}

/* NULL if there are too many. */
static struct bus_peer *peer_of(struct bus *bus, const struct bus_message *m)
{
    struct bus_peer *peer = map_get(&bus->peers, id_of(m->node));
    if (peer == NULL && m->kind == BUS_BYE)
        return NULL;
    if (peer == NULL && bus->peers.count >= BUS_PEERS_MAX) {
        if (!is_crowded(bus))
            log_error("cluster", "more than %d nodes: the others are not told what this one listens to", BUS_PEERS_MAX);
        bus->crowd_until_ms = loop_now_ms(bus->loop) + bus->options.node_timeout_ms;
        refresh_everything(bus);
        return NULL;
    }
    if (peer == NULL) {
        peer = join(bus, m->node);
        if (m->kind != BUS_HELLO && m->kind != BUS_STATE)
            ask(bus, peer);
    }
    peer->heard_ms = loop_now_ms(bus->loop);
    return peer;
}

/* ---- interests ---- */

static void apply(struct bus *bus, struct bus_peer *peer, struct str interests)
{
    struct bus_interests it;
    struct bus_interest one;
    bus_interests_begin(&it, interests);
    while (bus_interest_next(&it, &one))
        if (one.topic < bus->options.topics) {
            peer->windows[one.topic] = (int16_t)one.window;
            refresh_topic(bus, one.topic);
        }
}

static bool has_our_topics(struct bus *bus, struct bus_peer *peer, uint32_t topics)
{
    if (topics == bus->options.topics)
        return true;
    if (!peer->warned)
        log_error("cluster", "node %s has adapter.topics = %u, this one %u: they must be equal, or messages are lost between them",
                  peer->node, topics, bus->options.topics);
    peer->warned = true;
    return false;
}

/* Both say it: nothing breaks, but whoever reads what they write (presence history) cannot tell them apart. */
static void compare_names(struct bus *bus, struct bus_peer *peer, struct str name)
{
    if (peer->twin || name.n == 0 || !str_eq(name, bus->options.name))
        return;
    log_error("cluster", "node %s has the instance.process_id %.*s, as this one (%s): give each node its own", peer->node, STR_ARG(name),
              bus->node);
    metric_add(bus->conflicts, METRIC_SHARD_BUS, 1);
    peer->twin = true;
}

static void take_state(struct bus *bus, struct bus_peer *peer, const struct bus_message *m)
{
    compare_names(bus, peer, m->name);
    if (!has_our_topics(bus, peer, m->topics)) {
        make_unknown(bus, peer);
        return;
    }
    for (unsigned i = 0; i < bus->options.topics; i++)
        peer->windows[i] = BUS_NOBODY;
    struct bus_interests it;
    struct bus_interest one;
    bus_interests_begin(&it, m->interests);
    while (bus_interest_next(&it, &one))
        if (one.topic < bus->options.topics)
            peer->windows[one.topic] = (int16_t)one.window;
    peer->generation = m->generation;
    if (!peer->known)
        bus->unknown--;
    peer->known = true;
    peers_refresh(bus);
}

static void take_announcement(struct bus *bus, struct bus_peer *peer, const struct bus_message *m)
{
    struct bus_message ack = {.kind = BUS_ACK, .node = bus->id, .generation = m->generation};
    if (peer->known && m->since == peer->generation) {
        apply(bus, peer, m->interests);
        peer->generation = m->generation;
    } else {
        make_unknown(bus, peer);
        ask(bus, peer);
    }
    bus_send_message(bus, &ack, peer->id);
}

static void take_ack(struct bus *bus, struct bus_peer *peer, uint64_t generation)
{
    if (generation <= peer->acked || generation > bus->generation)
        return;
    peer->acked = generation;
    interest_acked(bus);
}

static void take_heartbeat(struct bus *bus, struct bus_peer *peer, uint64_t generation)
{
    if (peer->known && peer->generation == generation)
        return;
    make_unknown(bus, peer);
    ask(bus, peer);
}

/* It counts us as listening to everything until it has the answer: so it has acknowledged all. */
static void take_hello(struct bus *bus, struct bus_peer *peer, const struct bus_message *m)
{
    take_state(bus, peer, m);
    interest_send_state(bus, BUS_STATE, peer->id, m->generation);
    peer->acked = bus->generation;
    interest_acked(bus);
}

void peers_take(struct bus *bus, const struct bus_message *m, unsigned to)
{
    struct bus_peer *peer = peer_of(bus, m);
    struct str node = peer != NULL ? node_of(peer) : STR_NONE;
    char stranger[BUS_NODE_SIZE + 1];
    if (peer == NULL && m->kind != BUS_PUBLISHED && m->kind != BUS_SENT)
        return;
    if (peer == NULL) {
        bus_id_write(m->node, stranger);
        node = str_make(stranger, BUS_NODE_SIZE);
    }
    switch (m->kind) {
    case BUS_PUBLISHED:
        bus->options.handlers.published(bus->options.user, node, to, m->payload);
        break;
    case BUS_SENT:
        bus->options.handlers.received(bus->options.user, node, m->payload);
        break;
    case BUS_HELLO:
        take_hello(bus, peer, m);
        break;
    case BUS_STATE:
        take_state(bus, peer, m);
        take_ack(bus, peer, m->answers);
        break;
    case BUS_ANNOUNCE:
        take_announcement(bus, peer, m);
        break;
    case BUS_ACK:
        take_ack(bus, peer, m->generation);
        break;
    case BUS_ASK:
        interest_send_state(bus, BUS_STATE, peer->id, 0);
        break;
    case BUS_HEARTBEAT:
        take_heartbeat(bus, peer, m->generation);
        break;
    case BUS_BYE:
        leave(peer, true);
        return;
    }
    bus_settle(bus);
}

/* ---- all of them ---- */

void peers_up(struct bus *bus)
{
    EACH_PEER(peer, bus)
        peer->heard_ms = loop_now_ms(bus->loop);
}

void peers_down(struct bus *bus)
{
    EACH_PEER(peer, bus)
        make_unknown(bus, peer);
    refresh_everything(bus);
}

void peers_free(struct bus *bus)
{
    EACH_PEER(peer, bus)
        forget(peer);
    map_free(&bus->peers);
}

size_t peers_acked(const struct bus *bus, uint64_t generation)
{
    size_t count = 0;
    EACH_PEER(peer, bus)
        count += peer->acked >= generation && peer->known;
    return count;
}

bool peers_acked_reached(const struct bus *bus, uint64_t generation)
{
    return bus->reached_generation >= generation && peers_acked(bus, generation) + 1 >= bus->reached;
}

uint64_t peers_acked_all(const struct bus *bus)
{
    uint64_t smallest = UINT64_MAX;
    EACH_PEER(peer, bus)
        if (peer->acked < smallest)
            smallest = peer->acked;
    return smallest;
}
