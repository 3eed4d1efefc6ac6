/* pack.c - see pack.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/pack.h"

enum { VARINT_MAX = 10 };

void pack_u64(struct buf *out, uint64_t value)
{
    char *p = buf_reserve(out, VARINT_MAX);
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        p[n++] = (char)(value | 0x80);
    p[n++] = (char)value;
    out->n += n;
}

void pack_i64(struct buf *out, int64_t value)
{
    pack_u64(out, ((uint64_t)value << 1) ^ (uint64_t)(value >> 63));
}

void pack_text(struct buf *out, struct str text)
{
    pack_u64(out, text.p ? text.n + 1 : 0);
    if (text.n > 0)
        buf_put(out, text.p, text.n);
}

bool unpack_u64(struct str *in, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && in->n > 0; shift += 7) {
        unsigned char c = (unsigned char)*in->p++;
        in->n--;
        *value |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80)
            return true;
    }
    return false;
}

bool unpack_u32(struct str *in, uint32_t *value)
{
    uint64_t wide;
    if (!unpack_u64(in, &wide) || wide > UINT32_MAX)
        return false;
    *value = (uint32_t)wide;
    return true;
}

bool unpack_i64(struct str *in, int64_t *value)
{
    uint64_t zigzag;
    if (!unpack_u64(in, &zigzag))
        return false;
    *value = (int64_t)(zigzag >> 1) ^ -(int64_t)(zigzag & 1);
    return true;
}

bool unpack_text(struct str *in, struct str *text)
{
    uint64_t n;
    *text = STR_NONE;
    if (!unpack_u64(in, &n) || (n > 0 && n - 1 > in->n))
        return false;
    if (n == 0)
        return true;
    *text = str_make(in->p, n - 1);
    *in = str_from(*in, n - 1);
    return true;
}
