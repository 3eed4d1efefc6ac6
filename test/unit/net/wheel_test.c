/* wheel_test.c - timers through wheel.h; the clock is the test's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/random.h"
#include "net/wheel.h"

struct named {
    struct timer timer;
    const char *name;
};

struct fixture {
    struct wheel *wheel;
    char fired[1024]; /* names, separated by blanks */
} * now_running;

static void note(struct timer *timer)
{
    struct named *n = list_of(timer, struct named, timer);
    char *out = now_running->fired;
    size_t used = strlen(out);
    assert_false(timer_is_set(timer));
    snprintf(out + used, sizeof now_running->fired - used, "%s%s", used ? " " : "", n->name);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->wheel = wheel_new(1000);
    *state = now_running = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    wheel_free(f->wheel);
    free(f);
    return 0;
}

static void set(struct fixture *f, struct named *n, const char *name, uint64_t at_ms)
{
    n->name = name;
    n->timer.fire = note;
    wheel_set(f->wheel, &n->timer, at_ms);
    wheel_check(f->wheel);
}

static void turn(struct fixture *f, uint64_t now_ms)
{
    f->fired[0] = '\0';
    wheel_turn(f->wheel, now_ms);
    wheel_check(f->wheel);
}

static void a_timer_fires_at_its_deadline_and_not_before(void **state)
{
    struct fixture *f = *state;
    struct named a = {0};
    set(f, &a, "a", 1010);

    turn(f, 1009);
    assert_string_equal(f->fired, "");
    turn(f, 1010);
    assert_string_equal(f->fired, "a");
    assert_int_equal(wheel_count(f->wheel), 0);
}

/* A turn that comes late must not mix up what should have happened in between. */
static void timers_of_one_turn_fire_by_deadline_then_by_age(void **state)
{
    struct fixture *f = *state;
    struct named a = {0}, b = {0}, c = {0}, d = {0};
    set(f, &a, "late", 90000);
    set(f, &b, "first", 1500);
    set(f, &c, "early", 1001);
    set(f, &d, "second", 1500);

    turn(f, 100000);

    assert_string_equal(f->fired, "early first second late");
}

/* One was set when its deadline was far, the other when it was near: different wheels, same millisecond. */
static void age_counts_across_the_wheels(void **state)
{
    struct fixture *f = *state;
    struct named a = {0}, b = {0}, c = {0};
    set(f, &a, "set_long_ago", 200000);
    turn(f, 199000);
    set(f, &b, "set_lately", 200000);
    turn(f, 199999);
    set(f, &c, "set_just_now", 200000);

    turn(f, 200000);

    assert_string_equal(f->fired, "set_long_ago set_lately set_just_now");
}

static void a_deadline_in_the_past_fires_in_the_next_turn_in_order(void **state)
{
    struct fixture *f = *state;
    struct named a = {0}, b = {0}, c = {0};
    set(f, &a, "at_900", 900);
    set(f, &b, "at_5", 5);
    set(f, &c, "at_1000", 1000);
    assert_true(wheel_next_ms(f->wheel) <= 1000);

    turn(f, 1000);

    assert_string_equal(f->fired, "at_5 at_900 at_1000");
}

static void setting_again_moves_a_timer(void **state)
{
    struct fixture *f = *state;
    struct named a = {0};
    set(f, &a, "a", 1010);
    set(f, &a, "a", 500000);
    assert_int_equal(wheel_count(f->wheel), 1);

    turn(f, 499999);
    assert_string_equal(f->fired, "");
    turn(f, 500000);
    assert_string_equal(f->fired, "a");
}

static struct named victim;
static void cancel_victim(struct timer *timer)
{
    note(timer);
    wheel_cancel(now_running->wheel, &victim.timer);
}

/* A connection that closes in a timer takes its other timers with it, due or not. */
static void a_timer_cancelled_by_one_before_it_does_not_fire(void **state)
{
    struct fixture *f = *state;
    struct named killer = {.name = "killer"};
    killer.timer.fire = cancel_victim;
    wheel_set(f->wheel, &killer.timer, 1020);
    victim = (struct named){0};
    set(f, &victim, "victim", 1020);

    turn(f, 1020);

    assert_string_equal(f->fired, "killer");
    assert_false(timer_is_set(&victim.timer));
    assert_int_equal(wheel_count(f->wheel), 0);
}

static void set_again_now(struct timer *timer)
{
    note(timer);
    wheel_set(now_running->wheel, timer, wheel_now_ms(now_running->wheel));
}

/* Otherwise a turn would never end. */
static void a_timer_that_sets_itself_to_now_waits_for_the_next_turn(void **state)
{
    struct fixture *f = *state;
    struct named a = {.name = "a"};
    a.timer.fire = set_again_now;
    wheel_set(f->wheel, &a.timer, 1100);

    turn(f, 1100);
    assert_string_equal(f->fired, "a");
    turn(f, 1100);
    assert_string_equal(f->fired, "a");
    wheel_cancel(f->wheel, &a.timer);
}

