/* postgres_test.c - what only a store that several nodes share can show: races, and a database that is slow or goes away (chapter 3,
 * 8.1, 8.2, 8.4).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "nodes.h"

static void streaming(struct fixture *f)
{
    f->w.extras = STR("{\"s\":1}");
    f->w.status = STREAM_OPEN;
}

/* ---- races ---- */

/* Two nodes feed one message: no fragment is lost or doubled, and both read the same. */
static void hundred_appends_of_each_of_two_nodes_lose_none(void **state)
{
    enum { EACH = 100 };
    struct fixture *f[2] = {*state, second_node(*state)};
    struct call *calls[2][EACH];
    char data[2][EACH][32], seen[2 * EACH + 2] = {0};
    struct message_id m = create(f[0], "\"\"");
    for (int i = 0; i < EACH; i++)
        for (int node = 0; node < 2; node++) {
            snprintf(data[node][i], sizeof data[node][i], "\"<%d.%02d>\"", node, i);
            submit(calls[node][i] = append_call(f[node], m, str_of(data[node][i])));
        }
    for (int node = 0; node < 2; node++) {
        uint64_t before = 1;
        for (int i = 0; i < EACH; i++) {
            struct call *c = calls[node][i];
            await(c);
            assert_int_equal(c->op.result, STORE_OK);
            assert_true(c->op.written.delivery > before); /* in the order in which this node submitted them */
            before = c->op.written.delivery;
            assert_true(before >= 2 && before <= 2 * EACH + 1 && !seen[before]);
            seen[before] = 1;
            call_free(c);
        }
    }
    struct buf here = {0};
    buf_str(&here, replay(f[0], 1, 0));
    assert_true(str_eq(buf_view(&here), replay(f[1], 1, 0)));
    buf_clear(&here);
    buf_str(&here, latest(f[0], m));
    assert_int_equal(here.n, strlen("201:append\"\"") + 2 * EACH * strlen("<0.00>"));
    assert_true(str_eq(buf_view(&here), latest(f[1], m)));
    buf_free(&here);
    fixture_free(f[1]);
}

/* The same by turns: what one node has been told is below what the other is told next. */
static void appends_by_turns_rise_over_both_nodes(void **state)
{
    struct fixture *f[2] = {*state, second_node(*state)};
    struct message_id m = create(f[0], "\"\"");
    for (int i = 0; i < 40; i++) {
        append(f[i % 2], m, "\"x\"");
        assert_int_equal(f[i % 2]->last.delivery, 2 + i);
        assert_int_equal(head(f[(i + 1) % 2]).delivery, 2 + i);
    }
    fixture_free(f[1]);
}

static void of_terminal_appends_on_two_nodes_one_wins(void **state)
{
    struct fixture *f[2] = {*state, second_node(*state)};
    for (int round = 0; round < 20; round++) {
        struct call *c[2];
        streaming(f[0]);
        struct message_id m = create(f[0], "\"\"");
        for (int node = 0; node < 2; node++) {
            f[node]->w.extras = STR("{\"s\":2}");
            f[node]->w.status = STREAM_COMPLETE;
            f[node]->w.refuse_append_after_terminal = true;
            submit(c[node] = append_call(f[node], m, STR("\"\"")));
        }
        for (int node = 0; node < 2; node++)
            await(c[node]);
        bool first_won = c[0]->op.result == STORE_OK;
        assert_int_equal(c[!first_won]->op.result, STORE_OK);
        assert_int_equal(c[first_won]->op.result, STORE_TERMINAL);
        call_free(c[0]);
        call_free(c[1]);
    }
    fixture_free(f[1]);
}

