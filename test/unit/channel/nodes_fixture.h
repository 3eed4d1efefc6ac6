/* nodes_fixture.h - two nodes on one store, with a bus between them that a test may cut, hold back, repeat (design, "Cluster").
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdlib.h>

#include "../support/core.h"
#include "ai/streams_internal.h"
#include "base/json.h"
#include "base/mem.h"

enum { NODES = 2, WIRE_MAX = 256, TOPICS = 64 };

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
    unsigned attached;  /* how often */
    uint64_t attached_at;
    struct buf members; /* as the acknowledgement showed them */
    bool listens[TOPICS];
};
struct fixture {
    struct node nodes[NODES], other; /* other: a second subscriber of one of them */
    struct payload wire[WIRE_MAX];
    unsigned sent, wanted_window;
    struct socket_id except; /* left out by write_by(); 0 = nobody */
    bool cut, hold, alone;
    struct message_id message;
    uint64_t delivery;
    enum publish_result result;
};
static struct fixture *f;

/* ---- the bus ---- */

static inline unsigned node_of(const struct env *env)
{
    return env == &f->nodes[0].core->env ? 0 : 1;
}

static inline int wanted(struct env *env, unsigned topic)
{
    return f->nodes[1 - node_of(env)].listens[topic] ? (int)f->wanted_window : BUS_NOBODY;
}

static inline void travels(struct env *env, enum route route, unsigned topic, struct str payload)
{
    if (f->cut)
        return;
    assert_true(f->sent < WIRE_MAX);
    struct payload *p = &f->wire[f->sent++];
    *p = (struct payload){.route = route, .from = node_of(env), .topic = topic};
    buf_str(&p->bytes, payload);
}

static inline void bus_publishes(struct env *env, unsigned topic, struct str payload)
{
    travels(env, TO_TOPIC, topic, payload);
}

static inline void bus_sends(struct env *env, struct str node, struct str payload)
{
    travels(env, TO_NODE, 0, payload);
}

static inline size_t bus_peers(struct env *env)
{
    return f->alone ? 0 : 1;
}

static inline void bus_listen(struct env *env, unsigned topic, unsigned window)
{
    struct payload *p = &f->wire[f->sent++];
    f->nodes[node_of(env)].listens[topic] = true;
    *p = (struct payload){.route = LISTENING, .from = node_of(env), .topic = topic};
}

static inline void bus_leave(struct env *env, unsigned topic)
{
    f->nodes[node_of(env)].listens[topic] = false;
}

static inline struct str bus_self(struct env *env)
{
    return node_of(env) == 0 ? STR("node-a") : STR("node-b");
}

static const struct env_bus bus = {TOPICS, wanted, bus_publishes, bus_listen, bus_leave, bus_peers, bus_sends, bus_self};

static inline void arrive(struct payload *p)
{
    static const struct str names[] = {STR("node-a"), STR("node-b")};
    struct env *other = &f->nodes[1 - p->from].core->env;
    if (p->route == LISTENING)
        hub_listening(&f->nodes[p->from].core->env, p->topic);
    else if (p->route == TO_TOPIC && !f->nodes[1 - p->from].listens[p->topic])
        return;
    else if (p->route == TO_TOPIC)
        hub_published(other, names[p->from], p->topic, buf_view(&p->bytes));
    else
        hub_received(other, names[p->from], buf_view(&p->bytes));
}

static inline void forget(struct payload *p)
{
    buf_free(&p->bytes);
    *p = (struct payload){0};
}

/* Completions of both nodes come by the first, which has the store. */
static inline void settle(void)
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

static inline void advance_ms(unsigned ms)
{
    while (ms-- > 0) {
        for (unsigned i = 0; i < NODES; i++)
            core_advance_ms(f->nodes[i].core, 1);
        settle();
    }
}

/* ---- what a test does ---- */

static inline void attached(void *user, struct subscription *s, const struct attached *a)
{
    struct node *n = user;
    uint64_t last = 0;
    assert_int_equal(a->code, 0);
    n->attached_at = a->head.delivery;
    n->attached++;
    buf_clear(&n->members);
    if (a->presence.p != NULL)
        buf_str(&n->members, a->presence);
    subscription_open(&n->core->env, s, a->head.delivery, &last);
}

static inline void overflow(void *user, struct subscription *s)
{
    abort();
}

static inline enum exact has_no_other(void *user, struct str channel, uint64_t first, struct subscription **live)
{
    return EXACT_NONE;
}

static inline void attach_as(struct node *n, const char *channel, const char *user, enum lane_mode mode, unsigned window)
{
    struct arena arena = {0};
    struct attach_request r = {.app = n->core->app, .channel = str_of(channel), .member = {user ? str_of(user) : STR_NONE, STR("{}")}, .attached = attached, .exact = has_no_other, .overflow = overflow, .user = n,
                               .sink = n->sink, .socket = {1, (uint64_t)(n - f->nodes) + 1}, .lane = lane_of(mode, window)};
    assert_null(subscription_name_check(n->core->app, r.channel, &r.name, &arena));
    n->sub = hub_attach(&n->core->env, &r);
    settle();
    arena_free(&arena);
}

