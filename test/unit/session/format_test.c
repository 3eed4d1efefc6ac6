/* format_test.c - connections that speak MessagePack and Protobuf: each frame is binary and says what a JSON client hears.
 *
 * A client's frames are read back into JSON here, so that heard() shows them like any other's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session_fixture.h"

#include "session/conversions.h"

static enum wire_format speaks[CLIENTS_MAX]; /* by index of the client */
static struct fixture *world;

static void deliver(void *to, struct frame *frame)
{
    struct client *c = to;
    enum wire_format format = speaks[c - world->clients];
    struct arena arena = {0};
    struct str json = frame_payload(frame);
    enum data_form form;
    assert_int_equal(frame_wire(frame).p[0] & 15, format == FORMAT_JSON ? FRAME_TEXT : FRAME_BINARY);
    if (format != FORMAT_JSON)
        assert_null(binary_to_json(frame_payload(frame), format, &arena, &json, &form));
    buf_str(&c->sink.got, json);
    buf_char(&c->sink.got, '\n');
    c->sink.frames++;
    frame_drop(frame);
    arena_free(&arena);
}

static int setup_formats(void **state)
{
    setup(state);
    world = *state;
    world->core->env.deliver = deliver;
    return 0;
}

static struct client *connect_in(struct fixture *f, enum wire_format format, const char *more)
{
    static const char *const queries[] = {"protocol=2", "protocol=2&format=msgpack", "protocol=2&format=protobuf",
                                          "protocol=2&format=protobuf&client=csharp"};
    char query[128];
    snprintf(query, sizeof query, "%s%s", queries[format], more);
    speaks[f->count] = format;
    return connect_from(f, query, NULL);
}

/* What is said in JSON leaves the client in its format. */
static void say(struct client *c, enum wire_format format, const char *json)
{
    struct frame *text = frame_new(FRAME_TEXT, str_of(json)), *binary = frame_convert(text, format, DATA_JSON);
    session_binary(c->session, frame_payload(binary));
    frame_drop(text);
    frame_drop(binary);
}

static void all_that_a_session_says_is_in_its_format(void **state)
{
    struct fixture *f = *state;
    for (unsigned format = FORMAT_MSGPACK; format < FORMATS; format++) {
        struct client *c = connect_in(f, format, "");
        assert_string_equal(heard(c), "connection_established");
        say(c, format, "{\"event\":\"pusher:ping\"}");
        assert_string_equal(answer(c), "pong");
        say(c, format, "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"news\"}}");
        assert_string_equal(answer(c), "subscription_succeeded(news)@0");
        say(c, format, "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"private-a\",\"auth\":\"x:y\"}}");
        assert_string_equal(answer(c), "error(private-a):4009 subscription_error(private-a)");
        say(c, format, "{\"channel\":\"c\"}");
        assert_string_equal(answer(c), "error:4000");
    }
}

static void what_cannot_be_decoded_is_4000_and_text_is_json(void **state)
{
    struct fixture *f = *state;
    struct client *c = connect_in(f, FORMAT_MSGPACK, "");
    heard(c);
    session_binary(c->session, STR("\x91\xa1"
                                   "e\xc0"));
    assert_string_equal(answer(c), "error:4000");
    assert_true(said(c, "Invalid message format: Decode failed: trailing bytes after the MessagePack value"));
    tell(c, "{\"event\":\"pusher:ping\"}");
    assert_string_equal(answer(c), "pong");
    assert_int_equal(c->close_code, 0);
}

static void binary_frames_of_a_json_connection_hold_json(void **state)
{
    struct fixture *f = *state;
    struct client *c = connect_in(f, FORMAT_JSON, "");
    heard(c);
    session_binary(c->session, STR("{\"event\":\"pusher:ping\"}"));
    assert_string_equal(answer(c), "pong");
    session_binary(c->session, STR("\x91\xac"
                                   "sockudo:ping"));
    assert_string_equal(answer(c), "error:4000");
}

static void a_refusal_at_the_door_is_in_the_format_too(void **state)
{
    struct fixture *f = *state;
    app_config(f)->max_connections = 1;
    connect_in(f, FORMAT_JSON, "");
    struct client *second = connect_in(f, FORMAT_PROTOBUF, "");
    assert_null(second->session);
    assert_string_equal(heard(second), "error:4004");
    assert_int_equal(second->close_code, 4004);
    app_config(f)->max_connections = 0;
}

