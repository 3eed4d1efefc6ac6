/* fault_test.c - writes that fail, processes that die, rows that rot: nothing acknowledged is lost, nothing failed shows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "writer.h"

#include <sys/stat.h>

#include "base/log.h"
#include "store/engine.h"

/* ---- a kv in front of the memory one, whose commits can be made to fail ---- */

enum failure { NONE, LOST, KEPT_UNTIL_REOPEN };

struct faulty {
    struct kv kv;
    struct kv *inner;
    enum failure next;  /* what the next commit does */
    bool broken;
    struct str bad_key; /* get of this key fails */
};

static struct faulty *faulty_of(struct kv *kv)
{
    return (struct faulty *)(void *)kv;
}

static void faulty_put(struct kv *kv, struct str key, struct str value)
{
    kv_put(faulty_of(kv)->inner, key, value);
}

static void faulty_del(struct kv *kv, struct str key)
{
    kv_del(faulty_of(kv)->inner, key);
}

static void faulty_del_range(struct kv *kv, struct str from, struct str to)
{
    kv_del_range(faulty_of(kv)->inner, from, to);
}

static void faulty_abandon(struct kv *kv)
{
    struct faulty *f = faulty_of(kv);
    if (!f->broken || f->next != KEPT_UNTIL_REOPEN)
        f->inner->ops->abandon(f->inner);
}

static bool faulty_commit(struct kv *kv, bool sync, struct buf *error)
{
    struct faulty *f = faulty_of(kv);
    if (f->next == NONE && !f->broken)
        return kv_commit(f->inner, sync, error);
    f->broken = true;
    buf_lit(error, "planted");
    if (f->next != KEPT_UNTIL_REOPEN)
        f->inner->ops->abandon(f->inner);
    return false;
}

static bool faulty_sync(struct kv *kv, struct buf *error)
{
    return !faulty_of(kv)->broken;
}

static bool faulty_get(struct kv *kv, struct str key, struct buf *out, bool *failed)
{
    struct faulty *f = faulty_of(kv);
    if (f->bad_key.p && str_eq(f->bad_key, key)) {
        *failed = true;
        return false;
    }
    return kv_get(f->inner, key, out, failed);
}

static struct kv_cursor *faulty_scan(struct kv *kv, struct str from, struct str to, bool backward)
{
    return kv_scan(faulty_of(kv)->inner, from, to, backward);
}

/* What the write-ahead log had of the failed batch comes back now. */
static bool faulty_reopen(struct kv *kv, struct buf *error)
{
    struct faulty *f = faulty_of(kv);
    bool ok = f->next != KEPT_UNTIL_REOPEN || kv_commit(f->inner, true, error);
    f->next = NONE;
    f->broken = false;
    return ok;
}

static void faulty_close(struct kv *kv)
{
    faulty_of(kv)->inner->ops->close(faulty_of(kv)->inner);
    free(kv);
}

static struct kv_ops faulty_ops = {faulty_put,  faulty_del,  faulty_del_range, faulty_abandon, faulty_commit, faulty_sync,
                                   faulty_get,  faulty_scan, NULL,             NULL,           faulty_reopen, faulty_close,
                                   NULL};

static struct faulty *faulty_new(void)
{
    struct faulty *f = mem_new(struct faulty);
    f->inner = kv_memory_new();
    faulty_ops.next = f->inner->ops->next;
    faulty_ops.end = f->inner->ops->end;
    f->kv.ops = &faulty_ops;
    return f;
}

/* ---- a clock that stands still until told ---- */

static uint64_t now_ns;

static uint64_t test_mono_ns(const struct clock *c)
{
    return now_ns;
}

static int64_t test_wall_ms(const struct clock *c)
{
    return (int64_t)(now_ns / 1000000);
}

static const struct clock test_clock = {test_mono_ns, test_wall_ms};

static void wait_for_back_off(void)
{
    now_ns += 60000000000;
}

static struct fixture *open_faulty(struct faulty **kv)
{
    struct fixture *f = fixture_new(INLINE);
    f->options.clock = &test_clock;
    *kv = faulty_new();
    f->store = store_open_inline(&(*kv)->kv, &f->options);
    return f;
}

/* The note "at" = this number, and the one before is deleted, in one put. */
static void note_written(struct fixture *f, uint64_t delivery)
{
    char key[32], before[32];
    snprintf(key, sizeof key, "at/%08llu", (unsigned long long)delivery);
    snprintf(before, sizeof before, "at/%08llu", (unsigned long long)delivery - 1);
    struct store_note notes[] = {{str_of(key), STR("x")}, {str_of(before), STR_NONE}};
    struct call *c = call_new(f, STORE_NOTE_PUT);
    c->op.notes = (struct store_notes){.put = notes, .put_count = 2};
    run(c);
    assert_int_equal(c->op.result, STORE_OK);
    call_free(c);
}

