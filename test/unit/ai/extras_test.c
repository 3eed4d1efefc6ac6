/* extras_test.c - transport headers set in what was published; all else stays as it was.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ai/extras.h"
#include "base/json.h"
#include "unit.h"

static const struct ai_header_value status = {{"status", 6}, {"cancelled", 9}};

static void assert_becomes(const char *before, const char *after)
{
    struct extras_facts facts;
    struct arena arena = {0};
    struct buf out = {0};
    struct str checked;
    assert_null(extras_read(str_of(before), &arena, &facts));
    ai_extras_put(&out, str_of(before), &facts, &status, 1);
    assert_true(json_check(buf_view(&out), &checked, NULL));
    buf_char(&out, '\0');
    assert_string_equal(out.p, after);
    buf_free(&out);
    arena_free(&arena);
}

static void missing_objects_are_made(void **state)
{
    assert_becomes(NULL, "{\"ai\":{\"transport\":{\"status\":\"cancelled\"}}}");
    assert_becomes("{}", "{\"ai\":{\"transport\":{\"status\":\"cancelled\"}}}");
    assert_becomes("{\"ai\":null}", "{\"ai\":{\"transport\":{\"status\":\"cancelled\"}}}");
    assert_becomes("{\"ai\":{\"codec\":{\"a\":\"b\"}}}", "{\"ai\":{\"transport\":{\"status\":\"cancelled\"},\"codec\":{\"a\":\"b\"}}}");
}

static void what_was_there_stays_byte_for_byte(void **state)
{
    assert_becomes("{\"n\": 1.50,\"headers\":{\"a\" : true},\"ai\":{\"x\":1,\"transport\":{\"run-id\":\"\\u0061\"}},\"z\":[ ]}",
                   "{\"n\":1.50,\"headers\":{\"a\" : true},\"z\":[ ],\"ai\":{\"transport\":{\"run-id\":\"\\u0061\",\"status\":\"cancelled\"}}}");
}

static void same_header_is_replaced_however_it_was_written(void **state)
{
    assert_becomes("{\"\\u0061i\":{\"transport\":{\"st\\u0061tus\":\"streaming\",\"model\":\"m\",\"status\":\"streaming\"}}}",
                   "{\"ai\":{\"transport\":{\"model\":\"m\",\"status\":\"cancelled\"}}}");
}

static void texts_are_escaped_and_nothing_may_be_set(void **state)
{
    const struct ai_header_value odd = {{"run-client-id", 13}, {"a\"\n", 3}};
    struct extras_facts facts;
    struct arena arena = {0};
    struct buf out = {0};
    extras_read(STR_NONE, &arena, &facts);
    ai_extras_put(&out, STR_NONE, &facts, &odd, 1);
    assert_true(str_eq(buf_view(&out), STR("{\"ai\":{\"transport\":{\"run-client-id\":\"a\\\"\\n\"}}}")));
    buf_clear(&out);
    ai_extras_put(&out, STR("{\"ai\":{\"transport\":{\"role\":\"user\"}}}"), &facts, NULL, 0);
    assert_true(str_eq(buf_view(&out), STR("{\"ai\":{\"transport\":{}}}"))); /* facts are what counts */
    buf_free(&out);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_objects_are_made),
        cmocka_unit_test(what_was_there_stays_byte_for_byte),
        cmocka_unit_test(same_header_is_replaced_however_it_was_written),
        cmocka_unit_test(texts_are_escaped_and_nothing_may_be_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
