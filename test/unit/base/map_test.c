/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"
#include "base/random.h"
#include "../support/unit.h"

enum { KEYS = 2000 };

struct thing {
    char name[16];
    bool present;
};

static struct str key_of(const struct thing *t)
{
    return str_of(t->name);
}

static void name_things(struct thing things[KEYS])
{
    for (int i = 0; i < KEYS; i++)
        snprintf(things[i].name, sizeof things[i].name, "key-%d", i);
}

static size_t walk_count(const struct map *m)
{
    size_t at = 0, count = 0;
    while (map_next(m, &at))
        count++;
    return count;
}

static void put_tells_what_was_there_before(void **state)
{
    struct map m = {0};
    int one, two;
    assert_null(map_get(&m, STR("k")));
    assert_null(map_put(&m, STR("k"), &one));
    assert_ptr_equal(map_put(&m, STR("k"), &two), &one);
    assert_ptr_equal(map_get(&m, STR("k")), &two);
    assert_ptr_equal(map_del(&m, STR("k")), &two);
    assert_null(map_del(&m, STR("k")));
    assert_int_equal(m.count, 0);
    map_free(&m);
}

/* The key usually lies in the value, and the old value is freed after the put. */
static void a_replaced_value_takes_its_key_with_it(void **state)
{
    struct map m = {0};
    char old_key[] = "k", new_key[] = "k";
    int one, two;
    map_put(&m, str_of(old_key), &one);
    map_put(&m, str_of(new_key), &two);
    old_key[0] = 'x';
    assert_ptr_equal(map_get(&m, STR("k")), &two);
    map_free(&m);
}

static void random_use_agrees_with_a_plain_list(void **state)
{
    static struct thing things[KEYS];
    struct map m = {0};
    struct random r;
    size_t count = 0;
    name_things(things);
    random_from_seed(&r, 1);
    for (int step = 0; step < 200000; step++) {
        struct thing *t = &things[random_below(&r, KEYS)];
        void *was = t->present ? t : NULL;
        if (random_below(&r, 2)) {
            assert_ptr_equal(map_put(&m, key_of(t), t), was);
            count += !t->present;
            t->present = true;
        } else {
            assert_ptr_equal(map_del(&m, key_of(t)), was);
            count -= t->present;
            t->present = false;
        }
        assert_int_equal(m.count, count);
    }
    for (int i = 0; i < KEYS; i++)
        assert_ptr_equal(map_get(&m, key_of(&things[i])), things[i].present ? &things[i] : NULL);
    assert_int_equal(walk_count(&m), count);
    map_free(&m);
}

static void a_walk_may_remove_what_it_was_given(void **state)
{
    static struct thing things[KEYS];
    struct map m = {0};
    name_things(things);
    for (int i = 0; i < KEYS; i++)
        map_put(&m, key_of(&things[i]), &things[i]);
    size_t at = 0, seen = 0;
    for (struct thing *t; (t = map_next(&m, &at)); seen++)
        assert_ptr_equal(map_del(&m, key_of(t)), t);
    assert_int_equal(seen, KEYS);
    assert_int_equal(m.count, 0);
    map_free(&m);
}

/* Connections come and go for months: slots that entries leave behind must not add up. */
static void coming_and_going_does_not_grow_the_table(void **state)
{
    struct map m = {0};
    char name[16];
    int value;
    map_put(&m, STR("stays"), &value);
    for (int i = 0; i < 100000; i++) {
        snprintf(name, sizeof name, "%d", i);
        map_put(&m, str_of(name), &value);
        map_del(&m, str_of(name));
    }
    assert_true(m.mask < 16);
    map_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_tells_what_was_there_before),
        cmocka_unit_test(a_replaced_value_takes_its_key_with_it),
        cmocka_unit_test(random_use_agrees_with_a_plain_list),
        cmocka_unit_test(a_walk_may_remove_what_it_was_given),
        cmocka_unit_test(coming_and_going_does_not_grow_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
