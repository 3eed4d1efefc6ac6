/* messages_test.c - mutations, reads, history over HTTP (chapter 2, 2.11, 2.13; chapter 3, 1.5, 1.11, 2.5
 * to 2.7).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api_fixture.h"

static char serial[SERIAL_SIZE + 1];

/* Publishes to `channel` and keeps the message's serial; `extras` is the rest of the body. */
static void create(struct fixture *f, const char *channel, const char *data, const char *rest)
{
    char body[512];
    snprintf(body, sizeof body, "{\"name\":\"note\",\"channel\":\"%s\",\"data\":\"%s\",\"info\":\"\"%s}",
             channel, data, rest);
    const char *at = strstr(post(f, "/events", body), "\"message_serial\":\"");
    assert_non_null(at);
    memcpy(serial, at + 18, SERIAL_SIZE);
    serial[SERIAL_SIZE] = '\0';
}

static const char *mutate_in(struct fixture *f, const char *channel, const char *what, const char *body)
{
    char rest[256];
    snprintf(rest, sizeof rest, "/channels/%s/messages/%s/%s", channel, serial, what);
    return post(f, rest, body);
}

static const char *mutate(struct fixture *f, const char *what, const char *body)
{
    return mutate_in(f, "chat", what, body);
}

static const char *read_message(struct fixture *f, const char *tail, const char *params)
{
    char rest[256];
    snprintf(rest, sizeof rest, "/channels/chat/messages/%s%s", serial, tail);
    return get(f, rest, params);
}

static void an_append_is_answered_with_its_positions(void **state)
{
    create(*state, "chat", "hel", "");
    const char *got = mutate(*state, "append", "{\"data\":\"lo\"}");
    assert_starts(got, "200 {\"channel\":\"chat\",\"message_serial\":\"0000");
    assert_contains(got,
                    "\",\"action\":\"append\",\"accepted\":true,\"version_serial\":\"00000000000000000002:");
    assert_contains(got, "\",\"history_serial\":1,\"delivery_serial\":2,\"status\":\"applied\"}");
    got = read_message(*state, "", "");
    assert_starts(got, "200 {\"channel\":\"chat\",\"item\":{\"event\":\"sockudo:message.append\"");
    assert_contains(got, "\"data\":\"hello\"");
    assert_null(strstr(got, "stream_id"));
}

static void body_rules_come_first(void **state)
{
    struct fixture *f = *state;
    create(f, "chat", "x", "");
    assert_contains(mutate(f, "append", "{}"), "\"status\":422}");
    assert_contains(mutate(f, "append", "{\"data\":7}"), "\"status\":422}");
    assert_contains(mutate(f, "append", "{\"data\":\"\"}"), "append request data must not be empty");
    assert_contains(mutate(f, "update", "{}"),
                    "update request must include at least one patch field or operation metadata");
    assert_contains(mutate(f, "update", "{\"data\":1,\"clear_fields\":[\"data\"]}"),
                    "update request cannot both replace and clear the same field");
    assert_contains(mutate(f, "delete", "{\"data\":1,\"clear_fields\":[\"data\"]}"),
                    "delete request cannot both");
    assert_contains(mutate(f, "delete", "{\"clear_fields\":[\"data\",\"data\"]}"),
                    "clear_fields must not contain duplicates");
    assert_contains(mutate(f, "delete", "{\"clear_fields\":[\"tags\"]}"), "\"status\":422}");
    assert_contains(mutate(f, "delete", "{\"op_id\":\"\"}"), "op_id must be 1..=64 bytes");
    assert_contains(mutate(f, "append", "{\"data\":\"y\",\"extras\":{\"ai\":7}}"), "\"status\":422}");
    assert_contains(mutate(f, "delete", "{}"), "\"action\":\"delete\"");
}

static void an_operation_id_is_applied_once(void **state)
{
    struct fixture *f = *state;
    create(f, "chat", "a", "");
    assert_contains(mutate(f, "append", "{\"data\":\"b\",\"op_id\":\"o\"}"),
                    "\"delivery_serial\":2,\"status\":\"applied\"");
    assert_contains(mutate(f, "append", "{\"data\":\"b\",\"op_id\":\"o\"}"),
                    "\"delivery_serial\":2,\"status\":\"duplicate\"");
    assert_contains(mutate(f, "append", "{\"data\":\"c\",\"op_id\":\"o\"}"),
                    "\"code\":\"invalid_input\",\"ai_code\":104006,\"status\":400}");
    assert_contains(mutate(f, "delete", "{\"op_id\":\"o\"}"), "\"delivery_serial\":3,\"status\":\"applied\"");
}

