/* commit.c - group commit: whatever waits becomes one batch.
 *
 *      shards --submit--> queue --> commit thread: stage, stage, ... one write, one sync --> home, in order
 *                                        \-> plans of reads --> reader thread --> home
 *
 * While one batch is being synced the next one gathers, so batches form by themselves under load and an idle store answers at
 * once. A failed commit acknowledges nothing, and nothing is acknowledged again before the kv was opened anew.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/commit.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/engine.h"
#include "store/intake.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* What a read has found damaged: the commit thread marks it. */
struct suspect {
    struct str app_id, channel; /* owned */
    char stream_id[STREAM_ID_SIZE + 1];
};
enum { SUSPECTS_MAX = 64 }; /* beyond: found again by the next read */

struct embedded {
    struct store base;
    struct store_options options;
    struct kv *kv;
    struct engine *engine;
    _Atomic bool healthy;
    bool threads;
    pthread_t committer, reader;
    pthread_mutex_t lock;
    struct intake intake;      /* the commit thread takes */
    pthread_cond_t wake_reader;
    struct queue reads;        /* planned ones; guarded by lock */
    struct suspect suspects[SUSPECTS_MAX]; /* guarded by lock */
    size_t suspects_count;
    bool reader_stopping;      /* guarded by lock */
    bool unsynced;             /* interval policy: something waits for a sync */
    uint64_t work_dropped;     /* in this run of background retention */
    uint64_t next_work_ms, next_sync_ms, reopen_at_ms, reopen_pause_ms;
};

static struct embedded *embedded_of(struct store *store)
{
    return (struct embedded *)(void *)((char *)store - offsetof(struct embedded, base));
}

static void embedded_submit(struct store *store, struct store_op *op)
{
    intake_submit(&embedded_of(store)->intake, op);
}

static void embedded_kick(struct store *store)
{
    intake_kick(&embedded_of(store)->intake);
}

/* ---- a batch ---- */

static uint64_t now_ms(const struct embedded *s)
{
    return clock_mono_ms(s->options.clock);
}

static void becomes_unhealthy(struct embedded *s, struct str why)
{
    if (atomic_exchange(&s->healthy, false))
        log_error("store", "a commit failed, nothing of it was acknowledged: %.*s", STR_ARG(why));
    s->reopen_pause_ms = s->reopen_pause_ms ? s->reopen_pause_ms * 2 : 100;
    if (s->reopen_pause_ms > 5000)
        s->reopen_pause_ms = 5000;
    s->reopen_at_ms = now_ms(s) + s->reopen_pause_ms;
}

/* Open anew after a failure, but not at once and not too often. */
static bool is_usable(struct embedded *s)
{
    struct buf error = {0};
    if (atomic_load(&s->healthy))
        return true;
    if (now_ms(s) < s->reopen_at_ms)
        return false;
    if (s->kv->ops->reopen(s->kv, &error)) {
        engine_forget(s->engine);
        atomic_store(&s->healthy, true);
        log_info("store", "open again; going on");
    } else {
        becomes_unhealthy(s, buf_view(&error));
    }
    buf_free(&error);
    return atomic_load(&s->healthy);
}

static void commit(struct embedded *s, struct queue *staged)
{
    struct buf error = {0};
    uint64_t started = clock_mono_ns(s->options.clock);
    if (staged->first == NULL)
        return;
    bool ok = engine_commit(s->engine, s->options.sync_always, &error);
    if (ok) {
        s->reopen_pause_ms = 0;
        s->unsynced |= !s->options.sync_always;
        stats_count_batch(&s->base.stats, staged, clock_mono_ns(s->options.clock) - started);
    } else {
        atomic_fetch_add_explicit(&s->base.stats.write_failures, staged->ops, memory_order_relaxed);
        queue_fail(staged);
        becomes_unhealthy(s, buf_view(&error));
    }
    buf_free(&error);
    queue_send_home(s->options.home, staged);
}

static void suspect(struct embedded *s, const struct store_op *op)
{
    pthread_mutex_lock(&s->lock);
    if (s->suspects_count < SUSPECTS_MAX) {
        struct suspect *new = &s->suspects[s->suspects_count++];
        *new = (struct suspect){.app_id = str_make(str_dup(op->app_id), op->app_id.n),
                                .channel = str_make(str_dup(op->channel), op->channel.n)};
        memcpy(new->stream_id, op->head.stream_id, sizeof(new->stream_id));
    }
    if (s->threads)
        pthread_cond_signal(&s->intake.wake);
    pthread_mutex_unlock(&s->lock);
}

static void mark_suspects(struct embedded *s)
{
    struct suspect taken[SUSPECTS_MAX];
    struct buf error = {0};
    pthread_mutex_lock(&s->lock);
    size_t count = s->suspects_count;
    memcpy(taken, s->suspects, count * sizeof(taken[0]));
    s->suspects_count = 0;
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < count; i++) {
        engine_suspect(s->engine, taken[i].app_id, taken[i].channel, str_of(taken[i].stream_id));
        free((void *)taken[i].app_id.p);
        free((void *)taken[i].channel.p);
    }
    if (count > 0 && !engine_commit(s->engine, false, &error))
        becomes_unhealthy(s, buf_view(&error));
    buf_free(&error);
}

