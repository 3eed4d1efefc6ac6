/* SPDX-License-Identifier: Apache-2.0 */
#include "load_support.h"

static void a_bad_number_is_a_warning_and_the_file_stands(void **state)
{
    struct loaded l = load_toml("port = 7001", ENV("PORT=abc"));
    assert_int_equal(must_load(&l)->port, 7001);
    assert_says(&l.warnings, "environment: PORT=abc: expected a whole number from 0 to 65535; port stays");
    unload(&l);
}

static void debug_true_wins_over_debug_mode_false(void **state)
{
    struct loaded l = load_toml("", ENV("DEBUG_MODE=false", "DEBUG=true"));
    assert_true(must_load(&l)->debug);
    assert_str(l.config->logging.filter, "debug");
    unload(&l);
    l = load_toml("debug = true", ENV("DEBUG=false"));
    assert_true(must_load(&l)->debug);
    unload(&l);
}

static void booleans_come_in_four_spellings_of_any_case(void **state)
{
    static const char *const spellings[] = {"TRUE", "1", "Yes", " on "};
    for (size_t i = 0; i < 4; i++) {
        char set[64];
        snprintf(set, sizeof set, "TAG_FILTERING_ENABLED=%s", spellings[i]);
        struct loaded l = load_toml("", ENV(set));
        assert_true(must_load(&l)->tag_filtering.enabled);
        unload(&l);
    }
    struct loaded l = load_toml("tag_filtering.enabled = true", ENV("TAG_FILTERING_ENABLED=maybe"));
    assert_true(must_load(&l)->tag_filtering.enabled);
    assert_says(&l.warnings, "TAG_FILTERING_ENABLED=maybe");
    unload(&l);
}

static void an_unknown_driver_is_a_warning_and_a_known_one_any_case(void **state)
{
    struct loaded l =
        load_toml("idempotency.enabled = false", ENV("CACHE_DRIVER=NONE", "QUEUE_DRIVER=bogus"));
    must_load(&l);
    assert_says(&l.warnings, "QUEUE_DRIVER=bogus");
    unload(&l);
}

static void some_bad_values_are_errors(void **state)
{
    static const char *const hard[] = {
        "SOCKUDO_SERVER_ROLE=ws",
        "HISTORY_BACKEND=stone",
        "HISTORY_MAX_MESSAGES_PER_CHANNEL=many",
        "HISTORY_MAX_BYTES_PER_CHANNEL=-1",
        "PRESENCE_HISTORY_MAX_EVENTS_PER_CHANNEL=x",
        "PRESENCE_HISTORY_MAX_BYTES_PER_CHANNEL=x",
        "SOCKUDO_ABLY_COMPAT_KEYS_JSON=[",
    };
    for (size_t i = 0; i < sizeof hard / sizeof *hard; i++) {
        struct loaded l = load_toml("", ENV((char *)hard[i]));
        assert_null(l.config);
        assert_true(str_starts(buf_view(&l.error), str_first(str_of(hard[i]), 12)));
        unload(&l);
    }
}

static void lists_are_cut_at_commas_and_trimmed(void **state)
{
    struct loaded l =
        load_toml("", ENV("CORS_ORIGINS= https://a.example , *.b.example,", "CORS_METHODS=GET, PUT"));
    struct config *c = must_load(&l);
    assert_int_equal(c->cors.origins_count, 2);
    assert_str(c->cors.origins[0], "https://a.example");
    assert_str(c->cors.origins[1], "*.b.example");
    assert_str(c->cors.methods, "GET, PUT");
    unload(&l);
}

static void none_takes_a_limit_away(void **state)
{
    struct loaded l =
        load_toml("history.max_messages_per_channel = 5", ENV("HISTORY_MAX_MESSAGES_PER_CHANNEL=none"));
    assert_int_equal(must_load(&l)->history.max_messages_per_channel, -1);
    unload(&l);
}

