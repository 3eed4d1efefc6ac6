/* health_test.c - what a client sees of a stream that is not healthy (chapter 3, 2.8).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session_fixture.h"

/* Channel "news" with 1, 2, 3, of which the store has lost the row of 2. */
static int setup_damaged(void **state)
{
    setup(state);
    struct fixture *f = *state;
    publish_many(f, "news", 3);
    core_lose_row(f->core, 1, 2);
    return 0;
}

/* The same, and no memory of it: all must come from the store. */
static int setup_damaged_cold(void **state)
{
    setup(state);
    struct fixture *f = *state;
    app_config(f)->recovery.buffer_ttl_seconds = 0;
    publish_many(f, "news", 3);
    core_lose_row(f->core, 1, 2);
    return 0;
}

static const char *come_back(struct fixture *f, struct client *c, const char *stream_id, unsigned serial)
{
    tell_subscribe(f, c, "news", "");
    tell(c, "{\"event\":\"sockudo:resume\",\"data\":{\"channel_positions\":{\"news\":{\"stream_id\":\"%s\",\"serial\":%u}}}}", stream_id, serial);
    return answer(c);
}

static const char *stream_id(struct fixture *f)
{
    struct client *c = v2(f);
    subscribe(f, c, "news");
    return stream_of(c);
}

static void resume_over_damaged_rows_is_refused_not_shortened(void **state)
{
    struct fixture *f = *state;
    const char *id = stream_id(f);
    struct client *c = v2(f);
    assert_string_equal(come_back(f, c, id, 1), "subscription_succeeded(news)@1 resume_failed(news) resume_success");
    assert_true(said(c, "\\\"code\\\":\\\"persistence_unavailable\\\",\\\"reason\\\":\\\"history_stream_degraded\\\""));
    publish(f, "news", "4"); /* writes go on, and reach whoever listens */
    assert_string_equal(heard(c), "e(news)@4=4");
}

static void page_of_a_damaged_stream_names_the_reason(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    subscribe(f, c, "news");
    tell(c, "{\"event\":\"sockudo:channel_history\",\"data\":{\"channel\":\"news\",\"request_id\":7}}");
    assert_string_equal(answer(c), "error:4000");
    assert_true(said(c, "not healthy: store_rows_damaged"));
    assert_true(said(c, "\"request_id\":7"));
}

static void rewind_of_a_damaged_stream_says_so_and_goes_on_live(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    assert_string_equal(subscribe_with(f, c, "news", ",\"rewind\":3"),
                        "subscription_succeeded(news)@3 error(news):4000 rewind_complete(news)@3");
    assert_true(said(c, "\"complete\":false"));
    publish(f, "news", "4");
    assert_string_equal(heard(c), "e(news)@4=4");
}

/* What was delivered and is still in memory needs no store. */
static void buffer_serves_what_the_store_has_lost(void **state)
{
    struct fixture *f = *state;
    const char *id = stream_id(f);
    struct client *c = v2(f);
    assert_string_equal(come_back(f, c, id, 1), "subscription_succeeded(news)@1 e(news)@2=2 e(news)@3=3 resume_success");
}

/* A position that could not be resumed from must not be told. */
static void acknowledgement_has_a_position_only_if_the_buffer_has_it(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f), *d = v2(f);
    tell(c, "{\"event\":\"sockudo:subscribe\",\"data\":{\"channel\":\"news\",\"rewind\":3}}"); /* finds the damage */
    answer(c);
    assert_true(said(c, "\"stream_id\""));
    client_gone(c, END_LOST);
    hub_forget(&f->core->env, f->core->app, STR("news")); /* as after a restart: the head comes from the store */
    core_settle(f->core);
    assert_string_equal(subscribe(f, d, "news"), "subscription_succeeded(news)");
    assert_false(said(d, "\"stream_id\""));
    publish(f, "news", "4");
    assert_string_equal(heard(d), "e(news)@4=4");
    struct client *e = v2(f);
    assert_string_equal(subscribe(f, e, "news"), "subscription_succeeded(news)@4");
}

#define T(name, before) cmocka_unit_test_setup_teardown(name, before, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(resume_over_damaged_rows_is_refused_not_shortened, setup_damaged_cold),
        T(page_of_a_damaged_stream_names_the_reason, setup_damaged),
        T(rewind_of_a_damaged_stream_says_so_and_goes_on_live, setup_damaged),
        T(buffer_serves_what_the_store_has_lost, setup_damaged),
        T(acknowledgement_has_a_position_only_if_the_buffer_has_it, setup_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
