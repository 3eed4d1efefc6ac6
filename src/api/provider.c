/* provider.c - see provider.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/provider.h"

#include "base/json.h"

static const struct provider_event nothing = {.says = PROVIDER_NOTHING};

/* Types are plain words: compared as they stand, with their quotes. */
static bool is_word(struct str value, const char *word)
{
    size_t n = strlen(word);
    return value.n == n + 2 && value.p[0] == '"' && memcmp(value.p + 1, word, n) == 0;
}

static struct provider_event text_event(struct str text)
{
    if (!json_is(text, JSON_STRING) || json_text_size(text) == 0)
        return nothing;
    return (struct provider_event){.says = PROVIDER_TEXT, .text = text};
}

static struct provider_event failed(struct str error)
{
    struct str message = json_is(error, JSON_OBJECT) ? json_get(error, STR("message")) : error;
    return (struct provider_event){PROVIDER_FAILED, json_is(message, JSON_STRING) ? message : STR_NONE, false};
}

/* The choice with index 0; a choice without an index counts as that. */
static struct str first_choice(struct str choices)
{
    struct str choice;
    uint64_t index;
    if (!json_is(choices, JSON_ARRAY))
        return STR_NONE;
    for (struct json_iter it = json_iter(choices); json_next_item(&it, &choice);)
        if (json_is(choice, JSON_OBJECT) && (!json_u64(json_get(choice, STR("index")), &index) || index == 0))
            return choice;
    return STR_NONE;
}

static struct provider_event read_chat(struct str choices)
{
    struct str choice = first_choice(choices);
    struct str delta = json_get(choice, STR("delta"));
    struct provider_event event =
        text_event(delta.p ? json_get(delta, STR("content")) : json_get(choice, STR("text")));
    if (json_is(json_get(choice, STR("finish_reason")), JSON_STRING)) {
        event.stops = event.says == PROVIDER_TEXT;
        event.says = event.stops ? PROVIDER_TEXT : PROVIDER_STOPS;
    }
    return event;
}

static struct provider_event read_typed(struct str event, struct str type)
{
    static const struct {
        const char *type;
        enum provider_says says;
    } ends[] = {
        {"message_stop", PROVIDER_DONE},        {"response.completed", PROVIDER_DONE},
        {"response.incomplete", PROVIDER_DONE}, {"response.cancelled", PROVIDER_CANCELLED},
    };
    struct str delta = json_get(event, STR("delta"));
    if (is_word(type, "response.output_text.delta"))
        return text_event(delta);
    if (is_word(type, "content_block_delta"))
        return is_word(json_get(delta, STR("type")), "text_delta") ? text_event(json_get(delta, STR("text"))) : nothing;
    if (is_word(type, "error"))
        return failed(json_has(event, STR("error")) ? json_get(event, STR("error")) : event);
    if (is_word(type, "response.failed"))
        return failed(json_get(json_get(event, STR("response")), STR("error")));
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (is_word(type, ends[i].type))
            return (struct provider_event){.says = ends[i].says};
    return nothing;
}

struct provider_event provider_read(struct str data)
{
    struct str event;
    if (str_eq(str_trim(data), STR("[DONE]")))
        return (struct provider_event){.says = PROVIDER_DONE};
    if (!json_check(data, &event, NULL))
        return (struct provider_event){.says = PROVIDER_MALFORMED};
    if (!json_is(event, JSON_OBJECT))
        return nothing;
    struct str type = json_get(event, STR("type"));
    if (json_has(event, STR("choices")))
        return read_chat(json_get(event, STR("choices")));
    if (type.p)
        return read_typed(event, type);
    return json_get(event, STR("error")).p ? failed(json_get(event, STR("error"))) : nothing;
}
