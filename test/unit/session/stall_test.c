/* stall_test.c - clients that ask for what they have missed and do not read it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session_fixture.h"
#include "session/recovery.h"

static int setup_sockets(void **state)
{
    int result = setup(state);
    struct fixture *f = *state;
    sessions_use(f->sessions, f->directory, test_room);
    return result;
}

static int64_t waiting_bytes(struct fixture *f)
{
    return metric_value(metrics_of(&f->core->env, f->core->app)->replay_waiting);
}

/* Of each of the channels, whose names have one letter. */
static struct client *rewinds(struct fixture *f, const char *channels)
{
    struct client *c = v2(f);
    for (const char *at = channels; *at; at++)
        subscribe_with(f, c, (char[]){*at, '\0'}, ",\"rewind\":100");
    return c;
}

static void who_reads_nothing_for_half_a_minute_is_closed(void **state)
{
    struct fixture *f = *state;
    publish_many(f, "a", 3);
    struct client *c = rewinds(f, "a");
    assert_string_equal(heard(c), "");
    assert_true(waiting_bytes(f) > 0);
    core_advance_ms(f->core, STALL_MS_MAX - 1000);
    assert_int_equal(c->close_code, 0);

    core_advance_ms(f->core, 2000);

    assert_int_equal(c->close_code, 4100);
    assert_int_equal(limits_reached(f, "replays"), 1);
    assert_int_equal(waiting_bytes(f), 0);
}

static void who_reads_late_gets_all_of_it(void **state)
{
    struct fixture *f = *state;
    publish_many(f, "a", 3);
    struct client *c = rewinds(f, "a");
    core_advance_ms(f->core, STALL_MS_MAX - 1000);
    c->room = 1000;
    core_advance_ms(f->core, 1000);
    assert_string_equal(heard(c), "e(a)@1=1 e(a)@2=2 e(a)@3=3 rewind_complete(a)@3");
    assert_int_equal(waiting_bytes(f), 0);
    core_advance_ms(f->core, STALL_MS_MAX);
    assert_int_equal(c->close_code, 0);
}

static void who_leaves_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    publish_many(f, "a", 3);
    struct client *c = rewinds(f, "a");
    unsubscribe(c, "a");
    assert_int_equal(waiting_bytes(f), 0);
}

/* Thousands of them would fill the memory with what each has asked for. */
static void all_who_do_not_read_together_are_bounded(void **state)
{
    enum { ROWS = 100, ROW = STALLED_BYTES_MAX / ROWS / CLIENTS_MAX + 1 };
    struct fixture *f = *state;
    struct buf data = {0};
    buf_char(&data, '"');
    memset(buf_reserve(&data, ROW), 'x', ROW);
    data.n += ROW;
    buf_put(&data, "\"", 2);
    for (int i = 0; i < ROWS; i++)
        publish(f, "a", data.p);
    buf_free(&data);
    for (int i = 0; i < CLIENTS_MAX; i++) {
        assert_int_equal(f->clients[0].close_code, 0);
        rewinds(f, "a");
        core_advance_ms(f->core, 10);
    }
    for (int i = 0; i < CLIENTS_MAX; i++)
        assert_int_equal(f->clients[i].close_code, i == 0 ? 4100 : 0);
    assert_in_range(waiting_bytes(f), (CLIENTS_MAX - 1) * ROWS * (int64_t)ROW, STALLED_BYTES_MAX);
    assert_int_equal(limits_reached(f, "replays"), 1);
}

int main(void)
{
#define STALL(name) cmocka_unit_test_setup_teardown(name, setup_sockets, teardown)
    const struct CMUnitTest tests[] = {
        STALL(who_reads_nothing_for_half_a_minute_is_closed),
        STALL(who_reads_late_gets_all_of_it),
        STALL(who_leaves_leaves_nothing),
        STALL(all_who_do_not_read_together_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
