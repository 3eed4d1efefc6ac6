/* SPDX-License-Identifier: Apache-2.0 */
#include "load_support.h"

#define STORES "history.enabled=true\nversioned_messages.enabled=true\n"
#define AI STORES "ai_transport.enabled=true\n"

static void assert_loads(const char *toml)
{
    struct loaded l = load_toml(toml, NO_ENV);
    must_load(&l);
    unload(&l);
}

static void several_nodes_with_idempotency_need_a_shared_cache(void **state)
{
    assert_refused("adapter.driver='redis'", "Configuration validation failed: ");
    assert_refused("adapter.driver='redis'", "require cache.driver=redis or redis-cluster");
}

static void without_idempotency_several_nodes_need_no_cache(void **state)
{
    assert_loads("adapter.driver='redis'\nidempotency.enabled=false");
    assert_refused("adapter.driver='nats'\nidempotency.enabled=false", "adapter.driver = nats is not supported by this build yet");
}

static void ai_transport_needs_history_and_versions(void **state)
{
    assert_refused("ai_transport.enabled=true", "ai_transport.enabled requires history.enabled");
    assert_refused("ai_transport.enabled=true\nhistory.enabled=true",
                   "ai_transport.enabled requires versioned_messages.enabled");
    assert_loads(AI);
}

static void ai_transport_on_several_nodes_needs_shared_stores(void **state)
{
    assert_refused(AI "adapter.driver='redis'\nhistory.backend='memory'", "shared history backend");
    assert_refused(AI
                   "adapter.driver='redis'\nhistory.backend='postgres'\nversioned_messages.driver='memory'",
                   "shared version_store driver");
}

static void the_window_is_one_of_five_and_within_its_bounds(void **state)
{
    assert_refused(AI "ai_transport.rollup.default_window_ms=30", "must be one of 0, 20, 40, 100, 500");
    assert_loads(AI "ai_transport.rollup.default_window_ms=0");
    assert_refused(AI "ai_transport.rollup={default_window_ms=500,max_window_ms=100}",
                   "between min_window_ms and");
    assert_refused(AI "ai_transport.rollup={min_window_ms=200,max_window_ms=100}",
                   "min_window_ms must not be");
    assert_refused(AI "ai_transport.rollup.orphan_ttl_ms=0", "orphan_ttl_ms must be greater than 0");
    assert_refused(AI "ai_transport.max_appends_per_message=0",
                   "max_appends_per_message must be greater than 0");
}

static void transport_limits_may_only_be_raised(void **state)
{
    assert_refused(AI "ai_transport.max_transport_value_bytes=255", "must be at least 256");
    assert_refused(AI "ai_transport.max_steer_codec_message_ids_bytes=2047", "must be at least 2048");
    assert_loads(AI "ai_transport.max_transport_value_bytes=4096");
}

static void empty_prefixes_are_left_out(void **state)
{
    struct loaded l = load_toml(AI "ai_transport.channels=[{prefix=''},{prefix='x-'},{}]", NO_ENV);
    assert_int_equal(must_load(&l)->ai.prefixes_count, 1);
    assert_str(l.config->ai.prefixes[0], "x-");
    unload(&l);
}

static void a_socket_mode_is_an_octal_string(void **state)
{
    assert_refused("unix_socket.permission_mode='999'", "octal");
    assert_refused("unix_socket.permission_mode=660", "unix_socket.permission_mode: expected a string");
    assert_refused("unix_socket.permission_mode='1777'", "octal");
    assert_loads("unix_socket.permission_mode='660'");
}

static void a_socket_path_is_absolute(void **state)
{
    assert_refused("unix_socket={enabled=true,path='run/x.sock'}", "unix_socket.path must be absolute");
    assert_refused("unix_socket={enabled=true,path='/a/../x'}", "must not contain ../");
    assert_refused("unix_socket={enabled=true,path=''}", "must not be empty");
    assert_refused("unix_socket.enabled=true", "unix_socket.enabled = true is not supported");
}

static void a_heartbeat_must_fit_three_times_into_the_timeout(void **state)
{
    assert_refused("adapter.cluster_health.heartbeat_interval_ms=20000", "at most a third");
    assert_refused("adapter.cluster_health.cleanup_interval_ms=40000", "cleanup_interval_ms must be at most");
    assert_refused("adapter.cluster_health.node_timeout_ms=0", "greater than 0");
}

static void a_cache_of_nothing_is_fine_when_nothing_needs_it(void **state)
{
    assert_refused("cache.driver='none'", "idempotency.enabled requires a cache");
    assert_loads("cache.driver='none'\nidempotency.enabled=false");
}

