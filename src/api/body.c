/* body.c - one walk over the object, whatever the number of fields: a long `data` is skipped once.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/body.h"

#include "base/json.h"

static struct failure unprocessable(struct call *c, const char *name, const char *what)
{
    return fail_fmt(c, 422, "unprocessable_body", "Field '%s' must be %s", name, what);
}

struct failure body_object(struct call *c, struct str *object)
{
    struct json_error error;
    if (!json_check(c->request->body, object, &error))
        return fail_fmt(c, 400, "invalid_json", "Invalid JSON at byte %zu: %s", error.offset, error.why);
    if (!json_is(*object, JSON_OBJECT))
        return fail(422, "unprocessable_body", STR("The body must be a JSON object"));
    return NO_FAILURE;
}

static size_t count_items(struct str array)
{
    size_t n = 0;
    struct str item;
    for (struct json_iter it = json_iter(array); json_next_item(&it, &item);)
        n++;
    return n;
}

/* False: not an array of strings. */
static bool read_texts(struct str value, struct arena *arena, struct texts *out)
{
    if (!json_is(value, JSON_ARRAY))
        return false;
    out->count = 0;
    out->at = arena_alloc(arena, (count_items(value) + 1) * sizeof *out->at);
    struct str item;
    for (struct json_iter it = json_iter(value); json_next_item(&it, &item);) {
        if (!json_is(item, JSON_STRING))
            return false;
        out->at[out->count++] = json_text_in(item, arena);
    }
    return true;
}

static const char *read_u64(struct str value, struct number *out)
{
    out->given = json_u64(value, &out->u);
    return out->given ? NULL : "an unsigned integer";
}

static const char *read_i64(struct str value, struct number *out)
{
    out->given = json_i64(value, &out->i);
    return out->given ? NULL : "an integer";
}

static const char *read_slice(struct str value, bool fits, const char *what, void *to)
{
    *(struct str *)to = value;
    return fits ? NULL : what;
}

/* NULL, or what the value should have been. */
static const char *read_value(struct call *c, enum field_kind kind, struct str value, void *to)
{
    switch (kind) {
    case FIELD_TEXT:
        return read_slice(json_text_in(value, call_arena(c)), json_is(value, JSON_STRING), "a string", to);
    case FIELD_JSON:
        return read_slice(value, true, "", to);
    case FIELD_OBJECT:
        return read_slice(value, json_is(value, JSON_OBJECT), "an object", to);
    case FIELD_TEXT_MAP:
        return read_slice(value, json_is(value, JSON_OBJECT) && json_all_strings(value),
                          "an object of strings", to);
    case FIELD_ARRAY:
        return read_slice(value, json_is(value, JSON_ARRAY), "an array", to);
    case FIELD_TEXTS:
        return read_texts(value, call_arena(c), to) ? NULL : "an array of strings";
    case FIELD_BOOL:
        return json_bool(value, to) ? NULL : "a boolean";
    case FIELD_U64:
        return read_u64(value, to);
    case FIELD_I64:
        return read_i64(value, to);
    }
    return NULL;
}

static const struct field *field_named(struct str key, const struct field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (str_eq(key, str_of(fields[i].name)))
            return &fields[i];
    return NULL;
}

static const struct field *field_of(struct str key_raw, const struct field *fields, size_t count)
{
    if (memchr(key_raw.p, '\\', key_raw.n) == NULL)
        return field_named(key_raw, fields, count);
    struct buf decoded = {0};
    const struct field *f = field_named(json_key_text(key_raw, &decoded), fields, count);
    buf_free(&decoded);
    return f;
}

struct failure body_read(struct call *c, struct str object, const struct field *fields, size_t count,
                         void *out)
{
    uint64_t seen = 0;
    struct str key, value;
    for (struct json_iter it = json_iter(object); json_next_member(&it, &key, &value);) {
        const struct field *f = field_of(key, fields, count);
        if (!f || json_is(value, JSON_NULL))
            continue;
        const char *what = read_value(c, f->kind, value, (char *)out + f->offset);
        if (what)
            return unprocessable(c, f->name, what);
        seen |= 1ull << (f - fields);
    }
    for (size_t i = 0; i < count; i++)
        if (fields[i].required && !(seen >> i & 1))
            return fail_fmt(c, 422, "unprocessable_body", "Missing field '%s'", fields[i].name);
    return NO_FAILURE;
}
