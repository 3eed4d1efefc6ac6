/* kv_test.c - both key-value stores keep the same promises, and every row reads back as it was written.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "base/random.h"
#include "store/row.h"

struct kv_fixture {
    struct kv *kv;
    char dir[128];
    struct buf text;
};

static struct kv *open_kv(struct kv_fixture *f)
{
    struct buf error = {0};
    struct kv *kv = f->dir[0] ? kv_rocksdb_open(f->dir, &error) : kv_memory_new();
    if (!kv)
        fail_msg("%.*s", STR_ARG(buf_view(&error)));
    return kv;
}

static int setup(void **state)
{
    struct kv_fixture *f = mem_new(struct kv_fixture);
    if (*(const enum backend *)*state == ROCKSDB) {
        snprintf(f->dir, sizeof f->dir, "/tmp/kv-test-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
    }
    f->kv = open_kv(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct kv_fixture *f = *state;
    char command[256];
    f->kv->ops->close(f->kv);
    snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
    assert_int_equal(f->dir[0] ? system(command) : 0, 0);
    buf_free(&f->text);
    free(f);
    return 0;
}

static void put(struct kv_fixture *f, const char *key, const char *value)
{
    kv_put(f->kv, str_of(key), str_of(value));
}

static void commit(struct kv_fixture *f)
{
    struct buf error = {0};
    assert_true(kv_commit(f->kv, true, &error));
    buf_free(&error);
}

static struct str scan(struct kv_fixture *f, const char *from, const char *to, bool backward)
{
    struct str key, value;
    buf_clear(&f->text);
    buf_char(&f->text, '|');
    struct kv_cursor *cursor = kv_scan(f->kv, str_of(from), str_of(to), backward);
    while (kv_next(f->kv, cursor, &key, &value))
        buf_fmt(&f->text, "%.*s=%.*s|", STR_ARG(key), STR_ARG(value));
    assert_true(kv_end(f->kv, cursor));
    return buf_view(&f->text);
}

static void scans_are_half_open_in_both_directions(void **state)
{
    struct kv_fixture *f = *state;
    put(f, "b", "2");
    put(f, "a", "1");
    put(f, "c", "3");
    put(f, "aa", "4");
    commit(f);
    assert_str(scan(f, "a", "c", false), "|a=1|aa=4|b=2|");
    assert_str(scan(f, "a", "c", true), "|b=2|aa=4|a=1|");
    assert_str(scan(f, "x", "z", false), "|");
    assert_str(scan(f, "x", "z", true), "|");
}

static void nothing_is_seen_before_the_commit_or_after_abandon(void **state)
{
    struct kv_fixture *f = *state;
    put(f, "a", "1");
    assert_str(scan(f, "a", "z", false), "|");
    f->kv->ops->abandon(f->kv);
    commit(f);
    assert_str(scan(f, "a", "z", false), "|");
}

static void changes_of_one_batch_apply_in_their_order(void **state)
{
    struct kv_fixture *f = *state;
    put(f, "a", "old");
    commit(f);
    put(f, "a", "1");
    kv_del(f->kv, STR("a"));
    put(f, "b", "1");
    kv_del_range(f->kv, STR("a"), STR("c"));
    put(f, "b", "2");
    put(f, "c", "3");
    commit(f);
    assert_str(scan(f, "a", "z", false), "|b=2|c=3|");
}

static void get_appends_and_tells_missing_from_empty(void **state)
{
    struct kv_fixture *f = *state;
    struct buf out = {0};
    bool failed = false;
    put(f, "a", "");
    put(f, "b", "x");
    commit(f);
    assert_true(kv_get(f->kv, STR("a"), &out, &failed));
    assert_true(kv_get(f->kv, STR("b"), &out, &failed));
    assert_true(kv_get(f->kv, STR("b"), &out, &failed));
    assert_false(kv_get(f->kv, STR("c"), &out, &failed));
    assert_false(failed);
    assert_str(buf_view(&out), "xx");
    buf_free(&out);
}

static bool snapshot_has(struct kv *snapshot, const char *key, bool *failed)
{
    struct buf value = {0};
    bool found = kv_get(snapshot, str_of(key), &value, failed);
    buf_free(&value);
    return found;
}

static size_t snapshot_count(struct kv *snapshot, bool *whole)
{
    struct str key, value;
    size_t count = 0;
    struct kv_cursor *cursor = kv_scan(snapshot, STR("a"), STR("z"), false);
    while (kv_next(snapshot, cursor, &key, &value))
        count++;
    *whole = kv_end(snapshot, cursor);
    return count;
}

static void snapshot_does_not_see_what_is_committed_later(void **state)
{
    struct kv_fixture *f = *state;
    struct buf error = {0};
    bool failed = false, whole;
    put(f, "k", "1");
    commit(f);
    struct kv *snapshot = f->kv->ops->snapshot(f->kv);
    put(f, "l", "2");
    kv_del(f->kv, STR("k"));
    commit(f);
    assert_true(snapshot_has(snapshot, "k", &failed));
    assert_false(snapshot_has(snapshot, "l", &failed));
    assert_int_equal(snapshot_count(snapshot, &whole), 1);
    assert_false(failed);
    assert_true(whole);
    /* what it has seen may be gone after a reopening: it says so */
    assert_true(f->kv->ops->reopen(f->kv, &error));
    assert_false(snapshot_has(snapshot, "k", &failed));
    assert_true(failed);
    snapshot_count(snapshot, &whole);
    assert_false(whole);
    snapshot->ops->close(snapshot);
}

