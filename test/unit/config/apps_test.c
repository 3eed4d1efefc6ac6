/* SPDX-License-Identifier: Apache-2.0 */
#include "load_support.h"

#define APPS(list) "{\"app_manager\":{\"array\":{\"apps\":[" list "]}}}"
#define APP(more) APPS("{\"id\":\"a\",\"key\":\"k\",\"secret\":\"s\",\"enabled\":true" more "}")

static void flat_keys_count_when_there_is_no_policy(void **state)
{
    struct loaded l =
        load_json(APP(",\"max_connections\":7,\"enable_client_messages\":true,"
                      "\"allowed_origins\":[\"*.x.org\"],\"message_rate_limit\":{\"enabled\":true},"
                      "\"idempotency\":{\"ttl_seconds\":300},"
                      "\"connection_recovery\":{\"enabled\":true,\"max_buffer_size\":9}"),
                  NO_ENV);
    const struct app_config *app = &must_load(&l)->apps[0];
    assert_int_equal(l.warnings.n, 0);
    assert_int_equal(app->max_connections, 7);
    assert_true(app->enable_client_messages && app->message_rate_limit.enabled);
    assert_int_equal(app->message_rate_limit.max_attempts, 60);
    assert_int_equal(app->allowed_origins_count, 1);
    assert_int_equal(app->idempotency_enabled, -1);
    assert_int_equal(app->idempotency_ttl_seconds, 300);
    assert_int_equal(app->recovery.enabled, 1);
    assert_int_equal(app->recovery.max_buffer_size, 9);
    assert_int_equal(app->recovery.buffer_ttl_seconds, -1);
    assert_int_equal(app->decay_seconds, 1);
    unload(&l);
}

static void a_policy_makes_flat_keys_ignored(void **state)
{
    struct loaded l =
        load_json(APP(",\"max_connections\":7,\"policy\":{\"limits\":{\"decay_seconds\":5}}"), NO_ENV);
    assert_int_equal(must_load(&l)->apps[0].max_connections, 0);
    assert_int_equal(l.config->apps[0].decay_seconds, 5);
    assert_says(&l.warnings, "app_manager.array.apps[0].max_connections is ignored");
    unload(&l);
}

static void an_app_is_disabled_unless_it_says_otherwise(void **state)
{
    struct loaded l = load_json(APPS("{\"id\":\"a\",\"key\":\"k\",\"secret\":\"s\"}"), NO_ENV);
    assert_false(must_load(&l)->apps[0].enabled);
    assert_says(&l.warnings, "app 'a' is disabled");
    unload(&l);
}

static void numbers_of_limits_and_history_may_be_strings(void **state)
{
    struct loaded l = load_json(APP(",\"max_connections\":\"100\""), NO_ENV);
    assert_int_equal(must_load(&l)->apps[0].max_connections, 100);
    unload(&l);
    l = load_json(APP(",\"policy\":{\"limits\":{\"max_connections\":\"100\"},"
                      "\"history\":{\"enabled\":true,\"retention_window_seconds\":\"60\"}}"),
                  NO_ENV);
    const struct app_config *app = &must_load(&l)->apps[0];
    assert_int_equal(app->max_connections, 100);
    assert_int_equal(app->history.enabled, 1);
    assert_int_equal(app->history.rewind_enabled, -1);
    assert_int_equal(app->history.retention_window_seconds, 60);
    assert_int_equal(app->history.max_bytes_per_channel, -1);
    unload(&l);
    l = load_json(APP(",\"max_connections\":\"1e2\""), NO_ENV);
    assert_null(l.config);
    assert_says(&l.error, "app_manager.array.apps[0].max_connections: expected a whole number");
    unload(&l);
}

static void history_counts_inside_a_policy_only(void **state)
{
    struct loaded l = load_json(APP(",\"history\":{\"enabled\":true}"), NO_ENV);
    assert_int_equal(must_load(&l)->apps[0].history.enabled, -1);
    assert_says(&l.warnings, "unknown key app_manager.array.apps[0].history");
    unload(&l);
}

