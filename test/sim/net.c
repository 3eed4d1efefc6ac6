/* net.c - the bus of the simulation: payloads are late, doubled, lost; a node is cut off for a while, and told when it is back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct payload {
    struct node *to;
    unsigned from, topic, place;
    bool published; /* to the topic; else sent to the node */
    struct buf bytes;
};

static struct node *node_of(const struct env *env)
{
    return ((const struct shard *)env->world)->node;
}

static struct str name_of(unsigned node)
{
    static char names[NODES_MAX][16];
    snprintf(names[node], sizeof names[node], "node-%u", node);
    return str_of(names[node]);
}

static bool is_cut(const struct node *n)
{
    return n->cut_until_ns > n->world->now_ns;
}

/* ---- payloads ---- */

static void arrives(struct world *w, void *what)
{
    struct payload *p = what;
    struct node *to = p->to;
    if (p->published && to->windows[p->topic] >= 0)
        hub_published(to->envs[p->topic % to->shards_count], name_of(p->from), p->topic, buf_view(&p->bytes));
    else if (!p->published)
        hub_received(to->envs[p->place % to->shards_count], name_of(p->from), buf_view(&p->bytes));
    buf_free(&p->bytes);
    free(p);
}

static void travels(struct node *from, struct node *to, bool published, unsigned topic, struct str bytes)
{
    struct world *w = from->world;
    if (!w->calm && (is_cut(from) || is_cut(to) || world_chance(w, 80))) {
        w->bus_lost++;
        if (published && world_chance(w, 3)) /* its own queue was full: it knows */
            hub_dropped(from->envs[topic % from->shards_count], topic);
        return; /* heads will tell */
    }
    for (unsigned copies = !w->calm && world_chance(w, 50) ? 2 : 1; copies > 0; copies--) {
        struct payload *p = mem_new(struct payload);
        *p = (struct payload){.to = to, .from = from->index, .topic = topic, .place = published ? 0 : hub_place(bytes), .published = published};
        buf_str(&p->bytes, bytes);
        uint64_t at = w->now_ns + world_pick(w, 100000, 3000000);
        if (world_chance(w, 50))
            at += MS(world_pick(w, 5, 40));
        if (at < from->bus_at_ns[to->index])
            at = from->bus_at_ns[to->index];
        from->bus_at_ns[to->index] = at;
        world_after(w, at - w->now_ns, arrives, p, to->life);
    }
}

static void publish(struct env *env, unsigned topic, struct str bytes)
{
    struct node *from = node_of(env);
    for (unsigned i = 0; i < from->world->nodes_count; i++) {
        struct node *to = &from->world->nodes[i];
        if (to != from && to->life != 0 && to->windows[topic] >= 0)
            travels(from, to, true, topic, bytes);
    }
}

static void send(struct env *env, struct str node, struct str bytes)
{
    struct node *from = node_of(env);
    for (unsigned i = 0; i < from->world->nodes_count; i++) {
        struct node *to = &from->world->nodes[i];
        if (to != from && to->life != 0 && (node.p == NULL || str_eq(node, name_of(i))))
            travels(from, to, false, 0, bytes);
    }
}

/* ---- interest ---- */

static int wanted(struct env *env, unsigned topic)
{
    const struct node *self = node_of(env);
    int smallest = BUS_NOBODY;
    for (unsigned i = 0; i < self->world->nodes_count; i++) {
        const struct node *n = &self->world->nodes[i];
        if (n != self && n->life != 0 && n->windows[topic] >= 0 && (smallest == BUS_NOBODY || n->windows[topic] < smallest))
            smallest = n->windows[topic];
    }
    return smallest;
}

struct heard {
    struct node *node;
    unsigned topic;
};

static void is_heard(struct world *w, void *what)
{
    struct heard *h = what;
    if (h->node->windows[h->topic] >= 0)
        hub_listening(h->node->envs[h->topic % h->node->shards_count], h->topic);
    free(h);
}

/* Known to the others at once: the handshake of the bus sees to it that nobody notices the difference. */
static void listen(struct env *env, unsigned topic, unsigned window)
{
    struct node *n = node_of(env);
    struct heard *h = mem_new(struct heard);
    bool first = n->windows[topic] < 0;
    n->windows[topic] = (int8_t)window;
    *h = (struct heard){n, topic};
    if (first)
        world_after(n->world, world_pick(n->world, 100000, 5000000), is_heard, h, n->life);
    else
        free(h);
}

static void leave(struct env *env, unsigned topic)
{
    node_of(env)->windows[topic] = -1;
}

static size_t peers(struct env *env)
{
    const struct node *self = node_of(env);
    size_t count = 0;
    for (unsigned i = 0; i < self->world->nodes_count; i++)
        count += &self->world->nodes[i] != self && self->world->nodes[i].life != 0;
    return count;
}

static struct str self(struct env *env)
{
    return name_of(node_of(env)->index);
}

void net_env(struct shard *s)
{
    static const struct env_bus bus = {TOPICS, wanted, publish, listen, leave, peers, send, self};
    s->env.bus = &bus;
}

/* ---- coming and going ---- */

void net_up(struct node *n)
{
    memset(n->windows, -1, sizeof n->windows);
    memset(n->bus_at_ns, 0, sizeof n->bus_at_ns);
    n->cut_until_ns = 0;
}

static void departs(struct world *w, void *what)
{
    const struct node *gone = what;
    bool leads = true;
    for (unsigned i = 0; i < w->nodes_count; i++) {
        struct node *n = &w->nodes[i];
        if (n == gone || n->life == 0)
            continue;
        for (unsigned shard = 0; shard < n->shards_count; shard++)
            hub_peer_left(n->envs[shard], name_of(gone->index), leads);
        leads = false;
    }
}

void net_down(struct node *n)
{
    memset(n->windows, -1, sizeof n->windows);
    if (n->world->nodes_count > 1)
        world_after(n->world, MS(world_pick(n->world, 10, 300)), departs, n, 0);
}

static void is_back(struct world *w, void *what)
{
    struct node *n = what;
    for (unsigned i = 0; i < n->shards_count; i++)
        hub_missed(n->envs[i]);
}

void net_trouble(struct world *w, void *what)
{
    struct node *n = what;
    if (w->calm)
        return;
    if (n->life != 0 && world_chance(w, 2)) {
        uint64_t ms = world_pick(w, 5, 600);
        world_say(w, "node %u is cut off the bus for %llu ms", n->index, (unsigned long long)ms);
        n->cut_until_ns = w->now_ns + MS(ms);
        world_after(w, MS(ms) + 1, is_back, n, n->life);
    }
    world_after(w, MS(world_pick(w, 100, 1500)), net_trouble, n, 0);
}
