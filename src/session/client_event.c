/* client_event.c - what one client says to the others of a channel (chapter 1, section 6).
 *
 * The checks are a table, in the order of the chapter; the first that refuses has said why.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session/client_event.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "message/notice.h"

enum { EVENT_NAME_SIZE_DEFAULT = 200, CHANNEL_SIZE_DEFAULT = 200 };

bool client_event_within_rate(struct client_event *e)
{
    struct session *s = e->s;
    const struct app_config *config = s->app->config;
    if (config->max_client_events_per_second == 0)
        return true;
    if (s->limits == NULL)
        s->limits = mem_new(struct limits);
    uint64_t window_ms = (config->decay_seconds > 0 ? config->decay_seconds : 1) * 1000;
    bool fits = window_take(&s->limits->client_events, config->max_client_events_per_second, window_ms, now_of(s));
    metrics_connection_limit(env_of(s), s->app, "client_events", !fits);
    if (fits)
        return true;
    if (config->terminate_on_limit)
        session_fatal(s, CODE_CLIENT_EVENT, STR("Connection closed due to client event rate limit"));
    else
        session_error(s, CODE_CLIENT_EVENT, STR_NONE, "Client event rejected due to rate limit");
    return false;
}

static bool refuse(struct client_event *e, const char *why)
{
    session_error(e->s, CODE_CLIENT_EVENT, STR_NONE, "Client event error: %s", why);
    return false;
}

static bool has_channel(struct client_event *e)
{
    return e->m->channel.p != NULL || refuse(e, "Channel required for client event");
}

static bool is_enabled(struct client_event *e)
{
    return e->s->app->config->enable_client_messages || refuse(e, "Client events are not enabled for this app");
}

static bool fits_event_name(struct client_event *e)
{
    uint32_t max = e->s->app->config->max_event_name_length;
    max = max > 0 ? max : EVENT_NAME_SIZE_DEFAULT;
    if (e->m->event.n <= max)
        return true;
    session_error(e->s, CODE_GENERIC, STR_NONE, "Invalid event name: Event name exceeds maximum length of %u", max);
    return false;
}

static bool fits_channel_name(struct client_event *e)
{
    uint32_t max = e->s->app->config->max_channel_name_length;
    max = max > 0 ? max : CHANNEL_SIZE_DEFAULT;
    if (e->m->channel.n <= max)
        return true;
    session_error(e->s, CODE_CHANNEL, STR_NONE, "Channel name invalid: Channel name exceeds maximum length of %u", max);
    return false;
}

static bool targets_members(struct client_event *e)
{
    struct str channel = e->m->channel;
    if (str_starts(channel, STR("[meta]")))
        return refuse(e, "Client events cannot target metachannels");
    if (str_index(channel, '*') >= 0)
        return refuse(e, "Client events cannot target wildcard subscription channels");
    const char *wrong = channel_name_check(e->s->app, channel, &e->name, e->arena);
    bool right_kind = e->name.kind == CHANNEL_PRIVATE || e->name.kind == CHANNEL_PRESENCE;
    if (wrong != NULL || !right_kind)
        return refuse(e, "Client events can only be sent to private or presence channels");
    return true;
}

bool client_event_fits_payload(struct client_event *e)
{
    uint32_t max_kb = e->s->app->config->max_event_payload_in_kb;
    if (max_kb == 0 || e->m->data.n <= (size_t)max_kb * 1024)
        return true;
    session_error(e->s, CODE_CLIENT_EVENT, STR_NONE,
                  "Client event error: Event payload size (%zu bytes) exceeds limit (%uKB)", e->m->data.n, max_kb);
    return false;
}

static bool deny(struct client_event *e, struct str why)
{
    session_error(e->s, CODE_UNAUTHORIZED, STR_NONE, "Authentication error: %.*s", STR_ARG(why));
    return false;
}

bool client_event_may_publish(struct client_event *e)
{
    const struct namespace_config *ns = e->name.ns;
    struct str channel = e->m->channel;
    if (ns != NULL && ns->allow_publish_for_client == 0) {
        session_error(e->s, CODE_UNAUTHORIZED, STR_NONE,
                      "Authentication error: Namespace '%.*s' does not allow client publishes", STR_ARG(ns->name));
        return false;
    }
    if (!user_may(e->s, STR("publish"), channel)) {
        session_error(e->s, CODE_UNAUTHORIZED, STR_NONE,
                      "Authentication error: Connection is not allowed to publish channel '%.*s'", STR_ARG(channel));
        return false;
    }
    struct str why = user_limit_refuses(e->s, &e->name, channel, e->arena);
    return why.p == NULL || deny(e, why);
}

bool client_event_is_subscribed(struct client_event *e)
{
    char socket[SOCKET_ID_TEXT];
    e->sub = sub_find(e->s, e->m->channel);
    if (e->sub != NULL && e->sub->shown)
        return true;
    socket_id_print(socket, e->s->id);
    session_error(e->s, CODE_CLIENT_EVENT, STR_NONE, "Client event error: Socket %s is not subscribed to channel %.*s",
                  socket, STR_ARG(e->m->channel));
    return false;
}

static bool (*const checks[])(struct client_event *e) = {
    client_event_within_rate,  has_channel,     is_enabled,
    fits_event_name,           fits_channel_name, targets_members,
    client_event_fits_payload, client_event_may_publish, client_event_is_subscribed,
};

/* ---- publishing ---- */

