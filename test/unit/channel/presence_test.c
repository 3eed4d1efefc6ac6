/* presence_test.c - edges of membership, leases included.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../support/unit.h"
#include "channel/presence.h"

struct fixture {
    struct wheel *wheel;
    struct presence *presence;
    struct buf gone; /* ids that expired(), each followed by a space */
};

static void expired(void *user, struct str user_id, struct socket_id socket, bool gone)
{
    struct fixture *f = user;
    buf_str(&f->gone, user_id);
    buf_char(&f->gone, ' ');
}

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.wheel = wheel_new(1000)};
    f.presence = presence_new(f.wheel, expired, &f);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    presence_free(f->presence);
    wheel_free(f->wheel);
    buf_free(&f->gone);
    return 0;
}

static bool join(struct fixture *f, const char *id)
{
    return presence_join(f->presence, str_of(id), STR("{\"name\":\"N\"}"));
}

static bool leave(struct fixture *f, const char *id, uint64_t lease_ms)
{
    return presence_leave(f->presence, str_of(id), (struct socket_id){1, 1}, lease_ms);
}

/* Two tabs of one person are one member. */
static void only_the_first_place_adds_and_only_the_last_removes(void **state)
{
    struct fixture *f = *state;
    assert_true(join(f, "u1"));
    assert_false(join(f, "u1"));
    assert_int_equal(presence_count(f->presence), 1);

    assert_false(leave(f, "u1", 0));
    assert_true(leave(f, "u1", 0));
    assert_int_equal(presence_count(f->presence), 0);
}

/* A phone in a tunnel must not flicker for the others. */
static void member_who_comes_back_within_the_lease_was_never_away(void **state)
{
    struct fixture *f = *state;
    join(f, "u1");
    assert_false(leave(f, "u1", 15000));
    wheel_turn(f->wheel, 1000 + 14999);

    assert_false(join(f, "u1"));
    wheel_turn(f->wheel, 1000 + 60000);

    assert_int_equal(f->gone.n, 0);
    assert_true(presence_has(f->presence, STR("u1")));
    assert_true(leave(f, "u1", 0));
}

static void lease_that_runs_out_removes_the_member(void **state)
{
    struct fixture *f = *state;
    join(f, "u1");
    leave(f, "u1", 15000);
    assert_true(presence_has(f->presence, STR("u1")));

    wheel_turn(f->wheel, 1000 + 15001);

    assert_str(buf_view(&f->gone), "u1 ");
    assert_false(presence_has(f->presence, STR("u1")));
}

static void lease_of_one_place_leaves_the_other_place_alone(void **state)
{
    struct fixture *f = *state;
    join(f, "u1");
    join(f, "u1");
    leave(f, "u1", 1000);

    wheel_turn(f->wheel, 1000 + 5000);

    assert_int_equal(f->gone.n, 0);
    assert_true(leave(f, "u1", 0));
}

/* Found by the random test: a laptop that subscribed again took up the lease of the phone. */
static void place_for_a_moment_takes_up_no_lease(void **state)
{
    struct fixture *f = *state;
    join(f, "u1");
    join(f, "u1");
    leave(f, "u1", 15000);

    assert_true(presence_join_again(f->presence, STR("u1")));
    assert_false(leave(f, "u1", 0));
    assert_false(leave(f, "u1", 0));
    assert_true(presence_has(f->presence, STR("u1")));

    wheel_turn(f->wheel, 1000 + 15001);
    assert_str(buf_view(&f->gone), "u1 ");
    assert_false(presence_join_again(f->presence, STR("u1")));
}

static void snapshot_has_each_user_once_and_counts_them(void **state)
{
    struct fixture *f = *state;
    struct buf json = {0};
    join(f, "u\"1");
    join(f, "u\"1");

    presence_json(f->presence, &json);

    assert_str(buf_view(&json), "{\"ids\":[\"u\\\"1\"],\"hash\":{\"u\\\"1\":{\"name\":\"N\"}},\"count\":1}");
    buf_free(&json);
}

static void who_was_never_there_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    assert_false(leave(f, "ghost", 0));
    assert_int_equal(presence_count(NULL), 0);
}

static void info_is_replaced_for_members_and_not_too_often(void **state)
{
    struct fixture *f = *state;
    struct buf json = {0};
    join(f, "u1");
    assert_int_equal(presence_update(f->presence, STR("ghost"), STR("1"), 2, 1000), PRESENCE_UNKNOWN);
    assert_int_equal(presence_update(NULL, STR("u1"), STR("1"), 2, 1000), PRESENCE_UNKNOWN);

    assert_int_equal(presence_update(f->presence, STR("u1"), STR("1"), 2, 1000), PRESENCE_CHANGED);
    assert_int_equal(presence_update(f->presence, STR("u1"), STR("[2]"), 2, 1999), PRESENCE_CHANGED);
    assert_int_equal(presence_update(f->presence, STR("u1"), STR("3"), 2, 1999), PRESENCE_TOO_OFTEN);

    presence_json(f->presence, &json);
    assert_str(buf_view(&json), "{\"ids\":[\"u1\"],\"hash\":{\"u1\":[2]},\"count\":1}");
    buf_free(&json);
    assert_int_equal(presence_update(f->presence, STR("u1"), STR("3"), 2, 2000), PRESENCE_CHANGED);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(only_the_first_place_adds_and_only_the_last_removes),
        T(member_who_comes_back_within_the_lease_was_never_away),
        T(lease_that_runs_out_removes_the_member),
        T(lease_of_one_place_leaves_the_other_place_alone),
        T(place_for_a_moment_takes_up_no_lease),
        T(snapshot_has_each_user_once_and_counts_them),
        T(info_is_replaced_for_members_and_not_too_often),
        T(who_was_never_there_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
