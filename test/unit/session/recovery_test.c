/* recovery_test.c - rewind and resume as one client sees them (chapter 3, sections 3 and 4).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session_fixture.h"

static void publish_many(struct fixture *f, const char *channel, unsigned count)
{
    char data[16];
    for (unsigned i = 1; i <= count; i++) {
        snprintf(data, sizeof data, "%u", i);
        publish(f, channel, data);
    }
}

/* A position as SDKs send it; the id is of the channel's stream. */
static void tell_resume(struct client *c, const char *channel, const char *stream_id, unsigned long long serial)
{
    tell(c,
         "{\"event\":\"sockudo:resume\",\"data\":\"{\\\"channel_positions\\\":{\\\"%s\\\":{\\\"stream_id\\\":\\\"%s\\\","
         "\\\"serial\\\":%llu,\\\"last_message_id\\\":\\\"m\\\"}}}\"}",
         channel, stream_id, serial);
}

static const char *resume(struct client *c, const char *channel, const char *stream_id, unsigned long long serial)
{
    tell_resume(c, channel, stream_id, serial);
    return answer(c);
}

/* Subscribe and resume in one read, as SDKs do after a reconnect. */
static const char *come_back(struct fixture *f, struct client *c, const char *channel, const char *stream_id,
                             unsigned long long serial)
{
    tell_subscribe(f, c, channel, "");
    return resume(c, channel, stream_id, serial);
}

/* The stream id that a subscriber of the channel is told. */
static const char *stream_id(struct fixture *f, const char *channel)
{
    struct client *c = v2(f);
    subscribe(f, c, channel);
    const char *id = stream_of(c);
    client_gone(c, END_GRACEFUL);
    return id;
}

/* ---- rewind ---- */

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

/* ---- resume ---- */

static void resume_replays_what_was_missed_before_anything_live(void **state)
{
    struct fixture *f = *state;
    publish_many(f, "news", 3);
    const char *id = stream_id(f, "news");
    struct client *c = v2(f);
    assert_string_equal(come_back(f, c, "news", id, 1),
                        "subscription_succeeded(news)@1 e(news)@2=2 e(news)@3=3 resume_success");
    assert_true(said(c, "\\\"recovered\\\":[{\\\"channel\\\":\\\"news\\\",\\\"source\\\":\\\"cold\\\",\\\"replayed\\\":2"));
    assert_true(said(c, "\\\"serial\\\":3"));
    publish(f, "news", "4");
    assert_string_equal(heard(c), "e(news)@4=4");
}

/* The resume came in another segment, behind the subscribe: without the wait, the append that is live by then would reach a
 * client that lacks its beginning. */
static void first_channels_wait_for_the_resume_behind_them(void **state)
{
    struct fixture *f = *state;
    char stream[STREAM_ID_SIZE + 1];
    struct client *before = v2(f), *c = v2(f);
    subscribe(f, before, "news");
    memcpy(stream, stream_of(before), sizeof stream);
    sessions_settle(f->sessions, 3);
    publish(f, "news", "1");
    tell_subscribe(f, c, "news", "");
    assert_string_equal(answer(c), "");
    core_advance_ms(f->core, 1);
    publish(f, "news", "2");
    tell_resume(c, "news", stream, 0);
    assert_string_equal(answer(c), "subscription_succeeded(news)@0 e(news)@1=1 e(news)@2=2 resume_success");
    publish(f, "news", "3");
    assert_string_equal(answer(c), "e(news)@3=3");
}

static void without_a_resume_they_do_not_wait_for_long(void **state)
{
    struct fixture *f = *state;
    sessions_settle(f->sessions, 3);
    struct client *c = v2(f);
    tell_subscribe(f, c, "news", "");
    tell_subscribe(f, c, "gone", "");
    unsubscribe(c, "gone");
    assert_string_equal(answer(c), "");
    core_advance_ms(f->core, 4);
    assert_string_equal(heard(c), "subscription_succeeded(news)@0");
    tell_subscribe(f, c, "more", "");
    assert_string_equal(answer(c), "subscription_succeeded(more)@0");
}

