/* binary_msgpack_read.c - what a client says in MessagePack (chapter 1, 9.1).
 *
 * First the shape is checked, without recursion and without memory: every length lies inside of the message, nothing nests
 * too deeply, nothing follows the value. The library allocates by the counts that it reads, and can be trusted with them then.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <msgpack.h>

#include "wire/binary.h"

/* ---- the shape ---- */

struct bytes {
    const unsigned char *p, *end;
};

/* Big endian; false if the message ends before. */
static bool take_number(struct bytes *in, unsigned size, uint64_t *number)
{
    *number = 0;
    if ((size_t)(in->end - in->p) < size)
        return false;
    while (size-- > 0)
        *number = *number << 8 | *in->p++;
    return true;
}

/* What follows a first byte from 0xc0 to 0xdf: a length field of `length` bytes (0 = none), `fixed` bytes, and as many bytes, or
 * items (1), or pairs (2), as the length says. */
static const struct {
    uint8_t length, fixed, items;
} forms[32] = {
    {0, 0, 0}, {0, 0, 0}, {0, 0, 0}, {0, 0, 0}, /* nil, (never used), false, true */
    {1, 0, 0}, {2, 0, 0}, {4, 0, 0},            /* bin */
    {1, 1, 0}, {2, 1, 0}, {4, 1, 0},            /* ext */
    {0, 4, 0}, {0, 8, 0},                       /* float */
    {0, 1, 0}, {0, 2, 0}, {0, 4, 0}, {0, 8, 0}, /* uint */
    {0, 1, 0}, {0, 2, 0}, {0, 4, 0}, {0, 8, 0}, /* int */
    {0, 2, 0}, {0, 3, 0}, {0, 5, 0}, {0, 9, 0}, {0, 17, 0}, /* fixext */
    {1, 0, 0}, {2, 0, 0}, {4, 0, 0},            /* str */
    {2, 0, 1}, {4, 0, 1},                       /* array */
    {2, 0, 2}, {4, 0, 2},                       /* map */
};

/* Takes one value but for the items that it contains: *items. False: it is cut off, or starts with a byte that nothing does. */
static bool take_value(struct bytes *in, uint64_t *items)
{
    uint64_t first, n = 0;
    *items = 0;
    if (!take_number(in, 1, &first) || first == 0xc1)
        return false;
    if (first < 0x80 || first >= 0xe0)
        return true;
    if (first < 0xa0) { /* fixmap, fixarray */
        *items = (first & 15) * (first < 0x90 ? 2 : 1);
        return true;
    }
    if (first < 0xc0) { /* fixstr */
        n = first & 31;
    } else {
        if (!take_number(in, forms[first & 31].length, &n))
            return false;
        *items = n * forms[first & 31].items;
        n = (forms[first & 31].items ? 0 : n) + forms[first & 31].fixed;
    }
    if ((uint64_t)(in->end - in->p) < n)
        return false;
    in->p += n;
    return true;
}

static const char *check_shape(struct str message)
{
    struct bytes in = {(const unsigned char *)message.p, (const unsigned char *)message.p + message.n};
    uint64_t left[FORMAT_DEPTH_MAX + 1] = {1}, items; /* values still to come, at each depth */
    unsigned depth = 0;
    for (;;) {
        while (left[depth] == 0 && depth > 0)
            depth--;
        if (left[depth] == 0)
            break;
        left[depth]--;
        if (!take_value(&in, &items))
            return "MessagePack value is cut off or malformed";
        if (items > 0 && depth == FORMAT_DEPTH_MAX)
            return "MessagePack value nests too deeply";
        if (items > 0)
            left[++depth] = items;
    }
    return in.p == in.end ? NULL : "trailing bytes after the MessagePack value";
}

/* ---- plain values ---- */

static struct str text_of(const msgpack_object *o)
{
    return str_make(o->via.str.size ? o->via.str.ptr : "", o->via.str.size);
}

static bool is(const msgpack_object *o, msgpack_object_type type)
{
    return o->type == type;
}

static bool is_number(const msgpack_object *o)
{
    return is(o, MSGPACK_OBJECT_POSITIVE_INTEGER) || is(o, MSGPACK_OBJECT_NEGATIVE_INTEGER) ||
           is(o, MSGPACK_OBJECT_FLOAT32) || is(o, MSGPACK_OBJECT_FLOAT64);
}

static void read_plain(struct binary_reader *r, struct str field, const msgpack_object *o);