static void a_message_that_is_not_there_is_404(void **state)
{
    struct fixture *f = *state;
    create(f, "chat", "a", "");
    assert_contains(mutate_in(f, "other", "append", "{\"data\":\"b\"}"),
                    "\"code\":\"not_found\",\"status\":404}");
    memcpy(serial, "m-1", 4);
    assert_contains(mutate(f, "append", "{\"data\":\"b\"}"), "Message 'm-1' was not found in channel 'chat'");
    assert_contains(read_message(f, "", ""), "\"status\":404}");
    assert_contains(read_message(f, "/versions", ""), "\"status\":404}");
    memcpy(serial, "a%20b", 6);
    assert_contains(read_message(f, "", ""), "message_serial must not contain whitespace");
}

static void without_versions_mutations_are_refused(void **state)
{
    struct fixture *f = *state;
    create(f, "chat", "a", "");
    f->core->config->versioned.enabled = false;
    assert_contains(mutate(f, "append", "{\"data\":\"b\"}"),
                    "422 {\"error\":\"Versioned messages are disabled for channel "
                    "'chat'\",\"code\":\"feature_disabled\"");
    assert_string_equal(
        mutate_in(f, "ai-1", "append", "{\"data\":\"b\"}"),
        "403 {\"error\":\"mutations not permitted on this channel\",\"code\":\"mutable_not_permitted\","
        "\"ai_code\":93002,\"status\":403}");
}

static void a_terminal_message_takes_no_append(void **state)
{
    struct fixture *f = *state;
    create(f, "ai-1", "a", ",\"extras\":{\"ai\":{\"transport\":{\"status\":\"streaming\"}}}");
    assert_contains(
        mutate_in(f, "ai-1", "append",
                  "{\"data\":\"\",\"extras\":{\"ai\":{\"transport\":{\"status\":\"complete\"}}}}"),
        "\"status\":\"applied\"");
    assert_string_equal(
        mutate_in(f, "ai-1", "append", "{\"data\":\"b\"}"),
        "400 {\"error\":\"cannot append to a terminal message\",\"code\":\"invalid_input\",\"status\":400}");
    assert_contains(mutate_in(f, "ai-1", "append",
                              "{\"data\":\"b\",\"extras\":{\"ai\":{\"transport\":{\"nope\":\"1\"}}}}"),
                    "\"ai_code\":104000");
}

static void limits_of_ai_messages_are_413(void **state)
{
    struct fixture *f = *state;
    f->core->config->ai.max_accumulated_message_bytes = 4;
    f->core->config->ai.max_appends_per_message = 1;
    create(f, "ai-1", "abc", ",\"extras\":{\"ai\":{\"transport\":{\"status\":\"streaming\"}}}");
    assert_string_equal(
        mutate_in(f, "ai-1", "append", "{\"data\":\"de\"}"),
        "413 {\"error\":\"accumulated message content exceeds 4 bytes\",\"code\":\"payload_too_large\","
        "\"ai_code\":40009,\"status\":413}");
    assert_starts(mutate_in(f, "ai-1", "append", "{\"data\":\"d\"}"), "200 ");
    assert_contains(
        mutate_in(f, "ai-1", "append",
                  "{\"data\":\"\",\"extras\":{\"ai\":{\"transport\":{\"status\":\"complete\"}}}}"),
        "message append count exceeds 1");
}

static void versions_come_in_pages(void **state)
{
    struct fixture *f = *state;
    char params[128];
    create(f, "chat", "a", "");
    mutate(f, "append", "{\"data\":\"b\"}");
    mutate(f, "append", "{\"data\":\"c\"}");
    const char *got = read_message(f, "/versions", "limit=2");
    assert_starts(got, "200 "
                       "{\"channel\":\"chat\",\"direction\":\"newest_first\",\"limit\":2,\"has_more\":true,"
                       "\"next_cursor\":\"");
    assert_contains(got, "\"data\":\"c\"");
    snprintf(params, sizeof params, "limit=2&cursor=%.*s", SERIAL_SIZE, strstr(got, "next_cursor") + 14);
    got = read_message(f, "/versions", params);
    assert_contains(got, "\"has_more\":false,\"items\":[{\"event\":\"sockudo:message.create\"");
    got = read_message(f, "/versions", "direction=oldest_first");
    assert_contains(got, "\"limit\":100,\"has_more\":false,\"items\":[{\"event\":\"sockudo:message.create\"");
    assert_contains(read_message(f, "/versions", "limit=0"), "versions limit must be greater than 0");
    assert_contains(read_message(f, "/versions", "limit=abc"), "\"code\":\"invalid_query\",\"status\":400}");
    assert_contains(read_message(f, "/versions", "direction=forward"), "Invalid direction 'forward'");
}

/* ---- history ---- */

