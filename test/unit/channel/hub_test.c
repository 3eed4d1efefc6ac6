/* hub_test.c - publishing, subscribing and leaving, through the hub's own calls, on one shard.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../support/core.h"
#include "base/mem.h"
#include "message/notice.h"
#include <stdlib.h>

struct fixture {
    struct core *core;
    struct sink *sink[3];
    struct subscription *sub[3];
    struct attached attached[3]; /* strings in it are gone; positions and codes are kept */
    struct buf presence;
    unsigned count;
    enum publish_result result;
    uint64_t delivery;
};

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->core = core_new();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < f->count; i++)
        if (f->sub[i] != NULL)
            hub_detach(&f->core->env, f->sub[i], 0);
    core_settle(f->core);
    core_free(f->core);
    for (unsigned i = 0; i < f->count; i++)
        sink_free(f->sink[i]);
    buf_free(&f->presence);
    free(f);
    return 0;
}

struct waiting {
    struct fixture *f;
    unsigned index;
};

static void remember(void *user, struct subscription *s, const struct attached *attached)
{
    struct waiting *w = user;
    w->f->attached[w->index] = *attached;
    if (attached->code != 0)
        w->f->sub[w->index] = NULL;
    buf_clear(&w->f->presence);
    if (attached->presence.p != NULL)
        buf_str(&w->f->presence, attached->presence);
    free(w);
}

static void overflow(void *user, struct subscription *s)
{
    /* No gate is limited in these tests. */
    abort();
}

static unsigned attach(struct fixture *f, const char *channel, const char *user_id)
{
    struct arena arena = {0};
    struct waiting *w = mem_new(struct waiting);
    *w = (struct waiting){f, f->count};
    struct attach_request r = {.app = f->core->app, .channel = str_of(channel), .attached = remember, .overflow = overflow,
                               .user = w, .socket = {1, f->count + 1}, .lane = lane_of(LANE_DELTA, 2)};
    assert_null(channel_name_check(f->core->app, r.channel, &r.name, &arena));
    if (user_id != NULL)
        r.member = (struct presence_member){str_of(user_id), STR("{}")};
    r.sink = f->sink[f->count] = sink_new(f->core);
    f->sub[f->count] = hub_attach(&f->core->env, &r);
    core_settle(f->core);
    arena_free(&arena);
    return f->count++;
}

static void open_gate(struct fixture *f, unsigned i)
{
    uint64_t last = 0;
    subscription_open(&f->core->env, f->sub[i], f->attached[i].head.delivery, &last);
}

static void published(struct publish *p)
{
    struct fixture *f = p->user;
    f->result = p->result;
    f->delivery = p->op.written.delivery;
    publish_free(p);
}

static void publish(struct fixture *f, const char *channel, const char *event, struct socket_id except, const char *extras)
{
    struct publish *p = publish_new(&f->core->env, f->core->app, published);
    p->user = f;
    p->op.channel = str_of(channel);
    channel_name_check(f->core->app, p->op.channel, &p->name, &p->op.arena);
    p->op.write.action = ACTION_CREATE;
    p->op.write.event_name = str_of(event);
    p->op.write.data = STR("\"x\"");
    p->op.write.extras = str_of(extras);
    p->except = except;
    extras_read(p->op.write.extras, &p->op.arena, &p->extras);
    hub_publish(&f->core->env, p);
    core_settle(f->core);
}

static bool got(struct fixture *f, unsigned i, const char *needle)
{
    return str_find(buf_view(&f->sink[i]->got), str_of(needle)) >= 0;
}

static struct buf heard;
static void hears(struct env *env, const struct notice *n)
{
    buf_fmt(&heard, "%s %.*s %.*s\n", notice_name(n->kind), STR_ARG(n->channel), STR_ARG(n->fields));
}

/* Webhooks: each stored version once, after the commit; ordinary and ephemeral messages are no versions. */
static void each_version_is_told_when_it_is_committed(void **state)
{
    struct fixture *f = *state;
    f->core->env.notice = hears;
    publish(f, "ai-a", "e", (struct socket_id){0}, "{}");
    assert_int_equal(heard.n, 0); /* nobody asked for it */
    f->core->app->notices = 1u << NOTICE_MESSAGE_VERSION_CREATED;
    publish(f, "ai-a", "e", (struct socket_id){0}, "{}");
    publish(f, "ai-a", "e", (struct socket_id){0}, "{\"ephemeral\":true}");
    assert_int_equal(f->result, PUBLISH_OK);
    buf_char(&heard, 0);
    const char *serial = strstr(heard.p, "\"message_serial\":\"00000000000000000002:");
    assert_non_null(serial);
    assert_non_null(strstr(heard.p, "\"version_serial\":\"00000000000000000002:"));
    assert_non_null(strstr(heard.p, ",\"action\":\"message.create\"\n"));
    assert_null(strstr(serial, "00000000000000000003:"));
    assert_int_equal(strncmp(heard.p, "message_version_created ai-a ", 29), 0);
    buf_free(&heard);
}

/* A subscriber must hear what comes after the position that he is told, and nothing before. */
static void live_messages_wait_in_the_gate_until_it_opens(void **state)
{
    struct fixture *f = *state;
    publish(f, "news", "before", (struct socket_id){0}, NULL);
    unsigned i = attach(f, "news", NULL);
    assert_int_equal(f->attached[i].head.delivery, 1);
    publish(f, "news", "after", (struct socket_id){0}, NULL);
    assert_int_equal(f->sink[i]->frames, 0);

    open_gate(f, i);

    assert_int_equal(f->sink[i]->frames, 1);
    assert_true(got(f, i, "\"after\""));
}

