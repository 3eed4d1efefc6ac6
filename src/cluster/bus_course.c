/* bus_course.c - the course of a connection, and what comes over it.
 *
 *      DOWN -> SUBSCRIBING -> GREETING -> SETTLED
 *        up: all topics that      all confirmed:    as many answers as HELLO has reached connections of others,
 *        are listened to          HELLO             or BUS_ANSWER_WAIT_MS: listening(); missed() if it is not the first time
 *
 * A heartbeat goes to all, ourselves included: one that does not come back says that the connection is none, whatever TCP thinks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>

#include "base/log.h"
#include "cluster/bus_internal.h"

/* At the end of a turn: one announcement for all that it has changed, then everything goes to the transport. */
static void turn_ends(struct turn_hook *hook)
{
    struct bus *bus = list_of(hook, struct bus, hook);
    interest_announce(bus);
    metric_set(bus->depth, METRIC_SHARD_BUS, (int64_t)atomic_load(&bus->queued));
    if (bus->phase != BUS_DOWN && bus->waiting > BUS_CONTROL_MAX)
        bus->transport->restart(bus, "too much waits to be sent");
    if (bus->phase != BUS_DOWN)
        bus->transport->send(bus);
    if (bus->closing && bus->waiting == 0)
        loop_stop(bus->loop);
}

void bus_flush_soon(struct bus *bus)
{
    loop_at_end(bus->loop, &bus->hook);
}

/* Nobody settled from now on. */
static void unsettled(struct bus *bus)
{
    bus->unsettled_ms = loop_now_ms(bus->loop);
    if (bus->options.alone)
        wheel_set(loop_wheel(bus->loop), &bus->alone, bus->unsettled_ms + BUS_ALONE_MS);
}

static void alone_for_long(struct timer *timer)
{
    struct bus *bus = list_of(timer, struct bus, alone);
    log_warn("cluster", "no broker for %d ms: new subscriptions do not wait for it; what other nodes commit is read from the store, later", BUS_ALONE_MS);
    interest_goes_alone(bus);
}

static void settled(struct bus *bus)
{
    bool again = bus->was_up || bus->went_alone;
    wheel_cancel(loop_wheel(bus->loop), &bus->answers);
    wheel_cancel(loop_wheel(bus->loop), &bus->alone);
    bus->went_alone = false;
    bus->phase = BUS_SETTLED;
    bus->was_up = true;
    peers_up(bus);
    peers_refresh(bus);
    atomic_store(&bus->up, true);
    log_info("cluster", "connected as node %s, %zu peers", bus->node, bus->peers.count);
    if (again && bus->options.handlers.missed != NULL)
        bus->options.handlers.missed(bus->options.user);
    interest_settled(bus);
}

void bus_settle(struct bus *bus)
{
    if (bus->phase == BUS_GREETING && peers_acked_reached(bus, bus->hello_generation))
        settled(bus);
}

static void answers_are_late(struct timer *timer)
{
    struct bus *bus = list_of(timer, struct bus, answers);
    if (bus->phase == BUS_SUBSCRIBING)
        bus->transport->restart(bus, "subscriptions are not confirmed");
    else if (bus->phase == BUS_GREETING)
        settled(bus);
    else
        interest_acked(bus);
}

static void heartbeat(struct timer *timer)
{
    struct bus *bus = list_of(timer, struct bus, heartbeat);
    uint64_t now_ms = loop_now_ms(bus->loop);
    struct bus_message m = {.kind = BUS_HEARTBEAT, .node = bus->id, .nonce = bus->nonce, .generation = bus->generation};
    wheel_set(loop_wheel(bus->loop), timer, now_ms + bus->options.heartbeat_ms);
    if (bus->phase != BUS_SETTLED)
        return;
    if (bus->heartbeat_seen_ms < bus->heartbeat_sent_ms && !bus->transport->is_behind(bus)) {
        bus->transport->restart(bus, "our own heartbeat has not come back");
        return;
    }
    bus->heartbeat_sent_ms = now_ms;
    interest_announce(bus); /* what the heartbeat says of our generation comes behind what it counts */
    m.generation = bus->generation;
    bus_send_message(bus, &m, NULL);
}

void bus_transport_up(struct bus *bus)
{
    memcpy(bus->nonce_before, bus->nonce, BUS_NONCE_BYTES);
    struct random fresh;
    random_from_kernel(&fresh); /* a clone of this process draws another one */
    uint64_t nonce = random_u64(&fresh);
    memcpy(bus->nonce, &nonce, BUS_NONCE_BYTES);
    bus->phase = BUS_SUBSCRIBING;
    bus->heartbeat_seen_ms = bus->heartbeat_sent_ms = loop_now_ms(bus->loop);
    if (bus->was_up)
        metric_add(bus->reconnections, METRIC_SHARD_BUS, 1);
    wheel_set(loop_wheel(bus->loop), &bus->answers, loop_now_ms(bus->loop) + BUS_SUBSCRIBE_WAIT_MS);
    interest_up(bus);
}

