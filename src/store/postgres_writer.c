/* postgres_writer.c - the thread that commits: batches, channels that wait aside, and a connection that comes and goes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "store/postgres_internal.h"
#include "store/postgres_schema.h"

enum { PAUSE_MIN_MS = 100, PAUSE_MAX_MS = 1000, IDLE_MS = 1000, STUCK_MAX = 1024, STUCK_RETRY_MS = 50, BATCH_OPS = 1000, TRIES = 5 };

struct stuck { /* a channel that somebody has locked */
    struct list link;
    struct str key;
    struct queue ops;
    uint64_t until_ms;
};

/* ---- connections ---- */

static void pause_conn(struct postgres *s, struct pg_conn *c)
{
    c->pause_ms = c->pause_ms == 0 ? PAUSE_MIN_MS : c->pause_ms * 2 < PAUSE_MAX_MS ? c->pause_ms * 2 : PAUSE_MAX_MS;
    c->retry_at_ms = now_ms(s) + c->pause_ms;
    c->met = atomic_load(&s->met);
}

/* Connected, of our version, prepared. Whoever pauses does so only until another connection has found the server: it is back. */
bool conn_ready(struct postgres *s, struct pg_conn *c)
{
    if (pg_is_alive(c))
        return true;
    if (now_ms(s) < c->retry_at_ms && c->met == atomic_load(&s->met))
        return false;
    struct buf error = {0};
    bool ok = pg_connect(c) && schema_check(c, &error) && pg_prepare(c) && clock_ask(c);
    if (ok) {
        c->pause_ms = 0;
        atomic_fetch_add(&s->met, 1);
    } else {
        struct str why = error.n > 0 ? buf_view(&error) : buf_view(&c->why);
        if (c->pause_ms == 0)
            log_error("store", "PostgreSQL at %s:%u cannot be used: %.*s", s->to.host, s->to.port, STR_ARG(why));
        pg_close(c);
        pause_conn(s, c);
    }
    buf_free(&error);
    return ok;
}

static bool writer_ready(struct postgres *s)
{
    bool ready = conn_ready(s, &s->conn);
    if (atomic_exchange(&s->healthy, ready) == ready)
        return ready;
    if (ready)
        log_info("store", "PostgreSQL: connected again; going on");
    else
        log_error("store", "PostgreSQL: no connection; writes fail until it is back");
    return ready;
}

/* The outcome of what was sent is not known, or the session is of no use. */
static void writer_lost(struct postgres *s, const char *what)
{
    if (atomic_exchange(&s->healthy, false))
        log_error("store", "PostgreSQL: %s, nothing of it was acknowledged: %.*s", what, STR_ARG(buf_view(&s->conn.why)));
    pg_close(&s->conn);
}

/* ---- channels aside ---- */

static bool is_key(const struct stuck *one, const struct store_op *op)
{
    return one->key.n == op->app_id.n + op->channel.n + 1 && memcmp(one->key.p, op->app_id.p, op->app_id.n) == 0 &&
           one->key.p[op->app_id.n] == '\0' && memcmp(one->key.p + op->app_id.n + 1, op->channel.p, op->channel.n) == 0;
}

static struct stuck *stuck_of(struct postgres *s, const struct store_op *op)
{
    list_each(at, &s->stuck)
    {
        struct stuck *one = list_of(at, struct stuck, link);
        if (is_key(one, op))
            return one;
    }
    return NULL;
}

static bool put_aside(struct postgres *s, struct store_op *op)
{
    struct stuck *one = stuck_of(s, op);
    if (one == NULL && s->stuck_count >= STUCK_MAX)
        return false;
    if (one == NULL) {
        struct buf key = {0};
        one = mem_new(struct stuck);
        buf_str(&key, op->app_id);
        buf_char(&key, '\0');
        buf_str(&key, op->channel);
        one->key = buf_view(&key); /* owned from here on */
        one->until_ms = now_ms(s) + s->to.write_timeout_ms;
        list_append(&s->stuck, &one->link);
        s->stuck_count++;
        s->stuck_at_ms = now_ms(s) + STUCK_RETRY_MS;
        log_debug("store", "PostgreSQL: a channel is locked by somebody else; its writes wait: %.*s", STR_ARG(op->channel));
    }
    queue_push(&one->ops, op);
    intake_put_aside(&s->intake, 1);
    return true;
}

