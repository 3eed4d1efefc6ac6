/* read_event.c - see read_event.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/read_event.h"

#include "base/json.h"
#include "wire/envelope.h"

/* Without its quotes; absent if it is no string. */
static struct str body_of(struct str value)
{
    return json_is(value, JSON_STRING) ? str_make(value.p + 1, value.n - 2) : STR_NONE;
}

static enum store_action action_of(struct str event)
{
    static const enum store_action actions[] = {ACTION_APPEND, ACTION_UPDATE, ACTION_DELETE};
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        if (str_eq(event, action_event(actions[i])))
            return actions[i];
    return ACTION_CREATE;
}

static enum stream_status status_of(struct str extras)
{
    struct str status = json_get(json_get(json_get(extras, STR("ai")), STR("transport")), STR("status"));
    return str_eq(status, STR("\"complete\""))    ? STREAM_COMPLETE
           : str_eq(status, STR("\"cancelled\"")) ? STREAM_CANCELLED
           : str_eq(status, STR("\"streaming\"")) ? STREAM_OPEN
                                                  : STREAM_NONE;
}

bool read_event_of(struct str frame, struct read_event *event)
{
    struct str extras = json_get(frame, STR("extras"));
    struct str serial = body_of(json_get(json_get(extras, STR("headers")), STR("sockudo_message_serial")));
    *event = (struct read_event){0};
    if (!serial.p || !json_u64(json_get(frame, STR("serial")), &event->position) ||
        !serial_parse(serial, &event->message.create_delivery, &event->message.stream8, &event->message.history))
        return false;
    event->action = action_of(body_of(json_get(frame, STR("event"))));
    event->stream_id = body_of(json_get(frame, STR("stream_id")));
    event->status = status_of(extras);
    return true;
}

bool read_event_is_last(const struct read_event *event)
{
    return event->status == STREAM_COMPLETE || event->status == STREAM_CANCELLED || event->action == ACTION_DELETE;
}

struct str read_event_name(enum store_action action)
{
    return action == ACTION_CREATE ? STR("snapshot") : action_word(action);
}

static void put_head(struct buf *out, struct str name, struct str stream_id, uint64_t position)
{
    buf_lit(out, "event: ");
    buf_str(out, name);
    buf_lit(out, "\nid: ");
    buf_str(out, stream_id);
    buf_char(out, ':');
    buf_u64(out, position);
    buf_lit(out, "\ndata: ");
}

void read_event_put(struct buf *out, struct str name, struct str stream_id, uint64_t position, struct str frame)
{
    put_head(out, name, stream_id, position);
    char *text = buf_reserve(out, frame.n + 2);
    for (size_t i = 0; i < frame.n; i++) /* in JSON a line can only end between tokens */
        text[i] = frame.p[i] == '\n' || frame.p[i] == '\r' ? ' ' : frame.p[i];
    out->n += frame.n;
    buf_lit(out, "\n\n");
}

void read_event_put_end(struct buf *out, struct str stream_id, uint64_t position, enum stream_status status)
{
    put_head(out, STR("end"), stream_id, position);
    buf_lit(out, "{\"status\":\"");
    buf_str(out, status == STREAM_COMPLETE    ? STR("complete")
                 : status == STREAM_CANCELLED ? STR("cancelled")
                                              : STR("deleted"));
    buf_lit(out, "\"}\n\n");
}

bool read_event_id(struct str id, struct str *stream_id, uint64_t *position)
{
    struct str rest = id;
    *stream_id = str_split(&rest, ':');
    return stream_id->n > 0 && stream_id->n <= STREAM_ID_SIZE && rest.p && str_to_u64(rest, position);
}
