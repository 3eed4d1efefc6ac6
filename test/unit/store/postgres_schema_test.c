/* postgres_schema_test.c - tables that are older, newer, or not ours (chapter 3, 8.2).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "nodes.h"

#include "store/postgres_schema.h"

static void assert_refused(struct fixture *f, const char *why)
{
    struct buf error = {0};
    assert_null(store_open_postgres(&f->options, &error));
    if (str_find(buf_view(&error), str_of(why)) < 0)
        fail_msg("%.*s", STR_ARG(buf_view(&error)));
    buf_free(&error);
}

static void newer_schema_is_refused_and_untouched(void **state)
{
    struct fixture *f = *state;
    store_close(f->store);
    f->store = NULL;
    database_sql(sql_of(f, "UPDATE @_schema SET version = 99"));
    assert_refused(f, "it was migrated by a newer release");
    assert_int_equal(database_number(sql_of(f, "SELECT version FROM @_schema")), 99);
}

static void tables_of_another_program_are_refused(void **state)
{
    struct fixture *f = fixture_new(POSTGRES);
    database_sql(sql_of(f, "CREATE TABLE @_streams (a text); CREATE TABLE @_entries (a text)"));
    assert_refused(f, "are another program");
    fixture_free(f);
}

static void prefix_that_is_no_name_is_refused(void **state)
{
    struct fixture *f = fixture_new(POSTGRES);
    free((void *)f->postgres.table_prefix);
    f->postgres.table_prefix = str_dup(STR("a\"; DROP TABLE x"));
    assert_refused(f, "history.postgres.table_prefix");
    fixture_free(f);
}

/* Functions of an older build are replaced; nodes that start at once do it once. */
static void older_schema_is_migrated_by_whoever_comes_first(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"a\"");
    store_close(f->store);
    database_sql(sql_of(f, "UPDATE @_schema SET functions = $$old$$; DROP VIEW @_items CASCADE"));
    fixture_open(f);
    append(f, m, "\"b\"");
    assert_str(latest(f, m), "2:append\"ab\"");
}

/* A node that runs on while a newer one migrates must not write by rules that are no longer true. */
static void running_node_stops_writing_when_the_schema_becomes_newer(void **state)
{
    struct fixture *f = *state;
    create(f, "\"a\"");
    database_sql(sql_of(f, "UPDATE @_schema SET version = 99; DROP FUNCTION @_write CASCADE"));
    f->w.event_name = STR("n");
    assert_int_equal(write_of(f, ACTION_ORDINARY, "0"), STORE_FAILED);
    f->w.event_name = STR("n");
    assert_int_equal(write_of(f, ACTION_ORDINARY, "0"), STORE_FAILED);
    assert_false(store_is_healthy(f->store));
}

static void *opens(void *arg)
{
    struct fixture *f = arg;
    fixture_open(f);
    return NULL;
}

static void nodes_that_start_together_make_the_tables_once(void **state)
{
    enum { NODES = 4 };
    struct fixture *f[NODES];
    pthread_t threads[NODES];
    for (int i = 0; i < NODES; i++) {
        f[i] = fixture_new(POSTGRES);
        free((void *)f[i]->postgres.table_prefix);
        f[i]->postgres.table_prefix = str_dup(STR("together"));
    }
    for (int i = 0; i < NODES; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, opens, f[i]), 0);
    for (int i = 0; i < NODES; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < NODES; i++) {
        ordinary(f[i], "0");
        assert_int_equal(f[i]->last.delivery, i + 1);
    }
    for (int i = 0; i < NODES; i++)
        fixture_free(f[i]);
}

/* ---- to a version that does not exist yet: this build's schema and one step more ---- */

#define ADDS_A_COLUMN "ALTER TABLE @_channels ADD COLUMN mood text NOT NULL DEFAULT $$calm$$;"

/* What a later release would do. "" or why not. */
static const char *migrate_by(const struct store_options *options, const char *step)
{
    static _Thread_local char why[600];
    struct pg_conn conn;
    struct buf tables = {0}, error = {0};
    struct schema next = schema_of_build();
    buf_str(&tables, next.tables);
    buf_fmt(&tables, "\n-- version %d\n%s\n", SCHEMA_VERSION + 1, step);
    next.tables = buf_view(&tables);
    next.version = SCHEMA_VERSION + 1;
    pg_init(&conn, PG_WRITES, options);
    bool ok = pg_connect(&conn) && schema_migrate(&conn, &next, &error);
    snprintf(why, sizeof why, "%.*s", STR_ARG(buf_view(&error)));
    assert_true(ok == (error.n == 0));
    pg_free(&conn);
    buf_free(&tables);
    buf_free(&error);
    return why;
}

static void assert_mood_is_a_column(struct fixture *f, bool expected)
{
    assert_int_equal(database_number(sql_of(f, "SELECT count(*) FROM information_schema.columns WHERE table_name = $$@_channels$$ AND "
                                               "column_name = $$mood$$")), expected);
}

/* As this build's again, for what it says of the data. */
static void reopen_as_ours(struct fixture *f)
{
    store_close(f->store);
    database_sql(sql_of(f, "UPDATE @_schema SET version = version - 1"));
    fixture_open(f);
}

