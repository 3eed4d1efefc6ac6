/* fold_test.c - folding is invisible: text, versions and receipts are the same on either side of a segment's border.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "base/random.h"
#include "store/engine.h"

static void append_number(struct fixture *f, struct message_id m, int i)
{
    char fragment[16];
    snprintf(fragment, sizeof fragment, "\"%d,\"", i);
    f->w.receipt_key = f->w.fingerprint = key_for((uint64_t)i);
    append(f, m, fragment);
}

static struct str numbers(struct fixture *f, const char *before, int count)
{
    buf_clear(&f->names);
    buf_fmt(&f->names, "%s", before);
    for (int i = 1; i <= count; i++)
        buf_fmt(&f->names, "%d,", i);
    buf_char(&f->names, '"');
    return buf_view(&f->names);
}

static void assert_whole(struct fixture *f, struct message_id m, int count)
{
    char before[32];
    snprintf(before, sizeof before, "%d:append\"", count + 1);
    struct str expected = numbers(f, before, count), actual = latest(f, m);
    assert_int_equal(actual.n, expected.n);
    assert_memory_equal(actual.p, expected.p, expected.n);
}

static void check_count(struct fixture *f, int count)
{
    struct message_id m = create(f, "\"\"");
    for (int i = 1; i <= count; i++)
        append_number(f, m, i);
    assert_whole(f, m, count);
    for (int i = 1; i <= count; i += count / 3) {
        f->w.receipt_key = f->w.fingerprint = key_for((uint64_t)i);
        assert_int_equal(mutate(f, m, ACTION_APPEND, "\"?\""), STORE_DUPLICATE);
        assert_int_equal(f->last.delivery, i + 1);
    }
    if (f->backend == ROCKSDB) {
        fixture_reopen(f);
        assert_whole(f, m, count);
        f->w.receipt_key = f->w.fingerprint = key_for((uint64_t)count);
        assert_int_equal(mutate(f, m, ACTION_APPEND, "\"?\""), STORE_DUPLICATE);
        append_number(f, m, count + 1);
        assert_whole(f, m, count + 1);
    }
}

static void text_is_whole_at_63_fragments(void **state)
{
    check_count(*state, 63);
}

static void text_is_whole_at_64_fragments(void **state)
{
    check_count(*state, 64);
}

static void text_is_whole_at_65_fragments(void **state)
{
    check_count(*state, 65);
}

static void text_is_whole_at_129_fragments(void **state)
{
    check_count(*state, 129);
}

static void text_is_whole_at_5000_fragments(void **state)
{
    check_count(*state, 5000);
}

static void every_position_in_a_folded_message_can_be_read_as_of(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"\"");
    for (int i = 1; i <= 200; i++)
        append(f, m, "\"x\"");
    for (int i = 1; i <= 200; i++) {
        char before[32];
        size_t n = (size_t)snprintf(before, sizeof before, "%d:append\"\"", i + 1) + (size_t)i;
        assert_int_equal(latest_as_of(f, m, (uint64_t)i + 1).n, n);
    }
    assert_str(versions(f, m, NEWEST_FIRST, 67, 3), "66:append\"x\" 65:append\"x\" 64:append\"x\" more");
}

static void update_in_the_middle_begins_the_text_anew(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"\"");
    for (int i = 1; i <= 100; i++)
        append(f, m, "\"x\"");
    assert_int_equal(mutate(f, m, ACTION_UPDATE, "\"new\""), STORE_OK);
    for (int i = 1; i <= 70; i++)
        append(f, m, "\"y\"");
    assert_int_equal(latest(f, m).n, strlen("172:append\"new\"") + 70);
    assert_int_equal(latest_as_of(f, m, 101).n, strlen("101:append\"\"") + 100);
    assert_str(latest_as_of(f, m, 103), "103:append\"newy\"");
}

static void large_fragments_fold_by_bytes(void **state)
{
    struct fixture *f = *state;
    static char fragment[40002];
    memset(fragment, 'z', sizeof fragment - 1);
    fragment[0] = fragment[sizeof fragment - 2] = '"';
    struct message_id m = create(f, "\"\"");
    for (int i = 0; i < 7; i++)
        append(f, m, fragment);
    assert_int_equal(f->last.message_bytes, 7 * (sizeof fragment - 3));
    assert_int_equal(latest(f, m).n, strlen("8:append\"\"") + 7 * (sizeof fragment - 3));
}

/* A follower that reads while streams interleave must see each message whole. */
static void interleaved_messages_do_not_mix(void **state)
{
    struct fixture *f = *state;
    enum { MESSAGES = 5, ROUNDS = 300 };
    struct message_id m[MESSAGES];
    for (int i = 0; i < MESSAGES; i++)
        m[i] = create(f, "\"\"");
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < MESSAGES; i++) {
            char fragment[4] = {'"', (char)('a' + i), '"', 0};
            append(f, m[i], fragment);
        }
    for (int i = 0; i < MESSAGES; i++) {
        struct str text = latest(f, m[i]);
        text = str_from(text, (size_t)str_index(text, '"') + 1);
        assert_int_equal(text.n, ROUNDS + 1);
        for (int k = 0; k < ROUNDS; k++)
            assert_int_equal(text.p[k], 'a' + i);
    }
    assert_int_equal(head(f).delivery, MESSAGES * (ROUNDS + 1));
}

