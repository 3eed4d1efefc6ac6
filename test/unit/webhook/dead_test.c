/* dead_test.c - what could not be delivered is kept, bounded, and can be sent again; and how a job looks as a note.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#define HOOK(host, more) "{url='http://" host "/x', event_types=['cache_miss']" more "}"
#define ONE_BY_ONE "webhooks.batching.enabled=false"

static void miss(struct fixture *f, const char *channel)
{
    happens(f, NOTICE_CACHE_MISS, channel);
    settle(f);
}

/* A miss whose request is refused for good. */
static void dies(struct fixture *f, const char *channel)
{
    miss(f, channel);
    answer(f, f->count - 1, 410);
}

/* ---- records ---- */

static void a_record_is_read_as_it_was_written(void **state)
{
    struct record r = {STR("a\"pp"), STR("00ff"), STR("http://h"), 3, 2, 1700000000123, true, STR("{\"time_ms\":1}\n{}")}, again;
    struct buf out = {0};
    struct arena arena = {0};
    record_put(&out, &r);
    assert_true(record_read(buf_view(&out), &again, &arena));
    assert_str(again.app_id, "a\"pp");
    assert_str(again.target_id, "00ff");
    assert_str(again.origin, "http://h");
    assert_str(again.body, "{\"time_ms\":1}\n{}");
    assert_int_equal(again.index, 3);
    assert_int_equal(again.events, 2);
    assert_int_equal(again.time_ms, 1700000000123);
    assert_true(again.single);
    static const char *const bad[] = {"", "{}", "{}\n{}", "7\nx", "{\"app\":\"a\"}\nx", "no json\n{}", "\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(record_read(str_of(bad[i]), &again, &arena));
    arena_free(&arena);
    buf_free(&out);
}

/* 2.19.2. */
static void the_signature_of_the_specification(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), "");
    char hex[2 * SHA256_SIZE + 1];
    hmac_sha256_hex(f->w->targets[0].hmac,
                    STR("{\"time_ms\":1700000000123,\"events\":[{\"name\":\"channel_occupied\",\"channel\":\"a\"}]}"), hex);
    assert_string_equal(hex, "7f29ff356867e88e9ee07885f211e8d0685cdd889238fe53e076918dddbba546");
    tear_down(f);
}

/* ---- dead letters ---- */

static void a_permanent_answer_makes_a_dead_letter_at_once(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), ONE_BY_ONE);
    struct buf letters = {0}, key = {0};
    dies(f, "a");
    advance_ms(f, 100000);
    assert_int_equal(f->count, 1);
    assert_int_equal(notes(f, "deadletter/", &letters), 1);
    assert_true(str_find(buf_view(&letters), STR("\"app_id\":\"7\",\"webhook\":0,\"url\":\"http://h\",\"reason\":\"permanent_status\","
                                                  "\"error\":\"http_status\",\"last_status\":410,\"attempts\":1,\"events\":1,")) > 0);
    dead_letter_prefix(STR("7"), &key);
    assert_true(str_starts(buf_view(&letters), buf_view(&key)));
    assert_int_equal(count_notes(f, "webhook/"), 0);
    assert_int_equal(figure(f, dead), 1);
    assert_int_equal(figure(f, letters), 1);
    buf_free(&letters);
    buf_free(&key);
    tear_down(f);
}

static void the_oldest_make_room(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), ONE_BY_ONE "\nqueue.reliability.failed_retention=2");
    struct buf left = {0};
    dies(f, "a");
    dies(f, "b");
    dies(f, "c");
    assert_int_equal(notes(f, "deadbody/", &left), 2);
    assert_int_equal(str_find(buf_view(&left), STR("\"channel\":\"a\"")), -1);
    assert_int_equal(count_notes(f, "deadletter/"), 2);
    assert_int_equal(figure(f, dead_dropped), 1);
    assert_int_equal(figure(f, letters), 2);
    assert_int_equal(figure(f, dead), 3);
    buf_free(&left);
    tear_down(f);
}

static unsigned returned;
static void replayed(struct webhooks_replay *replay)
{
    returned++;
}

static struct webhooks_replay replay(struct fixture *f, struct str id, uint32_t limit)
{
    static struct webhooks_replay r;
    r = (struct webhooks_replay){.from = &f->env, .app = f->app, .id = id, .limit = limit, .done = replayed};
    returned = 0;
    assert_true(webhooks_replay(f->w, &r));
    settle(f);
    assert_int_equal(returned, 1);
    return r;
}

