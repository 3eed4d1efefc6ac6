/* slice.h - the frames of one stretch of a channel, made once and sent to everybody who missed it.
 *
 * A thousand clients that were cut off at the same moment miss the same frames: they share one slice, and of its frames each
 * takes a reference.
 *
 * Threads: references are counted atomically; the content never changes. Ownership: a slice owns one reference to each frame.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "message/replay.h"
#include <stdatomic.h>

struct slice {
    _Atomic uint32_t refs;
    uint64_t from, to; /* delivery positions (from, to] */
    size_t count;
    size_t bytes;      /* of the frames */
    struct replay_frame *frames; /* texts in the arena */
    struct arena arena;
    /* Of one that a session's job has read from the store, and only on its shard: */
    bool cold;
    uint32_t stalled;  /* jobs that wait for their sockets with it */
};

/* With one reference; takes over those to the frames, copies their texts. */
struct slice *slice_new(const struct replay_frame *frames, size_t count);
static inline struct slice *slice_take(struct slice *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}
void slice_drop(struct slice *s); /* NULL = nothing */
