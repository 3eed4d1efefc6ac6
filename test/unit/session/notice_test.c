/* notice_test.c - what webhooks are told of channels and members, and what meta channels say (chapter 2, 2.19.3; chapter 1, 5.3).
 *
 * Notices as text: name(channel){fields}.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "message/notice.h"
#include "session_fixture.h"

static struct buf noted;

static void note(struct env *env, const struct notice *notice)
{
    if (noted.n > 0)
        buf_char(&noted, ' ');
    buf_fmt(&noted, "%s(%.*s)", notice_name(notice->kind), STR_ARG(notice->channel));
    if (notice->fields.n > 0)
        buf_fmt(&noted, "{%.*s}", STR_ARG(notice->fields));
}

static int setup_all(void **state)
{
    setup(state);
    struct fixture *f = *state;
    f->core->env.notice = note;
    f->core->app->notices = ~0u;
    buf_clear(&noted);
    return 0;
}

static int teardown_all(void **state)
{
    teardown(state);
    buf_free(&noted);
    return 0;
}

/* All that was noted since the last time. */
static const char *noticed(void)
{
    static char text[4096];
    snprintf(text, sizeof text, "%.*s", (int)noted.n, noted.p);
    buf_clear(&noted);
    return text;
}

static void channel_is_occupied_by_the_first_and_vacated_three_seconds_after_the_last(void **state)
{
    struct fixture *f = *state;
    struct client *a = v1(f), *b = v2(f);
    subscribe(f, a, "orders");
    assert_string_equal(noticed(), "channel_occupied(orders) subscription_count(orders){\"subscription_count\":1}");
    subscribe(f, b, "orders");
    assert_string_equal(noticed(), "subscription_count(orders){\"subscription_count\":2}");
    unsubscribe(a, "orders");
    client_gone(b, END_LOST);
    assert_string_equal(noticed(), "subscription_count(orders){\"subscription_count\":1} "
                                   "subscription_count(orders){\"subscription_count\":0}");
    core_advance_ms(f->core, 2999);
    assert_string_equal(noticed(), "");
    core_advance_ms(f->core, 2);
    assert_string_equal(noticed(), "channel_vacated(orders)");
}

/* A page that is loaded again must not look like a customer who left. */
static void return_within_three_seconds_is_neither_vacated_nor_occupied(void **state)
{
    struct fixture *f = *state;
    struct client *a = v1(f);
    f->core->app->notices = 1u << NOTICE_CHANNEL_OCCUPIED | 1u << NOTICE_CHANNEL_VACATED;
    subscribe(f, a, "orders");
    client_gone(a, END_GRACEFUL);
    core_advance_ms(f->core, 2000);
    struct client *again = v1(f), *cut = v2(f);
    subscribe(f, again, "orders");
    core_advance_ms(f->core, 10000);
    assert_string_equal(noticed(), "channel_occupied(orders)");
    unsubscribe(again, "orders");
    core_advance_ms(f->core, 1000);
    subscribe(f, cut, "orders");
    client_gone(cut, END_LOST);
    core_advance_ms(f->core, 2900);
    subscribe(f, again, "orders");
    core_advance_ms(f->core, 10000);
    assert_string_equal(noticed(), "");
}

static void subscribing_again_or_resuming_changes_no_count(void **state)
{
    struct fixture *f = *state;
    struct client *a = v2(f), *meta = v2(f);
    subscribe(f, meta, "[meta]orders");
    subscribe(f, a, "orders");
    noticed();
    heard(meta);
    subscribe(f, a, "orders");
    tell(a, "{\"event\":\"sockudo:resume\",\"data\":{\"channel_positions\":{\"orders\":{\"serial\":0}}}}");
    answer(a);
    assert_string_equal(noticed(), "");
    assert_string_equal(heard(meta), "");
    tell_subscribe(f, a, "orders", "");
    client_gone(a, END_LOST);
    assert_string_equal(noticed(), "subscription_count(orders){\"subscription_count\":0}");
    assert_string_equal(heard(meta), "channel_vacated([meta]orders)");
}

