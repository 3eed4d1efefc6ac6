/* dispatch.c - from a text message to the command that it is.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "ai/headers.h"
#include "base/mem.h"
#include "session/internal.h"

typedef void command(struct session *s, const struct client_message *m, struct arena *arena);

static void answer_ping(struct session *s, const struct client_message *m, struct arena *arena)
{
    session_say(s, frame_take(s->all->pongs[s->protocol]));
}

static void take_pong(struct session *s, const struct client_message *m, struct arena *arena)
{
    /* That something came is noted for every message. */
}

/* This build sends whole messages, as one in which deltas are switched off (chapter 5, 8.2). */
static void decline_delta(struct session *s, const struct client_message *m, struct arena *arena)
{
    session_say(s, frame_own(wire_of(s), STR("delta_compression_enabled"), STR_NONE, STR("{\"enabled\":false}"), STR_NONE, 0));
}

static void ignore_delta_error(struct session *s, const struct client_message *m, struct arena *arena)
{
    /* The next message is whole anyway. */
}

static const struct {
    struct str event;
    command *run;
} commands[] = {
    {STR("ping"), answer_ping},
    {STR("pong"), take_pong},
    {STR("subscribe"), command_subscribe},
    {STR("unsubscribe"), command_unsubscribe},
    {STR("signin"), command_signin},
    {STR("resume"), command_resume},
    {STR("auth"), command_auth},
    {STR("channel_history"), command_history},
    {STR("presence_update"), command_presence_update},
    {STR("enable_delta_compression"), decline_delta},
    {STR("delta_sync_error"), ignore_delta_error},
};

static command *find_command(struct str event)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (str_eq(commands[i].event, event))
            return commands[i].run;
    return NULL;
}

/* Events without one of our prefixes. */
static command *find_plain(struct str event)
{
    if (str_starts(event, STR("client-")))
        return command_client_event;
    if (is_ai_event(event))
        return command_ai_event;
    return str_eq(event, STR("channel_history")) ? command_history : NULL;
}

/* Chapter 1, 10.2. */
static bool within_limit(struct session *s)
{
    const struct app_config *config = s->app->config;
    if (!config->message_rate_limit.enabled)
        return true;
    if (s->limits == NULL)
        s->limits = mem_new(struct limits);
    uint64_t window_ms = config->message_rate_limit.decay_seconds * 1000;
    bool fits = window_take(&s->limits->messages, config->message_rate_limit.max_attempts, window_ms, now_of(s));
    metrics_connection_limit(env_of(s), s->app, "messages", !fits);
    if (fits)
        return true;
    if (config->message_rate_limit.terminate_on_limit)
        session_fatal(s, CODE_CLIENT_EVENT, STR("Connection closed due to message rate limit"));
    else
        session_error(s, CODE_CLIENT_EVENT, STR_NONE, "Message rejected due to rate limit");
    return false;
}

static void run(struct session *s, const struct client_message *m, struct arena *arena)
{
    command *found = m->family == FAMILY_NONE ? find_plain(m->event) : find_command(m->event);
    if (found != NULL && within_limit(s))
        found(s, m, arena);
    else if (found == NULL)
        within_limit(s); /* what we ignore counts, too */
}

static void read_message(struct session *s, struct str bytes, enum wire_format format)
{
    struct arena arena = {0};
    struct client_message m;
    if (s->over || s->doom_code != 0)
        return;
    s->heard_ms = now_of(s);
    if (s->protocol == WIRE_V1)
        s->ping_ms = 0;
    metrics_count(env_of(s), s->app, messages_in, 1);
    metrics_count(env_of(s), s->app, bytes_in, bytes.n);
    const char *wrong = client_message_decode(bytes, format, &arena, &m);
    if (wrong == client_message_no_event)
        session_error(s, CODE_GENERIC, STR_NONE, "Invalid event name: %s", wrong);
    else if (wrong != NULL)
        session_error(s, CODE_GENERIC, STR_NONE, "Invalid message format: Decode failed: %s", wrong);
    else
        run(s, &m, &arena);
    arena_free(&arena);
}

void session_message(struct session *s, struct str text)
{
    read_message(s, text, FORMAT_JSON);
}

void session_binary(struct session *s, struct str bytes)
{
    read_message(s, bytes, s->format);
}
