/* cursor_fuzz.c - a cursor that is accepted says what it says when written again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "message/cursor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void write_again(const struct cursor *c, struct arena *arena)
{
    struct buf text = {0};
    struct cursor back;
    cursor_put(&text, c);
    require(cursor_read(buf_view(&text), c, arena, &back) == NULL);
    require(back.serial == c->serial && str_eq(back.stream_id, c->stream_id));
    buf_free(&text);
}

/* The input as a cursor's text, and as the JSON inside one. */
static void read(struct str text, struct arena *arena)
{
    struct cursor request = {.app_id = STR("7"), .channel = STR("c")}, c;
    if (cursor_read(text, &request, arena, &c) == NULL)
        write_again(&c, arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct buf encoded = {0};
    struct str text = arena_copy(&arena, str_make(data ? data : (const uint8_t *)"", size));
    read(text, &arena);
    base64url_put(&encoded, text);
    read(buf_view(&encoded), &arena);
    buf_free(&encoded);
    arena_free(&arena);
    return 0;
}