static void stuck_free(struct postgres *s, struct stuck *one)
{
    list_remove(&one->link);
    s->stuck_count--;
    free((void *)one->key.p);
    free(one);
}

/* ---- batches ---- */

static void count_batch(struct postgres *s, const struct queue *done, uint64_t ns)
{
    struct store_stats *stats = &s->base.stats;
    uint64_t messages = 0, bytes = 0;
    for (const struct store_op *op = done->first; op != NULL; op = op->next) {
        if (op->kind == STORE_WRITE && op->result == STORE_OK) {
            messages += op->written.evicted_messages;
            bytes += op->written.evicted_bytes;
        }
    }
    atomic_fetch_add_explicit(&stats->evicted_messages, messages, memory_order_relaxed);
    atomic_fetch_add_explicit(&stats->evicted_bytes, bytes, memory_order_relaxed);
    stats_count_batch(stats, done, ns);
}

static void count_failures(struct postgres *s, const struct queue *failed)
{
    atomic_fetch_add_explicit(&s->base.stats.write_failures, failed->ops, memory_order_relaxed);
}

/* What was locked waits aside; the rest is home. */
static void share_out(struct postgres *s, struct queue *ops)
{
    struct queue done = {0};
    for (struct store_op *op; (op = queue_pop(ops)) != NULL;) {
        if (op->result == (enum store_result)BATCH_LOCKED) {
            if (put_aside(s, op))
                continue;
            op->result = STORE_FAILED;
        }
        queue_push(&done, op);
    }
    send_home(s, &done);
}

static void run_ops(struct postgres *s, struct queue *ops, enum batch_wait wait);

/* One of them is to blame: it must not take the others with it. */
static void run_halves(struct postgres *s, struct queue *ops, enum batch_wait wait)
{
    struct queue half = {0};
    for (size_t n = ops->ops / 2; n > 0; n--)
        queue_push(&half, queue_pop(ops));
    run_ops(s, &half, wait);
    run_ops(s, ops, wait);
}

static void run_refused(struct postgres *s, struct queue *ops, enum batch_wait wait)
{
    struct pg_conn *c = &s->conn;
    bool data = pg_is_state(c, "22") || pg_is_state(c, "23") || pg_is_state(c, "54") || pg_is_state(c, "55P03");
    if (pg_is_state(c, "55P03") && wait == BATCH_WAITS) {
        run_ops(s, ops, BATCH_PASSES_OVER);
        return;
    }
    if (data && ops->ops > 1) {
        run_halves(s, ops, wait);
        return;
    }
    log_error("store", "PostgreSQL refused a batch of %zu, nothing of it is stored: %s %.*s", ops->ops, c->sqlstate,
              STR_ARG(buf_view(&c->why)));
    count_failures(s, ops);
    queue_fail(ops);
    send_home(s, ops);
    if (!data && !pg_is_state(c, "57014")) /* not a slow statement: a standby, another schema, a server that goes down */
        writer_lost(s, "the session is of no use");
}

static void run_ops(struct postgres *s, struct queue *ops, enum batch_wait wait)
{
    uint64_t started = clock_mono_ns(s->options.clock);
    enum batch_result result = BATCH_FAILED;
    if (ops->first == NULL)
        return;
    if (!writer_ready(s)) {
        count_failures(s, ops);
        queue_fail(ops);
        send_home(s, ops);
        return;
    }
    for (int i = 0; i < TRIES; i++) {
        result = batch_run(&s->conn, ops, wait, &s->random, s->promises);
        if (result != BATCH_AGAIN || !(pg_is_state(&s->conn, "40P01") || pg_is_state(&s->conn, "40001")))
            break;
    }
    if (result == BATCH_DONE) {
        count_batch(s, ops, clock_mono_ns(s->options.clock) - started);
        share_out(s, ops);
    } else if (result == BATCH_AGAIN) {
        run_refused(s, ops, wait);
    } else {
        count_failures(s, ops);
        writer_lost(s, "the connection was lost in a commit");
        send_home(s, ops);
    }
}

static void run_admin(struct postgres *s, struct store_op *op)
{
    struct queue done = {0};
    uint32_t batch = s->options.purge_batch > 0 ? s->options.purge_batch : PURGE_BATCH;
    op->result = STORE_FAILED;
    if (writer_ready(s) && admin_run(&s->conn, op, &s->random, batch, &s->base.stats) == PG_LOST)
        writer_lost(s, "the connection was lost");
    queue_push(&done, op);
    send_home(s, &done);
}

