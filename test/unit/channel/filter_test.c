/* filter_test.c - shapes, limits, texts and answers of subscription filters (chapter 5, section 9).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit.h"

#include "base/json.h"
#include "channel/filter.h"

static struct config config;
static struct arena arena;
static struct filter *filter;

static int setup(void **state)
{
    config = (struct config){0};
    config.event_name_filtering.enabled = config.tag_filtering.enabled = true;
    config.event_name_filtering.max_events_per_filter = 50;
    config.event_name_filtering.max_event_name_length = 200;
    return 0;
}

static int teardown(void **state)
{
    filter_free(filter);
    filter = NULL;
    arena_free(&arena);
    return 0;
}

static const char *read_str(struct str text)
{
    struct str value;
    assert_true(json_check(text, &value, NULL));
    filter_free(filter);
    const char *wrong = filter_read(&config, value, &arena, &filter);
    return wrong ? wrong : "ok";
}

static const char *read(const char *text)
{
    return read_str(str_of(text));
}

static bool accepts(const char *event, const char *tags)
{
    return filter_accepts(filter, str_of(event), str_of(tags));
}

/* One leaf on tag k. */
static bool leaf(const char *cmp_and_val, const char *tags)
{
    char text[256];
    snprintf(text, sizeof text, "{\"key\":\"k\",\"cmp\":%s}", cmp_and_val);
    assert_string_equal(read(text), "ok");
    return accepts("e", tags);
}

static void nothing_given_means_no_filter(void **state)
{
    assert_null(filter_read(&config, STR_NONE, &arena, &filter));
    assert_null(filter);
    assert_string_equal(read("null"), "ok");
    assert_null(filter);
    assert_string_equal(read("{\"events\":[]}"), "ok");
    assert_null(filter);
    assert_string_equal(read("{\"tags\":null}"), "ok");
    assert_null(filter);
}

static void events_match_exactly(void **state)
{
    assert_string_equal(read("{\"events\":[\"tick\",\"tr\\u0061de\"]}"), "ok");
    assert_true(accepts("tick", NULL));
    assert_true(accepts("trade", NULL));
    assert_false(accepts("Tick", NULL));
    assert_false(accepts("", NULL));
}

static void all_given_parts_must_match(void **state)
{
    assert_string_equal(read("{\"events\":[\"tick\"],\"tags\":{\"key\":\"k\",\"cmp\":\"eq\",\"val\":\"v\"}}"),
                        "ok");
    assert_true(accepts("tick", "{\"k\":\"v\"}"));
    assert_false(accepts("tick", "{\"k\":\"w\"}"));
    assert_false(accepts("x", "{\"k\":\"v\"}"));
}

static void operators_compare_text(void **state)
{
    assert_true(leaf("\"eq\",\"val\":\"v\"", "{\"k\":\"v\"}"));
    assert_false(leaf("\"eq\",\"val\":\"v\"", "{\"k\":\"vv\"}"));
    assert_true(leaf("\"neq\",\"val\":\"v\"", "{\"k\":\"w\"}"));
    assert_true(leaf("\"in\",\"vals\":[\"a\",7,true]", "{\"k\":\"7\"}"));
    assert_true(leaf("\"in\",\"vals\":[\"a\",7,true]", "{\"k\":\"true\"}"));
    assert_false(leaf("\"nin\",\"vals\":[\"a\",7]", "{\"k\":\"a\"}"));
    assert_true(leaf("\"ex\"", "{\"k\":\"\"}"));
    assert_false(leaf("\"nex\"", "{\"k\":\"\"}"));
    assert_true(leaf("\"sw\",\"val\":\"ab\"", "{\"k\":\"abc\"}"));
    assert_true(leaf("\"ew\",\"val\":\"bc\"", "{\"k\":\"abc\"}"));
    assert_true(leaf("\"ct\",\"val\":\"b\"", "{\"k\":\"a\\u0062c\"}"));
    assert_false(leaf("\"ct\",\"val\":\"x\"", "{\"k\":\"abc\"}"));
    assert_true(leaf("\"eq\",\"val\":7", "{\"k\":\"7\"}"));
}

