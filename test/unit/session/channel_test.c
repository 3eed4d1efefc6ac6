/* channel_test.c - subscribing, presence, sign-in, client events (chapter 1, sections 4 to 7).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session_fixture.h"

static void private_kinds_need_a_true_signature(void **state)
{
    static const char *const channels[] = {"private-a", "presence-a", "private-encrypted-a", "private-cache-a",
                                           "presence-cache-a", "private-mycache-1"};
    struct fixture *f = *state;
    struct client *c = v1(f);
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++) {
        char expected[128];
        tell(c,
             "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"%s\",\"auth\":\"app-key:00\","
             "\"channel_data\":\"{\\\"user_id\\\":\\\"u\\\"}\"}}",
             channels[i]);
        snprintf(expected, sizeof expected, "error(%s):4009 subscription_error(%s)", channels[i], channels[i]);
        assert_string_equal(answer(c), expected);
        assert_true(said(c, "\"type\":\"AuthError\""));
        publish(f, channels[i], "\"x\"");
        assert_string_equal(heard(c), "");
    }
    assert_string_equal(join(f, v1(f), "presence-a", "{\"user_id\":\"v\"}"), "subscription_succeeded(presence-a)");
    assert_true(said(&f->clients[1], "\\\"count\\\":1}"));
}

static void signed_private_channel_delivers(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f);
    assert_string_equal(subscribe(f, c, "private-a"), "subscription_succeeded(private-a)");
    assert_true(said(c, "\"data\":\"{}\""));
    publish(f, "private-a", "\"x\"");
    assert_string_equal(heard(c), "e(private-a)=\"x\"");
}

static void missing_signature_is_named(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f);
    tell(c, "{\"event\":\"pusher:subscribe\",\"data\":\"{\\\"channel\\\":\\\"private-a\\\"}\"}");
    assert_string_equal(answer(c), "error(private-a):4009 subscription_error(private-a)");
    assert_true(said(c, "Authentication signature required for this channel"));
    tell(c, "{\"event\":\"pusher:subscribe\",\"data\":{}}");
    assert_string_equal(answer(c), "error:4000");
}

static void presence_without_member_data_is_refused(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f);
    assert_string_equal(subscribe(f, c, "presence-a"), "error(presence-a):4000 subscription_error(presence-a)");
    assert_int_equal(c->close_code, 0);
}

static void presence_takes_the_signed_in_user(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f);
    assert_string_equal(sign_in(f, c, "{\"id\":\"u1\",\"user_info\":{\"name\":\"A\"}}"), "signin_success");
    assert_string_equal(subscribe(f, c, "presence-a"), "subscription_succeeded(presence-a)");
    assert_true(said(c, "\\\"hash\\\":{\\\"u1\\\":{\\\"name\\\":\\\"A\\\"}}"));
}

static void numeric_user_id_becomes_text_and_none_is_refused(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f);
    join(f, c, "presence-a", "{\"user_id\":7}");
    assert_true(said(c, "\\\"ids\\\":[\\\"7\\\"]"));
    assert_string_equal(join(f, c, "presence-b", "{}"), "error(presence-b):4300 subscription_error(presence-b)");
}

static void user_with_two_sockets_is_one_member(void **state)
{
    struct fixture *f = *state;
    struct client *watcher = v1(f), *one = v1(f), *two = v1(f);
    join(f, watcher, "presence-a", "{\"user_id\":\"w\"}");
    join(f, one, "presence-a", "{\"user_id\":\"u\"}");
    join(f, two, "presence-a", "{\"user_id\":\"u\"}");
    assert_string_equal(heard(watcher), "member_added(presence-a)");

    client_gone(one, END_GRACEFUL);
    assert_string_equal(heard(watcher), "");
    client_gone(two, END_GRACEFUL);
    assert_string_equal(heard(watcher), "member_removed(presence-a)");
}

static void lost_v2_connection_keeps_its_member_for_a_while(void **state)
{
    struct fixture *f = *state;
    struct client *watcher = v1(f), *lost = v2(f);
    join(f, watcher, "presence-a", "{\"user_id\":\"w\"}");
    join(f, lost, "presence-a", "{\"user_id\":\"u\"}");
    heard(watcher);
    client_gone(lost, END_LOST);
    core_advance_ms(f->core, 5000);
    struct client *back = v2(f);
    join(f, back, "presence-a", "{\"user_id\":\"u\"}");
    core_advance_ms(f->core, 20000);
    assert_string_equal(heard(watcher), "");

    client_gone(back, END_LOST);
    core_advance_ms(f->core, 16000);
    assert_string_equal(heard(watcher), "member_removed(presence-a)");
    join(f, v2(f), "presence-a", "{\"user_id\":\"u\"}");
    assert_string_equal(heard(watcher), "member_added(presence-a)");
}

static void cleanly_closed_v2_connection_leaves_at_once(void **state)
{
    struct fixture *f = *state;
    struct client *watcher = v1(f), *c = v2(f);
    join(f, watcher, "presence-a", "{\"user_id\":\"w\"}");
    join(f, c, "presence-a", "{\"user_id\":\"u\"}");
    heard(watcher);
    client_gone(c, END_GRACEFUL);
    assert_string_equal(heard(watcher), "member_removed(presence-a)");
}

static void member_leaves_as_whom_it_joined(void **state)
{
    struct fixture *f = *state;
    struct client *watcher = v1(f), *c = v1(f);
    join(f, watcher, "presence-a", "{\"user_id\":\"w\"}");
    sign_in(f, c, "{\"id\":\"A\"}");
    join(f, c, "presence-a", "{\"user_id\":\"B\"}");
    heard(watcher);
    unsubscribe(c, "presence-a");
    assert_string_equal(heard(watcher), "member_removed(presence-a)");
    assert_true(said(watcher, "\\\"B\\\""));
}

static void full_presence_channel_takes_only_members(void **state)
{
    struct fixture *f = *state;
    app_config(f)->max_presence_members_per_channel = 1;
    struct client *first = v1(f), *again = v1(f), *other = v1(f);
    join(f, first, "presence-a", "{\"user_id\":\"u\"}");
    assert_string_equal(join(f, again, "presence-a", "{\"user_id\":\"u\"}"), "subscription_succeeded(presence-a)");
    assert_string_equal(join(f, other, "presence-a", "{\"user_id\":\"v\"}"),
                        "error(presence-a):4100 subscription_error(presence-a)");
    assert_true(said(other, "\"type\":\"LimitReached\""));
    assert_int_equal(other->close_code, 0);
}

static void subscribing_twice_succeeds_twice_and_joins_once(void **state)
{
    struct fixture *f = *state;
    struct client *watcher = v1(f), *c = v1(f);
    join(f, watcher, "presence-a", "{\"user_id\":\"w\"}");
    assert_string_equal(join(f, c, "presence-a", "{\"user_id\":\"u\"}"), "subscription_succeeded(presence-a)");
    assert_string_equal(join(f, c, "presence-a", "{\"user_id\":\"u\"}"), "subscription_succeeded(presence-a)");
    assert_string_equal(heard(watcher), "member_added(presence-a)");
    publish(f, "presence-a", "1");
    assert_string_equal(heard(c), "e(presence-a)=1");
    unsubscribe(c, "presence-a");
    assert_string_equal(heard(watcher), "e(presence-a)=1 member_removed(presence-a)");
}

static void two_subscribes_in_one_read_are_both_acknowledged(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    tell_subscribe(f, c, "news", "");
    tell_subscribe(f, c, "news", "");
    assert_string_equal(answer(c), "subscription_succeeded(news)@0 subscription_succeeded(news)@0");
    publish(f, "news", "1");
    assert_string_equal(heard(c), "e(news)@1=1");
}

static void names_are_checked(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    char name[202];
    memset(name, 'a', sizeof name);
    name[201] = '\0';
    assert_non_null(strstr(subscribe(f, c, name), ":4300"));
    name[200] = '\0';
    assert_non_null(strstr(subscribe(f, c, name), "subscription_succeeded"));
    assert_non_null(strstr(subscribe(f, c, "a b"), "error(a b):4300"));
    assert_non_null(strstr(subscribe(f, c, ""), "error():4300"));
    assert_string_equal(subscribe(f, c, "a,b;c"), "subscription_succeeded(a,b;c)@0");
    assert_non_null(strstr(subscribe(f, c, "orders:1"), "error(orders:1):4300"));
}

static void users_own_channel_is_only_his(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f);
    tell(c, "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"#server-to-user-auth0|1\",\"auth\":\"\"}}");
    assert_string_equal(answer(c), "error(#server-to-user-auth0|1):4009 subscription_error(#server-to-user-auth0|1)");
    sign_in(f, c, "{\"id\":\"auth0|1\"}");
    tell(c, "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"#server-to-user-auth0|1\",\"auth\":\"\"}}");
    assert_string_equal(answer(c), "subscription_succeeded(#server-to-user-auth0|1)");
    tell(c, "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"#server-to-user-u2\",\"auth\":\"\"}}");
    assert_string_equal(answer(c), "error(#server-to-user-u2):4009 subscription_error(#server-to-user-u2)");
}

static void signed_in_user_is_reached_without_subscribing(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f), *member = v1(f);
    sign_in(f, c, "{\"id\":\"u1\"}");
    join(f, member, "presence-a", "{\"user_id\":\"u1\"}");
    publish(f, "#server-to-user-u1", "1");
    assert_string_equal(heard(c), "e(#server-to-user-u1)=1");
    assert_string_equal(heard(member), "e(#server-to-user-u1)=1");

    unsubscribe(c, "#server-to-user-u1");
    unsubscribe(member, "presence-a");
    publish(f, "#server-to-user-u1", "2");
    assert_string_equal(heard(c), "e(#server-to-user-u1)=2");
    assert_string_equal(heard(member), "");
}

static void sign_in_is_checked(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f);
    tell(c, "{\"event\":\"pusher:signin\",\"data\":{\"auth\":\"app-key:00\",\"user_data\":\"{\\\"id\\\":\\\"u\\\"}\"}}");
    assert_string_equal(answer(c), "error:4009");
    assert_string_equal(sign_in(f, c, "{\"id\":7}"), "error:4009");
    assert_string_equal(sign_in(f, c, "{\"id\":"), "error:4009");
    app_config(f)->enable_user_authentication = false;
    assert_string_equal(sign_in(f, c, "{\"id\":\"u\"}"), "error:4009");
    assert_true(said(c, "User authentication is disabled for this app"));
    assert_int_equal(c->close_code, 0);
}

static void connection_without_identity_ends_at_the_deadline(void **state)
{
    struct fixture *f = *state;
    f->core->config->user_authentication_timeout_seconds = 10;
    struct client *c = v1(f), *private = v1(f), *signed_in = v1(f);
    subscribe(f, private, "private-a");
    sign_in(f, signed_in, "{\"id\":\"u\"}");
    core_advance_ms(f->core, 10000);
    assert_string_equal(heard(c), "error:4009");
    assert_int_equal(c->close_code, 4009);
    assert_int_equal(private->close_code, 0);
    assert_int_equal(signed_in->close_code, 0);
}

static void capabilities_limit_a_v2_user(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    sign_in(f, c, "{\"id\":\"u\",\"capabilities\":{\"subscribe\":[\"chat-*\"],\"history\":[]}}");
    assert_string_equal(subscribe(f, c, "news"), "error(news):4009 subscription_error(news)");
    assert_string_equal(subscribe(f, c, "chat-1"), "subscription_succeeded(chat-1)@0");
    assert_string_equal(subscribe_with(f, c, "chat-2", ",\"rewind\":1"), "error(chat-2):4009 subscription_error(chat-2)");
}

/* ---- client events ---- */

