/* cursor.c - a cursor is read as strictly as it is written: every member present, of its type.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "message/cursor.h"

#include "base/json.h"

enum { CURSOR_VERSION = 1 };

struct str direction_word(enum store_direction direction)
{
    return direction == NEWEST_FIRST ? STR("newest_first") : STR("oldest_first");
}

/* ---- writing ---- */

static void put_u64_or_null(struct buf *out, bool has, uint64_t value)
{
    if (has)
        buf_u64(out, value);
    else
        buf_lit(out, "null");
}

static void put_i64_or_null(struct buf *out, bool has, int64_t value)
{
    if (has)
        buf_i64(out, value);
    else
        buf_lit(out, "null");
}

void bounds_json(struct buf *out, const struct history_bounds *b)
{
    buf_lit(out, "{\"start_serial\":");
    put_u64_or_null(out, b->has_start_serial, b->start_serial);
    buf_lit(out, ",\"end_serial\":");
    put_u64_or_null(out, b->has_end_serial, b->end_serial);
    buf_lit(out, ",\"start_time_ms\":");
    put_i64_or_null(out, b->has_start_time, b->start_time_ms);
    buf_lit(out, ",\"end_time_ms\":");
    put_i64_or_null(out, b->has_end_time, b->end_time_ms);
    buf_char(out, '}');
}

void cursor_put(struct buf *out, const struct cursor *c)
{
    struct buf json = {0};
    buf_lit(&json, "{\"version\":");
    buf_u64(&json, CURSOR_VERSION);
    buf_lit(&json, ",\"app_id\":");
    buf_json(&json, c->app_id);
    buf_lit(&json, ",\"channel\":");
    buf_json(&json, c->channel);
    buf_lit(&json, ",\"stream_id\":");
    buf_json(&json, c->stream_id);
    buf_lit(&json, ",\"serial\":");
    buf_u64(&json, c->serial);
    buf_lit(&json, ",\"direction\":");
    buf_json(&json, direction_word(c->direction));
    buf_lit(&json, ",\"bounds\":");
    bounds_json(&json, &c->bounds);
    buf_char(&json, '}');
    base64url_put(out, buf_view(&json));
    buf_free(&json);
}

/* ---- reading ---- */

static const char *invalid(struct arena *arena, const char *why)
{
    struct buf text = {0};
    buf_fmt(&text, "Invalid history cursor: %s", why);
    buf_char(&text, 0);
    const char *copy = arena_copy(arena, buf_view(&text)).p;
    buf_free(&text);
    return copy;
}

static bool read_text(struct str object, struct str key, struct arena *arena, struct str *out)
{
    *out = arena_copy(arena, json_text_in(json_get(object, key), arena));
    return out->p != NULL;
}

static bool read_u64(struct str object, struct str key, bool *has, uint64_t *out)
{
    struct str value = json_get(object, key);
    *has = value.p != NULL;
    return !*has || json_u64(value, out);
}

static bool read_i64(struct str object, struct str key, bool *has, int64_t *out)
{
    struct str value = json_get(object, key);
    *has = value.p != NULL;
    return !*has || json_i64(value, out);
}

static bool read_bounds(struct str object, struct history_bounds *b)
{
    return json_is(object, JSON_OBJECT) &&
           read_u64(object, STR("start_serial"), &b->has_start_serial, &b->start_serial) &&
           read_u64(object, STR("end_serial"), &b->has_end_serial, &b->end_serial) &&
           read_i64(object, STR("start_time_ms"), &b->has_start_time, &b->start_time_ms) &&
           read_i64(object, STR("end_time_ms"), &b->has_end_time, &b->end_time_ms);
}

static bool read_direction(struct str object, struct arena *arena, enum store_direction *out)
{
    struct str word;
    if (!read_text(object, STR("direction"), arena, &word))
        return false;
    *out = str_eq(word, direction_word(OLDEST_FIRST)) ? OLDEST_FIRST : NEWEST_FIRST;
    return str_eq(word, direction_word(*out));
}

static const char *read_version(struct str object, struct arena *arena)
{
    uint64_t version;
    if (!json_u64(json_get(object, STR("version")), &version))
        return invalid(arena, "version must be an integer");
    if (version == CURSOR_VERSION)
        return NULL;
    struct buf text = {0};
    buf_fmt(&text, "Unsupported history cursor version: %llu", (unsigned long long)version);
    buf_char(&text, 0);
    const char *copy = arena_copy(arena, buf_view(&text)).p;
    buf_free(&text);
    return copy;
}

static const char *read_fields(struct str object, struct arena *arena, struct cursor *out)
{
    bool has_serial = false;
    const char *wrong = read_version(object, arena);
    if (wrong)
        return wrong;
    if (!read_text(object, STR("app_id"), arena, &out->app_id))
        return invalid(arena, "app_id must be a string");
    if (!read_text(object, STR("channel"), arena, &out->channel))
        return invalid(arena, "channel must be a string");
    if (!read_text(object, STR("stream_id"), arena, &out->stream_id))
        return invalid(arena, "stream_id must be a string");
    if (!read_u64(object, STR("serial"), &has_serial, &out->serial) || !has_serial)
        return invalid(arena, "serial must be an integer");
    if (!read_direction(object, arena, &out->direction))
        return invalid(arena, "direction must be newest_first or oldest_first");
    if (!read_bounds(json_get(object, STR("bounds")), &out->bounds))
        return invalid(arena, "bounds must be an object of integers");
    return NULL;
}

static bool same_bounds(const struct history_bounds *a, const struct history_bounds *b)
{
    return a->has_start_serial == b->has_start_serial && a->start_serial == b->start_serial &&
           a->has_end_serial == b->has_end_serial && a->end_serial == b->end_serial &&
           a->has_start_time == b->has_start_time && a->start_time_ms == b->start_time_ms &&
           a->has_end_time == b->has_end_time && a->end_time_ms == b->end_time_ms;
}

static const char *compare(const struct cursor *c, const struct cursor *request)
{
    if (!str_eq(c->app_id, request->app_id))
        return "History cursor app does not match the request";
    if (!str_eq(c->channel, request->channel))
        return "History cursor channel does not match the request";
    if (c->direction != request->direction)
        return "History cursor direction does not match the request";
    if (!same_bounds(&c->bounds, &request->bounds))
        return "History cursor bounds do not match the request";
    return NULL;
}

const char *cursor_read(struct str text, const struct cursor *request, struct arena *arena,
                        struct cursor *out)
{
    struct buf json = {0};
    struct str object;
    struct json_error error;
    const char *wrong;
    *out = (struct cursor){0};
    if (text.n > CURSOR_SIZE_MAX)
        return "History cursor exceeds 16 KiB";
    if (!base64url_decode(&json, text))
        wrong = invalid(arena, "not URL-safe base64");
    else if (!json_check(buf_view(&json), &object, &error))
        wrong = invalid(arena, error.why);
    else if (!json_is(object, JSON_OBJECT))
        wrong = invalid(arena, "not a JSON object");
    else
        wrong = read_fields(object, arena, out);
    buf_free(&json);
    return wrong ? wrong : compare(out, request);
}

const char *cursor_check(const struct cursor *c, const struct store_head *head)
{
    if (!str_eq(c->stream_id, str_of(head->stream_id)))
        return "Expired history cursor: channel stream changed";
    if (c->serial < head->oldest_history)
        return "Expired history cursor: cursor points before retained history";
    return NULL;
}
