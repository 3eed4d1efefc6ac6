/* bus_fixture.h - buses of several nodes in one process, what their handlers were told, and waiting for it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "cluster/bus_internal.h"
#include "redis_server.h"
#include "unit.h"

enum { NODES_MAX = 5, TOPICS = 64, WAIT_MS = 20000 };

struct node {
    struct bus *bus;
    struct metric_registry *metrics;
    pthread_mutex_t lock;
    struct buf told; /* one line per call of a handler but published(): "listening 3\n" */
    _Atomic unsigned published, received, dropped, dropped_unseen, missed, listening, joined, left_clean, left_dead, led, back;
    _Atomic uint64_t received_hash;
    _Atomic int64_t last;            /* number in the last payload to a topic */
    _Atomic unsigned out_of_order;
    _Atomic unsigned slow_us;        /* published() takes so long */
};

static struct redis_server server;
static struct node nodes[NODES_MAX];

static inline void test_sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

#define wait_until(condition)                                                                                \
    do {                                                                                                     \
        int waited_ = 0;                                                                                     \
        for (; !(condition) && waited_ < WAIT_MS; waited_ += 2)                                              \
            test_sleep_ms(2);                                                                                \
        if (waited_ >= WAIT_MS)                                                                              \
            fail_msg("waited in vain for: %s", #condition);                                                  \
    } while (0)

static inline void tell(struct node *n, const char *what, struct str text)
{
    pthread_mutex_lock(&n->lock);
    buf_fmt(&n->told, "%s %.*s\n", what, STR_ARG(text));
    pthread_mutex_unlock(&n->lock);
}

static inline bool was_told(struct node *n, const char *line)
{
    pthread_mutex_lock(&n->lock);
    bool found = str_find(buf_view(&n->told), str_of(line)) >= 0;
    pthread_mutex_unlock(&n->lock);
    return found;
}

static inline int64_t number_in(struct str payload)
{
    int64_t number;
    struct str rest = payload;
    return str_to_i64(str_split(&rest, ' '), &number) ? number : -1;
}

static inline void on_published(void *user, struct str from, unsigned topic, struct str payload)
{
    struct node *n = user;
    int64_t number = number_in(payload);
    if (number <= n->last)
        n->out_of_order++;
    n->last = number;
    n->published++;
    if (n->slow_us)
        nanosleep(&(struct timespec){0, n->slow_us * 1000}, NULL);
}

static inline void on_received(void *user, struct str from, struct str payload)
{
    struct node *n = user;
    if (payload.n < 100)
        tell(n, "received", payload);
    n->received_hash = map_hash(payload);
    n->received++;
}

static inline void on_listening(void *user, unsigned topic)
{
    struct node *n = user;
    char line[32];
    snprintf(line, sizeof line, "listening %u", topic);
    tell(n, line, STR(""));
    n->listening++;
}

static inline void on_missed(void *user)
{
    struct node *n = user;
    tell(n, "missed", STR(""));
    n->missed++;
}

static inline void on_joined(void *user, struct str from, enum bus_peer_joins how, bool leads)
{
    struct node *n = user;
    tell(n, how == PEER_BACK ? "back" : "joined", from);
    n->joined++;
    n->back += how == PEER_BACK;
}

static inline void on_left(void *user, struct str from, bool clean, bool leads)
{
    struct node *n = user;
    tell(n, "left", from);
    if (clean)
        n->left_clean++;
    else
        n->left_dead++;
    n->led += leads;
}

static inline void on_dropped(void *user, int topic, struct str payload)
{
    struct node *n = user;
    if (payload.p == NULL)
        n->dropped_unseen++;
    else
        n->dropped++;
}

static inline struct bus_options options_for(struct node *n, uint16_t port)
{
    return (struct bus_options){
        .handlers = {on_published, on_received, on_listening, on_missed, on_joined, on_left, on_dropped},
        .user = n,
        .clock = &clock_system,
        .metrics = n->metrics,
        .prefix = STR("test:"),
        .topics = TOPICS,
        .heartbeat_ms = 500,
        .node_timeout_ms = 3000,
        .redis = {.host = STR("127.0.0.1"), .port = port},
    };
}

static inline void node_init(struct node *n)
{
    memset(n, 0, sizeof *n);
    pthread_mutex_init(&n->lock, NULL);
    n->metrics = metric_registry_new();
    n->last = -1;
}

static inline void node_open_with(struct node *n, const struct bus_options *options, struct str id)
{
    struct buf error = {0};
    n->bus = bus_open_redis_as(options, id, &error);
    if (n->bus == NULL)
        fail_msg("%.*s", STR_ARG(buf_view(&error)));
    buf_free(&error);
}

static inline void node_open(struct node *n, uint16_t port)
{
    node_init(n);
    struct bus_options options = options_for(n, port);
    node_open_with(n, &options, STR_NONE);
}

static inline void node_close(struct node *n)
{
    if (n->bus == NULL)
        return;
    bus_close(n->bus, 2000);
    n->bus = NULL;
    metric_registry_free(n->metrics);
    buf_free(&n->told);
    pthread_mutex_destroy(&n->lock);
}

/* A broker, and no node yet. */
static inline int broker_setup(void **state)
{
    memset(nodes, 0, sizeof nodes);
    redis_server_start(&server, NULL);
    return 0;
}

static inline int broker_teardown(void **state)
{
    for (size_t i = 0; i < NODES_MAX; i++)
        node_close(&nodes[i]);
    redis_server_free(&server);
    return 0;
}

static inline void publish_number(struct node *n, unsigned topic, int64_t number)
{
    char text[32];
    bus_publish(n->bus, topic, str_make(text, (size_t)snprintf(text, sizeof text, "%lld", (long long)number)));
}

static inline void listen_and_wait(struct node *n, unsigned topic, int window)
{
    unsigned before = n->listening;
    bus_listen(n->bus, topic, window);
    wait_until(n->listening > before);
}

/* All of them up, and each knows all others. */
static inline void nodes_open(size_t count, uint16_t port)
{
    for (size_t i = 0; i < count; i++)
        node_open(&nodes[i], port);
    for (size_t i = 0; i < count; i++) {
        wait_until(bus_is_up(nodes[i].bus) && bus_peers(nodes[i].bus) == count - 1);
        wait_until(!atomic_load(&nodes[i].bus->everything));
    }
}

static inline int64_t figure(struct node *n, const char *name)
{
    struct metric_family *f = metric_counter(n->metrics, name, "", "driver");
    return metric_value(metric_series(f, (struct str[]){STR("redis")}));
}
