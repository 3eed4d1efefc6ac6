/* json_put.h - the members of a JSON object, one call each.
 *
 * The object is opened and closed by hand; a member puts a comma in front unless it is the first.
 *
 *      buf_char(out, '{');
 *      put_text(out, "channel", channel);
 *      put_u64(out, "serial", 41);
 *      buf_char(out, '}');                 {"channel":"chat","serial":41}
 *
 * `key` and numbers need no escape.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"

static inline void put_key(struct buf *out, const char *key)
{
    if (out->p[out->n - 1] != '{')
        buf_char(out, ',');
    buf_char(out, '"');
    buf_str(out, str_of(key));
    buf_lit(out, "\":");
}
void put_text(struct buf *out, const char *key, struct str text); /* absent = null */
void put_u64(struct buf *out, const char *key, uint64_t value);
void put_i64(struct buf *out, const char *key, int64_t value);
void put_bool(struct buf *out, const char *key, bool value);
void put_null(struct buf *out, const char *key);
void put_json(struct buf *out, const char *key, struct str json); /* absent = null */
