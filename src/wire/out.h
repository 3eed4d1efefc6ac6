/* out.h - writing into memory that is known to be large enough; nobody outside of this folder includes it.
 *
 * Each function writes at p and returns what is behind it. The bound is the caller's sum of the *_bound() of
 * all that it writes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/str.h"

enum { OUT_U64_MAX = 20 };

static inline char *out_str(char *p, struct str s)
{
    if (s.n)
        memcpy(p, s.p, s.n);
    return p + s.n;
}
#define out_lit(p, literal) ((char *)memcpy((p), (literal), sizeof(literal) - 1) + sizeof(literal) - 1)

static inline char *out_u64(char *p, uint64_t value)
{
    char digits[OUT_U64_MAX], *end = digits + sizeof digits, *first = end;
    do
        *--first = (char)('0' + value % 10);
    while (value /= 10);
    return out_str(p, str_make(first, (size_t)(end - first)));
}

static inline char *out_i64(char *p, int64_t value)
{
    if (value < 0)
        *p++ = '-';
    return out_u64(p, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

/* Whether text must be escaped to stand in a JSON string. */
bool out_needs_escape(struct str text);
/* Text between quotes, without them. */
char *out_text(char *p, struct str text);
/* Most that out_text() writes. */
static inline size_t out_text_bound(struct str text)
{
    return out_needs_escape(text) ? 6 * text.n : text.n;
}
