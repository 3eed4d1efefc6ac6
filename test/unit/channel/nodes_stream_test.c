/* nodes_stream_test.c - what lies beside a channel's operations: its stream, which a reset replaces, and its annotations.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/annotations.h"
#include "nodes_fixture.h"

/* ---- resets ---- */

static void reset_done(struct store_op *op)
{
    assert_int_equal(op->result, STORE_OK);
    store_op_free(op);
}

static void reset_by(unsigned node)
{
    struct core *c = f->nodes[node].core;
    struct store_op *op = store_op_new(STORE_RESET, 0, reset_done);
    op->app_id = c->app->id;
    op->channel = STR("ai-a");
    store_submit(c->env.store, op);
    settle();
    hub_forget(&c->env, c->app, STR("ai-a"));
    settle();
}

static size_t times(unsigned node, const char *needle)
{
    size_t n = 0;
    struct str rest = buf_view(&f->nodes[node].sink->got);
    for (ptrdiff_t at; (at = str_find(rest, str_of(needle))) >= 0; n++)
        rest = str_from(rest, (size_t)at + 1);
    return n;
}

static void a_reset_begins_anew_on_every_node(void **state)
{
    attach(0, LANE_DELTA, 0);
    attach(1, LANE_DELTA, 0);
    write_by(0, ACTION_CREATE, "\"old1\"");
    write_by(1, ACTION_CREATE, "\"old2\"");
    reset_by(0);
    write_by(1, ACTION_CREATE, "\"new1\"");
    write_by(0, ACTION_CREATE, "\"new2\"");
    advance_ms(20);
    for (unsigned node = 0; node < 2; node++)
        assert_true(times(node, "new1") == 1 && times(node, "new2") == 1);
    attach_other(1, "ai-a", LANE_DELTA, 0);
    assert_int_equal(f->other.attached_at, 2);
}

static void a_reset_that_was_not_heard_shows_by_the_other_stream(void **state)
{
    attach(1, LANE_DELTA, 0);
    write_by(0, ACTION_CREATE, "\"old1\"");
    f->cut = true;
    reset_by(0);
    write_by(0, ACTION_CREATE, "\"new1\"");
    f->cut = false;
    write_by(0, ACTION_CREATE, "\"new2\"");
    advance_ms(20);
    assert_true(times(1, "new1") == 1 && times(1, "new2") == 1);
}

static void what_is_late_of_the_stream_before_a_reset_is_dropped(void **state)
{
    attach(1, LANE_DELTA, 0);
    f->wanted_window = 0;
    write_by(0, ACTION_CREATE, "\"old1\"");
    f->hold = true;
    write_by(0, ACTION_CREATE, "\"late\"");
    struct payload late = f->wire[0];
    f->wire[0] = (struct payload){.route = TO_NODE, .from = 0}; /* nothing */
    f->hold = false;
    settle();
    reset_by(0);
    write_by(0, ACTION_CREATE, "\"new1\"");
    arrive(&late);
    forget(&late);
    settle();
    write_by(0, ACTION_CREATE, "\"new2\"");
    advance_ms(20);
    assert_true(times(1, "late") == 0 && times(1, "new1") == 1 && times(1, "new2") == 1);
}

static void a_new_channel_waits_for_its_first_operation(void **state)
{
    attach(1, LANE_DELTA, 0);
    f->hold = true;
    write_by(0, ACTION_CREATE, "\"a\"");
    write_by(1, ACTION_CREATE, "\"b\"");
    f->hold = false;
    settle();
    advance_ms(20);
    assert_string_equal(text_of(1), "ab");
}

/* A payload beyond the bus's limit is announced, and read from the store. */
static void what_is_too_large_for_the_bus_is_read(void **state)
{
    size_t size = 3 << 19;
    char *data = mem_alloc(size);
    memset(data, 'x', size - 1);
    f->nodes[0].core->config->ai.max_accumulated_message_bytes = 4 << 20;
    data[0] = data[size - 2] = '"';
    data[size - 1] = 0;
    attach(1, LANE_DELTA, 0);
    f->hold = true;
    write_by(0, ACTION_CREATE, data);
    for (unsigned i = 0; i < f->sent; i++)
        assert_true(f->wire[i].bytes.n < 200);
    f->hold = false;
    settle();
    advance_ms(20);
    assert_true(frames_of(1) == 1 && f->nodes[1].sink->got.n > size);
    free(data);
}

/* ---- annotations ---- */

