/* redis.c - the bus over Redis' Pub/Sub (chapter 5, 5.1).
 *
 *      redis_master.h: both links connect, AUTH, SELECT, ROLE -> sub: SUBSCRIBE all, node -> up
 *
 *      <prefix>:#requests         to all
 *      <prefix>:#node:<id>        to one
 *      <prefix>:#broadcast:<n>    a topic
 *
 * One connection publishes, one subscribes (in RESP2 a connection that subscribes can do nothing else). They live and die together: a
 * node that can only hear or only speak would be a riddle to its peers. On `pub` everything after the greeting is PUBLISH, so answers
 * come in the order of bus.unanswered.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "cluster/redis_internal.h"

enum {
    OUT_BYTES = 256 << 10,    /* of commands that are not written yet; the rest waits in bus.unsent */
    SUBSCRIBE_TOPICS = 256,   /* in one command */
    SUBSCRIBE_BYTES = 4 << 20, /* of commands that are not written yet */
};

static struct redis *redis_of(const struct bus *bus)
{
    return bus->redis;
}

static struct redis_link *pub_of(struct redis *r)
{
    return &r->master.links[REDIS_PUB];
}

static struct redis_link *sub_of(struct redis *r)
{
    return &r->master.links[REDIS_SUB];
}

static void redis_restart(struct bus *bus, const char *why)
{
    redis_master_restart(&redis_of(bus)->master, why);
}

/* ---- what comes while it is up ---- */

/* A topic's number, BUS_TO_ALL, BUS_TO_NODE, or -1. */
static int place_of(const struct redis *r, struct str name)
{
    uint64_t number;
    if (str_starts(name, r->broadcast))
        return str_to_u64(str_from(name, r->broadcast.n), &number) && number < r->bus->options.topics ? (int)number : -1;
    if (str_eq(name, r->requests))
        return BUS_TO_ALL;
    return str_eq(name, r->node) ? BUS_TO_NODE : -1;
}

static void pushed(struct redis *r, const redisReply *reply)
{
    struct str what = redis_text(reply->element[0]);
    int to = place_of(r, redis_text(reply->element[1]));
    if (to < 0)
        return;
    if (str_eq(what, STR("message")))
        bus_transport_received(r->bus, (unsigned)to, redis_text(reply->element[2]));
    else if (str_eq(what, STR("subscribe")) && to < BUS_TOPICS_MAX && r->confirmations[to] > 0 && --r->confirmations[to] == 0)
        bus_transport_subscribed(r->bus, (unsigned)to); /* with more to come it is not the last word: there was a leave between */
}

static void sub_replied(struct redis *r, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 3)
        pushed(r, reply);
    else if (reply->type == REDIS_REPLY_ERROR)
        redis_master_refuse(&r->master, sub_of(r), redis_text(reply));
}

static void pub_replied(struct redis *r, const redisReply *reply)
{
    if (list_empty(&r->bus->unanswered)) {
        redis_master_refuse(&r->master, pub_of(r), STR("answers what it was not asked"));
        return;
    }
    if (reply->type == REDIS_REPLY_INTEGER) {
        bus_transport_answered(r->bus, reply->integer);
        return;
    }
    log_warn("cluster", "redis: PUBLISH is refused: %.*s", STR_ARG(redis_text(reply)));
    bus_transport_answered(r->bus, -1);
    if (redis_refuses_service(reply))
        redis_master_restart(&r->master, "the server refuses its service");
}

/* ---- what the master says ---- */

static unsigned greet(struct redis_master *m, struct redis_link *link)
{
    struct redis *r = m->user;
    if (link == pub_of(r))
        return 0;
    REDIS_COMMAND(link, STR("SUBSCRIBE"), r->requests, r->node);
    return 2;
}

static void is_up(struct redis_master *m)
{
    struct redis *r = m->user;
    bus_transport_up(r->bus);
}

static void is_down(struct redis_master *m)
{
    struct redis *r = m->user;
    memset(r->confirmations, 0, r->bus->options.topics * sizeof *r->confirmations);
    bus_transport_down(r->bus);
}

static void replied(struct redis_master *m, struct redis_link *link, const redisReply *reply)
{
    struct redis *r = m->user;
    if (link == pub_of(r))
        pub_replied(r, reply);
    else
        sub_replied(r, reply);
}

/* Subscriptions wait in sub's `out` themselves: their number is bounded by the topics. */
static void has_flushed(struct redis_master *m, struct redis_link *link)
{
    struct redis *r = m->user;
    if (link == pub_of(r) && !list_empty(&r->bus->unsent))
        bus_flush_soon(r->bus);
}