static void client_event(struct client *c, const char *channel, const char *data)
{
    tell(c, "{\"event\":\"client-t\",\"channel\":\"%s\",\"data\":%s,\"extras\":{\"ephemeral\":true},\"name\":\"n\"}", channel,
         data);
    core_settle(c->sink.core);
}

static void client_event_reaches_the_others_unchanged(void **state)
{
    struct fixture *f = *state;
    struct client *one = v1(f), *two = v1(f), *three = v2(f);
    subscribe(f, one, "private-a");
    subscribe(f, two, "private-a");
    subscribe(f, three, "private-a");
    client_event(one, "private-a", "{\"channel\":\"x\",\"user_data\":5}");
    assert_string_equal(heard(one), "");
    assert_string_equal(heard(two), "client-t(private-a)={\"channel\":\"x\",\"user_data\":5}");
    assert_string_equal(heard(three), "client-t(private-a)@1={\"channel\":\"x\",\"user_data\":5}");
    assert_false(said(three, "ephemeral"));
    assert_false(said(three, "\"name\""));
}

static void v2_sender_hears_itself_unless_it_declines(void **state)
{
    struct fixture *f = *state;
    struct client *loud = v2(f), *quiet = connect_as(f, "protocol=2&echo_messages=false");
    subscribe(f, loud, "private-a");
    subscribe(f, quiet, "private-a");
    client_event(loud, "private-a", "1");
    assert_string_equal(heard(loud), "client-t(private-a)@1=1");
    heard(quiet);
    client_event(quiet, "private-a", "2");
    assert_string_equal(heard(quiet), "");
    assert_string_equal(heard(loud), "client-t(private-a)@2=2");
}

