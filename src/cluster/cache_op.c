/* cache_op.c - an operation on the shared cache, made and freed; see cache.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/mem.h"
#include "cluster/cache.h"

static struct str put_text(struct cache_op *op, size_t *at, struct str text)
{
    if (text.p == NULL)
        return STR_NONE;
    memcpy(op->text + *at, text.p, text.n);
    *at += text.n;
    return str_make(op->text + *at - text.n, text.n);
}

struct cache_op *cache_op_new(enum cache_verb verb, struct str key, struct str value, struct str expected)
{
    struct cache_op *op = mem_zalloc(sizeof *op + key.n + value.n + expected.n);
    size_t at = 0;
    op->verb = verb;
    op->key = put_text(op, &at, key);
    op->value = put_text(op, &at, value);
    op->expected = put_text(op, &at, expected);
    return op;
}

void cache_op_free(struct cache_op *op)
{
    buf_free(&op->found);
    free(op);
}
