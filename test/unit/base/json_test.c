/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "../support/unit.h"

static struct str checked(struct str text)
{
    struct str value;
    struct json_error error;
    if (!json_check(text, &value, &error))
        fail_msg("refused at %zu: %s", error.offset, error.why);
    return value;
}

static void assert_refused(struct str text, size_t offset, const char *why)
{
    struct str value;
    struct json_error error = {0};
    if (json_check(text, &value, &error))
        fail_msg("accepted: %.*s", STR_ARG(text));
    assert_string_equal(error.why, why);
    assert_int_equal(error.offset, offset);
}

static void every_kind_of_value_is_accepted(void **state)
{
    assert_int_equal(json_type(checked(STR("null"))), JSON_NULL);
    assert_int_equal(json_type(checked(STR("true"))), JSON_TRUE);
    assert_int_equal(json_type(checked(STR("false"))), JSON_FALSE);
    assert_int_equal(json_type(checked(STR("-0.5e+10"))), JSON_NUMBER);
    assert_int_equal(json_type(checked(STR("\"\""))), JSON_STRING);
    assert_int_equal(json_type(checked(STR("[]"))), JSON_ARRAY);
    assert_int_equal(json_type(checked(STR("{}"))), JSON_OBJECT);
    assert_int_equal(json_type(STR_NONE), JSON_NULL);
}

static void the_value_is_what_stands_between_the_white_space(void **state)
{
    assert_str(checked(STR(" \r\n\t[1 , 2] \n")), "[1 , 2]");
}

static void what_rfc_8259_forbids_is_refused_where_it_stands(void **state)
{
    assert_refused(STR(""), 0, "expected a value");
    assert_refused(STR("[1,]"), 3, "expected a value");
    assert_refused(STR("{\"a\":1,}"), 7, "expected a key");
    assert_refused(STR("{a:1}"), 1, "expected a key");
    assert_refused(STR("{\"a\" 1}"), 5, "expected ':' after a key");
    assert_refused(STR("{\"a\":1]"), 6, "expected ',' or '}'");
    assert_refused(STR("[1 2]"), 3, "expected ',' or ']'");
    assert_refused(STR("[1"), 2, "expected ',' or ']'");
    assert_refused(STR("{\"a\":{"), 6, "expected a key");
    assert_refused(STR("1 2"), 2, "text behind the value");
    assert_refused(STR("/**/1"), 0, "expected a value");
    assert_refused(STR("NaN"), 0, "expected a value");
    assert_refused(STR("nul"), 0, "expected a value");
    assert_refused(STR("]"), 0, "expected a value");
}

static void numbers_are_those_of_json(void **state)
{
    checked(STR("[0,-0,10,1.5,1e5,1E-5,0.0e0]"));
    assert_refused(STR("01"), 1, "text behind the value");
    assert_refused(STR("+1"), 0, "expected a value");
    assert_refused(STR(".5"), 0, "expected a value");
    assert_refused(STR("1."), 2, "expected a digit");
    assert_refused(STR("-"), 1, "expected a digit");
    assert_refused(STR("1e+"), 3, "expected a digit");
}

static void strings_are_utf8_without_raw_control_characters(void **state)
{
    checked(STR("\"\xc3\xa9\xf0\x9f\x98\x80 \x7f\""));
    assert_refused(STR("\"abcdefgh\n\""), 9, "raw control character in a string");
    assert_refused(STR("\"a\xc0\xaf\""), 2, "invalid UTF-8");
    assert_refused(STR("\"\xed\xa0\x80\""), 1, "invalid UTF-8");
    assert_refused(STR("\"abc"), 4, "unterminated string");
    assert_refused(STR("\"abc\\"), 5, "unterminated string");
    assert_refused(STR("\"\\x\""), 2, "unknown escape");
}

static void surrogate_escapes_come_in_pairs(void **state)
{
    checked(STR("\"\\ud83d\\ude00\\u00e9\\u0000\""));
    assert_refused(STR("\"\\ud83d\""), 2, "a high surrogate without its low one");
    assert_refused(STR("\"\\ud83d\\u0041\""), 2, "a high surrogate without its low one");
    assert_refused(STR("\"\\ude00\""), 2, "a low surrogate without its high one");
    assert_refused(STR("\"\\u12g4\""), 2, "expected four hexadecimal digits after \\u");
}

static void depth_is_limited(void **state)
{
    char text[2 * (JSON_DEPTH_MAX + 1)];
    memset(text, '[', JSON_DEPTH_MAX + 1);
    memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    checked(str_make(text + 1, sizeof text - 2));
    assert_refused(str_make(text, sizeof text), JSON_DEPTH_MAX, "nested too deeply");
}

/* Brackets of both kinds at full depth: no level may forget which one it is. */
static void every_level_remembers_its_bracket(void **state)
{
    struct buf b = {0};
    for (int i = 0; i < JSON_DEPTH_MAX / 2; i++)
        buf_lit(&b, "[{\"k\":");
    buf_char(&b, '1');
    for (int i = 0; i < JSON_DEPTH_MAX / 2; i++)
        buf_lit(&b, "}]");
    checked(buf_view(&b));
    b.p[b.n - 1] = '}';
    assert_refused(buf_view(&b), b.n - 1, "expected ',' or ']'");
    buf_free(&b);
}