static bool is_over(struct redis_master *m)
{
    struct redis *r = m->user;
    return r->bus->refusing;
}

/* ---- what the bus asks for ---- */

static void put_names(struct redis *r, const char *verb, const unsigned *topics, size_t count)
{
    struct str words[1 + SUBSCRIBE_TOPICS];
    struct buf names = {0};
    size_t ends[SUBSCRIBE_TOPICS], at = 0;
    for (size_t i = 0; i < count; i++) {
        buf_str(&names, r->broadcast);
        buf_u64(&names, topics[i]);
        ends[i] = names.n;
    }
    words[0] = str_of(verb);
    for (size_t i = 0; i < count; at = ends[i++])
        words[1 + i] = str_make(names.p + at, ends[i] - at);
    redis_command(sub_of(r), words, 1 + count);
    buf_free(&names);
}

static void put_all_names(struct redis *r, const char *verb, const unsigned *topics, size_t count)
{
    for (size_t part; count > 0; topics += part, count -= part) {
        part = count < SUBSCRIBE_TOPICS ? count : SUBSCRIBE_TOPICS;
        put_names(r, verb, topics, part);
    }
    if (redis_link_pending(sub_of(r)) > SUBSCRIBE_BYTES)
        redis_master_restart(&r->master, "subscriptions are not taken");
    bus_flush_soon(r->bus);
}

static void redis_subscribe(struct bus *bus, const unsigned *topics, size_t count)
{
    struct redis *r = redis_of(bus);
    for (size_t i = 0; i < count; i++)
        r->confirmations[topics[i]]++;
    put_all_names(r, "SUBSCRIBE", topics, count);
}

static void redis_unsubscribe(struct bus *bus, const unsigned *topics, size_t count)
{
    put_all_names(redis_of(bus), "UNSUBSCRIBE", topics, count);
}

static void put_publish(struct redis *r, const struct bus_item *item)
{
    char id[BUS_NODE_SIZE + 1];
    struct buf *out = &pub_of(r)->out;
    struct str base = item->to < BUS_TOPICS_MAX ? r->broadcast : item->to == BUS_TO_ALL ? r->requests : r->node;
    char digits[24];
    struct str rest = STR("");
    if (item->to < BUS_TOPICS_MAX) {
        rest = str_make(digits, (size_t)snprintf(digits, sizeof digits, "%u", item->to));
    } else if (item->to == BUS_TO_NODE) {
        bus_id_write(item->target, id);
        base = str_first(base, base.n - BUS_NODE_SIZE);
        rest = str_make(id, BUS_NODE_SIZE);
    }
    buf_lit(out, "*3\r\n$7\r\nPUBLISH\r\n$");
    buf_u64(out, base.n + rest.n);
    buf_lit(out, "\r\n");
    buf_str(out, base);
    buf_str(out, rest);
    buf_lit(out, "\r\n$");
    buf_u64(out, item->size);
    buf_lit(out, "\r\n");
    buf_put(out, item->bytes, item->size);
    buf_lit(out, "\r\n");
}

/* As much as fits; the rest when that is written. */
static void redis_send(struct bus *bus)
{
    struct redis *r = redis_of(bus);
    if (r->master.restart_why != NULL || r->master.state != REDIS_UP)
        return;
    while (redis_link_pending(pub_of(r)) < OUT_BYTES && !list_empty(&bus->unsent)) {
        struct list *link = list_take(&bus->unsent);
        put_publish(r, list_of(link, struct bus_item, link));
        list_append(&bus->unanswered, link);
    }
    redis_link_flush(pub_of(r));
    if (r->master.state == REDIS_UP)
        redis_link_flush(sub_of(r));
}

static bool redis_is_behind(const struct bus *bus)
{
    return sub_of(redis_of(bus))->again_asked;
}

static void redis_start(struct bus *bus)
{
    redis_master_start(&redis_of(bus)->master);
}

void redis_free(struct redis *r)
{
    free(r->confirmations);
    free(r);
}

static void redis_stop(struct bus *bus)
{
    struct redis *r = redis_of(bus);
    redis_master_stop(&r->master);
    redis_free(r);
}

const struct bus_transport redis_transport = {
    .name = "redis",
    .start = redis_start,
    .stop = redis_stop,
    .subscribe = redis_subscribe,
    .unsubscribe = redis_unsubscribe,
    .send = redis_send,
    .restart = redis_restart,
    .is_behind = redis_is_behind,
};

void redis_init(struct redis *r)
{
    r->master = (struct redis_master){.purpose = "bus", .user = r, .links_count = REDIS_LINKS, .greet = greet, .up = is_up,
                                      .down = is_down, .replied = replied, .flushed = has_flushed, .is_over = is_over};
}