/* The number in the only note there is; fails if there are more. */
static uint64_t noted(struct fixture *f)
{
    struct call *c = call_new(f, STORE_NOTE_SCAN);
    c->op.notes = (struct store_notes){.prefix = STR("at/"), .limit = 10};
    run(c);
    assert_int_equal(c->op.notes.found_count, 1);
    char digits[16] = {0};
    memcpy(digits, c->op.notes.found[0].key.p + 3, 8);
    call_free(c);
    return strtoull(digits, NULL, 10);
}

/* The fault loop: the n-th write fails, for each n. */
static void failed_write_shows_nothing_and_takes_no_position(void **state)
{
    for (int fail_at = 0; fail_at < 140; fail_at++) {
        struct faulty *kv;
        struct fixture *f = open_faulty(&kv);
        struct message_id m = create(f, "\"\"");
        uint64_t good = 0;
        for (int i = 0; i < 140; i++) {
            if (i == fail_at)
                kv->next = LOST;
            f->w.receipt_key = f->w.fingerprint = key_for((uint64_t)i + 1);
            enum store_result result = mutate(f, m, ACTION_APPEND, "\"x\"");
            assert_int_equal(result, i == fail_at ? STORE_FAILED : STORE_OK);
            if (result == STORE_OK)
                assert_int_equal(f->last.delivery, 1 + ++good);
            else
                assert_false(store_is_healthy(f->store));
            wait_for_back_off();
        }
        assert_int_equal(latest(f, m).n, strlen("140:append\"\"") + good);
        f->w.receipt_key = f->w.fingerprint = key_for((uint64_t)fail_at + 1);
        append(f, m, "\"x\"");
        assert_int_equal(f->last.delivery, 141);
        fixture_free(f);
    }
}

static void failed_batch_fails_all_of_it(void **state)
{
    struct faulty *kv;
    struct fixture *f = open_faulty(&kv);
    struct call *calls[5];
    kv->next = LOST;
    for (int i = 0; i < 5; i++) {
        f->w = (struct store_write){.event_name = STR("n"), .data = STR("0")};
        submit(calls[i] = write_call(f, ACTION_ORDINARY));
    }
    for (int i = 0; i < 5; i++) {
        await(calls[i]);
        assert_int_equal(calls[i]->op.result, STORE_FAILED);
        call_free(calls[i]);
    }
    wait_for_back_off();
    ordinary(f, "0");
    assert_int_equal(f->last.delivery, 1);
    fixture_free(f);
}

/* A failed sync says nothing about what was written: the log may still hold the batch when it is opened anew. */
static void batch_that_failed_but_was_written_is_seen_after_reopening(void **state)
{
    struct faulty *kv;
    struct fixture *f = open_faulty(&kv);
    struct message_id m = create(f, "\"\"");
    kv->next = KEPT_UNTIL_REOPEN;
    f->w.receipt_key = f->w.fingerprint = key_for(1);
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"a\""), STORE_FAILED);
    latest(f, m); /* loads the channel as it was before the log was read again */
    wait_for_back_off();

    append(f, m, "\"b\"");

    assert_int_equal(f->last.delivery, 3);
    assert_str(latest(f, m), "3:append\"ab\"");
    f->w.receipt_key = f->w.fingerprint = key_for(1);
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"a\""), STORE_DUPLICATE);
    fixture_free(f);
}

static void failed_batch_keeps_the_notes_as_they_were(void **state)
{
    struct faulty *kv;
    struct fixture *f = open_faulty(&kv);
    note_written(f, 1);
    struct store_note notes[] = {{STR("at/00000001"), STR_NONE}, {STR("at/00000009"), STR("x")}};
    struct call *c = call_new(f, STORE_NOTE_PUT);
    c->op.notes = (struct store_notes){.put = notes, .put_count = 2};
    kv->next = LOST;
    run(c);
    assert_int_equal(c->op.result, STORE_FAILED);
    call_free(c);
    wait_for_back_off();
    store_step(f->store);
    assert_int_equal(noted(f), 1);
    fixture_free(f);
}

