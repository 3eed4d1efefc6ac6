/* cache_test.c - the shared cache on a real Redis (chapter 5, 6.1 and 6.3).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "cluster/cache.h"
#include "redis_server.h"
#include "unit.h"

enum { ROUNDS_MAX = 10000 };

struct fixture {
    struct redis_server redis;
    struct cache *caches[2]; /* of two nodes */
    struct metric_registry *metrics[2];
};

/* There are no shards: done() runs on the cache's thread, and the waiting test reads what it left. */
static void run_here(void *user, unsigned shard, struct task *task)
{
    task->run(task);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct buf error = {0};
    redis_server_start(&f->redis, NULL);
    for (int i = 0; i < 2; i++) {
        f->metrics[i] = metric_registry_new();
        f->caches[i] = cache_open_redis(&(struct cache_options){.name = "cache",
                                                                .prefix = STR("p:"),
                                                                .redis = {.host = STR("127.0.0.1"), .port = f->redis.port},
                                                                .clock = &clock_system,
                                                                .metrics = f->metrics[i],
                                                                .home = run_here},
                                        &error);
        assert_non_null(f->caches[i]);
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        cache_stop(f->caches[i], 100);
        cache_free(f->caches[i]);
        metric_registry_free(f->metrics[i]);
    }
    redis_server_free(&f->redis);
    free(f);
    return 0;
}

static void wait_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static void is_done(struct cache_op *op)
{
    atomic_store((_Atomic bool *)op->user, true);
}

/* "ok", "ok 3", "taken value" and so on. */
static const char *ask(struct fixture *f, int node, enum cache_verb verb, const char *value, const char *expected, uint64_t ttl_ms, int64_t amount)
{
    static const char *const words[] = {"ok", "absent", "taken", "failed"};
    static char text[64];
    _Atomic bool done = false;
    struct cache_op *op = cache_op_new(verb, STR("k"), str_of(value), str_of(expected));
    op->ttl_ms = ttl_ms;
    op->amount = amount;
    op->done = is_done;
    op->user = (void *)&done;
    cache_submit(f->caches[node], op);
    for (int i = 0; !atomic_load(&done); i++) {
        assert_true(i < ROUNDS_MAX);
        wait_ms(1);
    }
    int n = snprintf(text, sizeof text, "%s", words[op->result]);
    if (op->found.n > 0)
        snprintf(text + n, sizeof text - (size_t)n, " %.*s", STR_ARG(buf_view(&op->found)));
    else if (op->number != 0 && (verb == CACHE_ADD || verb == CACHE_TAKE))
        snprintf(text + n, sizeof text - (size_t)n, " %lld", (long long)op->number);
    cache_op_free(op);
    return text;
}

#define GET(node) ask(f, node, CACHE_GET, NULL, NULL, 0, 0)

static void what_one_node_sets_the_other_gets_until_it_expires(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(GET(1), "absent");
    assert_string_equal(ask(f, 0, CACHE_SET, "v", NULL, 150, 0), "ok");
    assert_string_equal(GET(1), "ok v");
    wait_ms(200);
    assert_string_equal(GET(1), "absent");
    assert_string_equal(ask(f, 0, CACHE_SET, "w", NULL, 0, 0), "ok");
    redis_server_shell(&f->redis, "test \"$(redis-cli -p $PORT get p::k)\" = w");
    assert_string_equal(ask(f, 1, CACHE_REMOVE, NULL, NULL, 0, 0), "ok");
    assert_string_equal(GET(0), "absent");
}

/* Of two nodes that claim a key at once, one works and the other sees whose it is. */
static void only_one_claims(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(ask(f, 0, CACHE_SET_NEW, "mine", NULL, 10000, 0), "ok");
    assert_string_equal(ask(f, 1, CACHE_SET_NEW, "yours", NULL, 10000, 0), "taken mine");
    assert_string_equal(ask(f, 0, CACHE_SET_NEW, "mine", NULL, 10000, 0), "ok"); /* sent twice */
    assert_string_equal(ask(f, 1, CACHE_SWAP, "x", "yours", 10000, 0), "taken");
    assert_string_equal(ask(f, 0, CACHE_SWAP, "done", "mine", 10000, 0), "ok");
    assert_string_equal(ask(f, 0, CACHE_SWAP, "done", "mine", 10000, 0), "ok"); /* sent twice */
    assert_string_equal(ask(f, 1, CACHE_REMOVE_SAME, NULL, "yours", 0, 0), "taken");
    assert_string_equal(GET(1), "ok done");
    assert_string_equal(ask(f, 1, CACHE_REMOVE_SAME, NULL, "done", 0, 0), "ok");
    assert_string_equal(GET(0), "absent");
}

static void a_renewed_claim_stays_a_forgotten_one_goes(void **state)
{
    struct fixture *f = *state;
    ask(f, 0, CACHE_SET_NEW, "mine", NULL, 200, 0);
    for (int i = 0; i < 4; i++) {
        wait_ms(80);
        assert_string_equal(ask(f, 0, CACHE_SWAP, "mine", "mine", 200, 0), "ok");
    }
    assert_string_equal(ask(f, 1, CACHE_SET_NEW, "yours", NULL, 200, 0), "taken mine");
    wait_ms(250);
    assert_string_equal(ask(f, 1, CACHE_SET_NEW, "yours", NULL, 200, 0), "ok");
}

