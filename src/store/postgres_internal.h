/* postgres_internal.h - what the files of the PostgreSQL store share.
 *
 *      postgres.c         life                               postgres_batch.c   operations -> arrays -> one call -> answers
 *      postgres_writer.c  batches, and what fails            postgres_reads.c   one read
 *      postgres_keeper.c  threads that read, retention       postgres_admin.c   reset, purge, a slice of retention
 *      postgres_conn.c    libpq                              postgres_schema.c  tables and their versions
 *      postgres_clock.c   what time it is there
 *      postgres_options.c what the configuration says        postgres_examine.c for the doctor
 *
 * Threads: one writer (queue, batches, stuck channels), one keeper, up to READERS_MAX readers; what they share is guarded by the store's
 * lock, and said so at the field. Limits: postgres.c and intake.h. Ownership: operations are their submitters' throughout.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/map.h"
#include "base/random.h"
#include "store/intake.h"
#include "store/postgres_conn.h"

/* ---- postgres_promises.c ---- */

struct promise {
    struct str key; /* app id, 0, channel; owned */
    struct list lru;
    uint32_t stream8;
    uint64_t delivery;
};
struct promises;
struct promises *promises_new(void);
void promises_free(struct promises *p);
const struct promise *promises_find(const struct promises *p, struct str key);
void promises_keep(struct promises *p, struct str key, const struct store_head *head);

/* ---- postgres_clock.c ---- */

/* The store's clock said stores_ms in answer to what was asked at asked_ms, monotonic. *ahead_ms: of ours, which is monotonic. */
void clock_hears(_Atomic int64_t *ahead_ms, const struct clock *own, int64_t stores_ms, uint64_t asked_ms);
/* Into *c->ahead_ms. */
bool clock_ask(struct pg_conn *c);

/* ---- postgres_batch.c ---- */

enum batch_result {
    BATCH_DONE,   /* every operation has its result */
    BATCH_AGAIN,  /* nothing is stored: c->sqlstate says why */
    BATCH_FAILED, /* connection lost: what is stored is not known; every operation has STORE_FAILED */
};
enum batch_wait { BATCH_WAITS, BATCH_PASSES_OVER };
/* A batch of WRITE, HEAD and NOTE_PUT, in one transaction and one round trip. BATCH_PASSES_OVER: operations of a channel that
 * somebody has locked come back with BATCH_LOCKED in op->result. Ops keep their order and stay in the queue. */
enum { BATCH_LOCKED = 100 };
enum batch_result batch_run(struct pg_conn *c, struct queue *ops, enum batch_wait wait, struct random *random,
                            struct promises *promises);

/* ---- postgres_texts.c: texts of a create or a version that nobody searches for, in one bytea ---- */

struct texts {
    struct str message_id, client_id, user_id, description, metadata, tags;
};
void texts_put(struct buf *out, const struct texts *t);
/* Views into value; absent = all absent. False if it is damaged. */
bool texts_read(struct str value, struct texts *t);
/* "…" -> the escaped body. */
static inline bool is_json_string(struct str json)
{
    return json.n >= 2 && json.p[0] == '"';
}
static inline struct str string_body(struct str json)
{
    return str_make(json.p + 1, json.n - 2);
}
/* JSON text of stored data. */
struct str stored_json(struct str body, bool is_string, struct arena *arena);
uint32_t stream8_of(struct str stream_id);

/* ---- postgres_reads.c ---- */

void head_from_row(const PGresult *r, int row, struct store_head *head);
void health_says(int64_t state, struct store_head *head);
/* Sets op->result and outputs. True if the channel's rows contradict one another: it is to be marked. */
bool read_run(struct pg_conn *c, struct store_op *op);

/* ---- postgres_admin.c ---- */

/* RESET and PURGE, each in transactions of its own. */
enum pg_verdict admin_run(struct pg_conn *c, struct store_op *op, struct random *random, uint32_t batch, struct store_stats *stats);
/* A slice of background work; *after is where it goes on, 0 = all was looked at. */
enum pg_verdict work_run(struct pg_conn *c, int64_t *after, uint32_t batch, uint64_t *dropped, struct store_stats *stats);

/* ---- the whole ---- */

enum { MARKS_MAX = 64, READERS_MAX = 4, PURGE_BATCH = 1000 };

/* Of connections_max one writes and one keeps house. */
static inline size_t readers_of(uint32_t connections_max)
{
    return connections_max > READERS_MAX + 2 ? READERS_MAX : connections_max > 3 ? connections_max - 2 : 1;
}

struct mark { /* a channel whose rows contradict one another */
    struct str app_id, channel, stream_id; /* owned */
};

struct reader {
    struct postgres *store;
    struct pg_conn conn;
    pthread_t thread;
};

struct postgres {
    struct store base;
    struct store_options options;
    struct store_postgres to; /* strings owned */
    _Atomic bool healthy;
    _Atomic int64_t ahead_ms;  /* postgres_clock.c */
    _Atomic uint32_t met;      /* connections that were made so far */
    pthread_mutex_t lock;
    struct intake intake;      /* the writer takes */
    pthread_cond_t wake_reader, wake_keeper;
    struct queue reads;        /* guarded by lock, as are the next three */
    struct mark marks[MARKS_MAX];
    size_t marks_count;
    bool readers_stopping;
    /* the writer's */
    pthread_t writer, keeper;
    struct pg_conn conn, keeping;
    struct random random;
    struct promises *promises;
    struct list stuck;
    size_t stuck_count;
    uint64_t stuck_at_ms;
    struct reader readers[READERS_MAX];
    size_t readers_count;
};

static inline uint64_t now_ms(const struct postgres *s)
{
    return clock_mono_ms(s->options.clock);
}
static inline void send_home(struct postgres *s, struct queue *done)
{
    queue_send_home(s->options.home, done);
}
/* postgres_writer.c: connected, of our version, prepared; any connection, on its thread. */
bool conn_ready(struct postgres *s, struct pg_conn *c);
void *writer_runs(void *store);
/* postgres_keeper.c */
void *reader_runs(void *reader);
void *keeper_runs(void *store);
