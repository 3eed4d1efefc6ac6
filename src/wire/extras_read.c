/* extras_read.c - one walk over published extras: their shape, and what the server itself reads.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "wire/envelope.h"

#include "wire/key.h"

/* ---- extras.headers, extras.ai ---- */

static bool is_flat(enum json_type type)
{
    return type == JSON_STRING || type == JSON_NUMBER || type == JSON_TRUE || type == JSON_FALSE;
}

static const char *read_headers(struct str value, struct arena *arena, struct extras_facts *facts)
{
    struct str key_raw, member;
    (void)arena;
    if (!json_is(value, JSON_OBJECT))
        return "extras.headers must be an object";
    struct json_iter it = json_iter(value);
    while (json_next_member(&it, &key_raw, &member))
        if (!is_flat(json_type(member)))
            return "extras.headers values must be strings, numbers or booleans";
    facts->headers = value;
    return NULL;
}

static const char *read_transport(struct str value, struct extras_facts *facts)
{
    if (!json_is(value, JSON_OBJECT))
        return "extras.ai.transport must be an object";
    if (!json_all_strings(value))
        return "extras.ai.transport values must be strings";
    facts->transport = value;
    return NULL;
}

static const char *read_codec(struct str value, struct extras_facts *facts)
{
    if (!json_is(value, JSON_OBJECT))
        return "extras.ai.codec must be an object";
    if (!json_all_strings(value))
        return "extras.ai.codec values must be strings";
    facts->codec = value;
    return NULL;
}

static enum stream_status status_of(struct str tier)
{
    struct buf scratch = {0};
    struct str text = json_text(json_get(tier, STR("status")), &scratch);
    enum stream_status status = str_eq(text, STR("streaming"))   ? STREAM_OPEN
                                : str_eq(text, STR("complete"))  ? STREAM_COMPLETE
                                : str_eq(text, STR("cancelled")) ? STREAM_CANCELLED
                                                                 : STREAM_NONE;
    buf_free(&scratch);
    return status;
}

static void conclude(struct extras_facts *facts)
{
    facts->status = status_of(facts->transport);
    enum stream_status decides =
        json_has(facts->codec, STR("status")) ? status_of(facts->codec) : facts->status;
    facts->codec_or_transport_terminal = decides == STREAM_COMPLETE || decides == STREAM_CANCELLED;
}

static const char *read_ai(struct str value, struct arena *arena, struct extras_facts *facts)
{
    struct str key_raw, member;
    const char *wrong = NULL;
    (void)arena;
    if (!json_is(value, JSON_OBJECT))
        return "extras.ai must be an object";
    facts->has_ai = true;
    facts->transport = facts->codec = STR_NONE;
    struct json_iter it = json_iter(value);
    while (!wrong && json_next_member(&it, &key_raw, &member)) {
        if (json_is(member, JSON_NULL))
            continue;
        if (key_means(key_raw, STR("transport")))
            wrong = read_transport(member, facts);
        else if (key_means(key_raw, STR("codec")))
            wrong = read_codec(member, facts);
    }
    return wrong;
}

/* ---- the other members ---- */

static const char *read_ephemeral(struct str value, struct arena *arena, struct extras_facts *facts)
{
    (void)arena;
    return json_bool(value, &facts->ephemeral) ? NULL : "extras.ephemeral must be a boolean";
}

static const char *read_echo(struct str value, struct arena *arena, struct extras_facts *facts)
{
    bool echo;
    (void)arena;
    if (!json_bool(value, &echo))
        return "extras.echo must be a boolean";
    facts->echo = echo;
    return NULL;
}

static const char *read_key(struct str value, struct arena *arena, struct extras_facts *facts)
{
    if (!json_is(value, JSON_STRING))
        return "extras.idempotencyKey must be a string";
    facts->idempotency_key = json_text_in(value, arena);
    return NULL;
}

static const struct {
    struct str key;
    const char *(*read)(struct str value, struct arena *arena, struct extras_facts *facts);
} members[] = {
    {STR("ai"), read_ai},     {STR("headers"), read_headers},    {STR("ephemeral"), read_ephemeral},
    {STR("echo"), read_echo}, {STR("idempotencyKey"), read_key}, {STR("idempotency_key"), read_key},
};

static const char *read_member(struct str key_raw, struct str value, struct arena *arena,
                               struct extras_facts *facts)
{
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (key_means(key_raw, members[i].key))
            return members[i].read(value, arena, facts);
    return NULL;
}

const char *extras_read(struct str extras, struct arena *arena, struct extras_facts *facts)
{
    struct str key_raw, value;
    const char *wrong = NULL;
    *facts = (struct extras_facts){.echo = -1};
    if (!extras.p)
        return NULL;
    if (!json_is(extras, JSON_OBJECT))
        return "extras must be an object";
    struct json_iter it = json_iter(extras);
    while (!wrong && json_next_member(&it, &key_raw, &value))
        if (!json_is(value, JSON_NULL))
            wrong = read_member(key_raw, value, arena, facts);
    conclude(facts);
    return wrong;
}
