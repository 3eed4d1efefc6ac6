/* extras_test.c - what the server reads from published extras.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit.h"

#include "wire/envelope.h"

static struct arena arena;
static struct extras_facts facts;

static const char *read(const char *extras)
{
    return extras_read(str_of(extras), &arena, &facts);
}

static int forget(void **state)
{
    arena_free(&arena);
    return 0;
}

static void absent_extras_give_the_defaults(void **state)
{
    assert_null(read(NULL));
    assert_false(facts.ephemeral);
    assert_int_equal(facts.echo, -1);
    assert_absent(facts.idempotency_key);
    assert_false(facts.has_ai);
    assert_int_equal(facts.status, STREAM_NONE);
}

static void every_fact_is_found_in_one_object(void **state)
{
    assert_null(
        read("{\"ephemeral\":true,\"echo\":false,\"idempotencyKey\":\"k\\n\",\"headers\":{\"a\":1,\"b\":"
             "\"x\",\"c\":true},"
             "\"push\":{\"deep\":[{}]},\"ai\":{\"transport\":{\"status\":\"streaming\"},\"codec\":{}}}"));
    assert_true(facts.ephemeral);
    assert_int_equal(facts.echo, 0);
    assert_str(facts.idempotency_key, "k\n");
    assert_str(facts.headers, "{\"a\":1,\"b\":\"x\",\"c\":true}");
    assert_true(facts.has_ai);
    assert_str(facts.transport, "{\"status\":\"streaming\"}");
    assert_str(facts.codec, "{}");
    assert_int_equal(facts.status, STREAM_OPEN);
    assert_false(facts.codec_or_transport_terminal);
}

static void the_snake_case_key_and_nulls_are_accepted(void **state)
{
    assert_null(read("{\"idempotency_key\":\"k\",\"headers\":null,\"ai\":null,\"echo\":null}"));
    assert_str(facts.idempotency_key, "k");
    assert_false(facts.has_ai);
    assert_absent(facts.headers);
}

/* Chapter 3, AIT-S21. */
static void wrong_shapes_are_named(void **state)
{
    assert_string_equal(read("[]"), "extras must be an object");
    assert_string_equal(read("{\"headers\":[]}"), "extras.headers must be an object");
    assert_string_equal(read("{\"headers\":{\"a\":{}}}"),
                        "extras.headers values must be strings, numbers or booleans");
    assert_string_equal(read("{\"headers\":{\"a\":null}}"),
                        "extras.headers values must be strings, numbers or booleans");
    assert_string_equal(read("{\"ephemeral\":1}"), "extras.ephemeral must be a boolean");
    assert_string_equal(read("{\"echo\":\"no\"}"), "extras.echo must be a boolean");
    assert_string_equal(read("{\"idempotencyKey\":7}"), "extras.idempotencyKey must be a string");
    assert_string_equal(read("{\"ai\":[]}"), "extras.ai must be an object");
    assert_string_equal(read("{\"ai\":{\"transport\":{\"a\":1}}}"),
                        "extras.ai.transport values must be strings");
    assert_string_equal(read("{\"ai\":{\"transport\":\"x\"}}"), "extras.ai.transport must be an object");
    assert_string_equal(read("{\"ai\":{\"codec\":{\"a\":null}}}"), "extras.ai.codec values must be strings");
}

/* Chapter 3, 1.5: the codec tier is read first. */
static void the_codec_status_decides_before_the_transport_status(void **state)
{
    assert_null(read("{\"ai\":{\"transport\":{\"status\":\"complete\"}}}"));
    assert_int_equal(facts.status, STREAM_COMPLETE);
    assert_true(facts.codec_or_transport_terminal);
    assert_null(
        read("{\"ai\":{\"codec\":{\"status\":\"cancelled\"},\"transport\":{\"status\":\"streaming\"}}}"));
    assert_int_equal(facts.status, STREAM_OPEN);
    assert_true(facts.codec_or_transport_terminal);
    assert_null(
        read("{\"ai\":{\"codec\":{\"status\":\"streaming\"},\"transport\":{\"status\":\"complete\"}}}"));
    assert_false(facts.codec_or_transport_terminal);
}

static void the_last_of_two_equal_keys_wins(void **state)
{
    assert_null(read("{\"ai\":{\"transport\":{\"status\":\"streaming\"}},\"a\\u0069\":{\"codec\":{}}}"));
    assert_absent(facts.transport);
    assert_int_equal(facts.status, STREAM_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(absent_extras_give_the_defaults, forget),
        cmocka_unit_test_teardown(every_fact_is_found_in_one_object, forget),
        cmocka_unit_test_teardown(the_snake_case_key_and_nulls_are_accepted, forget),
        cmocka_unit_test_teardown(wrong_shapes_are_named, forget),
        cmocka_unit_test_teardown(the_codec_status_decides_before_the_transport_status, forget),
        cmocka_unit_test_teardown(the_last_of_two_equal_keys_wins, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
