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
static inline bool queue_is_full(size_t ops, size_t bytes)
{
    return ops >= STORE_QUEUE_OPS || bytes >= STORE_QUEUE_BYTES;
}
