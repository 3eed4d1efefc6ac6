/* redis.c - the bus over Redis' Pub/Sub (chapter 5, 5.1).
 *
 *      [Sentinels: who is the master?] -> pub, sub: connect, AUTH, SELECT, ROLE -> sub: SUBSCRIBE all, node -> up
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
#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "cluster/redis_internal.h"

enum {
    BACKOFF_MIN_MS = 500,
    BACKOFF_MAX_MS = 10000,
    OUT_BYTES = 256 << 10,    /* of commands that are not written yet; the rest waits in bus.unsent */
    SUBSCRIBE_TOPICS = 256,   /* in one command */
    SUBSCRIBE_BYTES = 4 << 20, /* of commands that are not written yet */
    GREETING_MS = 5000,       /* from the first connection of an attempt until all its greetings are answered, Sentinels included */
};

static struct redis *redis_of(const struct bus *bus)
{
    return bus->redis;
}

/* ---- the attempt ends, the next one begins ---- */

static void ask_next_sentinel(struct redis *r);
static void connect_both(struct redis *r, struct str host, uint16_t port);

static void attempt(struct timer *timer)
{
    struct redis *r = list_of(timer, struct redis, retry);
    r->sentinels_asked = 0;
    wheel_set(loop_wheel(r->bus->loop), &r->late, loop_now_ms(r->bus->loop) + GREETING_MS * (1 + r->options.sentinels_count));
    if (r->options.sentinels_count > 0)
        ask_next_sentinel(r);
    else
        connect_both(r, r->options.host, r->options.port);
}

static void wait_and_retry(struct redis *r)
{
    uint64_t half_ms = r->backoff_ms / 2, wait_ms = half_ms + random_below(&r->bus->random, half_ms + 1);
    r->state = REDIS_WAITING;
    r->backoff_ms = r->backoff_ms * 2 < BACKOFF_MAX_MS ? r->backoff_ms * 2 : BACKOFF_MAX_MS;
    wheel_set(loop_wheel(r->bus->loop), &r->retry, loop_now_ms(r->bus->loop) + wait_ms);
}

static void give_up(struct redis *r, struct str why)
{
    bool was_up = r->state == REDIS_UP;
    redis_link_close(&r->ask);
    redis_link_close(&r->pub);
    redis_link_close(&r->sub);
    memset(r->confirmations, 0, r->bus->options.topics * sizeof *r->confirmations);
    r->restart_why = NULL;
    wheel_cancel(loop_wheel(r->bus->loop), &r->late);
    log_warn("cluster", "redis: %s", why.p);
    if (r->bus->refusing)
        r->state = REDIS_WAITING; /* for ever */
    else
        wait_and_retry(r);
    if (was_up)
        bus_transport_down(r->bus);
}

static void attempt_is_late(struct timer *timer)
{
    struct redis *r = list_of(timer, struct redis, late);
    give_up(r, STR("connected, but no answer"));
}

static void link_failed(struct redis_link *link, struct str why)
{
    struct redis *r = link->user;
    struct buf text = {0};
    buf_str(&text, why);
    buf_char(&text, '\0');
    if (link == &r->ask && r->sentinels_asked < r->options.sentinels_count) {
        log_warn("cluster", "redis: sentinel %s", text.p);
        ask_next_sentinel(r);
    } else {
        give_up(r, buf_view(&text));
    }
    buf_free(&text);
}

static void restart_now(struct task *task)
{
    struct redis *r = list_of(task, struct redis, restart);
    if (r->restart_why != NULL)
        give_up(r, str_of(r->restart_why));
}

/* Not at once: whoever asks may be reading what one of the links has brought. */
static void restart_soon(struct redis *r, const char *why)
{
    if (r->restart_why == NULL)
        loop_defer(r->bus->loop, &r->restart);
    r->restart_why = why;
}

static void redis_restart(struct bus *bus, const char *why)
{
    restart_soon(redis_of(bus), why);
}

/* ---- greetings ---- */

static unsigned command(struct redis_link *link, const struct str *words, size_t count)
{
    redis_command(link, words, count);
    return 1;
}
#define COMMAND(link, ...)                                                                                   \
    command(link, (struct str[]){__VA_ARGS__}, sizeof((struct str[]){__VA_ARGS__}) / sizeof(struct str))

static unsigned put_auth(struct redis_link *link, struct str username, struct str password)
{
    if (password.p == NULL)
        return 0;
    if (username.p == NULL)
        return COMMAND(link, STR("AUTH"), password);
    return COMMAND(link, STR("AUTH"), username, password);
}

