/* postgres_conn.c - libpq in pipeline mode: everything is sent before anything is read, and nothing waits for ever.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/postgres_conn.h"

#include <assert.h>
#include <endian.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "store/postgres_schema.h"

enum { CONNECT_MS = 5000, PREPARE_MS = 10000 };

/* Each @ is the table prefix. */
static const struct statement {
    const char *sql;
    int params;
} statements[PG_STATEMENTS] = {
    [PG_BEGIN] = {"BEGIN", 0},
    [PG_COMMIT] = {"COMMIT", 0},
    [PG_WRITE] = {"SELECT * FROM @_write(", 39},
    [PG_NOTES_PUT] = {"INSERT INTO @_notes SELECT * FROM unnest($1::bytea[], $2::bytea[]) ORDER BY 1 "
                      "ON CONFLICT (key) DO UPDATE SET value = excluded.value", 2},
    [PG_NOTES_DELETE] = {"DELETE FROM @_notes WHERE key = ANY ($1::bytea[])", 1},
    [PG_NOTES_SCAN] = {"SELECT * FROM @_notes_scan(", 5},
    [PG_HEAD] = {"SELECT stream_id, state::bigint, delivery, history, replay_floor, oldest_history, oldest_ms, newest_ms, "
                 "retained_messages, retained_bytes, open_streams FROM @_channels WHERE app_id = $1 AND channel = $2", 2},
    [PG_HEADS] = {"SELECT a.i, x.stream_id, x.state::bigint, x.delivery, x.history "
                  "FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS a(app, name, i) "
                  "JOIN @_channels x ON x.app_id = a.app AND x.channel = a.name", 2},
    [PG_LATEST] = {"SELECT * FROM @_latest(", 4},
    [PG_PAGE] = {"SELECT * FROM @_page(", 10},
    [PG_VERSIONS] = {"SELECT * FROM @_versions(", 6},
    [PG_REPLAY] = {"SELECT * FROM @_replay(", 5},
    [PG_OPEN] = {"SELECT m.cid, m.history, c.app_id, c.channel, c.stream8, m.created, m.last, m.published_ms, m.at_ms, m.size, "
                 "m.action::bigint, (SELECT @_now()) "
                 "FROM @_messages m JOIN @_channels c ON c.cid = m.cid WHERE m.is_open AND (m.cid, m.history) > ($1, $2) "
                 "ORDER BY m.cid, m.history LIMIT $3", 3},
    [PG_RESET] = {"SELECT * FROM @_reset(", 4},
    [PG_PURGE] = {"SELECT * FROM @_purge(", 6},
    [PG_WORK] = {"SELECT * FROM @_work(", 3},
    [PG_SWEEP] = {"SELECT @_sweep(", 1},
    [PG_MARK] = {"UPDATE @_channels SET state = $3::bigint WHERE app_id = $1 AND channel = $2 AND stream_id = $4 AND state <> 1", 4},
    [PG_GAUGES] = {"SELECT coalesce(sum(retained_messages), 0)::bigint, coalesce(sum(retained_bytes), 0)::bigint, "
                   "count(*) FILTER (WHERE state > 0), count(*) FILTER (WHERE state = 1) FROM @_channels", 0},
    [PG_NOW] = {"SELECT @_now()", 0},
};

void pg_init(struct pg_conn *c, enum pg_session session, const struct store_options *options)
{
    *c = (struct pg_conn){.options = options->postgres, .clock = options->clock, .session = session};
}

void pg_forget(struct pg_conn *c)
{
    for (size_t i = 0; i < c->queries_count; i++)
        PQclear(c->queries[i].result);
    c->queries_count = 0;
    c->param_count = 0;
    c->ran = false;
    buf_clear(&c->bytes);
}

void pg_close(struct pg_conn *c)
{
    pg_forget(c);
    PQfinish(c->conn);
    c->conn = NULL;
}

void pg_free(struct pg_conn *c)
{
    pg_close(c);
    buf_free(&c->why);
    buf_free(&c->bytes);
}

static void say_why(struct pg_conn *c, const char *text)
{
    struct str line = str_trim(str_of(text));
    buf_clear(&c->why);
    buf_str(&c->why, line.n > 0 ? line : STR("the connection was lost"));
}