/* Of what was being sent nobody knows how much has arrived; what is for the connection itself is of no use any more. */
void bus_transport_down(struct bus *bus)
{
    struct list doubtful, kept;
    if (bus->phase == BUS_SETTLED)
        unsettled(bus);
    bus->phase = BUS_DOWN;
    atomic_store(&bus->up, false);
    wheel_cancel(loop_wheel(bus->loop), &bus->answers);
    peers_down(bus);
    interest_down(bus);
    list_init(&doubtful);
    list_init(&kept);
    list_splice(&doubtful, &bus->unanswered);
    for (struct list *link; (link = list_take(&bus->unsent)) != NULL;) {
        struct bus_item *item = list_of(link, struct bus_item, link);
        list_append(item->counted ? &kept : &doubtful, link);
    }
    list_splice(&bus->unsent, &kept);
    for (struct list *link; (link = list_take(&doubtful)) != NULL; bus->waiting--)
        bus_item_dropped(list_of(link, struct bus_item, link));
    if (bus->closing)
        loop_stop(bus->loop);
}

void bus_transport_subscribed(struct bus *bus, unsigned topic)
{
    interest_subscribed(bus, topic);
}

static void reached_all(struct bus *bus, uint64_t generation, size_t reached)
{
    bus->reached = reached;
    atomic_store(&bus->peers_reached, reached > 0 ? reached - 1 : 0);
    if (generation == 0)
        return;
    if (reached == 0 && bus->phase == BUS_GREETING) {
        bus->transport->restart(bus, "what is published does not reach our own subscription: two brokers?");
        return;
    }
    bus->reached_generation = generation;
    interest_acked(bus);
    bus_settle(bus);
}

void bus_transport_answered(struct bus *bus, int64_t reached)
{
    struct list *link = list_take(&bus->unanswered);
    assert(link != NULL);
    struct bus_item *item = list_of(link, struct bus_item, link);
    bus->waiting--;
    bus_flush_soon(bus);
    if (reached < 0) {
        bus_item_dropped(item);
        return;
    }
    if (item->counted && item->to < BUS_TOPICS_MAX)
        metric_add(bus->published, METRIC_SHARD_BUS, 1);
    unsigned to = item->to;
    uint64_t generation = item->generation;
    bus_item_free(item);
    if (to == BUS_TO_ALL)
        reached_all(bus, generation, (size_t)reached);
}

/* Two living processes with our id, as a container that was copied while it ran makes them: only one can stay, and both of them
 * choose the same one. */
void bus_conflict(struct bus *bus, const char *nonce)
{
    if (bus->refusing || memcmp(nonce, bus->nonce, BUS_NONCE_BYTES) == 0 || memcmp(nonce, bus->nonce_before, BUS_NONCE_BYTES) == 0)
        return;
    metric_add(bus->conflicts, METRIC_SHARD_BUS, 1);
    if (memcmp(bus->nonce, nonce, BUS_NONCE_BYTES) < 0) {
        log_warn("cluster", "another process has this node's id %s; it is the one that gives up the bus", bus->node);
        return;
    }
    log_error("cluster", "another process has this node's id %s (a copy of this one?): the bus stays off until a restart", bus->node);
    bus->refusing = true;
    bus->transport->restart(bus, "node id in use");
}

static void own_message(struct bus *bus, const struct bus_message *m)
{
    if (m->nonce == NULL)
        return;
    if (m->kind == BUS_HEARTBEAT && memcmp(m->nonce, bus->nonce, BUS_NONCE_BYTES) == 0)
        bus->heartbeat_seen_ms = loop_now_ms(bus->loop);
    bus_conflict(bus, m->nonce);
}

static bool agrees(struct bus *bus, const struct bus_message *m, unsigned to)
{
    return m->kind == BUS_PUBLISHED ? to < bus->options.topics : to >= BUS_TOPICS_MAX;
}

void bus_transport_received(struct bus *bus, unsigned to, struct str bytes)
{
    struct bus_message m;
    if (!bus_read(bytes, &m) || !agrees(bus, &m, to)) {
        metric_add(bus->undecodable, METRIC_SHARD_BUS, 1);
        return;
    }
    if (memcmp(m.node, bus->id, BUS_ID_BYTES) == 0) {
        own_message(bus, &m);
        return;
    }
    if (m.kind == BUS_PUBLISHED && bus->topics[to].state == TOPIC_OFF)
        return; /* left while it was on its way */
    if (m.kind == BUS_PUBLISHED)
        metric_add(bus->received, METRIC_SHARD_BUS, 1);
    peers_take(bus, &m, to);
}

void bus_course_init(struct bus *bus)
{
    bus->hook.run = turn_ends;
    bus->heartbeat.fire = heartbeat;
    bus->answer_wait_ms = BUS_ANSWER_WAIT_MS;
    bus->answers.fire = answers_are_late;
    bus->alone.fire = alone_for_long;
}

void bus_course_begin(struct bus *bus)
{
    unsettled(bus);
    bus->transport->start(bus);
    wheel_set(loop_wheel(bus->loop), &bus->heartbeat, loop_now_ms(bus->loop) + bus->options.heartbeat_ms);
}
