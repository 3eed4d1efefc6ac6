/* interest.c - what this node listens to, and how the others come to know it.
 *
 *      wish -> SUBSCRIBING -> SUBSCRIBED -> ANNOUNCED -> LISTENING
 *              broker        end of turn    acknowledged by every peer that the broker reaches, or BUS_ANSWER_WAIT_MS
 *
 * Each announcement makes a new generation of the interests. A peer that knows generation g and hears "since g, now g + 1" applies
 * it; whoever hears of another one counts us as listening to everything until it has asked. Connecting makes HELLO the announcement
 * of all topics, once their subscriptions are confirmed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/mem.h"
#include "cluster/bus_internal.h"

static void change(struct bus *bus, struct bus_topic *t)
{
    if (!t->changed)
        bus->changed++;
    t->changed = true;
    loop_at_end(bus->loop, &bus->hook);
}

static void unchange(struct bus *bus, struct bus_topic *t)
{
    if (t->changed)
        bus->changed--;
    t->changed = false;
}

static unsigned number_of(const struct bus *bus, const struct bus_topic *t)
{
    return (unsigned)(t - bus->topics);
}

static void topic_is_listening(struct bus *bus, struct bus_topic *t)
{
    list_remove(&t->link);
    t->state = TOPIC_LISTENING;
    if (!t->owed)
        return;
    t->owed = false;
    bus->options.handlers.listening(bus->options.user, number_of(bus, t));
}

static void goes_alone(struct bus *bus, struct bus_topic *t)
{
    if (!t->owed)
        return;
    t->owed = false;
    bus->went_alone = true;
    bus->options.handlers.listening(bus->options.user, number_of(bus, t));
}

void interest_goes_alone(struct bus *bus)
{
    for (unsigned i = 0; i < bus->options.topics; i++)
        goes_alone(bus, &bus->topics[i]);
}

static bool is_alone(const struct bus *bus)
{
    return bus->options.alone && bus->phase != BUS_SETTLED && !timer_is_set(&bus->alone);
}

static void greet(struct bus *bus)
{
    uint64_t now_ms = loop_now_ms(bus->loop);
    bus->generation++;
    for (unsigned i = 0; i < bus->options.topics; i++) {
        struct bus_topic *t = &bus->topics[i];
        unchange(bus, t);
        t->told = t->state == TOPIC_SUBSCRIBED;
        if (!t->told)
            continue;
        t->state = TOPIC_ANNOUNCED;
        t->generation = bus->generation;
        t->since_ms = now_ms;
        list_append(&bus->announced, &t->link);
    }
    bus->phase = BUS_GREETING;
    bus->hello_generation = bus->generation;
    wheel_set(loop_wheel(bus->loop), &bus->answers, now_ms + bus->answer_wait_ms);
    interest_send_state(bus, BUS_HELLO, NULL, 0);
}

/* ---- wishes ---- */

static void turn_on(struct bus *bus, struct bus_topic *t, const struct bus_wish *wish)
{
    unsigned number = number_of(bus, t);
    t->owed = true;
    t->epoch = wish->epoch;
    t->window = wish->window;
    if (t->state == TOPIC_LISTENING) { /* it was left for a moment that nobody has noticed */
        change(bus, t);
        topic_is_listening(bus, t);
        return;
    }
    if (t->state == TOPIC_ANNOUNCED)
        change(bus, t);
    if (t->state != TOPIC_OFF)
        return; /* on its way */
    t->state = TOPIC_SUBSCRIBING;
    if (bus->phase == BUS_DOWN)
        return;
    bus->subscribing++;
    bus->transport->subscribe(bus, &number, 1);
}

static void turn_off(struct bus *bus, struct bus_topic *t)
{
    unsigned number = number_of(bus, t);
    if (t->state == TOPIC_OFF)
        return;
    if (t->state == TOPIC_SUBSCRIBING && bus->phase != BUS_DOWN)
        bus->subscribing--;
    list_remove(&t->link);
    t->state = TOPIC_OFF;
    t->owed = false;
    unchange(bus, t);
    if (t->told)
        change(bus, t);
    if (bus->phase != BUS_DOWN)
        bus->transport->unsubscribe(bus, &number, 1);
    if (bus->phase == BUS_SUBSCRIBING && bus->subscribing == 0)
        greet(bus); /* it was the last to wait for */
}

static void obey(struct bus *bus, unsigned number, const struct bus_wish *wish)
{
    struct bus_topic *t = &bus->topics[number];
    if (!wish->on)
        turn_off(bus, t);
    else if (t->epoch != wish->epoch || t->state == TOPIC_OFF)
        turn_on(bus, t, wish);
    else if (t->window != wish->window) {
        t->window = wish->window;
        if (t->state == TOPIC_ANNOUNCED || t->state == TOPIC_LISTENING)
            change(bus, t);
    }
    if (is_alone(bus))
        goes_alone(bus, t);
}

static void tell_lost(struct bus *bus, unsigned number)
{
    metric_add(bus->dropped, METRIC_SHARD_BUS, 1);
    if (bus->options.handlers.dropped != NULL)
        bus->options.handlers.dropped(bus->options.user, number < bus->options.topics ? (int)number : BUS_NO_TOPIC, STR_NONE);
}

