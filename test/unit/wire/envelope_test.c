/* envelope_test.c - the frames of chapter 1, section 7 and chapter 3, 1.4, byte for byte.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit.h"

#include "wire/envelope.h"

static char shown[1 << 17];

/* The payload of a frame, after checking that header and payload agree. */
static struct str encoded(const struct envelope *e, enum wire_protocol protocol)
{
    struct buf json = {0};
    struct frame *f = envelope_frame(e, protocol), *same = frame_new(FRAME_TEXT, frame_payload(f));
    assert_true(str_eq(frame_wire(f), frame_wire(same)));
    envelope_json(&json, e, protocol);
    assert_true(str_eq(buf_view(&json), frame_payload(f)));
    struct str payload = frame_payload(f);
    assert_true(payload.n < sizeof shown);
    memcpy(shown, payload.p, payload.n);
    frame_drop(f);
    frame_drop(same);
    buf_free(&json);
    return str_make(shown, payload.n);
}

static const struct envelope order = {
    .event = STR("order.created"),
    .channel = STR("orders"),
    .data = STR("\"{\\\"id\\\":7}\""),
    .tags = STR("{\"region\":\"eu\"}"),
    .message_id = STR("u-u-i-d"),
    .stream_id = STR("s1"),
    .serial = 42,
    .extras = STR("{\"headers\":{\"tenant\":\"a\"}}"),
};

/* Chapter 1, 7.3. */
static void v2_gets_every_field_in_the_specified_order(void **state)
{
    assert_str(encoded(&order, WIRE_V2), "{\"event\":\"order.created\",\"channel\":\"orders\",\"data\":\"{"
                                         "\\\"id\\\":7}\",\"tags\":{\"region\":\"eu\"},"
                                         "\"message_id\":\"u-u-i-d\",\"stream_id\":\"s1\",\"serial\":42,"
                                         "\"extras\":{\"headers\":{\"tenant\":\"a\"}}}");
}

/* Chapter 1, 7.2 and 13.29: Pusher clients see what they always saw. */
static void v1_gets_event_channel_and_data_only(void **state)
{
    assert_str(encoded(&order, WIRE_V1),
               "{\"event\":\"order.created\",\"channel\":\"orders\",\"data\":\"{\\\"id\\\":7}\"}");
}

static void v1_gets_name_and_user_id_when_they_are_set(void **state)
{
    struct envelope e = {.event = STR("client-typing"),
                         .channel = STR("presence-a"),
                         .data = STR("{\"x\": 1}"),
                         .name = STR("n"),
                         .user_id = STR("u1"),
                         .message_id = STR("m")};
    assert_str(encoded(&e, WIRE_V1),
               "{\"event\":\"client-typing\",\"channel\":\"presence-a\",\"data\":{\"x\": 1},"
               "\"name\":\"n\",\"user_id\":\"u1\"}");
}

/* Chapter 3, 1.4: a create keeps its event name and its message_id. */
static void a_create_carries_the_five_runtime_headers_first(void **state)
{
    struct runtime_headers h = {ACTION_CREATE, {41, 12, 0x9f3c01ab}, 41, 1767225600000};
    struct envelope e = {.event = STR("ai-output"),
                         .channel = STR("chat"),
                         .data = STR("\"\""),
                         .message_id = STR("m-1"),
                         .stream_id = STR("S"),
                         .serial = 41,
                         .headers = &h,
                         .extras =
                             STR("{\"ai\":{\"transport\":{\"run-id\":\"r1\",\"status\":\"streaming\"}}}")};
    assert_str(encoded(&e, WIRE_V2),
               "{\"event\":\"ai-output\",\"channel\":\"chat\",\"data\":\"\",\"message_id\":\"m-1\",\"stream_"
               "id\":\"S\",\"serial\":41,"
               "\"extras\":{\"headers\":{\"sockudo_action\":\"message.create\","
               "\"sockudo_message_serial\":\"00000000000000000041:9f3c01ab:00000000000000000012\","
               "\"sockudo_version_serial\":\"00000000000000000041:9f3c01ab:00000000000000000012\","
               "\"sockudo_history_serial\":12,\"sockudo_version_timestamp_ms\":1767225600000},"
               "\"ai\":{\"transport\":{\"run-id\":\"r1\",\"status\":\"streaming\"}}}}");
}

