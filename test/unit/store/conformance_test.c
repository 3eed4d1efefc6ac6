/* conformance_test.c - what chapter 3 asks of every store: sections 1.6, 1.9, 8.1 and the cases of 9 that concern it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

static void streaming(struct fixture *f)
{
    f->w.extras = STR("{\"s\":1}");
    f->w.status = STREAM_OPEN;
}

static void closing(struct fixture *f)
{
    f->w.extras = STR("{\"s\":2}");
    f->w.status = STREAM_COMPLETE;
}

/* 9, case 1. */
static void appends_accumulate_and_versions_keep_the_fragments(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"\"");
    append(f, m, "\"a\"");
    append(f, m, "\"b\"");

    assert_str(latest(f, m), "3:append\"ab\"");
    assert_str(versions(f, m, OLDEST_FIRST, 0, 10), "1:create\"\" 2:append\"a\" 3:append\"b\"");
    assert_str(page(f, NEWEST_FIRST, 0, 10), "1:append\"ab\"");
    assert_str(replay(f, 0, 3), "1:create\"\" 2:append\"a\" 3:append\"b\"");
}

/* 9, case 2. */
static void append_to_an_object_is_refused_and_takes_no_position(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "{\"a\":1}");
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"x\""), STORE_NOT_STRING);

    ordinary(f, "\"next\"");

    assert_int_equal(f->last.delivery, 2);
    assert_str(latest(f, m), "1:create{\"a\":1}");
}

/* 9, cases 3 and 4. */
static void append_after_terminal_depends_on_the_channel(void **state)
{
    struct fixture *f = *state;
    streaming(f);
    struct message_id m = create(f, "\"a\"");
    assert_int_equal(f->head.open_streams, 1);
    closing(f);
    append(f, m, "\"\"");
    assert_int_equal(f->last.status_before, STREAM_OPEN);
    assert_int_equal(f->last.status, STREAM_COMPLETE);
    assert_int_equal(f->head.open_streams, 0);

    f->w.refuse_append_after_terminal = true;
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"b\""), STORE_TERMINAL);
    append(f, m, "\"c\"");
    f->w.refuse_append_after_terminal = true;
    assert_int_equal(mutate(f, m, ACTION_UPDATE, "\"d\""), STORE_OK);
    assert_str(latest(f, m), "4:update\"d\"");
}

/* 9, case 5. */
static void empty_delete_keeps_the_data_and_append_revives(void **state)
{
    struct fixture *f = *state;
    streaming(f);
    struct message_id m = create(f, "\"a\"");
    struct call *c = NULL;
    f->w.target = m;
    c = write_call(f, ACTION_DELETE);
    run(c);
    assert_int_equal(c->op.result, STORE_OK);
    assert_str(c->op.written.data, "\"a\"");
    assert_int_equal(c->op.head.open_streams, 0);
    call_free(c);
    assert_str(latest(f, m), "2:delete\"a\"");

    append(f, m, "\"x\"");

    assert_str(latest(f, m), "3:append\"ax\"");
    assert_int_equal(f->last.action_before, ACTION_DELETE);
    assert_int_equal(head(f).open_streams, 1);
}

/* 9, case 6, and 1.6. */
static void update_keeps_replaces_and_clears_each_field_by_itself(void **state)
{
    struct fixture *f = *state;
    f->w.extras = STR("{\"k\":1}");
    struct message_id m = create(f, "\"a\"");
    f->w.event_name = STR("");
    assert_int_equal(mutate(f, m, ACTION_UPDATE, ""), STORE_OK);

    struct call *c = call_new(f, STORE_LATEST);
    c->op.read.ids = &m;
    c->op.read.ids_count = 1;
    run(c);
    assert_str(c->op.found.items[0].event_name, "");
    assert_str(c->op.found.items[0].extras, "{\"k\":1}");
    assert_str(c->op.found.items[0].data, "\"a\"");
    assert_true(c->op.found.items[0].mutated);
    call_free(c);

    f->w.clear = CLEAR_NAME | CLEAR_DATA | CLEAR_EXTRAS;
    assert_int_equal(mutate(f, m, ACTION_UPDATE, ""), STORE_OK);
    c = call_new(f, STORE_LATEST);
    c->op.read.ids = &m;
    c->op.read.ids_count = 1;
    run(c);
    assert_absent(c->op.found.items[0].event_name);
    assert_absent(c->op.found.items[0].extras);
    assert_absent(c->op.found.items[0].data);
    call_free(c);
    append(f, m, "\"z\"");
    assert_str(latest(f, m), "4:append\"z\"");
}

