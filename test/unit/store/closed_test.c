/* closed_test.c - the store that is left after the real one: whoever still asks gets an answer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/clock.h"
#include "store/store.h"
#include "unit.h"

static struct store_op *home; /* what came there */

static void comes_home(struct store_home *to, struct store_op *chain)
{
    home = chain;
}

static void done(struct store_op *op)
{
}

static void whatever_is_submitted_fails_and_comes_home(void **state)
{
    static const enum store_op_kind kinds[] = {STORE_WRITE, STORE_HEAD, STORE_PAGE, STORE_REPLAY};
    struct store_home to = {.deliver = comes_home};
    struct store *store = store_open_closed(&clock_system, &to);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct store_op *op = store_op_new(kinds[i], 0, done);
        store_submit(store, op);
        store_kick(store);
        assert_ptr_equal(home, op);
        assert_null(op->next);
        assert_int_equal(op->result, STORE_FAILED);
        store_op_free(op);
    }
    assert_false(store_is_healthy(store));
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(whatever_is_submitted_fails_and_comes_home)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
