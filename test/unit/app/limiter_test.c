/* limiter_test.c - fixed windows by address, and whose address counts.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit.h"

#include "app/limiter.h"

/* allowed/limit/remaining/reset of one check. */
static const char *check(struct limiter *l, const char *key, uint64_t now_ms)
{
    static char shown[64];
    struct limiter_verdict v = limiter_check(l, str_of(key), now_ms);
    snprintf(shown, sizeof shown, "%s %d/%d, %d s%s", v.allowed ? "yes" : "no", (int)v.remaining, (int)v.limit,
             (int)v.reset_s, v.crowded ? " crowded" : "");
    return shown;
}

static void a_window_runs_from_the_first_request(void **state)
{
    struct limiter *l = limiter_new(2, 60000, 100);
    assert_string_equal(check(l, "a", 5000), "yes 1/2, 60 s");
    assert_string_equal(check(l, "a", 6001), "yes 0/2, 59 s");
    assert_string_equal(check(l, "a", 64999), "no 0/2, 1 s");
    assert_string_equal(check(l, "b", 64999), "yes 1/2, 60 s");
    assert_string_equal(check(l, "a", 65000), "yes 1/2, 60 s");
    limiter_free(l);
}

/* Nobody may fill the memory with invented addresses, and nobody escapes by doing so. */
static void beyond_its_capacity_addresses_share_one_bucket(void **state)
{
    struct limiter *l = limiter_new(1, 1000, 2);
    check(l, "a", 1000);
    check(l, "b", 1500);
    assert_string_equal(check(l, "c", 1600), "yes 0/1, 1 s crowded");
    assert_string_equal(check(l, "d", 1700), "no 0/1, 1 s crowded");
    assert_string_equal(check(l, "d", 2000), "yes 0/1, 1 s"); /* a has expired: d has its own entry */
    assert_string_equal(check(l, "b", 2000), "no 0/1, 1 s");
    limiter_free(l);
}

static void a_renewed_window_is_not_taken_for_the_oldest(void **state)
{
    struct limiter *l = limiter_new(1, 1000, 2);
    check(l, "a", 1000);
    check(l, "b", 1100);
    check(l, "a", 2000); /* renewed: b is the oldest now */
    assert_string_equal(check(l, "c", 2100), "yes 0/1, 1 s");
    assert_string_equal(check(l, "a", 2100), "no 0/1, 1 s");
    limiter_free(l);
}

static void many_addresses_are_striped_and_counted_alone(void **state)
{
    struct limiter *l = limiter_new(1, 1000, 65536);
    char key[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "10.0.%d.%d", i / 250, i % 250);
        assert_true(limiter_check(l, str_of(key), 1).allowed);
        assert_false(limiter_check(l, str_of(key), 2).allowed);
    }
    limiter_free(l);
}

static void a_window_of_a_connection_takes_max_per_window(void **state)
{
    struct window w = {0};
    assert_true(window_take(&w, 2, 1000, 50));
    assert_true(window_take(&w, 2, 1000, 1049));
    assert_false(window_take(&w, 2, 1000, 1049));
    assert_true(window_take(&w, 2, 1000, 1050));
    assert_false(window_take(&w, 0, 1000, 5000));
}

static struct str address(const char *forwarded_for, const char *real_ip, uint32_t hops)
{
    return client_address(STR("9.9.9.9"), str_of(forwarded_for), str_of(real_ip), hops);
}

/* Chapter 2, 2.22.36: a spoofed header does not help. */
static void without_trusted_hops_only_the_peer_counts(void **state)
{
    assert_str(address("1.1.1.1", "2.2.2.2", 0), "9.9.9.9");
    assert_str(client_address(STR_NONE, STR_NONE, STR_NONE, 0), "unknown_ip");
}

static void trusted_hops_count_from_the_right(void **state)
{
    const char *list = "1.1.1.1, 2.2.2.2,2001:db8::1";
    assert_str(address(list, NULL, 1), "2001:db8::1");
    assert_str(address(list, NULL, 2), "2.2.2.2");
    assert_str(address(list, NULL, 3), "1.1.1.1");
    assert_str(address(list, NULL, 7), "1.1.1.1");
}

static void what_is_no_address_falls_back_to_real_ip_then_peer(void **state)
{
    assert_str(address("1.1.1.1, x", " 2.2.2.2 ", 1), "2.2.2.2");
    assert_str(address("", "nonsense", 1), "9.9.9.9");
    assert_str(address(NULL, "2.2.2.2", 1), "2.2.2.2");
    assert_str(address(",", NULL, 1), "9.9.9.9");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_runs_from_the_first_request),
        cmocka_unit_test(beyond_its_capacity_addresses_share_one_bucket),
        cmocka_unit_test(a_renewed_window_is_not_taken_for_the_oldest),
        cmocka_unit_test(many_addresses_are_striped_and_counted_alone),
        cmocka_unit_test(a_window_of_a_connection_takes_max_per_window),
        cmocka_unit_test(without_trusted_hops_only_the_peer_counts),
        cmocka_unit_test(trusted_hops_count_from_the_right),
        cmocka_unit_test(what_is_no_address_falls_back_to_real_ip_then_peer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
