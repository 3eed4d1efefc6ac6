/* SPDX-License-Identifier: Apache-2.0 */
#include "config/placeholder.h"
#include "../support/unit.h"

#define ENV(...) ((char *const[]){__VA_ARGS__, NULL})

static void assert_expands(const char *text, char *const *env, const char *expected)
{
    struct buf out = {0}, unresolved = {0};
    assert_true(placeholder_expand(str_of(text), env, &out, &unresolved));
    assert_string_equal((buf_char(&out, 0), out.p), expected);
    buf_free(&out);
    buf_free(&unresolved);
}

static void a_value_is_inserted_raw(void **state)
{
    assert_expands("a=\"${A}\" # ${A}", ENV("A=x\"y"), "a=\"x\"y\" # x\"y");
}

static void an_empty_value_gives_way_to_the_default(void **state)
{
    assert_expands("${A:-1}${B:-}${C:-a:-b${}", ENV("A=", "AB=5"), "1a:-b${");
}

static void what_only_looks_like_one_stays(void **state)
{
    assert_expands("$A ${1} ${A-} ${ A} ${ $ ${A", ENV("A=1"), "$A ${1} ${A-} ${ A} ${ $ ${A");
    assert_expands("${A:-", ENV("A=1"), "${A:-");
    assert_expands("$${A}", ENV("A=1"), "$1");
}

static void a_value_is_not_expanded_again(void **state)
{
    assert_expands("${A}", ENV("A=${B}", "B=1"), "${B}");
}

static void each_missing_name_is_listed_once(void **state)
{
    struct buf out = {0}, unresolved = {0};
    assert_false(placeholder_expand(STR("${AB}${A}${AB}${X:-}"), ENV("Z=1"), &out, &unresolved));
    assert_str(buf_view(&unresolved), "AB, A");
    buf_free(&out);
    buf_free(&unresolved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_inserted_raw),
        cmocka_unit_test(an_empty_value_gives_way_to_the_default),
        cmocka_unit_test(what_only_looks_like_one_stays),
        cmocka_unit_test(a_value_is_not_expanded_again),
        cmocka_unit_test(each_missing_name_is_listed_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
