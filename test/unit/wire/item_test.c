/* item_test.c - stored items as replays, snapshots and read items (chapter 3, 1.4).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit.h"

#include "wire/envelope.h"

static struct arena arena;
static struct buf out;

static int forget(void **state)
{
    arena_free(&arena);
    buf_free(&out);
    return 0;
}

#define M "00000000000000000041:9f3c01ab:00000000000000000012"
#define V3 "00000000000000000043:9f3c01ab:00000000000000000012"
#define HEADERS(action, version)                                                                             \
    "{\"sockudo_action\":\"message." action "\",\"sockudo_message_serial\":\"" M                             \
    "\",\"sockudo_version_serial\":\"" version                                                               \
    "\",\"sockudo_history_serial\":12,\"sockudo_version_timestamp_ms\":1767225600120}"

static struct store_item item(enum store_action action, uint64_t delivery)
{
    return (struct store_item){
        .message = {41, 12, 0x9f3c01ab},
        .delivery = delivery,
        .action = action,
        .version_at_ms = 1767225600120,
        .event_name = STR("ai-output"),
        .data = STR("\"hello world\""),
        .extras = STR("{\"ai\":{\"transport\":{\"status\":\"complete\"}}}"),
        .message_id = STR("m-1"),
        .mutated = action != ACTION_CREATE && action != ACTION_ORDINARY,
    };
}

static struct str replayed(struct store_item i)
{
    struct envelope e;
    struct runtime_headers h;
    buf_clear(&out);
    envelope_of_item(&e, &h, &i, STR("chat"), STR("S"), &arena);
    envelope_json(&out, &e, WIRE_V2);
    return buf_view(&out);
}

static struct str snapshot(struct store_item i)
{
    struct envelope e;
    struct runtime_headers h;
    buf_clear(&out);
    envelope_of_snapshot(&e, &h, &i, STR("chat"), STR("S"), STR("fresh"), &arena);
    envelope_json(&out, &e, WIRE_V2);
    return buf_view(&out);
}

static struct str read_item(struct store_item i, struct str stream_id, bool aggregate)
{
    buf_clear(&out);
    read_item_json(&out, &i, STR("chat"), stream_id, aggregate);
    return buf_view(&out);
}

#define EXTRAS(action, version)                                                                              \
    "\"extras\":{\"headers\":" HEADERS(action, version) ",\"ai\":{\"transport\":{\"status\":\"complete\"}}}"

/* Bound handlers must see a replayed create under its own name. */
static void a_replayed_create_keeps_its_event_name_and_id(void **state)
{
    assert_str(replayed(item(ACTION_CREATE, 41)),
               "{\"event\":\"ai-output\",\"channel\":\"chat\",\"data\":\"hello "
               "world\",\"message_id\":\"m-1\",\"stream_id\":\"S\","
               "\"serial\":41," EXTRAS("create", M) "}");
}

/* SDKs drop repeated ids: each version needs its own. */
static void a_replayed_append_carries_its_version_serial_as_message_id(void **state)
{
    assert_str(replayed(item(ACTION_APPEND, 43)),
               "{\"event\":\"sockudo:message.append\",\"channel\":\"chat\",\"data\":\"hello "
               "world\",\"name\":\"ai-output\","
               "\"message_id\":\"" V3 "\",\"stream_id\":\"S\",\"serial\":43," EXTRAS("append", V3) "}");
}

static void an_ordinary_message_is_replayed_without_runtime_headers(void **state)
{
    struct store_item plain = item(ACTION_ORDINARY, 44);
    plain.extras = STR_NONE;
    plain.client_id = STR("u1");
    assert_str(replayed(plain),
               "{\"event\":\"ai-output\",\"channel\":\"chat\",\"data\":\"hello world\",\"user_id\":\"u1\","
               "\"message_id\":\"m-1\",\"stream_id\":\"S\",\"serial\":44}");
}

static void a_snapshot_shows_an_appended_message_as_an_update(void **state)
{
    assert_str(snapshot(item(ACTION_APPEND, 43)),
               "{\"event\":\"sockudo:message.update\",\"channel\":\"chat\",\"data\":\"hello "
               "world\",\"name\":\"ai-output\","
               "\"message_id\":\"fresh\",\"stream_id\":\"S\",\"serial\":43," EXTRAS("update", V3) "}");
}

