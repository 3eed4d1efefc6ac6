/* subscribe.c - may this connection have that channel? (chapter 1, 5.4 to 5.8)
 *
 * The checks are a table, in the order of the chapter. The first that refuses sets code and text; then the client gets an
 * error frame and, where a channel is known, subscription_error.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "channel/filter.h"
#include "session/internal.h"

struct ask {
    struct session *s;
    struct arena *arena;
    struct str data;         /* the command's object */
    struct str auth, channel_data; /* absent if not given */
    struct sub_ask to;       /* what the checks make */
    struct str asked;        /* whom it must be allowed: the channel, or the one that a [meta] channel is about */
    struct channel_policy policy;
    int code;                /* not 0: refused, with text */
    struct str text;
};

static struct str say(struct arena *arena, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    size_t n = (size_t)vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *text = arena_alloc(arena, n + 1);
    vsnprintf(text, n + 1, format, args);
    return str_make(text, n);
}

static bool refuse(struct ask *a, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool refuse(struct ask *a, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    a->code = code;
    a->text = say(a->arena, format, args);
    va_end(args);
    return false;
}

static struct str format_in(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
static struct str format_in(struct arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct str text = say(arena, format, args);
    va_end(args);
    return text;
}

/* ---- name ---- */

static bool has_channel(struct ask *a)
{
    a->to.channel = json_text_in(json_get(a->data, STR("channel")), a->arena);
    if (a->to.channel.p == NULL)
        return refuse(a, CODE_GENERIC, "Invalid message format: Missing channel field");
    return true;
}

/* [meta]c and a*b. */
static bool is_for_protocol(struct ask *a)
{
    struct str channel = a->to.channel;
    if (a->s->protocol == WIRE_V2)
        return true;
    if (str_starts(channel, STR("[meta]")))
        return refuse(a, CODE_CHANNEL, "Channel error: Metachannel subscriptions are only supported on protocol V2");
    if (str_index(channel, '*') >= 0 && !str_starts(channel, STR("#server-to-user-")))
        return refuse(a, CODE_CHANNEL, "Channel error: Wildcard subscriptions are only supported on protocol V2");
    return true;
}

static bool has_good_name(struct ask *a)
{
    const char *wrong = subscription_name_check(a->s->app, a->to.channel, &a->to.name, a->arena);
    if (wrong != NULL)
        return refuse(a, CODE_CHANNEL, "Channel error: %s", wrong);
    a->asked = without_meta(a->to.channel);
    a->policy = channel_policy(a->s->app, a->to.channel, &a->to.name);
    a->to.recovers = a->to.name.wildcard ? session_recovers(a->s) : a->policy.recovery;
    return true;
}

/* ---- options ---- */

static bool positive(struct ask *a, struct str value, uint64_t *n)
{
    struct str text = json_text_in(value, a->arena);
    bool is_number = text.p != NULL ? str_to_u64(text, n) : json_u64(value, n);
    return is_number && *n > 0;
}

static bool read_rewind(struct ask *a, struct str value, struct rewind *out)
{
    static const struct {
        struct str key;
        int kind;
    } keys[] = {{STR("count"), REWIND_COUNT}, {STR("seconds"), REWIND_SECONDS}, {STR("duration_seconds"), REWIND_SECONDS}};
    out->kind = REWIND_COUNT;
    if (!json_is(value, JSON_OBJECT))
        return positive(a, value, &out->n);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        out->kind = keys[i].kind;
        if (json_get(value, keys[i].key).p != NULL)
            return json_u64(json_get(value, keys[i].key), &out->n) && out->n > 0;
    }
    return false;
}

static bool may_rewind(struct ask *a)
{
    struct str value = json_get(a->data, STR("rewind")), channel = a->to.channel;
    if (value.p == NULL)
        return true;
    if (a->s->protocol == WIRE_V1)
        return refuse(a, CODE_CHANNEL, "Channel error: Channel rewind is only supported on protocol V2");
    if (!read_rewind(a, value, &a->to.rewind))
        return refuse(a, CODE_GENERIC, "Invalid message format: Invalid rewind option in subscription data");
    if (!a->policy.rewind)
        return refuse(a, CODE_CHANNEL, "Channel error: Channel rewind is disabled by policy for channel '%.*s'",
                      STR_ARG(channel));
    if (!user_may(a->s, STR("history"), channel))
        return refuse(a, CODE_UNAUTHORIZED,
                      "Authentication error: Connection is not allowed to history channel '%.*s'", STR_ARG(channel));
    return true;
}

static bool has_good_modes(struct ask *a)
{
    struct str modes = json_get(a->data, STR("modes")), mode;
    if (modes.p == NULL || a->s->protocol == WIRE_V1)
        return true;
    if (!json_is(modes, JSON_ARRAY))
        return refuse(a, CODE_GENERIC, "Invalid message format: modes must be an array");
    for (struct json_iter it = json_iter(modes); json_next_item(&it, &mode);)
        a->to.annotations |= str_eq(json_text_in(mode, a->arena), STR("ANNOTATION_SUBSCRIBE"));
    if (a->to.annotations && !a->policy.annotations)
        return refuse(a, CODE_CHANNEL, "Channel error: Annotations are disabled by channel policy for channel '%.*s'",
                      STR_ARG(a->to.channel));
    return true;
}

static bool first_time(struct app *app, enum app_warning what)
{
    return (atomic_fetch_or(&app->warned, what) & what) == 0;
}

static bool asks_for_tags(struct str filter)
{
    return json_get(filter, STR("tags")).p != NULL || json_get(filter, STR("key")).p != NULL || json_get(filter, STR("op")).p != NULL;
}

/* Chapter 5, weak spots 17 and 20. */
static void warn_of_filter(struct ask *a, struct str value)
{
    struct app *app = a->s->app;
    if (a->to.filter != NULL && a->policy.ai && first_time(app, WARNED_AI_FILTER))
        log_warn("session", "app %.*s: a subscription of the AI channel '%.*s' has a filter: whatever it hides of a message is missing in its text",
                 STR_ARG(app->id), STR_ARG(a->to.channel));
    if (value.p != NULL && !env_of(a->s)->config->tag_filtering.enabled && asks_for_tags(value) && first_time(app, WARNED_TAG_FILTER))
        log_warn("session", "app %.*s: subscriptions have tag filters, which are not applied: tag_filtering.enabled = false", STR_ARG(app->id));
}

static bool has_good_filter(struct ask *a)
{
    struct str value = json_get(a->data, STR("filter"));
    if (value.p == NULL)
        value = json_get(a->data, STR("tags_filter"));
    const char *wrong = filter_read(env_of(a->s)->config, value, a->arena, &a->to.filter);
    if (wrong != NULL)
        return refuse(a, CODE_GENERIC, "Invalid message format: %s", wrong);
    if (a->s->protocol == WIRE_V1) { /* checked all the same, never applied */
        filter_free(a->to.filter);
        a->to.filter = NULL;
    } else {
        warn_of_filter(a, value);
    }
    a->to.filter_json = a->to.filter != NULL ? value : STR_NONE;
    return true;
}

/* `delta` asks for smaller frames; whole ones serve as well, but silence would promise what we do not do (chapter 5, 8.2). */
static bool asks_for_delta(struct ask *a)
{
    struct str delta = json_get(a->data, STR("delta"));
    bool enabled = true;
    if (json_is(delta, JSON_OBJECT))
        json_bool(json_get(delta, STR("enabled")), &enabled);
    else if (!json_bool(delta, &enabled)) {
        struct str word = json_text_in(delta, a->arena);
        enabled = word.p != NULL && !str_eq(word, STR("disabled")) && !str_eq(word, STR("none")) &&
                  !str_eq(word, STR("false"));
    }
    a->to.delta = enabled && delta.p != NULL && a->s->protocol == WIRE_V2;
    return true;
}

/* ---- who may ---- */

static bool needs_auth(const struct ask *a)
{
    return a->to.name.kind != CHANNEL_PUBLIC;
}

static bool has_auth(struct ask *a)
{
    a->auth = json_text_in(json_get(a->data, STR("auth")), a->arena);
    a->channel_data = json_text_in(json_get(a->data, STR("channel_data")), a->arena);
    if (needs_auth(a) && a->auth.n == 0)
        return refuse(a, CODE_UNAUTHORIZED, "Authentication error: Authentication signature required for this channel");
    return true;
}

static bool namespace_allows(struct ask *a)
{
    const struct namespace_config *ns = a->to.name.ns;
    if (ns == NULL)
        return true;
    if (ns->allow_subscribe_for_client == 0)
        return refuse(a, CODE_UNAUTHORIZED, "Authentication error: Namespace '%.*s' does not allow client subscriptions",
                      STR_ARG(ns->name));
    if (a->to.name.kind == CHANNEL_PRESENCE && ns->allow_presence_for_client == 0)
        return refuse(a, CODE_UNAUTHORIZED,
                      "Authentication error: Namespace '%.*s' does not allow client presence subscriptions",
                      STR_ARG(ns->name));
    return true;
}

static bool has_capability(struct ask *a, struct str operation)
{
    if (a->to.name.server_to_user || user_may(a->s, operation, a->asked))
        return true;
    return refuse(a, CODE_UNAUTHORIZED, "Authentication error: Connection is not allowed to %.*s channel '%.*s'",
                  STR_ARG(operation), STR_ARG(a->asked));
}

static bool has_capabilities(struct ask *a)
{
    if (a->to.annotations && !has_capability(a, STR("annotation_subscribe")))
        return false;
    return has_capability(a, STR("subscribe")) &&
           (a->to.name.kind != CHANNEL_PRESENCE || has_capability(a, STR("presence")));
}

struct str user_limit_refuses(const struct session *s, const struct channel_name *name, struct str channel,
                              struct arena *arena)
{
    struct str rest = name->users;
    if (rest.p == NULL)
        return STR_NONE;
    if (s->user == NULL)
        return STR("User-limited channels require an authenticated V2 user");
    while (rest.p != NULL)
        if (str_eq(str_split(&rest, ','), s->user->id))
            return STR_NONE;
    return format_in(arena, "User '%.*s' is not allowed to access channel '%.*s'", STR_ARG(s->user->id), STR_ARG(channel));
}

static bool user_may_enter(struct ask *a)
{
    struct str why = user_limit_refuses(a->s, &a->to.name, a->asked, a->arena);
    if (why.p != NULL)
        return refuse(a, CODE_UNAUTHORIZED, "Authentication error: %.*s", STR_ARG(why));
    if (a->to.name.server_to_user && !sub_is_user(a->s, str_from(a->asked, sizeof "#server-to-user-" - 1)))
        return refuse(a, CODE_UNAUTHORIZED, "Authentication error: Connection is not allowed to subscribe channel '%.*s'",
                      STR_ARG(a->asked));
    return true;
}

static bool is_genuine(struct ask *a)
{
    char socket[SOCKET_ID_TEXT];
    bool presence = a->to.name.kind == CHANNEL_PRESENCE;
    if (!needs_auth(a))
        return true;
    if (presence && !a->to.name.meta && a->channel_data.p == NULL && a->s->user == NULL)
        return refuse(a, CODE_GENERIC, "Invalid message format: Missing channel_data for presence channel");
    socket_id_print(socket, a->s->id);
    if (channel_auth_ok(a->s->app, env_of(a->s)->shard, a->auth, str_of(socket), a->asked,
                        presence ? a->channel_data : STR_NONE))
        return true;
    return refuse(a, CODE_UNAUTHORIZED, "Authentication error: Channel requires authentication");
}

/* ---- presence ---- */

static struct str read_user_id(struct ask *a, struct str value)
{
    int64_t number;
    if (json_i64(value, &number))
        return format_in(a->arena, "%lld", (long long)number);
    return json_text_in(value, a->arena);
}

static bool is_member(struct ask *a)
{
    struct presence_member *member = &a->to.member;
    uint32_t max_kb = a->s->app->config->max_presence_member_size_in_kb;
    struct str value;
    if (a->to.name.kind != CHANNEL_PRESENCE || a->to.name.meta)
        return true;
    if (a->channel_data.p == NULL) {
        *member = (struct presence_member){a->s->user->id, a->s->user->info};
    } else {
        if (!json_check(a->channel_data, &value, NULL))
            return refuse(a, CODE_GENERIC, "Invalid message format: Invalid channel_data JSON for presence");
        member->user_id = read_user_id(a, json_get(value, STR("user_id")));
        member->user_info = json_get(value, STR("user_info"));
    }
    if (member->user_id.n == 0)
        return refuse(a, CODE_CHANNEL, "Channel error: Missing user_id in channel_data");
    if (member->user_info.p == NULL)
        member->user_info = STR("{}");
    if (max_kb > 0 && member->user_info.n / 1024 > max_kb)
        return refuse(a, CODE_CHANNEL, "Channel error: Presence member data size (%zuKB) exceeds limit (%uKB)",
                      member->user_info.n / 1024, max_kb);
    return true;
}

static bool too_many(struct ask *a, const char *limit, const char *of_what, uint32_t max)
{
    metrics_limit_reached(env_of(a->s), a->s->app, limit);
    return refuse(a, CODE_CHANNEL, "Channel error: Too many %s on this connection, the limit is %u", of_what, max);
}

static bool has_place(struct ask *a)
{
    const struct session *s = a->s;
    const struct sub *sub = sub_find(s, a->to.channel);
    if (sub == NULL && a->to.name.wildcard && s->wildcards >= SESSION_WILDCARDS_MAX)
        return too_many(a, "wildcards", "wildcard subscriptions", SESSION_WILDCARDS_MAX);
    if (sub == NULL && s->subs_count >= env_of(s)->config->websocket.max_channels)
        return too_many(a, "channels", "channels", env_of(s)->config->websocket.max_channels);
    if (sub == NULL && !hub_takes_subscriptions(env_of(s))) {
        metrics_limit_reached(env_of(s), s->app, "attaches");
        return refuse(a, CODE_GENERIC, "Too many subscriptions are under way, try again");
    }
    if (sub != NULL && sub->acks >= SESSION_SUBSCRIBES_MAX)
        return too_many(a, "subscribes", "unanswered subscribes of the channel", SESSION_SUBSCRIBES_MAX);
    if (a->to.filter_json.p != NULL && !sub_has_room_for_filter(s, sub, a->to.filter_json))
        return too_many(a, "filters", "bytes of filters", SESSION_FILTER_BYTES_MAX);
    return true;
}

static bool (*const checks[])(struct ask *a) = {
    has_channel,      is_for_protocol,    has_good_name,  may_rewind, has_good_modes, has_good_filter, has_auth,
    namespace_allows, has_capabilities, user_may_enter, is_genuine, is_member,      has_place,       asks_for_delta,
};

/* ---- the commands ---- */

static void say_refused(const struct ask *a)
{
    struct session *s = a->s;
    session_error(s, a->code, a->to.channel, "%.*s", STR_ARG(a->text));
    if (a->to.channel.p != NULL)
        session_say(s, frame_subscription_error(wire_of(s), a->to.channel, a->code, a->text));
}

void command_subscribe(struct session *s, const struct client_message *m, struct arena *arena)
{
    struct ask a = {.s = s, .arena = arena, .data = command_data(m->data, arena)};
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        if (!checks[i](&a)) {
            filter_free(a.to.filter);
            say_refused(&a);
            return;
        }
    sub_subscribe(s, &a.to);
}

/* The channel stands in an object, in an object inside a string, or is the bare string. */
void command_unsubscribe(struct session *s, const struct client_message *m, struct arena *arena)
{
    struct str data = command_data(m->data, arena);
    struct str channel = data.p != NULL ? json_text_in(json_get(data, STR("channel")), arena) : json_text_in(m->data, arena);
    if (channel.p == NULL) {
        session_error(s, CODE_GENERIC, STR_NONE, "Invalid message format: Missing channel field");
        return;
    }
    struct sub *sub = sub_find(s, channel);
    if (sub != NULL && sub->shown)
        sub_unsubscribe(sub);
}
