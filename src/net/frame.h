/* frame.h - one encoded WebSocket frame that many connections send.
 *
 * Encoded once, then only referenced: the bytes never change once it is sent. Server frames are not
 * masked, so that the very same bytes, header included, go to every socket (RFC 6455, 5.2).
 *
 *   offset  size  meaning (RFC 6455, 5.2)
 *   0       1     FIN and opcode
 *   1       1     payload length 0..125, or 126, or 127
 *   2       0/2/8 extended payload length, big endian
 *   ...           payload
 *
 * Threads: references are counted atomically; any thread may take, drop and read.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include <stdatomic.h>

enum { FRAME_TEXT = 1, FRAME_BINARY = 2, FRAME_CLOSE = 8, FRAME_PING = 9, FRAME_PONG = 10 };
enum { FRAME_HEAD_MAX = 10 }; /* longest header that a server sends */

struct frame {
    _Atomic uint32_t refs;
    uint32_t head; /* where the header starts in bytes[] */
    uint32_t end;  /* one past the payload in bytes[] */
    char bytes[];  /* FRAME_HEAD_MAX bytes of room, then the payload */
};

/* A frame with one reference that carries a copy of payload. opcode as above. */
struct frame *frame_new(int opcode, struct str payload);
/* code 1000..4999, reason at most 123 bytes (cut at a UTF-8 boundary). */
struct frame *frame_new_close(unsigned code, struct str reason);
/* n bytes without any header: the caller fills them, through frame_room(), before it sends them; as they are for HTTP, or with
 * the header of frame_seal() for at most that many bytes. */
struct frame *frame_new_raw(size_t n);
/* Writes the WebSocket header in front of the first n bytes; the frame ends behind them. */
void frame_seal(struct frame *f, int opcode, size_t n);
static inline char *frame_room(struct frame *f)
{
    return f->bytes + f->head;
}
static inline struct frame *frame_take(struct frame *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}
/* `n` further references at once: one atomic per fan-out, not one per subscriber. */
static inline void frame_take_many(struct frame *f, uint32_t n)
{
    atomic_fetch_add_explicit(&f->refs, n, memory_order_relaxed);
}
void frame_drop(struct frame *f);
void frame_drop_many(struct frame *f, uint32_t n);
static inline struct str frame_wire(const struct frame *f)
{
    return (struct str){f->bytes + f->head, f->end - f->head};
}
static inline struct str frame_payload(const struct frame *f)
{
    return (struct str){f->bytes + FRAME_HEAD_MAX, f->end - FRAME_HEAD_MAX};
}