/* False: it has been refused. */
static bool read_key(struct binary_reader *r, struct str field, const msgpack_object *key)
{
    if (is(key, MSGPACK_OBJECT_STR))
        reader_key(r, field, text_of(key));
    else
        reader_fails(r, field, "must have strings as keys");
    return !r->wrong;
}

static void read_map(struct binary_reader *r, struct str field, const msgpack_object_map *map)
{
    buf_char(&r->json, '{');
    for (uint32_t i = 0; i < map->size && !r->wrong; i++)
        if (read_key(r, field, &map->ptr[i].key))
            read_plain(r, field, &map->ptr[i].val);
    buf_char(&r->json, '}');
}

static void read_array(struct binary_reader *r, struct str field, const msgpack_object_array *array)
{
    buf_char(&r->json, '[');
    for (uint32_t i = 0; i < array->size && !r->wrong; i++) {
        if (i > 0)
            buf_char(&r->json, ',');
        read_plain(r, field, &array->ptr[i]);
    }
    buf_char(&r->json, ']');
}

static void read_number(struct binary_reader *r, struct str field, const msgpack_object *o)
{
    if (is(o, MSGPACK_OBJECT_POSITIVE_INTEGER))
        buf_u64(&r->json, o->via.u64);
    else if (is(o, MSGPACK_OBJECT_NEGATIVE_INTEGER))
        buf_i64(&r->json, o->via.i64);
    else
        reader_double(r, field, o->via.f64);
}

static void read_plain(struct binary_reader *r, struct str field, const msgpack_object *o)
{
    switch (o->type) {
    case MSGPACK_OBJECT_NIL:
        buf_lit(&r->json, "null");
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        buf_str(&r->json, o->via.boolean ? STR("true") : STR("false"));
        break;
    case MSGPACK_OBJECT_STR:
        reader_text(r, field, text_of(o));
        break;
    case MSGPACK_OBJECT_BIN:
        reader_bytes(r, str_make(o->via.bin.ptr, o->via.bin.size));
        break;
    case MSGPACK_OBJECT_ARRAY:
        read_array(r, field, &o->via.array);
        break;
    case MSGPACK_OBJECT_MAP:
        read_map(r, field, &o->via.map);
        break;
    case MSGPACK_OBJECT_EXT:
        reader_fails(r, field, "must not contain extension types");
        break;
    default:
        read_number(r, field, o);
    }
}

/* ---- fields ---- */

static void read_text(struct binary_reader *r, struct str field, const msgpack_object *o)
{
    if (is(o, MSGPACK_OBJECT_STR))
        reader_text(r, field, text_of(o));
    else
        reader_fails(r, field, "must be a string");
}

static void read_u64(struct binary_reader *r, struct str field, const msgpack_object *o)
{
    if (is(o, MSGPACK_OBJECT_POSITIVE_INTEGER))
        buf_u64(&r->json, o->via.u64);
    else
        reader_fails(r, field, "must be a non-negative integer");
}

/* A map as an object; value_field names its values in errors. */
static void read_entries(struct binary_reader *r, struct str field, struct str value_field, const msgpack_object *o,
                         void (*read_value)(struct binary_reader *r, struct str field, const msgpack_object *o))
{
    if (!is(o, MSGPACK_OBJECT_MAP)) {
        reader_fails(r, field, "must be a map");
        return;
    }
    buf_char(&r->json, '{');
    for (uint32_t i = 0; i < o->via.map.size && !r->wrong; i++)
        if (read_key(r, field, &o->via.map.ptr[i].key))
            read_value(r, value_field, &o->via.map.ptr[i].val);
    buf_char(&r->json, '}');
}

static void read_tags(struct binary_reader *r, struct str field, const msgpack_object *o)
{
    read_entries(r, field, STR("tags: a value"), o, read_text);
}

/* ---- data ---- */

static const struct str structured[] = {STR("channel_data"), STR("channel"), STR("user_data")};
enum { STRUCTURED_TEXTS = 3 };

/* The members of `extra`: JSON texts. */
static void read_extra(struct binary_reader *r, const msgpack_object *o)
{
    struct str field = STR("data.extra");
    if (is(o, MSGPACK_OBJECT_NIL))
        return;
    if (!is(o, MSGPACK_OBJECT_MAP)) {
        reader_fails(r, field, "must be a map");
        return;
    }
    for (uint32_t i = 0; i < o->via.map.size && !r->wrong; i++) {
        const msgpack_object_kv *kv = &o->via.map.ptr[i];
        if (!read_key(r, field, &kv->key))
            return;
        if (is(&kv->val, MSGPACK_OBJECT_STR))
            reader_json(r, field, text_of(&kv->val));
        else
            reader_fails(r, field, "must have JSON text as values");
    }
}

