/* wildcard_test.c - subscriptions to names with a star: what they get, once, and what never (chapter 1, 5.2).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session_fixture.h"

static void frames_of_all_matching_channels_carry_their_own_name(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    assert_string_equal(subscribe(f, c, "orders*"), "subscription_succeeded(orders*)");
    publish(f, "orders", "1");
    publish(f, "orders-eu", "2");
    publish(f, "order", "3");
    assert_string_equal(heard(c), "e(orders)@1=1 e(orders-eu)@1=2");
    unsubscribe(c, "orders*");
    publish(f, "orders", "4");
    assert_string_equal(heard(c), "");
}

/* The reference's star leaks private channels. */
static void star_matches_public_channels_only(void **state)
{
    struct fixture *f = *state;
    app_config(f)->enable_client_messages = true;
    struct client *c = v2(f), *other = v2(f);
    subscribe(f, c, "*");
    subscribe(f, other, "private-x");
    join(f, other, "presence-x", "{\"user_id\":\"u\"}");
    subscribe(f, other, "[meta]orders");
    sign_in(f, other, "{\"id\":\"u\"}");
    publish(f, "private-x", "1");
    publish(f, "private-encrypted-x", "1");
    publish(f, "presence-x", "1");
    publish(f, "#server-to-user-u", "1");
    tell(other, "{\"event\":\"client-e\",\"channel\":\"private-x\",\"data\":1}");
    core_settle(f->core);
    assert_string_equal(heard(c), "");
    publish(f, "orders", "1");
    publish(f, "cache-orders", "2");
    publish(f, "private", "3");
    publish(f, "ai-1", "\"4\"");
    assert_string_equal(heard(c), "e(orders)@1=1 e(cache-orders)@1=2 e(private)@1=3 e(ai-1)@1=\"4\"");
}

static void channels_for_some_users_or_nobody_are_not_matched(void **state)
{
    struct fixture *f = *state;
    static struct namespace_config namespaces[2];
    namespaces[0] = (struct namespace_config){.name = STR("team"), .annotations_enabled = -1, .allow_user_limited_channels = 1,
                                              .allow_subscribe_for_client = -1, .history = {-1, -1, -1, -1, -1}};
    namespaces[1] = namespaces[0];
    namespaces[1].name = STR("closed");
    namespaces[1].allow_subscribe_for_client = 0;
    use_namespaces(f, namespaces, 2);
    struct client *c = v2(f);
    subscribe(f, c, "*");
    publish(f, "team:a#u1,u2", "1");
    publish(f, "closed:a", "2");
    publish(f, "team:a", "3");
    assert_string_equal(heard(c), "e(team:a)@1=3");
    leave_namespaces(f);
}

static void patterns_are_checked(void **state)
{
    static const char *const wrong[] = {"a*b*", "private-*", "presence-*", "a*#u", "a *", "a,*", "[meta]a*"};
    struct fixture *f = *state;
    struct client *c = v2(f), *old = v1(f);
    char expected[64];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(expected, sizeof expected, "error(%s):4300", wrong[i]);
        assert_non_null(strstr(subscribe(f, c, wrong[i]), expected));
    }
    assert_non_null(strstr(subscribe(f, old, "*"), "error(*):4300"));
    assert_true(said(old, "Wildcard subscriptions are only supported on protocol V2"));
    assert_non_null(strstr(subscribe_with(f, c, "a*", ",\"rewind\":1"), "error(a*):4300"));
    sign_in(f, c, "{\"id\":\"u\",\"capabilities\":{\"subscribe\":[\"room:*\"]}}");
    assert_non_null(strstr(subscribe(f, c, "*"), "error(*):4009"));
    assert_string_equal(subscribe(f, c, "room:a*"), "subscription_succeeded(room:a*)");
}

static void wildcards_per_connection_are_limited(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    char name[32];
    for (int i = 0; i < SESSION_WILDCARDS_MAX; i++) {
        snprintf(name, sizeof name, "a%d-*", i);
        subscribe(f, c, name);
    }
    assert_non_null(strstr(subscribe(f, c, "b*"), "error(b*):4300"));
    assert_string_equal(subscribe(f, c, "a7-*"), "subscription_succeeded(a7-*)");
    unsubscribe(c, "a7-*");
    assert_string_equal(subscribe(f, c, "b*"), "subscription_succeeded(b*)");
    publish(f, "a7-x", "1");
    publish(f, "a8-x", "2");
    assert_string_equal(heard(c), "e(a8-x)@1=2");
}

