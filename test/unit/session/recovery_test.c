/* recovery_test.c - resume as one client sees it (chapter 3, section 4).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "recovery_fixture.h"

/* ---- resume ---- */

static void resume_replays_what_was_missed_before_anything_live(void **state)
{
    struct fixture *f = *state;
    publish_many(f, "news", 3);
    const char *id = stream_id(f, "news");
    struct client *c = v2(f);
    assert_string_equal(come_back(f, c, "news", id, 1),
                        "subscription_succeeded(news)@1 e(news)@2=2 e(news)@3=3 resume_success");
    assert_true(recovered_from(c, is_cold(f) ? "cold" : "hot", 2));
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
    const char *all = answer(c);
    assert_string_equal(all, is_cold(f) ? "subscription_succeeded(news)@1 resume_failed(news) resume_success"
                                        : "subscription_succeeded(news)@1 resume_success");
    assert_true(is_cold(f) ? said(c, "legacy_serial_only_position_cannot_use_cold_recovery") : recovered_from(c, "hot", 0));
    const char *id = stream_id(f, "news");
    assert_non_null(strstr(come_back(f, other, "news", id, 9007199254740993), "resume_failed(news)"));
    assert_true(said(other, "position_ahead_of_version_stream"));
}

/* A run that was delivered in one piece is cut where the client was. */
static void position_in_the_middle_of_a_run_cuts_it(void **state)
{
    struct fixture *f = *state;
    publish(f, "news", "\"a\"");
    const char *id = stream_id(f, "news");
    for (int i = 0; i < 5; i++)
        append(f, "news", i == 1 ? "\"\\u00e9\"" : i == 3 ? "\"\"" : "\"x\"");
    struct client *c = v2(f);
    assert_string_equal(come_back(f, c, "news", id, 2),
                        "subscription_succeeded(news)@2 message.append(news)@6=\"\\u00e9xx\" resume_success");
    struct client *d = v2(f);
    assert_string_equal(come_back(f, d, "news", id, 0),
                        "subscription_succeeded(news)@0 e(news)@1=\"a\" message.append(news)@6=\"x\\u00e9xx\" resume_success");
}

/* Clients that were cut off together share what is read. */
static void many_come_back_at_once(void **state)
{
    struct fixture *f = *state;
    publish(f, "news", "\"a\"");
    const char *id = stream_id(f, "news");
    for (int i = 0; i < 20; i++)
        append(f, "news", "\"x\"");
    struct client *c[4];
    for (int i = 0; i < 4; i++) {
        c[i] = v2(f);
        tell_subscribe(f, c[i], "news", "");
        tell_resume(c[i], "news", id, 1);
    }
    for (int i = 0; i < 4; i++) {
        assert_string_equal(answer(c[i]), "subscription_succeeded(news)@1 message.append(news)@21=\"xxxxxxxxxxxxxxxxxxxx\" resume_success");
        assert_true(recovered_from(c[i], is_cold(f) ? "cold" : "hot", 1));
    }
    append(f, "news", "\"y\"");
    for (int i = 0; i < 4; i++)
        assert_string_equal(heard(c[i]), "message.append(news)@22=\"y\"");
}

/* The one who reads for the others goes away in the middle. */
static void follower_goes_on_when_the_reader_is_gone(void **state)
{
    struct fixture *f = *state;
    publish(f, "news", "\"a\"");
    const char *id = stream_id(f, "news");
    append(f, "news", "\"x\"");
    struct client *a = v2(f), *b = v2(f), *c = v2(f);
    struct client *all[] = {a, b, c};
    for (int i = 0; i < 3; i++) {
        tell_subscribe(f, all[i], "news", "");
        tell_resume(all[i], "news", id, 1);
    }
    core_step(f->core); /* attached, and reading */
    core_step(f->core);
    session_closed(a->session, END_LOST);
    a->session = NULL;
    assert_string_equal(answer(b), "subscription_succeeded(news)@1 message.append(news)@2=\"x\" resume_success");
    assert_string_equal(answer(c), "subscription_succeeded(news)@1 message.append(news)@2=\"x\" resume_success");
}

