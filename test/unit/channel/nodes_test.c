/* nodes_test.c - two nodes and what one hears of the other (design, "Cluster").
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "nodes_fixture.h"

/* How often gaps were filled so. */
static uint64_t repairs(unsigned node, const char *source)
{
    struct buf text = {0};
    char line[128];
    uint64_t n = 0;
    snprintf(line, sizeof line, "resume_gap_repairs_total{app_id=\"app-id\",port=\"9601\",source=\"%s\"} ", source);
    metric_render(f->nodes[node].core->env.metrics->registry, STR(""), &text);
    ptrdiff_t at = str_find(buf_view(&text), str_of(line));
    assert_true(at >= 0);
    struct str rest = str_from(buf_view(&text), (size_t)at + strlen(line));
    assert_true(str_to_u64(str_split(&rest, '\n'), &n));
    buf_free(&text);
    return n;
}

static void subscriber_of_one_node_hears_what_the_other_commits(void **state)
{
    attach(1, LANE_DELTA, 2);
    write_by(0, ACTION_CREATE, "\"\"");
    write_by(0, ACTION_APPEND, "\"a\"");
    assert_string_equal(text_of(1), "a");
    assert_int_equal(frames_of(1), 2);
}

static void excluded_socket_of_another_node_hears_nothing(void **state)
{
    attach(0, LANE_DELTA, 2);
    attach(1, LANE_DELTA, 2);
    f->except = (struct socket_id){1, 2}; /* the second node's, see attach_as() */
    write_by(0, ACTION_CREATE, "\"x\"");
    assert_int_equal(frames_of(0), 1);
    assert_int_equal(frames_of(1), 0);
    f->except = (struct socket_id){0};
    write_by(0, ACTION_CREATE, "\"y\"");
    assert_int_equal(frames_of(1), 1);
}

static void runs_cross_the_bus_as_one_payload(void **state)
{
    attach(1, LANE_DELTA, 2);
    write_by(0, ACTION_CREATE, "\"\"");
    for (const char *const *word = (const char *const[]){"\"a\"", "\"b\"", "\"\\n\"", "\"d\"", NULL}; *word; word++)
        write_by(0, ACTION_APPEND, *word);
    assert_int_equal(frames_of(1), 2);
    f->hold = true;
    advance_ms(45);
    assert_int_equal(f->sent, 1);
    f->hold = false;
    settle();
    assert_string_equal(text_of(1), "ab\\nd"); /* at once: it has waited on the other node */
    assert_int_equal(frames_of(1), 3);
}

static void two_nodes_feed_one_message(void **state)
{
    attach(0, LANE_DELTA, 0);
    attach(1, LANE_DELTA, 4);
    write_by(0, ACTION_CREATE, "\"\"");
    for (int i = 0; i < 10; i++) {
        char word[16];
        snprintf(word, sizeof word, "\"%d\"", i);
        write_by((unsigned)i % 2, ACTION_APPEND, word);
    }
    advance_ms(600);
    assert_string_equal(text_of(0), "0123456789");
    assert_string_equal(text_of(1), "0123456789");
}

static void what_the_bus_loses_is_read_from_the_store(void **state)
{
    attach(1, LANE_DELTA, 0);
    lose_a_and_b();
    assert_string_equal(text_of(1), "");
    advance_ms(12);
    assert_string_equal(text_of(1), "abc");
    assert_int_equal(repairs(1, "store"), 1);
}

static void own_commits_wait_for_those_of_the_other_node(void **state)
{
    attach(0, LANE_DELTA, 0);
    attach(1, LANE_DELTA, 0);
    f->wanted_window = 0;
    write_by(0, ACTION_CREATE, "\"\"");
    f->hold = true;
    write_by(0, ACTION_APPEND, "\"a\"");
    write_by(1, ACTION_APPEND, "\"b\"");
    assert_string_equal(text_of(1), ""); /* a is on its way */
    f->hold = false;
    settle();
    assert_string_equal(text_of(1), "ab");
    assert_string_equal(text_of(0), "ab");
    advance_ms(30);
    assert_int_equal(frames_of(1), 3);
}

