/* watchlist_test.c - who of the users that a client watches is online (chapter 1, 4.3; case 46 of section 13).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/internal.h"
#include "session_fixture.h"

#define EVENTS(events) "{\"event\":\"pusher_internal:watchlist_events\",\"data\":{\"events\":[" events "]}}\n"
#define GROUP(name, ids) "{\"name\":\"" name "\",\"user_ids\":[" ids "]}"

static int setup_watchlists(void **state)
{
    setup(state);
    app_config(*state)->enable_watchlist_events = true;
    return 0;
}

static void says(struct client *c, const char *text)
{
    heard(c);
    buf_char(&c->raw, '\0');
    c->raw.n--;
    assert_string_equal(c->raw.p, text);
}

static void states_come_in_one_frame_before_the_acknowledgement(void **state)
{
    struct fixture *f = *state;
    struct client *there = v1(f), *token_less = v2(f), *c = v1(f);
    sign_in(f, there, "{\"id\":\"u2\"}");
    sign_in(f, token_less, "{\"id\":\"u \\\"3\\\"\"}");
    assert_string_equal(sign_in(f, c, "{\"id\":\"u1\",\"watchlist\":[\"u2\",7,\"away\",\"u \\\"3\\\"\",\"u2\",null,\"gone\",\"u1\"]}"),
                        "watchlist_events signin_success");
    assert_true(said(c, EVENTS(GROUP("online", "\"u2\",\"u \\\"3\\\"\",\"u1\"") "," GROUP("offline", "\"away\",\"gone\""))));
    assert_string_equal(heard(there), "");
    assert_string_equal(heard(token_less), "");
}

static void groups_without_anybody_are_left_out(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f), *none = v1(f), *bad = v1(f);
    sign_in(f, c, "{\"id\":\"u1\",\"watchlist\":[\"u2\"]}");
    assert_true(said(c, EVENTS(GROUP("offline", "\"u2\""))));
    assert_string_equal(sign_in(f, none, "{\"id\":\"u3\",\"watchlist\":[]}"), "signin_success");
    assert_string_equal(sign_in(f, bad, "{\"id\":\"u4\",\"watchlist\":\"u1\"}"), "signin_success");
}

static void only_the_first_socket_and_the_last_are_told(void **state)
{
    struct fixture *f = *state;
    struct client *one = v1(f), *two = v2(f), *stranger = v1(f), *first = v1(f), *second = v2(f);
    sign_in(f, one, "{\"id\":\"w1\",\"watchlist\":[\"u\"]}");
    sign_in(f, two, "{\"id\":\"w2\",\"watchlist\":[\"x\",\"u\"]}");
    sign_in(f, stranger, "{\"id\":\"w3\",\"watchlist\":[\"x\"]}");
    sign_in(f, first, "{\"id\":\"u\"}");
    says(one, EVENTS(GROUP("online", "\"u\"")));
    assert_string_equal(heard(two), "watchlist_events");
    assert_true(said(two, "\"event\":\"sockudo_internal:watchlist_events\",\"data\":{\"events\":[" GROUP("online", "\"u\"") "]}"));
    sign_in(f, second, "{\"id\":\"u\"}");
    client_gone(first, END_LOST);
    says(one, "");
    says(two, "");
    client_gone(second, END_GRACEFUL);
    says(one, EVENTS(GROUP("offline", "\"u\"")));
    assert_string_equal(heard(two), "watchlist_events");
    says(stranger, "");
}

static void joining_a_presence_channel_is_not_being_online(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f), *member = v1(f);
    sign_in(f, c, "{\"id\":\"w\",\"watchlist\":[\"u\"]}");
    heard(c);
    join(f, member, "presence-a", "{\"user_id\":\"u\"}");
    says(c, "");
}

static void another_sign_in_replaces_who_it_is_and_whom_it_watches(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f), *watcher = v1(f), *u = v1(f);
    sign_in(f, watcher, "{\"id\":\"w\",\"watchlist\":[\"a\",\"b\"]}");
    heard(watcher);
    sign_in(f, c, "{\"id\":\"a\",\"watchlist\":[\"u\"]}");
    says(watcher, EVENTS(GROUP("online", "\"a\"")));
    sign_in(f, c, "{\"id\":\"a\",\"watchlist\":[\"w\"]}");
    says(watcher, "");
    sign_in(f, u, "{\"id\":\"u\"}");
    says(c, "");
    sign_in(f, c, "{\"id\":\"b\"}");
    says(watcher, EVENTS(GROUP("online", "\"b\"")) EVENTS(GROUP("offline", "\"a\"")));
    client_gone(watcher, END_LOST);
    says(c, "");
}

/* Both in one read: the first is acknowledged all the same, and in its turn. */
static void each_of_two_sign_ins_is_acknowledged(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f);
    char text[128], auth[96];
    for (int i = 1; i <= 2; i++) {
        snprintf(text, sizeof text, "%s::user::{\"id\":\"u%d\",\"watchlist\":[\"x\"]}", c->id, i);
        sign(f, text, auth);
        tell(c, "{\"event\":\"pusher:signin\",\"data\":{\"auth\":\"%s\",\"user_data\":\"{\\\"id\\\":\\\"u%d\\\",\\\"watchlist\\\":[\\\"x\\\"]}\"}}", auth, i);
    }
    assert_string_equal(answer(c), "signin_success watchlist_events signin_success");
    ptrdiff_t first = str_find(buf_view(&c->raw), STR("u1")), second = str_find(buf_view(&c->raw), STR("u2"));
    assert_true(first >= 0 && first < second);
}