/* The health check takes an unhealthy server out of the balancer: then no write comes to heal it. */
static void store_heals_without_being_asked(void **state)
{
    struct faulty *kv;
    struct fixture *f = open_faulty(&kv);
    kv->next = LOST;
    f->w.event_name = STR("n");
    assert_int_equal(write_of(f, ACTION_ORDINARY, "0"), STORE_FAILED);
    assert_false(store_is_healthy(f->store));
    wait_for_back_off();
    store_step(f->store);
    assert_true(store_is_healthy(f->store));
    fixture_free(f);
}

/* 8.4: no other channel is delayed by a stuck one. */
static void unreadable_channel_fails_alone(void **state)
{
    struct faulty *kv;
    struct fixture *f = open_faulty(&kv);
    kv->bad_key = str_make("Capp\0bad", 8);
    f->w.event_name = STR("n");
    f->w.data = STR("0");
    struct call *bad = write_call(f, ACTION_ORDINARY);
    bad->op.channel = STR("bad");
    f->w.event_name = STR("n");
    f->w.data = STR("0");
    struct call *good = write_call(f, ACTION_ORDINARY);
    submit(bad);
    submit(good);
    await(bad);
    await(good);
    assert_int_equal(bad->op.result, STORE_FAILED);
    assert_int_equal(good->op.result, STORE_OK);
    assert_true(store_is_healthy(f->store));
    call_free(bad);
    call_free(good);
    fixture_free(f);
}

/* 2.7: a reset clears what no load can read. */
static void damaged_channel_can_be_reset(void **state)
{
    struct faulty *kv;
    struct fixture *f = open_faulty(&kv);
    ordinary(f, "0");
    struct store_head before = head(f);
    store_close(f->store);
    /* a store over the same rows, one of which has rotted */
    kv = faulty_new();
    f->store = store_open_inline(&kv->kv, &f->options);
    ordinary(f, "0");
    kv->next = LOST;
    f->w.event_name = STR("n");
    assert_int_equal(write_of(f, ACTION_ORDINARY, "0"), STORE_FAILED); /* memory forgets the channel */
    wait_for_back_off();
    kv_put(kv->inner, str_make("L\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1", 17), STR("rot"));
    assert_true(kv_commit(kv->inner, true, NULL));
    f->w.event_name = STR("n");
    assert_int_equal(write_of(f, ACTION_ORDINARY, "0"), STORE_UNHEALTHY);
    assert_int_equal(f->head.state, STATE_RESET_REQUIRED);
    assert_true(store_is_healthy(f->store));

    reset(f);

    assert_string_not_equal(f->head.stream_id, before.stream_id);
    ordinary(f, "0");
    assert_int_equal(f->last.delivery, 1);
    fixture_free(f);
}

/* 2.8: what was acknowledged is not there any more after the files were opened anew. */
static void positions_that_were_lost_are_never_given_again(void **state)
{
    struct faulty *kv;
    struct fixture *f = open_faulty(&kv);
    struct message_id m = create(f, "\"\"");
    append(f, m, "\"a\"");
    append(f, m, "\"b\"");
    kv_del(kv->inner, str_make("L\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\3", 17));
    assert_true(kv_commit(kv->inner, true, NULL));
    kv->next = LOST;
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"c\""), STORE_FAILED);
    wait_for_back_off();

    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"c\""), STORE_UNHEALTHY);
    assert_int_equal(f->head.state, STATE_RESET_REQUIRED);
    assert_str(f->head.state_reason, "store_lost_positions");
    assert_str(page(f, NEWEST_FIRST, 0, 10), "stream needs a reset");
    assert_int_equal(store_stats(f->store)->reset_required_channels, 1);
    reset(f);
    assert_int_equal(store_stats(f->store)->reset_required_channels, 0);
    ordinary(f, "0");
    assert_int_equal(f->last.delivery, 1);
    fixture_free(f);
}

static void refused_create_leaves_no_channel(void **state)
{
    struct faulty *kv;
    struct fixture *f = open_faulty(&kv);
    f->w.bytes_max = 1;
    assert_int_equal(write_of(f, ACTION_CREATE, "\"long\""), STORE_BYTES_MAX);
    assert_string_equal(head(f).stream_id, "");
    fixture_free(f);
}

