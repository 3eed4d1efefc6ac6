/* server.c - the server of the simulation: shards of the real core, mail with delay, turns of the wheel.
 *
 * A death leaves everything where it is: events of an older life are not run, and the seed's process ends soon anyway.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim.h"
#include "base/mem.h"

struct mail {
    struct task *task;
};

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
    world_after(w, at - w->now_ns, mail_arrives, task, w->life);
}

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
        uint64_t at = w->now_ns + world_pick(w, 1000, 2000000);
        if (at < home_at_ns)
            at = home_at_ns;
        home_at_ns = at;
        world_after(w, at - w->now_ns, op_comes_home, chain, w->life);
        chain = next;
    }
}

static void turn(struct world *w, void *what)
{
    struct shard *s = what;
    wheel_turn(s->env.wheel, w->now_ns / 1000000u);
    world_after(w, MS(1), turn, s, w->life);
}

static void step(struct world *w, void *what)
{
    store_step(w->store);
    /* A disk that is slow now and then. */
    uint64_t pause = world_chance(w, 100) ? MS(world_pick(w, 5, 120)) : world_pick(w, 50000, 900000);
    world_after(w, pause, step, NULL, w->life);
}

static const struct session_link sim_link = {sim_close, sim_ping};

static void shard_start(struct world *w, unsigned index)
{
    struct shard *s = &w->shards[index];
    *s = (struct shard){.world = w};
    s->env = (struct env){.shard = index, .shards = w->shards_count, .all = w->envs, .clock = &w->clock.clock,
                          .wheel = wheel_new(w->now_ns / 1000000u), .config = w->config, .apps = w->apps, .store = w->store,
                          .metrics = w->metrics, .post = sim_post, .deliver = sim_deliver, .world = s};
    random_from_seed(&s->env.random, random_u64(&w->random));
    w->envs[index] = &s->env;
    s->hub = hub_new(&s->env);
    rollup_install(s->hub);
    streams_open(&s->env);
    hub_on_control(s->hub, sim_control);
    s->sessions = sessions_new(&s->env, &sim_link);
    sessions_settle(s->sessions, 3);
    world_after(w, 0, turn, s, w->life);
}

void server_start(struct world *w)
{
    w->life++;
    home_at_ns = 0;
    world_say(w, "server starts, life %u, %u shards", w->life, w->shards_count);
    w->home.deliver = sim_deliver_home;
    struct store_options options = {.sync_always = true, .commit_max_ops = (uint32_t)world_pick(w, 1, 64),
                                    .commit_max_bytes = 1 << 20, .clock = &w->clock.clock,
                                    .seed = random_u64(&w->random) | 1, .home = &w->home};
    w->store = disk_open_store(w->disk, &options);
    atomic_store(&w->app->connections, 0);
    for (unsigned i = 0; i < w->shards_count; i++)
        shard_start(w, i);
    streams_find(w->envs[0], STORE_OF_THIS_NODE);
    world_after(w, 0, step, NULL, w->life);
    w->up = true;
}

void server_dies(struct world *w)
{
    world_say(w, "server dies");
    w->up = false;
    w->crashes++;
    w->life++; /* whatever it had scheduled is void */
    disk_process_died(w->disk);
    for (unsigned i = 0; i < SUBSCRIBERS; i++)
        subscriber_server_died(w->subscribers[i]);
}