static void connection_may_end_before_the_states_are_known(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f);
    char text[128], auth[96];
    for (int steps = 0; steps < 6; steps++) {
        c = f->clients[0].session != NULL ? c : v1(f);
        snprintf(text, sizeof text, "%s::user::{\"id\":\"u\",\"watchlist\":[\"x\"]}", c->id);
        sign(f, text, auth);
        tell(c, "{\"event\":\"pusher:signin\",\"data\":{\"auth\":\"%s\",\"user_data\":\"{\\\"id\\\":\\\"u\\\",\\\"watchlist\\\":[\\\"x\\\"]}\"}}", auth);
        for (int i = 0; i < steps; i++)
            core_step(f->core);
        client_gone(c, END_LOST);
    }
    struct client *watcher = v1(f);
    sign_in(f, watcher, "{\"id\":\"w\",\"watchlist\":[\"u\"]}");
    assert_true(said(watcher, EVENTS(GROUP("offline", "\"u\""))));
}

static void more_than_a_hundred_are_too_many(void **state)
{
    struct fixture *f = *state;
    for (int count = 100; count <= 101; count++) {
        struct client *c = v1(f);
        char auth[96];
        struct buf user_data = {0}, signed_text = {0}, quoted = {0};
        buf_lit(&user_data, "{\"id\":\"w\",\"watchlist\":[\"u0\"");
        for (int i = 1; i < count; i++)
            buf_fmt(&user_data, ",\"u%d\"", i);
        buf_lit(&user_data, "]}");
        buf_fmt(&signed_text, "%s::user::%.*s%c", c->id, STR_ARG(buf_view(&user_data)), '\0');
        sign(f, signed_text.p, auth);
        buf_json(&quoted, buf_view(&user_data));
        tell(c, "{\"event\":\"pusher:signin\",\"data\":{\"auth\":\"%s\",\"user_data\":%.*s}}", auth, STR_ARG(buf_view(&quoted)));
        assert_string_equal(answer(c), count == 100 ? "watchlist_events signin_success" : "error:4302 signin_success");
        assert_int_equal(c->close_code, 0);
        assert_int_equal(limits_reached(f, "watchlist"), count == 101);
        buf_free(&user_data);
        buf_free(&signed_text);
        buf_free(&quoted);
    }
}

/* Signing in again and again gives up as many as it begins. */
static void nobody_is_watched_while_too_many_have_been_given_up(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f);
    f->core->env.hub->abandoned = HUB_ABANDONED_MAX;
    assert_string_equal(sign_in(f, c, "{\"id\":\"w\",\"watchlist\":[\"u\"]}"), "error:4000 signin_success");
    assert_int_equal(limits_reached(f, "attaches"), 1);
    f->core->env.hub->abandoned = 0;
    assert_string_equal(sign_in(f, c, "{\"id\":\"w\",\"watchlist\":[\"u\"]}"), "watchlist_events signin_success");
}

static void without_the_feature_nothing_is_told(void **state)
{
    struct fixture *f = *state;
    app_config(f)->enable_watchlist_events = false;
    struct client *c = v1(f);
    assert_string_equal(sign_in(f, c, "{\"id\":\"w\",\"watchlist\":[\"u\"]}"), "signin_success");
    sign_in(f, v1(f), "{\"id\":\"u\"}");
    says(c, "");
}

static struct query *answered;
static void keep(struct query *q)
{
    answered = q;
}

static void nobody_sees_the_channels_behind_it(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f), *spy = v2(f);
    sign_in(f, c, "{\"id\":\"u\",\"watchlist\":[\"x\"]}");
    assert_string_equal(subscribe(f, spy, "[online]u"), "error([online]u):4300 subscription_error([online]u)");
    assert_string_equal(subscribe(f, spy, "[meta][online]u"), "error([meta][online]u):4300 subscription_error([meta][online]u)");
    subscribe(f, spy, "*");
    for (enum query_kind kind = QUERY_CHANNELS;; kind = QUERY_TOTALS) {
        struct query *q = query_new(&f->core->env, kind, f->core->app, keep);
        q->channel = STR("");
        hub_ask(&f->core->env, q);
        core_settle(f->core);
        assert_int_equal(answered->channels_count, 0);
        assert_int_equal(answered->occupied, 0);
        query_free(answered);
        if (kind == QUERY_TOTALS)
            break;
    }
    client_gone(c, END_GRACEFUL);
    says(spy, "");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup_watchlists, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(states_come_in_one_frame_before_the_acknowledgement),
        T(groups_without_anybody_are_left_out),
        T(only_the_first_socket_and_the_last_are_told),
        T(joining_a_presence_channel_is_not_being_online),
        T(another_sign_in_replaces_who_it_is_and_whom_it_watches),
        T(each_of_two_sign_ins_is_acknowledged),
        T(connection_may_end_before_the_states_are_known),
        T(more_than_a_hundred_are_too_many),
        T(nobody_is_watched_while_too_many_have_been_given_up),
        T(without_the_feature_nothing_is_told),
        T(nobody_sees_the_channels_behind_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
