/* json.c - walks over checked text.
 *
 * A walk trusts the check, so it needs no grammar: a string ends at the first quote that no backslash
 * precedes, a container where the brackets outside of strings balance.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/json.h"

#include <assert.h>

#include "base/json_scan.h"

enum json_type json_type(struct str value)
{
    if (value.n == 0)
        return JSON_NULL;
    switch (*value.p) {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
        return JSON_TRUE;
    case 'f':
        return JSON_FALSE;
    case 'n':
        return JSON_NULL;
    default:
        assert(*value.p == '-' || json_is_digit(*value.p));
        return JSON_NUMBER;
    }
}

/* p stands on the opening quote; returns what is behind the closing one. */
static const char *skip_string(const char *p, const char *end)
{
    for (p++;;) {
        while (end - p >= 8) {
            uint64_t x = json_load_eight(p);
            uint64_t marks = json_equal_bytes(x, '"') | json_equal_bytes(x, '\\');
            p += marks ? json_first_mark(marks) : 8;
            if (marks)
                break;
        }
        while (p < end && *p != '"' && *p != '\\')
            p++;
        assert(p < end);
        if (*p == '"')
            return p + 1;
        p += 2;
    }
}

static const char *skip_container(const char *p, const char *end)
{
    for (unsigned depth = 0; p < end;) {
        switch (*p) {
        case '"':
            p = skip_string(p, end);
            continue;
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            if (--depth == 0)
                return p + 1;
            break;
        }
        p++;
    }
    assert(!"unchecked text");
    return end;
}

static const char *skip_value(const char *p, const char *end)
{
    if (*p == '"')
        return skip_string(p, end);
    if (*p == '{' || *p == '[')
        return skip_container(p, end);
    while (p < end && *p != ',' && *p != '}' && *p != ']' && !json_is_space(*p))
        p++;
    return p;
}

static const char *skip_to(const char *p, const char *end, char separator)
{
    while (p < end && (json_is_space(*p) || *p == separator))
        p++;
    return p;
}

struct json_iter json_iter(struct str value)
{
    enum json_type type = json_type(value);
    if (type != JSON_OBJECT && type != JSON_ARRAY)
        return (struct json_iter){value.p, value.p};
    return (struct json_iter){value.p + 1, value.p + value.n - 1};
}

bool json_next_item(struct json_iter *it, struct str *value)
{
    const char *start = skip_to(it->p, it->end, ',');
    it->p = start;
    if (start == it->end)
        return false;
    it->p = skip_value(start, it->end);
    *value = str_make(start, (size_t)(it->p - start));
    return true;
}

bool json_next_member(struct json_iter *it, struct str *key_raw, struct str *value)
{
    const char *key = skip_to(it->p, it->end, ',');
    it->p = key;
    if (key == it->end)
        return false;
    assert(*key == '"');
    const char *behind = skip_string(key, it->end);
    *key_raw = str_make(key + 1, (size_t)(behind - key) - 2);
    const char *start = skip_to(behind, it->end, ':');
    it->p = skip_value(start, it->end);
    *value = str_make(start, (size_t)(it->p - start));
    return true;
}

/* ---- escapes ---- */

static bool has_escape(struct str raw)
{
    return raw.n && memchr(raw.p, '\\', raw.n);
}

static char escaped_letter(char c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return c;
    }
}

static size_t utf8_write(char out[4], uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t size = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = size - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3F));
    out[0] = (char)(leads[size] | code);
    return size;
}

/* p stands behind a backslash. Writes the character it means; returns what is behind the escape. */
static const char *decode_escape(const char *p, const char *end, char out[4], size_t *size)
{
    *size = 1;
    if (*p != 'u') {
        out[0] = escaped_letter(*p);
        return p + 1;
    }
    uint32_t code = (uint32_t)json_hex_four(p + 1, end);
    p += 5;
    if (json_is_high_surrogate((int32_t)code)) {
        code = 0x10000 + ((code - 0xD800) << 10) + ((uint32_t)json_hex_four(p + 2, end) - 0xDC00);
        p += 6;
    }
    *size = utf8_write(out, code);
    return p;
}