/* What is known of the sender when the event has been accepted; in the publish's arena. */
struct sent {
    struct env *env;
    struct handle *handle;
    struct socket_id socket;
    bool ephemeral;
};

void client_event_notify(struct env *env, const struct publish *p, struct socket_id socket, struct str event,
                         struct str data, struct str user_id)
{
    char id[SOCKET_ID_TEXT];
    struct buf fields = {0};
    if (!notice_wanted(env, p->app, NOTICE_CLIENT_EVENT))
        return;
    socket_id_print(id, socket);
    buf_lit(&fields, "\"event\":");
    buf_json(&fields, event);
    buf_lit(&fields, ",\"data\":");
    buf_str(&fields, data);
    buf_fmt(&fields, ",\"socket_id\":\"%s\"", id);
    if (user_id.p != NULL) {
        buf_lit(&fields, ",\"user_id\":");
        buf_json(&fields, user_id);
    }
    struct notice notice = {NOTICE_CLIENT_EVENT, p->app, p->op.channel, buf_view(&fields)};
    notice_send(env, &notice);
    buf_free(&fields);
}

void client_event_answer(struct handle *handle, const struct publish *p)
{
    bool lost = p->result == PUBLISH_BUSY || p->result == PUBLISH_FAILED || p->result == PUBLISH_UNHEALTHY;
    if (lost && handle->session != NULL && !handle->session->over)
        session_error(handle->session, CODE_OVER_CAPACITY, p->op.channel, "Over capacity");
    handle_drop(handle);
}

static void published(struct publish *p)
{
    const struct sent *sent = p->user;
    if (p->result == PUBLISH_OK && !sent->ephemeral)
        client_event_notify(sent->env, p, sent->socket, p->op.write.event_name, p->op.write.data,
                            p->name.kind == CHANNEL_PRESENCE ? p->op.write.user_id : STR_NONE);
    client_event_answer(sent->handle, p);
    publish_free(p);
}

static struct sent *sent_of(struct client_event *e, struct arena *arena)
{
    struct sent *sent = arena_alloc(arena, sizeof *sent);
    *sent = (struct sent){.env = env_of(e->s), .handle = session_handle(e->s), .socket = e->s->id};
    json_bool(json_get(e->m->extras, STR("ephemeral")), &sent->ephemeral);
    return sent;
}

static struct str cache_event(struct arena *arena, struct str event, struct str channel, struct str data)
{
    struct buf json = {0};
    buf_lit(&json, "{\"event\":");
    buf_json(&json, event);
    buf_lit(&json, ",\"channel\":");
    buf_json(&json, channel);
    buf_lit(&json, ",\"data\":");
    buf_str(&json, data);
    buf_char(&json, '}');
    struct str copy = arena_copy(arena, buf_view(&json));
    buf_free(&json);
    return copy;
}

struct publish *client_event_new(struct client_event *e, enum client_echo echo, void (*done)(struct publish *))
{
    struct session *s = e->s;
    struct env *env = env_of(s);
    struct publish *p = publish_new(env, s->app, done);
    struct arena *arena = &p->op.arena;
    struct store_write *w = &p->op.write;
    p->op.app_id = s->app->id;
    p->op.channel = arena_copy(arena, e->m->channel);
    channel_name_check(s->app, p->op.channel, &p->name, arena);
    p->extras.echo = -1;
    w->action = ACTION_CREATE;
    w->event_name = arena_copy(arena, e->m->event);
    w->data = e->m->data.p != NULL ? arena_copy(arena, e->m->data) : STR("null");
    p->form = e->m->form;
    if (p->name.cache)
        p->cache_event = cache_event(arena, w->event_name, p->op.channel, w->data);
    if (echo == ECHO_NO)
        p->except = s->id;
    if (echo == ECHO_NO && s->protocol == WIRE_V2)
        metrics_count(env, s->app, echo_suppressed, 1);
    p->arrived_ns = clock_mono_ns(env->clock);
    return p;
}

struct str client_event_fresh_id(struct client_event *e, struct arena *arena)
{
    char uuid[37];
    random_uuid(&env_of(e->s)->random, uuid);
    return arena_copy(arena, str_of(uuid));
}

/* Whose message it is, for grants to mutate one's own (chapter 3, 1.8): the member, else the verified identity. V1 knows neither
 * mutations nor identities in frames: what it publishes on private channels stays as it was. */
static void set_creator(struct client_event *e, struct publish *p)
{
    struct store_write *w = &p->op.write;
    if (e->s->protocol == WIRE_V2)
        w->user_id = w->client_id = arena_copy(&p->op.arena, session_identity(e->s));
    if (e->sub->member.p != NULL)
        w->user_id = arena_copy(&p->op.arena, e->sub->member);
}

static void publish(struct client_event *e)
{
    struct publish *p = client_event_new(e, e->s->echo ? ECHO_YES : ECHO_NO, published);
    p->user = sent_of(e, &p->op.arena);
    set_creator(e, p);
    p->op.write.message_id = client_event_fresh_id(e, &p->op.arena);
    hub_publish(env_of(e->s), p);
}

void command_client_event(struct session *s, const struct client_message *m, struct arena *arena)
{
    struct client_event e = {.s = s, .m = m, .arena = arena};
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        if (!checks[i](&e))
            return;
    publish(&e);
}
