/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/internal.h"
#include "../support/unit.h"

static void memory_is_in_bytes(void **state)
{
    struct memory m = memory_of(STR("MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    250 kB\n"));
    assert_int_equal(m.total, 1024000);
    assert_int_equal(m.free, 256000);
    assert_int_equal(m.used, 768000);
    assert_true(m.percent == 75.0);
}

static void unreadable_memory_is_none(void **state)
{
    struct memory m = memory_of(STR(""));
    assert_int_equal(m.total, 0);
    assert_true(m.percent == 0);
}

/* The name of a program may hold anything, spaces and parentheses too. */
static void a_process_is_read_behind_its_name(void **state)
{
    struct process p = process_of(
        STR("12 (so) 9 kudo) S 1 12 12 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 5 0 300 4096000 25 1844674407\n"),
        100, 4096, 1700000000);
    assert_true(p.cpu_seconds == 2.0);
    assert_true(p.start_time_seconds == 1700000003);
    assert_true(p.virtual_bytes == 4096000);
    assert_true(p.resident_bytes == 25 * 4096);
}

static void our_own_process_is_plausible(void **state)
{
    struct process p = process_read();
    assert_true(p.resident_bytes > 100000);
    assert_true(p.open_fds >= 3);
    assert_int_equal((int)p.open_fds, (int)walk_fds());
    assert_true(p.start_time_seconds > 1500000000);
    assert_true(memory_read().total > 1 << 20);
}

/* What an operator plans with must be there: files for the store and for requests are not for sockets. */
static void the_budget_is_what_is_set_as_far_as_files_allow(void **state)
{
    struct config config = {0};
    assert_int_equal(connections_budget(&config, 20000), 19000);
    assert_int_equal(connections_budget(&config, 1024), 512);
    config.max_connections = 5000;
    assert_int_equal(connections_budget(&config, 20000), 5000);
    assert_int_equal(connections_budget(&config, 4000), 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_in_bytes),
        cmocka_unit_test(unreadable_memory_is_none),
        cmocka_unit_test(a_process_is_read_behind_its_name),
        cmocka_unit_test(our_own_process_is_plausible),
        cmocka_unit_test(the_budget_is_what_is_set_as_far_as_files_allow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
