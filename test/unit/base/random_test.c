/* SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"
#include "base/clock.h"
#include "../support/unit.h"

static void one_seed_gives_one_sequence(void **state)
{
    struct random a, b, other;
    random_from_seed(&a, 42);
    random_from_seed(&b, 42);
    random_from_seed(&other, 43);
    for (int i = 0; i < 100; i++) {
        uint64_t x = random_u64(&a);
        assert_true(x == random_u64(&b));
        assert_true(x != random_u64(&other));
    }
}

/* The reference implementation's first outputs for the state 1, 2, 3, 4. */
static void the_sequence_is_xoshiro256_starstar(void **state)
{
    struct random r = {{1, 2, 3, 4}};
    assert_true(random_u64(&r) == 11520);
    assert_true(random_u64(&r) == 0);
    assert_true(random_u64(&r) == 1509978240);
    assert_true(random_u64(&r) == 1215971899390074240);
}

static void below_reaches_every_value_about_equally(void **state)
{
    struct random r;
    int seen[10] = {0};
    random_from_seed(&r, 1);
    for (int i = 0; i < 100000; i++)
        seen[random_below(&r, 10)]++;
    for (int i = 0; i < 10; i++)
        assert_in_range(seen[i], 9500, 10500);
    assert_int_equal(random_below(&r, 1), 0);
}

static void a_uuid_has_its_version_and_all_its_randomness(void **state)
{
    struct random r;
    char uuid[37];
    unsigned seen[36] = {0};
    random_from_kernel(&r);
    for (int i = 0; i < 1000; i++) {
        random_uuid(&r, uuid);
        assert_int_equal(strlen(uuid), 36);
        assert_int_equal(uuid[14], '4');
        assert_non_null(strchr("89ab", uuid[19]));
        for (int k = 0; k < 36; k++)
            seen[k] |=
                uuid[k] == '-' ? 0x10000u : 1u << (uuid[k] <= '9' ? uuid[k] - '0' : uuid[k] - 'a' + 10);
    }
    for (int k = 0; k < 36; k++)
        if (k == 8 || k == 13 || k == 18 || k == 23)
            assert_int_equal(seen[k], 0x10000);
        else if (k != 14 && k != 19)
            assert_int_equal(seen[k], 0xFFFF);
}

static void the_system_clock_goes_forward_and_knows_the_year(void **state)
{
    uint64_t before = clock_mono_ns(&clock_system);
    assert_true(clock_mono_ns(&clock_system) >= before);
    assert_true(clock_wall_ms(&clock_system) > 1700000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_seed_gives_one_sequence),
        cmocka_unit_test(the_sequence_is_xoshiro256_starstar),
        cmocka_unit_test(below_reaches_every_value_about_equally),
        cmocka_unit_test(a_uuid_has_its_version_and_all_its_randomness),
        cmocka_unit_test(the_system_clock_goes_forward_and_knows_the_year),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
