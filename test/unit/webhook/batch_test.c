/* batch_test.c - which events travel together, to whom.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#define HOOK(types, more) "{url='http://h/x', event_types=[" types "]" more "}"
#define CHANNELS "'channel_occupied','cache_miss','ai_run_started','client_event'"

static void say_each(struct fixture *f, const char *channels)
{
    for (char name[2] = {*channels}; *channels; name[0] = *++channels)
        happens(f, NOTICE_CHANNEL_OCCUPIED, name);
    settle(f);
}

/* 2.22, case 42. */
static void five_events_in_a_window_of_size_two_leave_as_2_2_and_1(void **state)
{
    struct fixture *f = set_up(HOOK(CHANNELS, ""), "webhooks.batching.size=2");
    say_each(f, "abcde");
    advance_ms(f, 51);
    assert_int_equal(f->count, 1); /* the next ones wait for the answer: order holds */
    answer(f, 0, 200);
    answer(f, 1, 200);
    answer(f, 2, 204);
    assert_int_equal(f->count, 3);
    assert_str(channels_of(f, 0), "a b");
    assert_str(channels_of(f, 1), "c d");
    assert_str(channels_of(f, 2), "e");
    assert_int_equal(figure(f, delivered), 3);
    assert_int_equal(figure(f, events), 5);
    tear_down(f);
}

static void a_window_lasts_as_long_as_configured(void **state)
{
    struct fixture *f = set_up(HOOK(CHANNELS, ""), "webhooks.batching.duration=20");
    say_each(f, "a");
    advance_ms(f, 10);
    say_each(f, "b");
    advance_ms(f, 9);
    assert_int_equal(f->count, 0);
    advance_ms(f, 1);
    assert_int_equal(f->count, 1);
    assert_str(channels_of(f, 0), "a b");
    /* The first event's time. */
    assert_string_equal(f->sent[0].body, "{\"time_ms\":1700000000000,\"events\":[{\"name\":\"channel_occupied\",\"channel\":\"a\"},"
                                         "{\"name\":\"channel_occupied\",\"channel\":\"b\"}]}");
    tear_down(f);
}

static void without_batching_each_event_is_a_request(void **state)
{
    struct fixture *f = set_up(HOOK(CHANNELS, ""), "webhooks.batching.enabled=false");
    say_each(f, "ab");
    settle(f);
    answer(f, 0, 200);
    assert_int_equal(f->count, 2);
    assert_str(channels_of(f, 0), "a");
    assert_str(channels_of(f, 1), "b");
    tear_down(f);
}

/* Chapter 4, 7.2; what waits already goes first, so a channel's events keep their order into the queue. */
static void ai_events_do_not_wait_for_the_window(void **state)
{
    struct fixture *f = set_up(HOOK(CHANNELS, ""), "");
    say_each(f, "a");
    happens(f, NOTICE_AI_RUN_STARTED, "b");
    happens(f, NOTICE_AI_RUN_STARTED, "c");
    settle(f);
    answer(f, 0, 200);
    answer(f, 1, 200);
    assert_int_equal(f->count, 3);
    assert_str(channels_of(f, 0), "a");
    assert_str(channels_of(f, 1), "b");
    assert_str(channels_of(f, 2), "c");
    tear_down(f);
}

/* 2.22, case 39: entries with one URL do not displace each other. */
static void two_webhooks_with_one_url_both_get_theirs(void **state)
{
    struct fixture *f = set_up(HOOK("'channel_occupied'", "") "," HOOK("'cache_miss'", "") "," HOOK("'member_added'", ""), "");
    happens(f, NOTICE_CHANNEL_OCCUPIED, "a");
    happens(f, NOTICE_CACHE_MISS, "b");
    advance_ms(f, 51);
    assert_int_equal(f->count, 2); /* the third has nothing to hear */
    assert_str(channels_of(f, 0), "a");
    assert_str(channels_of(f, 1), "b");
    tear_down(f);
}

static void what_nobody_asked_for_is_not_even_copied(void **state)
{
    struct fixture *f = set_up(HOOK("'cache_miss'", ""), "");
    happens(f, NOTICE_CHANNEL_OCCUPIED, "a");
    happens(f, NOTICE_CACHE_MISS, "[meta]a");
    assert_int_equal(f->w->inbox_events, 0);
    happens(f, NOTICE_CACHE_MISS, "a");
    assert_int_equal(f->w->inbox_events, 1);
    tear_down(f);
}