/* Takes the ops of one batch, in order; reads are set aside and planned once the batch is durable. */
static void run_batch(struct embedded *s, struct queue *taken, struct queue *reads)
{
    struct queue staged = {0};
    mark_suspects(s); /* before whatever came after the read that found them */
    for (struct store_op *op; (op = queue_pop(taken)) != NULL;) {
        if (is_read(op)) {
            queue_push(reads, op);
        } else if (!is_usable(s)) {
            op->result = STORE_FAILED;
            queue_push(&staged, op);
            queue_send_home(s->options.home, &staged);
        } else {
            if (engine_stage(s->engine, op) == COMMIT_FIRST) {
                commit(s, &staged);
                if (!is_usable(s) || engine_stage(s->engine, op) == COMMIT_FIRST)
                    op->result = STORE_FAILED;
            }
            queue_push(&staged, op);
        }
    }
    commit(s, &staged);
}

static bool take(struct embedded *s, struct queue *into, uint64_t wait_ms)
{
    uint32_t ops_max = s->options.commit_max_ops ? s->options.commit_max_ops : 4096;
    uint64_t bytes_max = s->options.commit_max_bytes ? s->options.commit_max_bytes : 1 << 20;
    return intake_take(&s->intake, into, ops_max, bytes_max, wait_ms);
}

struct snapshot {
    struct kv *kv;
    size_t reads; /* not done yet; the reader's */
};

struct planned { /* op->task is free until it goes home: it carries the way here */
    struct read_plan *plan;
    struct snapshot *snapshot; /* NULL: nothing is committed before it is read */
};

static void set_planned(struct store_op *op, struct planned planned)
{
    struct planned *p = arena_alloc(&op->arena, sizeof(*p));
    *p = planned;
    memcpy(&op->task, &p, sizeof(p));
}

static struct planned get_planned(const struct store_op *op)
{
    struct planned *p;
    memcpy(&p, &op->task, sizeof(p));
    return *p;
}
_Static_assert(sizeof(struct planned *) <= sizeof(struct task), "a pointer travels in the op's task");

static void plan_all(struct embedded *s, struct queue *reads, struct snapshot *snapshot)
{
    for (struct store_op *op = reads->first; op != NULL; op = op->next)
        set_planned(op, (struct planned){engine_plan(s->engine, op), snapshot});
}

static void read_all(struct embedded *s, struct queue *reads)
{
    for (struct store_op *op; (op = queue_pop(reads)) != NULL;) {
        struct planned p = get_planned(op);
        struct queue one = {0};
        if (engine_read(p.snapshot != NULL ? p.snapshot->kv : s->kv, p.plan, op) == READ_DAMAGED)
            suspect(s, op);
        queue_push(&one, op);
        queue_send_home(s->options.home, &one);
        if (p.snapshot != NULL && --p.snapshot->reads == 0) {
            p.snapshot->kv->ops->close(p.snapshot->kv);
            free(p.snapshot);
        }
    }
}

/* One slice; the next one follows at once, behind what waits, until the run is over. */
static void work(struct embedded *s, struct buf *error)
{
    uint32_t batch = s->options.purge_batch ? s->options.purge_batch : 1000;
    enum work_result result = engine_work(s->engine, clock_wall_ms(s->options.clock), batch, &s->work_dropped);
    if (!engine_commit(s->engine, false, error))
        becomes_unhealthy(s, buf_view(error));
    if (result == WORK_GOES_ON && (s->options.purge_tick_max == 0 || s->work_dropped < s->options.purge_tick_max))
        return;
    s->work_dropped = 0;
    s->next_work_ms = now_ms(s) + s->options.purge_interval_ms;
}

/* Also heals the store: a server that its health check took out of service gets no writes that would. */
static void background(struct embedded *s)
{
    struct buf error = {0};
    uint64_t now = now_ms(s);
    if (s->unsynced && now >= s->next_sync_ms) {
        s->unsynced = false;
        s->next_sync_ms = now + s->options.sync_interval_ms;
        if (!s->kv->ops->sync(s->kv, &error))
            becomes_unhealthy(s, buf_view(&error));
    }
    if (is_usable(s) && s->options.purge_interval_ms > 0 && now >= s->next_work_ms)
        work(s, &error);
    buf_free(&error);
}

static const struct store_ops embedded_ops;

/* ---- stepped ---- */

static struct embedded *embedded_new(struct kv *kv, const struct store_options *options)
{
    struct embedded *s = mem_new(struct embedded);
    s->base.ops = &embedded_ops;
    s->options = *options;
    s->kv = kv;
    s->engine = engine_new(kv, options, &s->base.stats);
    atomic_store(&s->healthy, true);
    pthread_mutex_init(&s->lock, NULL);
    intake_init(&s->intake, options, &s->base.stats, &s->lock, &s->reads);
    s->next_work_ms = now_ms(s) + options->purge_interval_ms;
    return s;
}

