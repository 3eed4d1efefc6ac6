/* postgres_conn.h - one connection to PostgreSQL in pipeline mode, with deadlines.
 *
 *      pg_query(c, STATEMENT) pg_i64() ...   pg_query(c, ...) ...   pg_run()      one round trip, up to PG_QUERIES_MAX queries
 *
 * Queries of one run are one transaction: explicit if they begin with PG_BEGIN and end with PG_COMMIT, else the implicit one of
 * the pipeline. What fails leaves nothing behind.
 *
 * Threads: one at a time. The only header that knows libpq; its users see rows as bytes. Ownership: options and clock are borrowed,
 * parameters are copied; results are the connection's until the next run. Errors: enum pg_verdict, with sqlstate and `why`. Limits:
 * PG_QUERIES_MAX queries and PG_PARAMS_MAX parameters of each in a run (asserted); connecting takes 5 s at most, a run what it is given.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <libpq-fe.h>

#include "base/buf.h"
#include "store/store.h"

enum pg_statement {
    PG_BEGIN, PG_COMMIT, PG_WRITE, PG_NOTES_PUT, PG_NOTES_DELETE, PG_NOTES_SCAN, PG_HEAD, PG_HEADS, PG_LATEST, PG_PAGE, PG_VERSIONS,
    PG_REPLAY, PG_OPEN, PG_RESET, PG_PURGE, PG_WORK, PG_SWEEP, PG_MARK, PG_GAUGES, PG_NOW, PG_STATEMENTS
};
enum pg_session { PG_WRITES, PG_READS }; /* a reading session sees one snapshot per run */
enum pg_verdict {
    PG_FINE,
    PG_REFUSED, /* the server said no: nothing is stored; c->sqlstate says why */
    PG_LOST,    /* the connection is gone: whether it is stored is not known */
};
enum { PG_QUERIES_MAX = 6, PG_PARAMS_MAX = 48, PG_OID_BOOL = 16, PG_OID_BYTEA = 17, PG_OID_INT8 = 20, PG_OID_TEXT = 25 };

struct pg_param {
    size_t at;  /* in params */
    int n;      /* bytes; -1 = NULL */
};

struct pg_query {
    enum pg_statement statement;
    size_t first, count; /* of c->param */
    PGresult *result;
};

struct pg_conn {
    const struct store_postgres *options;
    const struct clock *clock;
    _Atomic int64_t *ahead_ms; /* postgres_clock.c; borrowed */
    enum pg_session session;
    PGconn *conn;            /* NULL = not connected */
    char sqlstate[6];        /* of the newest refusal; "" = none */
    struct buf why;          /* its text, or of the loss */
    uint64_t retry_at_ms, pause_ms;
    uint32_t met;            /* connections of the store's when this one failed */
    struct pg_query queries[PG_QUERIES_MAX];
    size_t queries_count;
    bool ran;                /* the queries were sent: the next one begins a new run */
    struct pg_param param[PG_QUERIES_MAX * PG_PARAMS_MAX];
    size_t param_count;
    struct buf bytes;        /* of the parameters */
};

void pg_init(struct pg_conn *c, enum pg_session session, const struct store_options *options);
/* Connects now. False with the reason in c->why. Statements are prepared by pg_prepare(), when there are tables. */
bool pg_connect(struct pg_conn *c);
bool pg_prepare(struct pg_conn *c);
/* A version and an encoding that will do; false with the reason. */
bool pg_is_supported(struct pg_conn *c, struct buf *error);
void pg_close(struct pg_conn *c);
void pg_free(struct pg_conn *c);
/* Whether the server has closed it meanwhile; then it is closed here too. */
bool pg_is_alive(struct pg_conn *c);

/* ---- a run: queries, each followed by its parameters in order ---- */

void pg_query(struct pg_conn *c, enum pg_statement statement);
void pg_i64(struct pg_conn *c, int64_t value);
void pg_bool(struct pg_conn *c, bool value);
void pg_bytes(struct pg_conn *c, struct str value); /* text or bytea; absent = NULL */
/* An array that was put together with pg_item_ calls into a buf of its own. */
void pg_array(struct pg_conn *c, int oid, size_t count, const struct buf *items);
void pg_item_i64(struct buf *items, int64_t value);
void pg_item_bool(struct buf *items, bool value);
void pg_item_bytes(struct buf *items, struct str value);
void pg_item_null(struct buf *items);
/* Nothing to run after all. */
void pg_forget(struct pg_conn *c);
/* Sends, waits at most timeout_ms, and collects; results live until the next pg_query() of a new run. */
enum pg_verdict pg_run(struct pg_conn *c, uint64_t timeout_ms);
/* Plain SQL without parameters, any number of commands; out (may be NULL): text of the first field of the last result's first row. */
enum pg_verdict pg_plain(struct pg_conn *c, const char *sql, struct buf *out, uint64_t timeout_ms);

/* Whether the newest refusal is of this state, or class: a prefix of its five characters. */
bool pg_is_state(const struct pg_conn *c, const char *prefix);

/* ---- rows ---- */

struct str pg_field(const PGresult *r, int row, int column); /* absent = NULL */
int64_t pg_to_i64(struct str field);                         /* absent = 0 */
static inline int64_t pg_number(const PGresult *r, int row, int column)
{
    return pg_to_i64(pg_field(r, row, column));
}
/* The elements of an array, in the arena; *count may be 0. */
struct str *pg_elements(struct str field, struct arena *arena, size_t *count);