static void virgin_channel_can_be_resumed_from_zero(void **state)
{
    struct fixture *f = *state;
    const char *id = stream_id(f, "news");
    publish_many(f, "news", 2);
    struct client *c = v2(f);
    assert_string_equal(come_back(f, c, "news", id, 0),
                        "subscription_succeeded(news)@0 e(news)@1=1 e(news)@2=2 resume_success");
}

static void resume_at_the_head_replays_nothing_and_ahead_fails(void **state)
{
    struct fixture *f = *state;
    publish_many(f, "news", 2);
    const char *id = stream_id(f, "news");
    struct client *c = v2(f), *ahead = v2(f);
    assert_string_equal(come_back(f, c, "news", id, 2), "subscription_succeeded(news)@2 resume_success");
    assert_true(said(c, "\\\"replayed\\\":0,\\\"position\\\":null"));
    assert_string_equal(come_back(f, ahead, "news", id, 3),
                        "subscription_succeeded(news)@2 resume_failed(news) resume_success");
    assert_true(said(ahead, "continuity_unverifiable"));
    assert_true(said(ahead, "{\\\"channel\\\":\\\"news\\\",\\\"code\\\":"));
}

static void window_counts_frames_not_appends(void **state)
{
    struct fixture *f = *state;
    publish_many(f, "news", 100);
    const char *id = stream_id(f, "news");
    struct client *near = v2(f);
    come_back(f, near, "news", id, 0);
    assert_true(said(near, "\\\"replayed\\\":100"));

    publish(f, "news", "101");
    struct client *far = v2(f);
    assert_string_equal(come_back(f, far, "news", id, 0),
                        "subscription_succeeded(news)@0 resume_failed(news) resume_success");
    assert_true(said(far, "recovery_window_exceeded"));

    publish(f, "long", "\"\"");
    id = stream_id(f, "long");
    for (int i = 0; i < 2000; i++)
        append(f, "long", "\"x\"");
    struct client *reader = v2(f);
    come_back(f, reader, "long", id, 1);
    assert_true(said(reader, "\\\"replayed\\\":1,"));
}

static void distance_is_bounded_too(void **state)
{
    struct fixture *f = *state;
    f->core->config->recovery.max_positions = 10;
    publish(f, "news", "\"\"");
    const char *id = stream_id(f, "news");
    for (int i = 0; i < 11; i++)
        append(f, "news", "\"x\"");
    struct client *c = v2(f);
    come_back(f, c, "news", id, 1);
    assert_true(said(c, "recovery_window_exceeded"));
}

static void each_channel_is_decided_for_itself(void **state)
{
    struct fixture *f = *state;
    publish_many(f, "a", 2);
    publish_many(f, "b", 2);
    char id_a[64], id_b[64];
    snprintf(id_a, sizeof id_a, "%s", stream_id(f, "a"));
    snprintf(id_b, sizeof id_b, "%s", stream_id(f, "b"));
    struct client *c = v2(f);
    tell_subscribe(f, c, "a", "");
    tell_subscribe(f, c, "b", "");
    tell_subscribe(f, c, "c", "");
    tell(c,
         "{\"event\":\"pusher:resume\",\"data\":{\"channel_positions\":{\"a\":{\"stream_id\":\"%s\",\"serial\":\"1\"},"
         "\"b\":{\"stream_id\":\"%s\",\"serial\":1},\"c\":{\"stream_id\":\"other\",\"serial\":1}}}}",
         id_a, id_b);
    const char *text = answer(c);
    assert_non_null(strstr(text, "e(a)@2=2"));
    assert_non_null(strstr(text, "e(b)@2=2"));
    assert_non_null(strstr(text, "resume_failed(c)"));
    assert_non_null(strstr(text, "resume_success"));
    assert_true(strstr(text, "resume_success") > strstr(text, "e(b)@2=2"));
    assert_true(said(c, "stream_reset"));
}

