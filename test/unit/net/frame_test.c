/* frame_test.c - the bytes of a frame.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "net/frame.h"

static void check_head(size_t payload_bytes, const char *head, size_t head_bytes)
{
    char *payload = calloc(1, payload_bytes + 1);
    struct frame *f = frame_new(FRAME_TEXT, str_make(payload, payload_bytes));
    assert_int_equal(frame_wire(f).n, head_bytes + payload_bytes);
    assert_memory_equal(frame_wire(f).p, head, head_bytes);
    assert_int_equal(frame_payload(f).n, payload_bytes);
    frame_drop(f);
    free(payload);
}

/* RFC 6455, 5.2: the shortest form that fits. */
static void the_length_takes_the_shortest_form(void **state)
{
    check_head(0, "\x81\x00", 2);
    check_head(125, "\x81\x7d", 2);
    check_head(126, "\x81\x7e\x00\x7e", 4);
    check_head(65535, "\x81\x7e\xff\xff", 4);
    check_head(65536, "\x81\x7f\0\0\0\0\0\x01\0\0", 10);
}

static void the_payload_is_copied_as_it_is(void **state)
{
    char text[] = "Hello";
    struct frame *f = frame_new(FRAME_BINARY, str_of(text));
    text[0] = 'J';
    assert_memory_equal(frame_wire(f).p, "\x82\x05Hello", 7);
    assert_memory_equal(frame_payload(f).p, "Hello", 5);
    frame_drop(f);
}

static void a_close_frame_carries_code_and_reason(void **state)
{
    struct frame *f = frame_new_close(4001, STR("no app"));
    assert_memory_equal(frame_wire(f).p, "\x88\x08\x0f\xa1no app", 10);
    frame_drop(f);
}

/* A browser would fail the connection for half a character. */
static void a_long_close_reason_is_cut_between_characters(void **state)
{
    char reason[126];
    memset(reason, 'x', sizeof reason);
    memcpy(reason + 121, "\xe2\x82\xac", 3); /* bytes 121..123: does not fit in 123 */
    struct frame *f = frame_new_close(1000, str_make(reason, sizeof reason));
    assert_int_equal(frame_payload(f).n, 2 + 121);
    frame_drop(f);
}

static void raw_bytes_have_no_header(void **state)
{
    struct frame *f = frame_new_raw(4);
    memcpy(frame_room(f), "HTTP", 4);
    assert_int_equal(frame_wire(f).n, 4);
    assert_memory_equal(frame_wire(f).p, "HTTP", 4);
    frame_drop(f);
}

/* Sanitizers notice if it is freed too early or not at all. */
static void the_last_reference_frees(void **state)
{
    struct frame *f = frame_new(FRAME_TEXT, STR("a"));
    frame_take(f);
    frame_take_many(f, 10);
    frame_drop_many(f, 11);
    assert_memory_equal(frame_payload(f).p, "a", 1);
    frame_drop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_length_takes_the_shortest_form),
        cmocka_unit_test(the_payload_is_copied_as_it_is),
        cmocka_unit_test(a_close_frame_carries_code_and_reason),
        cmocka_unit_test(a_long_close_reason_is_cut_between_characters),
        cmocka_unit_test(raw_bytes_have_no_header),
        cmocka_unit_test(the_last_reference_frees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