static void an_empty_wheel_wakes_nobody(void **state)
{
    struct fixture *f = *state;
    struct named a = {0};
    assert_true(wheel_next_ms(f->wheel) == UINT64_MAX);
    set(f, &a, "a", 5000);
    wheel_cancel(f->wheel, &a.timer);
    wheel_cancel(f->wheel, &a.timer);
    assert_true(wheel_next_ms(f->wheel) == UINT64_MAX);
}

/* An idle shard may wake to unroll, but a handful of times, not each millisecond. */
static void a_far_timer_costs_few_wake_ups(void **state)
{
    struct fixture *f = *state;
    struct named a = {0};
    const uint64_t at_ms = UINT64_C(40) * 24 * 3600 * 1000; /* 40 days */
    unsigned turns = 0;
    set(f, &a, "a", at_ms);
    for (f->fired[0] = '\0'; !f->fired[0]; turns++) {
        assert_true(wheel_next_ms(f->wheel) <= at_ms);
        assert_true(wheel_next_ms(f->wheel) > wheel_now_ms(f->wheel));
        turn(f, wheel_next_ms(f->wheel));
    }
    assert_int_equal(wheel_now_ms(f->wheel), at_ms);
    assert_true(turns < 64);
}

/* ---- against a model: an array searched for the smallest (deadline, age) */

enum { MODEL_TIMERS = 200, MODEL_STEPS = 20000 };

static struct model_timer {
    struct timer timer;
    bool set;
    uint64_t at_ms, age;
} model[MODEL_TIMERS];
static uint64_t model_age, model_fired_count, model_last_ms;
static struct wheel *model_wheel;

static void model_fire(struct timer *timer)
{
    struct model_timer *t = list_of(timer, struct model_timer, timer);
    assert_true(t->set);
    assert_true(t->at_ms <= wheel_now_ms(model_wheel));
    for (size_t i = 0; i < MODEL_TIMERS; i++)
        if (model[i].set && &model[i] != t)
            assert_true(model[i].at_ms > t->at_ms || (model[i].at_ms == t->at_ms && model[i].age > t->age));
    assert_true(t->at_ms >= model_last_ms);
    model_last_ms = t->at_ms;
    t->set = false;
    model_fired_count++;
}

static uint64_t model_smallest(void)
{
    uint64_t smallest = UINT64_MAX;
    for (size_t i = 0; i < MODEL_TIMERS; i++)
        if (model[i].set && model[i].at_ms < smallest)
            smallest = model[i].at_ms;
    return smallest;
}

static void model_step(struct random *r)
{
    static const unsigned spans[] = {1, 10, 300, 20000, 2000000, 200000000};
    struct model_timer *t = &model[random_below(r, MODEL_TIMERS)];
    uint64_t span = spans[random_below(r, 6)], now_ms = wheel_now_ms(model_wheel);
    switch (random_below(r, 4)) {
    case 0:
        wheel_cancel(model_wheel, &t->timer);
        t->set = false;
        break;
    case 1:
        model_last_ms = 0;
        wheel_turn(model_wheel, now_ms + random_below(r, span));
        assert_true(model_smallest() > wheel_now_ms(model_wheel));
        break;
    default:
        t->timer.fire = model_fire;
        t->set = true;
        t->at_ms = now_ms + random_below(r, span);
        t->age = ++model_age;
        wheel_set(model_wheel, &t->timer, t->at_ms);
    }
}

static void random_histories_equal_a_sorted_list(void **state)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct random r;
        random_from_seed(&r, seed);
        memset(model, 0, sizeof model);
        model_wheel = wheel_new(random_below(&r, 1u << 30));
        for (int i = 0; i < MODEL_STEPS; i++) {
            model_step(&r);
            wheel_check(model_wheel);
            assert_true(wheel_next_ms(model_wheel) <= model_smallest());
        }
        wheel_free(model_wheel);
    }
    assert_true(model_fired_count > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_timer_fires_at_its_deadline_and_not_before, setup, teardown),
        cmocka_unit_test_setup_teardown(timers_of_one_turn_fire_by_deadline_then_by_age, setup, teardown),
        cmocka_unit_test_setup_teardown(age_counts_across_the_wheels, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deadline_in_the_past_fires_in_the_next_turn_in_order, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(setting_again_moves_a_timer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_timer_cancelled_by_one_before_it_does_not_fire, setup, teardown),
        cmocka_unit_test_setup_teardown(a_timer_that_sets_itself_to_now_waits_for_the_next_turn, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_empty_wheel_wakes_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(a_far_timer_costs_few_wake_ups, setup, teardown),
        cmocka_unit_test(random_histories_equal_a_sorted_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
