/* SPDX-License-Identifier: Apache-2.0 */
#include "api/route.h"
#include "../support/unit.h"

static const struct route routes[] = {
    {HTTP_GET_, "/", NULL, 0},
    {HTTP_POST_, "/apps/{app}/events", NULL, 0},
    {HTTP_GET_, "/apps/{app}/channels", NULL, 0},
    {HTTP_GET_, "/apps/{app}/channels/{channel}", NULL, 0},
    {HTTP_POST_, "/apps/{app}/channels/{channel}", NULL, 0},
    {HTTP_DELETE_, "/apps/{app}/channels/{channel}", NULL, 0},
};
enum { COUNT = sizeof routes / sizeof *routes };

static int setup(void **state)
{
    *state = router_new(routes, COUNT);
    return 0;
}

static int teardown(void **state)
{
    router_free(*state);
    return 0;
}

static int find(void **state, enum http_method method, const char *path)
{
    struct route_match m = router_match(*state, method, str_of(path));
    return m.route ? (int)(m.route - routes) : m.known ? -405 : -404;
}

static void a_pattern_gives_its_arguments_raw(void **state)
{
    struct route_match m = router_match(*state, HTTP_GET_, STR("/apps/7/channels/presence-a%23b"));
    assert_ptr_equal(m.route, &routes[3]);
    assert_int_equal(m.args_count, 2);
    assert_str(m.args[0], "7");
    assert_str(m.args[1], "presence-a%23b");
}

static void one_trailing_slash_is_ignored_a_second_is_not(void **state)
{
    assert_int_equal(find(state, HTTP_POST_, "/apps/7/events"), 1);
    assert_int_equal(find(state, HTTP_POST_, "/apps/7/events/"), 1);
    assert_int_equal(find(state, HTTP_POST_, "/apps/7/events//"), -404);
    assert_int_equal(find(state, HTTP_GET_, "/"), 0);
}

static void empty_arguments_match_nothing(void **state)
{
    assert_int_equal(find(state, HTTP_POST_, "/apps//events"), -404);
    assert_int_equal(find(state, HTTP_GET_, "/apps/7/channels/"), 2);
    assert_int_equal(find(state, HTTP_GET_, ""), -404);
    assert_int_equal(find(state, HTTP_GET_, "*"), -404);
}

static void head_is_served_by_get(void **state)
{
    assert_int_equal(find(state, HTTP_HEAD_, "/apps/7/channels"), 2);
    assert_int_equal(find(state, HTTP_HEAD_, "/apps/7/events"), -405);
}

static void a_wrong_method_is_told_the_right_ones(void **state)
{
    struct route_match m = router_match(*state, HTTP_PUT_, STR("/apps/7/channels/a"));
    assert_true(m.known);
    assert_null(m.route);
    assert_string_equal(m.allow, "GET, HEAD, POST, DELETE");
}

static void a_path_of_too_many_segments_is_unknown(void **state)
{
    assert_int_equal(find(state, HTTP_GET_, "/a/a/a/a/a/a/a/a/a/a/a/a"), -404);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pattern_gives_its_arguments_raw),
        cmocka_unit_test(one_trailing_slash_is_ignored_a_second_is_not),
        cmocka_unit_test(empty_arguments_match_nothing),
        cmocka_unit_test(head_is_served_by_get),
        cmocka_unit_test(a_wrong_method_is_told_the_right_ones),
        cmocka_unit_test(a_path_of_too_many_segments_is_unknown),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