/* Too late: it is known not to be stored. */
static void give_up(struct postgres *s, struct stuck *one)
{
    log_error("store", "PostgreSQL: a channel stays locked; %zu of its operations fail", one->ops.ops);
    intake_put_aside(&s->intake, -(ptrdiff_t)one->ops.ops);
    count_failures(s, &one->ops);
    queue_fail(&one->ops);
    send_home(s, &one->ops);
    stuck_free(s, one);
}

static void retry_stuck(struct postgres *s, bool stopping)
{
    struct list tried;
    if (list_empty(&s->stuck) || (!stopping && now_ms(s) < s->stuck_at_ms))
        return;
    list_init(&tried);
    list_splice(&tried, &s->stuck);
    s->stuck_count = 0;
    for (struct list *at; (at = list_take(&tried)) != NULL;) {
        struct stuck *one = list_of(at, struct stuck, link);
        struct queue ops = one->ops;
        s->stuck_count++; /* as if it were listed */
        if (stopping || now_ms(s) >= one->until_ms) {
            give_up(s, one);
            continue;
        }
        uint64_t until_ms = one->until_ms;
        intake_put_aside(&s->intake, -(ptrdiff_t)ops.ops);
        stuck_free(s, one);
        const struct store_op *first = ops.first;
        struct stuck *again;
        run_ops(s, &ops, BATCH_PASSES_OVER);
        list_each(link, &s->stuck) /* its time goes on, if it is back */
        {
            again = list_of(link, struct stuck, link);
            if (again->ops.first == first)
                again->until_ms = until_ms;
        }
    }
    s->stuck_at_ms = now_ms(s) + STUCK_RETRY_MS;
}

static void run_taken(struct postgres *s, struct queue *taken, struct queue *reads)
{
    struct queue batch = {0};
    for (struct store_op *op; (op = queue_pop(taken)) != NULL;) {
        struct stuck *stuck = op->kind == STORE_NOTE_PUT || is_read(op) || list_empty(&s->stuck) ? NULL : stuck_of(s, op);
        if (is_read(op)) {
            queue_push(reads, op);
        } else if (op->kind == STORE_RESET || op->kind == STORE_PURGE) {
            run_ops(s, &batch, BATCH_WAITS);
            run_admin(s, op);
        } else if (stuck != NULL) {
            put_aside(s, op);
        } else {
            queue_push(&batch, op);
        }
    }
    run_ops(s, &batch, BATCH_WAITS);
}

/* ---- the writer ---- */

static uint64_t pause_ms(const struct postgres *s)
{
    uint64_t now = now_ms(s);
    if (!list_empty(&s->stuck))
        return STUCK_RETRY_MS;
    if (s->conn.conn == NULL)
        return s->conn.retry_at_ms > now ? s->conn.retry_at_ms - now : 1;
    return IDLE_MS;
}

static bool take(struct postgres *s, struct queue *taken)
{
    uint64_t bytes_max = s->options.commit_max_bytes > 0 ? s->options.commit_max_bytes : 1 << 20;
    uint32_t ops_max = s->options.commit_max_ops > 0 && s->options.commit_max_ops < BATCH_OPS ? s->options.commit_max_ops : BATCH_OPS;
    return intake_take(&s->intake, taken, ops_max, bytes_max, pause_ms(s));
}

static void hand_over(struct postgres *s, struct queue *reads)
{
    if (reads->first == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    for (struct store_op *op; (op = queue_pop(reads)) != NULL;)
        queue_push(&s->reads, op);
    pthread_cond_broadcast(&s->wake_reader);
    pthread_mutex_unlock(&s->lock);
}

void *writer_runs(void *arg)
{
    struct postgres *s = arg;
    for (struct queue taken = {0}, reads = {0}; take(s, &taken);) {
        run_taken(s, &taken, &reads);
        hand_over(s, &reads);
        retry_stuck(s, false);
        writer_ready(s); /* also heals: a server that its health check took out of service gets no writes that would */
    }
    retry_stuck(s, true);
    pthread_mutex_lock(&s->lock);
    s->readers_stopping = true; /* not earlier: they have all reads now */
    pthread_cond_broadcast(&s->wake_reader);
    pthread_cond_broadcast(&s->wake_keeper);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}
