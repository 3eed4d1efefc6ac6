/* nodes_count_test.c - how many subscriptions a channel has, as webhooks and meta channels are told.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "message/notice.h"
#include "nodes_fixture.h"

static struct buf told; /* by webhooks, of both nodes */

static void hears(struct env *env, const struct notice *n)
{
    if (n->kind == NOTICE_CACHE_MISS)
        return;
    buf_str(&told, str_of(notice_name(n->kind)));
    buf_str(&told, n->fields);
    buf_char(&told, ' ');
}

static int setup_counts(void **state)
{
    setup(state);
    buf_clear(&told);
    for (unsigned i = 0; i < NODES; i++) {
        f->nodes[i].core->env.notice = hears;
        f->nodes[i].core->app->notices = UINT32_MAX;
    }
    return 0;
}

static void is_told(const char *text)
{
    struct buf end = {0};
    buf_str(&end, buf_view(&told));
    buf_char(&end, 0);
    assert_string_equal(end.p, text);
    buf_free(&end);
    buf_clear(&told);
}

#define COUNT(n) "subscription_count\"subscription_count\":" n " "

static void a_channel_is_occupied_and_vacated_once(void **state)
{
    attach(0, LANE_DELTA, 0);
    is_told("channel_occupied " COUNT("1"));
    attach(1, LANE_DELTA, 0);
    is_told(COUNT("2"));
    advance_ms(200);
    detach(0);
    is_told(COUNT("1"));
    advance_ms(4000);
    is_told("");
    detach(1);
    is_told(COUNT("0"));
    advance_ms(4000);
    is_told("channel_vacated ");
}

static void of_two_that_come_at_once_one_tells(void **state)
{
    f->hold = true;
    attach(0, LANE_DELTA, 0);
    attach(1, LANE_DELTA, 0);
    f->hold = false;
    settle();
    advance_ms(200);
    buf_char(&told, 0);
    struct str all = buf_view(&told);
    ptrdiff_t first = str_find(all, STR("channel_occupied"));
    assert_true(first >= 0 && str_find(str_from(all, (size_t)first + 1), STR("channel_occupied")) < 0);
}

static void of_two_that_leave_at_once_one_tells(void **state)
{
    attach(0, LANE_DELTA, 0);
    attach(1, LANE_DELTA, 0);
    advance_ms(200);
    buf_clear(&told);
    f->hold = true;
    detach(0);
    detach(1);
    f->hold = false;
    settle();
    advance_ms(4000);
    struct str all = buf_view(&told);
    ptrdiff_t first = str_find(all, STR("channel_vacated"));
    assert_true(first >= 0 && str_find(str_from(all, (size_t)first + 1), STR("channel_vacated")) < 0);
}

static void who_comes_back_at_another_node_was_not_away(void **state)
{
    attach(0, LANE_DELTA, 0);
    detach(0);
    buf_clear(&told);
    advance_ms(1000);
    attach(1, LANE_DELTA, 0);
    is_told(COUNT("1"));
    advance_ms(4000);
    is_told("");
}

/* Bug: the node that he had left told member_removed three seconds after the other one had told member_added. */
static void a_member_who_comes_back_at_another_node_was_not_away(void **state)
{
    attach_to(0, "presence-a", "u1", LANE_DELTA, 0);
    advance_ms(200);
    buf_clear(&told);
    detach(0);
    advance_ms(1000);
    attach_to(1, "presence-a", "u1", LANE_DELTA, 0);
    advance_ms(4000);
    is_told("");
    detach(1);
    advance_ms(4000);
    is_told("channel_vacated member_removed\"user_id\":\"u1\" ");
}

/* The other node follows the channel, and has heard that he left. */
static void nor_is_he_if_that_node_has_seen_him_leave(void **state)
{
    attach_to(1, "presence-a", "u2", LANE_DELTA, 0);
    attach_to(0, "presence-a", "u1", LANE_DELTA, 0);
    advance_ms(200);
    buf_clear(&told);
    detach(0);
    advance_ms(1000);
    f->other.core = f->nodes[1].core;
    f->other.sink = sink_new(f->other.core);
    attach_as(&f->other, "presence-a", "u1", LANE_DELTA, 0);
    advance_ms(4000);
    is_told("");
    detach_as(&f->other);
    advance_ms(4000);
    is_told("member_removed\"user_id\":\"u1\" ");
    attach_as(&f->other, "presence-a", "u1", LANE_DELTA, 0);
    is_told("member_added\"user_id\":\"u1\" ");
}

static void who_comes_too_late_has_been_away(void **state)
{
    attach_to(1, "presence-a", "u2", LANE_DELTA, 0);
    attach_to(0, "presence-a", "u1", LANE_DELTA, 0);
    detach(0);
    buf_clear(&told);
    advance_ms(3100);
    is_told("member_removed\"user_id\":\"u1\" ");
    f->other.core = f->nodes[1].core;
    f->other.sink = sink_new(f->other.core);
    attach_as(&f->other, "presence-a", "u1", LANE_DELTA, 0);
    is_told("member_added\"user_id\":\"u1\" ");
}

static void a_silent_node_counts_as_empty(void **state)
{
    f->cut = true;
    attach(0, LANE_DELTA, 0);
    is_told("");
    advance_ms(1100);
    is_told("channel_occupied " COUNT("1"));
}

static void meta_channels_show_the_count_of_the_fleet(void **state)
{
    attach_to(0, "[meta]ai-a", NULL, LANE_DELTA, 0);
    attach(1, LANE_DELTA, 0);
    assert_true(heard(0, "channel_occupied") && heard(0, "\"subscription_count\":1"));
    sink_forget(f->nodes[0].sink);
    for (int i = 0; i < 2; i++) {
        struct subscription *kept = f->nodes[1].sub;
        attach(1, LANE_DELTA, 0);
        hub_detach(&f->nodes[1].core->env, kept, 0);
    }
    settle();
    advance_ms(150);
    assert_true(frames_of(0) <= 2); /* one in 100 ms */
    sink_forget(f->nodes[0].sink);
    detach(1);
    advance_ms(150);
    assert_true(heard(0, "channel_vacated"));
}

static void counts_of_a_dead_node_are_gone(void **state)
{
    attach_to(0, "[meta]ai-a", NULL, LANE_DELTA, 0);
    attach(1, LANE_DELTA, 0);
    buf_clear(&told);
    f->cut = f->alone = true;
    hub_peer_left(&f->nodes[0].core->env, STR("node-b"), true);
    settle();
    assert_true(heard(0, "channel_vacated"));
    advance_ms(3100);
    is_told("channel_vacated ");
}

static void free_told(void)
{
    buf_free(&told);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup_counts, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_channel_is_occupied_and_vacated_once),
        T(of_two_that_come_at_once_one_tells),
        T(of_two_that_leave_at_once_one_tells),
        T(who_comes_back_at_another_node_was_not_away),
        T(a_member_who_comes_back_at_another_node_was_not_away),
        T(nor_is_he_if_that_node_has_seen_him_leave),
        T(who_comes_too_late_has_been_away),
        T(a_silent_node_counts_as_empty),
        T(meta_channels_show_the_count_of_the_fleet),
        T(counts_of_a_dead_node_are_gone),
    };
    atexit(free_told);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
