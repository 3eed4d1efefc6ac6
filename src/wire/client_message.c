/* client_message.c - what a client says, read in one walk; values stay as they came.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "wire/family.h"
#include "wire/key.h"
#include "wire/system.h"

const char client_message_no_event[] = "Event name is required";

/* ---- reading ---- */

static const char *not_json(const struct json_error *error, struct arena *arena)
{
    struct buf text = {0};
    buf_fmt(&text, "%s at byte %zu", error->why, error->offset);
    buf_char(&text, 0);
    const char *copy = arena_copy(arena, buf_view(&text)).p;
    buf_free(&text);
    return copy;
}

static const char *read_text(struct str value, const char *wrong, struct arena *arena, struct str *out)
{
    if (!json_is(value, JSON_STRING) && !json_is(value, JSON_NULL))
        return wrong;
    *out = json_text_in(value, arena);
    return NULL;
}

static const char *read_member(struct str key_raw, struct str value, struct arena *arena,
                               struct client_message *out)
{
    if (key_means(key_raw, STR("event")))
        return read_text(value, "event must be a string", arena, &out->event);
    if (key_means(key_raw, STR("channel")))
        return read_text(value, "channel must be a string", arena, &out->channel);
    if (key_means(key_raw, STR("message_id")))
        return read_text(value, "message_id must be a string", arena, &out->message_id);
    if (key_means(key_raw, STR("data")))
        out->data = value;
    else if (key_means(key_raw, STR("extras")))
        out->extras = json_is(value, JSON_NULL) ? STR_NONE : value;
    return NULL;
}

const char *client_message_read(struct str text, struct arena *arena, struct client_message *out)
{
    struct str object, key_raw, value;
    struct json_error error;
    const char *wrong = NULL;
    *out = (struct client_message){.raw = text};
    if (!json_check(text, &object, &error))
        return not_json(&error, arena);
    if (!json_is(object, JSON_OBJECT))
        return "expected an object";
    struct json_iter it = json_iter(object);
    while (!wrong && json_next_member(&it, &key_raw, &value))
        wrong = read_member(key_raw, value, arena, out);
    if (wrong)
        return wrong;
    if (!out->event.p)
        return client_message_no_event;
    out->family = family_of(out->event, &out->event);
    return NULL;
}

/* ---- data ---- */

struct str command_data(struct str data, struct arena *arena)
{
    struct str object;
    if (json_is(data, JSON_OBJECT))
        return data;
    struct str text = json_text_in(data, arena);
    if (!text.p || !json_check(text, &object, NULL) || !json_is(object, JSON_OBJECT))
        return STR_NONE;
    return object;
}
