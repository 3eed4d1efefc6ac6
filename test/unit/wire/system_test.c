/* system_test.c - the server's own frames, byte for byte as chapter 1 shows them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit.h"

#include "wire/codes.h"
#include "wire/system.h"

static struct random chance;
static const struct wire_to v1 = {WIRE_V1, &chance}, v2 = {WIRE_V2, &chance};
static char shown[4096];

/* The text of a frame, dropped; the 36 characters of a message_id become "<id>". */
static struct str said(struct frame *f)
{
    struct str text = frame_payload(f), key = STR("\"message_id\":\"");
    size_t n = text.n;
    assert_true(n < sizeof shown);
    memcpy(shown, text.p, n);
    frame_drop(f);
    ptrdiff_t at = str_find(str_make(shown, n), key);
    if (at < 0)
        return str_make(shown, n);
    size_t id = (size_t)at + key.n;
    memcpy(shown + id, "<id>", 4);
    memmove(shown + id + 4, shown + id + 36, n - id - 36);
    return str_make(shown, n - 32);
}

static void established_has_string_data_on_both_protocols(void **state)
{
    struct socket_id id = {8274625, 99120334};
    assert_str(
        said(frame_established(v1, id, 120)),
        "{\"event\":\"pusher:connection_established\",\"data\":\"{\\\"socket_id\\\":\\\"8274625.99120334\\\","
        "\\\"activity_timeout\\\":120}\"}");
    assert_str(said(frame_established(v2, id, 30)),
               "{\"event\":\"sockudo:connection_established\",\"data\":\"{\\\"socket_id\\\":\\\"8274625."
               "99120334\\\","
               "\\\"activity_timeout\\\":30}\",\"message_id\":\"<id>\"}");
}

static void ping_and_pong_have_neither_data_nor_message_id(void **state)
{
    assert_str(said(frame_ping(WIRE_V1)), "{\"event\":\"pusher:ping\"}");
    assert_str(said(frame_pong(WIRE_V1)), "{\"event\":\"pusher:pong\"}");
    assert_str(said(frame_pong(WIRE_V2)), "{\"event\":\"sockudo:pong\"}");
}

static void an_error_has_object_data(void **state)
{
    assert_str(said(frame_error(v1, CODE_UNAUTHORIZED, STR("Authentication error: \"x\""), STR_NONE)),
               "{\"event\":\"pusher:error\",\"data\":{\"code\":4009,\"message\":\"Authentication error: "
               "\\\"x\\\"\"}}");
    assert_str(said(frame_error(v2, CODE_CHANNEL, STR("no"), STR("a"))),
               "{\"event\":\"sockudo:error\",\"channel\":\"a\",\"data\":{\"code\":4300,\"message\":\"no\"},"
               "\"message_id\":\"<id>\"}");
}

static void a_registry_code_brings_its_name(void **state)
{
    assert_str(
        said(frame_error(v1, CODE_AI_EVENT_NOT_PERMITTED, STR("AI events require protocol v2"), STR_NONE)),
        "{\"event\":\"pusher:error\",\"data\":{\"code\":104003,\"message\":\"AI events require protocol v2\","
        "\"name\":\"ai_event_not_permitted\"}}");
    assert_string_equal(wire_code_name(93002), "mutable_not_permitted");
    assert_null(wire_code_name(4009));
}

/* pusher-js and Echo's .error() listen for it on the channel. */
static void a_subscription_error_tells_its_kind_by_the_code(void **state)
{
    assert_str(said(frame_subscription_error(v1, STR("private-a"), CODE_UNAUTHORIZED, STR("m"))),
               "{\"event\":\"pusher:subscription_error\",\"channel\":\"private-a\",\"data\":{\"type\":"
               "\"AuthError\",\"error\":\"m\","
               "\"status\":401}}");
    assert_true(str_find(said(frame_subscription_error(v1, STR("a"), CODE_OVER_CAPACITY, STR("m"))),
                         STR("{\"type\":\"LimitReached\",\"error\":\"m\",\"status\":403}")) > 0);
    assert_true(str_find(said(frame_subscription_error(v2, STR("a"), CODE_CHANNEL, STR("m"))),
                         STR("{\"type\":\"SubscriptionError\",\"error\":\"m\",\"status\":400}")) > 0);
}

static void subscription_succeeded_has_string_data(void **state)
{
    struct subscribed plain = {.channel = STR("c")};
    assert_str(said(frame_subscribed(v1, &plain)),
               "{\"event\":\"pusher_internal:subscription_succeeded\",\"channel\":\"c\",\"data\":\"{}\"}");
    struct subscribed presence = {
        .channel = STR("presence-a"),
        .presence = STR("{\"ids\":[\"u1\"],\"hash\":{\"u1\":{\"name\":\"A\"}},\"count\":1}")};
    assert_str(
        said(frame_subscribed(v1, &presence)),
        "{\"event\":\"pusher_internal:subscription_succeeded\",\"channel\":\"presence-a\",\"data\":\"{"
        "\\\"presence\\\":{"
        "\\\"ids\\\":[\\\"u1\\\"],\\\"hash\\\":{\\\"u1\\\":{\\\"name\\\":\\\"A\\\"}},\\\"count\\\":1}}\"}");
}