/* After a restart thousands come one after the other: what one has read, the next one need not. */
static void what_was_read_is_kept_for_a_moment(void **state)
{
    struct fixture *f = *state;
    publish_many(f, "news", 3);
    const char *id = stream_id(f, "news");
    core_advance_ms(f->core, 121000); /* the buffer is empty */
    struct client *a = v2(f), *b = v2(f);
    assert_string_equal(come_back(f, a, "news", id, 1), "subscription_succeeded(news)@1 e(news)@2=2 e(news)@3=3 resume_success");
    assert_true(recovered_from(a, "cold", 2));
    core_lose_row(f->core, 1, 2); /* whoever reads again finds the damage */
    assert_string_equal(come_back(f, b, "news", id, 1), "subscription_succeeded(news)@1 e(news)@2=2 e(news)@3=3 resume_success");
    publish(f, "news", "4");
    assert_string_equal(heard(b), "e(news)@4=4");
    core_advance_ms(f->core, 2000);
    struct client *d = v2(f);
    assert_string_equal(come_back(f, d, "news", id, 1), "subscription_succeeded(news)@1 resume_failed(news) resume_success");
}

/* What came since is in the buffer. */
static void kept_and_hot_are_sent_one_behind_the_other(void **state)
{
    struct fixture *f = *state;
    publish(f, "news", "\"a\"");
    append(f, "news", "\"b\"");
    const char *id = stream_id(f, "news");
    core_advance_ms(f->core, 121000);
    struct client *a = v2(f), *b = v2(f);
    come_back(f, a, "news", id, 0);
    append(f, "news", "\"c\"");
    append(f, "news", "\"d\"");
    assert_string_equal(heard(a), "message.append(news)@3=\"c\" message.append(news)@4=\"d\"");
    if (!is_cold(f))
        core_lose_row(f->core, 1, 2);
    assert_string_equal(come_back(f, b, "news", id, 0),
                        is_cold(f) ? "subscription_succeeded(news)@0 e(news)@1=\"a\" message.append(news)@4=\"bcd\" resume_success"
                                   : "subscription_succeeded(news)@0 e(news)@1=\"a\" message.append(news)@2=\"b\" "
                                     "message.append(news)@4=\"cd\" resume_success");
    assert_true(recovered_from(b, "cold", is_cold(f) ? 2 : 3));
    append(f, "news", "\"e\"");
    assert_string_equal(heard(b), "message.append(news)@5=\"e\"");
}

/* ---- without durable history ---- */

static void recovery_without_history_is_from_the_buffer(void **state)
{
    struct fixture *f = *state;
    app_config(f)->history.enabled = 0;
    struct client *c = v2(f);
    subscribe(f, c, "news");
    char id[STREAM_ID_SIZE + 1];
    if (is_cold(f)) {
        assert_false(said(c, "stream_id")); /* no tier, no positions */
        return;
    }
    snprintf(id, sizeof id, "%s", stream_of(c));
    publish_many(f, "news", 3);
    assert_string_equal(heard(c), "e(news)@1=1 e(news)@2=2 e(news)@3=3");
    client_gone(c, END_LOST);
    publish(f, "news", "4");
    struct client *d = v2(f), *e = v2(f), *g = v2(f);
    assert_string_equal(come_back(f, d, "news", id, 2), "subscription_succeeded(news)@2 e(news)@3=3 e(news)@4=4 resume_success");
    assert_true(recovered_from(d, "hot", 2));
    publish(f, "news", "5");
    assert_string_equal(heard(d), "e(news)@5=5");
    come_back(f, e, "news", "00000000-0000-4000-8000-000000000000", 1);
    assert_true(said(e, "stream_id_mismatch"));
    assert_string_equal(come_back(f, g, "news", id, 5), "subscription_succeeded(news)@5 resume_success");
    assert_true(recovered_from(g, "hot", 0));
    core_advance_ms(f->core, 121000);
    struct client *h = v2(f);
    come_back(f, h, "news", id, 1);
    assert_true(said(h, "hot_replay_expired_and_durable_history_disabled"));
}

/* A late resume shows nothing twice. */
static void late_resume_without_history(void **state)
{
    struct fixture *f = *state;
    app_config(f)->history.enabled = 0;
    struct client *c = v2(f);
    if (is_cold(f))
        return;
    publish_many(f, "news", 2);
    subscribe(f, c, "news");
    char id[STREAM_ID_SIZE + 1];
    snprintf(id, sizeof id, "%s", stream_of(c));
    heard(c);
    publish(f, "news", "3");
    heard(c);
    assert_string_equal(resume(c, "news", id, 0), "e(news)@1=1 e(news)@2=2 resume_success");
    assert_string_equal(resume(c, "news", id, 2), "resume_success");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        T(position_in_the_middle_of_a_run_cuts_it),
        T(many_come_back_at_once),
        T(follower_goes_on_when_the_reader_is_gone),
        T(what_was_read_is_kept_for_a_moment),
        T(kept_and_hot_are_sent_one_behind_the_other),
        T(recovery_without_history_is_from_the_buffer),
        T(late_resume_without_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