static void both_opened(struct redis_link *link)
{
    struct redis *r = link->user;
    unsigned *left = link == &r->pub ? &r->pub_left : &r->sub_left;
    *left = put_auth(link, r->options.username, r->options.password);
    if (r->options.db != 0) {
        struct buf number = {0};
        buf_u64(&number, r->options.db);
        *left += COMMAND(link, STR("SELECT"), buf_view(&number));
        buf_free(&number);
    }
    *left += COMMAND(link, STR("ROLE"));
    if (link == &r->sub) {
        COMMAND(link, STR("SUBSCRIBE"), r->requests, r->node);
        *left += 2;
    }
    redis_link_flush(link);
}

static bool is_text(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS || reply->type == REDIS_REPLY_ERROR;
}

static struct str text_of(const redisReply *reply)
{
    return is_text(reply) ? str_make(reply->str, reply->len) : STR_NONE;
}

static void refused(struct redis *r, struct redis_link *link, struct str reason)
{
    struct buf why = {0};
    buf_fmt(&why, "%s:%u: %.*s", link->host, link->port, STR_ARG(reason));
    buf_char(&why, '\0');
    give_up(r, buf_view(&why));
    buf_free(&why);
}

/* The server may be a replica that a Sentinel has not heard of, or one that a user has configured: what is published there reaches
 * nobody else. ROLE may be forbidden: then nobody knows, and that is no reason. */
static bool is_replica(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements >= 3 && str_eq(text_of(reply->element[0]), STR("slave"));
}

static bool is_fatal(const redisReply *reply)
{
    struct str text = text_of(reply);
    return reply->type == REDIS_REPLY_ERROR && str_find(text, STR("'role'")) < 0 && str_find(text, STR("'ROLE'")) < 0;
}

static void up(struct redis *r)
{
    r->state = REDIS_UP;
    wheel_cancel(loop_wheel(r->bus->loop), &r->late);
    r->backoff_ms = BACKOFF_MIN_MS;
    bus_transport_up(r->bus);
}

static void greeting_answered(struct redis *r, struct redis_link *link, const redisReply *reply)
{
    unsigned *left = link == &r->pub ? &r->pub_left : &r->sub_left;
    if (is_fatal(reply)) {
        refused(r, link, text_of(reply));
    } else if (is_replica(reply)) {
        refused(r, link, STR("is a replica, not the master"));
    } else {
        --*left;
        if (r->pub.state == LINK_OPEN && r->sub.state == LINK_OPEN && r->pub_left == 0 && r->sub_left == 0)
            up(r);
    }
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
    struct str what = text_of(reply->element[0]);
    int to = place_of(r, text_of(reply->element[1]));
    if (to < 0)
        return;
    if (str_eq(what, STR("message")))
        bus_transport_received(r->bus, (unsigned)to, text_of(reply->element[2]));
    else if (str_eq(what, STR("subscribe")) && to < BUS_TOPICS_MAX && r->confirmations[to] > 0 && --r->confirmations[to] == 0)
        bus_transport_subscribed(r->bus, (unsigned)to); /* with more to come it is not the last word: there was a leave between */
}

static bool is_message(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 && str_eq(text_of(reply->element[0]), STR("message"));
}

static void sub_replied(struct redis_link *link, const redisReply *reply)
{
    struct redis *r = link->user;
    if (r->state == REDIS_GREETING && is_message(reply))
        return; /* before our HELLO: its answers will tell */
    if (r->state == REDIS_GREETING)
        greeting_answered(r, link, reply);
    else if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 3)
        pushed(r, reply);
    else if (reply->type == REDIS_REPLY_ERROR)
        refused(r, link, text_of(reply));
}

/* Errors that say that this server is not to be used now; others are about one command. */
static bool is_about_server(struct str error)
{
    return str_starts(error, STR("NOAUTH")) || str_starts(error, STR("LOADING")) || str_starts(error, STR("READONLY")) ||
           str_starts(error, STR("MASTERDOWN"));
}

static void pub_replied(struct redis_link *link, const redisReply *reply)
{
    struct redis *r = link->user;
    if (r->state == REDIS_GREETING) {
        greeting_answered(r, link, reply);
        return;
    }
    if (list_empty(&r->bus->unanswered)) {
        refused(r, link, STR("answers what it was not asked"));
        return;
    }
    if (reply->type == REDIS_REPLY_INTEGER) {
        bus_transport_answered(r->bus, reply->integer);
        return;
    }
    log_warn("cluster", "redis: PUBLISH is refused: %.*s", STR_ARG(text_of(reply)));
    bus_transport_answered(r->bus, -1);
    if (is_about_server(text_of(reply)))
        restart_soon(r, "the server refuses its service");
}

static void connect_both(struct redis *r, struct str host, uint16_t port)
{
    r->state = REDIS_GREETING;
    r->pub_left = r->sub_left = 1; /* until they are open */
    redis_link_open(&r->pub, host, port, r->tls);
    redis_link_open(&r->sub, host, port, r->tls);
}

/* ---- Sentinel ---- */

