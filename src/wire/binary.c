/* binary.c - from a JSON frame to its fields and back; what both formats need.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "wire/binary.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "wire/key.h"

const struct field_info binary_fields[FIELDS] = {
    [FIELD_EVENT] = {STR("event"), STR("event"), KIND_TEXT},
    [FIELD_CHANNEL] = {STR("channel"), STR("channel"), KIND_TEXT},
    [FIELD_DATA] = {STR("data"), STR("data"), KIND_DATA},
    [FIELD_NAME] = {STR("name"), STR("name"), KIND_TEXT},
    [FIELD_USER_ID] = {STR("user_id"), STR("user_id"), KIND_TEXT},
    [FIELD_TAGS] = {STR("tags"), STR("tags"), KIND_TAGS},
    [FIELD_SEQUENCE] = {STR("sequence"), STR("sequence"), KIND_U64},
    [FIELD_CONFLATION_KEY] = {STR("conflation_key"), STR("conflation_key"), KIND_TEXT},
    [FIELD_MESSAGE_ID] = {STR("message_id"), STR("message_id"), KIND_TEXT},
    [FIELD_STREAM_ID] = {STR("stream_id"), STR("stream_id"), KIND_TEXT},
    [FIELD_SERIAL] = {STR("serial"), STR("serial"), KIND_U64},
    [FIELD_IDEMPOTENCY_KEY] = {STR("idempotency_key"), STR("idempotency_key"), KIND_TEXT},
    [FIELD_EXTRAS] = {STR("extras"), STR("extras"), KIND_EXTRAS},
    [FIELD_DELTA_SEQUENCE] = {STR("delta_seq"), STR("__delta_seq"), KIND_U64},
    [FIELD_DELTA_CONFLATION_KEY] = {STR("delta_conflation_key"), STR("__conflation_key"), KIND_TEXT},
};

bool wire_format_read(struct str format, struct str client, enum wire_format *out)
{
    struct str name = str_trim(format);
    *out = FORMAT_JSON;
    if (name.n == 0 || str_eq_nocase(name, STR("json")))
        return true;
    if (str_eq_nocase(name, STR("msgpack")) || str_eq_nocase(name, STR("messagepack"))) {
        *out = FORMAT_MSGPACK;
        return true;
    }
    bool older = str_eq_nocase(client, STR("csharp")) || str_eq_nocase(client, STR("flutter"));
    *out = older ? FORMAT_PROTOBUF_OLDER : FORMAT_PROTOBUF;
    return str_eq_nocase(name, STR("protobuf")) || str_eq_nocase(name, STR("proto"));
}

/* ---- out ---- */

/* Fields come in their order, so the search for the next one starts behind the last. */
static unsigned find_field(struct str key_raw, unsigned *from)
{
    for (unsigned i = 0; i < FIELDS; i++) {
        unsigned at = (*from + i) % FIELDS;
        if (key_means(key_raw, binary_fields[at].json)) {
            *from = at + 1;
            return at;
        }
    }
    return FIELDS;
}

static bool fits(enum field_kind kind, struct str value)
{
    uint64_t number;
    switch (kind) {
    case KIND_TEXT:
        return json_is(value, JSON_STRING);
    case KIND_U64:
        return json_u64(value, &number);
    case KIND_DATA:
        return true;
    default:
        return json_is(value, JSON_OBJECT);
    }
}

struct frame *frame_convert(const struct frame *json, enum wire_format format, enum data_form form)
{
    struct binary_message m = {.form = form};
    struct str key_raw, value, payload = frame_payload(json);
    struct json_iter it = json_iter(payload);
    unsigned next = 0;
    assert(format != FORMAT_JSON);
    while (json_next_member(&it, &key_raw, &value)) {
        unsigned field = find_field(key_raw, &next);
        if (field < FIELDS && fits(binary_fields[field].kind, value))
            m.values[field] = value;
    }
    return format == FORMAT_MSGPACK ? msgpack_frame(&m, payload.n) : protobuf_frame(&m, format);
}

