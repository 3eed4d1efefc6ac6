/* clock_test.c - time is the store's, whatever the clocks of the nodes say (chapter 3, 8; chapter 4, 5.4 and 11.5 clock-skew).
 *
 * A node's clock is an hour wrong, and jumps; the store's is moved by store_waits(). An embedded store has its process's clock, so
 * over one of those only the store's part holds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "nodes.h"

#include <stdatomic.h>

enum { MINUTE = 60000, HOUR = 60 * MINUTE };

struct wrong_clock {
    struct clock clock;
    _Atomic int64_t ahead_ms;
};

static uint64_t true_mono(const struct clock *c)
{
    (void)c;
    return clock_mono_ns(&clock_system);
}

static int64_t wrong_wall(const struct clock *c)
{
    return clock_wall_ms(&clock_system) + atomic_load(&((const struct wrong_clock *)(const void *)c)->ahead_ms);
}

static struct wrong_clock clocks[3] = {{{true_mono, wrong_wall}, 0}, {{true_mono, wrong_wall}, 0}, {{true_mono, wrong_wall}, 0}};

static void node_clock(struct fixture *f, struct wrong_clock *clock, int64_t ahead_ms)
{
    atomic_store(&clock->ahead_ms, ahead_ms);
    f->options.clock = &clock->clock;
    fixture_reopen(f);
}

/* From now on it is `ms` later for the store than for the world. */
static void store_waits(struct fixture *f, int64_t ms)
{
    char sql[256];
    atomic_store(&clocks[0].ahead_ms, ms);
    if (f->backend != POSTGRES)
        return;
    snprintf(sql, sizeof sql, "CREATE OR REPLACE FUNCTION @_now() RETURNS bigint LANGUAGE sql AS "
             "$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint + %lld $$", (long long)ms);
    database_sql(sql_of(f, sql));
}

static struct call *at_stores_time(struct fixture *f, enum store_action action)
{
    struct call *c = write_call(f, action);
    c->op.write.now_ms = 0;
    return c;
}

/* With the retention and receipt of f->w; outputs in f->last. */
static enum store_result write_now(struct fixture *f, enum store_action action, const char *data)
{
    f->w.data = str_of(data);
    if (action != ACTION_APPEND)
        f->w.event_name = STR("n");
    struct call *c = at_stores_time(f, action);
    run(c);
    f->last = c->op.written;
    f->head = c->op.head;
    enum store_result result = c->op.result;
    call_free(c);
    return result;
}

static struct message_id open_now(struct fixture *f)
{
    f->w.extras = STR("{\"s\":1}");
    f->w.status = STREAM_OPEN;
    assert_int_equal(write_now(f, ACTION_CREATE, "\"\""), STORE_OK);
    return f->last.message;
}

static void append_now(struct fixture *f, struct message_id m)
{
    f->w.target = m;
    assert_int_equal(write_now(f, ACTION_APPEND, "\"x\""), STORE_OK);
}

/* "1 3": positions of the streams that have been idle for so long; checks that none is older than `age_max_ms`, or from the future. */
static const char *idle_for(struct fixture *f, uint64_t idle_ms, int64_t age_max_ms)
{
    static char out[64];
    struct call *c = call_new(f, STORE_OPEN);
    size_t n = 0;
    c->op.read.idle_ms = idle_ms;
    run(c);
    assert_int_equal(c->op.result, STORE_OK);
    out[0] = '\0';
    for (size_t i = 0; i < c->op.found.count; i++) {
        int64_t age_ms = c->op.found.now_ms - c->op.found.items[i].published_at_ms;
        assert_true(age_ms >= 0 && age_ms <= age_max_ms);
        n += (size_t)snprintf(out + n, sizeof out - n, n ? " %llu" : "%llu", (unsigned long long)c->op.found.items[i].message.history);
    }
    call_free(c);
    return out;
}

/* ---- one store, one clock ---- */

static void idleness_counts_from_the_newest_append_by_the_stores_clock(void **state)
{
    struct fixture *f = *state;
    node_clock(f, &clocks[0], 0);
    struct message_id lives = open_now(f);
    open_now(f);
    assert_string_equal(idle_for(f, MINUTE, 0), "");
    store_waits(f, MINUTE);
    append_now(f, lives);
    assert_string_equal(idle_for(f, MINUTE, 2 * MINUTE), "2");
    store_waits(f, 2 * MINUTE);
    assert_string_equal(idle_for(f, MINUTE, 3 * MINUTE), "1 2");
}

static void receipt_of_a_publish_expires_by_the_stores_clock(void **state)
{
    struct fixture *f = *state;
    const struct store_write publish = {.receipt_key = key_for(1), .fingerprint = key_for(1), .receipt_ttl_ms = 2 * MINUTE};
    node_clock(f, &clocks[0], 0);
    f->w = publish;
    assert_int_equal(write_now(f, ACTION_ORDINARY, "1"), STORE_OK);
    store_waits(f, MINUTE);
    f->w = publish;
    assert_int_equal(write_now(f, ACTION_ORDINARY, "1"), STORE_DUPLICATE);
    store_waits(f, 3 * MINUTE);
    f->w = publish;
    assert_int_equal(write_now(f, ACTION_ORDINARY, "1"), STORE_OK);
    assert_int_equal(f->last.history, 2);
}

