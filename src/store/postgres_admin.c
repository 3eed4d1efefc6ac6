/* postgres_admin.c - reset, purge, and what is forgotten in the background.
 *
 * A purge of many rows is many transactions: each holds the channel for a short time, and a failure in the middle leaves a channel
 * that is purged in part, with its floor above what is gone.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdatomic.h>

#include "store/postgres_internal.h"

static enum pg_verdict run(struct pg_conn *c)
{
    enum pg_verdict verdict = pg_run(c, c->options->write_timeout_ms + 2000);
    if (verdict == PG_FINE && strcmp(PQcmdStatus(c->queries[c->queries_count - 1].result), "COMMIT") != 0)
        return PG_REFUSED;
    return verdict;
}

static void ask_head(struct pg_conn *c, const struct store_op *op)
{
    pg_query(c, PG_HEAD);
    pg_bytes(c, op->app_id);
    pg_bytes(c, op->channel);
    pg_query(c, PG_COMMIT);
}

static enum pg_verdict reset(struct pg_conn *c, struct store_op *op, struct random *random)
{
    char stream_id[STREAM_ID_SIZE + 1];
    random_uuid(random, stream_id);
    pg_query(c, PG_BEGIN);
    pg_query(c, PG_RESET);
    pg_bytes(c, op->app_id);
    pg_bytes(c, op->channel);
    pg_bytes(c, str_of(stream_id));
    pg_i64(c, stream8_of(str_of(stream_id)));
    ask_head(c, op);
    enum pg_verdict verdict = run(c);
    if (verdict != PG_FINE)
        return verdict;
    const PGresult *r = c->queries[1].result;
    struct str previous = pg_field(r, 0, 0);
    if (previous.n <= STREAM_ID_SIZE)
        memcpy(op->found.previous_stream_id, previous.p, previous.n);
    op->found.purged_messages = (uint64_t)pg_number(r, 0, 1);
    op->found.purged_bytes = (uint64_t)pg_number(r, 0, 2);
    head_from_row(c->queries[2].result, 0, &op->head);
    return PG_FINE;
}

static void pg_optional(struct pg_conn *c, bool given, int64_t value)
{
    if (given)
        pg_i64(c, value);
    else
        pg_bytes(c, STR_NONE);
}

/* One slice; *messages = what it dropped. */
static enum pg_verdict purge_slice(struct pg_conn *c, struct store_op *op, uint32_t batch, int64_t *up_to, uint64_t *messages)
{
    const struct store_read *q = &op->read;
    pg_query(c, PG_BEGIN);
    pg_query(c, PG_PURGE);
    pg_bytes(c, op->app_id);
    pg_bytes(c, op->channel);
    pg_optional(c, !q->purge_all && q->before_history > 0, (int64_t)q->before_history);
    pg_optional(c, !q->purge_all && q->before_history == 0, q->before_ms);
    pg_i64(c, *up_to);
    pg_i64(c, batch);
    ask_head(c, op);
    enum pg_verdict verdict = run(c);
    if (verdict != PG_FINE)
        return verdict;
    const PGresult *r = c->queries[1].result;
    *up_to = pg_number(r, 0, 0);
    *messages = (uint64_t)pg_number(r, 0, 1);
    op->found.purged_messages += *messages;
    op->found.purged_bytes += (uint64_t)pg_number(r, 0, 2);
    if (PQntuples(c->queries[2].result) > 0)
        head_from_row(c->queries[2].result, 0, &op->head);
    return PG_FINE;
}

static void count_evicted(struct store_stats *stats, uint64_t messages, uint64_t bytes)
{
    atomic_fetch_add_explicit(&stats->evicted_messages, messages, memory_order_relaxed);
    atomic_fetch_add_explicit(&stats->evicted_bytes, bytes, memory_order_relaxed);
}

enum pg_verdict admin_run(struct pg_conn *c, struct store_op *op, struct random *random, uint32_t batch, struct store_stats *stats)
{
    enum pg_verdict verdict;
    int64_t up_to = 0;
    uint64_t messages;
    op->head = (struct store_head){0};
    op->found = (struct store_found){0};
    if (op->kind == STORE_RESET) {
        verdict = reset(c, op, random);
    } else {
        do
            verdict = purge_slice(c, op, batch, &up_to, &messages);
        while (verdict == PG_FINE && messages == batch);
        count_evicted(stats, op->found.purged_messages, op->found.purged_bytes);
    }
    op->result = verdict == PG_FINE ? STORE_OK : STORE_FAILED;
    return verdict;
}

enum pg_verdict work_run(struct pg_conn *c, int64_t *after, uint32_t batch, uint64_t *dropped, struct store_stats *stats)
{
    enum { CHANNELS = 1000 };
    pg_query(c, PG_WORK);
    pg_i64(c, *after);
    pg_i64(c, CHANNELS);
    pg_i64(c, batch);
    pg_query(c, PG_SWEEP);
    pg_i64(c, batch);
    enum pg_verdict verdict = pg_run(c, c->options->write_timeout_ms + 2000);
    if (verdict != PG_FINE)
        return verdict;
    *after = pg_number(c->queries[0].result, 0, 0);
    uint64_t messages = (uint64_t)pg_number(c->queries[0].result, 0, 1);
    *dropped += messages;
    count_evicted(stats, messages, (uint64_t)pg_number(c->queries[0].result, 0, 2));
    struct str more = pg_field(c->queries[1].result, 0, 0);
    if (*after == 0 && more.n > 0 && more.p[0] != 0)
        *after = INT64_MAX; /* the sweep alone goes on */
    return PG_FINE;
}
