/* postgres_keeper.c - threads beside the writer: those that read, and the one that forgets.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/log.h"
#include "store/postgres_internal.h"

enum { FIRST_GAUGES_MS = 1000, GAUGES_MS = 30000 };

/* ---- readers ---- */

static void suspect(struct postgres *s, const struct store_op *op)
{
    pthread_mutex_lock(&s->lock);
    if (s->marks_count < MARKS_MAX) /* beyond: found again by the next read */
        s->marks[s->marks_count++] = (struct mark){str_make(str_dup(op->app_id), op->app_id.n), str_make(str_dup(op->channel), op->channel.n),
                                                   str_of(str_dup(str_of(op->head.stream_id)))};
    pthread_cond_signal(&s->wake_keeper);
    pthread_mutex_unlock(&s->lock);
}

static void read_one(struct postgres *s, struct pg_conn *c, struct store_op *op)
{
    struct queue done = {0};
    if (!conn_ready(s, c)) {
        op->result = STORE_FAILED;
    } else if (read_run(c, op)) {
        log_error("store", "PostgreSQL: the rows of channel %.*s contradict one another", STR_ARG(op->channel));
        suspect(s, op);
    } else if (op->result == STORE_FAILED) {
        log_error("store", "PostgreSQL: a read failed: %s %.*s", c->sqlstate, STR_ARG(buf_view(&c->why)));
        if (!pg_is_state(c, "57014"))
            pg_close(c); /* another schema, a server that goes down: begin anew */
    }
    queue_push(&done, op);
    send_home(s, &done);
}

void *reader_runs(void *arg)
{
    struct reader *r = arg;
    struct postgres *s = r->store;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        while (s->reads.first == NULL && !s->readers_stopping)
            pthread_cond_wait(&s->wake_reader, &s->lock);
        struct store_op *op = queue_pop(&s->reads);
        pthread_mutex_unlock(&s->lock);
        if (op == NULL)
            break;
        read_one(s, &r->conn, op);
    }
    pg_free(&r->conn);
    return NULL;
}

/* ---- the keeper ---- */

static bool take_mark(struct postgres *s, struct mark *mark)
{
    pthread_mutex_lock(&s->lock);
    bool some = s->marks_count > 0;
    if (some)
        *mark = s->marks[--s->marks_count];
    pthread_mutex_unlock(&s->lock);
    return some;
}

static void write_marks(struct postgres *s)
{
    struct mark mark;
    while (take_mark(s, &mark)) {
        if (conn_ready(s, &s->keeping)) {
            pg_query(&s->keeping, PG_MARK);
            pg_bytes(&s->keeping, mark.app_id);
            pg_bytes(&s->keeping, mark.channel);
            pg_i64(&s->keeping, 2);
            pg_bytes(&s->keeping, mark.stream_id);
            pg_run(&s->keeping, s->to.write_timeout_ms);
        }
        free((void *)mark.app_id.p);
        free((void *)mark.channel.p);
        free((void *)mark.stream_id.p);
    }
}

static bool keeper_stops(struct postgres *s, uint64_t wait_ms)
{
    pthread_mutex_lock(&s->lock);
    if (!s->readers_stopping && wait_ms > 0 && s->marks_count == 0)
        wait_on(&s->wake_keeper, &s->lock, wait_ms);
    bool stop = s->readers_stopping;
    pthread_mutex_unlock(&s->lock);
    return stop;
}

/* One run of background retention: slice by slice, until all channels were looked at or enough was dropped. */
static void keep(struct postgres *s)
{
    uint32_t batch = s->options.purge_batch > 0 ? s->options.purge_batch : PURGE_BATCH;
    uint64_t dropped = 0;
    int64_t after = 0;
    do {
        if (!conn_ready(s, &s->keeping))
            return;
        if (work_run(&s->keeping, &after, batch, &dropped, &s->base.stats) != PG_FINE) {
            log_warn("store", "PostgreSQL: background retention goes on later: %.*s", STR_ARG(buf_view(&s->keeping.why)));
            pg_close(&s->keeping);
            return;
        }
    } while (after != 0 && (s->options.purge_tick_max == 0 || dropped < s->options.purge_tick_max) && !keeper_stops(s, 0));
}

/* What all nodes have stored: it changes slowly, and asking walks all channels. */
static void show_gauges(struct postgres *s)
{
    struct store_stats *stats = &s->base.stats;
    if (!conn_ready(s, &s->keeping))
        return;
    if (!clock_ask(&s->keeping))
        return;
    pg_query(&s->keeping, PG_GAUGES);
    if (pg_run(&s->keeping, s->to.write_timeout_ms) != PG_FINE)
        return;
    const PGresult *r = s->keeping.queries[0].result;
    atomic_store_explicit(&stats->retained_messages, (uint64_t)pg_number(r, 0, 0), memory_order_relaxed);
    atomic_store_explicit(&stats->retained_bytes, (uint64_t)pg_number(r, 0, 1), memory_order_relaxed);
    atomic_store_explicit(&stats->degraded_channels, (uint64_t)pg_number(r, 0, 2), memory_order_relaxed);
    atomic_store_explicit(&stats->reset_required_channels, (uint64_t)pg_number(r, 0, 3), memory_order_relaxed);
}

void *keeper_runs(void *arg)
{
    struct postgres *s = arg;
    uint64_t interval = s->options.purge_interval_ms, next_ms = now_ms(s) + interval, gauges_ms = now_ms(s) + FIRST_GAUGES_MS;
    for (;;) {
        uint64_t now = now_ms(s), until = interval > 0 && next_ms < gauges_ms ? next_ms : gauges_ms;
        if (keeper_stops(s, until > now ? until - now : 0))
            break;
        write_marks(s);
        if (now_ms(s) >= gauges_ms) {
            show_gauges(s);
            gauges_ms = now_ms(s) + GAUGES_MS;
        }
        if (interval > 0 && now_ms(s) >= next_ms) {
            keep(s);
            next_ms = now_ms(s) + interval;
        }
    }
    write_marks(s);
    pg_free(&s->keeping);
    return NULL;
}
