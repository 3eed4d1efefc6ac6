/* envelope.c - a message written once, straight into the frame that everybody will send.
 *
 * The sum of the bounds of all fields is allocated, then the fields are written one behind the other:
 *
 *      frame   [refs head end][..header][{"event":"sockudo:message.append","channel":"c",...}][slack]
 *
 * The slack (what a number could have needed and did not) is some 200 bytes at most, unless a name needs
 * escapes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "wire/envelope.h"

#include <assert.h>

#include "wire/extras_out.h"
#include "wire/family.h"
#include "wire/out.h"

/* All keys, quotes, commas and braces, the event's family, and the serial. */
enum { FIXED_MAX = 192 };

static size_t bound(const struct envelope *e, enum wire_protocol protocol)
{
    size_t n = FIXED_MAX + out_text_bound(e->event) + out_text_bound(e->channel) + e->data.n +
               e->data_body.n + out_text_bound(e->name) + out_text_bound(e->user_id);
    if (protocol == WIRE_V2)
        n += e->tags.n + out_text_bound(e->message_id) + out_text_bound(e->stream_id) + extras_out_bound(e);
    return n;
}

#define out_text_field(p, lead, text) ((text).p ? text_field((p), STR(lead), (text)) : (p))

static char *text_field(char *p, struct str lead, struct str text)
{
    p = out_str(p, lead);
    p = out_text(p, text);
    *p++ = '"';
    return p;
}

static char *out_event(char *p, struct str event, enum wire_protocol protocol)
{
    struct str rest;
    enum family family = family_of(event, &rest);
    p = out_lit(p, "{\"event\":\"");
    p = out_str(p, family_prefix(family, protocol));
    p = out_text(p, rest);
    *p++ = '"';
    return p;
}

static char *out_data(char *p, const struct envelope *e)
{
    if (e->data.p) {
        p = out_lit(p, ",\"data\":");
        return out_str(p, e->data);
    }
    if (!e->data_body.p)
        return p;
    p = out_lit(p, ",\"data\":\"");
    p = out_str(p, e->data_body);
    *p++ = '"';
    return p;
}

static char *out_v2_fields(char *p, const struct envelope *e)
{
    if (e->tags.p) {
        p = out_lit(p, ",\"tags\":");
        p = out_str(p, e->tags);
    }
    p = out_text_field(p, ",\"message_id\":\"", e->message_id);
    p = out_text_field(p, ",\"stream_id\":\"", e->stream_id);
    if (e->serial) {
        p = out_lit(p, ",\"serial\":");
        p = out_u64(p, e->serial);
    }
    return extras_out(p, e, STR(",\"extras\":"));
}

/* The frame's text at p; returns what is behind it. */
static char *out_envelope(char *p, const struct envelope *e, enum wire_protocol protocol)
{
    p = out_event(p, e->event, protocol);
    p = out_text_field(p, ",\"channel\":\"", e->channel);
    p = out_data(p, e);
    p = out_text_field(p, ",\"name\":\"", e->name);
    p = out_text_field(p, ",\"user_id\":\"", e->user_id);
    if (protocol == WIRE_V2)
        p = out_v2_fields(p, e);
    *p++ = '}';
    return p;
}

struct frame *envelope_frame(const struct envelope *e, enum wire_protocol protocol)
{
    size_t room = bound(e, protocol);
    struct frame *f = frame_new_raw(room);
    char *start = f->bytes + FRAME_HEAD_MAX;
    char *end = out_envelope(start, e, protocol);
    assert((size_t)(end - start) <= room);
    frame_seal(f, FRAME_TEXT, (size_t)(end - start));
    return f;
}

void envelope_json(struct buf *out, const struct envelope *e, enum wire_protocol protocol)
{
    size_t room = bound(e, protocol);
    char *start = buf_reserve(out, room);
    char *end = out_envelope(start, e, protocol);
    assert((size_t)(end - start) <= room);
    out->n += (size_t)(end - start);
}