/* What it waits for lies in the other node's rollup, up to 40 ms: it leaves at once when that one hears of what stands behind. */
static void own_commits_fetch_what_the_other_node_rolls_up(void **state)
{
    attach(0, LANE_DELTA, 2);
    attach(1, LANE_DELTA, 2);
    write_by(0, ACTION_CREATE, "\"\"");
    write_by(0, ACTION_APPEND, "\"a\"");
    write_by(0, ACTION_APPEND, "\"b\"");
    write_by(0, ACTION_APPEND, "\"c\"");
    assert_string_equal(text_of(1), "a");
    struct message_id streamed = f->message;
    write_by(1, ACTION_CREATE, "\"!\"");
    assert_string_equal(text_of(1), "abc!");
    assert_string_equal(text_of(0), "abc!");
    f->message = streamed;
    write_by(0, ACTION_APPEND, "\"d\"");
    advance_ms(100);
    for (unsigned node = 0; node < NODES; node++) {
        assert_string_equal(text_of(node), "abc!d");
        assert_int_equal(repairs(node, "store"), 0);
        assert_int_equal(repairs(node, "bus"), node);
    }
}

/* The head of the store lies above what has been heard as long as another node rolls up. */
static void what_is_being_rolled_up_is_not_missing(void **state)
{
    f->wanted_window = 4;
    attach(1, LANE_DELTA, 4);
    advance_ms(600); /* heads are compared 1000 ms after the first attach */
    write_by(0, ACTION_CREATE, "\"\"");
    write_by(0, ACTION_APPEND, "\"a\"");
    advance_ms(100);
    write_by(0, ACTION_APPEND, "\"b\"");
    advance_ms(350);
    assert_string_equal(text_of(1), "a");
    advance_ms(250);
    assert_string_equal(text_of(1), "ab");
    advance_ms(1000);
    assert_int_equal(repairs(1, "store") + repairs(1, "bus"), 0);
}

static void repeated_and_overtaken_payloads_change_nothing(void **state)
{
    attach(1, LANE_DELTA, 0);
    f->wanted_window = 0;
    write_by(0, ACTION_CREATE, "\"\"");
    f->hold = true;
    write_by(0, ACTION_APPEND, "\"a\"");
    write_by(0, ACTION_APPEND, "\"b\"");
    assert_int_equal(f->sent, 2);
    arrive(&f->wire[1]);
    arrive(&f->wire[1]);
    arrive(&f->wire[0]);
    f->hold = false;
    settle();
    assert_string_equal(text_of(1), "ab");
    assert_int_equal(frames_of(1), 3);
}

/* A refusal tells the head as it was when the store refused: by the time it leaves, more may have been heard. */
static void a_refusal_does_not_take_the_head_back(void **state)
{
    attach(1, LANE_DELTA, 0);
    f->wanted_window = 0;
    write_by(0, ACTION_CREATE, "\"\"");
    struct message_id message = f->message;
    f->hold = true;
    write_by(0, ACTION_APPEND, "\"a\"");
    write_by(0, ACTION_APPEND, "\"b\"");
    f->message.create_delivery = f->message.history = 77;
    write_by(1, ACTION_APPEND, "\"nowhere\""); /* waits for a and b */
    f->message = message;
    write_by(0, ACTION_APPEND, "\"c\"");
    assert_int_equal(f->sent, 3);
    for (unsigned i = f->sent; i-- > 0;)
        arrive(&f->wire[i]);
    f->hold = false;
    settle();
    assert_int_equal(f->result, PUBLISH_NOT_FOUND);
    f->message = message;
    write_by(0, ACTION_APPEND, "\"d\"");
    advance_ms(20);
    assert_string_equal(text_of(1), "abcd");
    assert_int_equal(repairs(1, "store"), 0);
}

static void a_run_that_overlaps_is_cut(void **state)
{
    attach(1, LANE_DELTA, 0);
    write_by(0, ACTION_CREATE, "\"\"");
    write_by(0, ACTION_APPEND, "\"a\"");
    f->hold = true;
    write_by(0, ACTION_APPEND, "\"b\"");
    write_by(0, ACTION_APPEND, "\"c\"");
    advance_ms(45);                 /* 3..4 of the message are on their way */
    f->hold = true;
    write_by(1, ACTION_APPEND, "\"d\""); /* shows the gap: read from the store */
    advance_ms(15);
    assert_string_equal(text_of(1), "abcd");
    f->hold = false;
    settle();
    assert_string_equal(text_of(1), "abcd");
}

