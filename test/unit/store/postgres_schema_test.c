/* postgres_schema_test.c - tables that are older, newer, or not ours (chapter 3, 8.2).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "nodes.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_POSTGRES(newer_schema_is_refused_and_untouched)
        cmocka_unit_test(tables_of_another_program_are_refused),
        cmocka_unit_test(prefix_that_is_no_name_is_refused),
        ON_POSTGRES(older_schema_is_migrated_by_whoever_comes_first)
        ON_POSTGRES(running_node_stops_writing_when_the_schema_becomes_newer)
        cmocka_unit_test(nodes_that_start_together_make_the_tables_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