static enum pg_verdict lost(struct pg_conn *c, const char *text)
{
    say_why(c, text);
    PQfinish(c->conn);
    c->conn = NULL;
    return PG_LOST;
}

/* ---- connecting ---- */

static bool wait_until(PGconn *conn, short events, const struct clock *clock, uint64_t until_ms)
{
    uint64_t now = clock_mono_ms(clock);
    struct pollfd fd = {.fd = PQsocket(conn), .events = events};
    return now < until_ms && poll(&fd, 1, (int)(until_ms - now)) > 0;
}

static void on_notice(void *user, const char *text)
{
    log_debug("store", "postgres says: %s", text);
}

static bool set_up(struct pg_conn *c)
{
    struct buf sql = {0};
    buf_fmt(&sql,
            "SET client_min_messages = warning; SET statement_timeout = %u; SET lock_timeout = %u; SET synchronous_commit = on; "
            "SET idle_in_transaction_session_timeout = %u; SET enable_seqscan = off; SET enable_hashjoin = off; "
            "SET enable_mergejoin = off; SET enable_bitmapscan = off; SET jit = off; SET plan_cache_mode = force_generic_plan; SET bytea_output = hex; %s",
            c->options->write_timeout_ms, c->options->lock_timeout_ms, c->options->write_timeout_ms,
            c->session == PG_READS ? "SET default_transaction_isolation = 'repeatable read'; SET default_transaction_read_only = on"
                                   : "");
    buf_char(&sql, '\0');
    bool ok = pg_plain(c, sql.p, NULL, CONNECT_MS) == PG_FINE;
    buf_free(&sql);
    return ok;
}

bool pg_connect(struct pg_conn *c)
{
    char port[8], timeout[24];
    const struct store_postgres *o = c->options;
    snprintf(port, sizeof(port), "%u", o->port);
    snprintf(timeout, sizeof(timeout), "%u", o->write_timeout_ms + 1000);
    const char *keys[] = {"host", "port", "user", "password", "dbname", "application_name", "client_encoding", "connect_timeout",
                          "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "target_session_attrs",
                          NULL};
    const char *values[] = {o->host, port, o->username, o->password, o->database, "sockudo", "UTF8", "5", "10", "5", "3", timeout,
                            c->session == PG_WRITES ? "read-write" : "any", NULL};
    uint64_t until_ms = clock_mono_ms(c->clock) + CONNECT_MS;
    pg_close(c);
    c->conn = PQconnectStartParams(keys, values, 0);
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    while (c->conn != NULL && PQstatus(c->conn) != CONNECTION_BAD && status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED) {
        if (!wait_until(c->conn, status == PGRES_POLLING_READING ? POLLIN : POLLOUT, c->clock, until_ms))
            return lost(c, "no answer in time") == PG_FINE;
        status = PQconnectPoll(c->conn);
    }
    if (PQstatus(c->conn) != CONNECTION_OK || PQsetnonblocking(c->conn, 1) != 0)
        return lost(c, PQerrorMessage(c->conn)) == PG_FINE;
    PQsetNoticeProcessor(c->conn, on_notice, NULL);
    return set_up(c) && PQenterPipelineMode(c->conn) == 1;
}

bool pg_is_supported(struct pg_conn *c, struct buf *error)
{
    enum { OLDEST = 150000 };
    const char *encoding = PQparameterStatus(c->conn, "server_encoding");
    if (PQserverVersion(c->conn) < OLDEST) {
        buf_fmt(error, "PostgreSQL %d is too old: version 15 or later is needed", PQserverVersion(c->conn) / 10000);
        return false;
    }
    if (encoding != NULL && strcmp(encoding, "UTF8") != 0 && strcmp(encoding, "SQL_ASCII") != 0) {
        buf_fmt(error, "the database has the encoding %s: create one with UTF8", encoding);
        return false;
    }
    return true;
}

bool pg_is_alive(struct pg_conn *c)
{
    struct pollfd fd = {.events = POLLIN};
    if (c->conn == NULL)
        return false;
    fd.fd = PQsocket(c->conn);
    if (poll(&fd, 1, 0) > 0 && (PQconsumeInput(c->conn) == 0 || PQstatus(c->conn) != CONNECTION_OK || (fd.revents & POLLHUP)))
        return lost(c, PQerrorMessage(c->conn)) == PG_FINE;
    return true;
}