static void attach_takes_the_head_of_the_store(void **state)
{
    write_by(0, ACTION_CREATE, "\"\"");
    write_by(1, ACTION_APPEND, "\"a\"");
    write_by(0, ACTION_APPEND, "\"b\"");
    attach(1, LANE_DELTA, 0);
    assert_int_equal(f->nodes[1].attached_at, 3);
    write_by(0, ACTION_APPEND, "\"c\"");
    advance_ms(50);
    assert_string_equal(text_of(1), "c");
}

static void full_subscribers_get_whole_texts_of_both(void **state)
{
    attach(0, LANE_FULL, 0);
    attach(1, LANE_FULL, 0);
    f->wanted_window = 0;
    write_by(0, ACTION_CREATE, "\"\"");
    write_by(0, ACTION_APPEND, "\"a\"");
    write_by(1, ACTION_APPEND, "\"b\"");
    write_by(0, ACTION_APPEND, "\"c\"");
    advance_ms(20);
    assert_string_equal(text_of(0), "aababc");
    assert_string_equal(text_of(1), "aababc");
}

static void is_told(void *sink, int code, struct str reason)
{
    buf_fmt(&((struct sink *)sink)->got, "told %d\n", code);
}

static void full_subscribers_get_the_whole_text_of_what_was_missed(void **state)
{
    attach(1, LANE_FULL, 0);
    attach_other(1, "ai-a", LANE_DELTA, 0);
    hub_on_control(f->nodes[1].core->env.hub, is_told);
    f->wanted_window = 0;
    write_by(0, ACTION_CREATE, "\"1\"");
    f->cut = true;
    write_by(0, ACTION_APPEND, "\"a\"");
    write_by(0, ACTION_APPEND, "\"b\"");
    write_by(0, ACTION_CREATE, "\"2\"");
    write_by(0, ACTION_APPEND, "\"c\"");
    f->cut = false;
    write_by(0, ACTION_APPEND, "\"d\"");
    advance_ms(12);
    assert_string_equal(text_of(1), "1" "1ab" "2" "2c" "2cd");
    assert_string_equal(text_as(&f->other), "1ab2cd");
    assert_false(heard(1, "told"));
}

/* More than are read at a time. */
static void whole_texts_of_many_messages_are_read_in_turns(void **state)
{
    enum { MANY = 150 };
    struct buf expected = {0};
    attach(1, LANE_FULL, 0);
    hub_on_control(f->nodes[1].core->env.hub, is_told);
    f->nodes[0].core->config->ai.max_open_streaming_messages_per_channel = MANY + 1;
    f->cut = true;
    for (int i = 0; i < MANY; i++) {
        write_by(0, ACTION_CREATE, "\"1\"");
        write_by(0, ACTION_APPEND, "\"a\"");
        buf_lit(&expected, "11a");
    }
    f->cut = false;
    write_by(0, ACTION_APPEND, "\"b\"");
    buf_lit(&expected, "1ab");
    buf_char(&expected, 0);
    advance_ms(50);
    assert_string_equal(text_of(1), expected.p);
    buf_free(&expected);
    assert_false(heard(1, "told"));
}

static void what_is_updated_behind_a_missed_append_is_shown_once(void **state)
{
    attach(1, LANE_FULL, 0);
    hub_on_control(f->nodes[1].core->env.hub, is_told);
    write_by(0, ACTION_CREATE, "\"1\"");
    f->cut = true;
    write_by(0, ACTION_APPEND, "\"a\"");
    write_by(0, ACTION_UPDATE, "\"2\"");
    f->cut = false;
    write_by(0, ACTION_CREATE, "\"3\"");
    advance_ms(12);
    assert_string_equal(text_of(1), "1" "2" "3");
    assert_false(heard(1, "told"));
}