static void expired_receipts_go_however_many_there_are(void **state)
{
    struct fixture *f = fixture_new(INLINE);
    struct kv *kv = kv_memory_new();
    struct str key, value;
    size_t left = 0;
    enum { RECEIPTS = 20000 };
    now_ns = 1000000000;
    f->options.clock = &test_clock;
    f->options.purge_interval_ms = 1000;
    f->options.purge_tick_max = 100000;
    f->store = store_open_inline(kv, &f->options);
    for (int i = 0; i < RECEIPTS; i++) {
        /* the first half of the keys lives on */
        struct hash128 k = {(uint64_t)i << 40, (uint64_t)i + 1};
        f->w = (struct store_write){.event_name = STR("n"), .data = STR("0"), .receipt_key = k, .fingerprint = k, .now_ms = 1000,
                                    .receipt_ttl_ms = i < RECEIPTS / 2 ? 1000000 : 10};
        assert_int_equal(write_of(f, ACTION_ORDINARY, ""), STORE_OK);
    }
    for (int tick = 0; tick < 20; tick++) {
        now_ns += 2000000000;
        store_step(f->store);
    }
    struct kv_cursor *cursor = kv_scan(kv, STR("R"), STR("S"), false);
    while (kv_next(kv, cursor, &key, &value))
        left++;
    kv_end(kv, cursor);
    assert_int_equal(left, RECEIPTS / 2);
    fixture_free(f);
}

/* store_close(): "finishes what was submitted". */
static void close_brings_everything_home(void **state)
{
    for (int round = 0; round < 20; round++) {
        struct fixture *f = fixture_new(round % 2 ? MEMORY : ROCKSDB);
        enum { OPS = 400 };
        struct call *calls[OPS];
        fixture_open(f);
        struct message_id m = create(f, "\"\"");
        size_t before = f->done;
        for (int i = 0; i < OPS; i++) {
            if (i % 2) {
                f->w = (struct store_write){.target = m, .data = STR("\"x\"")};
                calls[i] = write_call(f, ACTION_APPEND);
            } else {
                calls[i] = call_new(f, STORE_PAGE);
            }
            submit(calls[i]);
        }
        store_close(f->store);
        f->store = NULL;
        assert_int_equal(f->done - before, OPS);
        for (int i = 0; i < OPS; i++)
            call_free(calls[i]);
        fixture_free(f);
    }
}

static _Atomic unsigned submitted_calls;

static void count_submitted(struct store_home *home)
{
    submitted_calls++;
}

/* store_home.submitted: what a loop's turn submits is one batch, begun by the kick at its end. */
static void submits_of_one_turn_are_one_batch(void **state)
{
    struct fixture *f = fixture_new(MEMORY);
    struct call *calls[50];
    f->home.submitted = count_submitted;
    fixture_open(f);
    submitted_calls = 0;
    usleep(20000); /* the commit thread is waiting by now */
    for (int i = 0; i < 50; i++) {
        f->w = (struct store_write){.event_name = STR("n"), .data = STR("0")};
        submit(calls[i] = write_call(f, ACTION_ORDINARY));
    }
    assert_int_equal(submitted_calls, 50);
    assert_int_equal(store_stats(f->store)->batches, 0);
    store_kick(f->store);
    for (int i = 0; i < 50; i++) {
        await(calls[i]);
        assert_int_equal(calls[i]->op.result, STORE_OK);
        call_free(calls[i]);
    }
    assert_int_equal(store_stats(f->store)->batches, 1);
    fixture_free(f);
}

/* Chapter 3, 8.4: what is refused was never there, what was taken is done. */
static void full_queue_refuses_at_once_and_keeps_what_it_has(void **state)
{
    struct fixture *f = fixture_new(MEMORY);
    struct call **calls = mem_alloc(STORE_QUEUE_OPS * sizeof(struct call *));
    f->home.submitted = count_submitted;
    fixture_open(f);
    usleep(20000); /* as above: it sleeps until it is kicked */
    for (int i = 0; i < STORE_QUEUE_OPS; i++)
        submit(calls[i] = call_new(f, STORE_HEAD));
    f->w = (struct store_write){.event_name = STR("n"), .data = STR("0")};
    struct call *refused = write_call(f, ACTION_ORDINARY);
    run(refused);
    assert_int_equal(refused->op.result, STORE_BUSY);
    call_free(refused);
    store_kick(f->store);
    for (int i = 0; i < STORE_QUEUE_OPS; i++) {
        await(calls[i]);
        assert_int_not_equal(calls[i]->op.result, STORE_BUSY);
        call_free(calls[i]);
    }
    free(calls);
    f->w = (struct store_write){.event_name = STR("n"), .data = STR("0")};
    struct call *taken = write_call(f, ACTION_ORDINARY);
    submit(taken);
    store_kick(f->store);
    await(taken);
    assert_int_equal(taken->op.result, STORE_OK);
    assert_int_equal(taken->op.written.delivery, 1);
    call_free(taken);
    fixture_free(f);
}

/* ---- the process dies ---- */

