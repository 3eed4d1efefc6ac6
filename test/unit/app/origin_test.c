/* origin_test.c - allowed origins, query values and path segments.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit.h"

#include "app/app.h"

static bool allowed(const char *pattern, const char *origin)
{
    struct str p = str_of(pattern);
    return origin_allowed(&p, 1, str_of(origin));
}

/* Chapter 1, 13.4. */
static void a_wildcard_domain_holds_for_itself_and_what_is_below(void **state)
{
    assert_true(allowed("*.example.com", "https://example.com"));
    assert_true(allowed("*.example.com", "https://a.b.EXAMPLE.com"));
    assert_true(allowed("*.example.com", "a.example.com"));
    assert_false(allowed("*.example.com", "https://evilexample.com"));
    assert_false(allowed("*.example.com", "https://a.example.com:8080"));
    assert_false(allowed("*.example.com", ""));
}

static void a_missing_origin_needs_a_pattern_for_all(void **state)
{
    assert_true(allowed("*", ""));
    assert_true(allowed("ANY", NULL));
    assert_false(allowed("https://a.b", NULL));
    assert_false(origin_allowed(NULL, 0, STR("https://a.b")));
}

static void a_pattern_without_scheme_matches_any_scheme(void **state)
{
    assert_true(allowed("localhost:3000", "http://localhost:3000"));
    assert_true(allowed("localhost:3000", "https://LOCALHOST:3000"));
    assert_false(allowed("localhost", "http://localhost:3000"));
    assert_true(allowed("https://a.b", "HTTPS://A.B"));
    assert_false(allowed("https://a.b", "http://a.b"));
}

static void a_star_inside_matches_by_prefix_and_suffix(void **state)
{
    assert_true(allowed("https://*.example.com", "https://a.example.com"));
    assert_false(allowed("https://*.example.com", "http://a.example.com"));
    assert_false(allowed("https://*.example.com", "https://example.com"));
    assert_true(allowed("http://localhost:*", "http://localhost:3000"));
    assert_false(allowed("aba*aba", "aba"));
}

static void query_values_are_decoded_and_the_last_one_wins(void **state)
{
    struct arena arena = {0};
    assert_str(query_get(STR("a=1&b=x+y%21&a=2"), STR("a"), &arena), "2");
    assert_str(query_get(STR("a=1&b=x+y%21&a=2"), STR("b"), &arena), "x y!");
    assert_str(query_get(STR("a"), STR("a"), &arena), "");
    assert_absent(query_get(STR("ab=1"), STR("a"), &arena));
    assert_absent(query_get(STR_NONE, STR("a"), &arena));
    assert_absent(query_get(STR("a=%ff"), STR("a"), &arena));
    assert_str(query_get(STR("a=100%"), STR("a"), &arena), "100%");
    arena_free(&arena);
}

static void path_segments_are_decoded_strictly(void **state)
{
    struct arena arena = {0};
    assert_str(path_decode(STR("presence-room%231+x"), &arena), "presence-room#1+x");
    assert_str(path_decode(STR(""), &arena), "");
    assert_absent(path_decode(STR("a%2"), &arena));
    assert_absent(path_decode(STR("a%zz"), &arena));
    assert_absent(path_decode(STR("a%ff"), &arena));
    assert_absent(path_decode(STR("\xff"), &arena));
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wildcard_domain_holds_for_itself_and_what_is_below),
        cmocka_unit_test(a_missing_origin_needs_a_pattern_for_all),
        cmocka_unit_test(a_pattern_without_scheme_matches_any_scheme),
        cmocka_unit_test(a_star_inside_matches_by_prefix_and_suffix),
        cmocka_unit_test(query_values_are_decoded_and_the_last_one_wins),
        cmocka_unit_test(path_segments_are_decoded_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