/* What they resume from is the last frame they were given: none may come before the cut that lies above the missed append. */
static void full_subscribers_are_cut_where_the_text_is_gone(void **state)
{
    attach(1, LANE_FULL, 0);
    attach_other(1, "ai-a", LANE_DELTA, 0);
    hub_on_control(f->nodes[1].core->env.hub, is_told);
    f->wanted_window = 0;
    write_by(0, ACTION_CREATE, "\"first\"");
    write_by(0, ACTION_APPEND, "\"x\"");
    core_lose_row(f->nodes[0].core, 1, 2);
    f->cut = true;
    write_by(0, ACTION_APPEND, "\"a\"");
    write_by(0, ACTION_CREATE, "\"second\"");
    f->cut = false;
    write_by(0, ACTION_CREATE, "\"third\"");
    advance_ms(12);
    struct str got = buf_view(&f->nodes[1].sink->got);
    assert_true(str_find(got, STR("first")) >= 0 && str_find(got, STR("told 4200")) > str_find(got, STR("first")));
    assert_int_equal(str_find(got, STR("second")), -1);
    assert_string_equal(text_as(&f->other), "firstxasecondthird");
}

static void a_lost_tail_is_found_when_the_bus_says_that_it_was_away(void **state)
{
    attach(1, LANE_DELTA, 0);
    write_by(0, ACTION_CREATE, "\"\"");
    append_unheard(0, "\"a\"");
    advance_ms(100);
    assert_string_equal(text_of(1), "");
    hub_missed(&f->nodes[1].core->env);
    advance_ms(150);
    assert_string_equal(text_of(1), "a");
}

static void a_lost_tail_is_found_by_comparing_heads(void **state)
{
    attach(1, LANE_DELTA, 0);
    write_by(0, ACTION_CREATE, "\"\"");
    f->cut = true;
    write_by(0, ACTION_APPEND, "\"a\"");
    assert_string_equal(text_of(1), "");
    advance_ms(1100);
    assert_string_equal(text_of(1), "a");
}

/* More of them than one question to the store can name. */
static void lost_tails_of_very_many_channels_are_found(void **state)
{
    enum { MANY = STORE_HEADS_MAX + 100 };
    struct subscription **subs = mem_alloc(MANY * sizeof(*subs));
    char channel[16];
    for (int i = 0; i < MANY; i++) {
        snprintf(channel, sizeof channel, "ai-%d", i);
        attach_to(1, channel, NULL, LANE_DELTA, 0);
        subs[i] = f->nodes[1].sub;
    }
    for (int i = 0; i < 2 * MANY; i++) {
        f->cut = i >= MANY; /* the second message of each */
        snprintf(channel, sizeof channel, "ai-%d", i % MANY);
        write_to(0, channel, ACTION_CREATE, "\"a\"");
    }
    assert_int_equal(frames_of(1), MANY);
    advance_ms(1100);
    assert_int_equal(frames_of(1), 2 * MANY);
    f->cut = true; /* as many counts at once are more than the wire has room for */
    for (int i = 0; i < MANY - 1; i++)
        hub_detach(&f->nodes[1].core->env, subs[i], 0);
    free(subs);
    settle();
}

static void v1_gets_creates_only(void **state)
{
    attach(1, LANE_V1, 0);
    write_by(0, ACTION_CREATE, "\"x\"");
    write_by(0, ACTION_APPEND, "\"a\"");
    advance_ms(100);
    assert_int_equal(frames_of(1), 1);
    assert_true(str_find(buf_view(&f->nodes[1].sink->got), STR("{\"event\":\"ai-output\",\"channel\":\"ai-a\",\"data\":\"x\"}")) >= 0);
}

/* ---- beside operations ---- */

static void members_of_all_nodes_are_one_list(void **state)
{
    attach_to(0, "presence-a", "u1", LANE_DELTA, 0);
    assert_true(lists(0, "\"count\":1"));
    attach_to(1, "presence-a", "u2", LANE_DELTA, 0);
    assert_true(lists(1, "\"count\":2") && lists(1, "u1") && lists(1, "u2"));
    assert_true(heard(0, "member_added") && heard(0, "u2"));
    assert_false(heard(1, "member_added"));
    detach(1);
    assert_true(heard(0, "member_removed"));
}

static void a_user_at_two_nodes_comes_and_goes_once(void **state)
{
    attach_to(0, "presence-a", "u1", LANE_DELTA, 0);
    attach_to(1, "presence-a", "u1", LANE_DELTA, 0);
    assert_true(lists(1, "\"count\":1"));
    detach(1);
    assert_false(heard(0, "member_added") || heard(0, "member_removed"));
}