static void several_matching_subscriptions_make_one_copy(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    subscribe(f, c, "orders*");
    subscribe(f, c, "*");
    subscribe(f, c, "orders");
    publish(f, "orders", "1");
    assert_string_equal(heard(c), "e(orders)@1=1");
    unsubscribe(c, "orders");
    publish(f, "orders", "2");
    assert_string_equal(heard(c), "e(orders)@2=2");
    unsubscribe(c, "*");
    publish(f, "orders", "3");
    assert_string_equal(heard(c), "e(orders)@3=3");
}

static void one_filter_that_accepts_is_enough(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    subscribe_with(f, c, "orders", ",\"filter\":{\"events\":[\"x\"]}");
    subscribe_with(f, c, "or*", ",\"filter\":{\"events\":[\"y\"]}");
    subscribe_with(f, c, "*", ",\"filter\":{\"events\":[\"y\",\"z\"]}");
    write_to(f, "orders", ACTION_CREATE, "x", "1", NULL);
    write_to(f, "orders", ACTION_CREATE, "y", "2", NULL);
    write_to(f, "orders", ACTION_CREATE, "z", "3", NULL);
    write_to(f, "orders", ACTION_CREATE, "e", "4", NULL);
    assert_string_equal(heard(c), "x(orders)@1=1 y(orders)@2=2 z(orders)@3=3");
    subscribe_with(f, c, "*", "");
    publish(f, "orders", "5");
    assert_string_equal(heard(c), "e(orders)@5=5");
}

/* What came before the acknowledgement of the channel comes by the wildcard, what came after by the gate. */
static void nothing_is_lost_or_doubled_when_the_channel_itself_is_subscribed(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    subscribe(f, c, "*");
    publish(f, "orders", "1");
    tell_subscribe(f, c, "orders", ",\"rewind\":1");
    publish(f, "orders", "2");
    publish(f, "orders", "3");
    const char *all = heard(c);
    assert_non_null(strstr(all, "e(orders)@2=2"));
    assert_non_null(strstr(all, "e(orders)@3=3"));
    assert_null(strstr(strstr(all, "@2=2") + 1, "@2=2"));
    assert_null(strstr(strstr(all, "@3=3") + 1, "@3=3"));
}

static void rollup_and_full_text_work_as_the_connection_wants_them(void **state)
{
    struct fixture *f = *state;
    struct client *delta = connect_as(f, "protocol=2&append_rollup_window=40");
    struct client *full = connect_as(f, "protocol=2&append_mode=full&append_rollup_window=0");
    subscribe(f, delta, "ai-*");
    subscribe(f, full, "ai-*");
    write_to(f, "ai-1", ACTION_CREATE, "ai-output", "\"\"", "{\"ai\":{\"transport\":{\"status\":\"streaming\"}}}");
    append(f, "ai-1", "\"a\"");
    append(f, "ai-1", "\"b\"");
    append(f, "ai-1", "\"c\"");
    core_advance_ms(f->core, 50);
    assert_string_equal(heard(delta), "ai-output(ai-1)@1=\"\" message.append(ai-1)@2=\"a\" message.append(ai-1)@4=\"bc\"");
    assert_string_equal(heard(full), "ai-output(ai-1)@1=\"\" message.append(ai-1)@2=\"a\" message.append(ai-1)@3=\"ab\" "
                                     "message.append(ai-1)@4=\"abc\"");
}

static void publisher_is_left_out_and_wildcards_do_not_count(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f), *meta = v2(f);
    subscribe(f, meta, "[meta]orders");
    subscribe(f, c, "*");
    assert_string_equal(heard(meta), "");
    subscribe(f, c, "cache-a");
    tell_subscribe(f, c, "ord*", "");
    client_gone(c, END_LOST);
    publish(f, "orders", "1");
    assert_string_equal(heard(meta), "");
}

