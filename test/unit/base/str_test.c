/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/str.h"
#include "../support/unit.h"

static void split_yields_every_part_and_ends_absent(void **state)
{
    struct str rest = STR("a,,b");
    assert_str(str_split(&rest, ','), "a");
    assert_str(str_split(&rest, ','), "");
    assert_str(str_split(&rest, ','), "b");
    assert_absent(rest);
}

static void split_behind_a_final_separator_leaves_an_empty_part(void **state)
{
    struct str rest = STR("a,");
    assert_str(str_split(&rest, ','), "a");
    assert_non_null(rest.p);
    assert_int_equal(rest.n, 0);
}

static void trim_takes_white_space_from_both_ends_only(void **state)
{
    assert_str(str_trim(STR(" \t a b\r\n")), "a b");
    assert_str(str_trim(STR("   ")), "");
    assert_absent(str_trim(STR_NONE));
}

static void a_prefix_sorts_before_what_it_begins(void **state)
{
    assert_true(str_cmp(STR("a"), STR("ab")) < 0);
    assert_true(str_cmp(STR("b"), STR("ab")) > 0);
    assert_int_equal(str_cmp(STR(""), STR_NONE), 0);
    assert_true(str_cmp(STR("\x80"), STR("a")) > 0);
}

static void finding_reports_the_first_place_or_minus_one(void **state)
{
    assert_int_equal(str_find(STR("xabab"), STR("ab")), 1);
    assert_int_equal(str_find(STR("xa"), STR("ab")), -1);
    assert_int_equal(str_index(STR("a.b.c"), '.'), 1);
    assert_int_equal(str_index(STR_NONE, '.'), -1);
}

static void case_is_folded_for_ascii_only(void **state)
{
    assert_true(str_eq_nocase(STR("Upgrade"), STR("uPGRADE")));
    assert_false(str_eq_nocase(STR("@"), STR("`")));
    assert_false(str_eq_nocase(STR("ab"), STR("abc")));
}

/* A serial that wraps around would name another message. */
static void numbers_are_digits_only_and_never_overflow(void **state)
{
    uint64_t u = 7;
    int64_t i = 7;
    assert_true(str_to_u64(STR("18446744073709551615"), &u));
    assert_true(u == UINT64_MAX);
    assert_false(str_to_u64(STR("18446744073709551616"), &u));
    assert_false(str_to_u64(STR("+1"), &u));
    assert_false(str_to_u64(STR(" 1"), &u));
    assert_false(str_to_u64(STR(""), &u));
    assert_true(str_to_i64(STR("-9223372036854775808"), &i));
    assert_true(i == INT64_MIN);
    assert_false(str_to_i64(STR("9223372036854775808"), &i));
    assert_false(str_to_i64(STR("-"), &i));
}

static void utf8_is_strict(void **state)
{
    assert_true(str_is_utf8(STR("plain ascii, more than eight bytes")));
    assert_true(str_is_utf8(STR("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf")));
    assert_true(str_is_utf8(STR_NONE));
    const struct str wrong[] = {
        STR("\x80"),
        STR("\xc0\xaf"),
        STR("\xc1\x81"),
        STR("\xe0\x9f\xbf"),
        STR("\xed\xa0\x80"),
        STR("\xf0\x8f\xbf"),
        STR("\xf0\x8f\xbf\xbf"),
        STR("\xf4\x90\x80\x80"),
        STR("\xf5\x80\x80\x80"),
        STR("\xe2\x82"),
        STR("abcdefg\xff"),
        STR("\xc3("),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(str_is_utf8(wrong[i]));
}

static void the_size_of_the_first_sequence_is_told(void **state)
{
    assert_int_equal(str_utf8_first(STR("a\xc3\xa9")), 1);
    assert_int_equal(str_utf8_first(STR("\xf0\x9f\x98\x80!")), 4);
    assert_int_equal(str_utf8_first(STR("\xf0\x9f\x98")), 0);
    assert_int_equal(str_utf8_first(STR_NONE), 0);
}

static void secrets_compare_equal_only_as_a_whole(void **state)
{
    assert_true(str_eq_secret(STR("abc"), STR("abc")));
    assert_false(str_eq_secret(STR("abc"), STR("abd")));
    assert_false(str_eq_secret(STR("abc"), STR("ab")));
    assert_true(str_eq_secret(STR_NONE, STR("")));
}

static void a_copy_ends_in_nul(void **state)
{
    char *copy = str_dup(str_first(STR("abc"), 2));
    assert_string_equal(copy, "ab");
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(split_yields_every_part_and_ends_absent),
        cmocka_unit_test(split_behind_a_final_separator_leaves_an_empty_part),
        cmocka_unit_test(trim_takes_white_space_from_both_ends_only),
        cmocka_unit_test(a_prefix_sorts_before_what_it_begins),
        cmocka_unit_test(finding_reports_the_first_place_or_minus_one),
        cmocka_unit_test(case_is_folded_for_ascii_only),
        cmocka_unit_test(numbers_are_digits_only_and_never_overflow),
        cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(the_size_of_the_first_sequence_is_told),
        cmocka_unit_test(secrets_compare_equal_only_as_a_whole),
        cmocka_unit_test(a_copy_ends_in_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
