/* postgres_examine.c - one connection, a few questions, some of them repeated with a stop watch.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/postgres_examine.h"

#include <stdlib.h>

#include "store/postgres_internal.h"
#include "store/postgres_schema.h"

enum { ASK_MS = 5000, REPEATS = 15, FIGURES = 8 };

/* In the order of struct postgres_figures; numbers only. Views that a role without rights may read. */
static const char figures_sql[] =
    "SELECT concat_ws(' ', current_setting('server_version_num'), "
    "coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)::int, "
    "current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int, "
    "(SELECT sum(numbackends) FROM pg_stat_database) - 1, "
    "(current_setting('fsync')::bool AND current_setting('full_page_writes')::bool)::int, "
    "(SELECT count(*) FROM pg_stat_replication), "
    "(current_setting('synchronous_standby_names') <> '')::int, "
    "(extract(epoch FROM clock_timestamp()) * 1000)::bigint)";

static double now_f_ms(const struct clock *clock)
{
    return (double)clock_mono_ns(clock) / 1e6;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median time that sql takes; negative when it is refused. */
static double median_ms(struct pg_conn *c, const char *sql)
{
    double took[REPEATS];
    for (int i = 0; i < REPEATS; i++) {
        double began = now_f_ms(c->clock);
        if (pg_plain(c, sql, NULL, ASK_MS) != PG_FINE)
            return -1;
        took[i] = now_f_ms(c->clock) - began;
    }
    qsort(took, REPEATS, sizeof *took, by_size);
    return took[REPEATS / 2];
}

static bool say_why(const struct pg_conn *c, struct buf *error)
{
    buf_str(error, buf_view(&c->why));
    return false;
}

static bool read_figures(struct pg_conn *c, struct postgres_figures *out, struct buf *error)
{
    struct buf said = {0};
    uint64_t v[FIGURES] = {0};
    int64_t before_ms = clock_wall_ms(c->clock);
    if (pg_plain(c, figures_sql, &said, ASK_MS) != PG_FINE)
        return say_why(c, error);
    int64_t after_ms = clock_wall_ms(c->clock);
    struct str rest = buf_view(&said);
    size_t count = 0;
    while (count < FIGURES && str_to_u64(str_split(&rest, ' '), &v[count]))
        count++;
    buf_free(&said);
    if (count < FIGURES) {
        buf_lit(error, "does not say what it is like: is it PostgreSQL?");
        return false;
    }
    out->version = (int)v[0];
    out->may_create = v[1] != 0;
    out->connections_max = (uint32_t)v[2];
    out->connections_used = (uint32_t)v[3];
    out->syncs = v[4] != 0;
    out->standbys = (uint32_t)v[5];
    out->waits_for_standby = v[6] != 0;
    out->ahead_ms = (int64_t)v[7] - (before_ms + after_ms) / 2;
    return true;
}

static bool examine(struct pg_conn *c, struct postgres_figures *out, struct buf *error)
{
    double began = now_f_ms(c->clock);
    if (!schema_prefix_is_fine(str_of(c->options->table_prefix))) {
        buf_lit(error, "history.postgres.table_prefix must be lower case letters, digits and _, not beginning with a digit");
        return false;
    }
    if (!pg_connect(c))
        return say_why(c, error);
    out->connect_ms = now_f_ms(c->clock) - began;
    out->encrypted = PQsslInUse(c->conn) == 1;
    if (!pg_is_supported(c, error) || !read_figures(c, out, error) || !schema_look(c, &out->schema, error))
        return false;
    out->round_trip_ms = median_ms(c, "SELECT 1");
    if (out->round_trip_ms < 0)
        return say_why(c, error);
    out->commit_ms = median_ms(c, "SELECT pg_logical_emit_message(true, 'sockudo-doctor', '')");
    return true;
}

bool postgres_examine(const struct store_postgres *to, const struct clock *clock, struct postgres_figures *out, struct buf *error)
{
    struct pg_conn conn;
    struct store_options options = {.postgres = to, .clock = clock};
    *out = (struct postgres_figures){.schema_ours = SCHEMA_VERSION, .connections_of_node = (uint32_t)readers_of(to->connections_max) + 2};
    pg_init(&conn, PG_WRITES, &options);
    bool ok = examine(&conn, out, error);
    pg_free(&conn);
    return ok;
}
