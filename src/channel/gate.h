/* gate.h - what is delivered to a subscription that is not open yet: frames with their positions, in order, until it opens.
 *
 * Ownership  a gate is its subscription's, and stands in a list of its channel's gates on this shard; each frame in it holds a
 *            reference. Threads: the subscriber's shard only.
 * Limits     the subscription's gate_frames_max and gate_bytes_max (bytes on the wire), 0 = none. Beyond: the frame is dropped and
 *            overflow() called, which closes the connection or looks back again; the gate stays.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/list.h"
#include "net/frame.h"

struct subscription;

struct gated_frame {
    struct frame *frame; /* NULL = delivered */
    uint64_t first, last; /* its positions; 0 = none */
};

struct gate {
    struct list link;
    struct subscription *s;
    struct gated_frame *frames;
    uint32_t count, cap;
    uint64_t bytes;
};

struct gate *gate_new(struct subscription *s, struct list *gates);
void gate_free(struct gate *gate); /* out of its list */
/* The frame stays the caller's. */
void gate_put(struct gate *gate, struct frame *frame, uint64_t first, uint64_t last);
/* Delivers what does not lie at or below `above`, and how much that was; *last: its last position, untouched if none has one. Once,
 * before gate_free(). */
uint32_t gate_open(struct gate *gate, uint64_t above, uint64_t *last);
