/* binary_protobuf_read.c - what a client says in Protobuf (chapter 1, 9.2).
 *
 * Two numberings are about, and most fields of the older one have another wire type than what has their number in ours:
 *
 *      number           10       11       12        13       14       15
 *      ours             text     varint   text      message  varint   text
 *      the older        varint   text     message   varint   text     text
 *
 * So the first of 10, 11, 13 and 14 tells which one a message uses; without any, it is the connection's. A message that mixes
 * them is refused.
 *
 * protobuf-c allocates for what the message's bytes hold, but a message that repeats `extras` is merged anew each time, which costs
 * the square of its size. So it may take BUDGET_PER_BYTE for each byte, more than any message needs that says things once; it all
 * goes into the arena.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/pack.h"
#include "wire/binary_protobuf.h"

/* ---- which numbering ---- */

enum { WIRE_VARINT = 0, WIRE_EIGHT = 1, WIRE_SIZED = 2, WIRE_FOUR = 5, FIELD_NUMBER_MAX = (1 << 29) - 1 };

static bool skip(struct str *in, uint64_t n)
{
    if (n > in->n)
        return false;
    *in = str_from(*in, (size_t)n);
    return true;
}

static bool skip_value(struct str *in, unsigned wire_type)
{
    uint64_t n;
    switch (wire_type) {
    case WIRE_VARINT:
        return unpack_u64(in, &n);
    case WIRE_EIGHT:
        return skip(in, 8);
    case WIRE_SIZED:
        return unpack_u64(in, &n) && skip(in, n);
    case WIRE_FOUR:
        return skip(in, 4);
    default:
        return false;
    }
}

/* *format stays as it is unless a field tells. False: no sequence of fields. */
static bool find_numbering(struct str bytes, enum wire_format *format)
{
    uint64_t tag;
    bool known = false;
    while (bytes.n > 0) {
        if (!unpack_u64(&bytes, &tag) || tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX || !skip_value(&bytes, tag & 7))
            return false;
        uint64_t number = tag >> 3;
        bool even = number == 10 || number == 13, odd = number == 11 || number == 14;
        if (known || (!even && !odd))
            continue;
        known = true;
        *format = even == ((tag & 7) == WIRE_VARINT) ? FORMAT_PROTOBUF_OLDER : FORMAT_PROTOBUF;
    }
    return true;
}

/* ---- parts ---- */

static struct str view(ProtobufCBinaryData bytes)
{
    return str_make(bytes.data ? (const char *)bytes.data : "", bytes.len);
}

static void read_entries(struct binary_reader *r, struct str field, Pb__TextEntry **entries, size_t count)
{
    buf_char(&r->json, '{');
    for (size_t i = 0; i < count && !r->wrong; i++) {
        reader_key(r, field, view(entries[i]->key));
        reader_text(r, field, view(entries[i]->value));
    }
    buf_char(&r->json, '}');
}

static void read_structured_text(struct binary_reader *r, struct str key, protobuf_c_boolean has, ProtobufCBinaryData text)
{
    if (!has)
        return;
    reader_key(r, key, key);
    reader_text(r, key, view(text));
}

static void read_structured(struct binary_reader *r, const Pb__Structured *s)
{
    buf_char(&r->json, '{');
    read_structured_text(r, STR("channel_data"), s->has_channel_data, s->channel_data);
    read_structured_text(r, STR("channel"), s->has_channel, s->channel);
    read_structured_text(r, STR("user_data"), s->has_user_data, s->user_data);
    for (size_t i = 0; i < s->n_extra && !r->wrong; i++) {
        reader_key(r, STR("data.extra"), view(s->extra[i]->key));
        reader_json(r, STR("data.extra"), view(s->extra[i]->value));
    }
    buf_char(&r->json, '}');
}

static void read_data(struct binary_reader *r, const Pb__Data *data, enum data_form *form)
{
    struct str field = STR("data");
    switch ((int)data->kind_case) {
    case PB__DATA__KIND_TEXT:
        reader_text(r, field, view(data->text));
        break;
    case PB__DATA__KIND_STRUCTURED:
        read_structured(r, data->structured);
        break;
    case PB__DATA__KIND_JSON:
        reader_json(r, field, view(data->json));
        break;
    case PB__DATA__KIND_BINARY:
        reader_bytes(r, view(data->binary));
        *form = DATA_BYTES;
        break;
    default:
        buf_lit(&r->json, "null");
    }
}

/* ---- extras ---- */

static void read_header(struct binary_reader *r, const Pb__Value *value)
{
    struct str field = STR("extras.headers");
    switch (value ? (int)value->kind_case : PB__VALUE__KIND__NOT_SET) {
    case PB__VALUE__KIND_TEXT:
        reader_text(r, field, view(value->text));
        break;
    case PB__VALUE__KIND_NUMBER:
        reader_double(r, field, value->number);
        break;
    case PB__VALUE__KIND_BOOLEAN:
        buf_str(&r->json, value->boolean ? STR("true") : STR("false"));
        break;
    default:
        reader_fails(r, field, "values must be strings, numbers or booleans");
    }
}

