/* client_message_test.c - what clients say, and how commands hide their data.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit.h"

#include "wire/system.h"

static struct arena arena;
static struct client_message m;

static const char *read(const char *text)
{
    return client_message_read(str_of(text), &arena, &m);
}

static int forget(void **state)
{
    arena_free(&arena);
    return 0;
}

static void the_family_of_a_command_is_cut_off_whatever_its_protocol(void **state)
{
    static const struct {
        const char *text, *event;
        enum family family;
    } cases[] = {
        {"{\"event\":\"pusher:subscribe\"}", "subscribe", FAMILY_COMMAND},
        {"{\"event\":\"sockudo:subscribe\"}", "subscribe", FAMILY_COMMAND},
        {"{\"event\":\"pusher_internal:ping\"}", "ping", FAMILY_INTERNAL},
        {"{\"event\":\"channel_history\"}", "channel_history", FAMILY_NONE},
        {"{\"event\":\"client-a:b\"}", "client-a:b", FAMILY_NONE},
        {"{\"event\":\"\"}", "", FAMILY_NONE},
        {"{\"event\":\"pusher\\u003aping\"}", "ping", FAMILY_COMMAND},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_null(read(cases[i].text));
        unit_assert_str(m.event, str_of(cases[i].event), __FILE__, __LINE__);
        assert_int_equal(m.family, cases[i].family);
    }
}

/* Chapter 1, 13.25: data arrives unchanged, whatever keys it holds. */
static void data_and_extras_stay_as_they_came(void **state)
{
    assert_null(read(" {\"event\":\"client-x\",\"channel\":\"private-\\u0061\",\"data\":{\"channel\":\"x\", "
                     "\"user_data\":5},"
                     "\"extras\":{ },\"message_id\":\"m\",\"other\":[{}]} "));
    assert_str(m.channel, "private-a");
    assert_str(m.data, "{\"channel\":\"x\", \"user_data\":5}");
    assert_str(m.extras, "{ }");
    assert_str(m.message_id, "m");
}

static void null_fields_count_as_absent_but_null_data_is_data(void **state)
{
    assert_null(read("{\"event\":\"e\",\"channel\":null,\"extras\":null,\"message_id\":null,\"data\":null}"));
    assert_absent(m.channel);
    assert_absent(m.extras);
    assert_absent(m.message_id);
    assert_str(m.data, "null");
}

static void a_missing_event_is_told_apart_from_bad_json(void **state)
{
    assert_ptr_equal(read("{}"), client_message_no_event);
    assert_ptr_equal(read("{\"event\":null}"), client_message_no_event);
    assert_string_equal(client_message_no_event, "Event name is required");
    assert_string_not_equal(read("{"), client_message_no_event);
    assert_string_equal(read("[]"), "expected an object");
    assert_string_equal(read("{\"event\":1}"), "event must be a string");
    assert_string_equal(read("{\"event\":\"e\",\"channel\":{}}"), "channel must be a string");
    assert_string_equal(read("{\"event\":\"e\",\"message_id\":1}"), "message_id must be a string");
}

static void a_syntax_error_names_its_place(void **state)
{
    const char *why = read("{\"event\":\"e\",}");
    assert_non_null(strstr(why, " at byte 13"));
}

static void command_data_may_be_an_object_or_a_string_of_one(void **state)
{
    assert_str(command_data(STR("{\"channel\":\"c\"}"), &arena), "{\"channel\":\"c\"}");
    assert_str(command_data(STR("\" {\\\"channel\\\":\\\"c\\\"}\""), &arena), "{\"channel\":\"c\"}");
    assert_absent(command_data(STR("\"plain\""), &arena));
    assert_absent(command_data(STR("\"[1]\""), &arena));
    assert_absent(command_data(STR("7"), &arena));
    assert_absent(command_data(STR_NONE, &arena));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_family_of_a_command_is_cut_off_whatever_its_protocol, forget),
        cmocka_unit_test_teardown(data_and_extras_stay_as_they_came, forget),
        cmocka_unit_test_teardown(null_fields_count_as_absent_but_null_data_is_data, forget),
        cmocka_unit_test_teardown(a_missing_event_is_told_apart_from_bad_json, forget),
        cmocka_unit_test_teardown(a_syntax_error_names_its_place, forget),
        cmocka_unit_test_teardown(command_data_may_be_an_object_or_a_string_of_one, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