static size_t no_room(void *sink)
{
    return 0;
}

/* The socket is full, the gate still closed, and the client changes its mind. */
static void what_waits_in_a_gate_that_is_given_up_comes_by_the_wildcard(void **state)
{
    struct fixture *f = *state;
    sessions_use(f->sessions, f->directory, no_room);
    struct client *c = v2(f);
    subscribe(f, c, "*");
    publish(f, "orders", "1");
    heard(c);
    assert_string_equal(subscribe_with(f, c, "orders", ",\"rewind\":1"), "subscription_succeeded(orders)@1");
    publish(f, "orders", "2");
    assert_string_equal(heard(c), "");
    unsubscribe(c, "orders");
    assert_string_equal(heard(c), "e(orders)@2=2");
    publish(f, "orders", "3");
    assert_string_equal(heard(c), "e(orders)@3=3");
}

/* ---- resuming ---- */

static void tell_resume(struct client *c, const char *stream, const char *channel, unsigned serial)
{
    tell(c, "{\"event\":\"sockudo:resume\",\"data\":{\"channel_positions\":{\"%s\":{\"stream_id\":\"%s\",\"serial\":%u}}}}",
         channel, stream, serial);
}

/* The stream of a channel with three messages. */
static const char *three_published(struct fixture *f, const char *channel)
{
    struct client *c = v2(f);
    subscribe(f, c, channel);
    for (int i = 1; i <= 3; i++)
        publish(f, channel, "1");
    heard(c);
    const char *stream = stream_of(c);
    client_gone(c, END_LOST);
    return stream;
}

static void channel_of_a_wildcard_is_resumed(void **state)
{
    struct fixture *f = *state;
    struct client *meta = v2(f);
    const char *stream = three_published(f, "orders");
    subscribe(f, meta, "[meta]orders");
    struct client *c = v2(f);
    tell_subscribe(f, c, "or*", "");
    tell_resume(c, stream, "orders", 1);
    publish(f, "orders", "4");
    const char *all = answer(c);
    assert_non_null(strstr(all, "subscription_succeeded(or*)"));
    assert_non_null(strstr(all, "e(orders)@2=1 e(orders)@3=1"));
    assert_non_null(strstr(all, "resume_success"));
    assert_non_null(strstr(all, "e(orders)@4=4"));
    assert_null(strstr(strstr(all, "@4=4") + 1, "@4=4"));
    assert_true(said(c, "\\\"channel\\\":\\\"orders\\\""));
    publish(f, "orders", "5");
    publish(f, "orders-2", "6");
    assert_string_equal(heard(c), "e(orders)@5=5 e(orders-2)@1=6");
    assert_string_equal(heard(meta), ""); /* the outside saw no subscriber */
    unsubscribe(c, "or*");
    publish(f, "orders", "7");
    assert_string_equal(heard(c), "");
}

static void position_that_waits_is_resumed_when_its_wildcard_comes(void **state)
{
    struct fixture *f = *state;
    const char *stream = three_published(f, "orders");
    struct client *c = v2(f);
    tell_resume(c, stream, "orders", 2);
    assert_string_equal(answer(c), "resume_success");
    tell_subscribe(f, c, "*", "");
    const char *all = answer(c);
    assert_non_null(strstr(all, "e(orders)@3=1"));
    assert_non_null(strstr(all, "resume_success"));
    publish(f, "orders", "4");
    assert_string_equal(heard(c), "e(orders)@4=4");
}

/* What it has delivered is not known, so something would come twice. */
static void wildcard_that_is_live_cannot_be_resumed(void **state)
{
    struct fixture *f = *state;
    const char *stream = three_published(f, "orders");
    struct client *c = v2(f);
    subscribe(f, c, "*");
    tell_resume(c, stream, "orders", 1);
    assert_string_equal(answer(c), "resume_failed(orders) resume_success");
    assert_true(said(c, "wildcard_is_live"));
    publish(f, "orders", "4");
    assert_string_equal(heard(c), "e(orders)@4=4");
}