static const struct runtime_headers appended = {ACTION_APPEND, {41, 12, 0x9f3c01ab}, 43, 1767225600120};
#define APPENDED_HEADERS                                                                                     \
    "\"sockudo_action\":\"message.append\",\"sockudo_message_serial\":"                                      \
    "\"00000000000000000041:9f3c01ab:00000000000000000012\",\"sockudo_version_serial\":"                     \
    "\"00000000000000000043:9f3c01ab:00000000000000000012\",\"sockudo_history_serial\":12,"                  \
    "\"sockudo_version_timestamp_ms\":1767225600120"

static void an_append_carries_its_fragment_and_the_message_name(void **state)
{
    struct envelope e = {.event = action_event(ACTION_APPEND),
                         .channel = STR("chat"),
                         .name = STR("ai-output"),
                         .data_body = STR(" wor\\nld"),
                         .message_id = STR("V3"),
                         .stream_id = STR("S"),
                         .serial = 43,
                         .headers = &appended,
                         .extras = STR("{\"ai\":{\"transport\":{\"status\":\"complete\"}}}")};
    assert_str(
        encoded(&e, WIRE_V2),
        "{\"event\":\"sockudo:message.append\",\"channel\":\"chat\",\"data\":\" "
        "wor\\nld\",\"name\":\"ai-output\","
        "\"message_id\":\"V3\",\"stream_id\":\"S\",\"serial\":43,\"extras\":{\"headers\":{" APPENDED_HEADERS
        "},\"ai\":{\"transport\":{\"status\":\"complete\"}}}}");
}

static struct str extras_shown(const char *extras, const struct runtime_headers *headers, unsigned strip)
{
    struct envelope e = {.event = STR("e"), .extras = str_of(extras), .headers = headers, .strip = strip};
    return str_from(encoded(&e, WIRE_V2), sizeof "{\"event\":\"e\"" - 1);
}

static void headers_are_inserted_when_there_are_no_extras(void **state)
{
    assert_str(extras_shown(NULL, &appended, 0), ",\"extras\":{\"headers\":{" APPENDED_HEADERS "}}}");
    assert_str(extras_shown("{ }", &appended, 0), ",\"extras\":{\"headers\":{" APPENDED_HEADERS "}}}");
}

static void user_headers_stay_beside_the_runtime_headers(void **state)
{
    assert_str(extras_shown("{\"push\":[1, 2],\"headers\":{\"tenant\":\"a\",\"n\":1.50}}", &appended, 0),
               ",\"extras\":{\"headers\":{" APPENDED_HEADERS
               ",\"tenant\":\"a\",\"n\":1.50},\"push\":[1, 2]}}");
}

/* A publisher must not be able to pose as the server. */
static void reserved_header_names_of_the_publisher_are_dropped(void **state)
{
    assert_str(
        extras_shown("{\"headers\":{\"sockudo_action\":\"x\",\"a\":1,\"sockudo_append_fragment\":\"f\","
                     "\"sockudo\\u005fversion_serial\":\"y\",\"sockudo_actions\":true}}",
                     &appended, 0),
        ",\"extras\":{\"headers\":{" APPENDED_HEADERS ",\"a\":1,\"sockudo_actions\":true}}}");
    assert_str(extras_shown("{\"headers\":{\"sockudo_action\":\"x\",\"a\":1}}", NULL, 0),
               ",\"extras\":{\"headers\":{\"a\":1}}}");
}

static void the_idempotency_key_never_reaches_a_client(void **state)
{
    assert_str(extras_shown("{\"idempotencyKey\":\"k\",\"echo\":false}", NULL, 0),
               ",\"extras\":{\"echo\":false}}");
    assert_str(extras_shown("{\"idempotency_key\":\"k\"}", NULL, 0), "}");
    assert_str(extras_shown("{\"idempotency\\u004bey\":\"k\",\"a\":{ \"b\" : 1e3 }}", NULL, 0),
               ",\"extras\":{\"a\":{ \"b\" : 1e3 }}}");
    assert_str(extras_shown("{\"idempotencyKey\":\"k\"}", &appended, 0),
               ",\"extras\":{\"headers\":{" APPENDED_HEADERS "}}}");
}

static void unknown_members_pass_byte_for_byte(void **state)
{
    assert_str(extras_shown("{\"z\":\"\\u0041\",\"q\":[ 1,\t2.0 ],\"q\":null}", NULL, 0),
               ",\"extras\":{\"z\":\"\\u0041\",\"q\":[ 1,\t2.0 ],\"q\":null}}");
}

