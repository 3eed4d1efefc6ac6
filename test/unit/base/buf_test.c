/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "../support/unit.h"

static void what_is_put_is_appended(void **state)
{
    struct buf b = {0};
    buf_lit(&b, "a");
    buf_char(&b, 'b');
    buf_str(&b, STR_NONE);
    buf_str(&b, STR("cd"));
    buf_fmt(&b, "%s-%d", "e", 7);
    assert_str(buf_view(&b), "abcde-7");
    buf_free(&b);
}

static void growth_keeps_the_bytes(void **state)
{
    struct buf b = {0};
    for (int i = 0; i < 100000; i++)
        buf_char(&b, (char)('a' + i % 26));
    for (int i = 0; i < 100000; i++)
        assert_int_equal(b.p[i], 'a' + i % 26);
    buf_free(&b);
}

static void numbers_print_at_their_extremes(void **state)
{
    struct buf b = {0};
    buf_u64(&b, 0);
    buf_char(&b, ' ');
    buf_u64(&b, UINT64_MAX);
    buf_char(&b, ' ');
    buf_i64(&b, INT64_MIN);
    buf_char(&b, ' ');
    buf_i64(&b, -1);
    assert_str(buf_view(&b), "0 18446744073709551615 -9223372036854775808 -1");
    buf_free(&b);
}

static void json_text_escapes_only_what_it_must(void **state)
{
    struct buf b = {0};
    buf_json(&b, STR("a\"b\\c/\n\t\x01\x7f\xc3\xa9"));
    assert_str(buf_view(&b), "\"a\\\"b\\\\c/\\n\\t\\u0001\x7f\xc3\xa9\"");
    buf_clear(&b);
    buf_json(&b, STR_NONE);
    assert_str(buf_view(&b), "\"\"");
    buf_free(&b);
}

static void consuming_drops_the_front(void **state)
{
    struct buf b = {0};
    buf_lit(&b, "abcdef");
    buf_consume(&b, 2);
    assert_str(buf_view(&b), "cdef");
    buf_consume(&b, 4);
    assert_str(buf_view(&b), "");
    buf_free(&b);
}

static void an_empty_buffer_views_as_empty_and_not_as_absent(void **state)
{
    struct buf b = {0};
    assert_non_null(buf_view(&b).p);
    assert_int_equal(buf_view(&b).n, 0);
    assert_non_null(buf_reserve(&b, 0));
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_is_appended),
        cmocka_unit_test(growth_keeps_the_bytes),
        cmocka_unit_test(numbers_print_at_their_extremes),
        cmocka_unit_test(json_text_escapes_only_what_it_must),
        cmocka_unit_test(consuming_drops_the_front),
        cmocka_unit_test(an_empty_buffer_views_as_empty_and_not_as_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
