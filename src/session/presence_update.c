/* presence_update.c - a member says what it is doing now (chapter 1, 5.8; chapter 4, 7.1).
 *
 * The checks are a table, in the order of the chapter; how often a member may, the channel's owner knows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/json.h"
#include "session/internal.h"

enum { UPDATE_SIZE_MAX = 1024 };

struct update {
    struct session *s;
    const struct client_message *m;
    struct arena *arena;
    struct str object;        /* the command's data */
    struct str channel, info; /* what it asks for */
    const struct sub *sub;
};

static bool refuse(const struct update *u, const char *why)
{
    session_error(u->s, CODE_PRESENCE_UPDATE_INVALID, STR_NONE, "presence_update %s", why);
    return false;
}

static bool is_v2(struct update *u)
{
    return u->s->protocol == WIRE_V2 || refuse(u, "requires protocol V2");
}

static bool has_data(struct update *u)
{
    if (u->m->data.p == NULL || json_is(u->m->data, JSON_NULL))
        return refuse(u, "data is required");
    u->object = command_data(u->m->data, u->arena);
    return u->object.p != NULL || refuse(u, "data must be a JSON object");
}

static bool names_channel(struct update *u)
{
    u->channel = json_text_in(json_get(u->object, STR("channel")), u->arena);
    return u->channel.n > 0 || refuse(u, "channel is required");
}

static bool has_info(struct update *u)
{
    u->info = json_get(u->object, STR("data"));
    return u->info.p != NULL || refuse(u, "data field is required");
}

static bool is_presence(struct update *u)
{
    struct channel_name name;
    const char *wrong = channel_name_check(u->s->app, u->channel, &name, u->arena);
    return (wrong == NULL && name.kind == CHANNEL_PRESENCE) || refuse(u, "requires a presence channel");
}

static bool fits(struct update *u)
{
    if (u->info.n <= UPDATE_SIZE_MAX)
        return true;
    session_error(u->s, CODE_PAYLOAD_TOO_LARGE, STR_NONE, "presence_update data exceeds %d bytes", UPDATE_SIZE_MAX);
    return false;
}

static bool is_allowed(struct update *u)
{
    if (user_may(u->s, STR("presence"), u->channel))
        return true;
    session_error(u->s, CODE_UNAUTHORIZED, STR_NONE,
                  "Authentication error: Connection is not allowed to presence channel '%.*s'", STR_ARG(u->channel));
    return false;
}

/* Active is who has been told that he joined. */
static bool is_member(struct update *u)
{
    u->sub = sub_find(u->s, u->channel);
    bool active = u->sub != NULL && u->sub->shown && u->sub->live != NULL && u->sub->member.p != NULL;
    return active || refuse(u, "requires active membership");
}

static bool (*const checks[])(struct update *u) = {
    is_v2, has_data, names_channel, has_info, is_presence, fits, is_allowed, is_member,
};

static void updated(void *user, enum member_result result)
{
    struct handle *handle = user;
    struct session *s = handle->session;
    if (s != NULL && result != MEMBER_UNKNOWN)
        metrics_connection_limit(env_of(s), s->app, "presence_update", result == MEMBER_TOO_OFTEN);
    if (s != NULL && !s->over && result == MEMBER_UNKNOWN)
        session_error(s, CODE_PRESENCE_UPDATE_INVALID, STR_NONE, "presence_update requires active membership");
    if (s != NULL && !s->over && result == MEMBER_TOO_OFTEN)
        session_error(s, CODE_CLIENT_EVENT, STR_NONE, "presence_update rejected due to rate limit");
    handle_drop(handle);
}

void command_presence_update(struct session *s, const struct client_message *m, struct arena *arena)
{
    struct update u = {.s = s, .m = m, .arena = arena};
    if (m->family == FAMILY_INTERNAL)
        return; /* not a spelling of the command */
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        if (!checks[i](&u))
            return;
    struct member_update update = {s->app, u.channel, u.sub->member, u.info, s->id, updated, session_handle(s)};
    hub_update_member(env_of(s), &update);
}
