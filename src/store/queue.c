/* queue.c - operations that wait, with what they weigh.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/internal.h"

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
