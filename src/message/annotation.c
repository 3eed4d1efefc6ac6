/* annotation.c - types, serials and the stored form of annotations.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "message/annotation.h"

#include "base/json.h"

void annotation_serial_print(char out[ANNOTATION_SERIAL_SIZE + 1], uint64_t serial)
{
    memcpy(out, "ann:", 4);
    for (int i = ANNOTATION_SERIAL_SIZE - 1; i >= 4; i--, serial /= 10)
        out[i] = (char)('0' + serial % 10);
    out[ANNOTATION_SERIAL_SIZE] = '\0';
}

bool annotation_serial_parse(struct str text, uint64_t *serial)
{
    return text.n == ANNOTATION_SERIAL_SIZE && str_starts(text, STR("ann:")) && str_to_u64(str_from(text, 4), serial);
}

/* ---- types ---- */

static const struct {
    struct str name;
    enum summarizer kind;
    bool wants_client, wants_name;
} summarizers[] = {
    {STR("total"), SUMMARIZE_TOTAL, false, false},     {STR("flag"), SUMMARIZE_FLAG, true, false},
    {STR("distinct"), SUMMARIZE_DISTINCT, true, true}, {STR("unique"), SUMMARIZE_UNIQUE, true, true},
    {STR("multiple"), SUMMARIZE_MULTIPLE, false, true},
};
enum { SUMMARIZERS = sizeof summarizers / sizeof *summarizers };

static bool has_space(struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] <= ' ')
            return true;
    return false;
}

/* Where the last ".v" begins; -1 = nowhere. */
static ptrdiff_t version_at(struct str text)
{
    for (size_t i = text.n; i-- > 1;)
        if (text.p[i - 1] == '.' && text.p[i] == 'v')
            return (ptrdiff_t)i - 1;
    return -1;
}

const char *annotation_type_read(struct str type, enum summarizer *out)
{
    ptrdiff_t colon = str_index(type, ':');
    if (type.n == 0 || type.n > ANNOTATION_TYPE_MAX || has_space(type))
        return "annotation type must be 1..=256 bytes without whitespace";
    if (colon < 1)
        return "annotation type must be namespace:summarizer.v1";
    struct str rest = str_from(type, (size_t)colon + 1);
    ptrdiff_t version = version_at(rest);
    if (version < 1)
        return "annotation type must be namespace:summarizer.v1";
    if (!str_eq(str_from(rest, (size_t)version), STR(".v1")))
        return "annotation type version must be v1";
    rest.n = (size_t)version;
    for (int i = 0; i < SUMMARIZERS; i++)
        if (str_eq(summarizers[i].name, rest)) {
            *out = summarizers[i].kind;
            return NULL;
        }
    return "annotation summarizer must be total, flag, distinct, unique or multiple";
}

const char *annotation_lacks(enum summarizer kind, struct str name, struct str client_id)
{
    static const char *const texts[][2] = {
        [SUMMARIZE_TOTAL] = {NULL, NULL},
        [SUMMARIZE_FLAG] = {"flag annotations require clientId", NULL},
        [SUMMARIZE_DISTINCT] = {"distinct annotations require clientId", "distinct annotations require name"},
        [SUMMARIZE_UNIQUE] = {"unique annotations require clientId", "unique annotations require name"},
        [SUMMARIZE_MULTIPLE] = {NULL, "multiple annotations require name"},
    };
    if (summarizers[kind].wants_client && client_id.n == 0)
        return texts[kind][0];
    return summarizers[kind].wants_name && name.n == 0 ? texts[kind][1] : NULL;
}

/* ---- stored form ---- */

static void put_text(struct buf *out, const char *key, struct str text)
{
    if (text.p == NULL)
        return;
    buf_fmt(out, ",\"%s\":", key);
    buf_json(out, text);
}

static void put_serial(struct buf *out, const char *key, uint64_t serial)
{
    char text[ANNOTATION_SERIAL_SIZE + 1];
    annotation_serial_print(text, serial);
    if (serial != 0)
        buf_fmt(out, ",\"%s\":\"%s\"", key, text);
}

void annotation_json(struct buf *out, const struct annotation *a)
{
    char message[SERIAL_SIZE + 1];
    serial_print(message, a->message.create_delivery, a->message.stream8, a->message.history);
    buf_fmt(out, "{\"action\":\"annotation.%s\"", a->deletes ? "delete" : "create");
    put_text(out, "id", a->id);
    put_serial(out, "serial", a->serial);
    if (a->deletes)
        put_serial(out, "deletedAnnotationSerial", a->target);
    buf_fmt(out, ",\"messageSerial\":\"%s\"", message);
    put_text(out, "type", a->type);
    put_text(out, "name", a->name);
    put_text(out, "clientId", a->client_id);
    if (a->count != 0)
        buf_fmt(out, ",\"count\":%llu", (unsigned long long)a->count);
    if (a->data.p != NULL) {
        buf_lit(out, ",\"data\":");
        buf_str(out, a->data);
    }
    put_text(out, "encoding", a->encoding);
    buf_fmt(out, ",\"timestamp\":%lld}", (long long)a->at_ms);
}

bool annotation_parse(struct str json, struct arena *arena, struct annotation *out)
{
    struct str value;
    if (!json_check(json, &value, NULL) || !json_is(value, JSON_OBJECT))
        return false;
    struct str action = json_text_in(json_get(value, STR("action")), arena);
    struct str target = json_text_in(json_get(value, STR("deletedAnnotationSerial")), arena);
    *out = (struct annotation){
        .deletes = str_eq(action, STR("annotation.delete")),
        .id = json_text_in(json_get(value, STR("id")), arena),
        .type = json_text_in(json_get(value, STR("type")), arena),
        .name = json_text_in(json_get(value, STR("name")), arena),
        .client_id = json_text_in(json_get(value, STR("clientId")), arena),
        .encoding = json_text_in(json_get(value, STR("encoding")), arena),
        .data = json_get(value, STR("data")),
    };
    json_u64(json_get(value, STR("count")), &out->count);
    if (out->deletes && !annotation_serial_parse(target, &out->target))
        return false;
    return out->type.n > 0 && json_i64(json_get(value, STR("timestamp")), &out->at_ms) &&
           serial_parse(json_text_in(json_get(value, STR("messageSerial")), arena), &out->message.create_delivery, &out->message.stream8,
                        &out->message.history);
}
