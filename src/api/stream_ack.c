/* stream_ack.c - the response of a streaming append, a JSON object a line (docs/streaming.md).
 *
 *      {"message_serial":"..43..","history_serial":12,"delivery_serial":43,"version_serial":"..","bytes":0,"status":"applied"}
 *      {"seq":1,"delivery_serial":44,"version_serial":"..","bytes":3,"status":"applied"}
 *      {"first_seq":2,"seq":9,...}              records 2 to 9, answered in one turn
 *      {"end":"complete","appends":9,"bytes":40}    or {"error":..,"code":..,"status":..,"seq":10,"bytes":40}
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/stream_append.h"

static void put_serial(struct buf *out, const char *key, uint64_t delivery, const struct message_id *message)
{
    char text[SERIAL_SIZE + 1];
    serial_print(text, delivery, message->stream8, message->history);
    put_text(out, key, str_make(text, SERIAL_SIZE));
}

static void put_stored(struct buf *out, const struct message_id *message, uint64_t delivery, uint64_t bytes, bool duplicate)
{
    put_u64(out, "delivery_serial", delivery);
    put_serial(out, "version_serial", delivery, message);
    put_u64(out, "bytes", bytes);
    put_text(out, "status", duplicate ? STR("duplicate") : STR("applied"));
    buf_lit(out, "}\n");
}

void ack_message(struct append_stream *s, uint64_t delivery, uint64_t bytes, bool duplicate)
{
    struct buf *out = &s->lines;
    buf_char(out, '{');
    put_serial(out, "message_serial", s->message.create_delivery, &s->message);
    put_u64(out, "history_serial", s->message.history);
    put_stored(out, &s->message, delivery, bytes, duplicate);
}

void ack_record(struct append_stream *s, uint64_t delivery, uint64_t bytes, bool duplicate)
{
    s->settled++;
    s->settled_bytes = bytes;
    if (s->ack.first && s->ack.duplicate != duplicate)
        ack_flush(s);
    if (!s->ack.first)
        s->ack.first = s->settled;
    s->ack.last = s->settled;
    s->ack.delivery = delivery;
    s->ack.bytes = bytes;
    s->ack.duplicate = duplicate;
}

void ack_flush(struct append_stream *s)
{
    struct buf *out = &s->lines;
    if (!s->ack.first)
        return;
    buf_char(out, '{');
    if (s->ack.first < s->ack.last)
        put_u64(out, "first_seq", s->ack.first);
    put_u64(out, "seq", s->ack.last);
    put_stored(out, &s->message, s->ack.delivery, s->ack.bytes, s->ack.duplicate);
    s->ack.first = 0;
}

static struct str word_of(enum stream_status status)
{
    return status == STREAM_COMPLETE ? STR("complete") : status == STREAM_CANCELLED ? STR("cancelled") : STR("open");
}

void ack_end(struct append_stream *s)
{
    struct buf *out = &s->lines;
    ack_flush(s);
    if (s->refused.status) {
        failure_json(out, &s->refused);
        out->n--;
        put_u64(out, "seq", s->refused_seq);
    } else {
        buf_char(out, '{');
        put_text(out, "end", word_of(s->end));
        put_u64(out, "appends", s->settled);
    }
    put_u64(out, "bytes", s->settled_bytes);
    buf_lit(out, "}\n");
}
