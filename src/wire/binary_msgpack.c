/* binary_msgpack.c - a message as MessagePack (chapter 1, 9.1).
 *
 *      [event, channel, ["string","Hel"], name, user_id, tags, ..., extras, delta_seq, delta_conflation_key]
 *        JSON string      -> ["string", text]          null = absent: nil
 *        any other JSON   -> ["json", its text]
 *        bytes            -> ["binary", bin]
 *
 * Values are written one behind the other into a buffer of the JSON's size, which hardly ever grows, and copied into
 * the frame once.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <msgpack.h>

#include "wire/binary.h"
#include "wire/key.h"

struct writer {
    msgpack_packer pack;
    struct buf out;
    struct buf text; /* the last decoded text */
};

static int put(void *user, const char *p, size_t n)
{
    buf_put(user, p, n);
    return 0;
}

/* ---- plain values ---- */

static void put_text(struct writer *w, struct str text)
{
    msgpack_pack_str(&w->pack, text.n);
    if (text.n)
        msgpack_pack_str_body(&w->pack, text.p, text.n);
}

static void put_string(struct writer *w, struct str value)
{
    buf_clear(&w->text);
    put_text(w, json_text(value, &w->text));
}

static void put_key(struct writer *w, struct str key_raw)
{
    buf_clear(&w->text);
    put_text(w, json_key_text(key_raw, &w->text));
}

static void put_number(struct writer *w, struct str value)
{
    uint64_t number;
    int64_t negative;
    if (json_u64(value, &number))
        msgpack_pack_uint64(&w->pack, number);
    else if (json_i64(value, &negative))
        msgpack_pack_int64(&w->pack, negative);
    else
        msgpack_pack_double(&w->pack, json_double(value));
}

static size_t members_of(struct str object)
{
    struct str key_raw, value;
    struct json_iter it = json_iter(object);
    size_t count = 0;
    while (json_next_member(&it, &key_raw, &value))
        count++;
    return count;
}

static void put_plain(struct writer *w, struct str value);

static void put_map(struct writer *w, struct str object)
{
    struct str key_raw, value;
    struct json_iter it = json_iter(object);
    msgpack_pack_map(&w->pack, members_of(object));
    while (json_next_member(&it, &key_raw, &value)) {
        put_key(w, key_raw);
        put_plain(w, value);
    }
}

static void put_array(struct writer *w, struct str array)
{
    struct str item;
    size_t count = 0;
    for (struct json_iter it = json_iter(array); json_next_item(&it, &item);)
        count++;
    msgpack_pack_array(&w->pack, count);
    for (struct json_iter it = json_iter(array); json_next_item(&it, &item);)
        put_plain(w, item);
}

/* No deeper than JSON_DEPTH_MAX, which was checked when the text came. */
static void put_plain(struct writer *w, struct str value)
{
    switch (json_type(value)) {
    case JSON_NULL:
        msgpack_pack_nil(&w->pack);
        break;
    case JSON_FALSE:
        msgpack_pack_false(&w->pack);
        break;
    case JSON_TRUE:
        msgpack_pack_true(&w->pack);
        break;
    case JSON_NUMBER:
        put_number(w, value);
        break;
    case JSON_STRING:
        put_string(w, value);
        break;
    case JSON_ARRAY:
        put_array(w, value);
        break;
    case JSON_OBJECT:
        put_map(w, value);
        break;
    }
}

/* ---- fields ---- */

static void put_kind(struct writer *w, struct str kind)
{
    msgpack_pack_array(&w->pack, 2);
    put_text(w, kind);
}

static bool put_bytes(struct writer *w, struct str array)
{
    buf_clear(&w->text);
    if (!bytes_of_array(array, &w->text))
        return false;
    put_kind(w, STR("binary"));
    msgpack_pack_bin(&w->pack, w->text.n);
    if (w->text.n)
        msgpack_pack_bin_body(&w->pack, w->text.p, w->text.n);
    return true;
}

static void put_data(struct writer *w, struct str value, enum data_form form)
{
    if (form == DATA_BYTES && put_bytes(w, value))
        return;
    if (json_is(value, JSON_STRING)) {
        put_kind(w, STR("string"));
        put_string(w, value);
    } else {
        put_kind(w, STR("json"));
        put_text(w, value);
    }
}

static void put_header(struct writer *w, struct str value)
{
    switch (json_type(value)) {
    case JSON_STRING:
        put_kind(w, STR("string"));
        put_string(w, value);
        break;
    case JSON_NUMBER:
        put_kind(w, STR("number"));
        msgpack_pack_double(&w->pack, json_double(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        put_kind(w, STR("bool"));
        put_plain(w, value);
        break;
    default:
        put_plain(w, value);
    }
}

static void put_headers(struct writer *w, struct str headers)
{
    struct str key_raw, value;
    struct json_iter it = json_iter(headers);
    msgpack_pack_map(&w->pack, members_of(headers));
    while (json_next_member(&it, &key_raw, &value)) {
        put_key(w, key_raw);
        put_header(w, value);
    }
}

static void put_extras(struct writer *w, struct str extras)
{
    struct str key_raw, value;
    struct json_iter it = json_iter(extras);
    msgpack_pack_map(&w->pack, members_of(extras));
    while (json_next_member(&it, &key_raw, &value)) {
        if (key_means(key_raw, STR("idempotencyKey")))
            put_text(w, STR("idempotency_key"));
        else
            put_key(w, key_raw);
        if (key_means(key_raw, STR("headers")) && json_is(value, JSON_OBJECT))
            put_headers(w, value);
        else
            put_plain(w, value);
    }
}

static void put_field(struct writer *w, enum field_kind kind, struct str value, enum data_form form)
{
    if (!value.p)
        msgpack_pack_nil(&w->pack);
    else if (kind == KIND_DATA)
        put_data(w, value, form);
    else if (kind == KIND_EXTRAS)
        put_extras(w, value);
    else
        put_plain(w, value);
}

struct frame *msgpack_frame(const struct binary_message *m, size_t json_size)
{
    struct writer w = {0};
    msgpack_packer_init(&w.pack, &w.out, put);
    buf_reserve(&w.out, json_size + FIELDS);
    msgpack_pack_array(&w.pack, FIELDS);
    for (unsigned i = 0; i < FIELDS; i++)
        put_field(&w, binary_fields[i].kind, m->values[i], m->form);
    struct frame *f = frame_new(FRAME_BINARY, buf_view(&w.out));
    buf_free(&w.out);
    buf_free(&w.text);
    return f;
}
