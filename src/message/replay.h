/* replay.h - from stored versions back to frames (chapter 3, 4.4 to 4.6).
 *
 * A range of the delivery domain becomes few frames: contiguous appends of one message are joined into a run, as rollup
 * does live. A frame's position is that of the last version in it, so every position between is a valid one to resume from.
 *
 *      items   a1:create  a2 a3 a4:append  b5:create  a6:append
 *      runs    [a1]       [a2..a4]         [b5]       [a6]
 *
 * Shapes: REPLAY_RUNS is for delta connections. For full ones, and for a late resume, each message that was mutated in the
 * range is shown once, whole, at the position of its last version there: those texts come in `latest` (STORE_LATEST of
 * replay_mutated(), as of the end of the range).
 *
 * Threads: pure. Ownership: frames come with one reference each.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/random.h"
#include "wire/envelope.h"

enum replay_shape {
    REPLAY_RUNS,     /* fragments joined */
    REPLAY_WHOLE,    /* append frames that carry the whole text */
    REPLAY_SNAPSHOT, /* snapshot frames (chapter 3, 1.4) with a fresh message_id */
};

struct replay_frame {
    struct frame *frame;
    uint64_t position;         /* of the last version in it */
    uint64_t history;          /* place of its message; 0 = none */
    struct str message_id;     /* as in the frame; in the arena */
    struct str event_name, tags; /* for filters */
};

struct replay {
    struct str channel, stream_id;
    enum replay_shape shape;
    const struct store_item *items;  /* of STORE_REPLAY, contiguous */
    size_t count;
    const struct store_item *latest; /* not for REPLAY_RUNS */
    size_t latest_count;
    struct random *random;           /* for fresh ids */
    struct arena *arena;             /* for what the result points to */
};

/* Messages of the items that have a mutation among them, each once. In the arena. */
struct message_id *replay_mutated(const struct replay *r, size_t *count);
/* How many frames the replay makes. */
size_t replay_count(const struct replay *r);
/* Makes them, in order of position; the array is in the arena. */
struct replay_frame *replay_frames(const struct replay *r, size_t *count);
/* History rows as frames: rewind. An untouched create in its live shape, a mutated one as a snapshot, a deleted one as
 * sockudo:message.delete. */
struct frame *replay_row(const struct store_item *item, struct str channel, struct str stream_id, struct random *random,
                         struct arena *arena);
