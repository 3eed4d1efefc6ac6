/* postgres_texts.c - small forms of what is stored.
 *
 * `rest`, a bytea: message id, client id, user id, description, metadata, tags; each as base/pack.h has texts. No bytes at all: all are
 * absent.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/pack.h"
#include "store/postgres_internal.h"

void texts_put(struct buf *out, const struct texts *t)
{
    pack_text(out, t->message_id);
    pack_text(out, t->client_id);
    pack_text(out, t->user_id);
    pack_text(out, t->description);
    pack_text(out, t->metadata);
    pack_text(out, t->tags);
}

bool texts_read(struct str value, struct texts *t)
{
    *t = (struct texts){0};
    if (value.n == 0)
        return true;
    return unpack_text(&value, &t->message_id) && unpack_text(&value, &t->client_id) && unpack_text(&value, &t->user_id) &&
           unpack_text(&value, &t->description) && unpack_text(&value, &t->metadata) && unpack_text(&value, &t->tags) && value.n == 0;
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
