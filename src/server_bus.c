/* server_bus.c - the bus, as the shards reach it, and what comes from it brought to the shard that it concerns.
 *
 *   shard: env.bus -> bus_publish(), bus_listen() ...      any thread
 *   bus's thread: handlers -> a copy in a task -> mailbox of the topic's shard -> hub_published(), hub_listening() ...
 *
 * The bus's thread waits when a mailbox is full: a shard never waits for it, so this ends, and the broker keeps what comes meanwhile.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "cluster/bus.h"
#include "server_internal.h"

enum { GRACE_MS = 1000 };

/* ---- from the shards ---- */

static struct bus *bus_of(const struct env *env)
{
    return ((const struct shard *)env->world)->server->bus;
}

static int wanted(struct env *env, unsigned topic)
{
    return bus_of(env) != NULL ? bus_wanted(bus_of(env), topic) : BUS_NOBODY;
}

static void publish(struct env *env, unsigned topic, struct str payload)
{
    if (bus_of(env) != NULL)
        bus_publish(bus_of(env), topic, payload);
}

static void start_listening(struct env *env, unsigned topic, unsigned window)
{
    if (bus_of(env) != NULL)
        bus_listen(bus_of(env), topic, (int)window);
}

static void leave(struct env *env, unsigned topic)
{
    if (bus_of(env) != NULL)
        bus_leave(bus_of(env), topic);
}

static size_t peers(struct env *env)
{
    return bus_of(env) != NULL ? bus_peers_reached(bus_of(env)) : 0;
}

static void send_to(struct env *env, struct str node, struct str payload)
{
    if (bus_of(env) != NULL)
        bus_send(bus_of(env), node, payload);
}

static struct str self(struct env *env)
{
    return bus_of(env) != NULL ? bus_node(bus_of(env)) : STR("");
}

/* ---- to the shards ---- */

struct arrival {
    struct task task;
    struct env *env;
    void (*run)(struct arrival *a);
    unsigned topic;
    bool leads;
    struct str node, payload; /* text[] */
    char text[];
};

static void runs(struct task *task)
{
    struct arrival *a = list_of(task, struct arrival, task);
    a->run(a);
    free(a);
}

static void bring(struct server *server, unsigned shard, void (*run)(struct arrival *a), const struct arrival *what)
{
    if (atomic_load(&server->bus_is_deaf))
        return;
    struct arrival *a = mem_alloc(sizeof *a + what->node.n + what->payload.n);
    *a = *what;
    a->task.run = runs;
    a->env = server->envs[shard];
    a->run = run;
    if (what->node.n > 0)
        memcpy(a->text, what->node.p, what->node.n);
    if (what->payload.n > 0)
        memcpy(a->text + what->node.n, what->payload.p, what->payload.n);
    a->node = str_make(a->text, what->node.n);
    a->payload = str_make(a->text + what->node.n, what->payload.n);
    shards_bring(server, shard, &a->task);
}

static void bring_all(struct server *server, void (*run)(struct arrival *a), const struct arrival *what)
{
    for (unsigned i = 0; i < server->shards_count; i++)
        bring(server, i, run, what);
}

static void is_published(struct arrival *a)
{
    hub_published(a->env, a->node, a->topic, a->payload);
}

static void on_published(void *user, struct str node, unsigned topic, struct str payload)
{
    struct server *server = user;
    bring(server, topic % server->shards_count, is_published, &(struct arrival){.topic = topic, .node = node, .payload = payload});
}

static void is_received(struct arrival *a)
{
    hub_received(a->env, a->node, a->payload);
}

static void on_received(void *user, struct str node, struct str payload)
{
    struct server *server = user;
    bring(server, hub_place(payload) % server->shards_count, is_received, &(struct arrival){.node = node, .payload = payload});
}

static void is_listening(struct arrival *a)
{
    hub_listening(a->env, a->topic);
}

static void on_listening(void *user, unsigned topic)
{
    struct server *server = user;
    bring(server, topic % server->shards_count, is_listening, &(struct arrival){.topic = topic});
}

static void has_missed(struct arrival *a)
{
    hub_missed(a->env);
}

static void on_missed(void *user)
{
    log_warn("bus", "the connection was lost and is back; what was missed is read from the store");
    bring_all(user, has_missed, &(struct arrival){0});
}

static void is_back(struct arrival *a)
{
    hub_peer_back(a->env, a->node, a->leads);
}

static void on_peer_joined(void *user, struct str node, enum bus_peer_joins how, bool leads)
{
    if (how == PEER_NEW) {
        log_info("bus", "node %.*s is here", STR_ARG(node));
        return;
    }
    log_warn("bus", "node %.*s is back: it was silent, not dead; its members are asked for, and it looks for what it has missed", STR_ARG(node));
    bring_all(user, is_back, &(struct arrival){.node = node, .leads = leads});
}

static void has_left(struct arrival *a)
{
    hub_peer_left(a->env, a->node, a->leads);
}

static void on_peer_left(void *user, struct str node, bool clean, bool leads)
{
    if (clean)
        log_info("bus", "node %.*s has left", STR_ARG(node));
    else
        log_warn("bus", "node %.*s is dead: it has not been heard for too long", STR_ARG(node));
    bring_all(user, has_left, &(struct arrival){.node = node, .leads = leads});
}

static void is_dropped(struct arrival *a)
{
    struct server *server = ((struct shard *)a->env->world)->server;
    atomic_fetch_and(&server->bus_dropped[a->topic / 64], ~(1ull << a->topic % 64));
    hub_dropped(a->env, a->topic);
}

/* They come by the thousand: one word for a topic is enough. What was for nodes is asked again, or waited for in vain. */
static void on_dropped(void *user, int topic, struct str payload)
{
    struct server *server = user;
    if (topic == BUS_NO_TOPIC)
        return;
    unsigned t = (unsigned)topic;
    if ((atomic_fetch_or(&server->bus_dropped[t / 64], 1ull << t % 64) >> t % 64 & 1) == 0)
        bring(server, t % server->shards_count, is_dropped, &(struct arrival){.topic = t});
}

/* ---- opening and closing ---- */

bool server_open_bus(struct server *server, struct buf *error)
{
    struct bus_options options;
    atomic_store(&server->bus_is_deaf, true); /* until there are shards */
    if (!server->config->adapter.redis_driver)
        return true;
    bus_options_from_config(&options, server->config);
    options.user = server;
    options.clock = &clock_system;
    options.metrics = server->metrics->registry;
    options.handlers = (struct bus_handlers){on_published, on_received, on_listening, on_missed, on_peer_joined, on_peer_left, on_dropped};
    server->env_bus = (struct env_bus){options.topics, wanted, publish, start_listening, leave, peers, send_to, self};
    server->bus = bus_open_redis(&options, error);
    return server->bus != NULL && (server->config->adapter.fallback_to_local || bus_wait_redis(server->bus, error));
}

/* Before the shards end, so that nothing is brought to one that is gone. */
void server_close_bus(struct server *server)
{
    if (server->bus != NULL)
        bus_close(server->bus, GRACE_MS);
    server->bus = NULL;
}
