/* extras.c - one walk over each of the three objects: extras, transport, and what is added.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ai/extras.h"

#include "base/json.h"

static void put_member(struct buf *out, struct str key_raw, struct str value)
{
    if (out->p[out->n - 1] != '{')
        buf_char(out, ',');
    buf_char(out, '"');
    buf_str(out, key_raw);
    buf_lit(out, "\":");
    buf_str(out, value);
}

static bool is_key(struct str key_raw, struct str key)
{
    struct buf scratch = {0};
    bool same = str_eq(json_key_text(key_raw, &scratch), key);
    buf_free(&scratch);
    return same;
}

static bool is_set_anew(struct str key_raw, const struct ai_header_value *set, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is_key(key_raw, set[i].key))
            return true;
    return false;
}

static void put_transport(struct buf *out, struct str transport, const struct ai_header_value *set, size_t count)
{
    struct str key_raw, value;
    buf_lit(out, "{\"transport\":{");
    for (struct json_iter it = json_iter(transport); transport.p && json_next_member(&it, &key_raw, &value);)
        if (!is_set_anew(key_raw, set, count))
            put_member(out, key_raw, value);
    for (size_t i = 0; i < count; i++) {
        put_member(out, set[i].key, STR(""));
        buf_json(out, set[i].text);
    }
    buf_char(out, '}');
}

void ai_extras_put(struct buf *out, struct str extras, const struct extras_facts *facts, const struct ai_header_value *set,
                   size_t count)
{
    struct str key_raw, value;
    buf_char(out, '{');
    for (struct json_iter it = json_iter(extras); extras.p && json_next_member(&it, &key_raw, &value);)
        if (!is_key(key_raw, STR("ai")))
            put_member(out, key_raw, value);
    put_member(out, STR("ai"), STR(""));
    put_transport(out, facts->transport, set, count);
    if (facts->codec.p)
        put_member(out, STR("codec"), facts->codec);
    buf_lit(out, "}}");
}