static void numbers_compare_as_decimals(void **state)
{
    assert_true(leaf("\"gt\",\"val\":9", "{\"k\":\"10\"}"));
    assert_true(leaf("\"lt\",\"val\":\"0.30\"", "{\"k\":\"0.29999999999999999999\"}"));
    assert_true(leaf("\"gte\",\"val\":\"1.50\"", "{\"k\":\"+001.5\"}"));
    assert_true(leaf("\"lte\",\"val\":\"-0\"", "{\"k\":\"0.0\"}"));
    assert_true(leaf("\"lt\",\"val\":\"-1.5\"", "{\"k\":\"-2\"}"));
    assert_false(leaf("\"gt\",\"val\":\"9007199254740992\"", "{\"k\":\"9007199254740992\"}"));
    assert_true(leaf("\"gt\",\"val\":\"9007199254740992\"", "{\"k\":\"9007199254740993\"}"));
    assert_false(leaf("\"gt\",\"val\":\"10\"", "{\"k\":\"9.5\"}")); /* as text it would be greater */
    assert_false(leaf("\"gt\",\"val\":\"10\"", "{\"k\":\"abc\"}"));
    assert_true(leaf("\"gt\",\"val\":10", "{\"k\":\"10.5\"}"));
    assert_false(leaf("\"gte\",\"val\":1", "{\"k\":\"one\"}"));
    assert_false(leaf("\"lte\",\"val\":\"one\"", "{\"k\":\"1\"}"));
    assert_false(leaf("\"lte\",\"val\":1", "{\"k\":\".\"}"));
    assert_false(leaf("\"lt\",\"val\":1", "{\"k\":\"1e-3\"}"));
    assert_true(leaf("\"lt\",\"val\":1", "{\"k\":\".5\"}"));
}

static void a_missing_tag_satisfies_only_the_negatives(void **state)
{
    const char *const none[] = {NULL, "{}", "{\"other\":\"v\"}"};
    for (size_t i = 0; i < 3; i++) {
        assert_true(leaf("\"neq\",\"val\":\"v\"", none[i]));
        assert_true(leaf("\"nin\",\"vals\":[\"v\"]", none[i]));
        assert_true(leaf("\"nex\"", none[i]));
        assert_false(leaf("\"eq\",\"val\":\"v\"", none[i]));
        assert_false(leaf("\"ex\"", none[i]));
        assert_false(leaf("\"in\",\"vals\":[\"v\"]", none[i]));
        assert_false(leaf("\"lt\",\"val\":1", none[i]));
    }
}

static void branches_combine(void **state)
{
    assert_string_equal(read("{\"op\":\"and\",\"nodes\":[{\"op\":\"or\",\"nodes\":[{\"key\":\"a\",\"cmp\":"
                             "\"ex\"},{\"key\":\"b\",\"cmp\":\"ex\"}]},"
                             "{\"op\":\"not\",\"nodes\":[{\"key\":\"c\",\"cmp\":\"eq\",\"val\":\"x\"}]}]}"),
                        "ok");
    assert_true(accepts("e", "{\"a\":\"1\"}"));
    assert_true(accepts("e", "{\"b\":\"1\",\"c\":\"y\"}"));
    assert_false(accepts("e", "{\"c\":\"y\"}"));
    assert_false(accepts("e", "{\"a\":\"1\",\"c\":\"x\"}"));
    assert_false(accepts("e", NULL));
}

