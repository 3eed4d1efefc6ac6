/* binary_trip.h - from a binary message to JSON and back, for the fuzz targets of the binary formats.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdlib.h>

#include "base/json.h"
#include "wire/format.h"

static inline void require(bool ok)
{
    if (!ok)
        abort();
}

/* False: refused, with a reason. Else *json is JSON, and is read like what a client says. */
static inline bool trip_read(const uint8_t *data, size_t size, enum wire_format format, struct arena *arena, struct str *json,
                             enum data_form *form)
{
    struct client_message m;
    struct str bytes = str_make(data ? data : (const uint8_t *)"", size), object;
    const char *wrong = binary_to_json(bytes, format, arena, json, form);
    const char *refused = client_message_decode(bytes, format, arena, &m);
    if (wrong) {
        require(wrong[0] && refused);
        return false;
    }
    require(json_check(*json, &object, NULL) && json_is(object, JSON_OBJECT));
    require(refused || (m.event.p && str_is_utf8(m.event) && m.form == *form));
    return true;
}

static inline struct frame *trip_frame(struct str json, enum wire_format format, enum data_form form)
{
    struct frame *text = frame_new(FRAME_TEXT, json);
    struct frame *f = frame_convert(text, format, form);
    frame_drop(text);
    return f;
}

/* What json reads like after it has been written in that format. */
static inline struct str trip_once(struct str json, enum wire_format format, enum data_form form, struct arena *arena)
{
    struct str again;
    enum data_form came;
    struct frame *f = trip_frame(json, format, form);
    require(binary_to_json(frame_payload(f), format, arena, &again, &came) == NULL);
    require(came == form);
    frame_drop(f);
    return again;
}