static struct annotate *done;
static void annotated(struct annotate *a)
{
    done = a;
}

static enum annotate_result annotate(unsigned node, enum annotate_kind kind, const char *client, uint64_t target)
{
    struct core *c = f->nodes[node].core;
    struct annotate *a = annotate_new(&c->env, c->app, kind, annotated);
    a->channel_name = STR("ai-a");
    channel_name_check(c->app, a->channel_name, &a->name, &a->op.arena);
    a->event = (struct annotation){.target = target, .message = f->message, .type = STR("reaction:distinct.v1"),
                                   .name = STR("like"), .client_id = str_of(client)};
    a->limit = 100;
    done = NULL;
    hub_annotate(&c->env, a);
    settle();
    assert_non_null(done);
    return done->result;
}

static uint64_t create(unsigned node, const char *client)
{
    assert_int_equal(annotate(node, ANNOTATE_CREATE, client, 0), ANNOTATE_OK);
    uint64_t serial = done->serial;
    annotate_free(done);
    return serial;
}

static int setup_annotations(void **state)
{
    setup(state);
    for (unsigned i = 0; i < NODES; i++)
        f->nodes[i].core->config->annotations_enabled = f->nodes[i].core->config->apps[0].annotations_enabled = true;
    return 0;
}

/* The newest summary that the node's subscriber was shown has these clients. */
static void shows(unsigned node, const char *clients)
{
    struct str got = buf_view(&f->nodes[node].sink->got), last = STR("");
    for (ptrdiff_t at; (at = str_find(got, STR("clientIds"))) >= 0; got = str_from(got, (size_t)at + 1))
        last = str_from(got, (size_t)at);
    last = str_first(last, last.n < 60 ? last.n : 60);
    if (str_find(last, str_of(clients)) < 0)
        fail_msg("%.*s", STR_ARG(last));
}

static void summaries_of_all_nodes_are_one(void **state)
{
    attach(0, LANE_DELTA, 0);
    attach(1, LANE_DELTA, 0);
    write_by(0, ACTION_CREATE, "\"x\"");
    create(0, "c1");
    create(1, "c2");
    create(0, "c3");
    for (unsigned node = 0; node < 2; node++)
        shows(node, "[\"c1\",\"c2\",\"c3\"]");
}

static void a_missed_annotation_is_read(void **state)
{
    attach(0, LANE_DELTA, 0);
    attach(1, LANE_DELTA, 0);
    write_by(0, ACTION_CREATE, "\"x\"");
    f->cut = true;
    create(0, "c1");
    f->cut = false;
    create(1, "c2"); /* its own, above what it has missed */
    for (unsigned node = 0; node < 2; node++)
        shows(node, "[\"c1\",\"c2\"]");
    f->cut = true;
    create(0, "c3");
    f->cut = false;
    advance_ms(1100); /* a tail: heads are compared */
    shows(1, "[\"c1\",\"c2\",\"c3\"]");
}

static void an_annotation_is_deleted_by_another_node(void **state)
{
    attach(0, LANE_DELTA, 0);
    write_by(0, ACTION_CREATE, "\"x\"");
    create(0, "c0");
    uint64_t serial = create(0, "c1");
    assert_int_equal(annotate(1, ANNOTATE_DELETE, "c1", serial), ANNOTATE_OK); /* node 1 listens to nothing */
    annotate_free(done);
    shows(0, "[\"c0\"]");
    assert_int_equal(annotate(0, ANNOTATE_DELETE, "c1", serial), ANNOTATE_DUPLICATE);
    annotate_free(done);
    assert_int_equal(annotate(1, ANNOTATE_LIST, "", 0), ANNOTATE_OK);
    assert_int_equal(done->items_count, 3);
    annotate_free(done);
}

static void whoever_comes_back_sees_the_newest_summary(void **state)
{
    attach(1, LANE_DELTA, 0);
    write_by(0, ACTION_CREATE, "\"x\"");
    create(0, "c1");
    detach(1);
    create(0, "c2");
    create(1, "c3");
    create(0, "c4");
    attach(1, LANE_DELTA, 0);
    create(0, "c5");
    shows(1, "[\"c1\",\"c2\",\"c3\",\"c4\",\"c5\"]");
}

/* ---- open streams ---- */