static void limits_that_an_app_leaves_open_are_the_global_ones(void **state)
{
    struct loaded l = load_json(APP(""), NO_ENV);
    const struct app_config *app = &must_load(&l)->apps[0];
    assert_int_equal(app->max_presence_members_per_channel, 100);
    assert_int_equal(app->max_presence_member_size_in_kb, 2);
    assert_int_equal(app->max_event_payload_in_kb, 0);
    assert_int_equal(app->max_channel_name_length, 0);
    unload(&l);
    l = load_toml("event_limits.max_payload_in_kb = 33\npresence.max_members_per_channel = 5\n"
                  "[[app_manager.array.apps]]\nid='a'\nkey='k'\nsecret='s'\nenabled=true\nmax_presence_"
                  "member_size_in_kb=9",
                  NO_ENV);
    app = &must_load(&l)->apps[0];
    assert_int_equal(app->max_presence_members_per_channel, 5);
    assert_int_equal(app->max_presence_member_size_in_kb, 9);
    assert_int_equal(app->max_event_payload_in_kb, 33);
    unload(&l);
}

static void a_namespace_keeps_apart_what_is_not_set(void **state)
{
    struct loaded l =
        load_json(APP(",\"policy\":{\"channels\":{\"channel_namespaces\":[{\"name\":\"chat\","
                      "\"channel_name_pattern\":\"^[a-z]+$\",\"allow_publish_for_client\":false,"
                      "\"history\":{\"max_messages_per_channel\":5}},{\"name\":\"b\"}]}}"),
                  NO_ENV);
    assert_int_equal(must_load(&l)->apps[0].namespaces_count, 2);
    const struct namespace_config *ns = &l.config->apps[0].namespaces[0];
    assert_str(ns->name, "chat");
    assert_str(ns->channel_name_pattern, "^[a-z]+$");
    assert_int_equal(ns->max_channel_name_length, 0);
    assert_int_equal(ns->allow_publish_for_client, 0);
    assert_int_equal(ns->allow_subscribe_for_client, -1);
    assert_int_equal(ns->history.enabled, -1);
    assert_int_equal(ns->history.max_messages_per_channel, 5);
    assert_int_equal(ns->history.retention_window_seconds, -1);
    assert_absent(l.config->apps[0].namespaces[1].channel_name_pattern);
    unload(&l);
}

static void refused_app(const char *json, const char *reason)
{
    struct loaded l = load_json(json, NO_ENV);
    assert_null(l.config);
    assert_says(&l.error, reason);
    unload(&l);
}

static void what_no_app_may_be_is_named(void **state)
{
    refused_app(APPS("{\"id\":\"a\",\"secret\":\"s\"}"), "apps[0].id and key must not be empty");
    refused_app(APPS("{\"id\":\"a\",\"key\":\"k\",\"enabled\":true}"), "apps[0].secret must not be empty");
    refused_app(APPS("{\"id\":\"a\",\"key\":\"k\"},{\"id\":\"b\",\"key\":\"k\"}"), "apps[1].key: two apps");
    refused_app(APP(",\"allowed_origins\":[\"a*b*c\"]"), "allowed_origins: 'a*b*c' has more than one '*'");
    refused_app(APP(",\"allowed_origins\":[\"*.\"]"), "has no valid domain");
    refused_app(APP(",\"allowed_origins\":[\"https://\"]"), "lacks a scheme or a host");
    refused_app(APP(",\"allowed_origins\":[\"\"]"), "is empty");
    refused_app(APP(",\"channel_namespaces\":[{\"name\":\"a:b\"}]"), "channel_namespaces[0].name must not");
    refused_app(APP(",\"channel_namespaces\":[{\"name\":\"a\",\"max_channel_name_length\":0}]"),
                "greater than 0");
    refused_app(APP(",\"channel_namespaces\":[{\"name\":\"a\"},{\"name\":\"a\"}]"), "second namespace 'a'");
    refused_app(APP(",\"policy\":7"), "apps[0].policy: expected a table");
}