/* Chapter 3, 5.1. */
static void the_v2_acknowledgement_carries_attach_serial_and_position(void **state)
{
    struct subscribed s = {.channel = STR("chat"),
                           .has_attach_serial = true,
                           .attach_serial = 12,
                           .stream_id = STR("S"),
                           .serial = 43};
    assert_str(said(frame_subscribed(v2, &s)), "{\"event\":\"sockudo_internal:subscription_succeeded\","
                                               "\"channel\":\"chat\",\"data\":\"{\\\"attach_serial\\\":12}\","
                                               "\"message_id\":\"<id>\",\"stream_id\":\"S\",\"serial\":43}");
    s.serial = s.attach_serial = 0;
    s.presence = STR("{}");
    assert_str(said(frame_subscribed(v2, &s)),
               "{\"event\":\"sockudo_internal:subscription_succeeded\",\"channel\":\"chat\",\"data\":\"{"
               "\\\"presence\\\":{},"
               "\\\"attach_serial\\\":0}\",\"message_id\":\"<id>\",\"stream_id\":\"S\",\"serial\":0}");
    s.presence = STR_NONE;
    assert_str(said(frame_subscribed(v1, &s)),
               "{\"event\":\"pusher_internal:subscription_succeeded\",\"channel\":\"chat\",\"data\":\"{}\"}");
}

static void internal_events_carry_their_object_as_a_string(void **state)
{
    assert_str(said(frame_internal(v1, STR("member_added"), STR("presence-a"),
                                   STR("{\"user_id\":\"u1\",\"user_info\":{}}"))),
               "{\"event\":\"pusher_internal:member_added\",\"channel\":\"presence-a\","
               "\"data\":\"{\\\"user_id\\\":\\\"u1\\\",\\\"user_info\\\":{}}\"}");
}

static void watchlist_and_meta_events_carry_an_object(void **state)
{
    assert_str(said(frame_internal_object(v1, STR("watchlist_events"), STR_NONE, STR("{\"events\":[]}"))),
               "{\"event\":\"pusher_internal:watchlist_events\",\"data\":{\"events\":[]}}");
}

static void own_events_take_object_or_string_data_and_a_position(void **state)
{
    assert_str(
        said(frame_own(v1, STR("signin_success"), STR_NONE, STR("{\"user_data\":\"{}\"}"), STR_NONE, 0)),
        "{\"event\":\"pusher:signin_success\",\"data\":{\"user_data\":\"{}\"}}");
    assert_str(said(frame_own(v2, STR("rewind_complete"), STR("c"), STR("{\"live_count\":0}"), STR("S"), 44)),
               "{\"event\":\"sockudo:rewind_complete\",\"channel\":\"c\",\"data\":{\"live_count\":0},"
               "\"message_id\":\"<id>\","
               "\"stream_id\":\"S\",\"serial\":44}");
    assert_str(said(frame_own_string(v1, STR("cache_miss"), STR("cache-a"), STR("{}"))),
               "{\"event\":\"pusher:cache_miss\",\"channel\":\"cache-a\",\"data\":\"{}\"}");
}

static void a_socket_id_survives_printing_and_parsing(void **state)
{
    struct socket_id id = {SOCKET_ID_PART_MAX, 0}, back;
    char text[SOCKET_ID_TEXT];
    socket_id_print(text, id);
    assert_string_equal(text, "10000000000.0");
    assert_true(socket_id_parse(str_of(text), &back));
    assert_true(socket_id_eq(id, back));
}

static void what_is_no_socket_id_is_refused(void **state)
{
    static const char *const wrong[] = {"",     "1",      ".",    "1.",   ".1",  "1.2.3",
                                        "a.1",  "1.-2",   "01.2", "1.02", "0.0", "10000000001.1",
                                        " 1.2", "garbage"};
    struct socket_id id;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(socket_id_parse(str_of(wrong[i]), &id));
    assert_false(socket_id_parse(STR_NONE, &id));
}

int main(void)
{
    random_from_seed(&chance, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(established_has_string_data_on_both_protocols),
        cmocka_unit_test(ping_and_pong_have_neither_data_nor_message_id),
        cmocka_unit_test(an_error_has_object_data),
        cmocka_unit_test(a_registry_code_brings_its_name),
        cmocka_unit_test(a_subscription_error_tells_its_kind_by_the_code),
        cmocka_unit_test(subscription_succeeded_has_string_data),
        cmocka_unit_test(the_v2_acknowledgement_carries_attach_serial_and_position),
        cmocka_unit_test(internal_events_carry_their_object_as_a_string),
        cmocka_unit_test(watchlist_and_meta_events_carry_an_object),
        cmocka_unit_test(own_events_take_object_or_string_data_and_a_position),
        cmocka_unit_test(a_socket_id_survives_printing_and_parsing),
        cmocka_unit_test(what_is_no_socket_id_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
