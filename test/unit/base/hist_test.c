/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hist.h"
#include "base/random.h"
#include "../support/unit.h"

#include <stdlib.h>

static void an_empty_histogram_answers_zero(void **state)
{
    struct hist *h = hist_new_default();
    assert_int_equal(hist_percentile(h, 99), 0);
    assert_int_equal(hist_min(h), 0);
    assert_int_equal(hist_max(h), 0);
    assert_true(hist_mean(h) == 0);
    hist_free(h);
}

static void small_values_are_exact(void **state)
{
    struct hist *h = hist_new_default();
    for (uint64_t v = 1; v <= 1000; v++)
        hist_record(h, v);
    assert_int_equal(hist_percentile(h, 0), 1);
    assert_int_equal(hist_percentile(h, 50), 500);
    assert_int_equal(hist_percentile(h, 99), 990);
    assert_int_equal(hist_percentile(h, 99.9), 999);
    assert_int_equal(hist_percentile(h, 100), 1000);
    assert_true(hist_mean(h) == 500.5);
    hist_free(h);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void a_percentile_is_at_most_a_thousandth_too_high(void **state)
{
    enum { COUNT = 10000 };
    static uint64_t values[COUNT];
    struct hist *h = hist_new_default();
    struct random r;
    random_from_seed(&r, 7);
    for (int i = 0; i < COUNT; i++) {
        values[i] = random_below(&r, 1ull << random_below(&r, 41));
        hist_record(h, values[i]);
    }
    qsort(values, COUNT, sizeof values[0], by_value);
    for (int percent = 1; percent <= 100; percent++) {
        uint64_t truth = values[COUNT / 100 * percent - 1], told = hist_percentile(h, percent);
        assert_true(told >= truth && (double)told <= (double)truth * 1.001);
    }
    hist_free(h);
}

static void values_beyond_the_limit_are_counted_and_the_maximum_is_true(void **state)
{
    struct hist *h = hist_new(1000, 2);
    hist_record(h, 5);
    hist_record(h, 123456789);
    assert_int_equal(hist_count(h), 2);
    assert_int_equal(hist_max(h), 123456789);
    assert_int_equal(hist_percentile(h, 50), 5);
    assert_int_equal(hist_percentile(h, 100), 123456789);
    hist_free(h);
}

static void merging_is_recording_in_both(void **state)
{
    struct hist *a = hist_new_default(), *b = hist_new_default();
    hist_record(a, 10);
    hist_record_many(b, 20, 3);
    hist_merge(a, b);
    assert_int_equal(hist_count(a), 4);
    assert_int_equal(hist_min(a), 10);
    assert_int_equal(hist_max(a), 20);
    assert_int_equal(hist_percentile(a, 25), 10);
    assert_int_equal(hist_percentile(a, 26), 20);
    hist_reset(a);
    assert_int_equal(hist_count(a), 0);
    assert_int_equal(hist_percentile(a, 50), 0);
    hist_free(a);
    hist_free(b);
}

static void the_whole_range_of_64_bits_fits(void **state)
{
    struct hist *h = hist_new(UINT64_MAX, 5);
    hist_record(h, UINT64_MAX);
    hist_record(h, 0);
    assert_true(hist_percentile(h, 100) == UINT64_MAX);
    assert_int_equal(hist_percentile(h, 1), 0);
    hist_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_histogram_answers_zero),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(a_percentile_is_at_most_a_thousandth_too_high),
        cmocka_unit_test(values_beyond_the_limit_are_counted_and_the_maximum_is_true),
        cmocka_unit_test(merging_is_recording_in_both),
        cmocka_unit_test(the_whole_range_of_64_bits_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
