/* collapse_test.c - the versions' own window: what is left of a message, and what is remembered of the rest (chapter 3, 1.1, 1.9,
 * 2.4, 8.6; cases 46 and 49 of 9).
 *
 * A stepped store over RocksDB's files, on a clock that stands still until told.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

enum { WINDOW_MS = 60000, HOUR_MS = 3600000 };

static uint64_t now_ms;

static uint64_t test_mono_ns(const struct clock *c)
{
    return now_ms * 1000000;
}

static int64_t test_wall_ms(const struct clock *c)
{
    return (int64_t)now_ms;
}

static const struct clock test_clock = {test_mono_ns, test_wall_ms};

static void open_files(struct fixture *f)
{
    struct buf error = {0};
    struct kv *kv = kv_rocksdb_open(f->dir, &error);
    if (!kv)
        fail_msg("%.*s", STR_ARG(buf_view(&error)));
    f->store = store_open_inline(kv, &f->options);
}

static int setup(void **state)
{
    struct fixture *f = fixture_new(INLINE);
    now_ms = 1000000;
    f->options.clock = &test_clock;
    f->options.purge_interval_ms = 1000;
    f->options.seed = 1;
    open_files(f);
    *state = f;
    return 0;
}

static void reopen(struct fixture *f)
{
    store_close(f->store);
    open_files(f);
}

/* Time goes by, and the retention worker has had its runs. */
static void pass(struct fixture *f, uint64_t ms)
{
    now_ms += ms;
    for (int i = 0; i < 5; i++) {
        now_ms += 1000;
        store_step(f->store);
    }
}

static enum store_result say(struct fixture *f, struct message_id m, enum store_action action, const char *data)
{
    f->w.now_ms = (int64_t)now_ms;
    f->w.retention.versions_window_ms = WINDOW_MS;
    return mutate(f, m, action, data);
}

static struct message_id begin(struct fixture *f, const char *data)
{
    f->w.now_ms = (int64_t)now_ms;
    f->w.retention.versions_window_ms = WINDOW_MS;
    return create(f, data);
}

static void appends(struct fixture *f, struct message_id m, int count)
{
    for (int i = 0; i < count; i++) {
        f->w.receipt_key = f->w.fingerprint = key_for((uint64_t)i + 1);
        assert_int_equal(say(f, m, ACTION_APPEND, "\"x\""), STORE_OK);
    }
}

/* 9, case 46. */
static void page_still_shows_the_latest_text_when_the_versions_are_gone(void **state)
{
    struct fixture *f = *state;
    struct message_id m = begin(f, "\"a\"");
    appends(f, m, 3);
    uint64_t bytes = head(f).retained_bytes;

    pass(f, WINDOW_MS);

    assert_str(page(f, NEWEST_FIRST, 0, 10), "1:append\"axxx\"");
    assert_str(latest(f, m), "4:append\"axxx\"");
    assert_str(versions(f, m, OLDEST_FIRST, 0, 10), "4:append\"axxx\"");
    assert_int_equal(head(f).replay_floor, 5);
    assert_int_equal(head(f).retained_messages, 1);
    assert_true(head(f).retained_bytes < bytes);
    assert_str(replay(f, 3, 4), "expired");
    reopen(f);
    assert_str(page(f, NEWEST_FIRST, 0, 10), "1:append\"axxx\"");
    assert_int_equal(head(f).replay_floor, 5);
}

static void nothing_is_dropped_before_its_time(void **state)
{
    struct fixture *f = *state;
    struct message_id m = begin(f, "\"a\"");
    appends(f, m, 1);
    pass(f, WINDOW_MS - 10000);
    assert_str(versions(f, m, OLDEST_FIRST, 0, 10), "1:create\"a\" 2:append\"x\"");
    assert_int_equal(say(f, m, ACTION_APPEND, "\"y\""), STORE_OK);
    pass(f, WINDOW_MS - 10000);
    /* by the last update, all or nothing */
    assert_str(versions(f, m, OLDEST_FIRST, 0, 10), "1:create\"a\" 2:append\"x\" 3:append\"y\"");
    pass(f, 10000);
    assert_str(versions(f, m, OLDEST_FIRST, 0, 10), "3:append\"axy\"");
}

