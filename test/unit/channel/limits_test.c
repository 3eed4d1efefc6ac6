/* limits_test.c - what a shard keeps for its channels, and when it begins nothing new.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../support/core.h"
#include "base/mem.h"
#include "channel/internal.h"
#include <stdlib.h>

enum { CAPACITY = 3 };

struct fixture {
    struct core *core;
    enum publish_result result;
    struct buf cached; /* of the channel that was asked for last */
};

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->core = core_new();
    f->core->config->cache.max_capacity = CAPACITY;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    core_settle(f->core);
    core_free(f->core);
    buf_free(&f->cached);
    free(f);
    return 0;
}

static void published(struct publish *p)
{
    struct fixture *f = p->user;
    f->result = p->result;
    publish_free(p);
}

static enum publish_result publish(struct fixture *f, const char *channel)
{
    struct publish *p = publish_new(&f->core->env, f->core->app, published);
    p->user = f;
    p->op.channel = arena_copy(&p->op.arena, str_of(channel));
    channel_name_check(f->core->app, p->op.channel, &p->name, &p->op.arena);
    p->op.write.action = ACTION_CREATE;
    p->op.write.event_name = STR("e");
    p->op.write.data = STR("\"x\"");
    p->cache_event = p->name.cache ? STR("{\"event\":\"e\"}") : STR_NONE;
    hub_publish(&f->core->env, p);
    core_settle(f->core);
    return f->result;
}

static void answered(struct query *q)
{
    struct fixture *f = q->user;
    buf_clear(&f->cached);
    buf_str(&f->cached, q->cached);
    query_free(q);
}

static bool is_cached(struct fixture *f, const char *channel)
{
    struct query *q = query_new(&f->core->env, QUERY_CHANNEL, f->core->app, answered);
    q->user = f;
    q->channel = arena_copy(&q->arena, str_of(channel));
    hub_ask(&f->core->env, q);
    core_settle(f->core);
    return f->cached.n > 0;
}

static int64_t gauge(struct fixture *f)
{
    return metric_value(metrics_of(&f->core->env, f->core->app)->cached_events);
}

/* A backend that names its channels anew each time would fill the memory for an hour. */
static void the_events_kept_longest_give_way(void **state)
{
    struct fixture *f = *state;
    const char *const names[] = {"cache-a", "cache-b", "cache-c", "cache-a", "cache-d"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        publish(f, names[i]);
    assert_true(is_cached(f, "cache-a"));
    assert_false(is_cached(f, "cache-b"));
    assert_true(is_cached(f, "cache-c"));
    assert_true(is_cached(f, "cache-d"));
    assert_int_equal(gauge(f), CAPACITY);
    assert_int_equal(metric_value(metrics_of(&f->core->env, f->core->app)->cache_evictions), 1);
}

static void an_event_that_is_over_takes_its_memory_along(void **state)
{
    struct fixture *f = *state;
    publish(f, "cache-a");
    core_advance_ms(f->core, 1000);
    publish(f, "cache-b");
    f->core->now_ns += (f->core->config->channel_limits.cache_ttl_seconds - 1) * 1000000000u;
    core_advance_ms(f->core, 1);
    assert_int_equal(gauge(f), 1);
    core_advance_ms(f->core, 1000);
    assert_int_equal(gauge(f), 0);
    assert_int_equal(f->core->env.hub->idle_count, 2); /* nothing holds their records any more */
}

/* Mail for a shard that cannot keep up is never lost, so less of it must be made. */
static void nothing_new_is_begun_while_other_shards_are_behind(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->core->env.backlog, ENV_BACKLOG_MAX);
    assert_int_equal(publish(f, "news"), PUBLISH_OK);
    assert_true(hub_takes_subscriptions(&f->core->env));
    atomic_store(&f->core->env.backlog, ENV_BACKLOG_MAX + 1);
    assert_int_equal(publish(f, "news"), PUBLISH_BUSY);
    assert_false(hub_takes_subscriptions(&f->core->env));
    atomic_store(&f->core->env.backlog, 0);
    assert_int_equal(publish(f, "news"), PUBLISH_OK);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_events_kept_longest_give_way),
        T(an_event_that_is_over_takes_its_memory_along),
        T(nothing_new_is_begun_while_other_shards_are_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