static void members_are_noticed_by_their_edges(void **state)
{
    struct fixture *f = *state;
    struct client *a = v2(f), *tab = v2(f);
    join(f, a, "presence-a", "{\"user_id\":\"u\"}");
    assert_string_equal(noticed(), "channel_occupied(presence-a) member_added(presence-a){\"user_id\":\"u\"}");
    join(f, tab, "presence-a", "{\"user_id\":\"u\"}");
    tell(tab, "{\"event\":\"sockudo:presence_update\",\"data\":{\"channel\":\"presence-a\",\"data\":{\"s\":1}}}");
    client_gone(a, END_GRACEFUL);
    assert_string_equal(noticed(), "member_updated(presence-a){\"user_id\":\"u\",\"user_info\":{\"s\":1}}");
    client_gone(tab, END_GRACEFUL);
    core_advance_ms(f->core, 2900);
    assert_string_equal(noticed(), "");
    core_advance_ms(f->core, 200);
    assert_string_equal(noticed(), "channel_vacated(presence-a) member_removed(presence-a){\"user_id\":\"u\"}");
}

/* Chapter 5, edge case 36: thousands of sockets dropped in one turn are one leave per member, and no notice is lost. */
static void mass_of_sockets_that_drops_at_once_leaves_member_by_member(void **state)
{
    enum { SOCKETS = 2000, USERS = 500 };
    struct fixture *f = *state;
    struct client *all = mem_zalloc(SOCKETS * sizeof *all), *watcher = v1(f);
    struct session_params params = {.protocol = WIRE_V1, .mode = LANE_V1, .echo = true};
    app_config(f)->max_presence_members_per_channel = 0;
    join(f, watcher, "presence-a", "{\"user_id\":\"watcher\"}");
    for (unsigned i = 0; i < SOCKETS; i++) {
        char user[40];
        all[i].sink.core = f->core;
        all[i].session = session_new(f->sessions, &all[i], f->core->app, STR_NONE, &params);
        note_id(&all[i]);
        sink_forget(&all[i].sink);
        snprintf(user, sizeof user, "{\"user_id\":\"u%u\"}", i % USERS);
        join(f, &all[i], "presence-a", user);
    }
    core_advance_ms(f->core, 10);
    buf_clear(&noted);
    heard(watcher);
    for (unsigned i = 0; i < SOCKETS; i++)
        session_closed(all[i].session, END_LOST);
    core_settle(f->core);
    core_advance_ms(f->core, 4000);
    char *seen = mem_zalloc(USERS);
    unsigned removed = 0;
    struct str rest = buf_view(&noted);
    for (ptrdiff_t at; (at = str_find(rest, STR("member_removed(presence-a){\"user_id\":\"u"))) >= 0; removed++) {
        rest = str_from(rest, (size_t)at + sizeof "member_removed(presence-a){\"user_id\":\"u" - 1);
        unsigned user = (unsigned)strtoul(rest.p, NULL, 10);
        assert_true(user < USERS && seen[user]++ == 0);
    }
    assert_int_equal(removed, USERS);
    assert_int_equal(watcher->sink.frames, USERS);
    free(seen);
    for (unsigned i = 0; i < SOCKETS; i++) {
        buf_free(&all[i].sink.got);
        buf_free(&all[i].text);
        buf_free(&all[i].raw);
        buf_free(&all[i].reason);
    }
    free(all);
}

static void member_who_is_back_in_time_makes_no_notice(void **state)
{
    struct fixture *f = *state;
    struct client *a = v2(f), *watcher = v2(f);
    f->core->app->notices = 1u << NOTICE_MEMBER_ADDED;
    join(f, watcher, "presence-a", "{\"user_id\":\"w\"}");
    join(f, a, "presence-a", "{\"user_id\":\"u\"}");
    noticed();
    heard(watcher);
    unsubscribe(a, "presence-a");
    core_advance_ms(f->core, 1000);
    join(f, a, "presence-a", "{\"user_id\":\"u\"}");
    core_advance_ms(f->core, 5000);
    assert_string_equal(noticed(), "");
    assert_string_equal(heard(watcher), "member_removed(presence-a) member_added(presence-a)");
}

