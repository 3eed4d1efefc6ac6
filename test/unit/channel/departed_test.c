/* departed_test.c - who tells the outside of members that went with a node, when several nodes die (chapter 5, section 5).
 *
 * node-a and node-b are real; node-0, whose name comes first, is only heard of.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/departed.h"
#include "channel/internal.h"
#include "base/pack.h"
#include "message/notice.h"
#include "message/presence_event.h"
#include "nodes_fixture.h"

static struct buf told; /* by webhooks of node-a: "member_removed:u2 " */

static void hears(struct env *env, const struct notice *n)
{
    if (env != &f->nodes[0].core->env || (n->kind != NOTICE_MEMBER_ADDED && n->kind != NOTICE_MEMBER_REMOVED))
        return;
    buf_fmt(&told, "%s%.*s ", notice_name(n->kind), STR_ARG(n->fields));
}

static bool was_told(const char *user)
{
    char text[80];
    snprintf(text, sizeof text, "member_removed\"user_id\":\"%s\"", user);
    return str_find(buf_view(&told), str_of(text)) >= 0;
}

static void is_at_node_0(const char *user)
{
    struct buf payload = {0};
    const struct core *c = f->nodes[0].core;
    remote_begin(&payload, REMOTE_MEMBER);
    pack_text(&payload, c->app->id);
    pack_text(&payload, STR("presence-a"));
    pack_u64(&payload, MEMBER_CAME);
    pack_text(&payload, str_of(user));
    pack_text(&payload, STR("{}"));
    for (unsigned topic = 0; topic < TOPICS; topic++)
        if (f->nodes[0].listens[topic])
            hub_published(&f->nodes[0].core->env, STR("node-0"), topic, buf_view(&payload));
    buf_free(&payload);
    settle();
}

static int setup_members(void **state)
{
    setup(state);
    buf_clear(&told);
    for (unsigned i = 0; i < NODES; i++) {
        f->nodes[i].core->env.notice = hears;
        f->nodes[i].core->app->notices = ~0u;
        f->nodes[i].core->config->presence_history.enabled = true;
        f->nodes[i].core->config->adapter.node_timeout_ms = 5000;
    }
    attach_to(0, "presence-a", "u1", LANE_DELTA, 0);
    attach_to(1, "presence-a", "u2", LANE_DELTA, 0);
    is_at_node_0("u3");
    buf_clear(&told);
    return 0;
}

static void dies(const char *node)
{
    f->cut = f->alone = true;
    hub_peer_left(&f->nodes[0].core->env, str_of(node), true);
    settle();
}

static char rows[400]; /* "+u1 +u2 -u2 " */
static void rows_read(struct store_op *op)
{
    size_t n = 0;
    assert_int_equal(op->result, STORE_OK);
    for (size_t i = 0; i < op->found.count; i++) {
        struct presence_event e;
        assert_true(presence_event_read(op->found.items[i].data, &op->arena, &e));
        n += (size_t)snprintf(rows + n, sizeof rows - n, "%c%.*s ", e.event == MEMBER_REMOVED_EVENT ? '-' : '+', STR_ARG(e.user_id));
    }
    store_op_free(op);
}

static const char *log_rows(void)
{
    struct core *c = f->nodes[0].core;
    struct store_op *op = store_op_new(STORE_PAGE, 0, rows_read);
    op->app_id = c->app->id;
    op->channel = presence_history_channel(&op->arena, STR("presence-a"));
    op->read = (struct store_read){.direction = OLDEST_FIRST, .limit = 100, .start_ms = INT64_MIN, .end_ms = INT64_MAX};
    store_submit(c->env.store, op);
    settle();
    return rows;
}

static void one_of_those_who_hold_members_tells(void **state)
{
    dies("node-b");
    assert_true(heard(0, "member_removed")); /* by its own node, at once */
    advance_ms(3500);
    assert_false(was_told("u2")); /* node-0 does */
    assert_int_equal(departed_count(f->nodes[0].core->env.hub), 1);
    advance_ms(7000);
    assert_int_equal(departed_count(f->nodes[0].core->env.hub), 0);
}

static void whose_teller_dies_is_told_of_by_the_next(void **state)
{
    dies("node-b");
    advance_ms(1000);
    dies("node-0");
    assert_int_equal(departed_count(f->nodes[0].core->env.hub), 0);
    advance_ms(3500);
    assert_true(was_told("u2"));
    assert_true(was_told("u3"));
    assert_string_equal(log_rows(), "+u1 +u2 -u2 -u3 ");
}

/* The teller may have done it before it died: then it stands in the log already. */
static void what_was_recorded_is_not_recorded_twice(void **state)
{
    f->cut = true;
    detach(1); /* node-b records it itself, and nobody hears of it */
    assert_string_equal(log_rows(), "+u1 +u2 -u2 ");
    dies("node-b");
    dies("node-0");
    advance_ms(3500);
    assert_string_equal(log_rows(), "+u1 +u2 -u2 -u3 ");
}