static void read_headers(struct binary_reader *r, const Pb__Extras *extras)
{
    struct str field = STR("extras.headers");
    if (extras->n_headers == 0)
        return;
    reader_key(r, field, STR("headers"));
    buf_char(&r->json, '{');
    for (size_t i = 0; i < extras->n_headers && !r->wrong; i++) {
        reader_key(r, field, view(extras->headers[i]->key));
        read_header(r, extras->headers[i]->value);
    }
    buf_char(&r->json, '}');
}

static void read_flag(struct binary_reader *r, struct str key, protobuf_c_boolean has, protobuf_c_boolean flag)
{
    if (!has)
        return;
    reader_key(r, key, key);
    buf_str(&r->json, flag ? STR("true") : STR("false"));
}

static void read_ai(struct binary_reader *r, const Pb__Ai *ai)
{
    struct str field = STR("extras.ai");
    reader_key(r, field, STR("ai"));
    buf_char(&r->json, '{');
    if (ai->n_transport > 0) {
        reader_key(r, field, STR("transport"));
        read_entries(r, field, ai->transport, ai->n_transport);
    }
    if (ai->n_codec > 0) {
        reader_key(r, field, STR("codec"));
        read_entries(r, field, ai->codec, ai->n_codec);
    }
    buf_char(&r->json, '}');
}

static void read_extras(struct binary_reader *r, const Pb__Extras *extras)
{
    buf_char(&r->json, '{');
    read_headers(r, extras);
    read_flag(r, STR("ephemeral"), extras->has_ephemeral, extras->ephemeral);
    if (extras->has_idempotency_key) {
        reader_key(r, STR("extras.idempotency_key"), STR("idempotencyKey"));
        reader_text(r, STR("extras.idempotency_key"), view(extras->idempotency_key));
    }
    read_flag(r, STR("echo"), extras->has_echo, extras->echo);
    if (extras->ai)
        read_ai(r, extras->ai);
    buf_char(&r->json, '}');
}

/* ---- the envelope ---- */

static bool is_there(const Pb__Message *m, unsigned field)
{
    switch (binary_fields[field].kind) {
    case KIND_DATA:
        return m->data != NULL;
    case KIND_TAGS:
        return m->n_tags > 0;
    case KIND_EXTRAS:
        return m->extras != NULL;
    default:
        return *(const protobuf_c_boolean *)((const char *)m + protobuf_places[field].has);
    }
}

static void read_field(struct binary_reader *r, const Pb__Message *m, unsigned field, enum data_form *form)
{
    const char *at = (const char *)m + protobuf_places[field].at;
    switch (binary_fields[field].kind) {
    case KIND_TEXT:
        reader_text(r, binary_fields[field].name, view(*(const ProtobufCBinaryData *)at));
        break;
    case KIND_U64:
        buf_u64(&r->json, *(const uint64_t *)at);
        break;
    case KIND_DATA:
        read_data(r, m->data, form);
        break;
    case KIND_TAGS:
        read_entries(r, binary_fields[field].name, m->tags, m->n_tags);
        break;
    case KIND_EXTRAS:
        read_extras(r, m->extras);
        break;
    }
}

/* The most that one byte needs is an empty map entry's: 2 bytes, some 160 of structs. */
enum { BUDGET_PER_BYTE = 128, BUDGET_FIRST = 4096 };

struct budget {
    struct arena *arena;
    size_t left;
};

static void *budget_gives(void *user, size_t n)
{
    struct budget *b = user;
    if (n > b->left)
        return NULL;
    b->left -= n;
    return arena_alloc(b->arena, n > 0 ? n : 1);
}

static void arena_keeps(void *user, void *p)
{
}

const char *protobuf_read(struct str bytes, enum wire_format format, struct binary_reader *r, struct binary_message *out)
{
    struct budget budget = {r->arena, BUDGET_FIRST + BUDGET_PER_BYTE * bytes.n};
    ProtobufCAllocator allocator = {budget_gives, arena_keeps, &budget};
    if (!find_numbering(bytes, &format))
        return "Protobuf message is cut off or malformed";
    const Pb__Message *m = (const Pb__Message *)protobuf_c_message_unpack(protobuf_descriptor(format), &allocator, bytes.n,
                                                                         (const uint8_t *)bytes.p);
    if (!m)
        return "Protobuf message does not fit the envelope";
    for (unsigned i = 0; i < FIELDS && !r->wrong; i++) {
        size_t from = r->json.n;
        if (!is_there(m, i))
            continue;
        read_field(r, m, i, &out->form);
        out->values[i] = reader_take(r, from);
    }
    return r->wrong;
}
