/* directory_test.c - every socket is found as long as it is there, and not a moment longer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit.h"
#include "base/random.h"
#include "session/directory.h"

enum { IDS = 3000 };

/* A model: random comings and goings; after each of them a random id must be found exactly if it is there. */
static void sockets_are_found_while_they_are_there(void **state)
{
    static struct directory_entry ids[IDS];
    static bool there[IDS];
    struct directory *d = directory_new();
    struct random random;
    random_from_seed(&random, 11);
    for (int i = 0; i < IDS; i++)
        ids[i] = (struct directory_entry){{random_below(&random, 100), (uint64_t)i}, (uint16_t)(i % 5), i % 2 ? WIRE_V2 : WIRE_V1};
    for (int step = 0; step < 40000; step++) {
        size_t i = random_below(&random, IDS), look = random_below(&random, IDS);
        struct directory_entry found;
        if (there[i])
            directory_remove(d, &ids[i]);
        else
            assert_true(directory_add(d, &ids[i]));
        there[i] = !there[i];
        assert_int_equal(directory_find(d, ids[look].id, &found), there[look]);
        assert_ptr_equal(directory_find_own(d, ids[look].id, look % 5), there[look] ? &ids[look] : NULL);
        assert_null(directory_find_own(d, ids[look].id, look % 5 + 1));
        if (!there[look])
            continue;
        assert_int_equal(found.protocol, look % 2 ? WIRE_V2 : WIRE_V1);
        assert_int_equal(found.shard, look % 5);
    }
    directory_free(d);
}

static void id_that_is_taken_is_refused(void **state)
{
    struct directory *d = directory_new();
    struct directory_entry a = {.id = {1, 2}}, b = {.id = {1, 2}};
    assert_true(directory_add(d, &a));
    assert_false(directory_add(d, &b));
    directory_free(d);
}

static void what_was_never_there_is_not_found(void **state)
{
    struct directory *d = directory_new();
    struct directory_entry a = {.id = {1, 2}}, found;
    directory_remove(d, &a);
    assert_false(directory_find(d, a.id, &found));
    directory_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sockets_are_found_while_they_are_there),
        cmocka_unit_test(id_that_is_taken_is_refused),
        cmocka_unit_test(what_was_never_there_is_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