static void sizes_and_times_must_not_be_zero(void **state)
{
    assert_refused("cleanup.batch_size=0", "cleanup.batch_size must be greater than 0");
    assert_refused("idempotency.ttl_seconds=0", "idempotency.ttl_seconds must be greater than 0");
    assert_refused("connection_recovery.max_buffer_size=0", "connection_recovery.max_buffer_size must be");
    assert_refused("history={enabled=true,max_page_size=0}", "history.max_page_size must be greater than 0");
    assert_refused(STORES "versioned_messages.max_page_size=0", "versioned_messages.max_page_size must be");
    assert_refused("presence.update_rate_limit_per_member_per_second=0", "must be greater than 0");
    assert_refused("adapter.nats.presence_sync_chunk_size=0", "must be greater than 0");
    assert_refused("workers=0", "workers must be greater than 0");
    assert_refused("workers=60", "workers must be at most 59");
    assert_loads("history.max_page_size=0");
}

static void both_stores_are_one(void **state)
{
    assert_refused(STORES "history.backend='memory'\nversioned_messages.driver='rocksdb'",
                   "must name the same store");
    assert_refused(STORES "versioned_messages.driver='memory'",
                   "must name the same store, not rocksdb and memory");
}

static void an_api_node_needs_a_horizontal_adapter(void **state)
{
    assert_refused("server_role='api'", "requires a horizontal adapter");
    assert_refused("server_role='api'\nadapter.driver='redis'", "cannot use adapter.fallback_to_local");
    assert_refused("server_role='api'\nadapter={driver='redis',fallback_to_local=false}\ncache.driver='redis'",
                   "server_role = api is not supported by this build yet");
}

static void push_rules_are_checked_by_number(void **state)
{
    assert_refused("push_rules=[{event_filter=['a'],channel_pattern='a*b'}]",
                   "push_rules[0].channel_pattern may");
    assert_refused("push_rules=[{event_filter=['a']}]", "push_rules[0].channel_pattern must");
    assert_refused("push_rules=[{channel_pattern='x*',event_filter=['a']},{channel_pattern='x'}]",
                   "push_rules[1].event_filter must name");
    assert_refused("push_rules=[{channel_pattern='x',event_filter=['']}]", "1 to 200 bytes");
    assert_refused("push_rules=[{channel_pattern='x',event_filter=['a'],rate_limit_per_second=0}]",
                   "greater than 0");
    assert_refused("push_rules=[{channel_pattern='x',event_filter=['a']}]", "push_rules = [");
}

static void ably_keys_are_checked_first(void **state)
{
    assert_refused("ably_compat.nonce_ttl_seconds=0\nai_transport.enabled=true",
                   "ably_compat.nonce_ttl_seconds");
    assert_refused("ably_compat.keys=[{app_id='a',key_name='k'}]",
                   "ably_compat.keys[0].secret must not be empty");
    assert_refused(
        "ably_compat.keys=[{app_id='a',key_name='k',secret='s'},{app_id='a',key_name='k',secret='s'}]",
        "ably_compat.keys[1].key_name is used twice");
    assert_refused("ably_compat.keys=[{app_id='a',key_name='k',secret='s',capability='x'}]",
                   "ably_compat.keys[0].capability: expected a table");
}

static void queue_and_webhooks_need_figures_that_make_sense(void **state)
{
    assert_refused("queue.reliability.retry_base_delay_ms=60001", "queue.reliability.retry_base_delay_ms must not be greater than retry_max_delay_ms");
    assert_refused("queue.reliability.retry_jitter=1.5", "queue.reliability.retry_jitter must be from 0 to 1");
    assert_refused("queue.reliability.memory_capacity=0", "queue.reliability.memory_capacity must be greater than 0");
    assert_refused("webhooks.batching.size=0", "webhooks.batching.size must be greater than 0");
    assert_refused("webhooks.retry.max_attempts=0", "webhooks.retry.max_attempts must be greater than 0");
    assert_refused("webhooks.request_timeout_ms=0", "webhooks.request_timeout_ms must be greater than 0");
    struct loaded l = load_toml("queue.reliability.retry_jitter=0.25\nqueue.driver='none'", NO_ENV);
    assert_int_equal(must_load(&l)->queue.retry_jitter_permille, 250);
    assert_false(l.config->queue.enabled);
    assert_int_equal(l.config->webhooks.retry.max_attempts, 0);
    assert_int_equal(l.config->webhooks.batching.duration_ms, 50);
    unload(&l);
}