static void wrong_events_are_named(void **state)
{
    assert_string_equal(read("{\"events\":\"tick\"}"), "filter.events must be an array of non-empty strings");
    assert_string_equal(read("{\"events\":[1]}"), "filter.events must contain only non-empty strings");
    assert_string_equal(read("{\"events\":[\"\"]}"), "filter.events must contain only non-empty strings");
    struct buf b = {0};
    buf_lit(&b, "{\"events\":[\"e\"");
    for (int i = 1; i < 50; i++)
        buf_fmt(&b, ",\"e%d\"", i);
    size_t fifty = b.n;
    buf_lit(&b, "]}");
    assert_string_equal(read_str(buf_view(&b)), "ok");
    b.n = fifty;
    buf_lit(&b, ",\"x\"]}");
    assert_string_equal(read_str(buf_view(&b)), "filter.events exceeds maximum of 50 event names");
    buf_free(&b);
    config.event_name_filtering.max_events_per_filter = 2;
    assert_string_equal(read("{\"events\":[\"a\",\"b\",\"c\"]}"),
                        "filter.events exceeds maximum of 2 event names");
    config.event_name_filtering.max_event_name_length = 2;
    assert_string_equal(read("{\"events\":[\"ab\"]}"), "ok");
    assert_string_equal(read("{\"events\":[\"abc\"]}"),
                        "Invalid subscription filter: event name exceeds 2 bytes");
}

static void wrong_tag_nodes_are_named_with_their_place(void **state)
{
    assert_string_equal(read("7"), "Invalid tags filter shape: expected an object");
    assert_string_equal(read("{}"), "Invalid tags filter: Leaf node requires a non-empty key");
    assert_string_equal(read("{\"key\":7}"), "Invalid tags filter shape: key must be a string");
    assert_string_equal(read("{\"key\":\"k\"}"),
                        "Invalid tags filter: Leaf node requires a comparison operator");
    assert_string_equal(read("{\"key\":\"k\",\"cmp\":\"like\"}"),
                        "Invalid tags filter: unknown comparison operator: like");
    assert_string_equal(read("{\"key\":\"k\",\"cmp\":\"eq\"}"),
                        "Invalid tags filter: eq operation requires a non-empty val");
    assert_string_equal(read("{\"key\":\"k\",\"cmp\":\"gt\",\"val\":\"\"}"),
                        "Invalid tags filter: gt operation requires a non-empty val");
    assert_string_equal(read("{\"key\":\"k\",\"cmp\":\"eq\",\"val\":[]}"),
                        "Invalid tags filter shape: values must be strings, numbers or booleans");
    assert_string_equal(read("{\"key\":\"k\",\"cmp\":\"in\"}"),
                        "Invalid tags filter: in operation requires at least one value in vals");
    assert_string_equal(read("{\"op\":\"xor\",\"nodes\":[]}"),
                        "Invalid tags filter: unknown logical operator: xor");
    assert_string_equal(read("{\"op\":\"not\",\"nodes\":[]}"),
                        "Invalid tags filter: not operation requires exactly one child node, got 0");
    assert_string_equal(read("{\"op\":\"and\"}"),
                        "Invalid tags filter: and operation requires at least one child node");
    assert_string_equal(
        read("{\"tags\":{\"op\":\"or\",\"nodes\":[{\"key\":\"k\",\"cmp\":\"ex\"},{\"op\":\"not\",\"nodes\":[{"
             "\"cmp\":\"ex\"}]}]}}"),
        "Invalid tags filter: Child node 1: Child node 0: Leaf node requires a non-empty key");
}

/* Applying only a part of what was asked for would deliver what nobody wanted. */
static void expressions_are_refused(void **state)
{
    assert_string_equal(read("{\"expression\":\"tags.a\"}"),
                        "Unsupported filter expression language 'jmespath': "
                        "JMESPath expressions are not available in this build");
    assert_string_equal(read("{\"expression\":{\"language\":\"sql\",\"source\":\"x\"}}"),
                        "Unsupported filter expression language 'sql'");
    assert_string_equal(read("{\"expression\":{\"language\":\"jmespath\",\"source\":\"\"}}"),
                        "filter.expression.source must be a non-empty string");
    assert_string_equal(read("{\"expression\":7}"), "filter.expression must be a JMESPath string or object");
}

static struct str nested(struct buf *b, int depth)
{
    for (int i = 1; i < depth; i++)
        buf_lit(b, "{\"op\":\"not\",\"nodes\":[");
    buf_lit(b, "{\"key\":\"k\",\"cmp\":\"ex\"}");
    for (int i = 1; i < depth; i++)
        buf_lit(b, "]}");
    return buf_view(b);
}