static void client_event_of_a_member_names_it(void **state)
{
    struct fixture *f = *state;
    struct client *one = v1(f), *two = v1(f);
    join(f, one, "presence-a", "{\"user_id\":\"u1\"}");
    join(f, two, "presence-a", "{\"user_id\":\"u2\"}");
    client_event(two, "presence-a", "1");
    heard(one);
    assert_true(said(one, "\"event\":\"client-t\""));
    assert_true(said(one, "\"user_id\":\"u2\""));
}

/* Chapter 3, 1.10: so many may wait on a channel; whoever sent one more is told, and stays. */
static void client_events_beyond_what_may_wait_are_refused(void **state)
{
    enum { MORE = 3 };
    struct fixture *f = *state;
    struct client *c = v2(f), *other = v1(f);
    subscribe(f, c, "private-a");
    subscribe(f, other, "private-b");
    for (int i = 0; i < CHANNEL_WAITING_MAX + MORE; i++)
        tell(c, "{\"event\":\"client-t\",\"channel\":\"private-a\",\"data\":%d}", i);
    tell(other, "{\"event\":\"client-t\",\"channel\":\"private-b\",\"data\":1}");
    core_settle(f->core);
    const char *at = heard(c);
    unsigned refused = 0;
    while ((at = strstr(at, "error(private-a):4100")) != NULL)
        refused++, at++;
    assert_int_equal(refused, MORE);
    assert_true(said(c, "Over capacity"));
    char last[64];
    snprintf(last, sizeof last, "\"data\":%d,", CHANNEL_WAITING_MAX - 1);
    assert_true(said(c, last));
    assert_int_equal(c->close_code, 0);
    assert_string_equal(heard(other), ""); /* another channel is not delayed; its own event a V1 client does not hear */
    client_event(c, "private-a", "\"again\"");
    assert_non_null(strstr(heard(c), "\"again\""));
}

