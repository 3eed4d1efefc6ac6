/* health_test.c - rows that contradict one another are refused, never shown (chapter 3, 2.8; appendix A, S6 to S11).
 *
 * A store is filled and closed, something in its files is changed by hand, and it is opened again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "base/log.h"
#include "store/row.h"

enum { APPENDS = 1500 }; /* enough that the oldest rows lie below the checkpoint, so that no load looks at them */

static struct message_id first, second;

/* Channel "chat": message 1 (position 1), message 2 (position 2), then appends to message 1. */
static void fill(struct fixture *f, int appends)
{
    first = create(f, "\"\"");
    second = create(f, "\"two\"");
    for (int i = 0; i < appends; i++) {
        f->w.receipt_key = f->w.fingerprint = key_for((uint64_t)i + 1);
        append(f, first, "\"x\"");
    }
}

static struct kv *files(struct fixture *f)
{
    struct buf error = {0};
    store_close(f->store);
    f->store = NULL;
    struct kv *kv = kv_rocksdb_open(f->dir, &error);
    if (!kv)
        fail_msg("%.*s", STR_ARG(buf_view(&error)));
    return kv;
}

static void files_done(struct fixture *f, struct kv *kv)
{
    struct buf error = {0};
    assert_true(kv_commit(kv, true, &error));
    kv->ops->close(kv);
    fixture_open(f);
}

static void get(struct kv *kv, struct key key, struct buf *value)
{
    bool failed = false;
    assert_true(kv_get(kv, key_str(&key), value, &failed));
}

static void remove_row(struct fixture *f, uint64_t delivery)
{
    struct kv *kv = files(f);
    struct key key = key_of2('L', 1, delivery);
    kv_del(kv, key_str(&key));
    files_done(f, kv);
}

/* The row at `delivery` says that it belongs to this message. */
static void give_row_to(struct fixture *f, uint64_t delivery, uint64_t create, uint64_t history)
{
    struct kv *kv = files(f);
    struct key key = key_of2('L', 1, delivery);
    struct buf before = {0}, after = {0};
    struct row row;
    get(kv, key, &before);
    assert_true(row_read(buf_view(&before), &row));
    row.create = create;
    row.history = history;
    row_put(&after, &row);
    kv_put(kv, key_str(&key), buf_view(&after));
    buf_free(&before);
    buf_free(&after);
    files_done(f, kv);
}

static void assert_state(struct fixture *f, enum stream_state state, const char *reason)
{
    struct call *c = call_new(f, STORE_HEAD);
    run(c);
    assert_int_equal(c->op.result, STORE_UNHEALTHY);
    assert_int_equal(c->op.head.state, state);
    assert_true(str_eq(c->op.head.state_reason, str_of(reason)));
    assert_int_equal(strlen(c->op.head.stream_id), STREAM_ID_SIZE);
    call_free(c);
    assert_int_equal(store_stats(f->store)->degraded_channels, 1);
    assert_int_equal(store_stats(f->store)->reset_required_channels, state == STATE_RESET_REQUIRED);
}

static void assert_degraded(struct fixture *f)
{
    assert_state(f, STATE_DEGRADED, "store_rows_damaged");
    assert_str(replay(f, 0, 3), "stream needs a reset");
    assert_str(latest(f, second), "stream needs a reset");
    append(f, first, "\"y\""); /* its counters are sound: publishing goes on */
}

static void assert_reset_required(struct fixture *f)
{
    assert_int_equal(mutate(f, first, ACTION_APPEND, "\"y\""), STORE_UNHEALTHY);
    assert_state(f, STATE_RESET_REQUIRED, "store_rows_disagree");
    assert_str(page(f, NEWEST_FIRST, 0, 10), "stream needs a reset");
    struct call *c = call_new(f, STORE_PURGE);
    c->op.read.purge_all = true;
    run(c);
    assert_int_equal(c->op.result, STORE_UNHEALTHY);
    call_free(c);
}

static void S6_chain_with_two_message_serials_is_refused(void **state)
{
    struct fixture *f = *state;
    fill(f, APPENDS);
    give_row_to(f, 10, 2, 1);
    assert_str(versions(f, first, OLDEST_FIRST, 8, 3), "stream needs a reset");
    assert_degraded(f);
}

static void S6_is_seen_when_the_channel_is_loaded(void **state)
{
    struct fixture *f = *state;
    fill(f, 5);
    give_row_to(f, 4, 2, 1);
    assert_reset_required(f);
}

static void S7_chain_with_two_history_serials_is_refused(void **state)
{
    struct fixture *f = *state;
    fill(f, APPENDS);
    give_row_to(f, 10, 1, 2);
    assert_str(versions(f, first, OLDEST_FIRST, 8, 3), "stream needs a reset");
    assert_degraded(f);
}

static void S8_version_serial_twice_in_a_chain_is_refused(void **state)
{
    struct fixture *f = *state;
    struct buf before = {0}, deliveries = {0}, after = {0};
    struct segment s;
    fill(f, APPENDS);
    struct kv *kv = files(f);
    struct key key = key_segment(1, 1, 0);
    get(kv, key, &before);
    assert_true(segment_read(buf_view(&before), &s));
    buf_str(&deliveries, s.deliveries);
    deliveries.p[deliveries.n - 1] = 0; /* the last step is none */
    s.deliveries = buf_view(&deliveries);
    segment_put(&after, &s);
    kv_put(kv, key_str(&key), buf_view(&after));
    buf_free(&before);
    buf_free(&deliveries);
    buf_free(&after);
    files_done(f, kv);
    assert_str(versions(f, first, OLDEST_FIRST, 0, 3), "stream needs a reset");
    assert_degraded(f);
}

