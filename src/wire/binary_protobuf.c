/* binary_protobuf.c - a message as Protobuf (chapter 1, 9.2).
 *
 * The fields become a tree of protobuf-c's structs in an arena, texts without escapes staying where they are in the JSON. Its size
 * is asked for, and then it is written straight into the frame.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "wire/binary_protobuf.h"

#include <assert.h>

#include "wire/key.h"

#define PLACE(field) {offsetof(Pb__Message, has_##field), offsetof(Pb__Message, field)}
const struct protobuf_place protobuf_places[FIELDS] = {
    [FIELD_EVENT] = PLACE(event),
    [FIELD_CHANNEL] = PLACE(channel),
    [FIELD_NAME] = PLACE(name),
    [FIELD_USER_ID] = PLACE(user_id),
    [FIELD_SEQUENCE] = PLACE(sequence),
    [FIELD_CONFLATION_KEY] = PLACE(conflation_key),
    [FIELD_MESSAGE_ID] = PLACE(message_id),
    [FIELD_STREAM_ID] = PLACE(stream_id),
    [FIELD_SERIAL] = PLACE(serial),
    [FIELD_IDEMPOTENCY_KEY] = PLACE(idempotency_key),
    [FIELD_DELTA_SEQUENCE] = PLACE(delta_seq),
    [FIELD_DELTA_CONFLATION_KEY] = PLACE(delta_conflation_key),
};

struct writer {
    struct arena arena;
    struct buf text; /* decodes into it */
};

static ProtobufCBinaryData view(struct str s)
{
    return (ProtobufCBinaryData){s.n, (uint8_t *)s.p};
}

/* Decoded text is in w->text, the rest is a view of the JSON. */
static struct str keep(struct writer *w, struct str text)
{
    return w->text.n > 0 ? arena_copy(&w->arena, text) : text;
}

static ProtobufCBinaryData key_of(struct writer *w, struct str key_raw)
{
    buf_clear(&w->text);
    return view(keep(w, json_key_text(key_raw, &w->text)));
}

/* What is no string stays JSON text. */
static ProtobufCBinaryData text_of(struct writer *w, struct str value)
{
    buf_clear(&w->text);
    return view(json_is(value, JSON_STRING) ? keep(w, json_text(value, &w->text)) : value);
}

static size_t members_of(struct str object)
{
    struct str key_raw, value;
    size_t count = 0;
    if (!json_is(object, JSON_OBJECT))
        return 0;
    for (struct json_iter it = json_iter(object); json_next_member(&it, &key_raw, &value);)
        count++;
    return count;
}

static Pb__TextEntry **entries_of(struct writer *w, struct str object, size_t *count)
{
    struct str key_raw, value;
    *count = members_of(object);
    if (*count == 0)
        return NULL;
    Pb__TextEntry **entries = arena_alloc(&w->arena, *count * sizeof *entries);
    struct json_iter it = json_iter(object);
    for (size_t i = 0; json_next_member(&it, &key_raw, &value); i++) {
        entries[i] = arena_alloc(&w->arena, sizeof **entries);
        pb__text_entry__init(entries[i]);
        entries[i]->has_key = entries[i]->has_value = true;
        entries[i]->key = key_of(w, key_raw);
        entries[i]->value = text_of(w, value);
    }
    return entries;
}

/* ---- data ---- */

static bool as_bytes(struct writer *w, struct str array, ProtobufCBinaryData *out)
{
    buf_clear(&w->text);
    if (!bytes_of_array(array, &w->text))
        return false;
    *out = view(keep(w, buf_view(&w->text)));
    return true;
}

static Pb__Data *data_of(struct writer *w, struct str value, enum data_form form)
{
    Pb__Data *data = arena_alloc(&w->arena, sizeof *data);
    pb__data__init(data);
    if (form == DATA_BYTES && as_bytes(w, value, &data->binary)) {
        data->kind_case = PB__DATA__KIND_BINARY;
    } else if (json_is(value, JSON_STRING)) {
        data->kind_case = PB__DATA__KIND_TEXT;
        data->text = text_of(w, value);
    } else {
        data->kind_case = PB__DATA__KIND_JSON;
        data->json = view(value);
    }
    return data;
}

/* ---- extras ---- */

