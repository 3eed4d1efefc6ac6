/* buf.c - growth by doubling, and printing without printf where it is per token.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

enum { FIRST_CAP = 64, U64_DIGITS_MAX = 20 };

void buf_free(struct buf *b)
{
    free(b->p);
    *b = (struct buf){0};
}

void buf_clear(struct buf *b)
{
    b->n = 0;
}

static void grow(struct buf *b, size_t more)
{
    size_t need, cap = b->cap ? b->cap : FIRST_CAP;
    if (__builtin_add_overflow(b->n, more, &need))
        need = SIZE_MAX; /* refused below, with a message */
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    b->p = mem_realloc(b->p, cap);
    b->cap = cap;
}

char *buf_reserve(struct buf *b, size_t more)
{
    if (b->cap - b->n < more || !b->p)
        grow(b, more);
    return b->p + b->n;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return;
    memcpy(buf_reserve(b, n), p, n);
    b->n += n;
}

void buf_str(struct buf *b, struct str s)
{
    buf_put(b, s.p, s.n);
}

void buf_char(struct buf *b, char c)
{
    *buf_reserve(b, 1) = c;
    b->n++;
}

void buf_u64(struct buf *b, uint64_t value)
{
    char digits[U64_DIGITS_MAX], *end = digits + sizeof digits, *p = end;
    do
        *--p = (char)('0' + value % 10);
    while (value /= 10);
    buf_put(b, p, (size_t)(end - p));
}

void buf_i64(struct buf *b, int64_t value)
{
    if (value < 0)
        buf_char(b, '-');
    buf_u64(b, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void buf_fmt(struct buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n > 0) {
        vsnprintf(buf_reserve(b, (size_t)n + 1), (size_t)n + 1, format, again);
        b->n += (size_t)n;
    }
    va_end(again);
}

static void put_escaped(struct buf *b, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[32] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    char letter = c < 32 ? letters[c] : (char)c;
    if (letter)
        buf_put(b, (char[]){'\\', letter}, 2);
    else
        buf_put(b, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
}

void buf_json(struct buf *b, struct str text)
{
    size_t done = 0;
    buf_reserve(b, text.n + 2);
    buf_char(b, '"');
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c >= 32 && c != '"' && c != '\\')
            continue;
        buf_put(b, text.p + done, i - done);
        put_escaped(b, c);
        done = i + 1;
    }
    buf_put(b, text.p ? text.p + done : "", text.n - done);
    buf_char(b, '"');
}

void buf_consume(struct buf *b, size_t n)
{
    if (n >= b->n) {
        b->n = 0;
        return;
    }
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
}
