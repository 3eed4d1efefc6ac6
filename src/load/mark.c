/* mark.c - writing and finding marks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/mark.h"

#include <assert.h>

enum { AT = 2, AT_DIGITS = 19, STREAM = 22, STREAM_DIGITS = 5, INDEX = 28, INDEX_DIGITS = 9 };

static void put_digits(char *to, unsigned digits, uint64_t value)
{
    while (digits-- > 0) {
        to[digits] = (char)('0' + value % 10);
        value /= 10;
    }
}

void mark_put(struct buf *out, const struct mark *mark, size_t size)
{
    assert(mark->stream < MARK_STREAMS_MAX);
    if (size < MARK_SIZE)
        size = MARK_SIZE;
    char *to = buf_reserve(out, size);
    memset(to, '.', size);
    memcpy(to, "~T", 2);
    put_digits(to + AT, AT_DIGITS, mark->at_ns);
    to[STREAM - 1] = 'S';
    put_digits(to + STREAM, STREAM_DIGITS, mark->stream);
    to[INDEX - 1] = 'N';
    put_digits(to + INDEX, INDEX_DIGITS, mark->index);
    to[MARK_SIZE - 1] = ';';
    out->n += size;
}

static bool take_digits(const char *from, unsigned digits, uint64_t *value)
{
    *value = 0;
    for (unsigned i = 0; i < digits; i++) {
        if (from[i] < '0' || from[i] > '9')
            return false;
        *value = *value * 10 + (uint64_t)(from[i] - '0');
    }
    return true;
}

static bool read_mark(const char *p, struct mark *mark)
{
    uint64_t stream = 0, index = 0;
    if (p[1] != 'T' || p[STREAM - 1] != 'S' || p[INDEX - 1] != 'N' || p[MARK_SIZE - 1] != ';')
        return false;
    if (!take_digits(p + AT, AT_DIGITS, &mark->at_ns) || !take_digits(p + STREAM, STREAM_DIGITS, &stream) ||
        !take_digits(p + INDEX, INDEX_DIGITS, &index))
        return false;
    mark->stream = (uint32_t)stream;
    mark->index = (uint32_t)index;
    return true;
}

bool mark_next(struct str *rest, struct mark *mark)
{
    while (rest->n >= MARK_SIZE) {
        const char *p = memchr(rest->p, '~', rest->n - MARK_SIZE + 1);
        if (!p)
            return false;
        size_t at = (size_t)(p - rest->p);
        bool found = read_mark(p, mark);
        *rest = str_from(*rest, at + (found ? MARK_SIZE : 1));
        if (found)
            return true;
    }
    return false;
}
