/* frame.c - payload first, at a fixed place; the header is then written backwards in front of it.
 *
 *      bytes[]   0 . . . . . . 8  9  10
 *                              81 05 H e l l o          head = 8, end = 15
 *
 * So the payload never moves, whatever its header's size.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/frame.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

static struct frame *frame_alloc(size_t n)
{
    assert(n <= UINT32_MAX - FRAME_HEAD_MAX);
    struct frame *f = mem_alloc(sizeof *f + FRAME_HEAD_MAX + n);
    atomic_init(&f->refs, 1);
    f->head = FRAME_HEAD_MAX;
    f->end = (uint32_t)(FRAME_HEAD_MAX + n);
    return f;
}

void frame_seal(struct frame *f, int opcode, size_t n)
{
    unsigned char *at = (unsigned char *)f->bytes + FRAME_HEAD_MAX;
    unsigned extended = n < 126 ? 0 : n <= UINT16_MAX ? 2 : 8;
    for (unsigned i = 0; i < extended; i++)
        *--at = (unsigned char)(n >> 8 * i);
    *--at = (unsigned char)(extended == 0 ? n : extended == 2 ? 126 : 127);
    *--at = (unsigned char)(0x80 | opcode);
    f->head = (uint32_t)((char *)at - f->bytes);
    f->end = (uint32_t)(FRAME_HEAD_MAX + n);
}

struct frame *frame_new(int opcode, struct str payload)
{
    struct frame *f = frame_alloc(payload.n);
    if (payload.n)
        memcpy(f->bytes + FRAME_HEAD_MAX, payload.p, payload.n);
    frame_seal(f, opcode, payload.n);
    return f;
}

struct frame *frame_new_raw(size_t n)
{
    return frame_alloc(n);
}

/* The longest prefix of at most max bytes that does not end inside a character. */
static struct str cut_utf8(struct str s, size_t max)
{
    if (s.n <= max)
        return s;
    while (max > 0 && ((unsigned char)s.p[max] & 0xC0) == 0x80)
        max--;
    return str_first(s, max);
}

struct frame *frame_new_close(unsigned code, struct str reason)
{
    char payload[125];
    assert(code >= 1000);
    assert(code <= 4999);
    reason = cut_utf8(reason, sizeof payload - 2);
    payload[0] = (char)(code >> 8);
    payload[1] = (char)code;
    if (reason.n)
        memcpy(payload + 2, reason.p, reason.n);
    return frame_new(FRAME_CLOSE, str_make(payload, 2 + reason.n));
}

void frame_drop_many(struct frame *f, uint32_t n)
{
    uint32_t before = atomic_fetch_sub_explicit(&f->refs, n, memory_order_acq_rel);
    assert(before >= n);
    if (before == n)
        free(f);
}

void frame_drop(struct frame *f)
{
    frame_drop_many(f, 1);
}
