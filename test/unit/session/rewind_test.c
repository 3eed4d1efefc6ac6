/* rewind_test.c - rewind as one client sees it (chapter 3, section 3).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session_fixture.h"

static void rewind_shows_the_last_rows_and_says_that_there_were_more(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    publish_many(f, "news", 5);
    assert_string_equal(subscribe_with(f, c, "news", ",\"rewind\":2"),
                        "subscription_succeeded(news)@5 e(news)@4=4 e(news)@5=5 rewind_complete(news)@5");
    assert_true(said(c, "{\"historical_count\":2,\"live_count\":0,\"complete\":false,\"truncated_by_retention\":false,"
                        "\"truncated_by_limit\":true}"));
}

static void rewind_over_all_there_is_is_complete(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    publish_many(f, "news", 5);
    subscribe_with(f, c, "news", ",\"rewind\":{\"count\":5}");
    assert_true(said(c, "{\"historical_count\":5,\"live_count\":0,\"complete\":true,"));
    subscribe_with(f, c, "empty", ",\"rewind\":\"3\"");
    assert_true(said(c, "{\"historical_count\":0,\"live_count\":0,\"complete\":true,"));
}

static void rewind_by_time_starts_with_the_oldest(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    publish(f, "news", "1");
    core_advance_ms(f->core, 5000);
    publish(f, "news", "2");
    publish(f, "news", "3");
    assert_string_equal(subscribe_with(f, c, "news", ",\"rewind\":{\"seconds\":3}"),
                        "subscription_succeeded(news)@3 e(news)@2=2 e(news)@3=3 rewind_complete(news)@3");
    assert_true(said(c, "\"complete\":true"));
}

/* A node whose clock is an hour behind would show an hour too much; one that is ahead, nothing. */
static void rewind_by_time_goes_by_the_stores_clock(void **state)
{
    struct fixture *f = *state;
    core_wall_is_ahead(f->core, 3600000);
    publish(f, "news", "1");
    core_advance_ms(f->core, 5000);
    publish(f, "news", "2");
    assert_string_equal(subscribe_with(f, v2(f), "news", ",\"rewind\":{\"seconds\":3}"),
                        "subscription_succeeded(news)@2 e(news)@2=2 rewind_complete(news)@2");
    core_wall_is_ahead(f->core, -3600000);
    assert_string_equal(subscribe_with(f, v2(f), "news", ",\"rewind\":{\"seconds\":3}"),
                        "subscription_succeeded(news)@2 e(news)@2=2 rewind_complete(news)@2");
}

static void bad_rewind_is_refused(void **state)
{
    static const char *const bad[] = {"0", "-1", "\"x\"", "{}", "{\"count\":0}", "[]", "true"};
    struct fixture *f = *state;
    struct client *c = v2(f), *one = v1(f);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char more[64];
        snprintf(more, sizeof more, ",\"rewind\":%s", bad[i]);
        assert_string_equal(subscribe_with(f, c, "news", more), "error(news):4000 subscription_error(news)");
    }
    assert_string_equal(subscribe_with(f, one, "news", ",\"rewind\":1"), "error(news):4300 subscription_error(news)");
    publish(f, "news", "1");
    assert_string_equal(heard(c), "");
}

/* A delta client must get the whole text before the next fragment. */
static void rewound_message_is_shown_whole_and_goes_on(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    publish(f, "news", "\"a\"");
    append(f, "news", "\"b\"");
    assert_string_equal(subscribe_with(f, c, "news", ",\"rewind\":1"),
                        "subscription_succeeded(news)@2 message.update(news)@2=\"ab\" rewind_complete(news)@2");
    append(f, "news", "\"c\"");
    assert_string_equal(heard(c), "message.append(news)@3=\"c\"");
}

/* What is committed while the rows are being read comes once, behind them. */
static void message_of_the_meantime_is_live_and_counted(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    publish(f, "news", "1");
    tell_subscribe(f, c, "news", ",\"rewind\":9");
    struct publish *p = publish_new(&f->core->env, f->core->app, written);
    p->user = f;
    p->op.app_id = f->core->app->id;
    p->op.channel = STR("news");
    channel_name_check(f->core->app, p->op.channel, &p->name, &p->op.arena);
    p->op.write.event_name = STR("e");
    p->op.write.data = STR("2");
    hub_publish(&f->core->env, p);
    assert_string_equal(answer(c),
                        "subscription_succeeded(news)@1 e(news)@1=1 e(news)@2=2 rewind_complete(news)@2");
    assert_true(said(c, "\"historical_count\":1,\"live_count\":1"));
}

static void overflow_of_the_gate_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    f->core->config->websocket.max_messages = 2;
    struct client *c = v2(f);
    publish(f, "news", "1");
    tell_subscribe(f, c, "news", ",\"rewind\":9");
    for (int i = 0; i < 3; i++) {
        struct publish *p = publish_new(&f->core->env, f->core->app, written);
        p->user = f;
        p->op.app_id = f->core->app->id;
        p->op.channel = STR("news");
        channel_name_check(f->core->app, p->op.channel, &p->name, &p->op.arena);
        p->op.write.event_name = STR("e");
        p->op.write.data = STR("2");
        p->extras.ephemeral = true; /* needs no store: arrives while the rows are being read */
        hub_publish(&f->core->env, p);
    }
    core_settle(f->core);
    core_advance_ms(f->core, 1);
    assert_int_equal(c->close_code, 4100);
}

static void filter_holds_for_rewound_rows_too(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    for (int i = 0; i < 4; i++) {
        write_to(f, "news", ACTION_CREATE, "wanted", "1", NULL);
        write_to(f, "news", ACTION_CREATE, "other", "2", NULL);
    }
    assert_string_equal(
        subscribe_with(f, c, "news", ",\"rewind\":2,\"filter\":{\"events\":[\"wanted\"]}"),
        "subscription_succeeded(news)@8 wanted(news)@5=1 wanted(news)@7=1 rewind_complete(news)@8");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(rewind_shows_the_last_rows_and_says_that_there_were_more),
        T(rewind_over_all_there_is_is_complete),
        T(rewind_by_time_starts_with_the_oldest),
        T(rewind_by_time_goes_by_the_stores_clock),
        T(bad_rewind_is_refused),
        T(rewound_message_is_shown_whole_and_goes_on),
        T(message_of_the_meantime_is_live_and_counted),
        T(overflow_of_the_gate_ends_the_connection),
        T(filter_holds_for_rewound_rows_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
