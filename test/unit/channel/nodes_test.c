/* nodes_test.c - two nodes on one store, with a bus between them that a test may cut, hold back, repeat (design, "Cluster").
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "../support/core.h"
#include "base/json.h"
#include "base/mem.h"

enum { NODES = 2, WIRE_MAX = 256 };

enum route { TO_TOPIC, TO_NODE, LISTENING };
struct payload {
    enum route route;
    unsigned from, topic;
    struct buf bytes;
};
struct node {
    struct core *core;
    struct sink *sink;
    struct subscription *sub;
    uint64_t attached_at;
    struct buf members; /* as the acknowledgement showed them */
};
struct fixture {
    struct node nodes[NODES];
    struct payload wire[WIRE_MAX];
    unsigned sent, wanted_window;
    bool cut, hold, alone;
    struct message_id message;
    uint64_t delivery;
    enum publish_result result;
};
static struct fixture *f;

/* ---- the bus ---- */

static unsigned node_of(const struct env *env)
{
    return env == &f->nodes[0].core->env ? 0 : 1;
}

static int wanted(struct env *env, unsigned topic)
{
    return f->nodes[1 - node_of(env)].sub != NULL ? (int)f->wanted_window : BUS_NOBODY;
}

static void travels(struct env *env, enum route route, unsigned topic, struct str payload)
{
    if (f->cut)
        return;
    struct payload *p = &f->wire[f->sent++];
    *p = (struct payload){.route = route, .from = node_of(env), .topic = topic};
    buf_str(&p->bytes, payload);
}

static void bus_publishes(struct env *env, unsigned topic, struct str payload)
{
    travels(env, TO_TOPIC, topic, payload);
}

static void bus_sends(struct env *env, struct str node, struct str payload)
{
    travels(env, TO_NODE, 0, payload);
}

static size_t bus_peers(struct env *env)
{
    return f->alone ? 0 : 1;
}

static void bus_listen(struct env *env, unsigned topic, unsigned window)
{
    struct payload *p = &f->wire[f->sent++];
    *p = (struct payload){.route = LISTENING, .from = node_of(env), .topic = topic};
}

static void bus_leave(struct env *env, unsigned topic)
{
}

static const struct env_bus bus = {64, wanted, bus_publishes, bus_listen, bus_leave, bus_peers, bus_sends};

static void arrive(struct payload *p)
{
    static const struct str names[] = {STR("node-a"), STR("node-b")};
    struct env *other = &f->nodes[1 - p->from].core->env;
    if (p->route == LISTENING)
        hub_listening(&f->nodes[p->from].core->env, p->topic);
    else if (p->route == TO_TOPIC)
        hub_published(other, names[p->from], p->topic, buf_view(&p->bytes));
    else
        hub_received(other, names[p->from], buf_view(&p->bytes));
}

static void forget(struct payload *p)
{
    buf_free(&p->bytes);
    *p = (struct payload){0};
}

/* Completions of both nodes come by the first, which has the store. */
static void settle(void)
{
    for (int quiet = 0; quiet < 3; quiet++) {
        for (unsigned i = 0; i < NODES; i++)
            core_settle(f->nodes[i].core);
        for (unsigned i = 0; !f->hold && i < f->sent; i++) {
            struct payload p = f->wire[i];
            f->wire[i] = (struct payload){0};
            arrive(&p);
            forget(&p);
            quiet = 0;
        }
        if (!f->hold)
            f->sent = 0;
    }
}

static void advance_ms(unsigned ms)
{
    while (ms-- > 0) {
        for (unsigned i = 0; i < NODES; i++)
            core_advance_ms(f->nodes[i].core, 1);
        settle();
    }
}

/* ---- what a test does ---- */

static int setup(void **state)
{
    f = mem_new(struct fixture);
    f->wanted_window = 2;
    f->nodes[0].core = core_new();
    f->nodes[1].core = core_beside(f->nodes[0].core);
    for (unsigned i = 0; i < NODES; i++) {
        f->nodes[i].core->env.bus = &bus;
        f->nodes[i].sink = sink_new(f->nodes[i].core);
    }
    return 0;
}

static int teardown(void **state)
{
    f->hold = false;
    for (unsigned i = 0; i < NODES; i++)
        if (f->nodes[i].sub != NULL)
            hub_detach(&f->nodes[i].core->env, f->nodes[i].sub, 0);
    settle();
    core_free(f->nodes[1].core);
    core_free(f->nodes[0].core);
    for (unsigned i = 0; i < NODES; i++)
        buf_free(&f->nodes[i].members), sink_free(f->nodes[i].sink);
    free(f);
    return 0;
}

static void attached(void *user, struct subscription *s, const struct attached *a)
{
    struct node *n = user;
    uint64_t last = 0;
    assert_int_equal(a->code, 0);
    n->attached_at = a->head.delivery;
    buf_clear(&n->members);
    if (a->presence.p != NULL)
        buf_str(&n->members, a->presence);
    subscription_open(&n->core->env, s, a->head.delivery, &last);
}

static void overflow(void *user, struct subscription *s)
{
    abort();
}

static void attach_to(unsigned node, const char *channel, const char *user, enum lane_mode mode, unsigned window)
{
    struct node *n = &f->nodes[node];
    struct arena arena = {0};
    struct attach_request r = {.app = n->core->app, .channel = str_of(channel), .member = {user ? str_of(user) : STR_NONE, STR("{}")}, .attached = attached, .overflow = overflow, .user = n,
                               .sink = n->sink, .socket = {1, node + 1}, .lane = lane_of(mode, window)};
    channel_name_check(n->core->app, r.channel, &r.name, &arena);
    n->sub = hub_attach(&n->core->env, &r);
    settle();
    arena_free(&arena);
}