static void excluded_socket_gets_nothing(void **state)
{
    struct fixture *f = *state;
    unsigned a = attach(f, "news", NULL), b = attach(f, "news", NULL);
    open_gate(f, a);
    open_gate(f, b);

    publish(f, "news", "e", (struct socket_id){1, a + 1}, NULL);

    assert_int_equal(f->sink[a]->frames, 0);
    assert_int_equal(f->sink[b]->frames, 1);
}

static void nothing_is_delivered_after_detach(void **state)
{
    struct fixture *f = *state;
    unsigned a = attach(f, "news", NULL);
    open_gate(f, a);
    hub_detach(&f->core->env, f->sub[a], 0);
    f->sub[a] = NULL;

    publish(f, "news", "e", (struct socket_id){0}, NULL);

    assert_int_equal(f->sink[a]->frames, 0);
}

static void detach_before_the_answer_leaves_no_trace(void **state)
{
    struct fixture *f = *state;
    struct arena arena = {0};
    struct attach_request r = {.app = f->core->app, .channel = STR("news"), .attached = remember, .sink = NULL};
    channel_name_check(f->core->app, r.channel, &r.name, &arena);
    struct subscription *s = hub_attach(&f->core->env, &r);
    hub_detach(&f->core->env, s, 0);
    core_settle(f->core);

    publish(f, "news", "e", (struct socket_id){0}, NULL);

    assert_int_equal(f->result, PUBLISH_OK);
    arena_free(&arena);
}

static void ephemeral_message_takes_no_position(void **state)
{
    struct fixture *f = *state;
    unsigned a = attach(f, "news", NULL);
    open_gate(f, a);

    publish(f, "news", "typing", (struct socket_id){0}, "{\"ephemeral\":true}");
    assert_false(got(f, a, "\"serial\""));
    publish(f, "news", "real", (struct socket_id){0}, NULL);

    assert_int_equal(f->delivery, 1);
    assert_int_equal(f->sink[a]->frames, 2);
}

static void joiner_is_in_the_snapshot_and_others_hear_of_him(void **state)
{
    struct fixture *f = *state;
    unsigned a = attach(f, "presence-room", "ann");
    open_gate(f, a);

    unsigned b = attach(f, "presence-room", "bob");

    assert_true(str_find(buf_view(&f->presence), STR("\"count\":2")) >= 0);
    assert_true(got(f, a, "member_added"));
    assert_int_equal(f->sink[b]->frames, 0);
    open_gate(f, b);
    hub_detach(&f->core->env, f->sub[b], 0);
    f->sub[b] = NULL;
    core_settle(f->core);
    assert_true(got(f, a, "member_removed"));
}

static void lost_member_stays_for_the_lease(void **state)
{
    struct fixture *f = *state;
    unsigned a = attach(f, "presence-room", "ann"), b = attach(f, "presence-room", "bob");
    open_gate(f, a);
    open_gate(f, b);
    hub_detach(&f->core->env, f->sub[b], 15000);
    f->sub[b] = NULL;

    core_advance_ms(f->core, 14999);
    assert_false(got(f, a, "member_removed"));
    core_advance_ms(f->core, 2);

    assert_true(got(f, a, "member_removed"));
}

static unsigned told;

static void control(void *sink, int code, struct str reason)
{
    told += code == 4009;
}

/* Found by review: a terminate during a rewind passed over whoever was still gated. */
static void user_is_terminated_behind_a_closed_gate_too(void **state)
{
    struct fixture *f = *state;
    hub_on_control(f->core->env.hub, control);
    told = 0;
    unsigned a = attach(f, "#server-to-user-u1", NULL);
    attach(f, "#server-to-user-u1", NULL);
    open_gate(f, a);

    hub_terminate_user(&f->core->env, f->core->app, STR("u1"), 4009, STR("You got disconnected by the app."));
    core_settle(f->core);

    assert_int_equal(told, 2);
}

static void answered(struct query *q)
{
    struct fixture *f = q->user;
    f->delivery = q->kind == QUERY_CHANNELS ? q->channels_count : q->subscription_count;
    query_free(q);
}

static uint64_t ask(struct fixture *f, enum query_kind kind, const char *channel)
{
    struct query *q = query_new(&f->core->env, kind, f->core->app, answered);
    q->user = f;
    q->channel = arena_copy(&q->arena, str_of(channel));
    hub_ask(&f->core->env, q);
    core_settle(f->core);
    return f->delivery;
}

static void queries_count_who_is_there(void **state)
{
    struct fixture *f = *state;
    attach(f, "room-1", NULL);
    attach(f, "room-1", NULL);
    attach(f, "other", NULL);

    assert_int_equal(ask(f, QUERY_CHANNEL, "room-1"), 2);
    assert_int_equal(ask(f, QUERY_CHANNEL, "nobody-here"), 0);
    assert_int_equal(ask(f, QUERY_CHANNELS, ""), 2);
    assert_int_equal(ask(f, QUERY_CHANNELS, "room-"), 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(each_version_is_told_when_it_is_committed),
        T(live_messages_wait_in_the_gate_until_it_opens),
        T(excluded_socket_gets_nothing),
        T(nothing_is_delivered_after_detach),
        T(detach_before_the_answer_leaves_no_trace),
        T(ephemeral_message_takes_no_position),
        T(joiner_is_in_the_snapshot_and_others_hear_of_him),
        T(lost_member_stays_for_the_lease),
        T(user_is_terminated_behind_a_closed_gate_too),
        T(queries_count_who_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
