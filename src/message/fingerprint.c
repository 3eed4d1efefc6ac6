/* fingerprint.c - the parts, each with its length, hashed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "message/fingerprint.h"

#include "base/json.h"

static bool is_key_member(struct str key_raw)
{
    return str_eq(key_raw, STR("idempotencyKey")) || str_eq(key_raw, STR("idempotency_key"));
}

static void put_part(struct buf *out, struct str part)
{
    buf_char(out, part.p ? '+' : '-');
    buf_u64(out, part.n);
    buf_char(out, ':');
    buf_str(out, part);
}

static void put_extras(struct buf *out, struct str extras)
{
    struct str key, value;
    if (!extras.p)
        return;
    for (struct json_iter it = json_iter(extras); json_next_member(&it, &key, &value);)
        if (!is_key_member(key)) {
            put_part(out, key);
            put_part(out, value);
        }
}

struct hash128 publish_fingerprint(const struct publish_content *content, struct buf *scratch)
{
    buf_clear(scratch);
    put_part(scratch, content->name);
    put_part(scratch, content->text);
    put_part(scratch, content->tags);
    put_part(scratch, content->client_id);
    put_extras(scratch, content->extras);
    return hash128(buf_view(scratch));
}
