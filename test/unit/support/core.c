/* core.c - the fixture; see core.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core.h"
#include "store/row.h"
#include "channel/outlet.h"
#include "base/mem.h"
#include <stdlib.h>

static struct core *core_of_clock(const struct clock *clock)
{
    return list_of((struct clock *)(uintptr_t)clock, struct core, clock);
}

static uint64_t test_mono(const struct clock *clock)
{
    return core_of_clock(clock)->now_ns;
}

static int64_t test_wall(const struct clock *clock)
{
    return 1767225600000 + (int64_t)(core_of_clock(clock)->now_ns / 1000000u);
}

static uint64_t wrong_mono(const struct clock *clock)
{
    return list_of((struct clock *)(uintptr_t)clock, struct core, wrong)->now_ns;
}

static int64_t wrong_wall(const struct clock *clock)
{
    const struct core *c = list_of((struct clock *)(uintptr_t)clock, struct core, wrong);
    return test_wall(&c->clock) + c->ahead_ms;
}

void core_wall_is_ahead(struct core *c, int64_t ms)
{
    c->wrong = (struct clock){wrong_mono, wrong_wall};
    c->ahead_ms = ms;
    c->env.clock = &c->wrong;
}

static void test_post(struct env *env, unsigned shard, struct task *task)
{
    struct core *c = env->world;
    if (c->mail_count == c->mail_cap) {
        c->mail_cap = c->mail_cap ? c->mail_cap * 2 : 64;
        c->mail = mem_realloc(c->mail, c->mail_cap * sizeof(struct task *));
    }
    c->mail[c->mail_count++] = task;
}

static void test_deliver(void *to, struct frame *frame)
{
    struct outlet *outlet = outlet_of(to);
    struct sink *s = to;
    if (outlet != NULL) {
        outlet->kind->frame(outlet, frame);
        return;
    }
    buf_str(&s->got, frame_payload(frame));
    buf_char(&s->got, '\n');
    s->frames++;
    frame_drop(frame);
}

static void test_home(struct store_home *home, struct store_op *chain)
{
    struct core *c = list_of(home, struct core, home);
    if (c->home_last != NULL)
        c->home_last->next = chain;
    else
        c->home_first = chain;
    for (c->home_last = chain; c->home_last->next != NULL;)
        c->home_last = c->home_last->next;
}

static struct core *core_make(struct core *beside)
{
    struct core *c = mem_new(struct core);
    struct buf warnings = {0}, error = {0};
    char *no_environment[] = {NULL};
    struct config_request request = {.environ_ = no_environment};
    c->now_ns = 1000000000000u;
    c->clock = (struct clock){test_mono, test_wall};
    c->config = config_load(&request, &warnings, &error);
    c->home.deliver = test_home;
    struct store_options options = {.sync_always = true, .commit_max_ops = 4096, .commit_max_bytes = 1 << 20,
                                    .clock = &c->clock, .seed = 7, .home = &c->home};
    c->env = (struct env){.shards = 1, .all = c->envs, .clock = &c->clock, .wheel = wheel_new(c->now_ns / 1000000u),
                          .config = c->config, .apps = apps_new(c->config, 1, &error), .post = test_post,
                          .deliver = test_deliver, .world = c};
    c->envs[0] = &c->env;
    c->shares_store = beside != NULL;
    c->kv = beside != NULL ? beside->kv : kv_memory_new();
    c->env.store = beside != NULL ? beside->env.store : store_open_inline(c->kv, &options);
    c->env.metrics = metrics_new(c->env.apps, 9601);
    c->app = apps_at(c->env.apps, 0);
    random_from_seed(&c->env.random, beside != NULL ? 8 : 7);
    rollup_install(hub_new(&c->env));
    streams_open(&c->env);
    buf_free(&warnings);
    buf_free(&error);
    return c;
}

struct core *core_new(void)
{
    return core_make(NULL);
}

struct core *core_beside(struct core *first)
{
    return core_make(first);
}

void core_free(struct core *c)
{
    core_settle(c);
    streams_stop(&c->env);
    hub_free(c->env.hub);
    core_settle(c);
    streams_close(&c->env);
    if (!c->shares_store)
        store_close(c->env.store);
    wheel_free(c->env.wheel);
    metrics_free(c->env.metrics);
    apps_free(c->env.apps);
    config_free(c->config);
    free(c->mail);
    free(c);
}

static bool run_mail(struct core *c)
{
    size_t n = c->mail_count;
    if (n == 0)
        return false;
    struct task **mail = c->mail;
    c->mail = NULL;
    c->mail_count = c->mail_cap = 0;
    for (size_t i = 0; i < n; i++)
        mail[i]->run(mail[i]);
    free(mail);
    return true;
}

static bool run_store(struct core *c)
{
    if (c->stalls)
        return false;
    store_step(c->env.store);
    struct store_op *op = c->home_first;
    bool some = op != NULL;
    c->home_first = c->home_last = NULL;
    while (op != NULL) {
        struct store_op *next = op->next;
        op->done(op);
        op = next;
    }
    return some;
}

void core_step(struct core *c)
{
    if (!run_mail(c))
        run_store(c);
}

void core_lose_row(struct core *c, uint64_t channel, uint64_t delivery)
{
    struct key key = key_of2('L', channel, delivery);
    struct buf error = {0};
    kv_del(c->kv, key_str(&key));
    assert_true(kv_commit(c->kv, true, &error));
}

void core_settle(struct core *c)
{
    for (bool again = true; again;) {
        again = run_mail(c);
        again |= run_store(c);
    }
}

void core_advance_ms(struct core *c, unsigned ms)
{
    while (ms-- > 0) {
        c->now_ns += 1000000u;
        wheel_turn(c->env.wheel, c->now_ns / 1000000u);
        core_settle(c);
    }
}

struct sink *sink_new(struct core *c)
{
    struct sink *s = mem_new(struct sink);
    s->core = c;
    return s;
}

void sink_free(struct sink *s)
{
    buf_free(&s->got);
    free(s);
}

void sink_forget(struct sink *s)
{
    buf_clear(&s->got);
    s->frames = 0;
}