static void client_event_is_refused_where_it_may_not_go(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f);
    subscribe(f, c, "news");
    client_event(c, "news", "1");
    assert_string_equal(heard(c), "error:4301");
    client_event(c, "private-a", "1");
    assert_string_equal(heard(c), "error:4301");
    assert_true(said(c, "is not subscribed to channel private-a"));
    subscribe(f, c, "private-encrypted-a");
    client_event(c, "private-encrypted-a", "1");
    assert_string_equal(heard(c), "error:4301");
    subscribe(f, c, "private-a");
    app_config(f)->enable_client_messages = false;
    client_event(c, "private-a", "1");
    assert_string_equal(heard(c), "error:4301");
    assert_int_equal(c->close_code, 0);
}

/* The reference lets V1 in wherever only V2 is held to the flags of a namespace. */
static void namespaces_hold_for_both_protocols(void **state)
{
    static struct namespace_config rules[] = {
        {.name = STR("team"), .allow_user_limited_channels = 1, .allow_subscribe_for_client = -1,
         .allow_publish_for_client = 0, .allow_presence_for_client = 0, .annotations_enabled = -1, .history = {-1, -1, -1, -1, -1}},
        {.name = STR("closed"), .allow_publish_for_client = -1, .allow_presence_for_client = -1, .annotations_enabled = -1,
         .history = {-1, -1, -1, -1, -1}},
    };
    struct fixture *f = *state;
    use_namespaces(f, rules, 2);
    for (int protocol = 1; protocol <= 2; protocol++) {
        struct client *c = protocol == 1 ? v1(f) : v2(f);
        subscribe(f, c, "closed:a");
        assert_true(said(c, "Namespace 'closed' does not allow client subscriptions"));
        join(f, c, "presence-team:a", "{\"user_id\":\"u\"}");
        assert_true(said(c, "Namespace 'team' does not allow client presence subscriptions"));
        subscribe(f, c, "private-team:a");
        client_event(c, "private-team:a", "1");
        assert_string_equal(heard(c), "error:4009");
        assert_true(said(c, "Namespace 'team' does not allow client publishes"));
        assert_non_null(strstr(subscribe(f, c, "team:a#u1,u2"), "error(team:a#u1,u2):4009"));
        assert_true(said(c, "User-limited channels require an authenticated V2 user"));
        sign_in(f, c, "{\"id\":\"u3\"}");
        assert_non_null(strstr(subscribe(f, c, "team:a#u1,u2"), "error(team:a#u1,u2):4009"));
        assert_true(said(c, "User 'u3' is not allowed to access channel 'team:a#u1,u2'"));
        sign_in(f, c, "{\"id\":\"u2\"}");
        assert_non_null(strstr(subscribe(f, c, "team:a#u1,u2"), "subscription_succeeded(team:a#u1,u2)"));
    }
    leave_namespaces(f);
}

