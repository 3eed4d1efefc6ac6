/* postgres_schema.c - the version of the tables: made, migrated, or refused.
 *
 *      BEGIN; pg_advisory_xact_lock(prefix)     who comes second waits, and finds it done
 *        what is there? nothing -> version 0; ours -> its version; other tables of these names -> refused
 *        the steps above that version; the functions, if they are not this build's
 *      COMMIT; after a step: an end to the sessions of older nodes
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/postgres_schema.h"

#include <stdlib.h>

#include "base/digest.h"
#include "base/log.h"

enum { MIGRATE_MS = 60000 };

/* Ours, and those of the server whose prefix this is too. */
#define TABLE_NAMES                                                                                          \
    "'@_channels', '@_messages', '@_log', '@_segments', '@_receipts', '@_notes', '@_gone', '@_streams', '@_entries', "          \
    "'@_version_streams', '@_version_messages', '@_version_entries'"
#define FUNCTION_NAMES                                                                                       \
    "'@_now', '@_tail', '@_text', '@_fold', '@_drop', '@_retain', '@_write', '@_latest', '@_page', '@_versions', '@_replay', "             \
    "'@_notes_scan', '@_reset', '@_purge', '@_work', '@_sweep'"

bool schema_prefix_is_fine(struct str prefix)
{
    if (prefix.n == 0 || prefix.n > TABLE_PREFIX_MAX || (prefix.p[0] >= '0' && prefix.p[0] <= '9'))
        return false;
    for (size_t i = 0; i < prefix.n; i++)
        if (strchr("abcdefghijklmnopqrstuvwxyz0123456789_", prefix.p[i]) == NULL)
            return false;
    return true;
}

void schema_sql(struct buf *out, struct str sql, const char *prefix)
{
    for (ptrdiff_t at; (at = str_index(sql, '@')) >= 0; sql = str_from(sql, (size_t)at + 1)) {
        buf_str(out, str_first(sql, (size_t)at));
        buf_str(out, str_of(prefix));
    }
    buf_str(out, sql);
}

struct migration {
    struct pg_conn *c;
    const struct schema *to;
    struct buf *error;
    struct buf said; /* by the newest query */
};

static bool say(struct migration *m, struct str sql)
{
    struct buf text = {0};
    schema_sql(&text, sql, m->c->options->table_prefix);
    buf_char(&text, '\0');
    buf_clear(&m->said);
    bool ok = pg_plain(m->c, text.p, &m->said, MIGRATE_MS) == PG_FINE;
    buf_free(&text);
    if (!ok)
        buf_fmt(m->error, "PostgreSQL: %.*s", STR_ARG(buf_view(&m->c->why)));
    return ok;
}

/* 0 = nothing is there. */
static bool find_version(struct migration *m, uint64_t *version)
{
    *version = 0;
    if (!say(m, STR("SELECT CASE WHEN to_regclass('@_schema') IS NOT NULL THEN 'ours' ELSE (SELECT string_agg(relname, ', ') FROM "
                    "pg_class WHERE relnamespace = current_schema()::regnamespace AND relname IN (" TABLE_NAMES ")) END")))
        return false;
    if (m->said.n == 0 || m->said.p == NULL) /* gcc cannot know that one says both */
        return true;
    if (m->said.n != 4 || memcmp(m->said.p, "ours", 4) != 0) {
        buf_fmt(m->error,
                "the tables %.*s are another program's. Set history.postgres.table_prefix to a name that nobody uses, or choose "
                "another database (database.postgres.database)", STR_ARG(buf_view(&m->said)));
        return false;
    }
    return say(m, STR("SELECT version FROM @_schema WHERE program = 'sockudo-store'")) &&
           (str_to_u64(buf_view(&m->said), version) ||
            (buf_fmt(m->error, "the table %s_schema is not this server's: choose another history.postgres.table_prefix",
                     m->c->options->table_prefix), false));
}

static bool is_too_new(struct migration *m, uint64_t version)
{
    if (version <= m->to->version)
        return false;
    buf_fmt(m->error, "the tables %s_* have schema version %llu, this server knows %llu: it was migrated by a newer release; upgrade this "
            "node too", m->c->options->table_prefix, (unsigned long long)version, (unsigned long long)m->to->version);
    return true;
}

/* What turns version - 1 into version. */
static struct str step_sql(const struct schema *schema, uint64_t version)
{
    struct buf mark = {0};
    buf_fmt(&mark, "\n-- version %llu\n", (unsigned long long)version);
    ptrdiff_t at = str_find(schema->tables, buf_view(&mark));
    struct str step = at < 0 ? STR("") : str_from(schema->tables, (size_t)at + mark.n);
    ptrdiff_t end = str_find(step, STR("\n-- version "));
    buf_free(&mark);
    return end < 0 ? step : str_first(step, (size_t)end);
}

static void functions_mark(const struct schema *schema, struct buf *out)
{
    struct buf both = {0};
    buf_str(&both, schema->functions);
    buf_str(&both, schema->reads);
    struct hash128 hash = hash128(buf_view(&both));
    buf_fmt(out, "%016llx%016llx", (unsigned long long)hash.hi, (unsigned long long)hash.lo);
    buf_free(&both);
}

