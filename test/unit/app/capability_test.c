/* capability_test.c - what patterns match, and what the two spellings of capabilities mean.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit.h"

#include "app/capability.h"
#include "base/json.h"

static bool match(const char *pattern, const char *channel)
{
    return capability_matches(str_of(pattern), str_of(channel));
}

/* Chapter 4, 4.3; AIT-S79: exact, `ns:*` and `*`, and what the reference's code accepts beyond. */
static void patterns(void **state)
{
    static const struct {
        const char *pattern, *channel;
        bool matches;
    } table[] = {
        {"room:1", "room:1", true},     {"room:1", "room:10", false},   {"room:1", "Room:1", false},
        {"*", "anything", true},        {"*", "*", true},               {"room:*", "room:1", true},
        {"room:*", "room:", true},      {"room:*", "room", false},      {"room:*", "Room:1", false},
        {"room:*", "room:*", true},     {"*-log", "a-log", true},       {"*-log", "-log", true},
        {"*-log", "a-logs", false},     {"a*z", "az", true},            {"a*z", "abcz", true},
        {"a*z", "abc", false},          {"ab*ba", "aba", false},        {"ab*ba", "abba", true},
        {"a*b*", "a*bc", true},         {"a*b*", "axbc", false},        {"a**", "a*x", true},
        {"a**", "ax", false},           {"*a*", "xax", false},          {"*a*", "*ax", true},
        {"*a*b", "*a*b", true},         {"*a*b", "xaxb", false},        {"", "", true},
        {"", "a", false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (match(table[i].pattern, table[i].channel) != table[i].matches)
            fail_msg("'%s' and '%s'", table[i].pattern, table[i].channel);
}

static void operations_are_known_in_both_spellings(void **state)
{
    assert_int_equal(capability_of(STR("publish")), MAY_PUBLISH);
    assert_int_equal(capability_of(STR("message-append-own")), MAY_MESSAGE_APPEND_OWN);
    assert_int_equal(capability_of(STR("message_append_own")), MAY_MESSAGE_APPEND_OWN);
    assert_int_equal(capability_of(STR("message_append-own")), MAY_MESSAGE_APPEND_OWN);
    assert_int_equal(capability_of(STR("push-subscribe")), MAY_PUSH_SUBSCRIBE);
    assert_int_equal(capability_of(STR("Publish")), CAPABILITIES);
    assert_int_equal(capability_of(STR("publis")), CAPABILITIES);
    assert_int_equal(capability_of(STR("")), CAPABILITIES);
}

static struct capabilities *of_token(const char *json)
{
    const char *wrong;
    struct capabilities *c = capabilities_of_token(str_of(json), &wrong);
    if (c == NULL)
        fail_msg("%s", wrong);
    return c;
}

static struct capabilities *of_signin(const char *json)
{
    const char *wrong;
    struct capabilities *c = capabilities_of_signin(str_of(json), &wrong);
    if (wrong != NULL)
        fail_msg("%s", wrong);
    return c;
}

static void nothing_implies_anything_else(void **state)
{
    struct capabilities *c = of_token("{\"a\":[\"message-append-any\"],\"b*\":[\"publish\",\"history\"]}");
    assert_true(capabilities_allow(c, MAY_MESSAGE_APPEND_ANY, STR("a")));
    assert_false(capabilities_allow(c, MAY_MESSAGE_APPEND_OWN, STR("a")));
    assert_false(capabilities_allow(c, MAY_PUBLISH, STR("a")));
    assert_true(capabilities_allow(c, MAY_PUBLISH, STR("bc")));
    assert_true(capabilities_allow(c, MAY_HISTORY, STR("bc")));
    assert_false(capabilities_allow(c, MAY_SUBSCRIBE, STR("bc")));
    capabilities_free(c);
}

/* Chapter 4, 4.3: a token that lists none of the first four is denied them; a sign-in without a list is not. */
static void lists_that_are_missing_mean_denied_in_a_token_only(void **state)
{
    struct capabilities *token = of_token("{}"), *signin = of_signin("{\"publish\":[]}");
    for (int op = MAY_SUBSCRIBE; op < CAPABILITIES; op++) {
        assert_false(capabilities_allow(token, op, STR("c")));
        assert_int_equal(capabilities_allow(NULL, op, STR("c")), op <= MAY_PRESENCE);
        assert_int_equal(capabilities_allow(signin, op, STR("c")), op <= MAY_PRESENCE && op != MAY_PUBLISH);
    }
    capabilities_free(token);
    capabilities_free(signin);
}

static void a_sign_in_lists_patterns_by_operation(void **state)
{
    struct capabilities *c = of_signin("{\"message_update_own\":[\"ro\\u006fm:*\",\"x\"],\"fly\":[\"*\"],\"publish\":[\"x\"]}");
    assert_true(capabilities_allow(c, MAY_MESSAGE_UPDATE_OWN, STR("room:1")));
    assert_true(capabilities_allow(c, MAY_MESSAGE_UPDATE_OWN, STR("x")));
    assert_false(capabilities_allow(c, MAY_MESSAGE_UPDATE_ANY, STR("x")));
    assert_false(capabilities_allow(c, MAY_PUBLISH, STR("y")));
    capabilities_free(c);
    assert_null(of_signin(NULL));
}

static void bad_capabilities_are_refused_with_a_reason(void **state)
{
    static const char *const token[] = {"[]",          "{\"\":[\"publish\"]}", "{\"a\":\"publish\"}",
                                        "{\"a\":[1]}", "{\"a\":[\"fly\"]}",    "{\"a\":[null]}"};
    static const char *const signin[] = {"[]", "{\"publish\":\"a\"}", "{\"publish\":[1]}"};
    const char *wrong;
    for (size_t i = 0; i < sizeof token / sizeof *token; i++) {
        assert_null(capabilities_of_token(str_of(token[i]), &wrong));
        assert_non_null(wrong);
    }
    for (size_t i = 0; i < sizeof signin / sizeof *signin; i++) {
        assert_null(capabilities_of_signin(str_of(signin[i]), &wrong));
        assert_non_null(wrong);
    }
}

static void a_token_has_at_most_a_hundred_patterns(void **state)
{
    for (int patterns = 100; patterns <= 101; patterns++) {
        struct buf json = {0};
        const char *wrong;
        buf_char(&json, '{');
        for (int i = 0; i < patterns; i++)
            buf_fmt(&json, "%s\"c%d\":[\"publish\"]", i ? "," : "", i);
        buf_char(&json, '}');
        struct capabilities *c = capabilities_of_token(buf_view(&json), &wrong);
        assert_int_equal(c != NULL, patterns == 100);
        if (c != NULL)
            assert_true(capabilities_allow(c, MAY_PUBLISH, STR("c99")));
        capabilities_free(c);
        buf_free(&json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns),
        cmocka_unit_test(operations_are_known_in_both_spellings),
        cmocka_unit_test(nothing_implies_anything_else),
        cmocka_unit_test(lists_that_are_missing_mean_denied_in_a_token_only),
        cmocka_unit_test(a_sign_in_lists_patterns_by_operation),
        cmocka_unit_test(bad_capabilities_are_refused_with_a_reason),
        cmocka_unit_test(a_token_has_at_most_a_hundred_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
