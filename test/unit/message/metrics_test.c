/* SPDX-License-Identifier: Apache-2.0 */
#include "message/metrics.h"
#include "../support/unit.h"

static struct config config;
static struct app_config app_config;
static struct apps *apps;
static struct env env;
static struct buf text;

static int setup(void **state)
{
    struct buf error = {0};
    app_config = (struct app_config){.id = STR("7"), .key = STR("k"), .secret = STR("s"), .enabled = true};
    config.apps = &app_config;
    config.apps_count = 1;
    apps = apps_new(&config, 1, &error);
    assert_non_null(apps);
    env.metrics = metrics_new(apps, 9601);
    return 0;
}

static int teardown(void **state)
{
    metrics_free(env.metrics);
    apps_free(apps);
    buf_free(&text);
    return 0;
}

static bool exported(const char *line)
{
    buf_clear(&text);
    metric_render(env.metrics->registry, STR("sockudo_"), &text);
    buf_char(&text, '\0');
    text.n--;
    return strstr(text.p, line) != NULL;
}

/* Alerts on rates and absence must find their series before any traffic. */
static void series_of_the_alerts_exist_at_zero(void **state)
{
    static const char *const lines[] = {
        "sockudo_connected{app_id=\"7\",port=\"9601\"} 0\n",
        "sockudo_rate_limit_triggered_total{app_id=\"global\",port=\"9601\",limiter_type=\"websocket_"
        "connect\","
        "request_context=\"websocket_upgrade\"} 0\n",
        "sockudo_broadcast_latency_ms_bucket{app_id=\"7\",port=\"9601\",channel_type=\"public\","
        "recipient_count_bucket=\"xs\",le=\"25\"} 0\n",
        "sockudo_ai_active_streams{app_id=\"7\",port=\"9601\"} 0\n",
        "sockudo_appends_received_total{app_id=\"7\",port=\"9601\"} 0\n",
        "sockudo_appends_delivered_total{app_id=\"7\",port=\"9601\"} 0\n",
        "sockudo_flush_latency_bucket{app_id=\"7\",port=\"9601\",le=\"45\"} 0\n",
        "sockudo_history_recovery_failures_total{app_id=\"7\",port=\"9601\",code=\"position_expired\"} 0\n",
        "sockudo_history_degraded_channels{app_id=\"7\",port=\"9601\"} 0\n",
        "sockudo_history_reset_required_channels{app_id=\"7\",port=\"9601\"} 0\n",
        "sockudo_horizontal_transport_messages_dropped_total{driver=\"local\"} 0\n",
        "sockudo_horizontal_transport_reconnections_total{driver=\"local\"} 0\n",
        "sockudo_horizontal_transport_queue_depth{driver=\"local\"} 0\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!exported(lines[i]))
            fail_msg("%s is not in %s", lines[i], text.p);
}

static void a_count_finds_its_labels(void **state)
{
    const struct app *app = apps_at(apps, 0);
    metrics_mutation(&env, app, "message.append", "duplicate");
    metrics_run_ended(&env, app, "cancelled");
    metrics_ai_rejected(&env, app, 104001);
    metrics_ai_validated(&env, app, STR("ai-step-end"));
    metrics_active_channel(&env, app, "private-encrypted", 1);
    assert_true(exported("message_mutations_total{app_id=\"7\",port=\"9601\",action=\"message.append\","
                         "result=\"duplicate\"} 1\n"));
    assert_true(exported("ai_runs_ended_total{app_id=\"7\",port=\"9601\",reason=\"cancelled\"} 1\n"));
    assert_true(exported("ai_turns_ended_total{app_id=\"7\",port=\"9601\",reason=\"cancelled\"} 1\n"));
    assert_true(exported("ai_messages_rejected_total{app_id=\"7\",port=\"9601\",code=\"104001\"} 1\n"));
    assert_true(
        exported("ai_messages_validated_total{app_id=\"7\",port=\"9601\",event=\"ai-step-end\"} 1\n"));
    assert_true(
        exported("active_channels{app_id=\"7\",port=\"9601\",channel_type=\"private-encrypted\"} 1\n"));
}

static void a_value_outside_of_its_table_counts_too(void **state)
{
    metrics_recovery(&env, apps_at(apps, 0), "something_new", NULL);
    assert_true(exported("recovery_failures_total{app_id=\"7\",port=\"9601\",code=\"something_new\"} 1\n"));
}

static void recipients_have_size_classes(void **state)
{
    const struct app *app = apps_at(apps, 0);
    metrics_broadcast(&env, app, "presence", 10, 3);
    metrics_broadcast(&env, app, "presence", 11, 3);
    metrics_broadcast(&env, app, "presence", 10001, 3);
    assert_true(exported(
        "{app_id=\"7\",port=\"9601\",channel_type=\"presence\",recipient_count_bucket=\"xs\",le=\"3\"} 1\n"));
    assert_true(exported(
        "{app_id=\"7\",port=\"9601\",channel_type=\"presence\",recipient_count_bucket=\"sm\",le=\"3\"} 1\n"));
    assert_true(exported(
        "{app_id=\"7\",port=\"9601\",channel_type=\"presence\",recipient_count_bucket=\"xl\",le=\"3\"} 1\n"));
}

static void an_address_limiter_counts_checks_and_triggers(void **state)
{
    metrics_rate_limit(&env, "global", "api_rate_limit", "http_api", false);
    metrics_rate_limit(&env, "global", "api_rate_limit", "http_api", true);
    assert_true(exported("limit_checks_total{app_id=\"global\",port=\"9601\",limiter_type=\"api_rate_limit\","
                         "request_context=\"http_api\"} 2\n"));
    assert_true(
        exported("limit_triggered_total{app_id=\"global\",port=\"9601\",limiter_type=\"api_rate_limit\","
                 "request_context=\"http_api\"} 1\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(series_of_the_alerts_exist_at_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(a_count_finds_its_labels, setup, teardown),
        cmocka_unit_test_setup_teardown(a_value_outside_of_its_table_counts_too, setup, teardown),
        cmocka_unit_test_setup_teardown(recipients_have_size_classes, setup, teardown),
        cmocka_unit_test_setup_teardown(an_address_limiter_counts_checks_and_triggers, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