static void window_of_retention_moves_with_the_stores_clock(void **state)
{
    struct fixture *f = *state;
    node_clock(f, &clocks[0], 0);
    for (int minute = 0; minute < 5; minute++) {
        store_waits(f, minute * MINUTE);
        f->w.retention.window_ms = 3 * MINUTE - 1000;
        assert_int_equal(write_now(f, ACTION_ORDINARY, "0"), STORE_OK);
    }
    assert_int_equal(head(f).oldest_history, 3);
    assert_int_equal(head(f).newest_ms - head(f).oldest_ms > MINUTE, true);
}

/* What a rewind by time asks for. */
static void page_of_an_age_goes_by_the_stores_clock(void **state)
{
    struct fixture *f = *state;
    node_clock(f, &clocks[0], 0);
    for (int minute = 0; minute < 4; minute++) {
        store_waits(f, minute * MINUTE);
        assert_int_equal(write_now(f, ACTION_ORDINARY, "0"), STORE_OK);
    }
    struct call *c = call_new(f, STORE_PAGE);
    c->op.read.direction = OLDEST_FIRST;
    c->op.read.age_max_ms = 3 * MINUTE / 2;
    assert_str(show(f, c), "3:ordinary0 4:ordinary0");
    c = call_new(f, STORE_PAGE);
    c->op.read.direction = OLDEST_FIRST;
    assert_str(show(f, c), "1:ordinary0 2:ordinary0 3:ordinary0 4:ordinary0");
}

/* An acknowledgement, a live frame and a read of history name one time. */
static void acknowledgement_says_the_time_that_is_stored(void **state)
{
    struct fixture *f = *state;
    node_clock(f, &clocks[0], 0);
    struct message_id m = open_now(f);
    int64_t created_ms = f->last.created_ms;
    assert_int_equal(f->last.at_ms, created_ms);
    assert_int_equal(f->head.newest_ms, created_ms);
    store_waits(f, HOUR);
    append_now(f, m);
    struct call *c = call_new(f, STORE_LATEST);
    c->op.read.ids = &m;
    c->op.read.ids_count = 1;
    run(c);
    assert_int_equal(c->op.found.items[0].version_at_ms, f->last.at_ms);
    assert_int_equal(c->op.found.items[0].published_at_ms, created_ms);
    assert_int_equal(f->last.created_ms, created_ms);
    assert_true(f->last.at_ms - created_ms >= HOUR && f->last.at_ms - created_ms < HOUR + MINUTE);
    call_free(c);
}

/* Without a question: from the start, and a write later it follows. */
static void time_of_the_store_is_known(void **state)
{
    struct fixture *f = *state;
    node_clock(f, &clocks[f->backend == POSTGRES], f->backend == POSTGRES ? -5 * HOUR : 0);
    for (int hour = 0; hour < 3; hour++) {
        store_waits(f, hour * HOUR);
        if (hour > 0)
            assert_int_equal(write_now(f, ACTION_ORDINARY, "0"), STORE_OK);
        int64_t off_ms = store_now_ms(f->store) - clock_wall_ms(&clock_system) - hour * HOUR;
        assert_true(off_ms > -1000 && off_ms < 1000);
    }
}

/* ---- nodes whose clocks are wrong ---- */

struct skewed {
    struct fixture *behind, *ahead;
};

static struct skewed skewed_nodes(struct fixture *first)
{
    struct skewed nodes = {first, second_node(first)};
    node_clock(nodes.behind, &clocks[1], -HOUR);
    node_clock(nodes.ahead, &clocks[2], HOUR);
    return nodes;
}

/* The bug: appends of a node an hour behind looked an hour idle, and the janitor of any node ended them. */
static void live_streams_of_skewed_nodes_are_not_idle(void **state)
{
    struct skewed on = skewed_nodes(*state);
    struct message_id m = open_now(on.behind), other = open_now(on.ahead);
    append_now(on.behind, m);
    append_now(on.ahead, other);
    assert_string_equal(idle_for(on.behind, MINUTE, 0), "");
    assert_string_equal(idle_for(on.ahead, MINUTE, 0), "");
    store_waits(on.behind, 2 * MINUTE);
    append_now(on.behind, m);
    assert_string_equal(idle_for(on.behind, MINUTE, 3 * MINUTE), "2");
    assert_string_equal(idle_for(on.ahead, MINUTE, 3 * MINUTE), "2");
    fixture_free(on.ahead);
}