static void history_shows_each_message_once(void **state)
{
    struct fixture *f = *state;
    create(f, "chat", "a", "");
    mutate(f, "append", "{\"data\":\"b\"}");
    create(f, "chat", "c", "");
    const char *got = get(f, "/channels/chat/history", "direction=Forward");
    assert_starts(got, "200 {\"items\":[{\"stream_id\":\"");
    assert_contains(got, "\"serial\":1,\"published_at_ms\":176722660");
    assert_contains(got, "\"event_name\":\"sockudo:message.append\",\"operation_kind\":\"message.append\"");
    assert_contains(got, "\"data\":\"ab\"");
    assert_contains(got, "\"event_name\":\"sockudo:message.create\",\"operation_kind\":\"message.create\"");
    assert_contains(
        got,
        "],\"direction\":\"oldest_first\",\"limit\":100,\"has_more\":false,\"next_cursor\":null,"
        "\"bounds\":{\"start_serial\":null,\"end_serial\":null,\"start_time_ms\":null,\"end_time_ms\":null},"
        "\"continuity\":{\"stream_id\":\"");
    assert_contains(got, "\"oldest_available_serial\":1,\"newest_available_serial\":2,");
    assert_contains(got,
                    "\"complete\":true,\"truncated_by_retention\":false},\"stream_state\":{\"stream_id\":\"");
    assert_contains(
        got,
        "\"durable_state\":\"healthy\",\"recovery_allowed\":true,\"reset_required\":false,\"reason\":null,"
        "\"node_id\":null,\"last_transition_at_ms\":null,\"authoritative_source\":\"durable_store\","
        "\"observed_source\":\"durable_store\"}}");
}

static void an_unknown_channel_has_an_empty_complete_history(void **state)
{
    const char *got = get(*state, "/channels/nobody/history", "");
    assert_starts(got, "200 {\"items\":[],");
    assert_contains(
        got,
        "\"continuity\":{\"stream_id\":null,\"oldest_available_serial\":null,\"newest_available_serial\":"
        "null,"
        "\"oldest_available_published_at_ms\":null,\"newest_available_published_at_ms\":null,"
        "\"retained_messages\":0,\"retained_bytes\":0,\"complete\":true,\"truncated_by_retention\":false}");
    assert_starts(get(*state, "/channels/nobody/history/state", ""),
                  "200 "
                  "{\"channel\":\"nobody\",\"stream\":{\"stream_id\":null,\"next_serial\":1,\"retained\":{"
                  "\"stream_id\":null,");
}

static void a_cursor_goes_on_where_the_page_ended(void **state)
{
    struct fixture *f = *state;
    char params[1024];
    for (int i = 0; i < 3; i++)
        create(f, "chat", "x", "");
    const char *got = get(f, "/channels/chat/history", "limit=2");
    assert_contains(got, "\"serial\":3,");
    assert_contains(got, "\"has_more\":true,\"next_cursor\":\"");
    const char *cursor = strstr(got, "next_cursor") + 14;
    snprintf(params, sizeof params, "cursor=%.*s&limit=2", (int)strcspn(cursor, "\""), cursor);
    assert_contains(get(f, "/channels/other/history", params),
                    "History cursor channel does not match the request");
    got = get(f, "/channels/chat/history", params);
    assert_contains(got, "200 {\"items\":[{\"stream_id\":\"");
    assert_contains(got, "\",\"serial\":1,");
    assert_contains(got, "\"has_more\":false,\"next_cursor\":null");
    assert_contains(get(f, "/channels/chat/history", "cursor=!"), "Invalid history cursor");
}

static void history_queries_are_checked(void **state)
{
    struct fixture *f = *state;
    assert_contains(get(f, "/channels/chat/history", "limit=0"), "History limit must be greater than 0");
    assert_contains(get(f, "/channels/chat/history", "limit=abc"), "\"code\":\"invalid_query\"");
    assert_contains(get(f, "/channels/chat/history", "limit=100000"), "\"limit\":100,");
    assert_contains(
        get(f, "/channels/chat/history", "direction=up"),
        "Invalid direction 'up'. Accepted values: newest_first, oldest_first, backwards, forwards");
    assert_contains(get(f, "/channels/chat/history", "end_serial=1&start_serial=2"),
                    "start_serial must be less than or equal to end_serial");
    assert_contains(get(f, "/channels/chat/history", "end=1&start=2"),
                    "start_time_ms must be less than or equal to end_time_ms");
    assert_contains(get(f, "/channels/chat/history", "start=5&start_time_ms=-7"), "\"start_time_ms\":-7");
    f->core->config->history.enabled = false;
    assert_contains(get(f, "/channels/chat/history", ""),
                    "422 {\"error\":\"Durable history is disabled by policy for channel 'chat'\"");
}

