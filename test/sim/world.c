/* world.c - simulated time: a heap of events, one seed, and the plan of a history.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim.h"
#include "base/mem.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

uint64_t world_pick(struct world *w, uint64_t low, uint64_t high)
{
    return low + random_below(&w->random, high - low + 1);
}

bool world_chance(struct world *w, unsigned one_in)
{
    return random_below(&w->random, one_in) == 0;
}

void world_fail(struct world *w, const char *format, ...)
{
    char line[512];
    va_list args;
    if (w->failure.n > 2000)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    buf_fmt(&w->failure, "at %.3f ms: %s\n", (double)(w->now_ns - w->started_ns) / 1e6, line);
}

void world_say(struct world *w, const char *format, ...)
{
    va_list args;
    if (!w->verbose)
        return;
    printf("%10.3f ms  ", (double)(w->now_ns - w->started_ns) / 1e6);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

/* ---- the heap ---- */

static bool earlier(const struct event *a, const struct event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void swap(struct event *a, struct event *b)
{
    struct event t = *a;
    *a = *b;
    *b = t;
}

void world_after(struct world *w, uint64_t delay_ns, void (*run)(struct world *, void *), void *what, uint32_t life)
{
    if (w->events_count == w->events_cap) {
        w->events_cap = w->events_cap ? w->events_cap * 2 : 1024;
        w->events = mem_realloc(w->events, w->events_cap * sizeof(*w->events));
    }
    size_t at = w->events_count++;
    w->events[at] = (struct event){w->now_ns + delay_ns, w->order++, run, what, life};
    while (at > 0 && earlier(&w->events[at], &w->events[(at - 1) / 2])) {
        swap(&w->events[at], &w->events[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
}

static struct event take(struct world *w)
{
    struct event first = w->events[0];
    w->events[0] = w->events[--w->events_count];
    for (size_t at = 0;;) {
        size_t child = 2 * at + 1;
        if (child >= w->events_count)
            return first;
        if (child + 1 < w->events_count && earlier(&w->events[child + 1], &w->events[child]))
            child++;
        if (!earlier(&w->events[child], &w->events[at]))
            return first;
        swap(&w->events[child], &w->events[at]);
        at = child;
    }
}

/* ---- the plan ---- */

static uint64_t sim_mono(const struct clock *c)
{
    return ((const struct sim_clock *)c)->world->now_ns;
}

/* A wrong one jumps every second: ahead becomes behind. */
static int64_t sim_wall(const struct clock *c)
{
    int64_t now_ms = (int64_t)(sim_mono(c) / 1000000u), wrong_ms = ((const struct sim_clock *)c)->wrong_ms;
    return 1767225600000 + now_ms + (now_ms / 1000 % 2 == 0 ? wrong_ms : -wrong_ms);
}

struct world *world_new(uint64_t seed, unsigned nodes, enum plant plant, bool verbose)
{
    struct world *w = mem_new(struct world);
    struct buf warnings = {0}, error = {0};
    char *no_environment[] = {NULL};
    struct config_request request = {.environ_ = no_environment};
    random_from_seed(&w->random, seed);
    w->verbose = verbose;
    w->plant = plant;
    w->now_ns = w->started_ns = MS(1000000);
    w->clock = (struct sim_clock){{sim_mono, sim_wall}, w, 0};
    w->config = config_load(&request, &warnings, &error);
    if (w->config == NULL) {
        fprintf(stderr, "%.*s\n", STR_ARG(buf_view(&error)));
        exit(2);
    }
    /* The store alone, both tiers, the buffer for most. */
    static const int64_t ttls_s[] = {0, 1, 120};
    w->config->apps[0].recovery.buffer_ttl_seconds = ttls_s[world_pick(w, 0, 2)];
    w->nodes_count = nodes;
    for (unsigned i = 0; i < nodes; i++)
        w->nodes[i] = (struct node){.world = w, .index = i, .shards_count = (unsigned)world_pick(w, 1, SHARDS_MAX)};
    w->apps = apps_new(w->config, SHARDS_MAX, &error);
    w->app = apps_at(w->apps, 0);
    w->metrics = metrics_new(w->apps, 9601);
    w->disk = disk_new(w);
    if (world_chance(w, 3))
        w->config->ai.rollup.orphan_ttl_ms = w->orphan_ttl_ms = world_pick(w, 100, 1000);
    for (unsigned i = 0; i < CHANNELS; i++)
        snprintf(w->channels[i], sizeof(w->channels[i]), "%s-%u", i == 0 ? "ai-chat" : "plain-chat", i);
    return w;
}

static void comes_back(struct world *w, void *node)
{
    node_start(node);
}

static void strike(struct world *w, void *what)
{
    struct node *n = node_any(w);
    if (w->calm || n == NULL)
        return;
    node_dies(n);
    world_after(w, MS(world_pick(w, 1, 200)), comes_back, n, 0);
}

static void becomes_calm(struct world *w, void *what)
{
    world_say(w, "no more faults");
    w->calm = true;
}

static void plan(struct world *w)
{
    uint64_t length_ms = world_pick(w, 1500, 4000);
    if (w->nodes_count > 1)
        store_start(w);
    for (unsigned i = 0; i < w->nodes_count; i++)
        node_start(&w->nodes[i]);
    for (unsigned i = 0; w->nodes_count > 1 && i < w->nodes_count; i++)
        world_after(w, MS(world_pick(w, 50, 1000)), net_trouble, &w->nodes[i], 0);
    w->messages_count = (unsigned)world_pick(w, 1, MESSAGES_MAX);
    for (unsigned i = 0; i < w->messages_count; i++)
        w->messages[i].channel = (unsigned)world_pick(w, 0, CHANNELS - 1);
    for (unsigned i = 0; i < PUBLISHERS; i++) {
        struct publisher *p = &w->publishers[i];
        *p = (struct publisher){.world = w, .index = i, .tokens = (unsigned)world_pick(w, 5, TOKENS_MAX)};
        p->message = i < w->messages_count ? i : (unsigned)world_pick(w, 0, w->messages_count - 1);
        p->channel = w->messages[p->message].channel;
        publisher_start(w, p);
    }
    for (unsigned i = 0; i < SUBSCRIBERS; i++) {
        w->subscribers[i] = subscriber_new(w, i);
        subscriber_start(w, w->subscribers[i]);
    }
    for (uint64_t n = world_pick(w, 0, 3 * w->nodes_count); n > 0; n--)
        world_after(w, MS(world_pick(w, 50, length_ms)), strike, NULL, 0);
    world_after(w, MS(length_ms), becomes_calm, NULL, 0);
}

static bool all_live(const struct world *w)
{
    for (unsigned i = 0; i < SUBSCRIBERS; i++)
        if (!subscriber_is_live(w->subscribers[i]))
            return false;
    for (unsigned i = 0; i < w->nodes_count; i++)
        if (w->nodes[i].life == 0)
            return false;
    return true;
}

void world_run(struct world *w)
{
    uint64_t rest_since = 0;
    plan(w);
    while (w->events_count > 0 && w->failure.n == 0) {
        struct event e = take(w);
        w->now_ns = e.at_ns;
        if (e.life == 0 || node_lives(w, e.life))
            e.run(w, e.what);
        bool rest = w->calm && publishers_done(w) && all_live(w);
        if (!rest)
            rest_since = 0;
        else if (rest_since == 0)
            rest_since = w->now_ns;
        /* Rest must last longer than any window, delay, gate or silence. */
        if (rest && w->now_ns - rest_since > MS(2000 + 2 * w->orphan_ttl_ms))
            break;
        if (w->now_ns - w->started_ns > MS(300000))
            world_fail(w, "the world did not come to rest (publishers done: %d, subscribers live: %d)", publishers_done(w),
                       all_live(w));
    }
    if (w->failure.n == 0)
        check(w);
}