static void private_channel_is_not_resumed_by_a_wildcard(void **state)
{
    struct fixture *f = *state;
    const char *stream = three_published(f, "private-x");
    struct client *c = v2(f);
    tell_subscribe(f, c, "*", "");
    tell_resume(c, stream, "private-x", 1);
    assert_null(strstr(answer(c), "private-x"));
    core_advance_ms(f->core, 31000);
    assert_non_null(strstr(heard(c), "resume_failed(private-x)"));
}

static void any_filter_of_the_wildcards_lets_replays_pass(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    subscribe(f, c, "orders");
    write_to(f, "orders", ACTION_CREATE, "x", "1", NULL);
    write_to(f, "orders", ACTION_CREATE, "y", "2", NULL);
    write_to(f, "orders", ACTION_CREATE, "z", "3", NULL);
    heard(c);
    const char *stream = stream_of(c);
    struct client *back = v2(f);
    tell_subscribe(f, back, "or*", ",\"filter\":{\"events\":[\"x\"]}");
    tell_subscribe(f, back, "*", ",\"filter\":{\"events\":[\"z\"]}");
    tell_resume(back, stream, "orders", 0);
    const char *all = answer(back);
    assert_non_null(strstr(all, "x(orders)@1=1 z(orders)@3=3"));
    write_to(f, "orders", ACTION_CREATE, "z", "4", NULL);
    assert_string_equal(heard(back), "z(orders)@4=4");
}

static void resumed_channel_may_be_subscribed_to_meanwhile(void **state)
{
    struct fixture *f = *state;
    struct client *meta = v2(f);
    const char *stream = three_published(f, "orders");
    subscribe(f, meta, "[meta]orders");
    struct client *c = v2(f);
    tell_subscribe(f, c, "or*", "");
    tell_resume(c, stream, "orders", 2);
    tell_subscribe(f, c, "orders", "");
    const char *all = answer(c);
    assert_non_null(strstr(all, "subscription_succeeded(orders)"));
    assert_non_null(strstr(all, "e(orders)@3=1"));
    assert_string_equal(heard(meta), "channel_occupied([meta]orders) subscription_count([meta]orders)");
    publish(f, "orders", "4");
    assert_string_equal(heard(c), "e(orders)@4=4");
    unsubscribe(c, "or*");
    publish(f, "orders", "5");
    assert_string_equal(heard(c), "e(orders)@5=5");
    client_gone(c, END_LOST);
    assert_string_equal(heard(meta), "channel_vacated([meta]orders)");
}

static void wildcard_that_ends_during_a_resume_ends_it(void **state)
{
    struct fixture *f = *state;
    const char *stream = three_published(f, "orders");
    struct client *c = v2(f);
    tell_subscribe(f, c, "or*", "");
    tell_resume(c, stream, "orders", 1);
    tell(c, "{\"event\":\"sockudo:unsubscribe\",\"data\":{\"channel\":\"or*\"}}");
    const char *all = answer(c);
    assert_null(strstr(all, "e(orders)"));
    assert_non_null(strstr(all, "resume_success"));
    publish(f, "orders", "4");
    assert_string_equal(heard(c), "");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(frames_of_all_matching_channels_carry_their_own_name),
        T(star_matches_public_channels_only),
        T(channels_for_some_users_or_nobody_are_not_matched),
        T(patterns_are_checked),
        T(wildcards_per_connection_are_limited),
        T(several_matching_subscriptions_make_one_copy),
        T(one_filter_that_accepts_is_enough),
        T(nothing_is_lost_or_doubled_when_the_channel_itself_is_subscribed),
        T(rollup_and_full_text_work_as_the_connection_wants_them),
        T(what_waits_in_a_gate_that_is_given_up_comes_by_the_wildcard),
        T(channel_of_a_wildcard_is_resumed),
        T(position_that_waits_is_resumed_when_its_wildcard_comes),
        T(wildcard_that_is_live_cannot_be_resumed),
        T(private_channel_is_not_resumed_by_a_wildcard),
        T(any_filter_of_the_wildcards_lets_replays_pass),
        T(resumed_channel_may_be_subscribed_to_meanwhile),
        T(wildcard_that_ends_during_a_resume_ends_it),
        T(publisher_is_left_out_and_wildcards_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