/* Heads of a channel that was quiet for a minute are not compared: nobody would find it before the next message. */
static void what_the_bus_had_no_room_for_is_read_on_a_quiet_channel_too(void **state)
{
    attach(0, LANE_DELTA, 0);
    attach(1, LANE_DELTA, 0);
    advance_ms(61000);
    f->cut = true;
    write_by(0, ACTION_ORDINARY, "\"lost\"");
    f->cut = false;
    advance_ms(3000);
    assert_false(heard(1, "lost"));
    for (unsigned topic = 0; topic < TOPICS; topic++)
        if (f->nodes[1].listens[topic])
            hub_dropped(&f->nodes[0].core->env, topic);
    advance_ms(2100);
    assert_true(heard(1, "lost"));
}

static void append_keyed(unsigned node, const char *data, uint64_t key)
{
    struct core *c = f->nodes[node].core;
    struct publish *p = publish_new(&c->env, c->app, published);
    p->op.app_id = c->app->id;
    p->op.channel = STR("ai-a");
    channel_name_check(c->app, p->op.channel, &p->name, &p->op.arena);
    p->op.write.action = ACTION_APPEND;
    p->op.write.target = f->message;
    p->op.write.data = str_of(data);
    p->op.write.receipt_key = p->op.write.fingerprint = hash128(str_make((const char *)&key, sizeof key));
    hub_publish(&c->env, p);
    settle();
}

/* Chapter 3, 1.10 and edge case 45: a node has committed and died before the bus heard of it; the retry comes to any other. */
static void a_retry_that_finds_its_commit_announces_the_head(void **state)
{
    attach(1, LANE_DELTA, 0);
    write_by(0, ACTION_CREATE, "\"\"");
    f->cut = true;
    append_keyed(0, "\"a\"", 7);
    assert_int_equal(f->result, PUBLISH_OK);
    f->cut = false;
    assert_string_equal(text_of(1), "");
    append_keyed(0, "\"a\"", 7);
    assert_int_equal(f->result, PUBLISH_DUPLICATE);
    advance_ms(20); /* long before heads are compared */
    assert_string_equal(text_of(1), "a");
    f->cut = true;
    append_keyed(0, "\"b\"", 8);
    f->cut = false;
    append_keyed(1, "\"b\"", 8); /* where the subscriber is: answered behind what it has missed */
    advance_ms(20);
    assert_int_equal(f->result, PUBLISH_DUPLICATE);
    assert_string_equal(text_of(1), "ab");
    append_keyed(0, "\"b\"", 8);
    advance_ms(20);
    assert_string_equal(text_of(1), "ab");
}

/* Of a channel that was quiet nobody would compare the head before the next message. */
static void what_a_dead_node_had_committed_is_found_on_a_quiet_channel_too(void **state)
{
    attach(0, LANE_DELTA, 0);
    advance_ms(61000);
    f->cut = f->alone = true;
    write_by(1, ACTION_ORDINARY, "\"last words\"");
    advance_ms(3000);
    assert_false(heard(0, "last words"));
    hub_peer_left(&f->nodes[0].core->env, STR("node-b"), true);
    advance_ms(2100);
    assert_true(heard(0, "last words"));
}

static void a_stream_is_followed_where_it_was_opened(void **state)
{
    struct streams *streams = f->nodes[0].core->env.streams;
    unsigned topic = hub_topic(&f->nodes[0].core->env, f->nodes[0].core->app, STR("ai-a"));
    write_by(0, ACTION_CREATE, "\"\"");
    assert_int_equal(streams_count(streams), 1);
    assert_true(f->nodes[0].listens[topic]); /* though nobody here subscribes */
    write_by(1, ACTION_DELETE, "null");
    assert_int_equal(streams_count(streams), 0);
    streams_check(streams);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define A(test) cmocka_unit_test_setup_teardown(test, setup_annotations, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_reset_begins_anew_on_every_node),
        T(a_reset_that_was_not_heard_shows_by_the_other_stream),
        T(what_is_late_of_the_stream_before_a_reset_is_dropped),
        T(a_new_channel_waits_for_its_first_operation),
        T(what_is_too_large_for_the_bus_is_read),
        T(what_the_bus_had_no_room_for_is_read_on_a_quiet_channel_too),
        T(a_retry_that_finds_its_commit_announces_the_head),
        T(what_a_dead_node_had_committed_is_found_on_a_quiet_channel_too),
        T(a_stream_is_followed_where_it_was_opened),
        A(summaries_of_all_nodes_are_one),
        A(a_missed_annotation_is_read),
        A(an_annotation_is_deleted_by_another_node),
        A(whoever_comes_back_sees_the_newest_summary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
