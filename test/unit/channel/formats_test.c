/* formats_test.c - one delivery to subscribers that read different wire formats.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "../support/core.h"
#include "base/mem.h"

enum { READERS_MAX = 8, FRAMES_MAX = 8 };

struct reader { /* what env.deliver takes here */
    struct subscription *sub;
    struct frame *frames[FRAMES_MAX];
    unsigned count, told, overflows;
    uint64_t head;
};

struct fixture {
    struct core *core;
    struct reader readers[READERS_MAX];
    unsigned count;
};

static void keep(void *sink, struct frame *frame)
{
    struct reader *r = sink;
    assert_true(r->count < FRAMES_MAX);
    r->frames[r->count++] = frame;
}

static void control(void *sink, int code, struct str reason)
{
    ((struct reader *)sink)->told++;
}

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->core = core_new();
    f->core->env.deliver = keep;
    hub_on_control(f->core->env.hub, control);
    *state = f;
    return 0;
}

static void leave(struct fixture *f, struct reader *r)
{
    if (r->sub != NULL)
        hub_detach(&f->core->env, r->sub, 0);
    r->sub = NULL;
    core_settle(f->core);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < f->count; i++)
        leave(f, &f->readers[i]);
    core_free(f->core);
    for (unsigned i = 0; i < f->count; i++)
        for (unsigned j = 0; j < f->readers[i].count; j++)
            frame_drop(f->readers[i].frames[j]);
    free(f);
    return 0;
}

static void attached(void *user, struct subscription *s, const struct attached *a)
{
    ((struct reader *)user)->head = a->head.delivery;
}

static void overflow(void *user, struct subscription *s)
{
    ((struct reader *)user)->overflows++;
}

static struct reader *attach(struct fixture *f, const char *channel, enum lane_mode mode, enum wire_format format,
                             uint64_t gate_bytes_max)
{
    struct arena arena = {0};
    struct reader *r = &f->readers[f->count];
    struct attach_request request = {.app = f->core->app, .channel = str_of(channel), .attached = attached, .overflow = overflow,
                                     .user = r, .sink = r, .socket = {1, ++f->count}, .lane = lane_of(mode, 2),
                                     .format = format, .gate_bytes_max = gate_bytes_max};
    assert_null(channel_name_check(f->core->app, request.channel, &request.name, &arena));
    r->sub = hub_attach(&f->core->env, &request);
    core_settle(f->core);
    arena_free(&arena);
    return r;
}

static void open_gate(struct fixture *f, struct reader *r)
{
    uint64_t last = 0;
    subscription_open(&f->core->env, r->sub, r->head, &last);
}

static struct reader *listen_to(struct fixture *f, const char *channel, enum lane_mode mode, enum wire_format format)
{
    struct reader *r = attach(f, channel, mode, format, 0);
    open_gate(f, r);
    return r;
}

static void published(struct publish *p)
{
    assert_int_equal(p->result, PUBLISH_OK);
    publish_free(p);
}

static void publish(struct fixture *f, const char *channel, const char *data, enum data_form form, struct socket_id except)
{
    struct publish *p = publish_new(&f->core->env, f->core->app, published);
    p->op.channel = str_of(channel);
    channel_name_check(f->core->app, p->op.channel, &p->name, &p->op.arena);
    p->op.write.action = ACTION_CREATE;
    p->op.write.event_name = STR("e");
    p->op.write.data = str_of(data);
    p->op.write.message_id = STR("given");
    p->form = form;
    p->except = except;
    p->extras.echo = -1;
    hub_publish(&f->core->env, p);
    core_settle(f->core);
}

static void say(struct fixture *f, const char *channel)
{
    publish(f, channel, "\"x\"", DATA_JSON, (struct socket_id){0});
}

static int opcode(const struct frame *frame)
{
    return frame_wire(frame).p[0] & 15;
}

/* Fan-out is the product: a conversion is paid once, however many read it. */
static void readers_of_one_format_share_one_frame(void **state)
{
    struct fixture *f = *state;
    struct reader *json = listen_to(f, "news", LANE_DELTA, FORMAT_JSON), *json_full = listen_to(f, "news", LANE_FULL, FORMAT_JSON);
    struct reader *one = listen_to(f, "news", LANE_DELTA, FORMAT_MSGPACK), *two = listen_to(f, "news", LANE_DELTA, FORMAT_MSGPACK);
    struct reader *full = listen_to(f, "news", LANE_FULL, FORMAT_MSGPACK);
    struct reader *protobuf = listen_to(f, "news", LANE_DELTA, FORMAT_PROTOBUF);
    struct reader *older = listen_to(f, "news", LANE_DELTA, FORMAT_PROTOBUF_OLDER);
    struct reader *v1 = listen_to(f, "news", LANE_V1, FORMAT_JSON);

    say(f, "news");

    for (unsigned i = 0; i < f->count; i++)
        assert_int_equal(f->readers[i].count, 1);
    assert_ptr_equal(json->frames[0], json_full->frames[0]);
    assert_ptr_equal(one->frames[0], two->frames[0]);
    assert_ptr_equal(one->frames[0], full->frames[0]);
    assert_int_equal(opcode(json->frames[0]), FRAME_TEXT);
    assert_int_equal(opcode(v1->frames[0]), FRAME_TEXT);
    assert_int_equal(opcode(one->frames[0]), FRAME_BINARY);
    assert_int_equal((unsigned char)frame_payload(one->frames[0]).p[0], 0x9f);
    assert_int_equal(frame_payload(protobuf->frames[0]).p[0], 0x0a);
    assert_ptr_not_equal(protobuf->frames[0], older->frames[0]);
    /* All references are the readers' own: none is kept. */
    assert_int_equal(atomic_load(&one->frames[0]->refs), 3);
    assert_int_equal(atomic_load(&protobuf->frames[0]->refs), 1);
}

