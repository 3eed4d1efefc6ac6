/* value.c - see value.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "config/value.h"

#include <assert.h>

#include "base/json.h"

static uint64_t number_max(enum key_type type)
{
    switch (type) {
    case KEY_U16:
        return UINT16_MAX;
    case KEY_U32:
        return UINT32_MAX;
    default:
        return INT64_MAX; /* of 64 bits: TOML has no larger ones */
    }
}

static const char *wanted(const struct config_key *key)
{
    static const char *const names[] = {
        [KEY_BOOL] = "true or false",
        [KEY_TRISTATE] = "true or false",
        [KEY_U16] = "a whole number from 0 to 65535",
        [KEY_U32] = "a whole number from 0 to 4294967295",
        [KEY_U64] = "a whole number, 0 or more",
        [KEY_I64] = "a whole number, 0 or more",
        [KEY_FLOAT] = "a number",
        [KEY_STR] = "a string",
        [KEY_STRINGS] = "a list of strings",
        [KEY_OBJECTS] = "a list of tables",
        [KEY_MAP] = "a table",
    };
    return names[key->type];
}

/* "one of: memory, none", of what is built. */
static const char *wanted_word(const struct config_key *key, struct arena *arena)
{
    struct str rest = str_of(key->words), word;
    struct buf line = {0};
    buf_lit(&line, "one of:");
    for (word = str_split(&rest, ' '); word.p && !str_eq(word, STR("|")); word = str_split(&rest, ' '))
        if (str_index(word, '=') < 0)
            buf_fmt(&line, "%s %.*s", line.p[line.n - 1] == ':' ? "" : ",", STR_ARG(word));
    buf_char(&line, 0);
    const char *text = arena_copy(arena, buf_view(&line)).p;
    buf_free(&line);
    return text;
}

static bool parse_number(const struct config_key *key, struct str raw, uint64_t *value)
{
    return str_to_u64(raw, value) && *value <= number_max(key->type);
}

static struct str number_text(uint64_t value, struct arena *arena)
{
    struct buf digits = {0};
    buf_u64(&digits, value);
    struct str text = arena_copy(arena, buf_view(&digits));
    buf_free(&digits);
    return text;
}

static bool all_are(struct str array, enum json_type type)
{
    struct json_iter it = json_iter(array);
    struct str item;
    while (json_next_item(&it, &item))
        if (!json_is(item, type))
            return false;
    return true;
}

/* The type of JSON value that a key's value must be. */
static bool right_json_type(const struct config_key *key, struct str json)
{
    enum json_type type = json_type(json);
    switch (key->type) {
    case KEY_BOOL:
    case KEY_TRISTATE:
        return type == JSON_TRUE || type == JSON_FALSE;
    case KEY_STR:
    case KEY_CHOICE:
        return type == JSON_STRING;
    case KEY_STRINGS:
        return type == JSON_ARRAY && all_are(json, JSON_STRING);
    case KEY_OBJECTS:
        return type == JSON_ARRAY && all_are(json, JSON_OBJECT);
    case KEY_MAP:
        return type == JSON_OBJECT;
    default:
        return type == JSON_NUMBER || (type == JSON_STRING && (key->flags & KEY_NUMERIC_STRING));
    }
}

/* raw: the characters of a scalar, decoded. */
static const char *scalar_text(const struct config_key *key, struct str raw, struct arena *arena,
                               struct str *text)
{
    uint64_t number;
    bool built;
    switch (key->type) {
    case KEY_STR:
        *text = arena_copy(arena, raw);
        return memchr(raw.p, 0, raw.n) ? "a string without NUL characters" : NULL;
    case KEY_CHOICE:
        *text = key_word(key, raw, &built);
        return text->p ? NULL : wanted_word(key, arena);
    case KEY_BOOL:
    case KEY_TRISTATE:
    case KEY_FLOAT:
        *text = arena_copy(arena, raw);
        return NULL;
    default:
        if (!parse_number(key, raw, &number))
            return wanted(key);
        *text = number_text(number, arena);
        return NULL;
    }
}

const char *value_from_json(const struct config_key *key, struct str json, struct arena *arena,
                            struct str *text)
{
    struct buf scratch = {0};
    const char *problem = NULL;
    if (!right_json_type(key, json)) {
        problem = key->type == KEY_CHOICE ? wanted_word(key, arena) : wanted(key);
    } else if (key->type == KEY_STRINGS || key->type == KEY_OBJECTS || key->type == KEY_MAP) {
        json_compact(&scratch, json);
        *text = arena_copy(arena, buf_view(&scratch));
    } else {
        struct str raw = json_is(json, JSON_STRING) ? json_text(json, &scratch) : json;
        problem = scalar_text(key, raw, arena, text);
    }
    buf_free(&scratch);
    return problem;
}

static const char *bool_word(struct str raw)
{
    static const char *const yes[] = {"true", "1", "yes", "on"}, *const no[] = {"false", "0", "no", "off"};
    for (size_t i = 0; i < 4; i++) {
        if (str_eq_nocase(raw, str_of(yes[i])))
            return "true";
        if (str_eq_nocase(raw, str_of(no[i])))
            return "false";
    }
    return NULL;
}

static struct str lower(struct str raw, struct arena *arena)
{
    char *p = arena_alloc(arena, raw.n + 1);
    for (size_t i = 0; i < raw.n; i++)
        p[i] = (char)(raw.p[i] >= 'A' && raw.p[i] <= 'Z' ? raw.p[i] + ('a' - 'A') : raw.p[i]);
    return str_make(p, raw.n);
}

