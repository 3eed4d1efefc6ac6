/* slice.c - see slice.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "message/slice.h"

#include <stdlib.h>

#include "base/mem.h"

struct slice *slice_new(const struct replay_frame *frames, size_t count)
{
    struct slice *s = mem_new(struct slice);
    s->refs = 1;
    s->count = count;
    s->frames = arena_alloc(&s->arena, (count ? count : 1) * sizeof(*s->frames));
    for (size_t i = 0; i < count; i++) {
        s->frames[i] = frames[i];
        s->frames[i].message_id = arena_copy(&s->arena, frames[i].message_id);
        s->frames[i].event_name = arena_copy(&s->arena, frames[i].event_name);
        s->frames[i].tags = arena_copy(&s->arena, frames[i].tags);
        s->bytes += frame_wire(frames[i].frame).n;
    }
    return s;
}

void slice_drop(struct slice *s)
{
    if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < s->count; i++)
        frame_drop(s->frames[i].frame);
    arena_free(&s->arena);
    free(s);
}