static void one_variable_may_set_several_keys(void **state)
{
    struct loaded l = load_toml("", ENV("CACHE_TTL_SECONDS=77"));
    assert_int_equal(must_load(&l)->cache.ttl_seconds, 77);
    assert_int_equal(l.config->channel_limits.cache_ttl_seconds, 77);
    unload(&l);
}

static void rust_log_wins_over_the_filters_of_our_own(void **state)
{
    struct loaded l = load_toml("", ENV("RUST_LOG=warn,store=debug", "SOCKUDO_LOG_PROD=error"));
    assert_str(must_load(&l)->logging.filter, "warn,store=debug");
    unload(&l);
    l = load_toml("", ENV("SOCKUDO_LOG_PROD=error", "SOCKUDO_LOG_DEBUG=trace", "LOG_OUTPUT_FORMAT=JSON"));
    assert_str(must_load(&l)->logging.filter, "error");
    assert_str(l.config->logging.format, "text"); /* exactly `json`, lower case */
    unload(&l);
    l = load_toml("debug = true",
                  ENV("SOCKUDO_LOG_PROD=error", "SOCKUDO_LOG_DEBUG=trace", "LOG_OUTPUT_FORMAT=json"));
    assert_str(must_load(&l)->logging.filter, "trace");
    assert_str(l.config->logging.format, "json");
    unload(&l);
}

/* A password in a warning would end up in a log. */
static void what_a_secret_was_set_to_is_never_shown(void **state)
{
    struct loaded l =
        load_toml("", ENV("SOCKUDO_ABLY_COMPAT_KEYS_JSON=hush", "DATABASE_REDIS_PASSWORD=\xff"));
    assert_null(l.config);
    assert_int_equal(str_find(buf_view(&l.error), STR("hush")), -1);
    assert_says(&l.warnings, "DATABASE_REDIS_PASSWORD=********");
    unload(&l);
}

static void a_node_timeout_from_the_environment_is_checked_with_the_rest(void **state)
{
    struct loaded l =
        load_toml("", ENV("CLUSTER_HEALTH_NODE_TIMEOUT=60000", "CLUSTER_HEALTH_HEARTBEAT_INTERVAL=20000"));
    assert_int_equal(must_load(&l)->adapter.node_timeout_ms, 60000);
    assert_int_equal(l.config->adapter.heartbeat_interval_ms, 20000);
    unload(&l);
}

static void a_node_may_do_without_its_bus_unless_told_otherwise(void **state)
{
    struct loaded l = load_toml("", NO_ENV);
    assert_true(must_load(&l)->adapter.fallback_to_local);
    assert_int_equal(l.config->adapter.requests_timeout_ms, 1000);
    unload(&l);
    l = load_toml("adapter.redis.requests_timeout = 250", ENV("ADAPTER_FALLBACK_TO_LOCAL=false"));
    assert_false(must_load(&l)->adapter.fallback_to_local);
    assert_int_equal(l.config->adapter.requests_timeout_ms, 250);
    assert_int_equal(l.warnings.n, 0);
    unload(&l);
    assert_refused("adapter.redis.requests_timeout = 0", "adapter.redis.requests_timeout must be greater than 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_number_is_a_warning_and_the_file_stands),
        cmocka_unit_test(debug_true_wins_over_debug_mode_false),
        cmocka_unit_test(booleans_come_in_four_spellings_of_any_case),
        cmocka_unit_test(an_unknown_driver_is_a_warning_and_a_known_one_any_case),
        cmocka_unit_test(some_bad_values_are_errors),
        cmocka_unit_test(lists_are_cut_at_commas_and_trimmed),
        cmocka_unit_test(none_takes_a_limit_away),
        cmocka_unit_test(one_variable_may_set_several_keys),
        cmocka_unit_test(rust_log_wins_over_the_filters_of_our_own),
        cmocka_unit_test(what_a_secret_was_set_to_is_never_shown),
        cmocka_unit_test(a_node_timeout_from_the_environment_is_checked_with_the_rest),
        cmocka_unit_test(a_node_may_do_without_its_bus_unless_told_otherwise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
