/* interval_test.c - sync = interval: what an unclean stop of the machine means (chapter 3, 2.8), and what one of the process does not.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "writer.h"

#include "base/log.h"
#include "store/row.h"

static int setup(void **state)
{
    struct fixture *f = fixture_new(ROCKSDB);
    f->options.sync_always = false;
    f->options.sync_interval_ms = 50;
    fixture_open(f);
    *state = f;
    return 0;
}

/* As if the store had been open, unsynced, when the machine went down: its next boot has another id. */
static void machine_went_down(struct fixture *f)
{
    struct buf error = {0};
    store_close(f->store);
    struct kv *kv = kv_rocksdb_open(f->dir, &error);
    assert_non_null(kv);
    kv_put(kv, STR("B"), STR("an-earlier-boot"));
    assert_true(kv_commit(kv, true, &error));
    kv->ops->close(kv);
    fixture_open(f);
}

static void another_boot_gives_every_channel_a_new_stream_id(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"a\"");
    struct store_head before = head(f);

    machine_went_down(f);

    struct store_head after = head(f);
    assert_string_not_equal(after.stream_id, before.stream_id);
    assert_int_equal(after.delivery, 1); /* what is there can be read, under the new id */
    assert_str(page(f, NEWEST_FIRST, 0, 10), "1:create\"a\"");
    assert_int_equal(mutate(f, m, ACTION_APPEND, "\"x\""), STORE_NOT_FOUND);
    struct call *c = call_new(f, STORE_REPLAY);
    c->op.read.stream_id = str_of(before.stream_id);
    assert_str(show(f, c), "another stream");
    /* once: the next start finds nothing in doubt */
    fixture_reopen(f);
    assert_string_equal(head(f).stream_id, after.stream_id);
}

static void clean_stop_leaves_nothing_in_doubt(void **state)
{
    struct fixture *f = *state;
    struct buf error = {0};
    bool failed = false;
    create(f, "\"a\"");
    struct store_head before = head(f);
    store_close(f->store);
    struct kv *kv = kv_rocksdb_open(f->dir, &error);
    struct buf boot = {0};
    assert_false(kv_get(kv, STR("B"), &boot, &failed));
    assert_false(failed);
    kv->ops->close(kv);
    buf_free(&boot);
    fixture_open(f);
    assert_string_equal(head(f).stream_id, before.stream_id);
}

/* Who changes the policy to `always` after a crash of the machine is told the truth about what came before. */
static void doubt_does_not_depend_on_the_policy_of_the_next_start(void **state)
{
    struct fixture *f = *state;
    create(f, "\"a\"");
    struct store_head before = head(f);
    f->options.sync_always = true;
    machine_went_down(f);
    assert_string_not_equal(head(f).stream_id, before.stream_id);
}

static void channel_with_a_damaged_record_does_not_keep_the_others_out(void **state)
{
    struct fixture *f = *state;
    struct buf error = {0};
    create(f, "\"a\"");
    store_close(f->store);
    struct kv *kv = kv_rocksdb_open(f->dir, &error);
    kv_put(kv, str_make("Capp\0rotten", 11), STR("rot"));
    kv_put(kv, STR("B"), STR("an-earlier-boot"));
    assert_true(kv_commit(kv, true, &error));
    kv->ops->close(kv);
    fixture_open(f);
    assert_int_equal(head(f).delivery, 1);
    struct call *c = call_new(f, STORE_HEAD);
    c->op.channel = STR("rotten");
    run(c);
    assert_int_equal(c->op.result, STORE_UNHEALTHY);
    assert_int_equal(c->op.head.state, STATE_RESET_REQUIRED);
    call_free(c);
    c = call_new(f, STORE_RESET);
    c->op.channel = STR("rotten");
    admin(c);
    c = call_new(f, STORE_HEAD);
    c->op.channel = STR("rotten");
    run(c);
    assert_int_equal(c->op.result, STORE_OK);
    call_free(c);
}

/* Another process, as `interval_test writer DIR FD`. */
static void writer_process(const char *dir, int pipe_fd)
{
    struct fixture *f = fixture_new(ROCKSDB);
    rmdir(f->dir); /* its own, unused */
    f->options.path = dir;
    f->options.sync_always = false;
    f->options.sync_interval_ms = 3600000;
    fixture_open(f);
    struct message_id m = create(f, "\"\"");
    for (;;) {
        append(f, m, "\"x\"");
        if (write(pipe_fd, &f->last.delivery, sizeof f->last.delivery) != sizeof f->last.delivery)
            _exit(1);
    }
}

/* The page cache outlives the process: nothing is lost, nothing is in doubt. */
static void kill_of_the_process_loses_nothing(void **state)
{
    struct fixture *f = fixture_new(ROCKSDB);
    f->options.sync_always = false;
    fixture_open(f);
    ordinary(f, "0");
    struct store_head before = head(f);
    store_close(f->store);
    uint64_t acknowledged = writer_killed(f, "interval_test", 500);
    fixture_open(f);
    assert_string_equal(head(f).stream_id, before.stream_id);
    assert_true(acknowledged > 100);
    assert_true(head(f).delivery >= acknowledged);
    fixture_free(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "writer") == 0)
        writer_process(argv[2], (int)strtol(argv[3], NULL, 10));
    log_setup(&(struct log_options){.filter = "off"});
    const struct CMUnitTest tests[] = {
        TEST(another_boot_gives_every_channel_a_new_stream_id),
        TEST(clean_stop_leaves_nothing_in_doubt),
        TEST(doubt_does_not_depend_on_the_policy_of_the_next_start),
        TEST(channel_with_a_damaged_record_does_not_keep_the_others_out),
        cmocka_unit_test(kill_of_the_process_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
