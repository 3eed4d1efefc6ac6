/* buf.h - bytes that grow.
 *
 * A zeroed buf is empty and valid. Out of memory aborts. The bytes move when it grows: keep offsets,
 * not pointers, across a put.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/str.h"

struct buf {
    char *p;
    size_t n;   /* bytes in use */
    size_t cap; /* bytes allocated */
};

void buf_free(struct buf *b);
/* Empty, memory kept. */
void buf_clear(struct buf *b);
/* Room for at least `more` further bytes; returns the first of them. */
char *buf_reserve(struct buf *b, size_t more);
void buf_put(struct buf *b, const void *p, size_t n);
void buf_str(struct buf *b, struct str s);
void buf_char(struct buf *b, char c);
void buf_u64(struct buf *b, uint64_t value);
void buf_i64(struct buf *b, int64_t value);
void buf_fmt(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define buf_lit(b, literal) buf_put((b), (literal), sizeof(literal) - 1)
/* `text` (UTF-8) as a JSON string with its quotes; escapes only what JSON demands. */
void buf_json(struct buf *b, struct str text);
/* Drops the first n bytes. */
void buf_consume(struct buf *b, size_t n);
static inline struct str buf_view(const struct buf *b)
{
    return (struct str){b->p ? b->p : "", b->n};
}