static void append_without_extras_keeps_them_and_with_extras_replaces_them(void **state)
{
    struct fixture *f = *state;
    streaming(f);
    struct message_id m = create(f, "\"\"");
    f->w.target = m;
    f->w.data = STR("\"a\"");
    struct call *c = write_call(f, ACTION_APPEND);
    run(c);
    assert_str(c->op.written.extras, "{\"s\":1}");
    assert_str(c->op.written.name, "ai-output");
    assert_str(c->op.written.data, "\"a\"");
    assert_int_equal(c->op.written.status, STREAM_OPEN);
    call_free(c);

    f->w.extras = STR("{}");
    append(f, m, "\"b\"");
    assert_int_equal(f->last.status, STREAM_NONE);
    assert_int_equal(f->head.open_streams, 0);
}

/* 9, case 8: one is applied, 49 are duplicates of it. */
static void same_receipt_is_applied_once_even_within_one_batch(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"\"");
    struct call *calls[50];
    for (int i = 0; i < 50; i++) {
        f->w = (struct store_write){.target = m, .data = STR("\"x\""), .receipt_key = key_for(7), .fingerprint = key_for(8)};
        submit(calls[i] = write_call(f, ACTION_APPEND));
    }
    for (int i = 0; i < 50; i++) {
        await(calls[i]);
        assert_int_equal(calls[i]->op.result, i ? STORE_DUPLICATE : STORE_OK);
        assert_int_equal(calls[i]->op.written.delivery, 2);
        call_free(calls[i]);
    }
    assert_str(latest(f, m), "2:append\"x\"");
    f->w.receipt_key = key_for(7);
    f->w.fingerprint = key_for(9);
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"y\""), STORE_RECEIPT_CONFLICT);
    f->w.receipt_key = key_for(10);
    append(f, m, "\"y\"");
    assert_int_equal(f->last.delivery, 3);
}

static void receipt_is_looked_at_before_everything_that_refuses(void **state)
{
    struct fixture *f = *state;
    streaming(f);
    struct message_id m = create(f, "\"\"");
    closing(f);
    f->w.receipt_key = f->w.fingerprint = key_for(1);
    append(f, m, "\"x\"");

    f->w.receipt_key = f->w.fingerprint = key_for(1);
    f->w.refuse_append_after_terminal = true;
    f->w.appends_max = f->w.bytes_max = 1;
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"x\""), STORE_DUPLICATE);
}

static void create_receipt_answers_the_first_positions_until_it_expires(void **state)
{
    struct fixture *f = *state;
    ordinary(f, "\"other\"");
    f->w = (struct store_write){.receipt_key = key_for(1), .fingerprint = key_for(2), .receipt_ttl_ms = 500, .now_ms = 1000};
    struct message_id m = create(f, "\"a\"");

    f->w = (struct store_write){.receipt_key = key_for(1), .fingerprint = key_for(2), .receipt_ttl_ms = 500, .now_ms = 1400};
    assert_int_equal(write_of(f, ACTION_CREATE, "\"a\""), STORE_DUPLICATE);
    assert_int_equal(f->last.delivery, 2);
    assert_int_equal(f->last.history, 2);
    assert_int_equal(f->last.message.create_delivery, m.create_delivery);
    f->w = (struct store_write){.receipt_key = key_for(1), .fingerprint = key_for(3), .receipt_ttl_ms = 500, .now_ms = 1400};
    assert_int_equal(write_of(f, ACTION_CREATE, "\"b\""), STORE_RECEIPT_CONFLICT);
    f->w = (struct store_write){.receipt_key = key_for(1), .fingerprint = key_for(3), .receipt_ttl_ms = 500, .now_ms = 1600};
    create(f, "\"b\"");
    assert_int_equal(f->last.delivery, 3);
}