static void numbers_add_up_over_the_nodes(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(ask(f, 0, CACHE_ADD, NULL, NULL, 200, 2), "ok 2");
    wait_ms(120);
    assert_string_equal(ask(f, 1, CACHE_ADD, NULL, NULL, 200, 3), "ok 5");
    wait_ms(120); /* the time to live began with the first */
    assert_string_equal(ask(f, 1, CACHE_ADD, NULL, NULL, 200, -1), "ok -1");
}

static void a_window_slides_over_both_nodes(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(ask(f, 0, CACHE_TAKE, "a", NULL, 400, 3), "ok 2");
    assert_string_equal(ask(f, 0, CACHE_TAKE, "a", NULL, 400, 3), "ok 2"); /* sent twice: one place */
    wait_ms(200);
    assert_string_equal(ask(f, 1, CACHE_TAKE, "b", NULL, 400, 3), "ok 1");
    assert_string_equal(ask(f, 0, CACHE_TAKE, "c", NULL, 400, 3), "ok");
    assert_string_equal(ask(f, 1, CACHE_TAKE, "d", NULL, 400, 3), "taken -1");
    wait_ms(250); /* a's place is free, those of b and c are not */
    assert_string_equal(ask(f, 1, CACHE_TAKE, "e", NULL, 400, 3), "ok");
    assert_string_equal(ask(f, 0, CACHE_TAKE, "g", NULL, 400, 3), "taken -1");
}

static void members_are_passed_on_to_one(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(ask(f, 0, CACHE_INCLUDE, "a", NULL, 60000, 0), "ok");
    assert_string_equal(ask(f, 0, CACHE_INCLUDE, "b", NULL, 60000, 0), "ok");
    assert_string_equal(ask(f, 0, CACHE_INCLUDE, "b", NULL, 60000, 0), "ok");
    assert_int_equal(strlen(ask(f, 1, CACHE_SOME, NULL, NULL, 0, 1)), strlen("ok \2b"));
    assert_string_equal(ask(f, 1, CACHE_PASS_ON, "a", "other", 60000, 0), "ok");
    assert_string_equal(ask(f, 1, CACHE_PASS_ON, "a", "other", 60000, 0), "ok"); /* sent twice */
    assert_string_equal(ask(f, 0, CACHE_PASS_ON, "a", "third", 60000, 0), "absent");
    assert_string_equal(ask(f, 1, CACHE_SOME, NULL, NULL, 0, 10), "ok \2b"); /* base/pack.h: the length + 1 */
    assert_string_equal(ask(f, 0, CACHE_EXCLUDE, "b", NULL, 0, 0), "ok");
    assert_string_equal(ask(f, 1, CACHE_SOME, NULL, NULL, 0, 10), "ok");
    redis_server_shell(&f->redis, "test \"$(redis-cli -p $PORT smembers p::other)\" = a && test $(redis-cli -p $PORT pttl p::other) -gt 50000");
}

static void sets_end_with_their_time_to_live(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(ask(f, 0, CACHE_INCLUDE, "a", NULL, 100, 0), "ok");
    wait_ms(200);
    assert_string_equal(ask(f, 1, CACHE_SOME, NULL, NULL, 0, 10), "ok");
}

/* A restart of Redis that is shorter than an operation waits is not felt; a longer one is told at once. */
static void without_redis_operations_fail_and_come_back_with_it(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(GET(0), "absent");
    redis_server_kill(&f->redis);
    assert_string_equal(GET(0), "failed");
    for (int i = 0; cache_is_up(f->caches[0]); i++) {
        assert_true(i < ROUNDS_MAX);
        wait_ms(1);
    }
    uint64_t begun_ms = clock_mono_ms(&clock_system);
    assert_string_equal(GET(0), "failed");
    assert_true(clock_mono_ms(&clock_system) - begun_ms < CACHE_WAIT_MS / 2);
    redis_server_restart(&f->redis);
    for (int i = 0; !cache_is_up(f->caches[0]); i++) {
        assert_true(i < ROUNDS_MAX);
        wait_ms(1);
    }
    assert_string_equal(GET(0), "absent");
}

/* A Redis that keeps its connections and answers nobody must not keep requests waiting. */
static void a_redis_that_hangs_is_left(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(ask(f, 0, CACHE_SET, "v", NULL, 0, 0), "ok");
    kill(f->redis.pid, SIGSTOP);
    uint64_t begun_ms = clock_mono_ms(&clock_system);
    assert_string_equal(GET(0), "failed");
    assert_true(clock_mono_ms(&clock_system) - begun_ms < 3 * CACHE_WAIT_MS);
    kill(f->redis.pid, SIGCONT);
    for (int i = 0; strcmp(GET(0), "ok v") != 0; i++) {
        assert_true(i < ROUNDS_MAX);
        wait_ms(1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_one_node_sets_the_other_gets_until_it_expires, setup, teardown),
        cmocka_unit_test_setup_teardown(only_one_claims, setup, teardown),
        cmocka_unit_test_setup_teardown(a_renewed_claim_stays_a_forgotten_one_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_add_up_over_the_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_window_slides_over_both_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(members_are_passed_on_to_one, setup, teardown),
        cmocka_unit_test_setup_teardown(sets_end_with_their_time_to_live, setup, teardown),
        cmocka_unit_test_setup_teardown(without_redis_operations_fail_and_come_back_with_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_redis_that_hangs_is_left, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
