/* mark.h - what each measured payload carries: when it should have been sent, by which stream, its place
 * there.
 *
 *   offset  size  meaning
 *   0       2     "~T"
 *   2       19    CLOCK_MONOTONIC nanoseconds of the intended send, decimal, zero padded
 *   21      1     "S"
 *   22      5     stream, decimal, zero padded
 *   27      1     "N"
 *   28      9     index in the stream, from 1, decimal, zero padded
 *   37      1     ";"
 *
 * One machine has one clock, so sender and receiver may be different processes. The width is fixed, nothing
 * in it needs escaping in JSON, and so a payload of 100 bytes stays one.
 *
 * Threads: pure functions. Limits: MARK_STREAMS_MAX streams, 999,999,999 payloads of each.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"

enum { MARK_SIZE = 38, MARK_STREAMS_MAX = 100000 };

struct mark {
    uint64_t at_ns;
    uint32_t stream; /* below MARK_STREAMS_MAX */
    uint32_t index;  /* from 1 */
};

/* Appends the mark, then dots up to `size` bytes in all (at least MARK_SIZE). */
void mark_put(struct buf *out, const struct mark *mark, size_t size);
/* Finds the first mark in *rest and moves *rest behind it; false if there is none. */
bool mark_next(struct str *rest, struct mark *mark);
