/* replay_cache_test.c - claims, answers, leases (chapter 2, 2.7 A).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit.h"

#include "app/replay_cache.h"
#include "base/mem.h"
#include "base/random.h"
#include <stdlib.h>

static uint64_t token;
static struct str body;

static const char *claim(struct replay_cache *c, const char *key, uint64_t now_ms)
{
    static const char *const words[] = {"claimed", "answer", "pending", "full"};
    enum replay_result result = replay_claim(c, str_of(key), now_ms, 10000, &token, &body);
    replay_check(c);
    return words[result];
}

static void a_completed_key_answers_with_the_same_bytes(void **state)
{
    struct replay_cache *c = replay_cache_new(8);
    assert_string_equal(claim(c, "k", 0), "claimed");
    assert_string_equal(claim(c, "k", 1), "pending");
    replay_complete(c, STR("k"), token, STR("{\"ok\":true}"), 2, 120000);
    assert_string_equal(claim(c, "k", 120001), "answer");
    assert_str(body, "{\"ok\":true}");
    assert_string_equal(claim(c, "k", 120002), "claimed");
    replay_cache_free(c);
}

/* Chapter 2, 2.22.21. */
static void a_released_key_can_be_claimed_at_once(void **state)
{
    struct replay_cache *c = replay_cache_new(8);
    claim(c, "k", 0);
    replay_release(c, STR("k"), token);
    assert_int_equal(replay_cache_count(c), 0);
    assert_string_equal(claim(c, "k", 0), "claimed");
    replay_cache_free(c);
}

static void a_lost_lease_is_claimed_anew_and_its_old_token_is_void(void **state)
{
    struct replay_cache *c = replay_cache_new(8);
    claim(c, "k", 0);
    uint64_t old = token;
    assert_string_equal(claim(c, "k", 9999), "pending");
    assert_string_equal(claim(c, "k", 10000), "claimed");
    replay_complete(c, STR("k"), old, STR("old"), 10001, 1000);
    replay_release(c, STR("k"), old);
    replay_renew(c, STR("k"), old, 10001, 1);
    assert_string_equal(claim(c, "k", 10002), "pending");
    replay_renew(c, STR("k"), token, 19000, 10000);
    assert_string_equal(claim(c, "k", 25000), "pending");
    replay_cache_free(c);
}

/* An answer that somebody may still ask for must not make room for a new one. */
static void a_full_cache_refuses_until_something_expires(void **state)
{
    struct replay_cache *c = replay_cache_new(2);
    claim(c, "a", 0);
    replay_complete(c, STR("a"), token, STR("A"), 0, 500);
    claim(c, "b", 0);
    assert_string_equal(claim(c, "c", 499), "full");
    assert_string_equal(claim(c, "c", 500), "claimed");
    assert_string_equal(claim(c, "b", 501), "pending");
    replay_cache_free(c);
}

/* A backend whose answers are long must not be able to fill the memory with them. */
static void answers_of_too_many_bytes_refuse_until_something_expires(void **state)
{
    enum { HALF = REPLAY_BYTES_MAX / 2 };
    struct replay_cache *c = replay_cache_new(8);
    char *text = mem_zalloc(HALF);
    memset(text, 'x', HALF);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(claim(c, i ? "b" : "a", 0), "claimed");
        replay_complete(c, str_of(i ? "b" : "a"), token, str_make(text, HALF), 0, 500 + (uint64_t)i);
    }
    assert_string_equal(claim(c, "c", 499), "full");
    assert_string_equal(claim(c, "a", 499), "answer");
    assert_string_equal(claim(c, "c", 500), "claimed");
    free(text);
    replay_cache_free(c);
}

/* The heap against its invariants, under a thousand random steps. */
static void invariants_hold_through_random_use(void **state)
{
    struct replay_cache *c = replay_cache_new(32);
    struct random chance;
    char key[8];
    random_from_seed(&chance, 7);
    for (uint64_t now = 0; now < 5000; now++) {
        snprintf(key, sizeof key, "k%d", (int)random_below(&chance, 60));
        uint64_t span = 1 + random_below(&chance, 100);
        if (replay_claim(c, str_of(key), now, span, &token, &body) == REPLAY_CLAIMED &&
            random_below(&chance, 3))
            replay_complete(c, str_of(key), token, STR("x"), now, span);
        else if (random_below(&chance, 2))
            replay_release(c, str_of(key), token);
        else
            replay_renew(c, str_of(key), token, now, 50);
        replay_check(c);
    }
    replay_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_completed_key_answers_with_the_same_bytes),
        cmocka_unit_test(a_released_key_can_be_claimed_at_once),
        cmocka_unit_test(a_lost_lease_is_claimed_anew_and_its_old_token_is_void),
        cmocka_unit_test(a_full_cache_refuses_until_something_expires),
        cmocka_unit_test(answers_of_too_many_bytes_refuse_until_something_expires),
        cmocka_unit_test(invariants_hold_through_random_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