static void what_is_not_built_is_refused_in_an_app_too(void **state)
{
    refused_app(APP(",\"channel_delta_compression\":{\"a\":\"fossil\"}"), "channel_delta_compression");
    struct loaded l = load_json(APP(",\"webhooks\":[],\"annotations_enabled\":false"), NO_ENV);
    must_load(&l);
    unload(&l);
}

#define HOOK(more) APP(",\"webhooks\":[{\"url\":\"https://h/x\",\"event_types\":[\"cache_miss\"]" more "}]")

static void a_webhook_is_typed_and_says_where_it_follows_the_global_keys(void **state)
{
    struct loaded l = load_json(HOOK(",\"filter\":{\"channel_prefix\":\"private-\",\"channel_namespaces\":[\"a\",\"b\"]},"
                                     "\"headers\":{\"X-A\":\"1\",\"Authorization\":\"Bearer t\"},\"retry\":{\"max_attempts\":3,\"enabled\":false},"
                                     "\"request_timeout_ms\":700"),
                                NO_ENV);
    const struct webhook_config *hook = &must_load(&l)->apps[0].webhooks[0];
    assert_int_equal(l.config->apps[0].webhooks_count, 1);
    assert_str(hook->url, "https://h/x");
    assert_int_equal(hook->event_types_count, 1);
    assert_str(hook->event_types[0], "cache_miss");
    assert_str(hook->filter.channel_prefix, "private-");
    assert_absent(hook->filter.channel_suffix);
    assert_absent(hook->filter.channel_namespace);
    assert_int_equal(hook->filter.channel_namespaces_count, 2);
    assert_int_equal(hook->headers_count, 2);
    assert_str(hook->headers[1].name, "Authorization");
    assert_str(hook->headers[1].value, "Bearer t");
    assert_int_equal(hook->retry.enabled, 0);
    assert_int_equal(hook->retry.max_attempts, 3);
    assert_int_equal(hook->retry.max_elapsed_time_ms, -1);
    assert_int_equal(hook->request_timeout_ms, 700);
    unload(&l);
    l = load_json(APP(",\"policy\":{\"webhooks\":[{\"url\":\"http://[::1]:8/\",\"event_types\":[]}]}"), NO_ENV);
    assert_int_equal(must_load(&l)->apps[0].webhooks_count, 1);
    assert_int_equal(l.config->apps[0].webhooks[0].retry.enabled, -1);
    unload(&l);
}

static void a_webhook_that_cannot_work_is_named_without_its_address(void **state)
{
    static const char *const urls[] = {"ftp://h", "h", "http://", "http:///x", "http://h/a b", "http://h\\n", "file:///etc/passwd"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        char json[256];
        snprintf(json, sizeof json, APP(",\"webhooks\":[{\"url\":\"%s\",\"event_types\":[]}]"), urls[i]);
        refused_app(json, "apps[0].webhooks[0].url must be an http:// or https:// URL");
    }
    refused_app(APP(",\"webhooks\":[{\"event_types\":[]}]"), "webhooks[0].url must be");
    refused_app(APP(",\"webhooks\":[{\"event_types\":[],\"lambda_function\":\"f\"}]"), "AWS Lambda targets are not supported by this build yet");
    refused_app(APP(",\"webhooks\":[{\"url\":\"http://h\"}]"), "webhooks[0].event_types is required");
    refused_app(HOOK(",\"headers\":{\"a b\":\"c\"}"), "'a b' is no name of a header");
    refused_app(HOOK(",\"headers\":{\"X\":\"c\\r\\nY: d\"}"), "headers.X must not contain control characters");
    refused_app(HOOK(",\"headers\":{\"X\":7}"), "headers.X: expected a string");
    refused_app(HOOK(",\"headers\":{\"x-pusher-signature\":\"c\"}"), "x-pusher-signature is set by the server");
    refused_app(HOOK(",\"retry\":{\"max_attempts\":0}"), "retry.max_attempts must be greater than 0");
    refused_app(HOOK(",\"retry\":{\"initial_backoff_ms\":0}"), "must be greater than 0");
    refused_app(HOOK(",\"request_timeout_ms\":0"), "request_timeout_ms must be greater than 0");
}

