/* postgres.c - the PostgreSQL store: threads, queues, and what happens when the database is slow or gone (chapter 3, 8.2 and 8.4).
 *
 *      shards --submit--> queue --> writer: a batch, one call, one commit --> home, in order
 *                            \                \--> a channel that somebody has locked: its operations wait aside, in order
 *                             \--> readers (after the commit of what came before), each with its connection --> home
 *      keeper: retention, expired receipts, marks of damaged channels
 *
 * While one batch is being committed the next one gathers. Nothing is acknowledged that was not committed; when the connection is
 * lost, what was on its way has an unknown outcome and fails, and so does everything until it is back: the publisher's retry finds
 * the receipt, or nothing. Connecting again is tried at once, then with pauses that double up to PAUSE_MAX_MS
 * and end as soon as any of the connections is made.
 *
 * Limits: STORE_QUEUE_OPS, STORE_QUEUE_BYTES, STUCK_MAX channels aside (of more, the operations fail), PROMISES_MAX.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "store/postgres_internal.h"
#include "store/postgres_schema.h"

static struct postgres *postgres_of(struct store *store)
{
    return (struct postgres *)(void *)((char *)store - offsetof(struct postgres, base));
}

static void postgres_submit(struct store *store, struct store_op *op)
{
    intake_submit(&postgres_of(store)->intake, op);
}

static void postgres_kick(struct store *store)
{
    intake_kick(&postgres_of(store)->intake);
}

/* ---- life ---- */

static void own_options(struct postgres *s, const struct store_options *options)
{
    const struct store_postgres *from = options->postgres;
    s->options = *options;
    s->to = *from;
    s->to.host = str_dup(str_of(from->host));
    s->to.username = str_dup(str_of(from->username));
    s->to.password = str_dup(str_of(from->password));
    s->to.database = str_dup(str_of(from->database));
    s->to.table_prefix = str_dup(str_of(from->table_prefix));
    s->to.write_timeout_ms = from->write_timeout_ms > 0 ? from->write_timeout_ms : 5000;
    s->to.lock_timeout_ms = from->lock_timeout_ms > 0 ? from->lock_timeout_ms : 500;
    s->options.postgres = &s->to;
}

static void postgres_free(struct postgres *s)
{
    pg_free(&s->conn);
    promises_free(s->promises);
    free((void *)s->to.host);
    free((void *)s->to.username);
    free((void *)s->to.password);
    free((void *)s->to.database);
    free((void *)s->to.table_prefix);
    intake_free(&s->intake);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake_reader);
    pthread_cond_destroy(&s->wake_keeper);
    free(s);
}

static bool first_connection(struct postgres *s, struct buf *error)
{
    if (!schema_prefix_is_fine(str_of(s->to.table_prefix))) {
        buf_fmt(error, "history.postgres.table_prefix must be lower case letters, digits and _, not beginning with a digit, at most %d: %s",
                TABLE_PREFIX_MAX, s->to.table_prefix);
        return false;
    }
    if (!pg_connect(&s->conn)) {
        buf_fmt(error, "cannot connect to PostgreSQL at %s:%u (database.postgres.*): %.*s", s->to.host, s->to.port,
                STR_ARG(buf_view(&s->conn.why)));
        return false;
    }
    struct schema schema = schema_of_build();
    if (!pg_is_supported(&s->conn, error) || !schema_migrate(&s->conn, &schema, error))
        return false;
    if (pg_prepare(&s->conn) && clock_ask(&s->conn))
        return true;
    buf_fmt(error, "PostgreSQL: %.*s", STR_ARG(buf_view(&s->conn.why)));
    return false;
}

static void start(pthread_t *thread, void *(*runs)(void *), void *arg, const char *name)
{
    if (pthread_create(thread, NULL, runs, arg) != 0) {
        log_error("store", "cannot start the store's threads");
        abort();
    }
    pthread_setname_np(*thread, name);
}

static const struct store_ops postgres_ops;

struct store *store_open_postgres(const struct store_options *options, struct buf *error)
{
    struct postgres *s = mem_new(struct postgres);
    s->base.ops = &postgres_ops;
    own_options(s, options);
    pg_init(&s->conn, PG_WRITES, &s->options);
    pg_init(&s->keeping, PG_WRITES, &s->options);
    s->conn.ahead_ms = s->keeping.ahead_ms = &s->ahead_ms;
    random_from_kernel(&s->random);
    s->promises = promises_new();
    list_init(&s->stuck);
    pthread_mutex_init(&s->lock, NULL);
    intake_init(&s->intake, options, &s->base.stats, &s->lock, &s->reads);
    cond_init(&s->wake_reader);
    cond_init(&s->wake_keeper);
    if (!first_connection(s, error)) {
        postgres_free(s);
        return NULL;
    }
    atomic_store(&s->healthy, true);
    s->readers_count = readers_of(s->to.connections_max);
    start(&s->writer, writer_runs, s, "store-commit");
    start(&s->keeper, keeper_runs, s, "store-keep");
    for (size_t i = 0; i < s->readers_count; i++) {
        s->readers[i].store = s;
        pg_init(&s->readers[i].conn, PG_READS, &s->options);
        s->readers[i].conn.ahead_ms = &s->ahead_ms;
        start(&s->readers[i].thread, reader_runs, &s->readers[i], "store-read");
    }
    return &s->base;
}

static void postgres_close(struct store *store)
{
    struct postgres *s = postgres_of(store);
    intake_stop(&s->intake);
    pthread_join(s->writer, NULL);
    for (size_t i = 0; i < s->readers_count; i++)
        pthread_join(s->readers[i].thread, NULL);
    pthread_join(s->keeper, NULL);
    postgres_free(s);
}

static bool postgres_is_healthy(struct store *store)
{
    return atomic_load(&postgres_of(store)->healthy);
}

static int64_t postgres_now_ms(struct store *store)
{
    struct postgres *s = postgres_of(store);
    return (int64_t)now_ms(s) + atomic_load_explicit(&s->ahead_ms, memory_order_relaxed);
}

static const struct store_ops postgres_ops = {postgres_submit, postgres_kick, postgres_is_healthy, postgres_now_ms, postgres_close};
