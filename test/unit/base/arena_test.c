/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "../support/unit.h"

static void everything_is_aligned_and_apart(void **state)
{
    struct arena a = {0};
    unsigned char *blocks[300];
    for (size_t i = 0; i < 300; i++) {
        blocks[i] = arena_alloc(&a, i * 7);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], (int)(i % 251), i * 7);
    }
    for (size_t i = 0; i < 300; i++)
        for (size_t k = 0; k < i * 7; k++)
            assert_int_equal(blocks[i][k], i % 251);
    arena_free(&a);
}

/* One long body must not make every later small copy ask malloc. */
static void a_large_block_leaves_the_free_rest_usable(void **state)
{
    struct arena a = {0};
    char *before = arena_alloc(&a, 16);
    arena_alloc(&a, 1000000);
    char *after = arena_alloc(&a, 16);
    assert_ptr_equal(after, before + 16);
    arena_free(&a);
}

static void copies_live_on_and_absent_stays_absent(void **state)
{
    struct arena a = {0};
    char text[] = "abc";
    struct str copy = arena_copy(&a, str_of(text));
    text[0] = 'x';
    assert_str(copy, "abc");
    assert_absent(arena_copy(&a, STR_NONE));
    assert_non_null(arena_copy(&a, STR("")).p);
    arena_free(&a);
}

static void joined_texts_are_a_copy_of_both(void **state)
{
    struct arena a = {0};
    char text[] = "abc";
    struct str joined = arena_join(&a, STR("[x]"), str_of(text));
    text[0] = 'x';
    assert_str(joined, "[x]abc");
    assert_str(arena_join(&a, STR_NONE, STR("b")), "b");
    assert_non_null(arena_join(&a, STR_NONE, STR_NONE).p);
    arena_free(&a);
}

static void zeroed_blocks_are_zero(void **state)
{
    struct arena a = {0};
    const char *block = arena_zalloc(&a, 5000);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(block[i], 0);
    arena_free(&a);
    assert_null(a.chunks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_aligned_and_apart),
        cmocka_unit_test(a_large_block_leaves_the_free_rest_usable),
        cmocka_unit_test(copies_live_on_and_absent_stays_absent),
        cmocka_unit_test(joined_texts_are_a_copy_of_both),
        cmocka_unit_test(zeroed_blocks_are_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