static void limit_of_open_streams_holds_over_two_nodes(void **state)
{
    enum { EACH = 30, OPEN_MAX = 10 };
    struct fixture *f[2] = {*state, second_node(*state)};
    struct call *calls[2][EACH];
    int opened = 0;
    for (int i = 0; i < EACH; i++)
        for (int node = 0; node < 2; node++) {
            streaming(f[node]);
            f[node]->w.data = STR("\"\"");
            f[node]->w.open_max = OPEN_MAX;
            submit(calls[node][i] = write_call(f[node], ACTION_CREATE));
        }
    for (int i = 0; i < 2 * EACH; i++) {
        struct call *c = calls[i % 2][i / 2];
        await(c);
        assert_true(c->op.result == STORE_OK || c->op.result == STORE_OPEN_MAX);
        opened += c->op.result == STORE_OK;
        call_free(c);
    }
    assert_int_equal(opened, OPEN_MAX);
    assert_int_equal(head(f[1]).open_streams, OPEN_MAX);
    assert_int_equal(head(f[1]).delivery, OPEN_MAX);
    fixture_free(f[1]);
}

/* A publisher that got no answer from one node asks another one. */
static void retry_on_another_node_finds_the_receipt(void **state)
{
    struct fixture *f[2] = {*state, second_node(*state)};
    struct message_id m = create(f[0], "\"\"");
    f[0]->w.receipt_key = f[0]->w.fingerprint = key_for(3);
    append(f[0], m, "\"a\"");
    f[1]->w.receipt_key = f[1]->w.fingerprint = key_for(3);
    assert_int_equal(mutate(f[1], m, ACTION_APPEND, "\"a\""), STORE_DUPLICATE);
    assert_int_equal(f[1]->last.delivery, 2);
    f[1]->w.receipt_key = key_for(3);
    f[1]->w.fingerprint = key_for(4);
    assert_int_equal(mutate(f[1], m, ACTION_APPEND, "\"b\""), STORE_RECEIPT_CONFLICT);
    assert_str(latest(f[1], m), "2:append\"a\"");
    fixture_free(f[1]);
}

/* Channels in opposite orders would wait for one another, were they not locked in the order of their keys. */
static void batches_of_many_channels_do_not_wait_for_one_another(void **state)
{
    enum { CHANNELS = 40, ROUNDS = 5, EACH = CHANNELS * ROUNDS };
    struct fixture *f[2] = {*state, second_node(*state)};
    struct call *calls[2][EACH];
    char names[CHANNELS][16];
    for (int i = 0; i < CHANNELS; i++)
        snprintf(names[i], sizeof names[i], "c%d", i);
    for (int i = 0; i < EACH; i++)
        for (int node = 0; node < 2; node++) {
            f[node]->w.event_name = STR("n");
            f[node]->w.data = STR("0");
            struct call *c = calls[node][i] = write_call(f[node], ACTION_ORDINARY);
            c->op.channel = str_of(names[node ? CHANNELS - 1 - i % CHANNELS : i % CHANNELS]);
            submit(c);
        }
    for (int i = 0; i < 2 * EACH; i++) {
        struct call *c = calls[i % 2][i / 2];
        await(c);
        assert_int_equal(c->op.result, STORE_OK);
        call_free(c);
    }
    assert_int_equal(database_number("SELECT deadlocks FROM pg_stat_database WHERE datname = $$sockudo$$"), 0);
    fixture_free(f[1]);
}

/* ---- what fails ---- */

static enum store_result append_until_stored(struct fixture *f, struct message_id m, struct hash128 key, const char *data)
{
    enum store_result result = STORE_FAILED;
    for (int i = 0; i < 400 && result == STORE_FAILED; i++) {
        f->w.receipt_key = f->w.fingerprint = key;
        result = mutate(f, m, ACTION_APPEND, data);
        if (result == STORE_FAILED)
            sleep_ms(25);
    }
    return result;
}

/* The longer a server is away the longer are the pauses; but once the writer has met it, no reader goes on pausing. The writer
 * tries after 0.1, 0.3, 0.7, 1.5 s; the readers, who miss it later, 0.35 s behind it. */
static void readers_are_back_with_the_writer(void **state)
{
    enum { LATER_MS = 350, AWAY_MS = 1100, EVERY_MS = 10, READS = 40 };
    struct fixture *f = *state;
    struct message_id m = create(f, "\"a\"");
    database_kill();
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"never\""), STORE_FAILED);
    sleep_ms(LATER_MS);
    for (int ms = LATER_MS; ms < AWAY_MS; ms += EVERY_MS) {
        latest(f, m);
        sleep_ms(EVERY_MS);
    }
    database_start();
    assert_int_equal(append_until_stored(f, m, key_for(1), "\"b\""), STORE_OK);
    for (int i = 0; i < READS; i++)
        assert_str(latest(f, m), "2:append\"ab\"");
}