void interest_wishes_arrive(struct task *task)
{
    struct bus *bus = list_of(task, struct bus, wishes_task);
    size_t slots = bus->options.topics + 1;
    unsigned *numbers = mem_alloc(slots * sizeof *numbers);
    struct bus_wish *wishes = mem_alloc(slots * sizeof *wishes);
    pthread_mutex_lock(&bus->lock);
    size_t count = bus->dirty_count;
    for (size_t i = 0; i < count; i++) {
        numbers[i] = bus->dirty[i];
        wishes[i] = bus->wishes[numbers[i]];
        bus->wishes[numbers[i]].dirty = bus->wishes[numbers[i]].lost = false;
    }
    bus->dirty_count = 0;
    bus->posted = false;
    pthread_mutex_unlock(&bus->lock);
    for (size_t i = 0; i < count; i++) {
        if (wishes[i].lost)
            tell_lost(bus, numbers[i]);
        if (numbers[i] < bus->options.topics)
            obey(bus, numbers[i], &wishes[i]);
    }
    free(numbers);
    free(wishes);
}

/* ---- the connection ---- */

void interest_up(struct bus *bus)
{
    unsigned *numbers = mem_alloc(bus->options.topics * sizeof *numbers);
    bus->subscribing = 0;
    for (unsigned i = 0; i < bus->options.topics; i++)
        if (bus->topics[i].state == TOPIC_SUBSCRIBING)
            numbers[bus->subscribing++] = i;
    if (bus->subscribing > 0)
        bus->transport->subscribe(bus, numbers, bus->subscribing);
    else
        greet(bus);
    free(numbers);
}

void interest_down(struct bus *bus)
{
    for (unsigned i = 0; i < bus->options.topics; i++) {
        struct bus_topic *t = &bus->topics[i];
        unchange(bus, t);
        list_remove(&t->link);
        if (t->state != TOPIC_OFF)
            t->state = TOPIC_SUBSCRIBING;
    }
    bus->subscribing = 0;
}

void interest_subscribed(struct bus *bus, unsigned topic)
{
    struct bus_topic *t = &bus->topics[topic];
    if (t->state != TOPIC_SUBSCRIBING)
        return; /* left meanwhile */
    t->state = TOPIC_SUBSCRIBED;
    bus->subscribing--;
    if (bus->phase == BUS_GREETING || bus->phase == BUS_SETTLED)
        change(bus, t);
    else if (bus->subscribing == 0)
        greet(bus);
}

/* ---- announcing ---- */

static void announced_anew(struct bus *bus, struct bus_topic *t, struct bus_interest *interest)
{
    *interest = (struct bus_interest){number_of(bus, t), t->state == TOPIC_OFF ? BUS_NOBODY : t->window};
    unchange(bus, t);
    t->told = t->state != TOPIC_OFF;
    if (t->state != TOPIC_SUBSCRIBED)
        return;
    t->state = TOPIC_ANNOUNCED;
    t->generation = bus->generation;
    t->since_ms = loop_now_ms(bus->loop);
    list_append(&bus->announced, &t->link);
}

void interest_announce(struct bus *bus)
{
    if (bus->changed == 0 || (bus->phase != BUS_GREETING && bus->phase != BUS_SETTLED))
        return;
    struct bus_interest *interests = mem_alloc(bus->changed * sizeof *interests);
    struct buf packed = {0};
    size_t count = 0;
    struct bus_message m = {.kind = BUS_ANNOUNCE, .node = bus->id, .since = bus->generation, .generation = bus->generation + 1};
    bus->generation++;
    for (unsigned i = 0; i < bus->options.topics && bus->changed > 0; i++)
        if (bus->topics[i].changed)
            announced_anew(bus, &bus->topics[i], &interests[count++]);
    bus_put_interests(&packed, interests, count);
    m.interests = buf_view(&packed);
    bus_send_message(bus, &m, NULL);
    buf_free(&packed);
    free(interests);
    interest_acked(bus);
}

void interest_acked(struct bus *bus)
{
    uint64_t acked = peers_acked_all(bus), now_ms = loop_now_ms(bus->loop);
    if (bus->phase != BUS_SETTLED)
        return;
    while (!list_empty(&bus->announced)) {
        struct bus_topic *t = list_of(bus->announced.next, struct bus_topic, link);
        bool answered = t->generation <= acked || peers_acked_reached(bus, t->generation);
        if (!answered && t->since_ms + bus->answer_wait_ms > now_ms) {
            wheel_set(loop_wheel(bus->loop), &bus->answers, t->since_ms + bus->answer_wait_ms);
            return;
        }
        topic_is_listening(bus, t);
    }
}

void interest_settled(struct bus *bus)
{
    while (!list_empty(&bus->announced)) {
        struct bus_topic *t = list_of(bus->announced.next, struct bus_topic, link);
        if (t->generation > bus->hello_generation)
            break;
        topic_is_listening(bus, t);
    }
    interest_acked(bus);
}

void interest_send_state(struct bus *bus, enum bus_kind kind, const char *target, uint64_t answers)
{
    struct bus_interest *interests = mem_alloc(bus->options.topics * sizeof *interests);
    struct buf packed = {0};
    size_t count = 0;
    for (unsigned i = 0; i < bus->options.topics; i++)
        if (bus->topics[i].told)
            interests[count++] = (struct bus_interest){i, bus->topics[i].window};
    bus_put_interests(&packed, interests, count);
    struct bus_message m = {.kind = kind, .node = bus->id, .nonce = bus->nonce, .name = bus->options.name, .topics = bus->options.topics,
                            .generation = bus->generation, .answers = answers, .interests = buf_view(&packed)};
    bus_send_message(bus, &m, target);
    buf_free(&packed);
    free(interests);
}