static void older_tables_are_migrated_and_keep_their_rows(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"a\"");
    append(f, m, "\"b\"");
    store_close(f->store);
    assert_string_equal(migrate_by(&f->options, ADDS_A_COLUMN), "");
    assert_int_equal(database_number(sql_of(f, "SELECT version FROM @_schema")), SCHEMA_VERSION + 1);
    assert_string_equal(database_sql(sql_of(f, "SELECT mood FROM @_channels LIMIT 1")), "calm");
    assert_string_equal(migrate_by(&f->options, ADDS_A_COLUMN), ""); /* there is nothing left to do */
    f->store = NULL;
    assert_refused(f, "it was migrated by a newer release");
    database_sql(sql_of(f, "UPDATE @_schema SET version = version - 1"));
    fixture_open(f);
    append(f, m, "\"c\"");
    assert_str(latest(f, m), "3:append\"abc\"");
}

/* A step may leave the functions' text alone: they are dropped with the version before, and made again all the same. */
static void functions_are_there_after_a_step_that_did_not_touch_them(void **state)
{
    struct fixture *f = *state;
    store_close(f->store);
    long long before = database_number(sql_of(f, "SELECT count(*) FROM pg_proc WHERE proname LIKE $$@\\_%$$"));
    assert_string_equal(migrate_by(&f->options, "CREATE INDEX @_extra ON @_channels (newest_ms);"), "");
    assert_true(before > 0);
    assert_int_equal(database_number(sql_of(f, "SELECT count(*) FROM pg_proc WHERE proname LIKE $$@\\_%$$")), before);
    database_sql(sql_of(f, "UPDATE @_schema SET version = version - 1"));
    fixture_open(f);
}

/* Error, or the connection gone: nothing of the step stays, and the older release works on. */
static void half_done_migration_leaves_all_as_it_was(void **state)
{
    static const char *const ends[] = {ADDS_A_COLUMN "SELECT 1 / 0;", ADDS_A_COLUMN "SELECT pg_terminate_backend(pg_backend_pid());"};
    struct fixture *f = *state;
    struct message_id m = create(f, "\"a\"");
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        store_close(f->store);
        struct str why = str_of(migrate_by(&f->options, ends[i]));
        assert_true(str_find(why, STR("they are as they were before")) > 0);
        assert_true(str_find(why, i == 0 ? STR("division by zero") : STR("terminating connection")) > 0);
        assert_mood_is_a_column(f, false);
        assert_int_equal(database_number(sql_of(f, "SELECT version FROM @_schema")), SCHEMA_VERSION);
        fixture_open(f);
        append(f, m, "\"b\"");
    }
    assert_str(latest(f, m), "3:append\"abb\"");
}

/* Its prepared statements would find functions of the same names. */
static void node_that_is_running_stops_writing_when_others_migrate(void **state)
{
    struct fixture *f = *state;
    ordinary(f, "0");
    assert_string_equal(migrate_by(&f->options, ADDS_A_COLUMN), "");
    for (int i = 0; i < 3; i++) {
        f->w.event_name = STR("n");
        assert_int_equal(write_of(f, ACTION_ORDINARY, "0"), STORE_FAILED);
    }
    assert_false(store_is_healthy(f->store));
    assert_int_equal(database_number(sql_of(f, "SELECT delivery FROM @_channels")), 1);
    reopen_as_ours(f);
    ordinary(f, "0");
    assert_int_equal(f->last.delivery, 2);
}

static void *migrates(void *arg)
{
    const char *why = migrate_by(arg, ADDS_A_COLUMN);
    return *why ? strdup(why) : NULL;
}

/* A column cannot be added twice: who came second found it done. */
static void nodes_that_start_together_migrate_once(void **state)
{
    enum { NODES = 6 };
    struct fixture *f = *state;
    pthread_t threads[NODES];
    create(f, "\"a\"");
    store_close(f->store);
    for (int i = 0; i < NODES; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, migrates, &f->options), 0);
    for (int i = 0; i < NODES; i++) {
        void *why;
        pthread_join(threads[i], &why);
        if (why != NULL)
            fail_msg("%s", (char *)why);
    }
    assert_mood_is_a_column(f, true);
    database_sql(sql_of(f, "UPDATE @_schema SET version = version - 1"));
    fixture_open(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_POSTGRES(newer_schema_is_refused_and_untouched)
        cmocka_unit_test(tables_of_another_program_are_refused),
        cmocka_unit_test(prefix_that_is_no_name_is_refused),
        ON_POSTGRES(older_schema_is_migrated_by_whoever_comes_first)
        ON_POSTGRES(running_node_stops_writing_when_the_schema_becomes_newer)
        cmocka_unit_test(nodes_that_start_together_make_the_tables_once),
        ON_POSTGRES(older_tables_are_migrated_and_keep_their_rows)
        ON_POSTGRES(functions_are_there_after_a_step_that_did_not_touch_them)
        ON_POSTGRES(half_done_migration_leaves_all_as_it_was)
        ON_POSTGRES(node_that_is_running_stops_writing_when_others_migrate)
        ON_POSTGRES(nodes_that_start_together_migrate_once)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