/* kill -9 in the middle of a stream: nothing acknowledged is lost, and what was retried is there once. */
static void killed_server_loses_and_doubles_nothing(void **state)
{
    enum { MANY = 60 };
    struct fixture *f = *state;
    struct call *calls[MANY];
    char data[16], expected[8 * MANY] = "\"";
    struct message_id m = create(f, "\"\"");
    for (int i = 0; i < MANY / 2; i++) {
        snprintf(data, sizeof data, "\"%02d.\"", i);
        assert_int_equal(append_until_stored(f, m, key_for((uint64_t)i + 1), data), STORE_OK);
    }
    for (int i = 0; i < MANY; i++) { /* on their way while it dies; their outcome is found out below */
        f->w.receipt_key = f->w.fingerprint = key_for(MANY);
        submit(calls[i] = append_call(f, m, STR("\"last\"")));
    }
    database_kill();
    for (int i = 0; i < MANY; i++) {
        await(calls[i]);
        call_free(calls[i]);
    }
    f->w.receipt_key = f->w.fingerprint = key_for(MANY);
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"last\""), STORE_FAILED);
    assert_false(store_is_healthy(f->store));
    assert_int_equal(versions(f, m, NEWEST_FIRST, 0, 1).n, strlen("failed"));

    database_start();

    assert_true(append_until_stored(f, m, key_for(MANY), "\"last\"") <= STORE_DUPLICATE);
    for (int i = 0; i < MANY / 2; i++) {
        snprintf(data, sizeof data, "\"%02d.\"", i);
        f->w.receipt_key = f->w.fingerprint = key_for((uint64_t)i + 1);
        assert_int_equal(mutate(f, m, ACTION_APPEND, data), STORE_DUPLICATE);
        memcpy(expected + strlen(expected), data + 1, 3);
    }
    memcpy(expected + strlen(expected), "last\"", 5);
    assert_true(store_is_healthy(f->store));
    struct str text = latest(f, m);
    assert_true(str_ends(text, str_of(expected)));
    assert_int_equal(head(f).delivery, MANY / 2 + 2);
}

/* The server ends a statement that takes too long: that is an answer, and the next one is not touched by it. */
static void statement_that_takes_too_long_fails_alone(void **state)
{
    struct fixture *f = *state;
    create(f, "\"\"");
    store_close(f->store);
    f->postgres.write_timeout_ms = 300;
    fixture_open(f);
    database_sql(sql_of(f, "CREATE FUNCTION @_slow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(2); RETURN NEW; END$$; "
                           "CREATE TRIGGER slow BEFORE INSERT ON @_log FOR EACH ROW EXECUTE FUNCTION @_slow()"));
    f->w.event_name = STR("n");
    assert_int_equal(write_of(f, ACTION_ORDINARY, "0"), STORE_FAILED);
    database_sql(sql_of(f, "DROP TRIGGER slow ON @_log"));
    ordinary(f, "0");
    assert_int_equal(f->last.delivery, 2);
}

/* Somebody holds one channel: the others go on, and it does too, in order, once it is let go. */
static struct call *ordinary_call(struct fixture *f, const char *channel)
{
    f->w.event_name = STR("n");
    f->w.data = STR("0");
    struct call *c = write_call(f, ACTION_ORDINARY);
    c->op.channel = str_of(channel);
    return c;
}

static void assert_stored_as(struct call *c, uint64_t delivery)
{
    await(c);
    assert_int_equal(c->op.result, STORE_OK);
    assert_int_equal(c->op.written.delivery, delivery);
    call_free(c);
}