static void client_events_over_the_limit_are_refused_or_end_the_connection(void **state)
{
    struct fixture *f = *state;
    app_config(f)->max_client_events_per_second = 10;
    struct client *c = v1(f);
    subscribe(f, c, "private-a");
    for (int i = 0; i < 11; i++)
        client_event(c, "private-a", "1");
    assert_string_equal(heard(c), "error:4301");
    app_config(f)->terminate_on_limit = true;
    client_event(c, "private-a", "1");
    assert_string_equal(heard(c), "error:4301");
    assert_int_equal(c->close_code, 4301);
}

/* ---- what each protocol sees ---- */

static void v1_sees_event_channel_and_data_only(void **state)
{
    struct fixture *f = *state;
    struct client *one = v1(f), *two = v2(f);
    subscribe(f, one, "news");
    subscribe(f, two, "news");
    write_to(f, "news", ACTION_CREATE, "e", "\"x\"", "{\"headers\":{\"tenant\":\"a\"}}");
    heard(one);
    heard(two);
    assert_string_equal(one->raw.p ? "ok" : "", "ok");
    assert_true(said(one, "{\"event\":\"e\",\"channel\":\"news\",\"data\":\"x\"}\n"));
    assert_true(said(two, "\"tenant\":\"a\""));
    assert_true(said(two, "\"stream_id\":\""));
}

static void append_comes_as_fragment_or_whole_or_not_at_all(void **state)
{
    struct fixture *f = *state;
    struct client *one = v1(f), *delta = v2(f), *full = connect_as(f, "protocol=2&append_mode=full");
    subscribe(f, one, "news");
    subscribe(f, delta, "news");
    subscribe(f, full, "news");
    publish(f, "news", "\"a\"");
    append(f, "news", "\"b\"");
    core_advance_ms(f->core, 100);
    assert_string_equal(heard(one), "e(news)=\"a\"");
    assert_string_equal(heard(delta), "e(news)@1=\"a\" message.append(news)@2=\"b\"");
    assert_string_equal(heard(full), "e(news)@1=\"a\" message.append(news)@2=\"ab\"");
    assert_false(said(delta, "sockudo_append_fragment"));
    assert_false(said(full, "sockudo_append_fragment"));
}

static void filter_hides_what_was_not_asked_for(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    subscribe_with(f, c, "news", ",\"filter\":{\"events\":[\"wanted\"]}");
    write_to(f, "news", ACTION_CREATE, "other", "1", NULL);
    write_to(f, "news", ACTION_CREATE, "wanted", "2", NULL);
    assert_string_equal(heard(c), "wanted(news)@2=2");
    assert_string_equal(subscribe_with(f, c, "bad", ",\"filter\":{\"events\":[1]}"),
                        "error(bad):4000 subscription_error(bad)");
}

