/* retention_test.c - what is forgotten, when, and what the channel then says of itself (chapter 3, 2.4, 2.7, 8.6, 9).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

static void streaming(struct fixture *f)
{
    f->w.extras = STR("{}");
    f->w.status = STREAM_OPEN;
}

/* 9, case 19. */
static void keeps_the_newest_three_of_five(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++) {
        f->w.retention.messages_max = 3;
        ordinary(f, "0");
    }
    struct store_head h = head(f);
    assert_int_equal(h.oldest_history, 3);
    assert_int_equal(h.history, 5);
    assert_int_equal(h.retained_messages, 3);
    assert_int_equal(h.replay_floor, 3);
    assert_str(page(f, OLDEST_FIRST, 0, 10), "3:ordinary0 4:ordinary0 5:ordinary0");
    assert_str(replay(f, 1, 5), "expired");
    assert_str(replay(f, 2, 5), "3:ordinary0 4:ordinary0 5:ordinary0");
}

/* Under load a batch holds many creates of one channel: the bound must hold nevertheless. */
static void bound_holds_after_a_large_batch(void **state)
{
    struct fixture *f = *state;
    enum { MANY = 500 };
    struct call *calls[MANY];
    for (int i = 0; i < MANY; i++) {
        f->w = (struct store_write){.event_name = STR("n"), .data = STR("0"), .retention = {.messages_max = 3}};
        submit(calls[i] = write_call(f, ACTION_ORDINARY));
    }
    for (int i = 0; i < MANY; i++) {
        await(calls[i]);
        call_free(calls[i]);
    }
    assert_int_equal(head(f).retained_messages, 3);
}

/* The metric of the app counts what the write itself says. */
static void write_tells_what_it_evicted(void **state)
{
    struct fixture *f = *state;
    f->w.retention.messages_max = 1;
    ordinary(f, "0");
    f->w.retention.messages_max = 1;
    ordinary(f, "0");
    assert_int_equal(f->last.evicted_messages, 1);
    assert_true(f->last.evicted_bytes > 0);
    assert_int_equal(f->head.oldest_history, 2);
}

static void bytes_max_below_one_row_empties_the_channel(void **state)
{
    struct fixture *f = *state;
    f->w.retention.bytes_max = 1;
    ordinary(f, "\"long enough\"");
    f->w.retention.bytes_max = 1;
    ordinary(f, "\"long enough\"");
    assert_int_equal(f->last.delivery, 2);
    assert_str(page(f, NEWEST_FIRST, 0, 10), "");
    assert_int_equal(head(f).retained_bytes, 0);
    assert_int_equal(head(f).oldest_history, 0);
}

static void window_is_relative_to_the_write(void **state)
{
    struct fixture *f = *state;
    f->w.now_ms = 1000;
    f->w.retention.window_ms = 100;
    ordinary(f, "1");
    f->w.now_ms = 1100;
    f->w.retention.window_ms = 100;
    ordinary(f, "2");
    assert_int_equal(head(f).oldest_history, 1);
    f->w.now_ms = 1101;
    f->w.retention.window_ms = 100;
    ordinary(f, "3");
    assert_int_equal(head(f).oldest_history, 2);
    assert_int_equal(head(f).oldest_ms, 1100);
}

static void dropped_message_takes_its_versions_and_raises_the_floor_above_them(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"\"");
    ordinary(f, "0");
    append(f, m, "\"a\"");
    f->w.retention.messages_max = 2;
    ordinary(f, "1");
    assert_str(latest(f, m), "");
    assert_int_equal(head(f).replay_floor, 4);
    assert_str(versions(f, m, OLDEST_FIRST, 0, 10), "not found");
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"b\""), STORE_NOT_FOUND);
    assert_str(replay(f, 2, 4), "expired");
    assert_str(replay(f, 3, 4), "4:ordinary1");
}

/* 9, case 49. */
static void open_stream_outlives_shorter_messages_behind_it(void **state)
{
    struct fixture *f = *state;
    streaming(f);
    f->w.now_ms = 1000;
    struct message_id m = create(f, "\"\"");
    f->w.now_ms = 1000;
    ordinary(f, "0");
    f->w.now_ms = 5000;
    f->w.retention.window_ms = 100;
    append(f, m, "\"a\"");

    assert_str(latest(f, m), "3:append\"a\"");
    assert_str(page(f, OLDEST_FIRST, 0, 10), "1:append\"a\"");
    assert_str(versions(f, m, OLDEST_FIRST, 0, 10), "1:create\"\" 3:append\"a\"");
    assert_str(replay(f, 0, 3), "expired");
    assert_str(replay(f, 2, 3), "3:append\"a\"");
}

/* 9, case 20. */
static void purge_below_a_serial_keeps_it(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 6; i++)
        ordinary(f, "0");
    struct store_head before = head(f);
    assert_int_equal(purge_below(f, 5), 4);
    assert_int_equal(f->head.oldest_history, 5);
    assert_string_equal(f->head.stream_id, before.stream_id);
    assert_int_equal(f->head.replay_floor, 5);
    assert_int_equal(purge_below(f, 0), 2);
    ordinary(f, "0");
    assert_int_equal(f->last.history, 7);
    assert_int_equal(f->last.delivery, 7);
}