/* The others by their names behind it; some come in one batch with it, as the writer is busy when they come. */
static void locked_channel_does_not_hold_up_the_others(void **state)
{
    enum { BUSY = 300, OTHERS = 5, STUCK = 3 };
    struct fixture *f = *state;
    char command[600], line[64];
    struct call *stuck[STUCK], *busy[BUSY], *other[OTHERS];
    create(f, "\"\"");
    run(other[0] = ordinary_call(f, "other"));
    call_free(other[0]);
    snprintf(command, sizeof command,
             "\"BEGIN; UPDATE %s_channels SET newest_ms = newest_ms WHERE channel = \\$\\$chat\\$\\$; SELECT pg_sleep(2); COMMIT\" >/dev/null 2>&1 &",
             f->postgres.table_prefix);
    database_tool("sql", command, line, sizeof line);
    sleep_ms(400);
    uint64_t began = clock_mono_ms(&clock_system);
    for (int i = 0; i < BUSY; i++)
        submit(busy[i] = ordinary_call(f, "shop"));
    for (int i = 0; i < STUCK; i++)
        submit(stuck[i] = ordinary_call(f, "chat"));
    for (int i = 0; i < OTHERS; i++) {
        submit(other[i] = ordinary_call(f, "other"));
        if (i > 0)
            assert_stored_as(other[i], 2 + (uint64_t)i);
    }
    assert_stored_as(other[0], 2);
    for (int i = 0; i < BUSY; i++)
        assert_stored_as(busy[i], 1 + (uint64_t)i);
    assert_true(clock_mono_ms(&clock_system) - began < 1200);
    assert_false(stuck[0]->done);
    for (int i = 0; i < STUCK; i++)
        assert_stored_as(stuck[i], 2 + (uint64_t)i);
}

/* Somebody never lets go: what waits for the channel fails, is not stored, and is known not to be. */
static void channel_that_stays_locked_fails_its_writes_alone(void **state)
{
    struct fixture *f = *state;
    char command[600], line[64];
    create(f, "\"\"");
    store_close(f->store);
    f->postgres.write_timeout_ms = 600;
    f->postgres.lock_timeout_ms = 100;
    fixture_open(f);
    assert_int_equal(head(f).delivery, 1);
    snprintf(command, sizeof command,
             "\"BEGIN; UPDATE %s_channels SET newest_ms = newest_ms; SELECT pg_sleep(2); COMMIT\" >/dev/null 2>&1 &",
             f->postgres.table_prefix);
    database_tool("sql", command, line, sizeof line);
    sleep_ms(300);
    f->w.event_name = STR("n");
    assert_int_equal(write_of(f, ACTION_ORDINARY, "0"), STORE_FAILED);
    assert_true(store_is_healthy(f->store));
    assert_int_equal(store_stats(f->store)->queue_ops, 0);
    for (int i = 0; i < 100 && database_number("SELECT count(*) FROM pg_locks WHERE NOT granted OR mode = $$RowExclusiveLock$$") > 0; i++)
        sleep_ms(50);
    ordinary(f, "0");
    assert_int_equal(f->last.delivery, 2);
}

/* A server that hangs without closing anything is given up; what it does when it wakes up does no harm. */
static void frozen_session_is_left_and_its_late_commit_is_a_duplicate(void **state)
{
    struct fixture *f = *state;
    char pids[1024], command[1100];
    struct message_id m = create(f, "\"\"");
    store_close(f->store);
    f->postgres.write_timeout_ms = 300;
    fixture_open(f);
    append(f, m, "\"a\"");
    snprintf(pids, sizeof pids, "%s", database_sql("SELECT string_agg(pid::text, chr(32)) FROM pg_stat_activity WHERE application_name LIKE $$sockudo%$$"));
    snprintf(command, sizeof command, "kill -STOP %s", pids);
    assert_int_equal(system(command), 0);
    f->w.receipt_key = f->w.fingerprint = key_for(1);
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"b\""), STORE_FAILED);
    assert_int_equal(append_until_stored(f, m, key_for(1), "\"b\""), STORE_OK);
    snprintf(command, sizeof command, "kill -CONT %s", pids);
    assert_int_equal(system(command), 0);
    sleep_ms(300);
    append(f, m, "\"c\"");
    assert_str(latest(f, m), "4:append\"abc\"");
}