static void ephemeral_and_echo_leave_when_their_feature_is_off(void **state)
{
    const char *both = "{\"ephemeral\":true,\"a\":1,\"echo\":false}";
    assert_str(extras_shown(both, NULL, 0), ",\"extras\":{\"ephemeral\":true,\"a\":1,\"echo\":false}}");
    assert_str(extras_shown(both, NULL, STRIP_EPHEMERAL), ",\"extras\":{\"a\":1,\"echo\":false}}");
    assert_str(extras_shown(both, NULL, STRIP_EPHEMERAL | STRIP_ECHO), ",\"extras\":{\"a\":1}}");
}

/* Chapter 1, 1.4: the family of the receiver, whoever sent it. */
static void prefixed_events_move_to_the_family_of_the_receiver(void **state)
{
    static const struct {
        const char *event, *v1, *v2;
    } cases[] = {
        {"pusher:x", "{\"event\":\"pusher:x\"}", "{\"event\":\"sockudo:x\"}"},
        {"sockudo:x", "{\"event\":\"pusher:x\"}", "{\"event\":\"sockudo:x\"}"},
        {"pusher_internal:x", "{\"event\":\"pusher_internal:x\"}", "{\"event\":\"sockudo_internal:x\"}"},
        {"sockudo_internal:", "{\"event\":\"pusher_internal:\"}", "{\"event\":\"sockudo_internal:\"}"},
        {"pusherx:x", "{\"event\":\"pusherx:x\"}", "{\"event\":\"pusherx:x\"}"},
        {"sockudo", "{\"event\":\"sockudo\"}", "{\"event\":\"sockudo\"}"},
        {"App\\Event.\"q\"\n\x01", "{\"event\":\"App\\\\Event.\\\"q\\\"\\n\\u0001\"}",
         "{\"event\":\"App\\\\Event.\\\"q\\\"\\n\\u0001\"}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct envelope e = {.event = str_of(cases[i].event)};
        unit_assert_str(encoded(&e, WIRE_V1), str_of(cases[i].v1), __FILE__, __LINE__);
        unit_assert_str(encoded(&e, WIRE_V2), str_of(cases[i].v2), __FILE__, __LINE__);
    }
}

/* A wrong bound would write beyond the frame: all bytes special, at every length around a word. */
static void escapes_fit_into_the_frame_at_any_length(void **state)
{
    char text[40];
    memset(text, 1, sizeof text);
    for (size_t n = 0; n <= sizeof text; n++) {
        struct str s = {text, n};
        struct envelope e = {.event = s,
                             .channel = s,
                             .name = s,
                             .user_id = s,
                             .message_id = s,
                             .stream_id = s,
                             .serial = UINT64_MAX,
                             .headers = &appended,
                             .data = STR("null"),
                             .tags = STR("{}")};
        assert_true(encoded(&e, WIRE_V2).n > 6 * 6 * n);
    }
}

static void large_payloads_get_the_longer_headers(void **state)
{
    static char text[70000];
    memset(text, 'x', sizeof text);
    for (size_t n = 100; n <= sizeof text; n += n < 200 ? 1 : 23267) {
        struct envelope e = {.event = STR("e"), .data_body = {text, n}};
        assert_int_equal(encoded(&e, WIRE_V1).n, n + sizeof "{\"event\":\"e\",\"data\":\"\"}" - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v2_gets_every_field_in_the_specified_order),
        cmocka_unit_test(v1_gets_event_channel_and_data_only),
        cmocka_unit_test(v1_gets_name_and_user_id_when_they_are_set),
        cmocka_unit_test(a_create_carries_the_five_runtime_headers_first),
        cmocka_unit_test(an_append_carries_its_fragment_and_the_message_name),
        cmocka_unit_test(headers_are_inserted_when_there_are_no_extras),
        cmocka_unit_test(user_headers_stay_beside_the_runtime_headers),
        cmocka_unit_test(reserved_header_names_of_the_publisher_are_dropped),
        cmocka_unit_test(the_idempotency_key_never_reaches_a_client),
        cmocka_unit_test(unknown_members_pass_byte_for_byte),
        cmocka_unit_test(ephemeral_and_echo_leave_when_their_feature_is_off),
        cmocka_unit_test(prefixed_events_move_to_the_family_of_the_receiver),
        cmocka_unit_test(escapes_fit_into_the_frame_at_any_length),
        cmocka_unit_test(large_payloads_get_the_longer_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
