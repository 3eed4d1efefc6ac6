/* headers.c - the registry of chapter 4, 2.4 as a table, and the checks of 2.3 over one member at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ai/headers.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/json.h"
#include "wire/codes.h"

enum { CODEC_VALUE_MAX = 256, PROVIDER_METADATA_MAX = 8192, SHOWN_KEY_MAX = 64 };

static bool fail(struct ai_failure *failure, int code, unsigned http_status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static bool fail(struct ai_failure *failure, int code, unsigned http_status, const char *format, ...)
{
    va_list args;
    failure->code = code;
    failure->http_status = http_status;
    va_start(args, format);
    vsnprintf(failure->text, sizeof failure->text, format, args);
    va_end(args);
    return false;
}
#define invalid(failure, ...) fail((failure), CODE_AI_INVALID_HEADER, 400, __VA_ARGS__)
#define too_large(failure, ...) fail((failure), CODE_AI_HEADER_TOO_LARGE, 413, __VA_ARGS__)
#define over_limit(failure, ...) fail((failure), CODE_PAYLOAD_TOO_LARGE, 413, __VA_ARGS__)

/* ---- events ---- */

static bool is_one_of(struct str text, const struct str *list)
{
    for (; list->p; list++)
        if (str_eq(text, *list))
            return true;
    return false;
}

bool is_ai_client_event(struct str event)
{
    return str_eq(event, STR("ai-input")) || str_eq(event, STR("ai-cancel"));
}

bool is_ai_event(struct str event)
{
    static const struct str names[] = {
        STR("ai-output"),      STR("ai-input"),      STR("ai-cancel"),   STR("ai-run-start"),
        STR("ai-run-suspend"), STR("ai-run-resume"), STR("ai-run-end"),  STR("ai-turn-start"),
        STR("ai-turn-end"),    STR("ai-step-start"), STR("ai-step-end"), {NULL, 0},
    };
    return str_starts(event, STR("ai-")) && is_one_of(event, names);
}

/* ---- registry ---- */

enum domain { NON_EMPTY, ANY, BOOLEAN, ONE_OF };

static const struct str finished[] = {STR("complete"), STR("cancelled"), STR("error"), {NULL, 0}};
static const struct str turn_finished[] = {
    STR("complete"), STR("cancelled"), STR("error"), STR("suspended"), {NULL, 0}};
static const struct str step_finished[] = {STR("complete"), STR("failed"), STR("cancelled"), {NULL, 0}};
static const struct str statuses[] = {STR("streaming"), STR("complete"), STR("cancelled"), {NULL, 0}};
static const struct str roles[] = {STR("user"), STR("assistant"), STR("system"),
                                   STR("tool"), STR("agent"),     {NULL, 0}};
static const struct str booleans[] = {STR("true"), STR("false"), {NULL, 0}};

static const struct header {
    struct str key;
    enum domain domain;
    const struct str *values; /* of BOOLEAN and ONE_OF */
} registry[] = {
    {STR("run-id"), NON_EMPTY, NULL},
    {STR("status"), ONE_OF, statuses},
    {STR("role"), ONE_OF, roles},
    {STR("stream"), BOOLEAN, booleans},
    {STR("codec-message-id"), NON_EMPTY, NULL},
    {STR("invocation-id"), NON_EMPTY, NULL},
    {STR("turn-id"), NON_EMPTY, NULL},
    {STR("input-codec-message-id"), NON_EMPTY, NULL},
    {STR("parent"), NON_EMPTY, NULL},
    {STR("fork-of"), NON_EMPTY, NULL},
    {STR("msg-regenerate"), NON_EMPTY, NULL},
    {STR("supersedes"), NON_EMPTY, NULL},
    {STR("stream-id"), NON_EMPTY, NULL},
    {STR("event-id"), NON_EMPTY, NULL},
    {STR("step-id"), NON_EMPTY, NULL},
    {STR("step-start-serial"), NON_EMPTY, NULL},
    {STR("steer-codec-message-ids"), NON_EMPTY, NULL},
    {STR("error-code"), NON_EMPTY, NULL},
    {STR("model"), NON_EMPTY, NULL},
    {STR("input-client-id"), NON_EMPTY, NULL},
    {STR("turn-client-id"), NON_EMPTY, NULL},
    {STR("run-client-id"), ANY, NULL},
    {STR("step-client-id"), ANY, NULL},
    {STR("error-message"), ANY, NULL},
    {STR("run-reason"), ONE_OF, finished},
    {STR("turn-reason"), ONE_OF, turn_finished},
    {STR("step-reason"), ONE_OF, step_finished},
    {STR("discrete"), BOOLEAN, booleans},
    {STR("run-continue"), BOOLEAN, booleans},
    {STR("turn-continue"), BOOLEAN, booleans},
};