/* An asynchronous failover: the database knows less than this node has said. No position is given twice. */
static void lost_positions_are_noticed_and_a_reset_helps(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"\"");
    append(f, m, "\"a\"");
    append(f, m, "\"b\"");
    database_sql(sql_of(f, "UPDATE @_channels SET delivery = 2; DELETE FROM @_log WHERE delivery = 3"));
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"c\""), STORE_UNHEALTHY);
    assert_int_equal(f->head.state, STATE_RESET_REQUIRED);
    assert_str(f->head.state_reason, "store_lost_positions");
    assert_str(replay(f, 0, 0), "stream needs a reset");
    reset(f);
    ordinary(f, "0");
    assert_int_equal(f->last.delivery, 1);
}

/* S10: a hole is never replayed over. */
static void missing_row_fails_the_replay_and_marks_the_channel(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 4; i++)
        ordinary(f, "0");
    database_sql(sql_of(f, "DELETE FROM @_log WHERE delivery = 2"));
    assert_str(replay(f, 0, 4), "stream needs a reset");
    assert_int_equal(f->head.state, STATE_DEGRADED);
    for (int i = 0; i < 100 && database_number(sql_of(f, "SELECT state FROM @_channels")) != 2; i++)
        sleep_ms(20);
    assert_int_equal(database_number(sql_of(f, "SELECT state FROM @_channels")), 2);
    assert_str(page(f, NEWEST_FIRST, 0, 1), "stream needs a reset");
    ordinary(f, "0"); /* writing goes on */
}

/* ---- retention in the background ---- */

static void background_drops_what_outlived_its_window(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++) {
        f->w.now_ms = clock_wall_ms(&clock_system) - 1000;
        f->w.retention.window_ms = 100;
        f->w.retention.window_ms = 5000;
        ordinary(f, "0");
    }
    database_sql(sql_of(f, "UPDATE @_channels SET window_ms = 100"));
    store_close(f->store);
    f->options.purge_interval_ms = 50;
    fixture_open(f);
    for (int i = 0; i < 200 && head(f).retained_messages > 0; i++)
        sleep_ms(20);
    assert_int_equal(head(f).retained_messages, 0);
    assert_int_equal(head(f).replay_floor, 4);
    reset(f);
    for (int i = 0; i < 200 && database_number(sql_of(f, "SELECT count(*) FROM @_gone")) > 0; i++)
        sleep_ms(20);
    assert_int_equal(database_number(sql_of(f, "SELECT count(*) FROM @_gone")), 0);
}

/* The row of a retry's receipt may be gone; for a day the receipt is not. */
static void receipt_of_a_mutation_outlives_its_row(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"\"");
    f->w.now_ms = clock_wall_ms(&clock_system);
    f->w.receipt_key = f->w.fingerprint = key_for(9);
    append(f, m, "\"a\"");
    assert_int_equal(purge_below(f, 0), 1);
    f->w.now_ms = clock_wall_ms(&clock_system);
    f->w.receipt_key = f->w.fingerprint = key_for(9);
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"a\""), STORE_DUPLICATE);
    assert_int_equal(f->last.delivery, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_POSTGRES(hundred_appends_of_each_of_two_nodes_lose_none)
        ON_POSTGRES(appends_by_turns_rise_over_both_nodes)
        ON_POSTGRES(of_terminal_appends_on_two_nodes_one_wins)
        ON_POSTGRES(limit_of_open_streams_holds_over_two_nodes)
        ON_POSTGRES(retry_on_another_node_finds_the_receipt)
        ON_POSTGRES(batches_of_many_channels_do_not_wait_for_one_another)
        ON_POSTGRES(readers_are_back_with_the_writer)
        ON_POSTGRES(killed_server_loses_and_doubles_nothing)
        ON_POSTGRES(statement_that_takes_too_long_fails_alone)
        ON_POSTGRES(locked_channel_does_not_hold_up_the_others)
        ON_POSTGRES(channel_that_stays_locked_fails_its_writes_alone)
        ON_POSTGRES(frozen_session_is_left_and_its_late_commit_is_a_duplicate)
        ON_POSTGRES(lost_positions_are_noticed_and_a_reset_helps)
        ON_POSTGRES(missing_row_fails_the_replay_and_marks_the_channel)
        ON_POSTGRES(background_drops_what_outlived_its_window)
        ON_POSTGRES(receipt_of_a_mutation_outlives_its_row)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