static void limits_count_decoded_bytes_and_appends(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"\\u00e9\"");
    f->w.bytes_max = 4;
    append(f, m, "\"\\n\\n\"");
    assert_int_equal(f->last.message_bytes, 4);
    f->w.bytes_max = 4;
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"x\""), STORE_BYTES_MAX);
    f->w.appends_max = 1;
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"x\""), STORE_APPENDS_MAX);
    f->w.appends_max = 2;
    append(f, m, "\"x\"");
    assert_int_equal(f->last.appends, 2);
    f->w.bytes_max = 3;
    assert_int_equal(write_of(f, ACTION_CREATE, "\"1234\""), STORE_BYTES_MAX);
    assert_int_equal(head(f).delivery, 3);
}

static void open_streams_are_counted_over_the_channel(void **state)
{
    struct fixture *f = *state;
    streaming(f);
    struct message_id a = create(f, "\"\"");
    streaming(f);
    f->w.open_max = 1;
    assert_int_equal(write_of(f, ACTION_CREATE, "\"\""), STORE_OPEN_MAX);
    closing(f);
    append(f, a, "\"\"");
    streaming(f);
    f->w.open_max = 1;
    create(f, "\"\"");
    assert_int_equal(head(f).open_streams, 1);
    assert_int_equal(f->last.delivery, 3);
}

static void unknown_messages_and_other_streams_are_not_found(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"\""), other = m;
    other.history = 9;
    assert_int_equal(mutate(f, other, ACTION_APPEND, "\"x\""), STORE_NOT_FOUND);
    other = m;
    other.stream8 ^= 1;
    assert_int_equal(mutate(f, other, ACTION_APPEND, "\"x\""), STORE_NOT_FOUND);
    ordinary(f, "\"o\"");
    other = f->last.message;
    assert_int_equal(mutate(f, other, ACTION_UPDATE, "\"x\""), STORE_NOT_FOUND);
    assert_int_equal(head(f).delivery, 2);
}

static void expected_version_must_be_the_newest(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"\"");
    f->w.expect_delivery = 1;
    append(f, m, "\"a\"");
    f->w.expect_delivery = 1;
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"b\""), STORE_CHANGED);
}

/* A streaming append says where in the text it belongs: sent twice, or behind one that is missing, it is refused. */
static void an_append_at_a_place_is_stored_there_or_not_at_all(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"h\\u00e9\""); /* 3 bytes */
    f->w = (struct store_write){.expects_bytes = true, .expect_bytes = 3};
    append(f, m, "\"a\"");
    f->w = (struct store_write){.expects_bytes = true, .expect_bytes = 3};
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"a\""), STORE_CHANGED);
    f->w = (struct store_write){.expects_bytes = true, .expect_bytes = 5};
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"c\""), STORE_CHANGED);
    assert_int_equal(head(f).delivery, 2);
    f->w = (struct store_write){.expects_bytes = true, .expect_bytes = 4};
    append(f, m, "\"b\"");
    assert_int_equal(f->last.message_bytes, 5);
}

/* "b" is refused since another has written; "c" would fit where it belongs, but "b" would be missing. */
static void what_follows_a_refused_append_is_refused_too(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"\"");
    f->w = (struct store_write){.expects_bytes = true, .expect_bytes = 0, .writer = 7};
    append(f, m, "\"a\"");
    f->w = (struct store_write){.expects_bytes = true, .expect_bytes = 1, .writer = 7, .follows = true};
    append(f, m, "\"b\"");
    append(f, m, "\"Z\"");
    f->w = (struct store_write){.expects_bytes = true, .expect_bytes = 2, .writer = 7, .follows = true};
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"c\""), STORE_CHANGED);
    f->w = (struct store_write){.expects_bytes = true, .expect_bytes = 3, .writer = 7, .follows = true};
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"d\""), STORE_CHANGED);
    f->w = (struct store_write){.expects_bytes = true, .expect_bytes = 3, .writer = 8};
    append(f, m, "\"e\"");
    assert_int_equal(head(f).delivery, 5);
}

