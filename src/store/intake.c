/* intake.c - see intake.h. An idle taker is woken by the submitter, or, where home has submitted(), by the kick that follows: then
 * what one turn of a loop submits becomes one batch.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/intake.h"

#include <stdatomic.h>
#include <time.h>

void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

void wait_on(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t ms)
{
    struct timespec until;
    if (ms == WAIT_FOR_EVER) {
        pthread_cond_wait(cond, lock);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    until.tv_sec += (time_t)(ms / 1000) + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(cond, lock, &until);
}

void queue_send_home(struct store_home *home, struct queue *done)
{
    if (done->first != NULL)
        home->deliver(home, done->first);
    *done = (struct queue){0};
}

void intake_init(struct intake *in, const struct store_options *options, struct store_stats *stats, pthread_mutex_t *lock,
                 const struct queue *reads)
{
    *in = (struct intake){.home = options->home, .stats = stats, .lock = lock, .reads = reads};
    cond_init(&in->wake);
}

void intake_free(struct intake *in)
{
    pthread_cond_destroy(&in->wake);
}

/* With the lock held, as in the next one. */
static void show(struct intake *in)
{
    atomic_store_explicit(&in->stats->queue_ops, in->queue.ops + in->aside, memory_order_relaxed);
    atomic_store_explicit(&in->stats->queue_bytes, in->queue.bytes, memory_order_relaxed);
}

static bool is_full(const struct intake *in)
{
    return in->queue.ops + in->reads->ops + in->aside >= STORE_QUEUE_OPS || in->queue.bytes + in->reads->bytes >= STORE_QUEUE_BYTES;
}

void intake_submit(struct intake *in, struct store_op *op)
{
    pthread_mutex_lock(in->lock);
    bool full = is_full(in);
    if (!full)
        queue_push(&in->queue, op);
    bool idle = in->idle;
    show(in);
    pthread_mutex_unlock(in->lock);
    if (full) {
        struct queue refused = {0};
        op->result = STORE_BUSY;
        queue_push(&refused, op);
        queue_send_home(in->home, &refused);
    } else if (idle && in->home->submitted != NULL) {
        in->home->submitted(in->home);
    } else if (idle) {
        pthread_cond_signal(&in->wake);
    }
}

void intake_kick(struct intake *in)
{
    pthread_mutex_lock(in->lock);
    bool wanted = in->idle && in->queue.first != NULL;
    pthread_mutex_unlock(in->lock);
    if (wanted)
        pthread_cond_signal(&in->wake);
}

bool intake_take(struct intake *in, struct queue *into, uint32_t ops_max, uint64_t bytes_max, uint64_t wait_ms)
{
    pthread_mutex_lock(in->lock);
    if (in->queue.first == NULL && !in->stopping && wait_ms > 0) {
        in->idle = true;
        wait_on(&in->wake, in->lock, wait_ms);
        in->idle = false;
    }
    while (in->queue.first != NULL && into->ops < ops_max && into->bytes < bytes_max)
        queue_push(into, queue_pop(&in->queue));
    show(in);
    bool go_on = into->first != NULL || !in->stopping;
    pthread_mutex_unlock(in->lock);
    return go_on;
}

void intake_put_aside(struct intake *in, ptrdiff_t more)
{
    pthread_mutex_lock(in->lock);
    in->aside += (size_t)more;
    show(in);
    pthread_mutex_unlock(in->lock);
}

void intake_stop(struct intake *in)
{
    pthread_mutex_lock(in->lock);
    in->stopping = true;
    pthread_cond_signal(&in->wake);
    pthread_mutex_unlock(in->lock);
}