static void committed_rows_survive_reopening(void **state)
{
    struct kv_fixture *f = *state;
    struct buf error = {0};
    put(f, "a", "1");
    commit(f);
    assert_true(f->kv->ops->reopen(f->kv, &error));
    assert_str(scan(f, "a", "z", false), "|a=1|");
    buf_free(&error);
}

static struct str random_text(struct random *r)
{
    static const char bytes[300];
    return random_below(r, 3) ? str_make(bytes, random_below(r, sizeof bytes)) : STR_NONE;
}

static bool same(struct str a, struct str b)
{
    return (a.p == NULL) == (b.p == NULL) && str_eq(a, b);
}

static void rows_read_back_as_written_and_never_when_cut(void **state)
{
    struct random r;
    struct buf out = {0};
    random_from_seed(&r, 3);
    for (int i = 0; i < 2000; i++) {
        struct row a = {.action = random_below(&r, 5), .status = random_below(&r, 4), .history = random_u64(&r) >> 3,
                        .create = random_u64(&r) >> random_below(&r, 64), .previous = random_below(&r, 300),
                        .name_at = random_below(&r, 2), .extras_at = random_u64(&r), .published_ms = (int64_t)random_u64(&r),
                        .at_ms = -5, .receipt = {random_below(&r, 2), 0}, .replaces = random_below(&r, 2)};
        struct row b;
        a.fingerprint.lo = a.receipt.hi * 77;
        a.data = random_text(&r);
        a.extras = random_text(&r);
        a.event_name = random_text(&r);
        a.tags = random_text(&r);
        buf_clear(&out);
        row_put(&out, &a);
        assert_true(row_read(buf_view(&out), &b));
        assert_true(a.action == b.action && a.status == b.status && a.history == b.history && a.create == b.create);
        assert_true(a.previous == b.previous && a.name_at == b.name_at && a.extras_at == b.extras_at);
        assert_true(a.published_ms == b.published_ms && a.at_ms == b.at_ms && a.replaces == b.replaces);
        assert_true(hash128_eq(a.receipt, b.receipt) && hash128_eq(a.fingerprint, b.fingerprint));
        assert_true(same(a.data, b.data) && same(a.extras, b.extras) && same(a.event_name, b.event_name) &&
                    same(a.tags, b.tags));
        assert_false(row_read(str_first(buf_view(&out), random_below(&r, out.n)), &b));
    }
    buf_free(&out);
}

/* The keys of a message's rows must sort as their numbers do. */
static void keys_sort_as_their_numbers(void **state)
{
    struct key a = key_of2('L', 1, 255), b = key_of2('L', 1, 256), c = key_of2('L', 2, 0), d = key_of('L', 2);
    assert_true(str_cmp(key_str(&a), key_str(&b)) < 0);
    assert_true(str_cmp(key_str(&b), key_str(&d)) < 0);
    assert_true(str_cmp(key_str(&d), key_str(&c)) < 0);
    assert_int_equal(key_u64(key_str(&b), 9), 256);
    a = key_segment(1, 2, 255);
    b = key_segment(1, 2, 256);
    assert_true(str_cmp(key_str(&a), key_str(&b)) < 0);
}

#define OVER_KV(test, backend) {#test "_over_" #backend, test, setup, teardown, (void *)&backend_##backend},
#define OVER_BOTH(test) OVER_KV(test, memory) OVER_KV(test, rocksdb)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_BOTH(scans_are_half_open_in_both_directions)
        OVER_BOTH(nothing_is_seen_before_the_commit_or_after_abandon)
        OVER_BOTH(changes_of_one_batch_apply_in_their_order)
        OVER_BOTH(get_appends_and_tells_missing_from_empty)
        {"snapshot_does_not_see_what_is_committed_later", snapshot_does_not_see_what_is_committed_later, setup, teardown,
         (void *)&backend_rocksdb},
        OVER_BOTH(committed_rows_survive_reopening)
        cmocka_unit_test(rows_read_back_as_written_and_never_when_cut),
        cmocka_unit_test(keys_sort_as_their_numbers),
    };
    (void)backend_inline;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