static void ask_next_sentinel(struct redis *r)
{
    const struct redis_address *s = &r->options.sentinels[r->sentinel++ % r->options.sentinels_count];
    r->state = REDIS_ASKING;
    r->sentinels_asked++;
    redis_link_open(&r->ask, s->host, s->port, r->sentinel_tls);
}

static void ask_opened(struct redis_link *link)
{
    struct redis *r = link->user;
    r->ask_left = put_auth(link, r->options.sentinel_username, r->options.sentinel_password);
    r->ask_left += COMMAND(link, STR("SENTINEL"), STR("get-master-addr-by-name"), r->options.name);
    redis_link_flush(link);
}

static void sentinel_is_no_help(struct redis *r, struct str reason)
{
    struct buf why = {0};
    buf_fmt(&why, "%s:%u: %.*s", r->ask.host, r->ask.port, STR_ARG(reason));
    redis_link_close(&r->ask);
    link_failed(&r->ask, buf_view(&why));
    buf_free(&why);
}

static void ask_replied(struct redis_link *link, const redisReply *reply)
{
    struct redis *r = link->user;
    uint64_t port;
    if (reply->type == REDIS_REPLY_ERROR) {
        sentinel_is_no_help(r, text_of(reply));
        return;
    }
    if (--r->ask_left > 0)
        return; /* AUTH */
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || !str_to_u64(text_of(reply->element[1]), &port) || port > UINT16_MAX) {
        sentinel_is_no_help(r, STR("knows no master of this name"));
        return;
    }
    r->sentinel--; /* it is the first to be asked next time, too */
    connect_both(r, text_of(reply->element[0]), (uint16_t)port);
    redis_link_close(link);
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
    redis_command(&r->sub, words, 1 + count);
    buf_free(&names);
}

static void put_all_names(struct redis *r, const char *verb, const unsigned *topics, size_t count)
{
    for (size_t part; count > 0; topics += part, count -= part) {
        part = count < SUBSCRIBE_TOPICS ? count : SUBSCRIBE_TOPICS;
        put_names(r, verb, topics, part);
    }
    if (redis_link_pending(&r->sub) > SUBSCRIBE_BYTES)
        restart_soon(r, "subscriptions are not taken");
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
    struct buf *out = &r->pub.out;
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
    if (r->restart_why != NULL || r->state != REDIS_UP)
        return;
    while (redis_link_pending(&r->pub) < OUT_BYTES && !list_empty(&bus->unsent)) {
        struct list *link = list_take(&bus->unsent);
        put_publish(r, list_of(link, struct bus_item, link));
        list_append(&bus->unanswered, link);
    }
    redis_link_flush(&r->pub);
    if (r->state == REDIS_UP)
        redis_link_flush(&r->sub);
}

static void pub_flushed(struct redis_link *link)
{
    struct redis *r = link->user;
    if (r->state == REDIS_UP && !list_empty(&r->bus->unsent))
        bus_flush_soon(r->bus);
}

static void sub_flushed(struct redis_link *link)
{
    /* Subscriptions wait in `out` themselves: their number is bounded by the topics. */
}

static bool redis_is_behind(const struct bus *bus)
{
    return redis_of(bus)->sub.again_asked;
}

static void redis_start(struct bus *bus)
{
    attempt(&redis_of(bus)->retry);
}

void redis_free(struct redis *r)
{
    tls_client_free(r->tls);
    tls_client_free(r->sentinel_tls);
    free(r->confirmations);
    free(r);
}

static void redis_stop(struct bus *bus)
{
    struct redis *r = redis_of(bus);
    struct redis_link *links[] = {&r->ask, &r->pub, &r->sub};
    wheel_cancel(loop_wheel(bus->loop), &r->retry);
    wheel_cancel(loop_wheel(bus->loop), &r->late);
    for (size_t i = 0; i < 3; i++) {
        redis_link_close(links[i]);
        free(links[i]->host);
    }
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

static void init_link(struct redis *r, struct redis_link *link, void (*opened)(struct redis_link *link),
                      void (*reply)(struct redis_link *link, const redisReply *reply), void (*flushed)(struct redis_link *link))
{
    link->loop = r->bus->loop;
    link->user = r;
    link->opened = opened;
    link->reply = reply;
    link->flushed = flushed;
    link->failed = link_failed;
    redis_link_init(link);
}

void redis_init(struct redis *r)
{
    r->backoff_ms = BACKOFF_MIN_MS;
    r->retry.fire = attempt;
    r->late.fire = attempt_is_late;
    r->restart.run = restart_now;
    init_link(r, &r->ask, ask_opened, ask_replied, sub_flushed);
    init_link(r, &r->pub, both_opened, pub_replied, pub_flushed);
    init_link(r, &r->sub, both_opened, sub_replied, sub_flushed);
}
