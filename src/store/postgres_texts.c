/* postgres_texts.c - small forms of what is stored.
 *
 * `rest`, a bytea: message id, client id, user id, description, metadata, tags; each a varint of its length + 1 (0 = absent) and its
 * bytes. No bytes at all: all are absent.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "store/postgres_internal.h"
#include "store/row.h"

static void text_put(struct buf *out, struct str text)
{
    put_varint(out, text.p != NULL ? text.n + 1 : 0);
    buf_str(out, text);
}

void texts_put(struct buf *out, const struct texts *t)
{
    text_put(out, t->message_id);
    text_put(out, t->client_id);
    text_put(out, t->user_id);
    text_put(out, t->description);
    text_put(out, t->metadata);
    text_put(out, t->tags);
}

static bool text_take(struct str *in, struct str *text)
{
    uint64_t n;
    *text = STR_NONE;
    if (!take_varint(in, &n) || n > in->n + 1)
        return false;
    if (n > 0) {
        *text = str_first(*in, n - 1);
        *in = str_from(*in, n - 1);
    }
    return true;
}

bool texts_read(struct str value, struct texts *t)
{
    *t = (struct texts){0};
    if (value.n == 0)
        return true;
    return text_take(&value, &t->message_id) && text_take(&value, &t->client_id) && text_take(&value, &t->user_id) &&
           text_take(&value, &t->description) && text_take(&value, &t->metadata) && text_take(&value, &t->tags) && value.n == 0;
}

struct str stored_json(struct str body, bool is_string, struct arena *arena)
{
    if (body.p == NULL || !is_string)
        return arena_copy(arena, body);
    char *out = arena_alloc(arena, body.n + 2);
    out[0] = '"';
    memcpy(out + 1, body.p, body.n);
    out[body.n + 1] = '"';
    return str_make(out, body.n + 2);
}

uint32_t stream8_of(struct str stream_id)
{
    char hex[9] = {0};
    memcpy(hex, stream_id.p, stream_id.n < 8 ? stream_id.n : 8);
    return (uint32_t)strtoul(hex, NULL, 16);
}
