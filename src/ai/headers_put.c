/* headers_put.c - extras with some transport headers changed.
 *
 *      {"a":1,"ai":{"codec":{..},"transport":{"run-id":"r","status":"streaming"}}}
 *      {"a":1,"ai":{"codec":{..},"transport":{"run-id":"r","status":"complete"}}}
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ai/headers.h"
#include "base/json.h"

static void put_comma(struct buf *out)
{
    if (out->p[out->n - 1] != '{')
        buf_char(out, ',');
}

static bool is_set(struct str key, const struct ai_set *set, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (str_eq(key, set[i].key))
            return true;
    return false;
}

/* The members of object but those that are set. */
static void put_others(struct buf *out, struct str object, const struct ai_set *set, size_t count)
{
    struct buf scratch = {0};
    struct str key, value;
    if (json_is(object, JSON_OBJECT))
        for (struct json_iter it = json_iter(object); json_next_member(&it, &key, &value);) {
            buf_clear(&scratch);
            if (is_set(json_key_text(key, &scratch), set, count))
                continue;
            put_comma(out);
            buf_char(out, '"');
            buf_str(out, key);
            buf_lit(out, "\":");
            buf_str(out, value);
        }
    buf_free(&scratch);
}

void ai_headers_put(struct buf *out, struct str extras, const struct ai_set *set, size_t count)
{
    struct str ai = json_get(extras, STR("ai"));
    buf_char(out, '{');
    put_others(out, extras, &(struct ai_set){.key = STR("ai")}, 1);
    put_comma(out);
    buf_lit(out, "\"ai\":{");
    put_others(out, ai, &(struct ai_set){.key = STR("transport")}, 1);
    put_comma(out);
    buf_lit(out, "\"transport\":{");
    put_others(out, json_get(ai, STR("transport")), set, count);
    for (size_t i = 0; i < count; i++) {
        put_comma(out);
        buf_json(out, set[i].key);
        buf_char(out, ':');
        buf_json(out, set[i].value);
    }
    buf_lit(out, "}}}");
}