static void S9_delivery_serial_twice_in_a_channel_is_refused(void **state)
{
    struct fixture *f = *state;
    struct buf value = {0};
    struct place place = {1, 10, 1000}; /* position 1 is the first message's */
    fill(f, APPENDS);
    struct kv *kv = files(f);
    struct key key = key_of2('H', 1, 2);
    place_put(&value, &place);
    kv_put(kv, key_str(&key), buf_view(&value));
    buf_free(&value);
    files_done(f, kv);
    assert_str(page(f, NEWEST_FIRST, 0, 10), "stream needs a reset");
    assert_degraded(f);
}

static void S10_replay_is_contiguous_or_fails(void **state)
{
    struct fixture *f = *state;
    fill(f, APPENDS);
    remove_row(f, 10);
    assert_str(replay(f, 20, 21), "21:append\"x\"");
    assert_str(replay(f, 5, 20), "stream needs a reset");
    assert_degraded(f);
}

static void S10_hole_is_seen_when_the_channel_is_loaded(void **state)
{
    struct fixture *f = *state;
    fill(f, 5);
    remove_row(f, 4);
    assert_reset_required(f);
}

static void S11_latest_is_the_greatest_version_serial(void **state)
{
    struct fixture *f = *state;
    struct buf before = {0}, after = {0};
    struct head h;
    fill(f, APPENDS);
    struct kv *kv = files(f);
    struct key key = key_of2('M', 1, 1);
    get(kv, key, &before);
    assert_true(head_read(buf_view(&before), &h));
    h.last -= 5;
    head_put(&after, &h);
    kv_put(kv, key_str(&key), buf_view(&after));
    buf_free(&before);
    buf_free(&after);
    files_done(f, kv);
    assert_reset_required(f);
}

static void tail_that_was_lost_is_not_given_again(void **state)
{
    struct fixture *f = *state;
    fill(f, APPENDS);
    struct kv *kv = files(f);
    struct key from = key_of2('L', 1, 900), to = key_of('L', 2);
    kv_del_range(kv, key_str(&from), key_str(&to));
    files_done(f, kv);
    assert_int_equal(mutate(f, first, ACTION_APPEND, "\"y\""), STORE_UNHEALTHY);
    assert_state(f, STATE_RESET_REQUIRED, "store_lost_positions");
}

static void kept_text_that_is_damaged_stops_nobody_else(void **state)
{
    struct fixture *f = *state;
    fill(f, APPENDS);
    struct kv *kv = files(f);
    struct key key = key_segment(1, 1, 0);
    kv_put(kv, key_str(&key), STR("rot"));
    files_done(f, kv);
    struct call *calls[2];
    f->w = (struct store_write){.target = first, .event_name = STR("renamed")};
    calls[0] = write_call(f, ACTION_UPDATE);
    f->w = (struct store_write){.event_name = STR("n"), .data = STR("1")};
    calls[1] = write_call(f, ACTION_ORDINARY);
    calls[1]->op.channel = STR("other");
    submit(calls[0]);
    submit(calls[1]);
    await(calls[0]);
    await(calls[1]);
    assert_int_equal(calls[0]->op.result, STORE_UNHEALTHY);
    assert_int_equal(calls[1]->op.result, STORE_OK);
    call_free(calls[0]);
    call_free(calls[1]);
    assert_true(store_is_healthy(f->store));
    assert_degraded(f);
}

static void state_is_remembered_until_a_reset(void **state)
{
    struct fixture *f = *state;
    fill(f, APPENDS);
    remove_row(f, 10);
    assert_str(replay(f, 5, 20), "stream needs a reset");
    assert_degraded(f);
    fixture_reopen(f);
    assert_int_equal(store_stats(f->store)->degraded_channels, 1);
    assert_degraded(f);

    reset(f);

    assert_int_equal(f->head.state, STATE_HEALTHY);
    assert_int_equal(store_stats(f->store)->degraded_channels, 0);
    ordinary(f, "0");
    assert_str(replay(f, 0, 1), "1:ordinary0");
    fixture_reopen(f);
    assert_int_equal(store_stats(f->store)->degraded_channels, 0);
    assert_str(replay(f, 0, 1), "1:ordinary0");
}

#define TEST(name) {#name, name, fixture_setup, fixture_teardown, (void *)&backend_rocksdb}

int main(void)
{
    log_setup(&(struct log_options){.filter = "off"});
    const struct CMUnitTest tests[] = {
        TEST(S6_chain_with_two_message_serials_is_refused),
        TEST(S6_is_seen_when_the_channel_is_loaded),
        TEST(S7_chain_with_two_history_serials_is_refused),
        TEST(S8_version_serial_twice_in_a_chain_is_refused),
        TEST(S9_delivery_serial_twice_in_a_channel_is_refused),
        TEST(S10_replay_is_contiguous_or_fails),
        TEST(S10_hole_is_seen_when_the_channel_is_loaded),
        TEST(S11_latest_is_the_greatest_version_serial),
        TEST(tail_that_was_lost_is_not_given_again),
        TEST(kept_text_that_is_damaged_stops_nobody_else),
        TEST(state_is_remembered_until_a_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
