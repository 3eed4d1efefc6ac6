/* cursor_test.c - a cursor survives its text, and is refused where it does not belong (chapter 3, 2.6).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit.h"

#include "message/cursor.h"

static struct arena arena;
static struct cursor back;

static int forget(void **state)
{
    arena_free(&arena);
    return 0;
}

static const struct cursor plain = {
    .app_id = STR("7"),
    .channel = STR("chat \"1\""),
    .stream_id = STR("S"),
    .serial = 9007199254740993,
    .direction = OLDEST_FIRST,
    .bounds = {.has_end_serial = true, .end_serial = UINT64_MAX, .has_start_time = true, .start_time_ms = -5},
};

static struct str text_of(const struct cursor *c)
{
    struct buf b = {0};
    cursor_put(&b, c);
    struct str copy = arena_copy(&arena, buf_view(&b));
    buf_free(&b);
    return copy;
}

static const char *read(struct str text, struct cursor request)
{
    const char *wrong = cursor_read(text, &request, &arena, &back);
    return wrong ? wrong : "ok";
}

static struct str encoded(const char *json)
{
    struct buf b = {0};
    base64url_put(&b, str_of(json));
    struct str copy = arena_copy(&arena, buf_view(&b));
    buf_free(&b);
    return copy;
}

static void a_cursor_survives_its_text(void **state)
{
    assert_string_equal(read(text_of(&plain), plain), "ok");
    assert_str(back.stream_id, "S");
    assert_int_equal(back.serial, 9007199254740993);
    assert_int_equal(back.bounds.start_time_ms, -5);
    assert_false(back.bounds.has_start_serial);
}

/* Cursors travel in URLs that SDKs do not encode. */
static void its_text_is_safe_in_a_query(void **state)
{
    struct str text = text_of(&plain);
    for (size_t i = 0; i < text.n; i++)
        assert_null(memchr("+%&=#/ ", text.p[i], 7));
}

static void the_layout_is_that_of_the_reference(void **state)
{
    struct cursor c = {.app_id = STR("7"), .channel = STR("c"), .stream_id = STR("S"), .serial = 12};
    struct buf json = {0};
    assert_true(base64url_decode(&json, text_of(&c)));
    assert_str(buf_view(&json), "{\"version\":1,\"app_id\":\"7\",\"channel\":\"c\",\"stream_id\":\"S\","
                                "\"serial\":12,\"direction\":\"newest_first\","
                                "\"bounds\":{\"start_serial\":null,\"end_serial\":null,\"start_time_ms\":"
                                "null,\"end_time_ms\":null}}");
    buf_free(&json);
}

static void what_does_not_match_the_request_is_refused(void **state)
{
    struct str text = text_of(&plain);
    struct cursor r = plain;
    r.app_id = STR("8");
    assert_string_equal(read(text, r), "History cursor app does not match the request");
    r = plain;
    r.channel = STR("chat");
    assert_string_equal(read(text, r), "History cursor channel does not match the request");
    r = plain;
    r.direction = NEWEST_FIRST;
    assert_string_equal(read(text, r), "History cursor direction does not match the request");
    r = plain;
    r.bounds.has_start_time = false;
    r.bounds.start_time_ms = 0;
    assert_string_equal(read(text, r), "History cursor bounds do not match the request");
    r = plain;
    r.bounds.end_serial--;
    assert_string_equal(read(text, r), "History cursor bounds do not match the request");
}

static void what_is_no_cursor_is_refused(void **state)
{
    assert_string_equal(read(STR("a+b"), plain), "Invalid history cursor: not URL-safe base64");
    assert_true(str_starts(str_of(read(STR(""), plain)), STR("Invalid history cursor: ")));
    assert_string_equal(read(encoded("[]"), plain), "Invalid history cursor: not a JSON object");
    assert_string_equal(read(encoded("{}"), plain), "Invalid history cursor: version must be an integer");
    assert_string_equal(read(encoded("{\"version\":2}"), plain), "Unsupported history cursor version: 2");
    assert_string_equal(read(encoded("{\"version\":1,\"app_id\":7}"), plain),
                        "Invalid history cursor: app_id must be a string");
    assert_string_equal(read(encoded("{\"version\":1,\"app_id\":\"7\",\"channel\":\"c\",\"stream_id\":\"S\","
                                     "\"serial\":1,\"direction\":\"up\"}"),
                             plain),
                        "Invalid history cursor: direction must be newest_first or oldest_first");
    assert_string_equal(
        read(encoded("{\"version\":1,\"app_id\":\"7\",\"channel\":\"c\",\"stream_id\":\"S\",\"serial\":1,"
                     "\"direction\":\"oldest_first\",\"bounds\":{\"end_serial\":\"1\"}}"),
             plain),
        "Invalid history cursor: bounds must be an object of integers");
}

/* The size is checked before anything is decoded. */
static void sixteen_kibibytes_are_the_limit(void **state)
{
    static char text[CURSOR_SIZE_MAX + 1];
    memset(text, '!', sizeof text);
    assert_string_equal(read(str_make(text, sizeof text), plain), "History cursor exceeds 16 KiB");
    assert_string_equal(read(str_make(text, sizeof text - 1), plain),
                        "Invalid history cursor: not URL-safe base64");
}

static void the_head_tells_whether_a_cursor_has_expired(void **state)
{
    struct cursor c = {.stream_id = STR("S"), .serial = 5};
    struct store_head head = {.stream_id = "S", .oldest_history = 5};
    assert_null(cursor_check(&c, &head));
    head.oldest_history = 6;
    assert_string_equal(cursor_check(&c, &head),
                        "Expired history cursor: cursor points before retained history");
    head.stream_id[0] = 'T';
    assert_string_equal(cursor_check(&c, &head), "Expired history cursor: channel stream changed");
}

#define T(test) cmocka_unit_test_teardown(test, forget)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_cursor_survives_its_text),
        T(its_text_is_safe_in_a_query),
        T(the_layout_is_that_of_the_reference),
        T(what_does_not_match_the_request_is_refused),
        T(what_is_no_cursor_is_refused),
        T(sixteen_kibibytes_are_the_limit),
        T(the_head_tells_whether_a_cursor_has_expired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