static enum exact no_exact(void *user, struct str channel, uint64_t first, struct subscription **live)
{
    return EXACT_NONE;
}

/* Who listens to a wildcard shares it with those of the channel. */
static void a_wildcard_shares_the_frame_too(void **state)
{
    struct fixture *f = *state;
    struct reader *exact = listen_to(f, "news-1", LANE_DELTA, FORMAT_MSGPACK), *wild = &f->readers[f->count];
    struct attach_request request = {.app = f->core->app, .channel = STR("news-*"), .attached = attached, .overflow = overflow,
                                     .name = {.wildcard = true}, .exact = no_exact, .user = wild, .sink = wild, .socket = {1, ++f->count},
                                     .lane = lane_of(LANE_DELTA, 2), .format = FORMAT_MSGPACK};
    wild->sub = hub_attach(&f->core->env, &request);
    core_settle(f->core);

    say(f, "news-1");

    assert_int_equal(wild->count, 1);
    assert_ptr_equal(wild->frames[0], exact->frames[0]);
}

static void bytes_reach_binary_readers_as_bytes(void **state)
{
    struct fixture *f = *state;
    struct reader *json = listen_to(f, "news", LANE_DELTA, FORMAT_JSON), *binary = listen_to(f, "news", LANE_DELTA, FORMAT_MSGPACK);

    publish(f, "news", "[1,2]", DATA_BYTES, (struct socket_id){0});

    assert_true(str_find(frame_payload(json->frames[0]), STR("\"data\":[1,2]")) > 0);
    assert_true(str_find(frame_payload(binary->frames[0]), STR("\x92\xa6"
                                                               "binary\xc4\x02\x01\x02")) > 0);
}

/* A queue's bytes are those that will be sent: a gate that is too small for the JSON takes the smaller frame. */
static void a_closed_gate_holds_and_counts_what_will_be_sent(void **state)
{
    struct fixture *f = *state;
    struct reader *json = listen_to(f, "news", LANE_DELTA, FORMAT_JSON), *binary = listen_to(f, "news", LANE_DELTA, FORMAT_MSGPACK);
    say(f, "news");
    uint64_t bytes = frame_wire(binary->frames[0]).n;
    assert_true(bytes < frame_wire(json->frames[0]).n);
    struct reader *gated_json = attach(f, "news", LANE_DELTA, FORMAT_JSON, bytes);
    struct reader *gated = attach(f, "news", LANE_DELTA, FORMAT_MSGPACK, bytes);

    say(f, "news");

    assert_int_equal(gated_json->overflows, 1);
    assert_int_equal(gated->overflows, 0);
    assert_int_equal(gated->count, 0);
    open_gate(f, gated);
    assert_int_equal(gated->count, 1);
    assert_ptr_equal(gated->frames[0], binary->frames[1]);
    say(f, "news");
    assert_ptr_equal(gated->frames[1], binary->frames[2]);
}

/* Nobody else reads the format: a gate alone makes it. */
static void a_gated_reader_alone_gets_its_format(void **state)
{
    struct fixture *f = *state;
    struct reader *gated = attach(f, "news", LANE_DELTA, FORMAT_PROTOBUF, 0);
    say(f, "news");
    open_gate(f, gated);
    assert_int_equal(gated->count, 1);
    assert_int_equal(opcode(gated->frames[0]), FRAME_BINARY);
}

static void who_is_excluded_or_gone_gets_nothing(void **state)
{
    struct fixture *f = *state;
    struct reader *a = listen_to(f, "news", LANE_DELTA, FORMAT_MSGPACK), *b = listen_to(f, "news", LANE_DELTA, FORMAT_MSGPACK);
    struct reader *c = listen_to(f, "news", LANE_DELTA, FORMAT_MSGPACK);

    publish(f, "news", "1", DATA_JSON, (struct socket_id){1, 2});
    leave(f, a);
    say(f, "news");

    assert_int_equal(a->count, 1);
    assert_int_equal(b->count, 1);
    assert_int_equal(c->count, 2);
}

static void a_control_word_reaches_binary_readers(void **state)
{
    struct fixture *f = *state;
    struct reader *open = listen_to(f, "#server-to-user-u1", LANE_DELTA, FORMAT_PROTOBUF);
    struct reader *gated = attach(f, "#server-to-user-u1", LANE_FULL, FORMAT_MSGPACK, 0);

    hub_terminate_user(&f->core->env, f->core->app, STR("u1"), 4009, STR("You got disconnected by the app."));
    core_settle(f->core);

    assert_int_equal(open->told, 1);
    assert_int_equal(gated->told, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(readers_of_one_format_share_one_frame),
        T(a_wildcard_shares_the_frame_too),
        T(bytes_reach_binary_readers_as_bytes),
        T(a_closed_gate_holds_and_counts_what_will_be_sent),
        T(a_gated_reader_alone_gets_its_format),
        T(who_is_excluded_or_gone_gets_nothing),
        T(a_control_word_reaches_binary_readers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