/* A private channel must not be read by whoever names it. */
static void position_waits_for_its_subscription(void **state)
{
    struct fixture *f = *state;
    publish_many(f, "private-a", 2);
    const char *id = stream_id(f, "private-a");
    struct client *c = v2(f);
    assert_string_equal(resume(c, "private-a", id, 0), "resume_success");
    assert_true(said(c, "{\\\"recovered\\\":[],\\\"failed\\\":[]}"));
    core_advance_ms(f->core, 2000);
    assert_string_equal(subscribe(f, c, "private-a"),
                        "subscription_succeeded(private-a)@0 e(private-a)@1=1 e(private-a)@2=2 resume_success");
    core_advance_ms(f->core, 40000);
    assert_string_equal(heard(c), "");
}

static void position_that_is_never_claimed_fails(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    resume(c, "private-a", "x", 0);
    core_advance_ms(f->core, 29999);
    assert_string_equal(heard(c), "");
    core_advance_ms(f->core, 1);
    assert_string_equal(heard(c), "resume_failed(private-a)");
    assert_true(said(c, "not_subscribed"));
}

static void malformed_resume_is_refused(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f), *one = v1(f);
    tell(c, "{\"event\":\"sockudo:resume\",\"data\":\"{\"}");
    tell(c, "{\"event\":\"sockudo:resume\",\"data\":{}}");
    tell(c, "{\"event\":\"sockudo:resume\",\"data\":{\"channel_positions\":{}}}");
    tell(c, "{\"event\":\"sockudo:resume\",\"data\":{\"channel_positions\":{\"a\":{\"serial\":-1}}}}");
    assert_string_equal(answer(c), "error:4000 error:4000 error:4302 error:4000");
    tell(one, "{\"event\":\"pusher:resume\",\"data\":{\"channel_positions\":{\"a\":{\"serial\":1}}}}");
    assert_string_equal(answer(one), "error:4301");
    assert_true(said(one, "Connection recovery is not enabled"));
}

static void legacy_serials_and_large_numbers(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f), *other = v2(f);
    publish(f, "news", "1");
    tell_subscribe(f, c, "news", "");
    tell(c, "{\"event\":\"sockudo:resume\",\"data\":{\"channel_serials\":{\"news\":1}}}");
    assert_string_equal(answer(c), "subscription_succeeded(news)@1 resume_failed(news) resume_success");
    assert_true(said(c, "legacy_serial_only_position_cannot_use_cold_recovery"));
    const char *id = stream_id(f, "news");
    assert_non_null(strstr(come_back(f, other, "news", id, 9007199254740993), "resume_failed(news)"));
    assert_true(said(other, "position_ahead_of_version_stream"));
}

static void reset_while_away_names_the_new_stream(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    publish(f, "news", "1");
    char now[64];
    snprintf(now, sizeof now, "%s", stream_id(f, "news"));
    come_back(f, c, "news", "00000000-0000-4000-8000-000000000000", 1);
    assert_true(said(c, "stream_reset"));
    assert_true(said(c, now));
}

static void full_client_gets_the_text_once(void **state)
{
    struct fixture *f = *state;
    publish(f, "news", "\"a\"");
    const char *id = stream_id(f, "news");
    append(f, "news", "\"b\"");
    append(f, "news", "\"c\"");
    struct client *c = connect_as(f, "protocol=2&append_mode=full"), *delta = v2(f);
    assert_string_equal(come_back(f, c, "news", id, 1),
                        "subscription_succeeded(news)@1 message.append(news)@3=\"abc\" resume_success");
    assert_string_equal(come_back(f, delta, "news", id, 1),
                        "subscription_succeeded(news)@1 message.append(news)@3=\"bc\" resume_success");
}

/* Live frames have gone out before the resume came: what they belong to is shown whole, and nothing comes twice. */
static void late_resume_shows_streams_whole(void **state)
{
    struct fixture *f = *state;
    publish(f, "news", "\"a\"");
    const char *id = stream_id(f, "news");
    append(f, "news", "\"b\"");
    struct client *c = v2(f);
    subscribe(f, c, "news");
    append(f, "news", "\"c\"");
    assert_string_equal(heard(c), "message.append(news)@3=\"c\"");

    assert_string_equal(resume(c, "news", id, 1), "message.update(news)@3=\"abc\" resume_success");

    append(f, "news", "\"d\"");
    assert_string_equal(heard(c), "message.append(news)@4=\"d\"");
}