static void members_of_a_dead_node_are_gone(void **state)
{
    attach_to(0, "presence-a", "u1", LANE_DELTA, 0);
    attach_to(1, "presence-a", "u2", LANE_DELTA, 0);
    f->cut = f->alone = true; /* node-b says nothing more */
    hub_peer_left(&f->nodes[0].core->env, STR("node-b"), true);
    settle();
    assert_true(heard(0, "member_removed"));
}

static size_t times(unsigned node, const char *needle)
{
    size_t n = 0;
    struct str rest = buf_view(&f->nodes[node].sink->got);
    for (ptrdiff_t at; (at = str_find(rest, str_of(needle))) >= 0; n++)
        rest = str_from(rest, (size_t)at + 1);
    return n;
}

/* Chapter 5, edge case 25. */
static void members_of_a_dead_node_go_once_and_not_if_they_are_elsewhere_too(void **state)
{
    attach_to(0, "presence-a", "u1", LANE_DELTA, 0);
    attach_to(1, "presence-a", "u1", LANE_DELTA, 0);
    struct subscription *first = f->nodes[1].sub;
    attach_to(1, "presence-a", "u2", LANE_DELTA, 0);
    f->cut = f->alone = true;
    hub_peer_left(&f->nodes[0].core->env, STR("node-b"), true);
    settle();
    assert_int_equal(times(0, "member_removed"), 1);
    struct str got = buf_view(&f->nodes[0].sink->got), gone = str_from(got, (size_t)str_find(got, STR("member_removed")));
    assert_true(str_find(gone, STR("u2")) >= 0 && str_find(gone, STR("u1")) < 0);
    assert_int_equal(times(0, "member_added"), 1); /* of u2: u1 was here */
    struct query *q = ask(0, QUERY_USERS, "presence-a");
    assert_int_equal(q->users_count, 1);
    query_free(q);
    hub_detach(&f->nodes[1].core->env, first, 0);
    settle();
}

/* Chapter 5, weak spot 9: who was only slow must not be missed for ever, and must not go on missing what it was not sent. */
static void a_node_that_was_not_dead_is_back_with_its_members(void **state)
{
    attach_to(0, "presence-a", "u1", LANE_DELTA, 0);
    attach_to(1, "presence-a", "u2", LANE_DELTA, 0);
    f->cut = f->alone = true;
    hub_peer_left(&f->nodes[0].core->env, STR("node-b"), true);
    settle();
    assert_true(heard(0, "member_removed"));
    sink_forget(f->nodes[0].sink);
    f->cut = f->alone = false;
    hub_peer_back(&f->nodes[0].core->env, STR("node-b"), true);
    settle();
    assert_int_equal(times(0, "member_added"), 1);
    assert_false(heard(1, "member_added"));
    struct query *q = ask(0, QUERY_USERS, "presence-a");
    assert_int_equal(q->users_count, 2);
    query_free(q);
    detach(1);
    assert_int_equal(times(0, "member_removed"), 1);
}

static void whoever_was_taken_for_dead_reads_what_was_not_published_for_it(void **state)
{
    attach(1, LANE_DELTA, 0);
    advance_ms(61000); /* quiet: heads are not compared any more */
    f->cut = true;
    write_by(0, ACTION_ORDINARY, "\"unsent\"");
    f->cut = false;
    advance_ms(3000);
    assert_false(heard(1, "unsent"));
    hub_peer_back(&f->nodes[0].core->env, STR("node-b"), true);
    advance_ms(150);
    assert_true(heard(1, "unsent"));
}

static void what_was_missed_of_members_is_asked_for(void **state)
{
    attach_to(0, "presence-a", "u1", LANE_DELTA, 0);
    f->cut = true;
    attach_to(1, "presence-a", "u2", LANE_DELTA, 0);
    advance_ms(1100);
    f->cut = false;
    assert_false(heard(0, "member_added"));
    hub_missed(&f->nodes[0].core->env);
    settle();
    assert_true(heard(0, "member_added"));
}

static int controlled;
static void control(void *sink, int code, struct str reason)
{
    controlled = code;
}