static void what_is_not_built_is_refused_with_key_and_value(void **state)
{
    static const char *const each[][2] = {
        {"path_prefix='/ws'", "path_prefix = /ws is not supported by this build yet"},
        {"queue.driver='sqs'", "queue.driver = sqs"},
        {"rate_limiter.driver='redis-cluster'", "rate_limiter.driver = redis-cluster"},
        {"cache.driver='redis-cluster'", "cache.driver = redis-cluster"},
        {"app_manager.driver='postgres'", "app_manager.driver = pgsql"},
        {"history.backend='mysql'", "history.backend = mysql"},
        {"ssl.enabled=true", "ssl.enabled = true"},
        {"websocket.compression='shared'", "websocket.compression = shared"},
        {"annotations.enabled=true", "requires versioned_messages.enabled"},
        {"delta_compression.enabled=true", "delta_compression.enabled = true"},
        {"ably_compat.enabled=true", "ably_compat.enabled = true"},
        {"push.fcm_enabled=true", "push.fcm_enabled = true"},
        {"metrics.tcp_exporter.enabled=true", "metrics.tcp_exporter.enabled = true"},
    };
    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        assert_refused(each[i][0], each[i][1]);
    assert_refused("queue.driver='bogus'", "queue.driver: expected one of: memory, none, redis");
}

static void a_key_at_its_default_is_never_refused(void **state)
{
    assert_loads(
        "path_prefix='/'\nqueue.driver='none'\ndelta_compression.enabled=false\nssl.enabled=false\n"
        "server_role='default'\nwebsocket.compression='disabled'\npush_rules=[]\nadapter.driver='local'");
}

static void tuning_keys_share_one_warning(void **state)
{
    struct loaded l =
        load_toml("history.writer_shards=4\nadapter.buffer_multiplier_per_cpu=8\ncleanup.batch_size=64",
                  ENV("REDIS_URL=redis://u:p@h"));
    must_load(&l);
    assert_says(&l.warnings, "these keys have no effect in this build: adapter.buffer_multiplier_per_cpu, ");
    assert_says(&l.warnings, "history.writer_shards");
    assert_int_equal(str_find(buf_view(&l.warnings), STR("cleanup")), -1);
    assert_int_equal(str_find(buf_view(&l.warnings), STR("u:p")), -1);
    unload(&l);
}

static void versions_that_would_outlive_their_message_are_warned_of(void **state)
{
    struct loaded l = load_toml("versioned_messages.retention_window_seconds=90\nhistory.retention_window_seconds=60", NULL);
    must_load(&l);
    assert_says(&l.warnings, "versions go with their message's place in history");
    unload(&l);
}

static void origins_of_cors_are_patterns(void **state)
{
    assert_refused("cors.origin=['*.a*']", "cors.origin: '*.a*' has more than one '*'");
    assert_refused("cors.origin=['://x']", "lacks a scheme or a host");
    assert_loads("cors.origin=['https://*.example.com','any','localhost:3000','*.example.com']");
}

static void versions_may_have_a_window_of_their_own(void **state)
{
    assert_refused("connection_recovery.buffer_ttl_seconds=0", "connection_recovery.buffer_ttl_seconds must be");
    assert_loads("connection_recovery.buffer_ttl_seconds=60");
    assert_loads("versioned_messages.retention_window_seconds=60\nhistory.retention_window_seconds=90");
    assert_refused("history.backend='postgres'\nversioned_messages.retention_window_seconds=60", "versions stay as long as their message");
    assert_loads("history.backend='postgres'\nversioned_messages.retention_window_seconds=86400");
    assert_loads("versioned_messages.retention_window_seconds=90\nhistory.retention_window_seconds=90");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_nodes_with_idempotency_need_a_shared_cache),
        cmocka_unit_test(without_idempotency_several_nodes_need_no_cache),
        cmocka_unit_test(ai_transport_needs_history_and_versions),
        cmocka_unit_test(ai_transport_on_several_nodes_needs_shared_stores),
        cmocka_unit_test(the_window_is_one_of_five_and_within_its_bounds),
        cmocka_unit_test(transport_limits_may_only_be_raised),
        cmocka_unit_test(empty_prefixes_are_left_out),
        cmocka_unit_test(a_socket_mode_is_an_octal_string),
        cmocka_unit_test(a_socket_path_is_absolute),
        cmocka_unit_test(a_heartbeat_must_fit_three_times_into_the_timeout),
        cmocka_unit_test(a_cache_of_nothing_is_fine_when_nothing_needs_it),
        cmocka_unit_test(sizes_and_times_must_not_be_zero),
        cmocka_unit_test(both_stores_are_one),
        cmocka_unit_test(an_api_node_needs_a_horizontal_adapter),
        cmocka_unit_test(push_rules_are_checked_by_number),
        cmocka_unit_test(ably_keys_are_checked_first),
        cmocka_unit_test(queue_and_webhooks_need_figures_that_make_sense),
        cmocka_unit_test(what_is_not_built_is_refused_with_key_and_value),
        cmocka_unit_test(a_key_at_its_default_is_never_refused),
        cmocka_unit_test(tuning_keys_share_one_warning),
        cmocka_unit_test(versions_that_would_outlive_their_message_are_warned_of),
        cmocka_unit_test(origins_of_cors_are_patterns),
        cmocka_unit_test(versions_may_have_a_window_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