/* Member number `index` of a structured value, named like in its map form. */
static void read_structured_part(struct binary_reader *r, unsigned index, const msgpack_object *o)
{
    if (is(o, MSGPACK_OBJECT_NIL))
        return;
    if (index == STRUCTURED_TEXTS) {
        read_extra(r, o);
        return;
    }
    reader_key(r, STR("data"), structured[index]);
    read_text(r, STR("data: channel_data, channel and user_data each"), o);
}

static unsigned structured_index(struct str name)
{
    for (unsigned i = 0; i < STRUCTURED_TEXTS; i++)
        if (str_eq(name, structured[i]))
            return i;
    return str_eq(name, STR("extra")) ? STRUCTURED_TEXTS : STRUCTURED_TEXTS + 1;
}

static void read_structured(struct binary_reader *r, const msgpack_object *o)
{
    buf_char(&r->json, '{');
    if (is(o, MSGPACK_OBJECT_ARRAY))
        for (uint32_t i = 0; i < o->via.array.size && i <= STRUCTURED_TEXTS && !r->wrong; i++)
            read_structured_part(r, i, &o->via.array.ptr[i]);
    else if (is(o, MSGPACK_OBJECT_MAP))
        for (uint32_t i = 0; i < o->via.map.size && !r->wrong; i++) {
            const msgpack_object_kv *kv = &o->via.map.ptr[i];
            unsigned index = is(&kv->key, MSGPACK_OBJECT_STR) ? structured_index(text_of(&kv->key)) : STRUCTURED_TEXTS + 1;
            if (index <= STRUCTURED_TEXTS)
                read_structured_part(r, index, &kv->val);
        }
    else
        reader_fails(r, STR("data"), "of kind structured must be an array or a map");
    buf_char(&r->json, '}');
}

static void read_data(struct binary_reader *r, const msgpack_object *o, enum data_form *form)
{
    struct str field = STR("data"), kind = STR_NONE;
    const msgpack_object *parts = is(o, MSGPACK_OBJECT_ARRAY) && o->via.array.size == 2 ? o->via.array.ptr : NULL;
    if (parts && is(&parts[0], MSGPACK_OBJECT_STR))
        kind = text_of(&parts[0]);
    if (str_eq(kind, STR("structured"))) {
        read_structured(r, &parts[1]);
    } else if (str_eq(kind, STR("string"))) {
        read_text(r, field, &parts[1]);
    } else if (str_eq(kind, STR("json")) && is(&parts[1], MSGPACK_OBJECT_STR)) {
        reader_json(r, field, text_of(&parts[1]));
    } else if (str_eq(kind, STR("binary")) && is(&parts[1], MSGPACK_OBJECT_BIN)) {
        reader_bytes(r, str_make(parts[1].via.bin.ptr, parts[1].via.bin.size));
        *form = DATA_BYTES;
    } else {
        reader_fails(r, field, "must be nil or [kind, value] with kind string, json, binary or structured");
    }
}

/* ---- extras ---- */

static void read_header(struct binary_reader *r, struct str field, const msgpack_object *o)
{
    if (is(o, MSGPACK_OBJECT_ARRAY) && o->via.array.size == 2)
        o = &o->via.array.ptr[1]; /* [kind, value]: the value tells */
    if (is(o, MSGPACK_OBJECT_STR) || is(o, MSGPACK_OBJECT_BOOLEAN) || is_number(o))
        read_plain(r, field, o);
    else
        reader_fails(r, field, "values must be strings, numbers or booleans");
}

static void read_headers(struct binary_reader *r, const msgpack_object *o)
{
    struct str field = STR("extras.headers");
    read_entries(r, field, field, o, read_header);
}

/* A map, or [transport, codec]. */
static void read_ai(struct binary_reader *r, const msgpack_object *o)
{
    static const struct str names[] = {STR("transport"), STR("codec")};
    struct str field = STR("extras.ai");
    if (!is(o, MSGPACK_OBJECT_ARRAY)) {
        read_plain(r, field, o);
        return;
    }
    buf_char(&r->json, '{');
    for (uint32_t i = 0; i < o->via.array.size && i < 2; i++) {
        reader_key(r, field, names[i]);
        read_plain(r, field, &o->via.array.ptr[i]);
    }
    buf_char(&r->json, '}');
}