static void cache_channel_without_event_is_a_miss(void **state)
{
    struct fixture *f = *state;
    f->core->app->notices = 1u << NOTICE_CACHE_MISS;
    struct client *a = v1(f);
    subscribe(f, a, "private-cache-a");
    assert_string_equal(noticed(), "cache_miss(private-cache-a){\"data\":\"{}\"}");
    tell(a, "{\"event\":\"client-x\",\"channel\":\"private-cache-a\",\"data\":1}");
    subscribe(f, v1(f), "private-cache-a");
    assert_string_equal(noticed(), "");
}

static void client_event_is_noticed_as_it_was_sent(void **state)
{
    struct fixture *f = *state;
    char expected[256];
    f->core->app->notices = 1u << NOTICE_CLIENT_EVENT;
    struct client *a = v2(f), *m = v1(f);
    subscribe(f, a, "private-a");
    join(f, m, "presence-a", "{\"user_id\":\"u\"}");
    tell(a, "{\"event\":\"client-x\",\"channel\":\"private-a\",\"data\":\"text\"}");
    core_settle(f->core);
    snprintf(expected, sizeof expected,
             "client_event(private-a){\"event\":\"client-x\",\"data\":\"text\",\"socket_id\":\"%s\"}", a->id);
    assert_string_equal(noticed(), expected);
    tell(m, "{\"event\":\"client-y\",\"channel\":\"presence-a\",\"data\":{\"n\":1}}");
    client_gone(m, END_LOST);
    snprintf(expected, sizeof expected,
             "client_event(presence-a){\"event\":\"client-y\",\"data\":{\"n\":1},\"socket_id\":\"%s\",\"user_id\":\"u\"}",
             m->id);
    assert_string_equal(noticed(), expected);
    tell(a, "{\"event\":\"client-x\",\"channel\":\"private-a\",\"data\":1,\"extras\":{\"ephemeral\":true}}");
    tell(a, "{\"event\":\"client-x\",\"channel\":\"public\",\"data\":1}");
    core_settle(f->core);
    assert_string_equal(noticed(), "");
}

static void nothing_is_kept_when_nobody_wants_to_hear(void **state)
{
    struct fixture *f = *state;
    f->core->app->notices = 0;
    struct client *a = v1(f);
    join(f, a, "presence-a", "{\"user_id\":\"u\"}");
    sign_in(f, a, "{\"id\":\"u\"}");
    client_gone(a, END_GRACEFUL);
    core_advance_ms(f->core, 4000);
    assert_string_equal(noticed(), "");
}

static void users_own_channels_and_meta_channels_make_no_notice(void **state)
{
    struct fixture *f = *state;
    struct client *a = v2(f);
    sign_in(f, a, "{\"id\":\"u\"}");
    subscribe(f, a, "[meta]orders");
    client_gone(a, END_GRACEFUL);
    core_advance_ms(f->core, 4000);
    assert_string_equal(noticed(), "");
}

/* ---- meta channels ---- */

static void meta_channel_tells_counts_and_edges(void **state)
{
    struct fixture *f = *state;
    f->core->app->notices = 0;
    struct client *meta = v2(f), *a = v1(f), *b = v2(f);
    assert_string_equal(subscribe(f, meta, "[meta]orders"), "subscription_succeeded([meta]orders)");
    subscribe(f, a, "orders");
    assert_string_equal(heard(meta), "channel_occupied([meta]orders) subscription_count([meta]orders)");
    assert_true(said(meta, "\"event\":\"sockudo_internal:channel_occupied\""));
    assert_true(said(meta, "\"data\":{\"channel\":\"orders\",\"subscription_count\":1}"));
    subscribe(f, b, "orders");
    assert_string_equal(heard(meta), "subscription_count([meta]orders)");
    client_gone(a, END_LOST);
    assert_string_equal(heard(meta), "subscription_count([meta]orders)");
    unsubscribe(b, "orders");
    assert_string_equal(heard(meta), "channel_vacated([meta]orders)");
    assert_true(said(meta, "\"subscription_count\":0}"));
    publish(f, "orders", "\"x\"");
    assert_string_equal(heard(meta), "");
    unsubscribe(meta, "[meta]orders");
    subscribe(f, b, "orders");
    assert_string_equal(heard(meta), "");
}