/* Chapter 5, edge cases 40, 41, 44, 53: who asks for deltas, however, gets whole messages without marks, and is told so. */
static void whoever_asks_for_deltas_gets_whole_messages_and_is_told(void **state)
{
    static const char *const asks[] = {"\"fossil\"", "\"zstd\"", "true", "{\"algorithm\":\"xdelta3\"}"};
    static const char *const declines[] = {"\"none\"", "false", "{\"enabled\":false}", "7", "null"};
    struct fixture *f = *state;
    struct client *c = v2(f), *one = v1(f);
    char more[96];
    publish(f, "news", "1");
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        snprintf(more, sizeof more, ",\"delta\":%s", asks[i]);
        assert_string_equal(subscribe_with(f, c, "news", more), "subscription_succeeded(news)@1 delta_compression_enabled(news)");
        assert_true(said(c, "\"data\":{\"enabled\":false,\"channel\":\"news\"}"));
    }
    for (size_t i = 0; i < sizeof declines / sizeof *declines; i++) {
        snprintf(more, sizeof more, ",\"delta\":%s", declines[i]);
        if (strcmp(declines[i], "7") != 0)
            assert_string_equal(subscribe_with(f, c, "news", more), "subscription_succeeded(news)@1");
    }
    assert_string_equal(subscribe_with(f, c, "news", ",\"rewind\":1,\"delta\":true"),
                        "subscription_succeeded(news)@1 e(news)@1=1 rewind_complete(news)@1 delta_compression_enabled(news)");
    assert_string_equal(subscribe_with(f, c, "private-encrypted-a", ",\"delta\":\"fossil\""),
                        "subscription_succeeded(private-encrypted-a)@0 delta_compression_enabled(private-encrypted-a)");
    assert_string_equal(subscribe_with(f, one, "news", ",\"delta\":\"fossil\""), "subscription_succeeded(news)");
    for (int i = 2; i < 6; i++) {
        publish(f, "news", "\"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"");
        heard(c), heard(one);
        assert_true(said(c, "\"event\":\"e\"") && said(one, "\"event\":\"e\""));
        assert_false(said(c, "__delta_seq") || said(c, "sockudo:delta") || said(one, "__delta_seq"));
    }
}

static void nothing_comes_after_unsubscribing(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    subscribe(f, c, "news");
    tell(c, "{\"event\":\"pusher:unsubscribe\",\"data\":\"news\"}");
    assert_string_equal(answer(c), "");
    publish(f, "news", "1");
    assert_string_equal(heard(c), "");
    unsubscribe(c, "never-heard-of");
    assert_string_equal(heard(c), "");
}

static void cache_channel_says_what_it_has(void **state)
{
    struct fixture *f = *state;
    struct client *one = v1(f), *two = v1(f);
    assert_string_equal(subscribe(f, one, "cache-a"), "subscription_succeeded(cache-a) cache_miss(cache-a)");
    subscribe(f, one, "private-cache-a");
    client_event(one, "private-cache-a", "5");
    assert_string_equal(subscribe(f, two, "private-cache-a"),
                        "subscription_succeeded(private-cache-a) client-t(private-cache-a)=5");
}

static void many_channels_on_one_connection(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    char name[16];
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "c%d", i);
        subscribe(f, c, name);
    }
    for (int i = 0; i < 40; i += 2) {
        snprintf(name, sizeof name, "c%d", i);
        unsubscribe(c, name);
    }
    publish(f, "c8", "1");
    publish(f, "c39", "2");
    assert_string_equal(heard(c), "e(c39)@1=2");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(private_kinds_need_a_true_signature),
        T(signed_private_channel_delivers),
        T(missing_signature_is_named),
        T(presence_without_member_data_is_refused),
        T(presence_takes_the_signed_in_user),
        T(numeric_user_id_becomes_text_and_none_is_refused),
        T(user_with_two_sockets_is_one_member),
        T(lost_v2_connection_keeps_its_member_for_a_while),
        T(cleanly_closed_v2_connection_leaves_at_once),
        T(member_leaves_as_whom_it_joined),
        T(full_presence_channel_takes_only_members),
        T(subscribing_twice_succeeds_twice_and_joins_once),
        T(two_subscribes_in_one_read_are_both_acknowledged),
        T(names_are_checked),
        T(users_own_channel_is_only_his),
        T(signed_in_user_is_reached_without_subscribing),
        T(sign_in_is_checked),
        T(connection_without_identity_ends_at_the_deadline),
        T(capabilities_limit_a_v2_user),
        T(client_event_reaches_the_others_unchanged),
        T(v2_sender_hears_itself_unless_it_declines),
        T(client_event_of_a_member_names_it),
        T(client_events_beyond_what_may_wait_are_refused),
        T(client_event_is_refused_where_it_may_not_go),
        T(namespaces_hold_for_both_protocols),
        T(client_events_over_the_limit_are_refused_or_end_the_connection),
        T(v1_sees_event_channel_and_data_only),
        T(append_comes_as_fragment_or_whole_or_not_at_all),
        T(filter_hides_what_was_not_asked_for),
        T(whoever_asks_for_deltas_gets_whole_messages_and_is_told),
        T(nothing_comes_after_unsubscribing),
        T(cache_channel_says_what_it_has),
        T(many_channels_on_one_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