/* ---- results ---- */

/* NULL when the queue of a query is over; *verdict says when the connection is. */
static PGresult *next_result(struct pg_conn *c, uint64_t until_ms, enum pg_verdict *verdict)
{
    int unsent;
    while ((unsent = PQflush(c->conn)) > 0 || PQisBusy(c->conn)) {
        if (!wait_until(c->conn, unsent > 0 ? POLLIN | POLLOUT : POLLIN, c->clock, until_ms)) {
            *verdict = lost(c, "no answer in time");
            return NULL;
        }
        if (PQconsumeInput(c->conn) == 0) {
            *verdict = lost(c, PQerrorMessage(c->conn));
            return NULL;
        }
    }
    if (unsent < 0) {
        *verdict = lost(c, PQerrorMessage(c->conn));
        return NULL;
    }
    return PQgetResult(c->conn);
}

static void refused(struct pg_conn *c, const PGresult *r)
{
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    if (c->sqlstate[0] != '\0')
        return; /* the first one is the reason */
    snprintf(c->sqlstate, sizeof(c->sqlstate), "%s", state != NULL ? state : "XX000");
    say_why(c, PQresultErrorMessage(r));
}

static bool is_good(const PGresult *r)
{
    ExecStatusType status = PQresultStatus(r);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

/* All results of one query; the last good one is kept. */
static enum pg_verdict take_results(struct pg_conn *c, PGresult **kept, uint64_t until_ms)
{
    enum pg_verdict verdict = PG_FINE;
    for (PGresult *r; (r = next_result(c, until_ms, &verdict)) != NULL;) {
        if (is_good(r)) {
            if (kept != NULL) {
                PQclear(*kept);
                *kept = r;
                continue;
            }
        } else if (PQresultStatus(r) == PGRES_FATAL_ERROR) {
            refused(c, r);
            verdict = PG_REFUSED;
        } else {
            verdict = PG_REFUSED; /* skipped: a query before it was refused */
        }
        PQclear(r);
        if (PQstatus(c->conn) == CONNECTION_BAD)
            return lost(c, PQerrorMessage(c->conn));
    }
    return verdict;
}

static enum pg_verdict take_sync(struct pg_conn *c, uint64_t until_ms)
{
    enum pg_verdict verdict = PG_FINE;
    for (;;) {
        PGresult *r = next_result(c, until_ms, &verdict);
        if (verdict == PG_LOST)
            return PG_LOST;
        if (r == NULL && PQstatus(c->conn) != CONNECTION_OK)
            return lost(c, PQerrorMessage(c->conn));
        bool done = r != NULL && PQresultStatus(r) == PGRES_PIPELINE_SYNC;
        if (r != NULL && PQresultStatus(r) == PGRES_FATAL_ERROR) {
            refused(c, r);
            verdict = PG_REFUSED;
        }
        PQclear(r);
        if (done)
            return verdict;
    }
}

enum pg_verdict pg_plain(struct pg_conn *c, const char *sql, struct buf *out, uint64_t timeout_ms)
{
    PGresult *kept = NULL;
    uint64_t until_ms = clock_mono_ms(c->clock) + timeout_ms;
    bool piped = PQpipelineStatus(c->conn) != PQ_PIPELINE_OFF;
    c->sqlstate[0] = '\0';
    if ((piped && PQexitPipelineMode(c->conn) != 1) || PQsendQuery(c->conn, sql) != 1)
        return lost(c, PQerrorMessage(c->conn));
    enum pg_verdict verdict = take_results(c, &kept, until_ms);
    if (verdict == PG_FINE && out != NULL && PQntuples(kept) > 0)
        buf_str(out, pg_field(kept, 0, 0));
    PQclear(kept);
    if (verdict != PG_LOST && piped && PQenterPipelineMode(c->conn) != 1)
        return lost(c, PQerrorMessage(c->conn));
    return verdict;
}

/* ---- statements ---- */

static void statement_sql(struct buf *out, const struct statement *s, const char *prefix)
{
    struct str sql = str_of(s->sql);
    schema_sql(out, sql, prefix);
    if (str_ends(sql, STR("("))) { /* a call: its parameters are all there is to say */
        for (int i = 1; i <= s->params; i++)
            buf_fmt(out, i > 1 ? ", $%d" : "$%d", i);
        buf_char(out, ')');
    }
    buf_char(out, '\0');
}

/* Its name says what it was prepared for: whoever migrates these tables ends it. The result comes with the statements'. */
static bool send_name(struct pg_conn *c)
{
    char sql[96];
    snprintf(sql, sizeof sql, "SET application_name = 'sockudo %s'", c->options->table_prefix);
    return PQsendQueryParams(c->conn, sql, 0, NULL, NULL, NULL, NULL, 0) == 1;
}

bool pg_prepare(struct pg_conn *c)
{
    uint64_t until_ms = clock_mono_ms(c->clock) + PREPARE_MS;
    struct buf sql = {0};
    c->sqlstate[0] = '\0';
    bool named = send_name(c);
    for (int i = 0; i < PG_STATEMENTS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "s%d", i);
        buf_clear(&sql);
        statement_sql(&sql, &statements[i], c->options->table_prefix);
        if (PQsendPrepare(c->conn, name, sql.p, 0, NULL) != 1)
            break;
    }
    buf_free(&sql);
    if (PQpipelineSync(c->conn) != 1)
        return lost(c, PQerrorMessage(c->conn)) == PG_FINE;
    enum pg_verdict verdict = named ? take_results(c, NULL, until_ms) : PG_LOST;
    for (int i = 0; i < PG_STATEMENTS && verdict != PG_LOST; i++) {
        enum pg_verdict one = take_results(c, NULL, until_ms);
        verdict = one > verdict ? one : verdict;
    }
    if (verdict != PG_LOST && take_sync(c, until_ms) == PG_LOST)
        verdict = PG_LOST;
    return verdict == PG_FINE;
}

