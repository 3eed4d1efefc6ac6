/* read_event.h - a frame as a server-sent event (WHATWG HTML, 9.2; docs/streaming.md).
 *
 *      {"event":"sockudo:message.append","channel":"c","data":"lo","stream_id":"S","serial":43,"extras":{..}}
 *
 *      event: append
 *      id: S:43
 *      data: {"event":"sockudo:message.append",...}       the frame as it is
 *
 * Threads: pure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "wire/item.h"

/* What a V2 frame says of a version. */
struct read_event {
    struct message_id message;
    enum store_action action; /* ACTION_CREATE: whatever is no append, update or delete */
    struct str stream_id;     /* views of the frame, as it stands in JSON without quotes */
    uint64_t position;
    enum stream_status status; /* of its extras */
};
/* frame: checked JSON. False: it is no version of a message. */
bool read_event_of(struct str frame, struct read_event *event);
/* The last one of a message. */
bool read_event_is_last(const struct read_event *event);
/* name: "append" and so on. */
void read_event_put(struct buf *out, struct str name, struct str stream_id, uint64_t position, struct str frame);
/* The name under which a live or replayed version goes out. */
struct str read_event_name(enum store_action action);
void read_event_put_end(struct buf *out, struct str stream_id, uint64_t position, enum stream_status status);
/* Last-Event-ID: "S:43". False: malformed. */
bool read_event_id(struct str id, struct str *stream_id, uint64_t *position);
