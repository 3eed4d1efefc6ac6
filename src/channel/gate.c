/* gate.c - see gate.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/gate.h"

#include <stdlib.h>

#include "base/mem.h"
#include "channel/internal.h"

struct gate *gate_new(struct subscription *s, struct list *gates)
{
    struct gate *gate = mem_new(struct gate);
    gate->s = s;
    list_append(gates, &gate->link);
    return gate;
}

void gate_free(struct gate *gate)
{
    for (uint32_t i = 0; i < gate->count; i++)
        if (gate->frames[i].frame != NULL)
            frame_drop(gate->frames[i].frame);
    list_remove(&gate->link);
    free(gate->frames);
    free(gate);
}

static bool has_room(const struct gate *gate, size_t more)
{
    const struct subscription *s = gate->s;
    return (s->gate_frames_max == 0 || gate->count < s->gate_frames_max) &&
           (s->gate_bytes_max == 0 || gate->bytes + more <= s->gate_bytes_max);
}

void gate_put(struct gate *gate, struct frame *frame, uint64_t first, uint64_t last)
{
    size_t size = frame_wire(frame).n;
    if (!has_room(gate, size)) {
        gate->s->overflow(gate->s->user, gate->s);
        return;
    }
    if (gate->count == gate->cap) {
        gate->cap = gate->cap ? gate->cap * 2 : 8;
        gate->frames = mem_realloc(gate->frames, gate->cap * sizeof(*gate->frames));
    }
    gate->frames[gate->count++] = (struct gated_frame){frame_take(frame), first, last};
    gate->bytes += size;
}

uint32_t gate_open(struct gate *gate, uint64_t above, uint64_t *last)
{
    const struct subscription *s = gate->s;
    uint32_t delivered = 0;
    for (uint32_t i = 0; i < gate->count; i++) {
        struct gated_frame *g = &gate->frames[i];
        if (g->last != 0 && g->last <= above)
            continue;
        if (g->last != 0)
            *last = g->last;
        s->env->deliver(s->sink, g->frame);
        g->frame = NULL;
        delivered++;
    }
    return delivered;
}
