/* intake.h - the front door of a store: operations come from any thread, one thread takes them in batches.
 *
 *      intake_submit() --> queue --intake_take()--> the taker --> ... --> queue_send_home()
 *                            \--> full: STORE_BUSY, home at once
 *
 * Always: what a taker has set aside, or handed to `reads`, counts towards the limits until it is popped there; first in, first out;
 * the stats show what waits (queue and aside) whenever it changes.
 *
 * Threads    intake_submit(), intake_kick(), intake_stop(), queue_send_home(): any. intake_take(), intake_put_aside(): the taker.
 * Ownership  operations stay their submitters'; home, stats, lock and reads are the store's, borrowed. The lock is not the intake's
 *            own because the store guards more with it.
 * Limits     STORE_QUEUE_OPS, STORE_QUEUE_BYTES, both as store.h says: beyond, STORE_BUSY through done(). Nothing blocks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <pthread.h>

#include "store/internal.h"

struct intake {
    struct store_home *home;
    struct store_stats *stats;
    pthread_mutex_t *lock;      /* guards all that follows, and *reads */
    const struct queue *reads;
    pthread_cond_t wake;        /* CLOCK_MONOTONIC; the store may signal it, too */
    struct queue queue;
    size_t aside;               /* operations */
    bool idle;                  /* the taker waits */
    bool stopping;
};

#define WAIT_FOR_EVER UINT64_MAX

/* The lock may be used already, by this thread. */
void intake_init(struct intake *in, const struct store_options *options, struct store_stats *stats, pthread_mutex_t *lock,
                 const struct queue *reads);
/* Nothing may wait. The lock stays. */
void intake_free(struct intake *in);

void intake_submit(struct intake *in, struct store_op *op); /* store_submit() */
void intake_kick(struct intake *in);                        /* store_kick() */

/* Moves operations to the end of *into until it has ops_max or bytes_max; without any, waits for them at most wait_ms (0 = not at
 * all), or until somebody signals `wake`. False once intake_stop() was called and nothing is left. */
bool intake_take(struct intake *in, struct queue *into, uint32_t ops_max, uint64_t bytes_max, uint64_t wait_ms);
/* So many operations more, or less, wait at the taker's. */
void intake_put_aside(struct intake *in, ptrdiff_t more);
/* The taker is to come to an end once it has taken all. */
void intake_stop(struct intake *in);

/* ---- what a store's threads need besides ---- */

void cond_init(pthread_cond_t *cond); /* for wait_on() */
/* With the lock held; until a signal or for so long. */
void wait_on(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t ms);
/* Delivers what is in *done, and empties it. */
void queue_send_home(struct store_home *home, struct queue *done);