static const struct header *find_header(struct str key)
{
    for (size_t i = 0; i < sizeof registry / sizeof *registry; i++)
        if (str_eq(registry[i].key, key))
            return &registry[i];
    return NULL;
}

static bool check_domain(struct str key, struct str value, struct ai_failure *failure)
{
    const struct header *h = find_header(key);
    if (!h)
        return invalid(failure, "unknown extras.ai.transport key '%.*s'", STR_ARG(key));
    switch (h->domain) {
    case NON_EMPTY:
        return value.n > 0 || invalid(failure, "extras.ai.transport.%.*s must not be empty", STR_ARG(key));
    case BOOLEAN:
        return is_one_of(value, h->values) ||
               invalid(failure, "extras.ai.transport.%.*s must be true or false", STR_ARG(key));
    case ONE_OF:
        return is_one_of(value, h->values) ||
               invalid(failure, "extras.ai.transport.%.*s has invalid value", STR_ARG(key));
    case ANY:
        break;
    }
    return true;
}

/* ---- tiers ---- */

struct tier {
    const char *name;     /* "transport", "codec" */
    const char *alphabet; /* as the message shows it */
    bool (*is_key_char)(char c);
    bool has_registry;
    uint64_t value_max;
    struct str wide_key; /* the one key with a limit of its own */
    uint64_t wide_max;
};

static bool is_transport_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

