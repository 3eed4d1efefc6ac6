/* SPDX-License-Identifier: Apache-2.0 */
#include "load_support.h"

/* Started from the repository's root, as `make unit` does. */
static struct loaded load_example(const char *path, char *const *env)
{
    struct loaded l = {0};
    const struct config_request request = {.file = path, .environ_ = env};
    l.config = config_load(&request, &l.warnings, &l.error);
    return l;
}

#define APP "SOCKUDO_APP_ID=a", "SOCKUDO_APP_KEY=k", "SOCKUDO_APP_SECRET=s"

static void the_development_profile_needs_nothing(void **state)
{
    struct loaded l = load_example("config/ai-transport.example.toml", NO_ENV);
    struct config *c = must_load(&l);
    assert_int_equal(l.warnings.n, 0);
    assert_int_equal(c->history.backend, BACKEND_MEMORY);
    assert_true(c->ai.enabled && c->recovery.enabled && c->versioned.enabled);
    assert_int_equal(c->rate_limiter.api.max_requests, 20000);
    assert_int_equal(c->apps[0].idempotency_ttl_seconds, 300);
    unload(&l);
}

static void the_single_node_wants_its_credentials(void **state)
{
    struct loaded l = load_example("config/single-node.example.toml", NO_ENV);
    assert_null(l.config);
    assert_says(&l.error, "SOCKUDO_APP_ID, SOCKUDO_APP_KEY, SOCKUDO_APP_SECRET");
    unload(&l);
    l = load_example("config/single-node.example.toml", ENV(APP));
    assert_int_equal(must_load(&l)->history.backend, BACKEND_ROCKSDB);
    assert_int_equal(l.warnings.n, 0);
    unload(&l);
}

static void the_cluster_profile_loads(void **state)
{
    struct loaded l =
        load_example("config/production.example.toml",
                     ENV(APP, "POSTGRES_PASSWORD=p", "SOCKUDO_ALLOWED_ORIGIN=https://a.example"));
    const struct config *c = must_load(&l);
    assert_true(c->adapter.redis_driver && c->cache.redis_driver && c->rate_limiter.redis_driver && c->queue.enabled);
    assert_int_equal(c->history.backend, BACKEND_POSTGRES);
    assert_str(c->cache.redis_prefix, "sockudo_cache:");
    assert_str(c->rate_limiter.redis_prefix, "sockudo_rl:");
    assert_says(&l.warnings, "not in Redis");
    unload(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_development_profile_needs_nothing),
        cmocka_unit_test(the_single_node_wants_its_credentials),
        cmocka_unit_test(the_cluster_profile_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