/* 9, case 49. */
static void open_stream_keeps_its_versions_beside_others_that_lose_them(void **state)
{
    struct fixture *f = *state;
    f->w.extras = STR("{}");
    f->w.status = STREAM_OPEN;
    struct message_id stream = begin(f, "\"s\""), other;
    appends(f, stream, 2);
    other = begin(f, "\"o\"");
    assert_int_equal(say(f, other, ACTION_UPDATE, "\"p\""), STORE_OK);

    pass(f, 10 * WINDOW_MS);

    assert_str(versions(f, stream, OLDEST_FIRST, 0, 10), "1:create\"s\" 2:append\"x\" 3:append\"x\"");
    assert_str(versions(f, other, OLDEST_FIRST, 0, 10), "5:update\"p\"");
    assert_str(replay(f, 2, 5), "expired");
    assert_int_equal(say(f, stream, ACTION_APPEND, "\"!\""), STORE_OK);
    assert_str(latest(f, stream), "6:append\"sxx!\"");
    assert_str(replay(f, 5, 6), "6:append\"!\"");
}

static void message_goes_on_from_what_is_left(void **state)
{
    struct fixture *f = *state;
    f->w.extras = STR("{\"k\":1}");
    f->w.message_id = STR("mine");
    f->w.client_id = STR("creator");
    f->w.tags = STR("{\"t\":\"1\"}");
    struct message_id m = begin(f, "\"a\"");
    appends(f, m, 150);
    pass(f, WINDOW_MS);
    reopen(f);

    for (int i = 0; i < 100; i++)
        assert_int_equal(say(f, m, ACTION_APPEND, "\"y\""), STORE_OK);
    assert_int_equal(f->last.appends, 250);
    assert_int_equal(f->last.message_bytes, 251);
    assert_int_equal(latest(f, m).n, strlen("251:append\"\"") + 251);
    assert_int_equal(latest_as_of(f, m, 152).n, strlen("152:append\"\"") + 152);
    assert_str(replay(f, 151, 153), "152:append\"y\" 153:append\"y\"");
    f->w.client_id = STR("editor");
    assert_int_equal(say(f, m, ACTION_UPDATE, ""), STORE_OK);
    for (int again = 0; again < 2; again++) {
        struct call *c = call_new(f, STORE_LATEST);
        c->op.read.ids = &m;
        c->op.read.ids_count = 1;
        run(c);
        const struct store_item *item = &c->op.found.items[0];
        assert_str(item->event_name, "ai-output");
        assert_str(item->extras, "{\"k\":1}");
        assert_str(item->message_id, "mine");
        assert_str(item->user_id, "creator");
        assert_str(item->client_id, "editor");
        assert_str(item->tags, "{\"t\":\"1\"}");
        assert_int_equal(item->data.n, 253);
        assert_true(item->mutated);
        call_free(c);
        pass(f, WINDOW_MS); /* a second time, from a base */
        reopen(f);
    }
    assert_int_equal(versions(f, m, OLDEST_FIRST, 0, 10).n, strlen("252:update") + 253);
}

/* A page that began before the versions went shows the message all the same. */
static void page_as_of_a_dropped_version_shows_what_became_of_it(void **state)
{
    struct fixture *f = *state;
    struct message_id m = begin(f, "\"a\"");
    appends(f, m, 3);
    pass(f, WINDOW_MS);
    assert_str(latest_as_of(f, m, 2), "4:append\"axxx\"");
}

/* 1.9: receipts outlive their rows until they are 24 hours old. */
static void retry_of_a_dropped_version_is_still_a_duplicate(void **state)
{
    struct fixture *f = *state;
    struct message_id m = begin(f, "\"\"");
    appends(f, m, 100);
    pass(f, WINDOW_MS);
    reopen(f);
    f->w.receipt_key = f->w.fingerprint = key_for(50);
    assert_int_equal(say(f, m, ACTION_APPEND, "\"x\""), STORE_DUPLICATE);
    assert_int_equal(f->last.delivery, 51);
    f->w.receipt_key = key_for(50);
    f->w.fingerprint = key_for(7);
    assert_int_equal(say(f, m, ACTION_APPEND, "\"x\""), STORE_RECEIPT_CONFLICT);
    f->w.receipt_key = f->w.fingerprint = key_for(100); /* the one that is left */
    assert_int_equal(say(f, m, ACTION_APPEND, "\"x\""), STORE_DUPLICATE);
    assert_int_equal(f->last.delivery, 101);

    pass(f, 25 * HOUR_MS);
    reopen(f);
    f->w.receipt_key = f->w.fingerprint = key_for(50);
    assert_int_equal(say(f, m, ACTION_APPEND, "\"x\""), STORE_OK);
    assert_int_equal(f->last.delivery, 102);
}