/* Another process, as `fault_test writer DIR FD`: writes until it is killed; each acknowledged position goes through the pipe. */
static void writer_process(const char *dir, int pipe_fd)
{
    struct fixture *f = fixture_new(ROCKSDB);
    rmdir(f->dir); /* its own, unused */
    f->options.path = dir;
    fixture_open(f);
    struct message_id m = create(f, "\"\"");
    for (uint64_t i = 1;; i++) {
        f->w.receipt_key = f->w.fingerprint = key_for(i);
        append(f, m, "\"x\"");
        note_written(f, f->last.delivery);
        if (write(pipe_fd, &f->last.delivery, sizeof f->last.delivery) != sizeof f->last.delivery)
            _exit(1);
    }
}

static void acknowledged_appends_survive_kill(void **state)
{
    for (int round = 0; round < 3; round++) {
        struct fixture *f = fixture_new(ROCKSDB);
        uint64_t acknowledged = writer_killed(f, "fault_test", 300 + 1000 * round);
        fixture_open(f);
        struct store_head h = head(f);
        assert_true(h.delivery >= acknowledged && h.delivery <= acknowledged + 1);
        assert_true(noted(f) >= acknowledged && noted(f) <= h.delivery);
        char stream8[9] = {0};
        memcpy(stream8, h.stream_id, 8);
        struct message_id m = {1, 1, (uint32_t)strtoul(stream8, NULL, 16)};
        char expected[32];
        size_t n = (size_t)snprintf(expected, sizeof expected, "%llu:append\"\"", (unsigned long long)h.delivery);
        assert_int_equal(latest(f, m).n, n + h.delivery - 1);
        f->w.receipt_key = f->w.fingerprint = key_for(acknowledged - 1);
        assert_int_equal(mutate(f, m, ACTION_APPEND, "\"x\""), STORE_DUPLICATE);
        assert_int_equal(f->last.delivery, acknowledged);
        fixture_free(f);
    }
}

/* ---- opening ---- */

static void second_process_is_told_about_the_lock(void **state)
{
    struct fixture *f = fixture_new(ROCKSDB);
    struct buf error = {0};
    fixture_open(f);
    assert_null(store_open_rocksdb(&f->options, &error));
    assert_true(str_find(buf_view(&error), STR("nother process")) >= 0);
    buf_free(&error);
    fixture_free(f);
}

static void damaged_files_are_named_with_the_way_out(void **state)
{
    struct fixture *f = fixture_new(ROCKSDB);
    struct buf error = {0};
    char command[256];
    fixture_open(f);
    ordinary(f, "0");
    store_close(f->store);
    f->store = NULL;
    snprintf(command, sizeof command, "printf 'MANIFEST-999999\\n' > '%s/CURRENT'", f->dir);
    assert_int_equal(system(command), 0);
    assert_null(store_open_rocksdb(&f->options, &error));
    assert_true(str_find(buf_view(&error), str_of(f->dir)) >= 0);
    buf_free(&error);
    fixture_free(f);
}

static void directory_is_private(void **state)
{
    struct fixture *f = fixture_new(ROCKSDB);
    struct stat st;
    assert_int_equal(rmdir(f->dir), 0);
    fixture_open(f);
    assert_int_equal(stat(f->dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    fixture_free(f);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "writer") == 0)
        writer_process(argv[2], (int)strtol(argv[3], NULL, 10));
    log_setup(&(struct log_options){.filter = "off"}); /* faults are planted by the hundred */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_write_shows_nothing_and_takes_no_position),
        cmocka_unit_test(failed_batch_fails_all_of_it),
        cmocka_unit_test(batch_that_failed_but_was_written_is_seen_after_reopening),
        cmocka_unit_test(failed_batch_keeps_the_notes_as_they_were),
        cmocka_unit_test(store_heals_without_being_asked),
        cmocka_unit_test(unreadable_channel_fails_alone),
        cmocka_unit_test(damaged_channel_can_be_reset),
        cmocka_unit_test(positions_that_were_lost_are_never_given_again),
        cmocka_unit_test(refused_create_leaves_no_channel),
        cmocka_unit_test(expired_receipts_go_however_many_there_are),
        cmocka_unit_test(close_brings_everything_home),
        cmocka_unit_test(submits_of_one_turn_are_one_batch),
        cmocka_unit_test(full_queue_refuses_at_once_and_keeps_what_it_has),
        cmocka_unit_test(acknowledged_appends_survive_kill),
        cmocka_unit_test(second_process_is_told_about_the_lock),
        cmocka_unit_test(damaged_files_are_named_with_the_way_out),
        cmocka_unit_test(directory_is_private),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