struct store *store_open_inline(struct kv *kv, const struct store_options *options)
{
    return &embedded_new(kv, options)->base;
}

void store_step(struct store *store)
{
    struct embedded *s = embedded_of(store);
    struct queue taken = {0}, reads = {0};
    take(s, &taken, 0);
    run_batch(s, &taken, &reads);
    plan_all(s, &reads, NULL);
    read_all(s, &reads);
    background(s);
}

/* ---- threads ---- */

static uint64_t wait_ms(const struct embedded *s)
{
    uint64_t now = now_ms(s), until = now + 1000;
    if (!s->unsynced && s->options.purge_interval_ms == 0 && atomic_load(&s->healthy))
        return WAIT_FOR_EVER;
    if (s->unsynced && s->next_sync_ms < until)
        until = s->next_sync_ms;
    if (s->options.purge_interval_ms > 0 && s->next_work_ms < until)
        until = s->next_work_ms;
    if (!atomic_load(&s->healthy) && s->reopen_at_ms < until)
        until = s->reopen_at_ms;
    return until > now ? until - now : 0;
}

static void hand_over(struct embedded *s, struct queue *reads)
{
    if (reads->first == NULL)
        return;
    if (s->kv->ops->snapshot == NULL) {
        plan_all(s, reads, NULL);
        read_all(s, reads);
        return;
    }
    struct snapshot *snapshot = mem_new(struct snapshot);
    *snapshot = (struct snapshot){s->kv->ops->snapshot(s->kv), reads->ops};
    plan_all(s, reads, snapshot);
    pthread_mutex_lock(&s->lock);
    for (struct store_op *op; (op = queue_pop(reads)) != NULL;)
        queue_push(&s->reads, op);
    pthread_cond_signal(&s->wake_reader);
    pthread_mutex_unlock(&s->lock);
}

static void *committer_runs(void *arg)
{
    struct embedded *s = arg;
    for (;;) {
        struct queue taken = {0}, reads = {0};
        if (!take(s, &taken, wait_ms(s)))
            break;
        run_batch(s, &taken, &reads);
        hand_over(s, &reads);
        background(s);
    }
    pthread_mutex_lock(&s->lock);
    s->reader_stopping = true; /* not earlier: it has all reads now */
    pthread_cond_signal(&s->wake_reader);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void *reader_runs(void *arg)
{
    struct embedded *s = arg;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        while (s->reads.first == NULL && !s->reader_stopping)
            pthread_cond_wait(&s->wake_reader, &s->lock);
        struct queue taken = s->reads;
        s->reads = (struct queue){0};
        bool stop = s->reader_stopping && taken.first == NULL;
        pthread_mutex_unlock(&s->lock);
        if (stop)
            return NULL;
        read_all(s, &taken);
    }
}

struct store *store_open_threads(struct kv *kv, const struct store_options *options)
{
    struct embedded *s = embedded_new(kv, options);
    cond_init(&s->wake_reader);
    s->threads = true;
    if (pthread_create(&s->committer, NULL, committer_runs, s) != 0 || pthread_create(&s->reader, NULL, reader_runs, s) != 0) {
        log_error("store", "cannot start the store's threads");
        abort();
    }
    pthread_setname_np(s->committer, "store-commit");
    pthread_setname_np(s->reader, "store-read");
    return &s->base;
}

static void stop_threads(struct embedded *s)
{
    intake_stop(&s->intake);
    pthread_join(s->committer, NULL);
    pthread_join(s->reader, NULL);
    pthread_cond_destroy(&s->wake_reader);
}

static void embedded_close(struct store *store)
{
    struct embedded *s = embedded_of(store);
    struct buf error = {0};
    if (s->threads)
        stop_threads(s);
    else
        store_step(store);
    if (s->unsynced && !s->kv->ops->sync(s->kv, &error))
        log_error("store", "the last sync failed: %.*s", STR_ARG(buf_view(&error)));
    /* A clean stop: whatever happens to the machine now, nothing is in doubt. */
    kv_del(s->kv, STR("B"));
    if (!kv_commit(s->kv, true, &error))
        log_error("store", "the last commit failed: %.*s", STR_ARG(buf_view(&error)));
    engine_free(s->engine);
    s->kv->ops->close(s->kv);
    buf_free(&error);
    intake_free(&s->intake);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static bool embedded_is_healthy(struct store *store)
{
    return atomic_load(&embedded_of(store)->healthy);
}

static int64_t embedded_now_ms(struct store *store)
{
    return clock_wall_ms(embedded_of(store)->options.clock);
}

static const struct store_ops embedded_ops = {embedded_submit, embedded_kick, embedded_is_healthy, embedded_now_ms, embedded_close};