static void read_extras_member(struct binary_reader *r, struct str key, const msgpack_object *value)
{
    bool idempotency = str_eq(key, STR("idempotency_key"));
    if (is(value, MSGPACK_OBJECT_NIL))
        return;
    reader_key(r, STR("extras"), idempotency ? STR("idempotencyKey") : key);
    if (r->wrong)
        return;
    if (str_eq(key, STR("headers")))
        read_headers(r, value);
    else if (str_eq(key, STR("ai")))
        read_ai(r, value);
    else
        read_plain(r, STR("extras"), value);
}

static void read_extras(struct binary_reader *r, const msgpack_object *o)
{
    static const struct str names[] = {STR("headers"), STR("ephemeral"), STR("idempotency_key"), STR("echo"), STR("ai")};
    buf_char(&r->json, '{');
    if (is(o, MSGPACK_OBJECT_ARRAY))
        for (uint32_t i = 0; i < o->via.array.size && i < 5 && !r->wrong; i++)
            read_extras_member(r, names[i], &o->via.array.ptr[i]);
    else if (is(o, MSGPACK_OBJECT_MAP))
        for (uint32_t i = 0; i < o->via.map.size && !r->wrong; i++) {
            const msgpack_object_kv *kv = &o->via.map.ptr[i];
            if (is(&kv->key, MSGPACK_OBJECT_STR))
                read_extras_member(r, text_of(&kv->key), &kv->val);
            else
                reader_fails(r, STR("extras"), "must have strings as keys");
        }
    else
        reader_fails(r, STR("extras"), "must be a map or an array");
    buf_char(&r->json, '}');
}

/* ---- the envelope ---- */

static void read_field(struct binary_reader *r, unsigned field, const msgpack_object *o, struct binary_message *out)
{
    const struct field_info *info = &binary_fields[field];
    size_t from = r->json.n;
    if (is(o, MSGPACK_OBJECT_NIL) || r->wrong)
        return;
    switch (info->kind) {
    case KIND_TEXT:
        read_text(r, info->name, o);
        break;
    case KIND_U64:
        read_u64(r, info->name, o);
        break;
    case KIND_DATA:
        out->form = DATA_JSON;
        read_data(r, o, &out->form);
        break;
    case KIND_TAGS:
        read_tags(r, info->name, o);
        break;
    case KIND_EXTRAS:
        read_extras(r, o);
        break;
    }
    out->values[field] = reader_take(r, from);
}

static void read_named_field(struct binary_reader *r, const msgpack_object_kv *kv, struct binary_message *out)
{
    if (!is(&kv->key, MSGPACK_OBJECT_STR)) {
        reader_fails(r, STR("a message"), "must have strings as keys");
        return;
    }
    for (unsigned i = 0; i < FIELDS; i++)
        if (str_eq(text_of(&kv->key), binary_fields[i].name) || str_eq(text_of(&kv->key), binary_fields[i].json))
            read_field(r, i, &kv->val, out);
}

/* Names and positions that we do not know are passed over. */
static void read_envelope(struct binary_reader *r, const msgpack_object *o, struct binary_message *out)
{
    if (is(o, MSGPACK_OBJECT_ARRAY))
        for (uint32_t i = 0; i < o->via.array.size && i < FIELDS; i++)
            read_field(r, i, &o->via.array.ptr[i], out);
    else if (is(o, MSGPACK_OBJECT_MAP))
        for (uint32_t i = 0; i < o->via.map.size; i++)
            read_named_field(r, &o->via.map.ptr[i], out);
    else
        reader_fails(r, STR("a message"), "must be a MessagePack array or map");
}

const char *msgpack_read(struct str bytes, struct binary_reader *r, struct binary_message *out)
{
    msgpack_unpacked unpacked;
    size_t offset = 0;
    r->wrong = check_shape(bytes);
    if (r->wrong)
        return r->wrong;
    msgpack_unpacked_init(&unpacked);
    if (msgpack_unpack_next(&unpacked, bytes.p, bytes.n, &offset) == MSGPACK_UNPACK_SUCCESS && offset == bytes.n)
        read_envelope(r, &unpacked.data, out);
    else
        r->wrong = "MessagePack value is malformed";
    msgpack_unpacked_destroy(&unpacked);
    return r->wrong;
}