static void filters_must_all_hold(void **state)
{
    struct fixture *f = set_up(HOOK("'cache_miss'", ",filter={channel_prefix='private-',channel_namespace='orders'}"), "");
    const struct target *t = &f->w->targets[0];
    assert_true(target_wants(t, NOTICE_CACHE_MISS, STR("private-orders:1"))); /* 2.22, case 41 */
    assert_false(target_wants(t, NOTICE_CACHE_MISS, STR("orders:1")));
    assert_false(target_wants(t, NOTICE_CACHE_MISS, STR("private-chat:1")));
    assert_false(target_wants(t, NOTICE_CACHE_MISS, STR("private-orders")));
    assert_false(target_wants(t, NOTICE_CHANNEL_OCCUPIED, STR("private-orders:1")));
    tear_down(f);
}

static void filters_look_at_the_right_part_of_the_name(void **state)
{
    static const struct {
        const char *filter, *channel;
        bool wanted;
    } each[] = {
        {"channel_suffix='-x'", "a-x", true},
        {"channel_suffix='-x'", "a-x-y", false},
        {"channel_pattern='b+c'", "abbc", true}, /* not anchored */
        {"channel_pattern='^b'", "ab", false},
        {"channel_pattern='^private-room-\\\\d+$'", "private-room-42", true},
        {"channel_pattern='^private-room-\\\\d+$'", "private-room-x", false},
        {"channel_pattern='('", "(", false}, /* no pattern: matches nothing */
        {"channel_pattern='a(?=b)'", "ab", false},
        {"channel_namespaces=['a','b']", "presence-cache-b:1", true},
        {"channel_namespaces=['a','b']", "private-encrypted-c:1", false},
        {"channel_namespaces=['a','b']", "a", false},
        {"channel_namespaces=[]", "a:1", true},
        {"channel_namespace='a',channel_namespaces=['b']", "a:1", false},
    };
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        char hook[256];
        char *filter = str_dup(str_of(each[i].filter)), *at = filter;
        while ((at = strstr(at, "\\\\")) != NULL)
            memmove(at, at + 1, strlen(at));
        snprintf(hook, sizeof hook, "{url='http://h', event_types=['cache_miss'], filter={%s}}", filter);
        struct fixture *f = set_up(hook, "");
        if (target_wants(&f->w->targets[0], NOTICE_CACHE_MISS, str_of(each[i].channel)) != each[i].wanted)
            fail_msg("%s on %s", each[i].filter, each[i].channel);
        tear_down(f);
        free(filter);
    }
}

static void a_batch_is_cut_before_it_is_too_large_for_a_note(void **state)
{
    struct fixture *f = set_up(HOOK(CHANNELS, ""), "");
    struct str half = {mem_alloc(EVENT_MAX / 2), EVENT_MAX / 2}, whole = {mem_alloc(EVENT_MAX + 1), EVENT_MAX + 1};
    memset((char *)half.p, '1', half.n);
    memset((char *)whole.p, '1', whole.n);
    struct notice n = {NOTICE_CLIENT_EVENT, f->app, STR("a"), half};
    notice_send(&f->env, &n);
    notice_send(&f->env, &n);
    settle(f);
    assert_int_equal(f->count, 1);
    advance_ms(f, 51);
    answer(f, 0, 200);
    assert_int_equal(f->count, 2);
    /* One alone that is too large is dropped, and said so. */
    n.fields = whole;
    notice_send(&f->env, &n);
    assert_int_equal(figure(f, dropped_large), 1);
    assert_int_equal(f->w->inbox_events, 0);
    assert_false(webhooks_is_healthy(f->w));
    free((char *)half.p);
    free((char *)whole.p);
    tear_down(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_events_in_a_window_of_size_two_leave_as_2_2_and_1),
        cmocka_unit_test(a_window_lasts_as_long_as_configured),
        cmocka_unit_test(without_batching_each_event_is_a_request),
        cmocka_unit_test(ai_events_do_not_wait_for_the_window),
        cmocka_unit_test(two_webhooks_with_one_url_both_get_theirs),
        cmocka_unit_test(what_nobody_asked_for_is_not_even_copied),
        cmocka_unit_test(filters_must_all_hold),
        cmocka_unit_test(filters_look_at_the_right_part_of_the_name),
        cmocka_unit_test(a_batch_is_cut_before_it_is_too_large_for_a_note),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