static void meta_channel_tells_members(void **state)
{
    struct fixture *f = *state;
    struct client *meta = v2(f), *a = v2(f);
    assert_string_equal(subscribe(f, meta, "[meta]presence-a"), "error([meta]presence-a):4009 subscription_error([meta]presence-a)");
    char text[128], auth[96];
    snprintf(text, sizeof text, "%s:presence-a", meta->id);
    sign(f, text, auth);
    tell(meta, "{\"event\":\"sockudo:subscribe\",\"data\":{\"channel\":\"[meta]presence-a\",\"auth\":\"%s\"}}", auth);
    assert_string_equal(answer(meta), "subscription_succeeded([meta]presence-a)");
    join(f, a, "presence-a", "{\"user_id\":\"u\"}");
    tell(a, "{\"event\":\"sockudo:presence_update\",\"data\":{\"channel\":\"presence-a\",\"data\":1}}");
    core_settle(f->core);
    assert_string_equal(heard(meta), "channel_occupied([meta]presence-a) subscription_count([meta]presence-a) "
                                     "member_added([meta]presence-a) presence_update([meta]presence-a)");
    assert_true(said(meta, "\"data\":{\"channel\":\"presence-a\",\"user_id\":\"u\"}"));
    client_gone(a, END_GRACEFUL);
    assert_string_equal(heard(meta), "channel_vacated([meta]presence-a) member_removed([meta]presence-a)");
}

static void meta_channel_is_as_guarded_as_its_channel(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f), *old = v1(f);
    tell(c, "{\"event\":\"sockudo:subscribe\",\"data\":{\"channel\":\"[meta]private-x\"}}");
    assert_string_equal(answer(c), "error([meta]private-x):4009 subscription_error([meta]private-x)");
    assert_string_equal(subscribe(f, c, "[meta]private-x"), "error([meta]private-x):4009 subscription_error([meta]private-x)");
    assert_string_equal(subscribe(f, c, "[meta][meta]x"), "error([meta][meta]x):4300 subscription_error([meta][meta]x)");
    assert_string_equal(subscribe(f, c, "[meta]#server-to-user-u"),
                        "error([meta]#server-to-user-u):4009 subscription_error([meta]#server-to-user-u)");
    assert_string_equal(subscribe(f, old, "[meta]x"), "error([meta]x):4300 subscription_error([meta]x)");
    assert_true(said(old, "Metachannel subscriptions are only supported on protocol V2"));
    sign_in(f, c, "{\"id\":\"u\",\"capabilities\":{\"subscribe\":[\"a\"]}}");
    assert_string_equal(subscribe(f, c, "[meta]b"), "error([meta]b):4009 subscription_error([meta]b)");
    assert_string_equal(subscribe(f, c, "[meta]a"), "subscription_succeeded([meta]a)");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup_all, teardown_all)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(channel_is_occupied_by_the_first_and_vacated_three_seconds_after_the_last),
        T(return_within_three_seconds_is_neither_vacated_nor_occupied),
        T(subscribing_again_or_resuming_changes_no_count),
        T(members_are_noticed_by_their_edges),
        T(mass_of_sockets_that_drops_at_once_leaves_member_by_member),
        T(member_who_is_back_in_time_makes_no_notice),
        T(cache_channel_without_event_is_a_miss),
        T(client_event_is_noticed_as_it_was_sent),
        T(nothing_is_kept_when_nobody_wants_to_hear),
        T(users_own_channels_and_meta_channels_make_no_notice),
        T(meta_channel_tells_counts_and_edges),
        T(meta_channel_tells_members),
        T(meta_channel_is_as_guarded_as_its_channel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
