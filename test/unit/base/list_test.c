/* SPDX-License-Identifier: Apache-2.0 */
#include "base/list.h"
#include "../support/unit.h"

struct node {
    char name;
    struct list link;
};

static struct list head;
static struct node a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'};
static char shown[8];

static const char *show(const struct list *list)
{
    size_t n = 0;
    list_each(at, list) shown[n++] = list_of(at, struct node, link)->name;
    shown[n] = 0;
    return shown;
}

static int setup(void **state)
{
    list_init(&head);
    list_append(&head, &a.link);
    list_append(&head, &b.link);
    list_prepend(&head, &c.link);
    return 0;
}

static void links_keep_the_order_they_were_given(void **state)
{
    assert_string_equal(show(&head), "cab");
}

static void taking_empties_from_the_front(void **state)
{
    assert_ptr_equal(list_take(&head), &c.link);
    assert_ptr_equal(list_take(&head), &a.link);
    assert_ptr_equal(list_take(&head), &b.link);
    assert_null(list_take(&head));
    assert_true(list_empty(&head));
}

static void removing_twice_is_harmless(void **state)
{
    list_remove(&a.link);
    list_remove(&a.link);
    assert_string_equal(show(&head), "cb");
}

static void a_safe_walk_may_remove_where_it_stands(void **state)
{
    list_each_safe(at, after, &head) if (at != &a.link) list_remove(at);
    assert_string_equal(show(&head), "a");
}

static void splicing_moves_all_behind_what_is_there(void **state)
{
    struct list other;
    struct node d = {.name = 'd'};
    list_init(&other);
    list_append(&other, &d.link);
    list_splice(&head, &other);
    assert_string_equal(show(&head), "cabd");
    assert_true(list_empty(&other));
    list_splice(&head, &other);
    assert_string_equal(show(&head), "cabd");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(links_keep_the_order_they_were_given, setup),
        cmocka_unit_test_setup(taking_empties_from_the_front, setup),
        cmocka_unit_test_setup(removing_twice_is_harmless, setup),
        cmocka_unit_test_setup(a_safe_walk_may_remove_where_it_stands, setup),
        cmocka_unit_test_setup(splicing_moves_all_behind_what_is_there, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