static void attach(unsigned node, enum lane_mode mode, unsigned window)
{
    attach_to(node, "ai-a", NULL, mode, window);
}

static void detach(unsigned node)
{
    hub_detach(&f->nodes[node].core->env, f->nodes[node].sub, 0);
    f->nodes[node].sub = NULL;
    settle();
}

static void published(struct publish *p)
{
    f->result = p->result;
    f->delivery = p->op.written.delivery;
    f->message = p->op.written.message;
    publish_free(p);
}

static void write_by(unsigned node, enum store_action action, const char *data)
{
    struct core *c = f->nodes[node].core;
    struct publish *p = publish_new(&c->env, c->app, published);
    p->op.app_id = c->app->id;
    p->op.channel = STR("ai-a");
    channel_name_check(c->app, p->op.channel, &p->name, &p->op.arena);
    p->op.write.action = action;
    p->op.write.target = f->message;
    p->op.write.event_name = action == ACTION_CREATE ? STR("ai-output") : STR_NONE;
    p->op.write.data = arena_copy(&p->op.arena, str_of(data));
    p->op.write.extras = action == ACTION_CREATE ? STR("{\"ai\":{\"transport\":{\"status\":\"streaming\"}}}") : STR_NONE;
    extras_read(p->op.write.extras, &p->op.arena, &p->extras);
    p->op.write.status = p->extras.status;
    hub_publish(&c->env, p);
    settle();
    assert_int_equal(f->result, PUBLISH_OK);
}

/* ---- what was seen ---- */

static char seen[4096];

/* The joined data of what a node's subscriber got; positions must rise without a step back. */
static const char *text_of(unsigned node)
{
    struct str rest = buf_view(&f->nodes[node].sink->got);
    uint64_t before = 0, serial;
    size_t n = 0;
    while (rest.n > 0) {
        struct str line = str_split(&rest, '\n'), data = json_get(line, STR("data"));
        if (!json_u64(json_get(line, STR("serial")), &serial))
            continue;
        assert_true(serial > before);
        before = serial;
        assert_true(n + data.n < sizeof seen);
        memcpy(seen + n, data.p + 1, data.n - 2);
        n += data.n - 2;
    }
    seen[n] = '\0';
    return seen;
}

static size_t frames_of(unsigned node)
{
    return f->nodes[node].sink->frames;
}

/* ---- tests ---- */

static void subscriber_of_one_node_hears_what_the_other_commits(void **state)
{
    attach(1, LANE_DELTA, 2);
    write_by(0, ACTION_CREATE, "\"\"");
    write_by(0, ACTION_APPEND, "\"a\"");
    assert_string_equal(text_of(1), "a");
    assert_int_equal(frames_of(1), 2);
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
    f->wanted_window = 0;
    write_by(0, ACTION_CREATE, "\"\"");
    f->cut = true;
    write_by(0, ACTION_APPEND, "\"a\"");
    write_by(0, ACTION_APPEND, "\"b\"");
    f->cut = false;
    write_by(0, ACTION_APPEND, "\"c\"");
    assert_string_equal(text_of(1), "");
    advance_ms(12);
    assert_string_equal(text_of(1), "abc");
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

static void a_lost_tail_is_found_when_the_bus_says_that_it_was_away(void **state)
{
    attach(1, LANE_DELTA, 0);
    write_by(0, ACTION_CREATE, "\"\"");
    f->cut = true;
    write_by(0, ACTION_APPEND, "\"a\"");
    f->cut = false;
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

static bool heard(unsigned node, const char *needle)
{
    return str_find(buf_view(&f->nodes[node].sink->got), str_of(needle)) >= 0;
}

static bool lists(unsigned node, const char *needle)
{
    return str_find(buf_view(&f->nodes[node].members), str_of(needle)) >= 0;
}

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

static struct query *answer;
static void answered(struct query *q)
{
    answer = q;
}

static struct query *ask(unsigned node, enum query_kind kind, const char *channel)
{
    struct core *c = f->nodes[node].core;
    struct query *q = query_new(&c->env, kind, c->app, answered);
    answer = NULL;
    q->channel = str_of(channel);
    hub_ask(&c->env, q);
    settle();
    return answer;
}

static void questions_are_answered_for_all_nodes(void **state)
{
    attach_to(0, "presence-a", "u1", LANE_DELTA, 0);
    attach_to(1, "presence-a", "u2", LANE_DELTA, 0);
    struct query *q = ask(0, QUERY_CHANNEL, "presence-a");
    assert_true(q->subscription_count == 2 && q->user_count == 2);
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
    query_free(answer);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(subscriber_of_one_node_hears_what_the_other_commits),
        T(runs_cross_the_bus_as_one_payload),
        T(two_nodes_feed_one_message),
        T(what_the_bus_loses_is_read_from_the_store),
        T(own_commits_wait_for_those_of_the_other_node),
        T(repeated_and_overtaken_payloads_change_nothing),
        T(a_run_that_overlaps_is_cut),
        T(attach_takes_the_head_of_the_store),
        T(full_subscribers_get_whole_texts_of_both),
        T(a_lost_tail_is_found_when_the_bus_says_that_it_was_away),
        T(a_lost_tail_is_found_by_comparing_heads),
        T(v1_gets_creates_only),
        T(members_of_all_nodes_are_one_list),
        T(a_user_at_two_nodes_comes_and_goes_once),
        T(members_of_a_dead_node_are_gone),
        T(what_was_missed_of_members_is_asked_for),
        T(a_word_to_a_user_reaches_him_at_any_node),
        T(questions_are_answered_for_all_nodes),
        T(a_silent_node_does_not_hold_up_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