static struct str wide(struct buf *b, int nodes)
{
    buf_lit(b, "{\"op\":\"or\",\"nodes\":[");
    for (int i = 1; i < nodes; i++)
        buf_fmt(b, "%s{\"key\":\"k%d\",\"cmp\":\"ex\"}", i > 1 ? "," : "", i);
    buf_lit(b, "]}");
    return buf_view(b);
}

static void depth_and_nodes_are_bounded(void **state)
{
    struct buf b = {0};
    assert_string_equal(read_str(nested(&b, 16)), "ok");
    assert_false(accepts("e", "{\"k\":\"\"}"));
    buf_clear(&b);
    assert_string_equal(read_str(nested(&b, 17)), "Invalid subscription filter: depth exceeds 16");
    buf_clear(&b);
    assert_string_equal(read_str(wide(&b, 128)), "ok");
    assert_true(accepts("e", "{\"k127\":\"\"}"));
    buf_clear(&b);
    assert_string_equal(read_str(wide(&b, 129)), "Invalid subscription filter: more than 128 nodes");
    buf_free(&b);
}

static const char *leaf_of(struct buf *b, size_t key, size_t val)
{
    buf_clear(b);
    buf_lit(b, "{\"key\":\"");
    while (key-- > 0)
        buf_char(b, 'k');
    buf_lit(b, "\",\"cmp\":\"eq\",\"val\":\"");
    while (val-- > 0)
        buf_char(b, 'v');
    buf_lit(b, "\"}");
    return read_str(buf_view(b));
}

static const char *values_of(struct buf *b, int count)
{
    buf_clear(b);
    buf_lit(b, "{\"key\":\"k\",\"cmp\":\"in\",\"vals\":[0");
    for (int i = 1; i < count; i++)
        buf_fmt(b, ",%d", i);
    buf_lit(b, "]}");
    return read_str(buf_view(b));
}

static void keys_and_values_are_bounded(void **state)
{
    struct buf b = {0};
    assert_string_equal(leaf_of(&b, 256, 1024), "ok");
    assert_string_equal(leaf_of(&b, 257, 1), "Invalid subscription filter: key exceeds 256 bytes");
    assert_string_equal(leaf_of(&b, 1, 1025), "Invalid subscription filter: value exceeds 1024 bytes");
    assert_string_equal(values_of(&b, 128), "ok");
    assert_true(accepts("e", "{\"k\":\"127\"}"));
    assert_string_equal(values_of(&b, 129), "Invalid subscription filter: vals exceeds 128 values");
    buf_free(&b);
}

/* Switched off: still validated, no longer applied. */
static void switches_leave_parts_out_but_validate_them(void **state)
{
    const char *both = "{\"events\":[\"tick\"],\"tags\":{\"key\":\"k\",\"cmp\":\"ex\"}}";
    config.tag_filtering.enabled = false;
    assert_string_equal(read(both), "ok");
    assert_true(accepts("tick", NULL));
    assert_false(accepts("x", NULL));
    assert_string_equal(read("{\"key\":\"k\",\"cmp\":\"like\"}"),
                        "Invalid tags filter: unknown comparison operator: like");
    assert_string_equal(read("{\"key\":\"k\",\"cmp\":\"ex\"}"), "ok");
    assert_null(filter);
    config.event_name_filtering.enabled = false;
    assert_string_equal(read(both), "ok");
    assert_null(filter);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(nothing_given_means_no_filter),
        T(events_match_exactly),
        T(all_given_parts_must_match),
        T(operators_compare_text),
        T(numbers_compare_as_decimals),
        T(a_missing_tag_satisfies_only_the_negatives),
        T(branches_combine),
        T(wrong_events_are_named),
        T(wrong_tag_nodes_are_named_with_their_place),
        T(expressions_are_refused),
        T(depth_and_nodes_are_bounded),
        T(keys_and_values_are_bounded),
        T(switches_leave_parts_out_but_validate_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