static void a_snapshot_of_a_create_is_its_live_shape(void **state)
{
    char live[1024];
    struct str text = replayed(item(ACTION_CREATE, 41));
    memcpy(live, text.p, text.n);
    assert_true(str_eq(snapshot(item(ACTION_CREATE, 41)), str_make(live, text.n)));
}

/* A deleted message must not come back to life by rewinding. */
static void a_snapshot_of_a_deleted_message_says_delete(void **state)
{
    struct store_item gone = item(ACTION_DELETE, 43);
    gone.data = STR_NONE;
    assert_str(snapshot(gone),
               "{\"event\":\"sockudo:message.delete\",\"channel\":\"chat\",\"name\":\"ai-output\","
               "\"message_id\":\"fresh\",\"stream_id\":\"S\",\"serial\":43," EXTRAS("delete", V3) "}");
}

static void an_aggregate_read_item_says_update_in_its_header_only(void **state)
{
    struct store_item i = item(ACTION_APPEND, 43);
    i.client_id = STR("u1");
    i.description = STR("why \"so\"");
    i.metadata = STR("{\"k\": 1}");
    assert_str(
        read_item(i, STR_NONE, true),
        "{\"event\":\"sockudo:message.append\",\"channel\":\"chat\",\"data\":\"hello "
        "world\",\"name\":\"ai-output\","
        "\"user_id\":\"u1\",\"serial\":43," EXTRAS(
            "update", V3) ",\"action\":\"append\",\"message_serial\":\"" M
                          "\",\"history_serial\":12,\"delivery_serial\":43,\"version\":{\"serial\":\"" V3
                          "\",\"client_id\":\"u1\",\"timestamp_ms\":1767225600120,\"description\":\"why "
                          "\\\"so\\\"\",\"metadata\":{\"k\": 1}}}");
}

static void an_item_of_a_versions_page_keeps_its_true_operation(void **state)
{
    assert_str(
        read_item(item(ACTION_APPEND, 43), STR("S"), false),
        "{\"event\":\"sockudo:message.append\",\"channel\":\"chat\",\"data\":\"hello "
        "world\",\"name\":\"ai-output\","
        "\"stream_id\":\"S\",\"serial\":43," EXTRAS(
            "append", V3) ",\"action\":\"append\",\"message_serial\":\"" M
                          "\",\"history_serial\":12,\"delivery_serial\":43,\"version\":{\"serial\":\"" V3
                          "\",\"timestamp_ms\":1767225600120}}");
}

/* Chapter 3, 1.4: event = sockudo: + operation in every read item. */
static void a_create_is_read_under_the_operation_event(void **state)
{
    struct str text = read_item(item(ACTION_CREATE, 41), STR_NONE, true);
    assert_true(str_starts(text, STR("{\"event\":\"sockudo:message.create\",\"channel\":\"chat\",")));
    assert_true(str_find(text, STR("\"name\":\"ai-output\"")) > 0);
    assert_int_equal(str_find(text, STR("message_id")), -1);
}

static void an_ordinary_message_is_read_as_a_plain_frame(void **state)
{
    struct store_item plain = item(ACTION_ORDINARY, 44);
    plain.extras = STR_NONE;
    assert_str(read_item(plain, STR_NONE, true), "{\"event\":\"ai-output\",\"channel\":\"chat\",\"data\":"
                                                 "\"hello world\",\"message_id\":\"m-1\",\"serial\":44}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_replayed_create_keeps_its_event_name_and_id, forget),
        cmocka_unit_test_teardown(a_replayed_append_carries_its_version_serial_as_message_id, forget),
        cmocka_unit_test_teardown(an_ordinary_message_is_replayed_without_runtime_headers, forget),
        cmocka_unit_test_teardown(a_snapshot_shows_an_appended_message_as_an_update, forget),
        cmocka_unit_test_teardown(a_snapshot_of_a_create_is_its_live_shape, forget),
        cmocka_unit_test_teardown(a_snapshot_of_a_deleted_message_says_delete, forget),
        cmocka_unit_test_teardown(an_aggregate_read_item_says_update_in_its_header_only, forget),
        cmocka_unit_test_teardown(an_item_of_a_versions_page_keeps_its_true_operation, forget),
        cmocka_unit_test_teardown(a_create_is_read_under_the_operation_event, forget),
        cmocka_unit_test_teardown(an_ordinary_message_is_read_as_a_plain_frame, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