/* ---- a run ---- */

void pg_query(struct pg_conn *c, enum pg_statement statement)
{
    if (c->ran)
        pg_forget(c);
    assert(c->queries_count < PG_QUERIES_MAX);
    c->queries[c->queries_count++] = (struct pg_query){.statement = statement, .first = c->param_count};
}

static void add_param(struct pg_conn *c, size_t at, int n)
{
    assert(c->queries[c->queries_count - 1].count < PG_PARAMS_MAX);
    c->param[c->param_count++] = (struct pg_param){at, n};
    c->queries[c->queries_count - 1].count++;
}

void pg_i64(struct pg_conn *c, int64_t value)
{
    uint64_t big = htobe64((uint64_t)value);
    add_param(c, c->bytes.n, sizeof(big));
    buf_put(&c->bytes, &big, sizeof(big));
}

void pg_bool(struct pg_conn *c, bool value)
{
    add_param(c, c->bytes.n, 1);
    buf_char(&c->bytes, value);
}

void pg_bytes(struct pg_conn *c, struct str value)
{
    add_param(c, c->bytes.n, value.p != NULL ? (int)value.n : -1);
    buf_str(&c->bytes, value);
}

static void put_i32(struct buf *out, int32_t value)
{
    uint32_t big = htobe32((uint32_t)value);
    buf_put(out, &big, sizeof(big));
}

/* Binary arrays: dimensions 4, may have nulls 4, type 4, count 4, lower bound 4, then each element: its size 4 (-1 = null), bytes. */
void pg_array(struct pg_conn *c, int oid, size_t count, const struct buf *items)
{
    size_t at = c->bytes.n;
    put_i32(&c->bytes, count > 0);
    put_i32(&c->bytes, 1);
    put_i32(&c->bytes, oid);
    if (count > 0) {
        put_i32(&c->bytes, (int32_t)count);
        put_i32(&c->bytes, 1);
        buf_str(&c->bytes, buf_view(items));
    }
    add_param(c, at, (int)(c->bytes.n - at));
}

void pg_item_i64(struct buf *items, int64_t value)
{
    uint64_t big = htobe64((uint64_t)value);
    put_i32(items, sizeof(big));
    buf_put(items, &big, sizeof(big));
}

void pg_item_bool(struct buf *items, bool value)
{
    put_i32(items, 1);
    buf_char(items, value);
}

void pg_item_null(struct buf *items)
{
    put_i32(items, -1);
}