static inline void attach_to(unsigned node, const char *channel, const char *user, enum lane_mode mode, unsigned window)
{
    attach_as(&f->nodes[node], channel, user, mode, window);
}

/* Beside the first subscriber of that node. */
static inline void attach_other(unsigned node, const char *channel, enum lane_mode mode, unsigned window)
{
    f->other.core = f->nodes[node].core;
    f->other.sink = sink_new(f->other.core);
    attach_as(&f->other, channel, NULL, mode, window);
}

static inline void attach(unsigned node, enum lane_mode mode, unsigned window)
{
    attach_to(node, "ai-a", NULL, mode, window);
}

static inline void detach_as(struct node *n)
{
    hub_detach(&n->core->env, n->sub, 0);
    n->sub = NULL;
    settle();
}

static inline void detach(unsigned node)
{
    detach_as(&f->nodes[node]);
}

static inline int setup(void **state)
{
    f = mem_new(struct fixture);
    f->wanted_window = 2;
    f->nodes[0].core = core_new();
    f->nodes[1].core = core_beside(f->nodes[0].core);
    for (unsigned i = 0; i < NODES; i++) {
        f->nodes[i].core->env.bus = &bus;
        f->nodes[i].core->env.streams->shared = true;
        f->nodes[i].sink = sink_new(f->nodes[i].core);
    }
    return 0;
}

static inline int teardown(void **state)
{
    f->hold = f->cut = false;
    if (f->other.sub != NULL)
        detach_as(&f->other);
    if (f->other.sink != NULL)
        sink_free(f->other.sink);
    buf_free(&f->other.members);
    for (unsigned i = 0; i < NODES; i++)
        if (f->nodes[i].sub != NULL)
            hub_detach(&f->nodes[i].core->env, f->nodes[i].sub, 0);
    settle();
    f->cut = true; /* what leaves now has nobody to hear it */
    core_free(f->nodes[1].core);
    core_free(f->nodes[0].core);
    for (unsigned i = 0; i < NODES; i++)
        buf_free(&f->nodes[i].members), sink_free(f->nodes[i].sink);
    free(f);
    return 0;
}

static inline void published(struct publish *p)
{
    f->result = p->result;
    f->delivery = p->op.written.delivery;
    f->message = p->op.written.message;
    publish_free(p);
}

static inline void write_to(unsigned node, const char *channel, enum store_action action, const char *data)
{
    struct core *c = f->nodes[node].core;
    struct publish *p = publish_new(&c->env, c->app, published);
    p->op.app_id = c->app->id;
    p->except = f->except;
    p->op.channel = arena_copy(&p->op.arena, str_of(channel));
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

static inline void write_by(unsigned node, enum store_action action, const char *data)
{
    write_to(node, "ai-a", action, data);
}

/* An append that the other node does not hear of. */
static inline void append_unheard(unsigned node, const char *data)
{
    f->cut = true;
    write_by(node, ACTION_APPEND, data);
    f->cut = false;
}

/* Of a stream of the first node the other one hears the create and "c", not "a" and "b". */
static inline void lose_a_and_b(void)
{
    f->wanted_window = 0;
    write_by(0, ACTION_CREATE, "\"\"");
    append_unheard(0, "\"a\"");
    append_unheard(0, "\"b\"");
    write_by(0, ACTION_APPEND, "\"c\"");
}

/* ---- what was seen ---- */

static char seen[4096];

/* The joined data of what a node's subscriber got; positions must rise without a step back. */
static inline const char *text_as(const struct node *node)
{
    struct str rest = buf_view(&node->sink->got);
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

static inline const char *text_of(unsigned node)
{
    return text_as(&f->nodes[node]);
}

static inline size_t frames_of(unsigned node)
{
    return f->nodes[node].sink->frames;
}

static inline bool heard(unsigned node, const char *needle)
{
    return str_find(buf_view(&f->nodes[node].sink->got), str_of(needle)) >= 0;
}

static inline bool lists(unsigned node, const char *needle)
{
    return str_find(buf_view(&f->nodes[node].members), str_of(needle)) >= 0;
}

static struct query *answer;
static inline void answered(struct query *q)
{
    answer = q;
}

static inline struct query *ask(unsigned node, enum query_kind kind, const char *channel)
{
    struct core *c = f->nodes[node].core;
    struct query *q = query_new(&c->env, kind, c->app, answered);
    answer = NULL;
    q->channel = str_of(channel);
    hub_ask(&c->env, q);
    settle();
    return answer;
}