/* 8.1: N concurrent appends give N fragments once each, in delivery order. */
static void hundred_appends_at_once_lose_none(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"\"");
    struct call *calls[100];
    for (int i = 0; i < 100; i++) {
        f->w = (struct store_write){.target = m, .data = STR("\"x\"")};
        submit(calls[i] = write_call(f, ACTION_APPEND));
    }
    for (int i = 0; i < 100; i++) {
        await(calls[i]);
        assert_int_equal(calls[i]->op.result, STORE_OK);
        assert_int_equal(calls[i]->op.written.delivery, 2 + i);
        call_free(calls[i]);
    }
    assert_int_equal(latest(f, m).n, strlen("101:append\"\"") + 100);
}

static void of_two_terminal_appends_one_wins(void **state)
{
    struct fixture *f = *state;
    streaming(f);
    struct message_id m = create(f, "\"\"");
    struct call *calls[2];
    for (int i = 0; i < 2; i++) {
        closing(f);
        f->w.target = m;
        f->w.data = STR("\"\"");
        f->w.refuse_append_after_terminal = true;
        submit(calls[i] = write_call(f, ACTION_APPEND));
    }
    for (int i = 0; i < 2; i++) {
        await(calls[i]);
        assert_int_equal(calls[i]->op.result, i ? STORE_TERMINAL : STORE_OK);
        call_free(calls[i]);
    }
}

static void three_rows_are_paged_by_two_in_both_directions(void **state)
{
    struct fixture *f = *state;
    ordinary(f, "1");
    ordinary(f, "2");
    ordinary(f, "3");
    assert_str(page(f, NEWEST_FIRST, 0, 2), "3:ordinary3 2:ordinary2 more");
    assert_str(page(f, NEWEST_FIRST, 2, 2), "1:ordinary1");
    assert_str(page(f, OLDEST_FIRST, 0, 2), "1:ordinary1 2:ordinary2 more");
    assert_str(page(f, OLDEST_FIRST, 2, 2), "3:ordinary3");
}

static struct str page_of_bytes(struct fixture *f, enum store_direction direction, uint64_t bytes_max)
{
    struct call *c = call_new(f, STORE_PAGE);
    c->op.read.direction = direction;
    c->op.read.limit = 10;
    c->op.read.bytes_max = bytes_max;
    return show(f, c);
}

/* Or a hundred messages of a megabyte each would be one answer. */
static void page_ends_behind_the_row_that_fills_it(void **state)
{
    struct fixture *f = *state;
    ordinary(f, "1");
    ordinary(f, "2");
    ordinary(f, "3");
    assert_str(page_of_bytes(f, NEWEST_FIRST, 1), "3:ordinary3 more");
    assert_str(page_of_bytes(f, OLDEST_FIRST, 2), "1:ordinary1 2:ordinary2 more");
    assert_str(page_of_bytes(f, NEWEST_FIRST, 3), "3:ordinary3 2:ordinary2 1:ordinary1");
}

static void page_keeps_within_its_bounds(void **state)
{
    struct fixture *f = *state;
    for (int i = 1; i <= 4; i++) {
        f->w.now_ms = i * 100;
        ordinary(f, "0");
    }
    struct call *c = call_new(f, STORE_PAGE);
    c->op.read.start_history = 2;
    c->op.read.end_history = 3;
    c->op.read.direction = OLDEST_FIRST;
    assert_str(show(f, c), "2:ordinary0 3:ordinary0");
    c = call_new(f, STORE_PAGE);
    c->op.read.start_ms = 300;
    c->op.read.end_ms = 300;
    assert_str(show(f, c), "3:ordinary0");
    c = call_new(f, STORE_PAGE);
    c->op.read.start_history = STORE_NO_HISTORY;
    assert_str(show(f, c), "");
}

/* 9, case 16. */
static void versions_cursor_need_not_exist(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"\"");
    ordinary(f, "0");
    append(f, m, "\"a\"");
    append(f, m, "\"b\"");
    assert_str(versions(f, m, NEWEST_FIRST, 0, 2), "4:append\"b\" 3:append\"a\" more");
    assert_str(versions(f, m, NEWEST_FIRST, 3, 2), "1:create\"\"");
    assert_str(versions(f, m, OLDEST_FIRST, 2, 2), "3:append\"a\" 4:append\"b\"");
    assert_str(versions(f, m, NEWEST_FIRST, 2, 2), "1:create\"\"");
}

