/* system.c - the server's own frames: an opening, a few members, an end.
 *
 *      {"event":"sockudo:error","channel":"c"   ,"data":{...} ,"message_id":"...","stream_id":"S","serial":4}
 *      `---------- open_frame() -------------´                  `-------------- close_frame()
 * ---------------´
 *
 * They are few beside the messages, so they are written into a growing buffer and copied once.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "wire/system.h"

#include "wire/codes.h"
#include "wire/family.h"

/* ---- parts ---- */

static void open_frame(struct buf *b, enum wire_protocol protocol, enum family family, struct str event,
                       struct str channel)
{
    buf_lit(b, "{\"event\":\"");
    buf_str(b, family_prefix(family, protocol));
    buf_str(b, event);
    buf_char(b, '"');
    if (channel.p) {
        buf_lit(b, ",\"channel\":");
        buf_json(b, channel);
    }
}

static void put_message_id(struct buf *b, struct wire_to to)
{
    char uuid[37];
    random_uuid(to.random, uuid);
    buf_lit(b, ",\"message_id\":\"");
    buf_put(b, uuid, sizeof uuid - 1);
    buf_char(b, '"');
}

static struct frame *to_frame(struct buf *b)
{
    buf_char(b, '}');
    struct frame *f = frame_new(FRAME_TEXT, buf_view(b));
    buf_free(b);
    return f;
}

static struct frame *close_frame(struct buf *b, struct wire_to to, struct str stream_id, uint64_t serial)
{
    if (to.protocol == WIRE_V2) {
        put_message_id(b, to);
        if (stream_id.p) {
            buf_lit(b, ",\"stream_id\":");
            buf_json(b, stream_id);
            buf_lit(b, ",\"serial\":");
            buf_u64(b, serial);
        }
    }
    return to_frame(b);
}

static void put_data(struct buf *b, struct str data_json)
{
    if (!data_json.p)
        return;
    buf_lit(b, ",\"data\":");
    buf_str(b, data_json);
}

static void put_data_string(struct buf *b, struct str data_json)
{
    buf_lit(b, ",\"data\":");
    buf_json(b, data_json);
}

/* ---- connection ---- */

struct frame *frame_established(struct wire_to to, struct socket_id id, unsigned activity_timeout_s)
{
    struct buf b = {0};
    char socket[SOCKET_ID_TEXT];
    socket_id_print(socket, id);
    open_frame(&b, to.protocol, FAMILY_COMMAND, STR("connection_established"), STR_NONE);
    buf_lit(&b, ",\"data\":\"{\\\"socket_id\\\":\\\"");
    buf_str(&b, str_of(socket));
    buf_lit(&b, "\\\",\\\"activity_timeout\\\":");
    buf_u64(&b, activity_timeout_s);
    buf_lit(&b, "}\"");
    return close_frame(&b, to, STR_NONE, 0);
}

static struct frame *bare(enum wire_protocol protocol, struct str event)
{
    struct buf b = {0};
    open_frame(&b, protocol, FAMILY_COMMAND, event, STR_NONE);
    return to_frame(&b);
}

struct frame *frame_ping(enum wire_protocol protocol)
{
    return bare(protocol, STR("ping"));
}

struct frame *frame_pong(enum wire_protocol protocol)
{
    return bare(protocol, STR("pong"));
}

/* ---- errors ---- */

struct frame *frame_error(struct wire_to to, int code, struct str message, struct str channel)
{
    struct buf b = {0};
    const char *name = wire_code_name(code);
    open_frame(&b, to.protocol, FAMILY_COMMAND, STR("error"), channel);
    buf_lit(&b, ",\"data\":{\"code\":");
    buf_i64(&b, code);
    buf_lit(&b, ",\"message\":");
    buf_json(&b, message);
    if (name) {
        buf_lit(&b, ",\"name\":");
        buf_json(&b, str_of(name));
    }
    buf_char(&b, '}');
    return close_frame(&b, to, STR_NONE, 0);
}

static void put_error_kind(struct buf *b, const char *type, struct str message, unsigned status)
{
    buf_lit(b, ",\"data\":{\"type\":");
    buf_json(b, str_of(type));
    buf_lit(b, ",\"error\":");
    buf_json(b, message);
    buf_lit(b, ",\"status\":");
    buf_u64(b, status);
    buf_char(b, '}');
}

struct frame *frame_subscription_error(struct wire_to to, struct str channel, int code, struct str message)
{
    struct buf b = {0};
    open_frame(&b, to.protocol, FAMILY_COMMAND, STR("subscription_error"), channel);
    switch (code) {
    case CODE_UNAUTHORIZED:
        put_error_kind(&b, "AuthError", message, 401);
        break;
    case CODE_OVER_CAPACITY:
        put_error_kind(&b, "LimitReached", message, 403);
        break;
    default:
        put_error_kind(&b, "SubscriptionError", message, 400);
    }
    return close_frame(&b, to, STR_NONE, 0);
}

/* ---- channels ---- */

/* The object inside the acknowledgement's string (chapter 1, 5.7). */
static void put_subscribed(struct buf *data, const struct subscribed *s, enum wire_protocol protocol)
{
    buf_char(data, '{');
    if (s->presence.p) {
        buf_lit(data, "\"presence\":");
        buf_str(data, s->presence);
    }
    if (s->has_attach_serial && protocol == WIRE_V2) {
        if (data->n > 1)
            buf_char(data, ',');
        buf_lit(data, "\"attach_serial\":");
        buf_u64(data, s->attach_serial);
    }
    buf_char(data, '}');
}

struct frame *frame_subscribed(struct wire_to to, const struct subscribed *s)
{
    struct buf b = {0}, data = {0};
    put_subscribed(&data, s, to.protocol);
    open_frame(&b, to.protocol, FAMILY_INTERNAL, STR("subscription_succeeded"), s->channel);
    put_data_string(&b, buf_view(&data));
    buf_free(&data);
    return close_frame(&b, to, s->stream_id, s->serial);
}

struct frame *frame_internal(struct wire_to to, struct str event, struct str channel, struct str data_json)
{
    struct buf b = {0};
    open_frame(&b, to.protocol, FAMILY_INTERNAL, event, channel);
    put_data_string(&b, data_json);
    return close_frame(&b, to, STR_NONE, 0);
}

struct frame *frame_internal_object(struct wire_to to, struct str event, struct str channel,
                                    struct str data_json)
{
    struct buf b = {0};
    open_frame(&b, to.protocol, FAMILY_INTERNAL, event, channel);
    put_data(&b, data_json);
    return close_frame(&b, to, STR_NONE, 0);
}

struct frame *frame_own(struct wire_to to, struct str event, struct str channel, struct str data_json,
                        struct str stream_id, uint64_t serial)
{
    struct buf b = {0};
    open_frame(&b, to.protocol, FAMILY_COMMAND, event, channel);
    put_data(&b, data_json);
    return close_frame(&b, to, stream_id, serial);
}

struct frame *frame_own_string(struct wire_to to, struct str event, struct str channel, struct str data_json)
{
    struct buf b = {0};
    open_frame(&b, to.protocol, FAMILY_COMMAND, event, channel);
    put_data_string(&b, data_json);
    return close_frame(&b, to, STR_NONE, 0);
}