static void a_replay_sends_the_same_body_again(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), ONE_BY_ONE);
    dies(f, "a");
    dies(f, "b");
    dies(f, "c");
    struct webhooks_replay r = replay(f, STR_NONE, 2);
    assert_int_equal(r.replayed, 2);
    assert_int_equal(r.left, 1);
    assert_false(r.failed);
    answer(f, 3, 200);
    answer(f, 4, 410);
    assert_string_equal(f->sent[3].body, f->sent[0].body);
    assert_string_equal(f->sent[4].body, f->sent[1].body);
    assert_int_equal(count_notes(f, "webhook/"), 0);
    assert_int_equal(count_notes(f, "deadletter/"), 2);
    assert_int_equal(count_notes(f, "deadbody/"), 2);
    assert_int_equal(figure(f, letters), 2);
    tear_down(f);
}

static void a_replay_stops_when_the_queue_is_full(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), ONE_BY_ONE "\nqueue.reliability.memory_capacity=2");
    dies(f, "a");
    dies(f, "b");
    dies(f, "c");
    struct webhooks_replay r = replay(f, STR_NONE, 100);
    assert_true(r.failed);
    assert_int_equal(r.replayed, 2);
    assert_int_equal(r.left, 1);
    tear_down(f);
}

static void one_of_them_is_replayed_by_its_id(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), ONE_BY_ONE);
    struct buf letters = {0};
    dies(f, "a");
    dies(f, "b");
    notes(f, "deadletter/", &letters);
    struct str id = str_make(strstr(strchr(letters.p, '\n'), "\"id\":\"") + 6, DEAD_ID_SIZE);
    assert_int_equal(replay(f, id, 1).replayed, 1);
    assert_str(channels_of(f, 2), "b");
    assert_int_equal(replay(f, STR("ffffffffffffffff"), 1).replayed, 0);
    buf_free(&letters);
    tear_down(f);
}

static void dead_letters_outlive_the_process(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), ONE_BY_ONE);
    dies(f, "a");
    end(f);
    begin(f);
    assert_int_equal(figure(f, letters), 1);
    dies(f, "b"); /* its id is another one */
    assert_int_equal(count_notes(f, "deadletter/"), 2);
    assert_int_equal(replay(f, STR_NONE, 100).replayed, 2);
    tear_down(f);
}

/* A job whose app or webhook is not configured any more (2.19.2, last row): some patience, then a dead letter. */
static void what_nobody_wants_any_more_is_a_dead_letter(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), ONE_BY_ONE "\nqueue.reliability.max_attempts=3");
    struct store_op *op = store_op_new(STORE_NOTE_PUT, 0, store_op_free);
    struct buf app = {0}, hook = {0}, letters = {0};
    record_put(&app, &(struct record){STR("8"), STR("00"), STR("http://h"), 0, 1, 5, false, STR("{}")});
    record_put(&hook, &(struct record){STR("7"), STR("00"), STR("http://gone"), 0, 1, 5, false, STR("{}")});
    struct store_note put[] = {{STR("webhook/0000000000000001"), buf_view(&app)}, {STR("webhook/0000000000000002"), buf_view(&hook)}};
    op->notes = (struct store_notes){.put = put, .put_count = 2};
    store_submit(f->store, op);
    settle(f);
    end(f);
    begin(f);
    advance_ms(f, 1201);
    assert_int_equal(notes(f, "deadletter/", &letters), 1);
    assert_true(str_find(buf_view(&letters), STR("\"webhook_not_configured\"")) > 0);
    advance_ms(f, 2401);
    buf_clear(&letters);
    assert_int_equal(notes(f, "deadletter/", &letters), 2);
    assert_true(str_find(buf_view(&letters), STR("\"app_unknown\"")) > 0);
    assert_int_equal(count_notes(f, "webhook/"), 0);
    assert_int_equal(f->count, 0);
    buf_free(&app);
    buf_free(&hook);
    buf_free(&letters);
    tear_down(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_read_as_it_was_written),
        cmocka_unit_test(the_signature_of_the_specification),
        cmocka_unit_test(a_permanent_answer_makes_a_dead_letter_at_once),
        cmocka_unit_test(the_oldest_make_room),
        cmocka_unit_test(a_replay_sends_the_same_body_again),
        cmocka_unit_test(a_replay_stops_when_the_queue_is_full),
        cmocka_unit_test(one_of_them_is_replayed_by_its_id),
        cmocka_unit_test(dead_letters_outlive_the_process),
        cmocka_unit_test(what_nobody_wants_any_more_is_a_dead_letter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