void pg_item_bytes(struct buf *items, struct str value)
{
    put_i32(items, value.p != NULL ? (int32_t)value.n : -1);
    buf_str(items, value);
}

static bool send_query(struct pg_conn *c, const struct pg_query *q)
{
    const char *values[PG_PARAMS_MAX];
    int sizes[PG_PARAMS_MAX], formats[PG_PARAMS_MAX];
    char name[16];
    for (size_t i = 0; i < q->count; i++) {
        const struct pg_param *p = &c->param[q->first + i];
        values[i] = p->n < 0 ? NULL : c->bytes.p + p->at;
        sizes[i] = p->n < 0 ? 0 : p->n;
        formats[i] = 1;
    }
    snprintf(name, sizeof(name), "s%d", q->statement);
    return PQsendQueryPrepared(c->conn, name, (int)q->count, values, sizes, formats, 1) == 1;
}

/* A refusal inside BEGIN leaves the session in a transaction that can only be rolled back. */
static enum pg_verdict roll_back(struct pg_conn *c, enum pg_verdict verdict, uint64_t until_ms)
{
    if (verdict == PG_LOST || PQtransactionStatus(c->conn) == PQTRANS_IDLE)
        return verdict;
    char before[sizeof(c->sqlstate)];
    memcpy(before, c->sqlstate, sizeof(before));
    if (PQsendQueryParams(c->conn, "ROLLBACK", 0, NULL, NULL, NULL, NULL, 1) != 1 || PQpipelineSync(c->conn) != 1)
        return lost(c, PQerrorMessage(c->conn));
    if (take_results(c, NULL, until_ms) == PG_LOST || take_sync(c, until_ms) == PG_LOST)
        return PG_LOST;
    memcpy(c->sqlstate, before, sizeof(before));
    return verdict;
}

enum pg_verdict pg_run(struct pg_conn *c, uint64_t timeout_ms)
{
    uint64_t until_ms = clock_mono_ms(c->clock) + timeout_ms;
    enum pg_verdict verdict = PG_FINE;
    c->sqlstate[0] = '\0';
    c->ran = true;
    for (size_t i = 0; i < c->queries_count; i++)
        if (!send_query(c, &c->queries[i]))
            return lost(c, PQerrorMessage(c->conn));
    if (PQpipelineSync(c->conn) != 1)
        return lost(c, PQerrorMessage(c->conn));
    for (size_t i = 0; i < c->queries_count && verdict != PG_LOST; i++) {
        enum pg_verdict one = take_results(c, &c->queries[i].result, until_ms);
        verdict = one > verdict ? one : verdict;
    }
    if (verdict != PG_LOST) {
        enum pg_verdict end = take_sync(c, until_ms);
        verdict = end > verdict ? end : verdict;
    }
    return roll_back(c, verdict, until_ms);
}

bool pg_is_state(const struct pg_conn *c, const char *prefix)
{
    return strncmp(c->sqlstate, prefix, strlen(prefix)) == 0;
}

/* ---- rows ---- */

struct str pg_field(const PGresult *r, int row, int column)
{
    if (PQgetisnull(r, row, column))
        return STR_NONE;
    return str_make(PQgetvalue(r, row, column), (size_t)PQgetlength(r, row, column));
}

int64_t pg_to_i64(struct str field)
{
    uint64_t big;
    if (field.n != sizeof(big))
        return 0;
    memcpy(&big, field.p, sizeof(big));
    return (int64_t)be64toh(big);
}

static int32_t take_i32(struct str *in)
{
    uint32_t big;
    memcpy(&big, in->p, sizeof(big));
    *in = str_from(*in, sizeof(big));
    return (int32_t)be32toh(big);
}

struct str *pg_elements(struct str field, struct arena *arena, size_t *count)
{
    enum { HEADER = 20 };
    *count = 0;
    if (field.n < HEADER)
        return NULL;
    struct str in = str_from(field, 12);
    *count = (size_t)take_i32(&in);
    take_i32(&in);
    struct str *items = arena_alloc(arena, (*count + 1) * sizeof(*items));
    for (size_t i = 0; i < *count; i++) {
        int32_t n = take_i32(&in);
        items[i] = n < 0 ? STR_NONE : str_first(in, (size_t)n);
        in = str_from(in, n < 0 ? 0 : (size_t)n);
    }
    return items;
}