static void retry_upon_an_evicted_message_is_still_a_duplicate(void **state)
{
    struct fixture *f = *state;
    struct message_id m = begin(f, "\"\"");
    appends(f, m, 3);
    f->w.now_ms = (int64_t)now_ms;
    f->w.retention.messages_max = 1;
    ordinary(f, "0");
    assert_str(latest(f, m), "");
    f->w.receipt_key = f->w.fingerprint = key_for(2);
    assert_int_equal(say(f, m, ACTION_APPEND, "\"x\""), STORE_DUPLICATE);
    assert_int_equal(f->last.delivery, 3);
    f->w.receipt_key = f->w.fingerprint = key_for(9);
    assert_int_equal(say(f, m, ACTION_APPEND, "\"x\""), STORE_NOT_FOUND);
    reset(f);
    f->w.receipt_key = f->w.fingerprint = key_for(2);
    assert_int_equal(say(f, m, ACTION_APPEND, "\"x\""), STORE_NOT_FOUND);
}

static void many_messages_are_done_in_slices(void **state)
{
    struct fixture *f = *state;
    enum { MANY = 700 };
    struct message_id m[MANY];
    for (int i = 0; i < MANY; i++) {
        m[i] = begin(f, "\"a\"");
        assert_int_equal(say(f, m[i], ACTION_UPDATE, "\"b\""), STORE_OK);
    }
    /* One run of the worker folds, the next one drops: it goes on, slice after slice, until nothing is due. */
    now_ms += WINDOW_MS + 2000;
    store_step(f->store);
    now_ms += 2000;
    for (int i = 0; i < 20; i++)
        store_step(f->store);
    for (int i = 0; i < MANY; i++) {
        char expected[64];
        snprintf(expected, sizeof expected, "%d:update\"b\"", 2 * i + 2);
        assert_true(str_eq(versions(f, m[i], OLDEST_FIRST, 0, 10), str_of(expected)));
    }
    assert_int_equal(head(f).replay_floor, 2 * MANY + 1);
}

static struct str page_of(struct fixture *f, const char *channel)
{
    struct call *c = call_new(f, STORE_PAGE);
    c->op.channel = str_of(channel);
    return show(f, c);
}

/* 8.6: the windows of apps and namespaces, which each channel's writes name, and not one for all. */
static void worker_honours_the_window_of_each_channel(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *channel;
        uint64_t window_ms;
    } each[] = {{"short", 10000}, {"long", HOUR_MS}, {"forever", 0}};
    for (int i = 0; i < 3; i++) {
        f->w = (struct store_write){.event_name = STR("n"), .data = STR("1"), .now_ms = (int64_t)now_ms};
        f->w.retention.window_ms = each[i].window_ms;
        struct call *c = write_call(f, ACTION_ORDINARY);
        c->op.channel = str_of(each[i].channel);
        run(c);
        assert_int_equal(c->op.result, STORE_OK);
        call_free(c);
    }
    reopen(f); /* nobody writes to them any more */
    pass(f, 20000);
    assert_str(page_of(f, "short"), "");
    assert_str(page_of(f, "long"), "1:ordinary1");
    reopen(f);
    pass(f, 2 * HOUR_MS);
    assert_str(page_of(f, "long"), "");
    assert_str(page_of(f, "forever"), "1:ordinary1");
}

/* Much that is due at once must neither stand in the way of commits nor wait for the next run. */
static void long_messages_expire_in_slices_of_one_run(void **state)
{
    struct fixture *f = *state;
    enum { MANY = 20, ROWS = 2000 };
    for (int i = 0; i < MANY; i++) {
        f->w.retention.window_ms = WINDOW_MS;
        f->w.now_ms = (int64_t)now_ms;
        struct message_id m = create(f, "\"\"");
        for (int k = 1; k < ROWS; k++) {
            f->w.retention.window_ms = WINDOW_MS;
            f->w.now_ms = (int64_t)now_ms;
            append(f, m, "\"x\"");
        }
    }
    now_ms += WINDOW_MS + 2000;
    store_step(f->store);
    assert_in_range(head(f).retained_messages, 1, MANY - 1);
    for (int i = 0; i < 5; i++)
        store_step(f->store);
    assert_int_equal(head(f).retained_messages, 0);
    assert_int_equal(head(f).replay_floor, MANY * ROWS + 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(page_still_shows_the_latest_text_when_the_versions_are_gone),
        TEST(nothing_is_dropped_before_its_time),
        TEST(open_stream_keeps_its_versions_beside_others_that_lose_them),
        TEST(message_goes_on_from_what_is_left),
        TEST(page_as_of_a_dropped_version_shows_what_became_of_it),
        TEST(retry_of_a_dropped_version_is_still_a_duplicate),
        TEST(retry_upon_an_evicted_message_is_still_a_duplicate),
        TEST(worker_honours_the_window_of_each_channel),
        TEST(long_messages_expire_in_slices_of_one_run),
        TEST(many_messages_are_done_in_slices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