/* Any order of operations, in batches of any size: a whole read equals a fold of the versions, and heads in memory equal
 * heads rebuilt from the rows. */
static void random_operations_leave_memory_equal_to_the_rows(void **state)
{
    struct kv *kv = kv_memory_new();
    struct store_stats stats = {0};
    struct store_options options = {.clock = &clock_system, .seed = 7};
    struct engine *e = engine_new(kv, &options, &stats);
    struct message_id messages[8] = {0};
    struct random r;
    struct buf why = {0};
    random_from_seed(&r, 42);
    for (int step = 0; step < 20000; step++) {
        struct store_op op = {.kind = STORE_WRITE, .app_id = STR("app"), .channel = STR("chat")};
        uint64_t pick = random_below(&r, 8), what = random_below(&r, 40);
        op.write.target = messages[pick];
        op.write.now_ms = step + 1;
        op.write.action = what == 0 ? ACTION_CREATE : what == 1 ? ACTION_UPDATE : what == 2 ? ACTION_DELETE : ACTION_APPEND;
        op.write.data = what == 2 || (what == 1 && random_below(&r, 2)) ? STR_NONE : STR("\"abc\"");
        op.write.extras = random_below(&r, 3) ? STR_NONE : STR("{\"x\":1}");
        op.write.status = random_below(&r, 2) ? STREAM_OPEN : STREAM_COMPLETE;
        op.write.retention.messages_max = 20;
        if (engine_stage(e, &op) == COMMIT_FIRST) {
            assert_true(engine_commit(e, true, &why));
            assert_int_equal(engine_stage(e, &op), STAGED);
        }
        if (op.result == STORE_OK && what == 0)
            messages[pick] = op.written.message;
        arena_free(&op.arena);
        if (random_below(&r, 10) == 0)
            assert_true(engine_commit(e, true, &why));
        if (step % 1000 == 999) {
            assert_true(engine_commit(e, true, &why));
            if (!engine_check(e, &why))
                fail_msg("step %d: %.*s", step, STR_ARG(buf_view(&why)));
        }
    }
    engine_free(e);
    kv->ops->close(kv);
    buf_free(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_ALL(text_is_whole_at_63_fragments)
        OVER_ALL(text_is_whole_at_64_fragments)
        OVER_ALL(text_is_whole_at_65_fragments)
        OVER_ALL(text_is_whole_at_129_fragments)
        OVER_ALL(text_is_whole_at_5000_fragments)
        OVER_ALL(every_position_in_a_folded_message_can_be_read_as_of)
        OVER_ALL(update_in_the_middle_begins_the_text_anew)
        OVER_ALL(large_fragments_fold_by_bytes)
        OVER_ALL(interleaved_messages_do_not_mix)
        cmocka_unit_test(random_operations_leave_memory_equal_to_the_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