static void reads_as_of_a_position_do_not_see_beyond_it(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"a\"");
    append(f, m, "\"b\"");
    assert_int_equal(mutate(f, m, ACTION_UPDATE, "\"new\""), STORE_OK);
    append(f, m, "\"!\"");
    create(f, "\"later\"");
    assert_str(latest_as_of(f, m, 1), "1:create\"a\"");
    assert_str(latest_as_of(f, m, 2), "2:append\"ab\"");
    assert_str(latest_as_of(f, m, 3), "3:update\"new\"");
    assert_str(latest_as_of(f, m, 4), "4:append\"new!\"");
    struct call *c = call_new(f, STORE_PAGE);
    c->op.read.as_of_delivery = 2;
    assert_str(show(f, c), "1:append\"ab\"");
}

static void reading_an_unknown_channel_creates_nothing_unless_asked(void **state)
{
    struct fixture *f = *state;
    assert_str(page(f, NEWEST_FIRST, 0, 10), "");
    assert_string_equal(head(f).stream_id, "");
    struct call *c = call_new(f, STORE_HEAD);
    c->op.read.materialise = true;
    run(c);
    assert_int_equal(strlen(c->op.head.stream_id), STREAM_ID_SIZE);
    assert_string_equal(head(f).stream_id, c->op.head.stream_id);
    assert_int_equal(c->op.head.delivery, 0);
    call_free(c);
}

static void another_stream_id_is_refused(void **state)
{
    struct fixture *f = *state;
    ordinary(f, "0");
    enum store_op_kind kinds[] = {STORE_HEAD, STORE_PAGE, STORE_REPLAY};
    for (int i = 0; i < 3; i++) {
        struct call *c = call_new(f, kinds[i]);
        c->op.read.stream_id = STR("00000000-0000-4000-8000-000000000000");
        run(c);
        assert_int_equal(c->op.result, STORE_WRONG_STREAM);
        assert_int_equal(c->op.head.delivery, 1);
        call_free(c);
    }
}

static void replay_stops_early_at_its_bytes(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"\"");
    append(f, m, "\"a\"");
    struct call *c = call_new(f, STORE_REPLAY);
    c->op.read.to_delivery = 2;
    c->op.read.bytes_max = 1;
    assert_str(show(f, c), "1:create\"\" more");
}

static void replay_tells_name_and_extras_as_they_were(void **state)
{
    struct fixture *f = *state;
    f->w.extras = STR("{\"v\":1}");
    struct message_id m = create(f, "\"\"");
    append(f, m, "\"a\"");
    f->w.extras = STR("{\"v\":2}");
    f->w.event_name = STR("renamed");
    assert_int_equal(mutate(f, m, ACTION_UPDATE, ""), STORE_OK);
    struct call *c = call_new(f, STORE_REPLAY);
    c->op.read.from_delivery = 1;
    c->op.read.to_delivery = 3;
    run(c);
    assert_int_equal(c->op.found.count, 2);
    assert_str(c->op.found.items[0].event_name, "ai-output");
    assert_str(c->op.found.items[0].extras, "{\"v\":1}");
    assert_str(c->op.found.items[1].event_name, "renamed");
    assert_str(c->op.found.items[1].extras, "{\"v\":2}");
    assert_str(c->op.found.items[1].data, "\"a\"");
    call_free(c);
}

static void idle_open_streams_are_found_over_all_channels(void **state)
{
    struct fixture *f = *state;
    streaming(f);
    create(f, "\"idle\"");
    streaming(f);
    f->w.now_ms = clock_wall_ms(&clock_system) + 100000;
    create(f, "\"busy\"");
    struct call *c = call_new(f, STORE_OPEN);
    c->op.read.idle_ms = 10;
    run(c);
    assert_int_equal(c->op.found.count, 1);
    assert_str(c->op.found.open_apps[0], "app");
    assert_str(c->op.found.open_channels[0], "chat");
    assert_int_equal(c->op.found.items[0].delivery, 1);
    call_free(c);
}