static Pb__Value *value_of(struct writer *w, struct str json)
{
    Pb__Value *value = arena_alloc(&w->arena, sizeof *value);
    pb__value__init(value);
    switch (json_type(json)) {
    case JSON_NULL:
        break;
    case JSON_NUMBER:
        value->kind_case = PB__VALUE__KIND_NUMBER;
        value->number = json_double(json);
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        value->kind_case = PB__VALUE__KIND_BOOLEAN;
        value->boolean = json_is(json, JSON_TRUE);
        break;
    default:
        value->kind_case = PB__VALUE__KIND_TEXT;
        value->text = text_of(w, json);
    }
    return value;
}

static void put_headers(struct writer *w, struct str object, Pb__Extras *extras)
{
    struct str key_raw, value;
    size_t count = members_of(object);
    if (count == 0)
        return;
    extras->n_headers = count;
    extras->headers = arena_alloc(&w->arena, count * sizeof *extras->headers);
    struct json_iter it = json_iter(object);
    for (size_t i = 0; json_next_member(&it, &key_raw, &value); i++) {
        Pb__Header *header = arena_alloc(&w->arena, sizeof *header);
        pb__header__init(header);
        header->has_key = true;
        header->key = key_of(w, key_raw);
        header->value = value_of(w, value);
        extras->headers[i] = header;
    }
}

static Pb__Ai *ai_of(struct writer *w, struct str object)
{
    Pb__Ai *ai = arena_alloc(&w->arena, sizeof *ai);
    pb__ai__init(ai);
    ai->transport = entries_of(w, json_get(object, STR("transport")), &ai->n_transport);
    ai->codec = entries_of(w, json_get(object, STR("codec")), &ai->n_codec);
    return ai;
}

static void put_flag(struct str value, protobuf_c_boolean *has, protobuf_c_boolean *flag)
{
    bool set = false;
    *has = json_bool(value, &set);
    *flag = set;
}

/* What the table has no number for is left out. */
static void put_member(struct writer *w, struct str key_raw, struct str value, Pb__Extras *extras)
{
    if (key_means(key_raw, STR("headers"))) {
        put_headers(w, value, extras);
    } else if (key_means(key_raw, STR("ephemeral"))) {
        put_flag(value, &extras->has_ephemeral, &extras->ephemeral);
    } else if (key_means(key_raw, STR("idempotencyKey")) && json_is(value, JSON_STRING)) {
        extras->has_idempotency_key = true;
        extras->idempotency_key = text_of(w, value);
    } else if (key_means(key_raw, STR("echo"))) {
        put_flag(value, &extras->has_echo, &extras->echo);
    } else if (key_means(key_raw, STR("ai")) && json_is(value, JSON_OBJECT)) {
        extras->ai = ai_of(w, value);
    }
}

static Pb__Extras *extras_of(struct writer *w, struct str object)
{
    struct str key_raw, value;
    Pb__Extras *extras = arena_alloc(&w->arena, sizeof *extras);
    pb__extras__init(extras);
    for (struct json_iter it = json_iter(object); json_next_member(&it, &key_raw, &value);)
        put_member(w, key_raw, value, extras);
    return extras;
}

/* ---- the envelope ---- */

static void put_field(struct writer *w, Pb__Message *m, unsigned field, struct str value, enum data_form form)
{
    const struct protobuf_place *place = &protobuf_places[field];
    switch (binary_fields[field].kind) {
    case KIND_TEXT:
        *(protobuf_c_boolean *)((char *)m + place->has) = true;
        *(ProtobufCBinaryData *)((char *)m + place->at) = text_of(w, value);
        break;
    case KIND_U64:
        *(protobuf_c_boolean *)((char *)m + place->has) = json_u64(value, (uint64_t *)((char *)m + place->at));
        break;
    case KIND_DATA:
        m->data = data_of(w, value, form);
        break;
    case KIND_TAGS:
        m->tags = entries_of(w, value, &m->n_tags);
        break;
    case KIND_EXTRAS:
        m->extras = extras_of(w, value);
        break;
    }
}

struct frame *protobuf_frame(const struct binary_message *m, enum wire_format format)
{
    struct writer w = {0};
    Pb__Message message = PB__MESSAGE__INIT;
    message.base.descriptor = protobuf_descriptor(format);
    for (unsigned i = 0; i < FIELDS; i++)
        if (m->values[i].p)
            put_field(&w, &message, i, m->values[i], m->form);
    size_t size = protobuf_c_message_get_packed_size(&message.base);
    struct frame *f = frame_new_raw(size);
    size_t written = protobuf_c_message_pack(&message.base, (uint8_t *)frame_room(f));
    assert(written == size);
    frame_seal(f, FRAME_BINARY, written);
    arena_free(&w.arena);
    buf_free(&w.text);
    return f;
}