static void purge_reaches_what_was_written_just_before_it(void **state)
{
    struct fixture *f = *state;
    struct call *calls[3];
    for (int i = 0; i < 3; i++) {
        f->w = (struct store_write){.event_name = STR("n"), .data = STR("0")};
        submit(calls[i] = write_call(f, ACTION_ORDINARY));
    }
    assert_int_equal(purge_below(f, 0), 3);
    for (int i = 0; i < 3; i++) {
        await(calls[i]);
        call_free(calls[i]);
    }
    assert_str(page(f, NEWEST_FIRST, 0, 10), "");
}

static void purge_closes_an_open_stream(void **state)
{
    struct fixture *f = *state;
    streaming(f);
    struct message_id m = create(f, "\"\"");
    assert_int_equal(purge_below(f, 0), 1);
    assert_int_equal(head(f).open_streams, 0);
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"x\""), STORE_NOT_FOUND);
}

static void purge_keeps_receipts_of_publishes(void **state)
{
    struct fixture *f = *state;
    f->w = (struct store_write){.receipt_key = key_for(1), .fingerprint = key_for(1), .receipt_ttl_ms = 500, .now_ms = 1000};
    create(f, "\"a\"");
    assert_int_equal(purge_below(f, 0), 1);
    f->w = (struct store_write){.receipt_key = key_for(1), .fingerprint = key_for(1), .receipt_ttl_ms = 500, .now_ms = 1000};
    assert_int_equal(write_of(f, ACTION_CREATE, "\"a\""), STORE_DUPLICATE);
}

static void reset_begins_anew_under_another_stream_id(void **state)
{
    struct fixture *f = *state;
    streaming(f);
    f->w.receipt_key = f->w.fingerprint = key_for(1);
    f->w.receipt_ttl_ms = 100000;
    struct message_id m = create(f, "\"\"");
    ordinary(f, "0");
    struct store_head before = head(f);

    struct call *c = call_new(f, STORE_RESET);
    run(c);
    assert_string_equal(c->op.found.previous_stream_id, before.stream_id);
    assert_string_not_equal(c->op.head.stream_id, before.stream_id);
    assert_int_equal(c->op.found.purged_messages, 2);
    assert_int_equal(c->op.head.delivery, 0);
    call_free(c);

    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"x\""), STORE_NOT_FOUND);
    assert_int_equal(head(f).open_streams, 0);
    f->w.receipt_key = f->w.fingerprint = key_for(1);
    f->w.receipt_ttl_ms = 100000;
    create(f, "\"\"");
    assert_int_equal(f->last.delivery, 1);
    assert_int_equal(f->last.history, 1);
}

static void retention_survives_reopening(void **state)
{
    struct fixture *f = *state;
    if (!keeps(f))
        return;
    for (int i = 0; i < 5; i++) {
        f->w.retention.messages_max = 2;
        ordinary(f, "0");
    }
    fixture_reopen(f);
    assert_int_equal(head(f).oldest_history, 4);
    assert_int_equal(head(f).retained_messages, 2);
    assert_int_equal(head(f).replay_floor, 4);
}

/* A position, once given, is never given to other content under the same stream id: not even when its row is gone. */
static void positions_go_on_after_purge_and_reopening(void **state)
{
    struct fixture *f = *state;
    if (!keeps(f))
        return;
    for (int i = 0; i < 3; i++)
        ordinary(f, "0");
    assert_int_equal(purge_below(f, 0), 3);

    fixture_reopen(f);

    assert_int_equal(head(f).delivery, 3);
    assert_int_equal(head(f).history, 3);
    ordinary(f, "0");
    assert_int_equal(f->last.delivery, 4);
    assert_int_equal(f->last.history, 4);
}

static void bytes_are_counted_the_same_after_reopening(void **state)
{
    struct fixture *f = *state;
    if (!keeps(f))
        return;
    for (int i = 0; i < 5; i++) {
        f->w.retention.messages_max = 2;
        ordinary(f, "\"0123456789\"");
    }
    uint64_t bytes = head(f).retained_bytes;
    fixture_reopen(f);
    assert_int_equal(head(f).retained_bytes, bytes);
    f->w.retention.bytes_max = 10000; /* far more than is there */
    ordinary(f, "0");
    assert_int_equal(head(f).retained_messages, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_ALL(keeps_the_newest_three_of_five)
        OVER_ALL(bound_holds_after_a_large_batch)
        OVER_ALL(write_tells_what_it_evicted)
        OVER_ALL(bytes_max_below_one_row_empties_the_channel)
        OVER_ALL(window_is_relative_to_the_write)
        OVER_ALL(dropped_message_takes_its_versions_and_raises_the_floor_above_them)
        OVER_ALL(open_stream_outlives_shorter_messages_behind_it)
        OVER_ALL(purge_below_a_serial_keeps_it)
        OVER_ALL(purge_reaches_what_was_written_just_before_it)
        OVER_ALL(purge_closes_an_open_stream)
        OVER_ALL(purge_keeps_receipts_of_publishes)
        OVER_ALL(reset_begins_anew_under_another_stream_id)
        OVER_ALL(retention_survives_reopening)
        OVER_ALL(positions_go_on_after_purge_and_reopening)
        OVER_ALL(bytes_are_counted_the_same_after_reopening)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
