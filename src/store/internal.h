/* internal.h - what a store is made of: its table of functions, and the queue in which operations wait.
 *
 * An implementation begins with a struct store as its first part and fills in the table; store.c only passes calls on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "store/store.h"

struct store_ops { /* each as the function of that name in store.h says */
    void (*submit)(struct store *store, struct store_op *op);
    void (*kick)(struct store *store);
    bool (*is_healthy)(struct store *store);
    int64_t (*now_ms)(struct store *store);
    void (*close)(struct store *store);
};

struct store {
    const struct store_ops *ops;
    struct store_stats stats;
};

struct queue { /* first in, first out; linked through op->next; zeroed = empty. Its owner guards it */
    struct store_op *first, *last;
    size_t ops, bytes;
};
void queue_push(struct queue *q, struct store_op *op);
/* NULL if empty. */
struct store_op *queue_pop(struct queue *q);
void queue_fail(struct queue *q); /* each operation's result becomes STORE_FAILED */

/* Answered from what is committed. HEAD is not among them: it has its place among the writes. */
static inline bool is_read(const struct store_op *op)
{
    return op->kind != STORE_WRITE && op->kind != STORE_HEAD && op->kind != STORE_RESET && op->kind != STORE_PURGE &&
           op->kind != STORE_NOTE_PUT;
}
/* A batch that was committed, in so much time. */
void stats_count_batch(struct store_stats *stats, const struct queue *done, uint64_t ns);
