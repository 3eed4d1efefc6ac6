/* history_test.c - channel_history as one client sees it (chapter 3, 5.2).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session_fixture.h"

static void tell_history(struct client *c, const char *channel, const char *more)
{
    tell(c, "{\"event\":\"sockudo:channel_history\",\"data\":{\"channel\":\"%s\"%s}}", channel, more);
}

static const char *history(struct client *c, const char *channel, const char *more)
{
    tell_history(c, channel, more);
    return answer(c);
}

static void page_shows_the_newest_version_of_each_message(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    publish(f, "news", "\"a\"");
    append(f, "news", "\"b\"");
    subscribe(f, c, "news");
    assert_string_equal(history(c, "news", ""), "channel_history(news)");
    assert_true(said(c, "\"operation_kind\":\"append\""));
    assert_true(said(c, "\"data\":\"ab\""));
    assert_true(said(c, "\"until_attach\":false,\"attach_serial\":1}"));
}

/* Rows above the attach have come live: a page that showed them would repeat them. */
static void until_attach_stays_where_the_acknowledgement_was_even_after_a_late_resume(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    publish(f, "news", "1");
    subscribe(f, c, "news");
    char stream[STREAM_ID_SIZE + 1];
    memcpy(stream, stream_of(c), sizeof stream);
    publish(f, "news", "2");
    tell(c, "{\"event\":\"sockudo:resume\",\"data\":{\"channel_positions\":{\"news\":{\"stream_id\":\"%s\",\"serial\":0}}}}", stream);
    answer(c);
    history(c, "news", ",\"until_attach\":true");
    assert_true(said(c, "\"end_serial\":1"));
    assert_true(said(c, "\"attach_serial\":1}"));
}

/* What was appended since comes live, joined: a page that showed a part of it could not be continued. */
static void until_attach_shows_messages_as_they_were_at_the_attach(void **state)
{
    struct fixture *f = *state;
    struct client *c = connect_as(f, "protocol=2&append_rollup_window=500");
    publish(f, "ai-a", "\"a\"");
    append(f, "ai-a", "\"b\"");
    subscribe(f, c, "ai-a");
    append(f, "ai-a", "\"c\""); /* leaves at once */
    append(f, "ai-a", "\"d\""); /* waits for the window */
    history(c, "ai-a", ",\"until_attach\":true");
    assert_true(said(c, "\"data\":\"ab\"") && said(c, "\"delivery_serial\":2"));
    append(f, "ai-a", "\"e\"");
    core_advance_ms(f->core, 600);
    assert_string_equal(heard(c), "message.append(ai-a)@5=\"de\"");
    history(c, "ai-a", "");
    assert_true(said(c, "\"data\":\"abcde\""));
}

/* Its first operation came by the wildcard, while it was being attached. Bug: position 0 meant "no limit", so the page was the newest one. */
static void until_attach_of_a_channel_that_a_wildcard_had_from_its_beginning_is_empty(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    subscribe(f, c, "ai-*");
    begin_write(f, "ai-new", ACTION_CREATE, "e", "\"a\"", NULL);
    assert_string_equal(subscribe(f, c, "ai-new"), "e(ai-new)@1=\"a\" subscription_succeeded(ai-new)@1");
    append(f, "ai-new", "\"b\"");
    assert_string_equal(heard(c), "message.append(ai-new)@2=\"b\"");
    assert_string_equal(history(c, "ai-new", ",\"until_attach\":true"), "channel_history(ai-new)");
    assert_true(said(c, "\"items\":[]") && said(c, "\"attach_serial\":1}") && said(c, "\"has_more\":false"));
    history(c, "ai-new", ",\"until_attach\":true,\"direction\":\"oldest_first\"");
    assert_true(said(c, "\"items\":[]"));
    history(c, "ai-new", "");
    assert_true(said(c, "\"data\":\"ab\""));
}

static void until_attach_needs_an_acknowledgement(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    tell_subscribe(f, c, "news", "");
    tell_history(c, "news", ",\"until_attach\":true");
    assert_string_equal(answer(c), "error:4000 subscription_succeeded(news)@0");
    assert_true(said(c, "No attach_serial is recorded for channel 'news'"));
    assert_string_equal(history(c, "news", ",\"until_attach\":true"), "channel_history(news)");
}

static void third_request_under_way_is_refused_and_places_come_back(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    subscribe(f, c, "news");
    for (int i = 0; i < 3; i++)
        tell_history(c, "news", "");
    assert_string_equal(answer(c), "error:4301 channel_history(news) channel_history(news)");
    tell_history(c, "news", "");
    tell_history(c, "news", "");
    assert_string_equal(answer(c), "channel_history(news) channel_history(news)");
}

/* Or one client that asks and does not read would fill the memory. */
static void pages_that_are_not_read_are_under_way_too(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    subscribe(f, c, "news");
    c->unread = (1 << 20) + 1;
    assert_string_equal(history(c, "news", ""), "error:4301");
    assert_int_equal(limits_reached(f, "histories"), 1);
    c->unread = 1 << 20;
    assert_string_equal(history(c, "news", ""), "channel_history(news)");
}

static void connection_may_end_before_its_page_comes(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    subscribe(f, c, "news");
    tell_history(c, "news", "");
    client_gone(c, END_LOST);
    assert_string_equal(heard(c), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(page_shows_the_newest_version_of_each_message, setup, teardown),
        cmocka_unit_test_setup_teardown(until_attach_stays_where_the_acknowledgement_was_even_after_a_late_resume, setup, teardown),
        cmocka_unit_test_setup_teardown(until_attach_shows_messages_as_they_were_at_the_attach, setup, teardown),
        cmocka_unit_test_setup_teardown(until_attach_of_a_channel_that_a_wildcard_had_from_its_beginning_is_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(until_attach_needs_an_acknowledgement, setup, teardown),
        cmocka_unit_test_setup_teardown(third_request_under_way_is_refused_and_places_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(pages_that_are_not_read_are_under_way_too, setup, teardown),
        cmocka_unit_test_setup_teardown(connection_may_end_before_its_page_comes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
