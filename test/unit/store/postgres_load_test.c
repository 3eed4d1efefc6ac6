/* postgres_load_test.c - what an append costs in PostgreSQL at full load.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "nodes.h"

struct load {
    uint64_t appends;
    double ms, per_transaction, wal_each;
};

/* Appends in turn to one message in each of this many channels, a window of them always on their way. */
static struct load append_to(struct fixture *f, size_t channels, size_t window, struct str fragment, bool receipts)
{
    enum { APPENDS = 20000 };
    struct message_id *m = mem_alloc(channels * sizeof *m);
    char (*names)[32] = mem_alloc(channels * sizeof *names);
    struct call **calls = mem_zalloc(window * sizeof *calls);
    const struct store_stats *stats = store_stats(f->store);
    for (size_t i = 0; i < channels; i++) {
        snprintf(names[i], sizeof names[i], "load-%zu", i);
        f->w.data = STR("\"\"");
        struct call *c = write_call(f, ACTION_CREATE);
        c->op.channel = str_of(names[i]);
        run(c);
        m[i] = c->op.written.message;
        call_free(c);
    }
    database_sql("CHECKPOINT");
    uint64_t batches = stats->batches, began = clock_mono_ms(&clock_system);
    long long wal = database_number("SELECT (pg_current_wal_insert_lsn() - $$0/0$$)::bigint");
    for (size_t i = 0; i < APPENDS + window; i++) {
        struct call **place = &calls[i % window];
        if (*place != NULL) {
            await(*place);
            assert_int_equal((*place)->op.result, STORE_OK);
            call_free(*place);
            *place = NULL;
        }
        if (i >= APPENDS)
            continue;
        if (receipts)
            f->w.receipt_key = f->w.fingerprint = key_for(i + 1);
        *place = append_call(f, m[i % channels], fragment);
        (*place)->op.channel = str_of(names[i % channels]);
        submit(*place);
    }
    struct load load = {.appends = APPENDS, .ms = (double)(clock_mono_ms(&clock_system) - began)};
    load.per_transaction = (double)APPENDS / (double)(stats->batches - batches);
    load.wal_each = (double)(database_number("SELECT (pg_current_wal_insert_lsn() - $$0/0$$)::bigint") - wal) / APPENDS;
    free(m);
    free(names);
    free(calls);
    return load;
}

static void show_load(const char *what, struct load load)
{
    print_message("%s: %.0f appends a transaction, %.0f bytes of WAL an append, %.0f appends a second\n", what, load.per_transaction,
                  load.wal_each, (double)load.appends * 1000 / load.ms);
}

/* At full load at least ten appends share a transaction; what is written stays near the fragment. Full pages after a checkpoint,
 * which amount to nothing over a long run, are not counted. */
static void appends_at_full_load_share_transactions_and_write_little(void **state)
{
    enum { TEXT = 100 };
    struct fixture *f = *state;
    char fragment[TEXT + 3];
    memset(fragment, 'x', sizeof fragment);
    fragment[0] = fragment[TEXT + 1] = '"';
    database_sql("ALTER SYSTEM SET full_page_writes = off");
    database_sql("SELECT pg_reload_conf()");
    struct load one = append_to(f, 1, 256, str_make(fragment, TEXT + 2), true);
    struct load few = append_to(f, 16, 256, str_make(fragment, TEXT + 2), true);
    struct load many = append_to(f, 1000, 1000, str_make(fragment, TEXT + 2), true);
    show_load("one stream, with op_ids", one);
    show_load("16 streams, with op_ids", few);
    show_load("1000 streams, with op_ids", many);
    assert_true(one.per_transaction >= 10 && few.per_transaction >= 10 && many.per_transaction >= 10);
    assert_true(few.wal_each <= 3 * (TEXT + 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_POSTGRES(appends_at_full_load_share_transactions_and_write_little)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