/* "a, b" as ["a","b"]; empty items are left out. */
static struct str list_text(struct str raw, struct arena *arena)
{
    struct buf json = {0};
    buf_char(&json, '[');
    while (raw.p) {
        struct str item = str_trim(str_split(&raw, ','));
        if (item.n == 0)
            continue;
        if (json.n > 1)
            buf_char(&json, ',');
        buf_json(&json, item);
    }
    buf_char(&json, ']');
    struct str text = arena_copy(arena, buf_view(&json));
    buf_free(&json);
    return text;
}

static bool is_decimal(struct str raw)
{
    size_t digits = 0, dots = 0;
    for (size_t i = 0; i < raw.n; i++) {
        digits += raw.p[i] >= '0' && raw.p[i] <= '9';
        dots += raw.p[i] == '.';
    }
    return digits && dots <= 1 && digits + dots == raw.n;
}

static const char *env_scalar(const struct config_key *key, struct str raw, struct arena *arena,
                              struct str *text)
{
    struct str trimmed = str_trim(raw);
    const char *word = bool_word(trimmed);
    switch (key->type) {
    case KEY_BOOL:
    case KEY_TRISTATE:
        *text = str_of(word);
        return word ? NULL : "true, 1, yes, on or false, 0, no, off";
    case KEY_CHOICE:
        return scalar_text(key, lower(trimmed, arena), arena, text);
    case KEY_FLOAT:
        return is_decimal(trimmed) ? scalar_text(key, trimmed, arena, text) : wanted(key);
    case KEY_STR:
        return scalar_text(key, raw, arena, text);
    default:
        return scalar_text(key, trimmed, arena, text);
    }
}

const char *value_from_env(const struct config_key *key, struct str raw, struct arena *arena,
                           struct str *text)
{
    struct str json;
    if (!str_is_utf8(raw))
        return "valid UTF-8";
    if ((key->flags & KEY_MAY_BE_NONE) && str_eq_nocase(str_trim(raw), STR("none"))) {
        *text = STR_NONE;
        return NULL;
    }
    switch (key->type) {
    case KEY_STRINGS:
        *text = list_text(raw, arena);
        return NULL;
    case KEY_OBJECTS:
    case KEY_MAP:
        return json_check(raw, &json, NULL) ? value_from_json(key, json, arena, text) : "JSON";
    default:
        return env_scalar(key, raw, arena, text);
    }
}

struct str *value_strings(struct str text, struct arena *arena, size_t *count)
{
    struct json_iter it;
    struct str item;
    *count = 0;
    if (!text.p)
        return NULL;
    for (it = json_iter(text); json_next_item(&it, &item);)
        (*count)++;
    if (*count == 0)
        return NULL;
    struct str *strings = arena_alloc(arena, *count * sizeof *strings), *at = strings;
    for (it = json_iter(text); json_next_item(&it, &item);) {
        struct buf scratch = {0};
        *at++ = arena_copy(arena, json_text(item, &scratch));
        buf_free(&scratch);
    }
    return strings;
}

struct strings_field {
    struct str *strings;
    size_t count;
};

static void store_number(enum key_type type, struct str text, void *field)
{
    uint64_t value = 0;
    if (text.p && !str_to_u64(text, &value))
        assert(!"numbers are checked when they are read");
    switch (type) {
    case KEY_U16:
        *(uint16_t *)field = (uint16_t)value;
        return;
    case KEY_U32:
        *(uint32_t *)field = (uint32_t)value;
        return;
    case KEY_I64:
        *(int64_t *)field = text.p ? (int64_t)value : -1;
        return;
    default:
        *(uint64_t *)field = value;
    }
}

void value_store(const struct config_key *key, struct str text, struct arena *arena, void *field)
{
    struct strings_field *list = field;
    switch (key->type) {
    case KEY_BOOL:
        *(bool *)field = str_eq(text, STR("true"));
        return;
    case KEY_TRISTATE:
        *(int *)field = text.p ? str_eq(text, STR("true")) : -1;
        return;
    case KEY_STR:
        *(struct str *)field = text;
        return;
    case KEY_STRINGS:
        list->strings = value_strings(text, arena, &list->count);
        return;
    case KEY_U16:
    case KEY_U32:
    case KEY_U64:
    case KEY_I64:
        store_number(key->type, text, field);
        return;
    case KEY_FLOAT:
    case KEY_CHOICE:
    case KEY_OBJECTS:
    case KEY_MAP:
        assert(!"text only");
    }
}

void value_store_all(const struct key_table *table, const struct config_value *values, struct arena *arena,
                     void *base)
{
    for (size_t i = 0; i < table->count; i++)
        if (table->keys[i].offset)
            value_store(&table->keys[i], values[i].text, arena, (char *)base + table->keys[i].offset);
}

struct config_value *value_defaults(const struct key_table *table, struct arena *arena)
{
    struct config_value *values = arena_zalloc(arena, table->count * sizeof *values);
    for (size_t i = 0; i < table->count; i++)
        values[i].text = str_of(table->keys[i].initial);
    return values;
}

bool value_is_default(const struct config_key *key, struct str text)
{
    struct str initial = str_of(key->initial);
    return (text.p == NULL) == (initial.p == NULL) && str_eq(text, initial);
}

struct config_value *value_at(const struct key_table *table, struct config_value *values, const char *path)
{
    ptrdiff_t at = key_find(table, str_of(path));
    assert(at >= 0);
    return &values[at];
}