static void a_word_to_a_user_reaches_him_at_any_node(void **state)
{
    controlled = 0;
    hub_on_control(f->nodes[1].core->env.hub, control);
    attach_to(1, "#server-to-user-u1", NULL, LANE_DELTA, 0);
    hub_terminate_user(&f->nodes[0].core->env, f->nodes[0].core->app, STR("u1"), 4009, STR("enough"));
    settle();
    assert_int_equal(controlled, 4009);
}

static void questions_are_answered_for_all_nodes(void **state)
{
    attach_to(0, "presence-a", "u1", LANE_DELTA, 0);
    attach_to(1, "presence-a", "u2", LANE_DELTA, 0);
    struct query *q = ask(0, QUERY_CHANNEL, "presence-a");
    assert_true(q->subscription_count == 2 && q->user_count == 2 && !q->incomplete);
    query_free(q);
    q = ask(1, QUERY_USERS, "presence-a");
    assert_int_equal(q->users_count, 2);
    query_free(q);
    q = ask(0, QUERY_CHANNELS, "presence-");
    assert_true(q->channels_count == 1 && q->channels[0].subscription_count == 2 && q->channels[0].user_count == 2);
    query_free(q);
}

static void a_silent_node_does_not_hold_up_an_answer(void **state)
{
    attach_to(0, "presence-a", "u1", LANE_DELTA, 0);
    f->cut = true;
    assert_null(ask(0, QUERY_CHANNEL, "presence-a"));
    advance_ms(1100);
    assert_non_null(answer);
    assert_int_equal(answer->subscription_count, 1);
    assert_true(answer->incomplete);
    query_free(answer);
}

/* Chapter 5, edge case 28. */
static void a_question_waits_as_long_as_configured(void **state)
{
    f->nodes[0].core->config->adapter.requests_timeout_ms = 300;
    attach_to(0, "presence-a", "u1", LANE_DELTA, 0);
    attach_to(1, "presence-a", "u2", LANE_DELTA, 0);
    f->cut = true; /* the other node hangs */
    assert_null(ask(0, QUERY_CHANNEL, "presence-a"));
    advance_ms(299);
    assert_null(answer);
    advance_ms(2);
    assert_non_null(answer);
    assert_int_equal(answer->subscription_count, 1);
    query_free(answer);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(subscriber_of_one_node_hears_what_the_other_commits),
        T(excluded_socket_of_another_node_hears_nothing),
        T(runs_cross_the_bus_as_one_payload),
        T(two_nodes_feed_one_message),
        T(what_the_bus_loses_is_read_from_the_store),
        T(own_commits_wait_for_those_of_the_other_node),
        T(own_commits_fetch_what_the_other_node_rolls_up),
        T(what_is_being_rolled_up_is_not_missing),
        T(repeated_and_overtaken_payloads_change_nothing),
        T(a_refusal_does_not_take_the_head_back),
        T(a_run_that_overlaps_is_cut),
        T(attach_takes_the_head_of_the_store),
        T(full_subscribers_get_whole_texts_of_both),
        T(full_subscribers_get_the_whole_text_of_what_was_missed),
        T(whole_texts_of_many_messages_are_read_in_turns),
        T(what_is_updated_behind_a_missed_append_is_shown_once),
        T(full_subscribers_are_cut_where_the_text_is_gone),
        T(a_lost_tail_is_found_when_the_bus_says_that_it_was_away),
        T(a_lost_tail_is_found_by_comparing_heads),
        T(lost_tails_of_very_many_channels_are_found),
        T(v1_gets_creates_only),
        T(members_of_all_nodes_are_one_list),
        T(a_user_at_two_nodes_comes_and_goes_once),
        T(members_of_a_dead_node_are_gone),
        T(members_of_a_dead_node_go_once_and_not_if_they_are_elsewhere_too),
        T(a_node_that_was_not_dead_is_back_with_its_members),
        T(whoever_was_taken_for_dead_reads_what_was_not_published_for_it),
        T(what_was_missed_of_members_is_asked_for),
        T(a_word_to_a_user_reaches_him_at_any_node),
        T(questions_are_answered_for_all_nodes),
        T(a_silent_node_does_not_hold_up_an_answer),
        T(a_question_waits_as_long_as_configured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
