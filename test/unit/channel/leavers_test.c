/* leavers_test.c - who comes back in time was never away.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../support/unit.h"
#include "base/buf.h"
#include "channel/leavers.h"

struct fixture {
    struct wheel *wheel;
    struct leavers *leavers;
    struct buf gone; /* each name followed by a space */
};

static void gone(void *user, struct str who)
{
    struct fixture *f = user;
    buf_str(&f->gone, who);
    buf_char(&f->gone, ' ');
}

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.wheel = wheel_new(1000)};
    f.leavers = leavers_new(f.wheel, gone, &f);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    leavers_free(f->leavers);
    wheel_free(f->wheel);
    buf_free(&f->gone);
    return 0;
}

static void who_stays_away_is_gone_after_three_seconds(void **state)
{
    struct fixture *f = *state;
    assert_true(leavers_add(f->leavers, STR("u")));
    wheel_turn(f->wheel, 1000 + 2999);
    assert_int_equal(f->gone.n, 0);

    wheel_turn(f->wheel, 1000 + 3001);

    assert_str(buf_view(&f->gone), "u ");
    assert_int_equal(leavers_count(f->leavers), 0);
    assert_false(leavers_back(f->leavers, STR("u")));
}

static void they_can_be_walked_with_what_is_left_of_their_time(void **state)
{
    struct fixture *f = *state;
    size_t at = 0;
    uint64_t left_ms;
    leavers_add_for(f->leavers, STR("u"), 1000);
    wheel_turn(f->wheel, 1000 + 400);
    assert_str(leavers_next(f->leavers, &at, &left_ms), "u");
    assert_int_equal(left_ms, 600);
    assert_absent(leavers_next(f->leavers, &at, &left_ms));
    wheel_turn(f->wheel, 1000 + 1001);
    assert_str(buf_view(&f->gone), "u ");
}

static void who_comes_back_is_not_waited_for(void **state)
{
    struct fixture *f = *state;
    leavers_add(f->leavers, STR("u"));
    assert_false(leavers_back(f->leavers, STR("v")));
    assert_true(leavers_back(f->leavers, STR("u")));

    wheel_turn(f->wheel, 1000 + 10000);

    assert_int_equal(f->gone.n, 0);
    assert_false(leavers_back(NULL, STR("u")));
}

static void leaving_again_starts_anew(void **state)
{
    struct fixture *f = *state;
    leavers_add(f->leavers, STR("u"));
    wheel_turn(f->wheel, 1000 + 2000);
    leavers_add(f->leavers, STR("u"));
    assert_int_equal(leavers_count(f->leavers), 1);

    wheel_turn(f->wheel, 1000 + 4000);
    assert_int_equal(f->gone.n, 0);
    wheel_turn(f->wheel, 1000 + 5001);
    assert_str(buf_view(&f->gone), "u ");
}

static void too_many_are_not_waited_for(void **state)
{
    struct fixture *f = *state;
    char name[16];
    for (int i = 0; i < LEAVERS_MAX; i++) {
        snprintf(name, sizeof name, "u%d", i);
        assert_true(leavers_add(f->leavers, str_of(name)));
    }
    assert_false(leavers_add(f->leavers, STR("one-more")));
    assert_true(leavers_add(f->leavers, STR("u0")));
    assert_int_equal(leavers_count(f->leavers), LEAVERS_MAX);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(who_stays_away_is_gone_after_three_seconds),
        T(they_can_be_walked_with_what_is_left_of_their_time),
        T(who_comes_back_is_not_waited_for),
        T(leaving_again_starts_anew),
        T(too_many_are_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
