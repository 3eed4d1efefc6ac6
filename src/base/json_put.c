/* json_put.c - see json_put.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/json_put.h"

void put_text(struct buf *out, const char *key, struct str text)
{
    put_key(out, key);
    if (text.p)
        buf_json(out, text);
    else
        buf_lit(out, "null");
}

void put_u64(struct buf *out, const char *key, uint64_t value)
{
    put_key(out, key);
    buf_u64(out, value);
}

void put_i64(struct buf *out, const char *key, int64_t value)
{
    put_key(out, key);
    buf_i64(out, value);
}

void put_bool(struct buf *out, const char *key, bool value)
{
    put_key(out, key);
    buf_str(out, value ? STR("true") : STR("false"));
}

void put_null(struct buf *out, const char *key)
{
    put_key(out, key);
    buf_lit(out, "null");
}

void put_json(struct buf *out, const char *key, struct str json)
{
    put_key(out, key);
    buf_str(out, json.p ? json : STR("null"));
}
