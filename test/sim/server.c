/* server.c - the nodes of the simulation: shards of the real core, mail with delay, turns of the wheel.
 *
 * One node has the store within it, which dies with it. Several share one that outlives them: what a dead node had asked for is
 * done all the same, and its answer is nobody's.
 *
 * A death leaves everything where it is: events of an older life are not run, and the seed's process ends soon anyway.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim.h"
#include "base/mem.h"
#include "store/internal.h"

enum { SHARD_BITS = 4 }; /* of op->shard; above them the life of whoever asks */

static void mail_arrives(struct world *w, void *what)
{
    struct task *task = what;
    task->run(task);
}

static void sim_post(struct env *env, unsigned to, struct task *task)
{
    struct shard *from = env->world;
    struct world *w = from->world;
    uint64_t at = w->now_ns + (to == env->shard ? 0 : world_pick(w, 1000, 300000));
    if (world_chance(w, 200))
        at += MS(world_pick(w, 1, 20));
    if (at < from->mail_at_ns[to])
        at = from->mail_at_ns[to];
    from->mail_at_ns[to] = at;
    world_after(w, at - w->now_ns, mail_arrives, task, from->node->life);
}

/* ---- the store, as a node reaches it ---- */

struct front {
    struct store store; /* first: what the core calls a store */
    struct node *node;
    uint32_t life;
};

static void front_submit(struct store *store, struct store_op *op)
{
    struct front *front = (struct front *)(void *)store;
    struct world *w = front->node->world;
    op->shard |= front->life << SHARD_BITS;
    store_submit(w->store, op);
}

static void front_kick(struct store *store)
{
}

static bool front_is_healthy(struct store *store)
{
    return true;
}

static int64_t front_now_ms(struct store *store)
{
    return clock_wall_ms(&((struct front *)(void *)store)->node->world->clock.clock);
}

static const struct store_ops front_ops = {front_submit, front_kick, front_is_healthy, front_now_ms, front_kick};

static void op_comes_home(struct world *w, void *what)
{
    struct store_op *op = what;
    if (op->result == STORE_FAILED)
        w->store_failures++;
    op->done(op);
}

static uint64_t home_at_ns; /* completions keep their order */

static void sim_deliver_home(struct store_home *home, struct store_op *chain)
{
    struct world *w = (struct world *)(void *)((char *)home - offsetof(struct world, home));
    while (chain != NULL) {
        struct store_op *next = chain->next;
        uint32_t life = chain->shard >> SHARD_BITS;
        uint64_t at = w->now_ns + world_pick(w, 1000, 2000000);
        if (at < home_at_ns)
            at = home_at_ns;
        home_at_ns = at;
        chain->shard &= (1u << SHARD_BITS) - 1;
        world_after(w, at - w->now_ns, op_comes_home, chain, life);
        chain = next;
    }
}

static void step(struct world *w, void *what)
{
    const struct node *within = what; /* NULL = the store is a service */
    store_step(w->store);
    /* A disk that is slow now and then. */
    uint64_t pause = world_chance(w, 100) ? MS(world_pick(w, 5, 120)) : world_pick(w, 50000, 900000);
    world_after(w, pause, step, what, within != NULL ? within->life : 0);
}

static void open_store(struct world *w, struct node *within)
{
    home_at_ns = 0;
    w->home.deliver = sim_deliver_home;
    struct store_options options = {.sync_always = true, .commit_max_ops = (uint32_t)world_pick(w, 1, 64),
                                    .commit_max_bytes = 1 << 20, .clock = &w->clock.clock,
                                    .seed = random_u64(&w->random) | 1, .home = &w->home};
    w->store = disk_open_store(w->disk, &options);
    world_after(w, 0, step, within, within != NULL ? within->life : 0);
}

void store_start(struct world *w)
{
    open_store(w, NULL);
}

/* ---- nodes ---- */

static void turn(struct world *w, void *what)
{
    struct shard *s = what;
    wheel_turn(s->env.wheel, w->now_ns / 1000000u);
    world_after(w, MS(1), turn, s, s->node->life);
}

static const struct session_link sim_link = {sim_close, sim_ping, NULL};

static void shard_start(struct node *n, unsigned index)
{
    struct world *w = n->world;
    struct shard *s = &n->shards[index];
    *s = (struct shard){.world = w, .node = n};
    s->env = (struct env){.shard = index, .shards = n->shards_count, .all = n->envs, .clock = &n->clock.clock,
                          .wheel = wheel_new(w->now_ns / 1000000u), .config = w->config, .apps = w->apps, .store = n->store,
                          .metrics = w->metrics, .post = sim_post, .deliver = sim_deliver, .world = s};
    random_from_seed(&s->env.random, random_u64(&w->random));
    if (w->nodes_count > 1)
        net_env(s);
    n->envs[index] = &s->env;
    s->hub = hub_new(&s->env);
    rollup_install(s->hub);
    streams_open(&s->env);
    hub_on_control(s->hub, sim_control);
    s->sessions = sessions_new(&s->env, &sim_link);
    sessions_settle(s->sessions, 3);
    world_after(w, 0, turn, s, n->life);
}

bool node_lives(const struct world *w, uint32_t life)
{
    for (unsigned i = 0; i < w->nodes_count; i++)
        if (w->nodes[i].life == life)
            return life != 0;
    return false;
}

struct node *node_any(struct world *w)
{
    struct node *living[NODES_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < w->nodes_count; i++)
        if (w->nodes[i].life != 0)
            living[count++] = &w->nodes[i];
    return count == 0 ? NULL : count == 1 ? living[0] : living[world_pick(w, 0, count - 1)];
}

void node_start(struct node *n)
{
    struct world *w = n->world;
    struct front *front = mem_new(struct front);
    n->life = ++w->lives;
    world_say(w, "node %u starts, life %u, %u shards", n->index, n->life, n->shards_count);
    n->clock = (struct sim_clock){w->clock.clock, w, w->nodes_count > 1 ? (int64_t)world_pick(w, 0, 7200000) - 3600000 : 0};
    *front = (struct front){{.ops = &front_ops}, n, n->life};
    n->store = &front->store;
    if (w->nodes_count == 1) {
        open_store(w, n);
        atomic_store(&w->app->connections, 0);
    }
    net_up(n);
    for (unsigned i = 0; i < n->shards_count; i++)
        shard_start(n, i);
    streams_find(n->envs[0], w->nodes_count > 1 ? STORE_SHARED : STORE_OF_THIS_NODE);
}

void node_dies(struct node *n)
{
    struct world *w = n->world;
    uint32_t life = n->life;
    world_say(w, "node %u dies", n->index);
    n->life = 0; /* whatever it had scheduled is void */
    w->crashes++;
    net_down(n);
    if (w->nodes_count == 1)
        disk_process_died(w->disk);
    for (unsigned i = 0; i < SUBSCRIBERS; i++)
        subscriber_node_died(w->subscribers[i], life);
}