static void members_come_out_as_raw_slices_in_order(void **state)
{
    struct str key, value;
    struct json_iter it =
        json_iter(checked(STR("{ \"a\\n\" : [1, {\"x\":\"]\"}] , \"b\":-1.0 ,\"\":\"\\\"\"}")));
    assert_true(json_next_member(&it, &key, &value));
    assert_str(key, "a\\n");
    assert_str(value, "[1, {\"x\":\"]\"}]");
    assert_true(json_next_member(&it, &key, &value));
    assert_str(key, "b");
    assert_str(value, "-1.0");
    assert_true(json_next_member(&it, &key, &value));
    assert_str(key, "");
    assert_str(value, "\"\\\"\"");
    assert_false(json_next_member(&it, &key, &value));
    assert_false(json_next_member(&it, &key, &value));
}

static void items_come_out_in_order(void **state)
{
    struct str item;
    struct json_iter it = json_iter(checked(STR("[ 1,\"a,]\" ,[ ] ]")));
    assert_true(json_next_item(&it, &item));
    assert_str(item, "1");
    assert_true(json_next_item(&it, &item));
    assert_str(item, "\"a,]\"");
    assert_true(json_next_item(&it, &item));
    assert_str(item, "[ ]");
    assert_false(json_next_item(&it, &item));
    it = json_iter(STR("1"));
    assert_false(json_next_item(&it, &item));
    it = json_iter(STR_NONE);
    assert_false(json_next_item(&it, &item));
}

static void keys_are_compared_decoded(void **state)
{
    struct str object = checked(STR("{\"n\\u0061me\":1,\"a\\\\\":2,\"x\":{\"name\":9}}"));
    assert_str(json_get(object, STR("name")), "1");
    assert_str(json_get(object, STR("a\\")), "2");
    assert_absent(json_get(object, STR("a\\\\")));
    assert_absent(json_get(object, STR("n\\u0061me")));
    assert_absent(json_get(object, STR("nam")));
    assert_absent(json_get(object, STR("names")));
}

static void the_last_of_equal_keys_wins_and_null_is_absent(void **state)
{
    struct str object = checked(STR("{\"a\":1,\"b\":null,\"a\":2}"));
    assert_str(json_get(object, STR("a")), "2");
    assert_absent(json_get(object, STR("b")));
    assert_true(json_has(object, STR("b")));
    assert_false(json_has(object, STR("c")));
    assert_absent(json_get(STR("[1]"), STR("a")));
    assert_absent(json_get(STR_NONE, STR("a")));
}

static void text_without_escapes_is_a_view(void **state)
{
    struct buf scratch = {0};
    struct str value = checked(STR("\"plain\""));
    struct str text = json_text(value, &scratch);
    assert_ptr_equal(text.p, value.p + 1);
    assert_int_equal(text.n, 5);
    assert_absent(json_text(STR("12"), &scratch));
    assert_non_null(json_text(STR("\"\""), &scratch).p);
    assert_int_equal(scratch.n, 0);
}

static void escapes_are_decoded_behind_what_scratch_holds(void **state)
{
    struct buf scratch = {0};
    struct str value = checked(STR("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20ac\\ud83d\\ude00z\""));
    buf_lit(&scratch, "kept");
    struct str text = json_text(value, &scratch);
    assert_str(text, "a\"\\/\b\f\n\r\t\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z");
    assert_int_equal(json_text_size(value), text.n);
    assert_str(str_first(buf_view(&scratch), 4), "kept");
    buf_free(&scratch);
}

static void numbers_and_booleans_convert_only_when_they_are(void **state)
{
    uint64_t u;
    int64_t i;
    bool b;
    assert_true(json_u64(STR("18446744073709551615"), &u) && u == UINT64_MAX);
    assert_false(json_u64(STR("1.0"), &u));
    assert_false(json_u64(STR("1e3"), &u));
    assert_false(json_u64(STR("-1"), &u));
    assert_false(json_u64(STR("\"1\""), &u));
    assert_false(json_u64(STR_NONE, &u));
    assert_true(json_i64(STR("-5"), &i) && i == -5);
    assert_true(json_bool(STR("true"), &b) && b);
    assert_true(json_bool(STR("false"), &b) && !b);
    assert_false(json_bool(STR("0"), &b));
}

static void compacting_touches_white_space_only(void **state)
{
    struct buf out = {0};
    struct str value = checked(STR("{ \"a b\\\" \" : [ 1.0 , 2e5 ] ,\n\"c\":\"\\u0061 \" }"));
    assert_false(json_is_compact(value));
    json_compact(&out, value);
    assert_str(buf_view(&out), "{\"a b\\\" \":[1.0,2e5],\"c\":\"\\u0061 \"}");
    assert_true(json_is_compact(buf_view(&out)));
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_value_is_accepted),
        cmocka_unit_test(the_value_is_what_stands_between_the_white_space),
        cmocka_unit_test(what_rfc_8259_forbids_is_refused_where_it_stands),
        cmocka_unit_test(numbers_are_those_of_json),
        cmocka_unit_test(strings_are_utf8_without_raw_control_characters),
        cmocka_unit_test(surrogate_escapes_come_in_pairs),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(every_level_remembers_its_bracket),
        cmocka_unit_test(members_come_out_as_raw_slices_in_order),
        cmocka_unit_test(items_come_out_in_order),
        cmocka_unit_test(keys_are_compared_decoded),
        cmocka_unit_test(the_last_of_equal_keys_wins_and_null_is_absent),
        cmocka_unit_test(text_without_escapes_is_a_view),
        cmocka_unit_test(escapes_are_decoded_behind_what_scratch_holds),
        cmocka_unit_test(numbers_and_booleans_convert_only_when_they_are),
        cmocka_unit_test(compacting_touches_white_space_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
