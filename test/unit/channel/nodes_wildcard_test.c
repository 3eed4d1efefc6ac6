/* nodes_wildcard_test.c - wildcards, when others commit what they match.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "nodes_fixture.h"

static unsigned listens(unsigned node)
{
    unsigned n = 0;
    for (unsigned i = 0; i < TOPICS; i++)
        n += f->nodes[node].listens[i];
    return n;
}

static void wildcard(unsigned node, enum lane_mode mode)
{
    attach_to(node, "ai-*", NULL, mode, 0);
}

static void a_wildcard_hears_what_another_node_commits(void **state)
{
    wildcard(1, LANE_DELTA);
    write_by(0, ACTION_CREATE, "\"\"");
    write_by(0, ACTION_APPEND, "\"a\"");
    assert_int_equal(frames_of(1), 2); /* a new channel: at once */
    advance_ms(50);
    write_by(1, ACTION_APPEND, "\"b\"");
    write_by(0, ACTION_APPEND, "\"c\"");
    advance_ms(50);
    assert_string_equal(text_of(1), "abc");
}

static void a_wildcard_is_live_when_all_topics_are_heard(void **state)
{
    f->hold = true;
    wildcard(1, LANE_DELTA);
    assert_int_equal(listens(1), TOPICS);
    assert_int_equal(f->nodes[1].attached, 0);
    f->hold = false;
    settle();
    assert_int_equal(f->nodes[1].attached, 1);
}

static void topics_are_left_with_the_last_wildcard(void **state)
{
    wildcard(1, LANE_DELTA);
    attach_other(1, "ai-a", LANE_DELTA, 0);
    detach(1);
    assert_int_equal(listens(1), 1); /* the channel that somebody is in */
    detach_as(&f->other);
    assert_int_equal(listens(1), 0);
}

static void an_old_channel_begins_with_what_comes(void **state)
{
    write_by(0, ACTION_CREATE, "\"x\"");
    wildcard(1, LANE_DELTA);
    write_by(0, ACTION_APPEND, "\"a\"");
    write_by(0, ACTION_APPEND, "\"b\"");
    advance_ms(50);
    assert_string_equal(text_of(1), "ab");
}

static void what_another_node_committed_first_comes_first(void **state)
{
    write_by(0, ACTION_CREATE, "\"x\"");
    wildcard(1, LANE_DELTA);
    f->hold = true;
    write_by(0, ACTION_APPEND, "\"a\"");
    write_by(1, ACTION_APPEND, "\"b\"");
    f->hold = false;
    settle();
    advance_ms(15);
    assert_string_equal(text_of(1), "ab");
}

static void gaps_are_read_from_the_store(void **state)
{
    wildcard(1, LANE_DELTA);
    lose_a_and_b();
    advance_ms(15);
    assert_string_equal(text_of(1), "abc");
}

static void a_lost_tail_is_found(void **state)
{
    wildcard(1, LANE_DELTA);
    write_by(0, ACTION_CREATE, "\"\"");
    f->cut = true;
    write_by(0, ACTION_APPEND, "\"a\"");
    advance_ms(1100);
    assert_string_equal(text_of(1), "a");
}

static void whoever_comes_to_a_followed_channel_misses_nothing(void **state)
{
    write_by(0, ACTION_CREATE, "\"x\"");
    wildcard(1, LANE_DELTA);
    write_by(0, ACTION_APPEND, "\"a\"");
    advance_ms(15);
    append_unheard(0, "\"b\"");
    attach_other(1, "ai-a", LANE_DELTA, 0);
    assert_int_equal(f->other.attached_at, 3);
    assert_string_equal(text_of(1), "ab");
    write_by(0, ACTION_APPEND, "\"c\"");
    advance_ms(100);
    assert_string_equal(text_of(1), "abc");
    assert_string_equal(text_as(&f->other), "c");
}

static void full_texts_of_a_followed_channel_are_whole(void **state)
{
    write_by(0, ACTION_CREATE, "\"x\"");
    wildcard(1, LANE_FULL);
    write_by(0, ACTION_APPEND, "\"a\"");
    advance_ms(50);
    detach(1);
    write_by(0, ACTION_APPEND, "\"b\"");
    sink_forget(f->nodes[1].sink);
    wildcard(1, LANE_FULL);
    write_by(0, ACTION_APPEND, "\"c\"");
    advance_ms(50);
    assert_string_equal(text_of(1), "xabc");
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_wildcard_hears_what_another_node_commits),
        T(a_wildcard_is_live_when_all_topics_are_heard),
        T(topics_are_left_with_the_last_wildcard),
        T(an_old_channel_begins_with_what_comes),
        T(what_another_node_committed_first_comes_first),
        T(gaps_are_read_from_the_store),
        T(a_lost_tail_is_found),
        T(whoever_comes_to_a_followed_channel_misses_nothing),
        T(full_texts_of_a_followed_channel_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
