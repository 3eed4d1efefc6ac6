/* queue.c - operations that wait, with what they weigh.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/internal.h"

#include <stdatomic.h>

static size_t op_bytes(const struct store_op *op)
{
    size_t bytes = 256;
    if (op->kind == STORE_NOTE_PUT)
        for (size_t i = 0; i < op->notes.put_count; i++)
            bytes += op->notes.put[i].key.n + op->notes.put[i].value.n;
    if (op->kind != STORE_WRITE)
        return bytes;
    return bytes + op->write.data.n + op->write.extras.n + op->write.tags.n + op->write.metadata.n;
}

void queue_push(struct queue *q, struct store_op *op)
{
    op->next = NULL;
    if (q->last != NULL)
        q->last->next = op;
    else
        q->first = op;
    q->last = op;
    q->ops++;
    q->bytes += op_bytes(op);
}

struct store_op *queue_pop(struct queue *q)
{
    struct store_op *op = q->first;
    if (op == NULL)
        return NULL;
    q->first = op->next;
    if (q->first == NULL)
        q->last = NULL;
    q->ops--;
    q->bytes -= op_bytes(op);
    op->next = NULL;
    return op;
}

void queue_fail(struct queue *q)
{
    for (struct store_op *op = q->first; op != NULL; op = op->next)
        op->result = STORE_FAILED;
}

void stats_count_batch(struct store_stats *stats, const struct queue *done, uint64_t ns)
{
    uint64_t writes = 0;
    for (const struct store_op *op = done->first; op != NULL; op = op->next)
        writes += op->kind == STORE_WRITE;
    atomic_fetch_add_explicit(&stats->writes, writes, memory_order_relaxed);
    atomic_fetch_add_explicit(&stats->batches, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&stats->batch_ops, done->ops, memory_order_relaxed);
    if (stats->on_batch != NULL)
        stats->on_batch(stats->on_batch_user, (uint32_t)done->ops, done->bytes, ns);
}