static void who_is_back_meanwhile_is_not_told_of(void **state)
{
    dies("node-b");
    is_at_node_0("u2");
    attach_other(0, "presence-a", LANE_DELTA, 0); /* the channel goes on whoever leaves */
    dies("node-0");
    advance_ms(3500);
    assert_true(was_told("u2")); /* once, with the node where he was last */
    assert_int_equal(departed_count(f->nodes[0].core->env.hub), 0);
    assert_int_equal(strlen(log_rows()), strlen("+u1 +u2 -u2 -u3 "));
    assert_true(strstr(rows, "-u2 ") != NULL && strstr(rows, "-u3 ") != NULL);
}

/* Whoever told the outside that he is gone tells that he is there again, or the log would not fold. */
static void who_is_back_with_a_node_that_was_not_dead_is_told_of(void **state)
{
    dies("node-0");
    advance_ms(3500);
    dies("node-b");
    advance_ms(3500);
    assert_string_equal(log_rows(), "+u1 +u2 -u3 -u2 ");
    buf_clear(&told);
    f->cut = f->alone = false;
    hub_peer_back(&f->nodes[0].core->env, STR("node-b"), false);
    settle();
    assert_string_equal(log_rows(), "+u1 +u2 -u3 -u2 +u2 ");
    assert_true(str_find(buf_view(&told), STR("member_added\"user_id\":\"u2\"")) >= 0);
    detach(1);
    assert_string_equal(log_rows(), "+u1 +u2 -u3 -u2 +u2 -u2 ");
}

/* Nobody has been told yet that he went. */
static void who_is_back_with_its_node_in_time_was_not_away(void **state)
{
    dies("node-0");
    advance_ms(3500);
    dies("node-b");
    buf_clear(&told);
    advance_ms(1000);
    f->cut = f->alone = false;
    hub_peer_back(&f->nodes[0].core->env, STR("node-b"), false);
    settle();
    advance_ms(4000);
    assert_int_equal(told.n, 0);
}

/* Bug: each believed that he was still at the other one, so neither told, and his row in presence history never came. */
static void who_leaves_two_nodes_at_once_is_told_of_by_one(void **state)
{
    f->other.core = f->nodes[1].core;
    f->other.sink = sink_new(f->other.core);
    attach_as(&f->other, "presence-a", "u1", LANE_DELTA, 0); /* u1 is at both */
    buf_clear(&told);
    f->hold = true;
    detach(0);
    detach_as(&f->other);
    f->hold = false;
    settle();
    assert_string_equal(log_rows(), "+u1 +u2 -u1 ");
    advance_ms(4000);
    assert_true(was_told("u1"));
    assert_int_equal(told.n, strlen("member_removed\"user_id\":\"u1\" "));
}

/* It was another node's word, and will be again. */
static void who_is_back_is_told_of_by_the_teller_only(void **state)
{
    dies("node-b");
    f->cut = f->alone = false;
    hub_peer_back(&f->nodes[0].core->env, STR("node-b"), true);
    settle();
    assert_true(heard(0, "member_added"));
    assert_string_equal(log_rows(), "+u1 +u2 ");
    assert_int_equal(told.n, 0);
}

static void whoever_died_too_late_is_not_asked_for(void **state)
{
    dies("node-b");
    advance_ms(10001);
    dies("node-0");
    advance_ms(3500);
    assert_false(was_told("u2"));
    assert_true(was_told("u3"));
}

/* Nobody with a smaller name holds anybody: this node tells at once, whatever the bus says of leaders. */
static void the_first_of_the_holders_tells_even_if_it_does_not_lead(void **state)
{
    dies("node-0");
    f->cut = f->alone = true;
    hub_peer_left(&f->nodes[0].core->env, STR("node-b"), false);
    advance_ms(3500);
    assert_true(was_told("u2") && was_told("u3"));
}

static void free_told(void)
{
    buf_free(&told);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup_members, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(one_of_those_who_hold_members_tells),
        T(whose_teller_dies_is_told_of_by_the_next),
        T(what_was_recorded_is_not_recorded_twice),
        T(who_is_back_meanwhile_is_not_told_of),
        T(who_is_back_with_a_node_that_was_not_dead_is_told_of),
        T(who_is_back_with_its_node_in_time_was_not_away),
        T(who_leaves_two_nodes_at_once_is_told_of_by_one),
        T(who_is_back_is_told_of_by_the_teller_only),
        T(whoever_died_too_late_is_not_asked_for),
        T(the_first_of_the_holders_tells_even_if_it_does_not_lead),
    };
    atexit(free_told);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