/* Functions of the version before are dropped: their results may have another shape now. */
static bool make_tables(struct migration *m, uint64_t version)
{
    struct buf sql = {0};
    if (version == 0 && !say(m, STR("CREATE TABLE @_schema (program text NOT NULL, version integer NOT NULL, functions text NOT NULL);"
                                    "INSERT INTO @_schema VALUES ('sockudo-store', 0, '')")))
        return false;
    while (version < m->to->version)
        if (!say(m, step_sql(m->to, ++version)))
            return false;
    buf_fmt(&sql,
            "UPDATE @_schema SET version = %llu, functions = ''; DO $$ DECLARE f record; BEGIN DROP VIEW IF EXISTS @_items CASCADE; "
            "FOR f IN SELECT p.oid::regprocedure AS name FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace AND "
            "p.proname IN (" FUNCTION_NAMES ") LOOP EXECUTE 'DROP FUNCTION ' || f.name || ' CASCADE'; END LOOP; END $$",
            (unsigned long long)m->to->version);
    bool ok = say(m, buf_view(&sql));
    buf_free(&sql);
    return ok;
}

static bool make_functions(struct migration *m)
{
    struct buf mark = {0}, sql = {0};
    functions_mark(m->to, &mark);
    bool ok = say(m, STR("SELECT functions FROM @_schema"));
    if (ok && !str_eq(buf_view(&m->said), buf_view(&mark))) {
        buf_fmt(&sql, "UPDATE @_schema SET functions = '%.*s'", STR_ARG(buf_view(&mark)));
        ok = say(m, m->to->functions) && say(m, m->to->reads) && say(m, buf_view(&sql));
    }
    buf_free(&mark);
    buf_free(&sql);
    return ok;
}

/* *from: what was there, 0 = nothing. */
static bool migrate(struct migration *m, uint64_t *from)
{
    if (!say(m, STR("SELECT pg_advisory_xact_lock(hashtextextended('@_schema', 0))")) || !find_version(m, from) ||
        is_too_new(m, *from))
        return false;
    if (*from < m->to->version) {
        log_info("store", "tables %s_*: schema version %llu becomes %llu", m->c->options->table_prefix, (unsigned long long)*from,
                 (unsigned long long)m->to->version);
        if (!make_tables(m, *from))
            return false;
    }
    return make_functions(m);
}

/* Sessions that are prepared for the version before (pg_prepare() names them) must not go on: they would call what is new by what
 * was true. Their nodes come back, see the version, and stop writing. */
static bool end_older_sessions(struct migration *m)
{
    return say(m, STR("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'sockudo @' AND "
                      "datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"));
}

static void explain(struct migration *m, uint64_t from)
{
    if (from > 0 && from < m->to->version)
        buf_fmt(m->error, " (while the tables %s_* were migrated from schema version %llu to %llu; they are as they were before)",
                m->c->options->table_prefix, (unsigned long long)from, (unsigned long long)m->to->version);
}

bool schema_migrate(struct pg_conn *c, const struct schema *schema, struct buf *error)
{
    struct migration m = {.c = c, .to = schema, .error = error};
    struct buf timeouts = {0};
    uint64_t from = 0;
    buf_fmt(&timeouts, "BEGIN; SET LOCAL statement_timeout = %d; SET LOCAL lock_timeout = %d; SET LOCAL client_min_messages = error",
            MIGRATE_MS, MIGRATE_MS);
    bool ok = say(&m, buf_view(&timeouts)) && migrate(&m, &from) && say(&m, STR("COMMIT"));
    if (!ok)
        explain(&m, from);
    if (!ok && c->conn != NULL)
        pg_plain(c, "ROLLBACK", NULL, MIGRATE_MS);
    if (ok && from > 0 && from < schema->version)
        ok = end_older_sessions(&m);
    buf_free(&timeouts);
    buf_free(&m.said);
    return ok;
}

struct schema schema_of_build(void)
{
    return (struct schema){.version = SCHEMA_VERSION,
                           .tables = str_make(postgres_tables, postgres_tables_size),
                           .functions = str_make(postgres_functions, postgres_functions_size),
                           .reads = str_make(postgres_reads, postgres_reads_size)};
}

bool schema_look(struct pg_conn *c, uint64_t *version, struct buf *error)
{
    struct schema build = schema_of_build();
    struct migration m = {.c = c, .to = &build, .error = error};
    bool ok = find_version(&m, version) && !is_too_new(&m, *version);
    buf_free(&m.said);
    return ok;
}

bool schema_check(struct pg_conn *c, struct buf *error)
{
    uint64_t version;
    if (!schema_look(c, &version, error))
        return false;
    if (version < SCHEMA_VERSION)
        buf_fmt(error, "the tables %s_* have schema version %llu, this server made %d: start this node anew to migrate them",
                c->options->table_prefix, (unsigned long long)version, SCHEMA_VERSION);
    return version == SCHEMA_VERSION;
}