static void late_resume_without_live_frames_replays_as_usual(void **state)
{
    struct fixture *f = *state;
    publish_many(f, "news", 3);
    const char *id = stream_id(f, "news");
    struct client *c = v2(f);
    subscribe(f, c, "news");
    assert_string_equal(resume(c, "news", id, 1), "e(news)@2=2 e(news)@3=3 resume_success");
    publish(f, "news", "4");
    assert_string_equal(heard(c), "e(news)@4=4");
}

static void live_messages_are_not_replayed_by_a_late_resume(void **state)
{
    struct fixture *f = *state;
    publish_many(f, "news", 2);
    const char *id = stream_id(f, "news");
    struct client *c = v2(f);
    subscribe(f, c, "news");
    publish(f, "news", "3");
    heard(c);
    assert_string_equal(resume(c, "news", id, 1), "e(news)@2=2 resume_success");
}

/* SDKs repeat `rewind` on each reconnect, and resume as well. */
static void what_was_rewound_is_not_replayed(void **state)
{
    struct fixture *f = *state;
    publish(f, "news", "\"a\"");
    const char *id = stream_id(f, "news");
    append(f, "news", "\"b\"");
    struct client *c = v2(f);
    tell_subscribe(f, c, "news", ",\"rewind\":5");
    assert_string_equal(resume(c, "news", id, 1), "subscription_succeeded(news)@1 message.update(news)@2=\"ab\" "
                                                  "resume_success rewind_complete(news)@2");
}

static void unsubscribing_in_the_middle_ends_the_resume(void **state)
{
    struct fixture *f = *state;
    publish_many(f, "news", 2);
    const char *id = stream_id(f, "news");
    struct client *c = v2(f);
    tell_subscribe(f, c, "news", "");
    tell_resume(c, "news", id, 0);
    tell(c, "{\"event\":\"pusher:unsubscribe\",\"data\":{\"channel\":\"news\"}}");
    assert_string_equal(answer(c), "resume_failed(news) resume_success");
    publish(f, "news", "3");
    assert_string_equal(heard(c), "");
}

static void connection_may_end_in_the_middle_of_a_resume(void **state)
{
    struct fixture *f = *state;
    publish_many(f, "news", 2);
    const char *id = stream_id(f, "news");
    struct client *c = v2(f);
    tell_subscribe(f, c, "news", ",\"rewind\":3");
    tell_resume(c, "news", id, 0);
    session_closed(c->session, END_LOST);
    c->session = NULL;
    assert_string_equal(answer(c), "");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(rewind_shows_the_last_rows_and_says_that_there_were_more),
        T(rewind_over_all_there_is_is_complete),
        T(rewind_by_time_starts_with_the_oldest),
        T(bad_rewind_is_refused),
        T(rewound_message_is_shown_whole_and_goes_on),
        T(message_of_the_meantime_is_live_and_counted),
        T(overflow_of_the_gate_ends_the_connection),
        T(filter_holds_for_rewound_rows_too),
        T(resume_replays_what_was_missed_before_anything_live),
        T(first_channels_wait_for_the_resume_behind_them),
        T(without_a_resume_they_do_not_wait_for_long),
        T(virgin_channel_can_be_resumed_from_zero),
        T(resume_at_the_head_replays_nothing_and_ahead_fails),
        T(window_counts_frames_not_appends),
        T(distance_is_bounded_too),
        T(each_channel_is_decided_for_itself),
        T(position_waits_for_its_subscription),
        T(position_that_is_never_claimed_fails),
        T(malformed_resume_is_refused),
        T(legacy_serials_and_large_numbers),
        T(reset_while_away_names_the_new_stream),
        T(full_client_gets_the_text_once),
        T(late_resume_shows_streams_whole),
        T(late_resume_without_live_frames_replays_as_usual),
        T(live_messages_are_not_replayed_by_a_late_resume),
        T(what_was_rewound_is_not_replayed),
        T(unsubscribing_in_the_middle_ends_the_resume),
        T(connection_may_end_in_the_middle_of_a_resume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
