/* SPDX-License-Identifier: Apache-2.0 */
#include "api/serials.h"
#include "../support/unit.h"

static const struct message_id message = {.create_delivery = 3, .history = 2, .stream8 = 0x9f3c01ab};
#define SERIAL_7 "00000000000000000007:9f3c01ab:00000000000000000002"

static uint64_t above(const char *text)
{
    return serial_bound(str_of(text), &message, OLDEST_FIRST);
}

static uint64_t below(const char *text)
{
    return serial_bound(str_of(text), &message, NEWEST_FIRST);
}

static void a_serial_excludes_itself_both_ways(void **state)
{
    assert_int_equal(above(SERIAL_7), 7);
    assert_int_equal(below(SERIAL_7), 7);
}

static void a_cursor_between_two_serials_excludes_neither(void **state)
{
    assert_int_equal(above(SERIAL_7 "x"), 7);
    assert_int_equal(below(SERIAL_7 "x"), 8);
    assert_int_equal(above("00000000000000000007"), 6);
    assert_int_equal(below("00000000000000000007"), 7);
    assert_int_equal(above("00000000000000000007:00000000:x"), 6);
    assert_int_equal(below("00000000000000000007:ffffffff:x"), 8);
}

static void any_text_stands_somewhere(void **state)
{
    assert_int_equal(above("!"), 0);
    assert_int_equal(below("!"), 1);
    assert_true(above("z") > 1ull << 60);
    assert_true(below("z") > 1ull << 60);
    assert_int_equal(above("0000000000000000000z"), 9);
    assert_int_equal(below("0000000000000000000z"), 10);
    assert_true(above("99999999999999999999:") == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_serial_excludes_itself_both_ways),
        cmocka_unit_test(a_cursor_between_two_serials_excludes_neither),
        cmocka_unit_test(any_text_stands_somewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