/* Also when the clock jumps between two appends of one stream, or while they wait to be sent. */
static void jumps_of_a_nodes_clock_do_not_show(void **state)
{
    enum { MANY = 40 };
    struct fixture *f = *state;
    struct call *calls[MANY];
    int64_t before_ms = clock_wall_ms(&clock_system), newest_ms = before_ms;
    node_clock(f, &clocks[1], 0);
    struct message_id m = open_now(f);
    for (int i = 0; i < MANY; i++) {
        atomic_store(&clocks[1].ahead_ms, (int64_t)(i % 5 - 2) * 3 * HOUR);
        f->w.target = m;
        f->w.data = STR("\"x\"");
        submit(calls[i] = at_stores_time(f, ACTION_APPEND));
    }
    for (int i = 0; i < MANY; i++) {
        await(calls[i]);
        assert_int_equal(calls[i]->op.result, STORE_OK);
        assert_true(calls[i]->op.written.at_ms >= newest_ms);
        newest_ms = calls[i]->op.written.at_ms;
        call_free(calls[i]);
    }
    assert_true(newest_ms < before_ms + MINUTE);
    assert_string_equal(idle_for(f, MINUTE, 0), "");
}

static void receipt_holds_on_nodes_an_hour_apart(void **state)
{
    const struct store_write publish = {.receipt_key = key_for(1), .fingerprint = key_for(1), .receipt_ttl_ms = 2 * MINUTE};
    struct skewed on = skewed_nodes(*state);
    on.behind->w = publish;
    assert_int_equal(write_now(on.behind, ACTION_ORDINARY, "1"), STORE_OK);
    on.ahead->w = publish;
    assert_int_equal(write_now(on.ahead, ACTION_ORDINARY, "1"), STORE_DUPLICATE);
    store_waits(on.behind, 3 * MINUTE);
    on.behind->w = publish; /* an hour before it was stored, by this node's clock */
    assert_int_equal(write_now(on.behind, ACTION_ORDINARY, "1"), STORE_OK);
    fixture_free(on.ahead);
}

static void retention_is_right_on_nodes_an_hour_apart(void **state)
{
    struct skewed on = skewed_nodes(*state);
    for (int i = 0; i < 6; i++) {
        struct fixture *f = i % 2 ? on.ahead : on.behind;
        f->w.retention.window_ms = 10 * MINUTE;
        assert_int_equal(write_now(f, ACTION_ORDINARY, "0"), STORE_OK);
    }
    assert_int_equal(head(on.ahead).retained_messages, 6);
    store_waits(on.behind, 11 * MINUTE);
    on.behind->w.retention.window_ms = 10 * MINUTE;
    assert_int_equal(write_now(on.behind, ACTION_ORDINARY, "0"), STORE_OK);
    assert_int_equal(on.behind->last.evicted_messages, 6);
    assert_int_equal(head(on.ahead).oldest_history, 7);
    fixture_free(on.ahead);
}

/* The worker that drops what is over, and receipts that have expired; then a purge, which keeps young receipts of mutations. */
static void background_of_a_skewed_node_drops_nothing_early(void **state)
{
    struct fixture *f = *state;
    f->options.purge_interval_ms = 20;
    node_clock(f, &clocks[1], 48 * (int64_t)HOUR);
    f->w = (struct store_write){.receipt_key = key_for(1), .fingerprint = key_for(1), .receipt_ttl_ms = HOUR, .retention = {.window_ms = HOUR}};
    assert_int_equal(write_now(f, ACTION_CREATE, "\"\""), STORE_OK);
    struct message_id m = f->last.message;
    f->w = (struct store_write){.receipt_key = key_for(2), .fingerprint = key_for(2), .retention = {.window_ms = HOUR}};
    append_now(f, m);
    sleep_ms(300);
    assert_int_equal(head(f).retained_messages, 1);
    assert_int_equal(database_number(sql_of(f, "SELECT count(*) FROM @_receipts")), 1);
    assert_int_equal(purge_below(f, 0), 1);
    f->w = (struct store_write){.receipt_key = key_for(2), .fingerprint = key_for(2), .target = m};
    assert_int_equal(write_now(f, ACTION_APPEND, "\"x\""), STORE_DUPLICATE);
    store_waits(f, 25 * (int64_t)HOUR);
    for (int i = 0; i < 100 && database_number(sql_of(f, "SELECT count(*) FROM @_receipts")) > 0; i++)
        sleep_ms(20);
    assert_int_equal(database_number(sql_of(f, "SELECT count(*) FROM @_receipts")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_ALL(idleness_counts_from_the_newest_append_by_the_stores_clock)
        OVER_ALL(receipt_of_a_publish_expires_by_the_stores_clock)
        OVER_ALL(window_of_retention_moves_with_the_stores_clock)
        OVER_ALL(page_of_an_age_goes_by_the_stores_clock)
        OVER_ALL(acknowledgement_says_the_time_that_is_stored)
        OVER_ALL(time_of_the_store_is_known)
        ON_POSTGRES(live_streams_of_skewed_nodes_are_not_idle)
        ON_POSTGRES(jumps_of_a_nodes_clock_do_not_show)
        ON_POSTGRES(receipt_holds_on_nodes_an_hour_apart)
        ON_POSTGRES(retention_is_right_on_nodes_an_hour_apart)
        ON_POSTGRES(background_of_a_skewed_node_drops_nothing_early)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