static void bounds_are_inclusive(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++)
        create(f, "chat", "x", "");
    const char *got = get(f, "/channels/chat/history", "end_serial=2&start_serial=2");
    assert_contains(got, "\"serial\":2,\"published");
    assert_null(strstr(got, "\"serial\":3,\"published"));
    assert_starts(get(f, "/channels/chat/history", "end_serial=0"), "200 {\"items\":[],");
}

static void a_reset_forgets_and_starts_anew(void **state)
{
    struct fixture *f = *state;
    const char *order = "{\"confirm_channel\":\"chat\",\"confirm_operation\":\"reset\",\"reason\":\"test\"}";
    create(f, "chat", "x", "");
    const char *got = post(f, "/channels/chat/history/reset", order);
    assert_starts(got,
                  "200 {\"ok\":true,\"operation\":\"reset\",\"channel\":\"chat\",\"previous_stream_id\":\"");
    assert_contains(got, "\"reason\":\"test\",\"requested_by\":null,\"purged_messages\":1,\"purged_bytes\":");
    assert_contains(got, "\"stream\":{\"stream_id\":\"");
    assert_starts(get(f, "/channels/chat/history", ""), "200 {\"items\":[],");
    assert_contains(mutate(f, "append", "{\"data\":\"b\"}"), "\"status\":404}");
    create(f, "chat", "y", "");
    assert_contains(get(f, "/channels/chat/history/state", ""), "\"next_serial\":2");
}

static void a_purge_deletes_what_is_older(void **state)
{
    struct fixture *f = *state;
    create(f, "chat", "x", "");
    create(f, "chat", "y", "");
    const char *got = post(f, "/channels/chat/history/purge",
                           "{\"confirm_channel\":\"chat\",\"confirm_operation\":\"purge\",\"reason\":\"r\","
                           "\"requested_by\":\"me\","
                           "\"mode\":\"before_serial\",\"before_serial\":2}");
    assert_starts(got,
                  "200 "
                  "{\"ok\":true,\"operation\":\"purge\",\"channel\":\"chat\",\"mode\":\"before_serial\","
                  "\"before_serial\":2,"
                  "\"before_time_ms\":null,\"reason\":\"r\",\"requested_by\":\"me\",\"purged_messages\":1,");
    assert_contains(get(f, "/channels/chat/history", ""), "\"truncated_by_retention\":true");
}

static void orders_must_be_confirmed(void **state)
{
    struct fixture *f = *state;
#define ORDER(channel, operation, reason, rest)                                                              \
    "{\"confirm_channel\":\"" channel "\",\"confirm_operation\":\"" operation "\",\"reason\":\"" reason      \
    "\"" rest "}"
    const char *reset = "/channels/chat/history/reset", *purge = "/channels/chat/history/purge";
    assert_contains(post(f, reset, "{\"confirm_channel\":\"chat\",\"confirm_operation\":\"reset\"}"),
                    "\"status\":422}");
    assert_contains(post(f, reset, ORDER("chats", "reset", "r", "")),
                    "confirm_channel must exactly match the channel path");
    assert_contains(post(f, reset, ORDER("chat", "purge", "r", "")), "confirm_operation must be 'reset'");
    assert_contains(post(f, reset, ORDER("chat", "reset", " ", "")), "reason must not be empty");
    assert_contains(post(f, purge, ORDER("chat", "purge", "r", "")), "\"status\":422}");
    assert_contains(post(f, purge, ORDER("chat", "purge", "r", ",\"mode\":\"all\",\"before_serial\":1")),
                    "Purge mode 'all' does not accept bounds");
    assert_contains(post(f, purge, ORDER("chat", "purge", "r", ",\"mode\":\"before_serial\"")),
                    "Purge mode 'before_serial' requires before_serial only");
    assert_contains(post(f, purge, ORDER("chat", "purge", "r", ",\"mode\":\"some\"")), "\"status\":422}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_append_is_answered_with_its_positions),
        TEST(body_rules_come_first),
        TEST(an_operation_id_is_applied_once),
        TEST(a_message_that_is_not_there_is_404),
        TEST(without_versions_mutations_are_refused),
        TEST(a_terminal_message_takes_no_append),
        TEST(limits_of_ai_messages_are_413),
        TEST(versions_come_in_pages),
        TEST(history_shows_each_message_once),
        TEST(an_unknown_channel_has_an_empty_complete_history),
        TEST(a_cursor_goes_on_where_the_page_ended),
        TEST(history_queries_are_checked),
        TEST(bounds_are_inclusive),
        TEST(a_reset_forgets_and_starts_anew),
        TEST(a_purge_deletes_what_is_older),
        TEST(orders_must_be_confirmed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
