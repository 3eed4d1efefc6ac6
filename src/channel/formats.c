/* formats.c - one delivery in the formats that its subscribers read.
 *
 *                     V1      delta         full
 *      JSON          frame    frame a       frame b, or a once more
 *      MessagePack            made from a   made from b, or the one of a
 *
 * Nothing is made before somebody needs it, and each once per shard. The price of a conversion is a walk over the JSON and
 * one frame.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/internal.h"

struct frame *formats_convert(struct formats *f, enum wire_format format, enum lane_mode mode)
{
    struct frame *const *json = f->d->frames;
    if (mode == LANE_FULL && json[LANE_FULL] == json[LANE_DELTA])
        mode = LANE_DELTA;
    struct frame **made = &f->made[format][mode];
    if (*made == NULL && json[mode] != NULL) {
        *made = frame_convert(json[mode], format, f->d->form);
        f->any = true;
    }
    return *made;
}

void formats_drop_made(struct formats *f)
{
    for (unsigned format = FORMAT_JSON + 1; format < FORMATS; format++)
        for (unsigned mode = 0; mode <= LANE_FULL; mode++)
            if (f->made[format][mode] != NULL)
                frame_drop(f->made[format][mode]);
}