static void closing_words_are_in_the_format_too(void **state)
{
    struct fixture *f = *state;
    struct client *c = connect_in(f, FORMAT_MSGPACK, "");
    heard(c);
    sessions_drain(f->sessions, 0);
    assert_string_equal(heard(c), "error:4200");
    assert_int_equal(c->close_code, 4200);
}

/* Each of the four hears the event of each. */
static void client_events_cross_the_formats(void **state)
{
    struct fixture *f = *state;
    app_config(f)->enable_client_messages = true;
    for (unsigned format = FORMAT_JSON; format < FORMATS; format++) {
        connect_in(f, format, "");
        subscribe(f, &f->clients[format], "private-room");
    }
    for (unsigned format = FORMAT_MSGPACK; format < FORMATS; format++) {
        say(&f->clients[format], format, "{\"event\":\"client-x\",\"channel\":\"private-room\",\"data\":{\"a\": [1.0,\"\\u00e9\"]}}");
        core_settle(f->core);
        for (unsigned i = 0; i < f->count; i++) {
            const char *text = heard(&f->clients[i]);
            assert_true(str_starts(str_of(text), STR("client-x(private-room)@")));
            assert_true(str_ends(str_of(text), STR("={\"a\": [1.0,\"\\u00e9\"]}")));
        }
    }
}

/* ---- what many are told ---- */

/* A thousand clients that come back are told the same: it is converted once for each format. */
static void a_shared_frame_is_converted_once_and_forgotten_soon(void **state)
{
    struct fixture *f = *state;
    struct env *env = &f->core->env;
    struct conversions *all = NULL;
    struct frame *json = frame_new(FRAME_TEXT, STR("{\"event\":\"e\"}")), *made[3];
    made[0] = conversions_take(&all, env, frame_take(json), FORMAT_MSGPACK);
    made[1] = conversions_take(&all, env, frame_take(json), FORMAT_MSGPACK);
    made[2] = conversions_take(&all, env, frame_take(json), FORMAT_PROTOBUF);
    assert_ptr_equal(made[0], made[1]);
    assert_ptr_not_equal(made[0], made[2]);
    assert_ptr_equal(conversions_take(&all, env, json, FORMAT_JSON), json);
    assert_int_equal(atomic_load(&made[0]->refs), 3);

    core_advance_ms(f->core, CONVERSIONS_MS + 1);

    assert_int_equal(atomic_load(&made[0]->refs), 2);
    assert_int_equal(atomic_load(&json->refs), 1);
    for (unsigned i = 0; i < 3; i++)
        frame_drop(made[i]);
    made[0] = conversions_take(&all, env, frame_take(json), FORMAT_MSGPACK);
    conversions_free(all);
    assert_int_equal(atomic_load(&made[0]->refs), 1);
    frame_drop(made[0]);
    frame_drop(json);
}

static void a_frame_of_ones_own_is_not_kept(void **state)
{
    struct fixture *f = *state;
    struct conversions *all = NULL;
    struct frame *made = conversions_take(&all, &f->core->env, frame_new(FRAME_TEXT, STR("{}")), FORMAT_MSGPACK);
    assert_null(all);
    assert_int_equal(atomic_load(&made->refs), 1);
    frame_drop(made);
}

static void many_shared_frames_keep_their_own_conversion(void **state)
{
    enum { MANY = 4 * CONVERSIONS_MAX };
    struct fixture *f = *state;
    struct conversions *all = NULL;
    struct frame *json[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        char text[32];
        snprintf(text, sizeof text, "{\"event\":\"%04u\"}", i);
        json[i] = frame_new(FRAME_TEXT, str_of(text));
    }
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < MANY; i++) {
            char expected[8];
            snprintf(expected, sizeof expected, "%04u", i);
            struct frame *made = conversions_take(&all, &f->core->env, frame_take(json[i]), FORMAT_MSGPACK);
            assert_true(str_find(frame_payload(made), str_of(expected)) == 2);
            frame_drop(made);
        }
    conversions_free(all);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(atomic_load(&json[i]->refs), 1);
        frame_drop(json[i]);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup_formats, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(all_that_a_session_says_is_in_its_format),
        T(what_cannot_be_decoded_is_4000_and_text_is_json),
        T(binary_frames_of_a_json_connection_hold_json),
        T(a_refusal_at_the_door_is_in_the_format_too),
        T(closing_words_are_in_the_format_too),
        T(client_events_cross_the_formats),
        T(a_shared_frame_is_converted_once_and_forgotten_soon),
        T(a_frame_of_ones_own_is_not_kept),
        T(many_shared_frames_keep_their_own_conversion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