static void heads_of_many_channels_come_in_the_order_asked_for(void **state)
{
    struct fixture *f = *state;
    struct store_name names[] = {{STR("app"), STR("none")}, {STR("app"), STR("chat")}, {STR("other"), STR("chat")}};
    ordinary(f, "0");
    append(f, create(f, "\"\""), "\"a\"");
    struct call *c = call_new(f, STORE_HEADS);
    c->op.read.names = names;
    c->op.read.names_count = 3;
    run(c);
    assert_int_equal(c->op.result, STORE_OK);
    assert_string_equal(c->op.found.heads[0].stream_id, "");
    assert_string_equal(c->op.found.heads[1].stream_id, head(f).stream_id);
    assert_int_equal(c->op.found.heads[1].delivery, 3);
    assert_int_equal(c->op.found.heads[1].history, 2);
    assert_string_equal(c->op.found.heads[2].stream_id, "");
    call_free(c);
}

static void everything_is_there_after_reopening(void **state)
{
    struct fixture *f = *state;
    if (!keeps(f))
        return;
    streaming(f);
    struct message_id m = create(f, "\"a\"");
    f->w.receipt_key = f->w.fingerprint = key_for(5);
    append(f, m, "\"b\"");
    struct store_head before = head(f);

    fixture_reopen(f);

    struct store_head after = head(f);
    assert_string_equal(after.stream_id, before.stream_id);
    assert_int_equal(after.delivery, 2);
    assert_int_equal(after.open_streams, 1);
    assert_int_equal(after.retained_bytes, before.retained_bytes);
    f->w.receipt_key = f->w.fingerprint = key_for(5);
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"b\""), STORE_DUPLICATE);
    assert_int_equal(f->last.delivery, 2);
    append(f, m, "\"c\"");
    assert_int_equal(f->last.delivery, 3);
    assert_str(latest(f, m), "3:append\"abc\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_ALL(appends_accumulate_and_versions_keep_the_fragments)
        OVER_ALL(append_to_an_object_is_refused_and_takes_no_position)
        OVER_ALL(append_after_terminal_depends_on_the_channel)
        OVER_ALL(empty_delete_keeps_the_data_and_append_revives)
        OVER_ALL(update_keeps_replaces_and_clears_each_field_by_itself)
        OVER_ALL(append_without_extras_keeps_them_and_with_extras_replaces_them)
        OVER_ALL(same_receipt_is_applied_once_even_within_one_batch)
        OVER_ALL(receipt_is_looked_at_before_everything_that_refuses)
        OVER_ALL(create_receipt_answers_the_first_positions_until_it_expires)
        OVER_ALL(limits_count_decoded_bytes_and_appends)
        OVER_ALL(open_streams_are_counted_over_the_channel)
        OVER_ALL(unknown_messages_and_other_streams_are_not_found)
        OVER_ALL(expected_version_must_be_the_newest)
        OVER_ALL(an_append_at_a_place_is_stored_there_or_not_at_all)
        OVER_ALL(what_follows_a_refused_append_is_refused_too)
        OVER_ALL(hundred_appends_at_once_lose_none)
        OVER_ALL(of_two_terminal_appends_one_wins)
        OVER_ALL(three_rows_are_paged_by_two_in_both_directions)
        OVER_ALL(page_ends_behind_the_row_that_fills_it)
        OVER_ALL(page_keeps_within_its_bounds)
        OVER_ALL(versions_cursor_need_not_exist)
        OVER_ALL(reads_as_of_a_position_do_not_see_beyond_it)
        OVER_ALL(reading_an_unknown_channel_creates_nothing_unless_asked)
        OVER_ALL(another_stream_id_is_refused)
        OVER_ALL(replay_stops_early_at_its_bytes)
        OVER_ALL(replay_tells_name_and_extras_as_they_were)
        OVER_ALL(idle_open_streams_are_found_over_all_channels)
        OVER_ALL(heads_of_many_channels_come_in_the_order_asked_for)
        OVER_ALL(everything_is_there_after_reopening)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
