/* json_fuzz.c - whatever the checker accepts, every walk must get through.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void walk_string(struct str value)
{
    struct buf scratch = {0};
    struct str text = json_text(value, &scratch);
    require(text.p && str_is_utf8(text) && text.n == json_text_size(value));

    struct buf again = {0};
    struct str checked;
    buf_json(&again, text);
    require(json_check(buf_view(&again), &checked, NULL));
    struct buf other = {0};
    require(str_eq(json_text(checked, &other), text));
    buf_free(&other);
    buf_free(&again);
    buf_free(&scratch);
}

static void walk(struct str value);

static void walk_object(struct str object)
{
    struct json_iter it = json_iter(object);
    struct str key_raw, value;
    while (json_next_member(&it, &key_raw, &value)) {
        struct buf scratch = {0};
        struct str key = json_key_text(key_raw, &scratch);
        require(str_is_utf8(key) && json_has(object, key));
        buf_free(&scratch);
        walk(value);
    }
}

/* A slice must be a text of its own, with exactly its own size. */
static void walk(struct str value)
{
    struct str itself, item;
    require(json_check(value, &itself, NULL) && itself.p == value.p && itself.n == value.n);
    if (json_is(value, JSON_STRING))
        walk_string(value);
    if (json_is(value, JSON_OBJECT))
        walk_object(value);
    struct json_iter it = json_iter(value);
    while (json_is(value, JSON_ARRAY) && json_next_item(&it, &item))
        walk(item);
}

static void compact_twice(struct str value)
{
    struct buf once = {0}, twice = {0};
    struct str compact;
    json_compact(&once, value);
    require(json_check(buf_view(&once), &compact, NULL) && json_is_compact(compact));
    json_compact(&twice, compact);
    require(str_eq(buf_view(&once), buf_view(&twice)));
    require(json_is_compact(value) == (value.n == compact.n));
    buf_free(&once);
    buf_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy of the exact size, so that a read beyond the end is seen. */
    char *copy = malloc(size ? size : 1);
    struct str value;
    struct json_error error;
    if (size)
        memcpy(copy, data, size);
    if (json_check(str_make(copy, size), &value, &error)) {
        require(str_is_utf8(value));
        walk(value);
        compact_twice(value);
    } else {
        require(error.why && error.offset <= size);
    }
    free(copy);
    return 0;
}