/* The next piece of the decoded text: a run without escapes, or one decoded into character[]. */
static struct str next_piece(struct str *raw, char character[4])
{
    const char *p = raw->p, *end = p + raw->n;
    struct str piece;
    if (*p == '\\') {
        p = decode_escape(p + 1, end, character, &piece.n);
        piece.p = character;
    } else {
        const char *escape = memchr(p, '\\', raw->n);
        p = escape ? escape : end;
        piece = str_make(raw->p, (size_t)(p - raw->p));
    }
    *raw = str_make(p, (size_t)(end - p));
    return piece;
}

static bool raw_means(struct str raw, struct str text)
{
    char character[4];
    if (raw.n == text.n)
        return str_eq(raw, text) && !has_escape(raw);
    if (raw.n < text.n || !has_escape(raw)) /* decoding only ever shortens */
        return false;
    while (raw.n) {
        struct str piece = next_piece(&raw, character);
        if (!str_starts(text, piece))
            return false;
        text = str_from(text, piece.n);
    }
    return text.n == 0;
}

static bool find_member(struct str object, struct str key, struct str *found)
{
    bool exists = false;
    struct str raw, value;
    if (json_type(object) != JSON_OBJECT)
        return false;
    struct json_iter it = json_iter(object);
    while (json_next_member(&it, &raw, &value))
        if (raw_means(raw, key)) {
            *found = value;
            exists = true;
        }
    return exists;
}

struct str json_get(struct str object, struct str key)
{
    struct str value;
    if (!find_member(object, key, &value) || json_type(value) == JSON_NULL)
        return STR_NONE;
    return value;
}

bool json_has(struct str object, struct str key)
{
    struct str value;
    return find_member(object, key, &value);
}

struct str json_key_text(struct str raw, struct buf *scratch)
{
    char character[4];
    if (!has_escape(raw))
        return raw;
    size_t start = scratch->n;
    buf_reserve(scratch, raw.n);
    while (raw.n)
        buf_str(scratch, next_piece(&raw, character));
    return str_make(scratch->p + start, scratch->n - start);
}

static struct str between_quotes(struct str string)
{
    assert(string.n >= 2);
    return str_make(string.p + 1, string.n - 2);
}

struct str json_text(struct str value, struct buf *scratch)
{
    if (json_type(value) != JSON_STRING)
        return STR_NONE;
    return json_key_text(between_quotes(value), scratch);
}

struct str json_text_in(struct str value, struct arena *arena)
{
    struct buf scratch = {0};
    struct str text = json_text(value, &scratch);
    if (scratch.p != NULL)
        text = arena_copy(arena, text);
    buf_free(&scratch);
    return text;
}

size_t json_text_size(struct str value)
{
    char character[4];
    size_t size = 0;
    if (json_type(value) != JSON_STRING)
        return 0;
    for (struct str raw = between_quotes(value); raw.n;)
        size += next_piece(&raw, character).n;
    return size;
}

bool json_u64(struct str value, uint64_t *out)
{
    return json_type(value) == JSON_NUMBER && str_to_u64(value, out);
}

bool json_i64(struct str value, int64_t *out)
{
    return json_type(value) == JSON_NUMBER && str_to_i64(value, out);
}

bool json_bool(struct str value, bool *out)
{
    enum json_type type = json_type(value);
    if (type != JSON_TRUE && type != JSON_FALSE)
        return false;
    *out = type == JSON_TRUE;
    return true;
}

bool json_all_strings(struct str object)
{
    struct str key_raw, value;
    struct json_iter it = json_iter(object);
    while (json_next_member(&it, &key_raw, &value))
        if (!json_is(value, JSON_STRING))
            return false;
    return true;
}

/* ---- white space ---- */

/* The first white space between tokens at or after p, or end. */
static const char *next_space(const char *p, const char *end)
{
    while (p < end && !json_is_space(*p))
        p = *p == '"' ? skip_string(p, end) : p + 1;
    return p;
}

bool json_is_compact(struct str value)
{
    return value.n == 0 || next_space(value.p, value.p + value.n) == value.p + value.n;
}

void json_compact(struct buf *out, struct str value)
{
    const char *p = value.n ? value.p : "", *end = p + value.n;
    buf_reserve(out, value.n);
    while (p < end) {
        const char *space = next_space(p, end);
        buf_put(out, p, (size_t)(space - p));
        for (p = space; p < end && json_is_space(*p);)
            p++;
    }
}