bool bytes_of_array(struct str array, struct buf *out)
{
    struct str item;
    uint64_t byte;
    if (!json_is(array, JSON_ARRAY))
        return false;
    struct json_iter it = json_iter(array);
    while (json_next_item(&it, &item)) {
        if (!json_u64(item, &byte) || byte > UINT8_MAX)
            return false;
        buf_char(out, (char)byte);
    }
    return true;
}

double json_double(struct str number)
{
    uint64_t whole;
    if (json_u64(number, &whole))
        return (double)whole;
    char *text = str_dup(number);
    double value = strtod(text, NULL);
    free(text);
    return value;
}

/* ---- in ---- */

void reader_fails(struct binary_reader *r, struct str field, const char *what)
{
    struct buf text = {0};
    if (r->wrong)
        return;
    buf_fmt(&text, "%.*s %s", STR_ARG(field), what);
    buf_char(&text, 0);
    r->wrong = arena_copy(r->arena, buf_view(&text)).p;
    buf_free(&text);
}

void reader_text(struct binary_reader *r, struct str field, struct str text)
{
    if (str_is_utf8(text))
        buf_json(&r->json, text);
    else
        reader_fails(r, field, "must be UTF-8");
}

void reader_json(struct binary_reader *r, struct str field, struct str json_text)
{
    struct str value;
    if (json_check(json_text, &value, NULL))
        buf_str(&r->json, value);
    else
        reader_fails(r, field, "must be JSON text");
}

/* As few digits as give the same double again. */
void reader_double(struct binary_reader *r, struct str field, double number)
{
    char text[32];
    if (!isfinite(number)) {
        reader_fails(r, field, "must be a finite number");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    buf_str(&r->json, str_of(text));
}

void reader_bytes(struct binary_reader *r, struct str bytes)
{
    buf_char(&r->json, '[');
    for (size_t i = 0; i < bytes.n; i++) {
        if (i > 0)
            buf_char(&r->json, ',');
        buf_u64(&r->json, (unsigned char)bytes.p[i]);
    }
    buf_char(&r->json, ']');
}

void reader_key(struct binary_reader *r, struct str field, struct str key)
{
    if (r->json.p[r->json.n - 1] != '{')
        buf_char(&r->json, ',');
    reader_text(r, field, key);
    buf_char(&r->json, ':');
}

struct str reader_take(struct binary_reader *r, size_t from)
{
    return arena_copy(r->arena, str_from(buf_view(&r->json), from));
}

static struct str json_of(const struct binary_message *m, struct arena *arena)
{
    struct buf json = {0};
    buf_char(&json, '{');
    for (unsigned i = 0; i < FIELDS; i++) {
        if (!m->values[i].p)
            continue;
        if (json.n > 1)
            buf_char(&json, ',');
        buf_json(&json, binary_fields[i].json);
        buf_char(&json, ':');
        buf_str(&json, m->values[i]);
    }
    buf_char(&json, '}');
    struct str copy = arena_copy(arena, buf_view(&json));
    buf_free(&json);
    return copy;
}

const char *binary_to_json(struct str bytes, enum wire_format format, struct arena *arena, struct str *json, enum data_form *form)
{
    struct binary_reader r = {.arena = arena};
    struct binary_message m = {.form = DATA_JSON};
    const char *wrong = format == FORMAT_MSGPACK ? msgpack_read(bytes, &r, &m) : protobuf_read(bytes, format, &r, &m);
    buf_free(&r.json);
    if (wrong)
        return wrong;
    *json = json_of(&m, arena);
    *form = m.form;
    return NULL;
}

const char *client_message_decode(struct str bytes, enum wire_format format, struct arena *arena, struct client_message *out)
{
    struct str json = bytes;
    enum data_form form = DATA_JSON;
    *out = (struct client_message){.raw = bytes};
    const char *wrong = format == FORMAT_JSON ? NULL : binary_to_json(bytes, format, arena, &json, &form);
    if (!wrong)
        wrong = client_message_read(json, arena, out);
    out->form = form;
    return wrong;
}