static bool is_codec_char(char c)
{
    return is_transport_char(c) || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool check_key(const struct tier *t, struct str key, struct ai_failure *failure)
{
    if (key.n > AI_KEY_SIZE_MAX)
        return too_large(failure, "extras.ai.%s key exceeds %d bytes", t->name, AI_KEY_SIZE_MAX);
    size_t i = 0;
    while (i < key.n && t->is_key_char(key.p[i]))
        i++;
    return (key.n && i == key.n) || invalid(failure, "extras.ai.%s key '%.*s' must match %s", t->name,
                                            STR_ARG(str_first(key, SHOWN_KEY_MAX)), t->alphabet);
}

static bool check_member(const struct tier *t, struct str key_raw, struct str value,
                         struct ai_failure *failure)
{
    struct buf key_scratch = {0}, value_scratch = {0};
    struct str key = json_key_text(key_raw, &key_scratch), text = json_text(value, &value_scratch);
    uint64_t max = str_eq(key, t->wide_key) ? t->wide_max : t->value_max;
    bool fine = check_key(t, key, failure);
    if (fine && text.n > max)
        fine = too_large(failure, "extras.ai.%s.%.*s exceeds %llu bytes", t->name, STR_ARG(key),
                         (unsigned long long)max);
    fine = fine && (!t->has_registry || check_domain(key, text, failure));
    buf_free(&key_scratch);
    buf_free(&value_scratch);
    return fine;
}

/* Keys count once however often they are written: the last one wins. */
static bool is_superseded(struct str key_raw, struct json_iter rest)
{
    struct str other_raw, value;
    while (json_next_member(&rest, &other_raw, &value))
        if (str_eq(other_raw, key_raw))
            return true;
    return false;
}

static bool check_tier(const struct tier *t, struct str object, struct ai_failure *failure)
{
    struct str key_raw, value;
    size_t keys = 0;
    bool fine = true;
    struct json_iter it = json_iter(object);
    while (object.p && json_next_member(&it, &key_raw, &value))
        if (++keys > AI_KEYS_MAX)
            return too_large(failure, "extras.ai.%s exceeds %d keys", t->name, AI_KEYS_MAX);
    it = json_iter(object);
    while (fine && object.p && json_next_member(&it, &key_raw, &value))
        if (!is_superseded(key_raw, it))
            fine = check_member(t, key_raw, value, failure);
    return fine;
}

bool ai_headers_check(const struct config *config, const struct extras_facts *extras,
                      struct ai_failure *failure)
{
    struct tier transport = {
        .name = "transport",
        .alphabet = "[a-z0-9-]+",
        .is_key_char = is_transport_char,
        .has_registry = true,
        .value_max = config->ai.max_transport_value_bytes,
        .wide_key = STR("steer-codec-message-ids"),
        .wide_max = config->ai.max_steer_codec_message_ids_bytes,
    };
    struct tier codec = {
        .name = "codec",
        .alphabet = "[A-Za-z0-9_-]+",
        .is_key_char = is_codec_char,
        .value_max = CODEC_VALUE_MAX,
        .wide_key = STR("providerMetadata"),
        .wide_max = PROVIDER_METADATA_MAX,
    };
    return check_tier(&transport, extras->transport, failure) && check_tier(&codec, extras->codec, failure);
}

/* ---- publishes ---- */

static bool check_message_id(struct str message_id, struct ai_failure *failure)
{
    if (message_id.p && message_id.n == 0)
        return invalid(failure, "message_id must not be empty");
    if (message_id.n > AI_MESSAGE_ID_MAX)
        return fail(failure, CODE_AI_HEADER_TOO_LARGE, 400, "message_id exceeds %d bytes", AI_MESSAGE_ID_MAX);
    return true;
}

bool ai_publish_check(const struct config *config, const struct ai_publish *p, struct ai_failure *failure)
{
    bool concerned = p->extras->has_ai || is_ai_event(p->event);
    if (!p->ai_channel)
        return !concerned || fail(failure, CODE_AI_EVENT_NOT_PERMITTED, 403,
                                  "AI Transport is not enabled for this channel");
    if (!check_message_id(p->message_id, failure) || !ai_headers_check(config, p->extras, failure))
        return false;
    if (concerned && p->data_bytes > config->ai.max_accumulated_message_bytes)
        ai_limit_failure(config, AI_LIMIT_BYTES, failure);
    return !concerned || p->data_bytes <= config->ai.max_accumulated_message_bytes;
}

void ai_limit_failure(const struct config *config, enum ai_limit limit, struct ai_failure *failure)
{
    switch (limit) {
    case AI_LIMIT_BYTES:
        over_limit(failure, "accumulated message content exceeds %llu bytes",
                   (unsigned long long)config->ai.max_accumulated_message_bytes);
        break;
    case AI_LIMIT_APPENDS:
        over_limit(failure, "message append count exceeds %u", config->ai.max_appends_per_message);
        break;
    case AI_LIMIT_OPEN:
        over_limit(failure, "open streaming message count exceeds %u",
                   config->ai.max_open_streaming_messages_per_channel);
        break;
    case AI_LIMIT_APP_OPEN:
        over_limit(failure, "open streaming message count of the app exceeds %u", config->ai.max_open_streams_per_app);
        break;
    case AI_LIMIT_FRAGMENT:
        over_limit(failure, "append fragment exceeds %llu bytes", (unsigned long long)config->ai.max_append_bytes);
        break;
    case AI_LIMIT_DURATION:
        over_limit(failure, "stream duration exceeds %llu ms", (unsigned long long)config->ai.max_stream_duration_ms);
        break;
    }
}

/* ---- single headers ---- */

struct str ai_header(const struct extras_facts *extras, struct str key, struct arena *arena)
{
    struct buf scratch = {0};
    struct str text = json_text(json_get(extras->transport, key), &scratch);
    if (scratch.p)
        text = arena_copy(arena, text);
    buf_free(&scratch);
    return text;
}

static bool is_own(struct str key, struct str value, struct str user_id)
{
    struct buf scratch = {0};
    bool own = !str_ends(key, STR("-client-id")) || str_eq(json_text(value, &scratch), user_id);
    buf_free(&scratch);
    return own;
}

bool ai_identity_check(const struct extras_facts *extras, struct str user_id, struct ai_failure *failure)
{
    struct str key_raw, value;
    bool fine = true;
    struct json_iter it = json_iter(extras->transport);
    while (fine && extras->transport.p && json_next_member(&it, &key_raw, &value)) {
        struct buf scratch = {0};
        struct str key = json_key_text(key_raw, &scratch);
        fine = is_own(key, value, user_id) ||
               fail(failure, CODE_AI_SPOOF, 400, "extras.ai.transport.%.*s does not match verified identity",
                    STR_ARG(str_first(key, SHOWN_KEY_MAX)));
        buf_free(&scratch);
    }
    return fine;
}