static void the_later_of_two_apps_with_one_id_counts(void **state)
{
    struct loaded l = load_json(APPS("{\"id\":\"a\",\"key\":\"k\"},{\"id\":\"a\",\"key\":\"k2\"}"), NO_ENV);
    assert_int_equal(must_load(&l)->apps_count, 1);
    assert_str(l.config->apps[0].key, "k2");
    unload(&l);
}

static void an_app_from_the_environment_replaces_the_files(void **state)
{
    struct loaded l = load_json(
        APP(""), ENV("SOCKUDO_DEFAULT_APP_ID=e", "SOCKUDO_DEFAULT_APP_KEY=ek",
                     "SOCKUDO_DEFAULT_APP_SECRET=es", "SOCKUDO_DEFAULT_APP_MAX_CONNECTIONS=5",
                     "SOCKUDO_ENABLE_CLIENT_MESSAGES=1", "SOCKUDO_DEFAULT_APP_ALLOWED_ORIGINS=a.org, b.org"));
    assert_int_equal(must_load(&l)->apps_count, 1);
    const struct app_config *app = &l.config->apps[0];
    assert_str(app->id, "e");
    assert_str(app->secret, "es");
    assert_true(app->enabled && app->enable_client_messages);
    assert_false(app->enable_user_authentication);
    assert_int_equal(app->max_connections, 5);
    assert_int_equal(app->max_client_events_per_second, 100);
    assert_int_equal(app->max_channel_name_length, 100);
    assert_int_equal(app->max_presence_member_size_in_kb, 100);
    assert_int_equal(app->allowed_origins_count, 2);
    unload(&l);
}

static void half_an_identity_is_a_warning_and_leaves_no_app(void **state)
{
    struct loaded l = load_json(APP(""), ENV("SOCKUDO_DEFAULT_APP_ID=e", "SOCKUDO_DEFAULT_APP_KEY=ek"));
    assert_int_equal(must_load(&l)->apps_count, 0);
    assert_says(&l.warnings, "belong together");
    unload(&l);
}

static void three_variables_drop_the_files_apps(void **state)
{
    static const char *const names[] = {"SOCKUDO_SKIP_INLINE_APPS=true",
                                        "APP_MANAGER_REGISTER_INLINE_APPS=false",
                                        "SOCKUDO_DEFAULT_APP_ENABLED=false"};
    for (size_t i = 0; i < 3; i++) {
        struct loaded l = load_json(APP(""), ENV((char *)names[i]));
        assert_int_equal(must_load(&l)->apps_count, 0);
        unload(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flat_keys_count_when_there_is_no_policy),
        cmocka_unit_test(a_policy_makes_flat_keys_ignored),
        cmocka_unit_test(an_app_is_disabled_unless_it_says_otherwise),
        cmocka_unit_test(numbers_of_limits_and_history_may_be_strings),
        cmocka_unit_test(history_counts_inside_a_policy_only),
        cmocka_unit_test(limits_that_an_app_leaves_open_are_the_global_ones),
        cmocka_unit_test(a_namespace_keeps_apart_what_is_not_set),
        cmocka_unit_test(what_no_app_may_be_is_named),
        cmocka_unit_test(what_is_not_built_is_refused_in_an_app_too),
        cmocka_unit_test(a_webhook_is_typed_and_says_where_it_follows_the_global_keys),
        cmocka_unit_test(a_webhook_that_cannot_work_is_named_without_its_address),
        cmocka_unit_test(the_later_of_two_apps_with_one_id_counts),
        cmocka_unit_test(an_app_from_the_environment_replaces_the_files),
        cmocka_unit_test(half_an_identity_is_a_warning_and_leaves_no_app),
        cmocka_unit_test(three_variables_drop_the_files_apps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
