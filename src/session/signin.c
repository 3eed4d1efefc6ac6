/* signin.c - who the client is, and what that allows (chapter 1, 4.1 and 4.4).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "session/internal.h"

/* ---- identity ---- */

struct str session_identity(const struct session *s)
{
    return s->user != NULL ? s->user->id : STR_NONE;
}

bool user_may(const struct session *s, struct str operation, struct str channel)
{
    enum capability asked = capability_of(operation);
    assert(asked < CAPABILITIES);
    return s->protocol == WIRE_V1 || capabilities_allow(s->user != NULL ? s->user->may : NULL, asked, channel);
}

struct user *user_new(struct str id, struct str info, struct str jti, struct capabilities *may)
{
    struct user *user = mem_zalloc(sizeof(*user) + id.n + info.n + jti.n);
    char *at = user->text;
    user->id = str_make(at, id.n);
    user->info = str_make(at += id.n, info.n);
    user->jti = jti.p != NULL ? str_make(at += info.n, jti.n) : STR_NONE;
    user->may = may;
    memcpy((char *)user->id.p, id.p, id.n);
    memcpy((char *)user->info.p, info.p, info.n);
    if (jti.p != NULL)
        memcpy((char *)user->jti.p, jti.p, jti.n);
    return user;
}

void user_free(struct user *user)
{
    if (user == NULL)
        return;
    capabilities_free(user->may);
    watchlist_free(user->watch);
    free(user);
}

/* ---- sign-in ---- */

void user_leaves(struct session *s)
{
    if (s->user == NULL)
        return;
    atomic_fetch_sub_explicit(&s->app->authenticated, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&s->app->with_meta, s->user->has_meta, memory_order_relaxed);
}

/* A token for who has signed in, or for the client that has one already, changes nothing for those who watch it. */
static void take_watchlist(struct session *s, struct user *old)
{
    struct user *user = s->user;
    if (!s->app->config->enable_watchlist_events)
        return;
    bool same = old != NULL && user_by_token(user) && str_eq(old->id, user->id);
    user->watch = same && old->watch != NULL ? old->watch : watchlist_new(s, user->id);
    if (old == NULL)
        return;
    if (old->watch != user->watch)
        watchlist_replaced(old->watch);
    old->watch = NULL;
}

void user_becomes(struct session *s, struct user *user)
{
    struct user *old = s->user;
    user_leaves(s);
    atomic_fetch_add_explicit(&s->app->authenticated, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->app->with_meta, user->has_meta, memory_order_relaxed);
    s->user = user;
    s->auth_due_ms = 0;
    sub_identify(s, user->id);
    take_watchlist(s, old);
    if (old != NULL)
        sub_forget_identity(s, old->id);
    user_free(old);
}

void signin_says_success(struct session *s, struct str user_data)
{
    struct buf data = {0};
    buf_lit(&data, "{\"user_data\":");
    buf_json(&data, user_data);
    buf_char(&data, '}');
    session_say(s, frame_own(wire_of(s), STR("signin_success"), STR_NONE, buf_view(&data), STR_NONE, 0));
    buf_free(&data);
}

/* user_data is genuine. */
static void sign_in(struct session *s, struct str user_data, struct arena *arena)
{
    struct str value;
    struct json_error error;
    if (!json_check(user_data, &value, &error)) {
        session_error(s, CODE_UNAUTHORIZED, STR_NONE, "Authentication error: Invalid user_data JSON: %s at byte %zu",
                      error.why, error.offset);
        return;
    }
    struct str id = json_text_in(json_get(value, STR("id")), arena);
    struct str info = json_get(value, STR("user_info"));
    const char *wrong;
    struct capabilities *may = capabilities_of_signin(json_get(value, STR("capabilities")), &wrong);
    if (id.n == 0) {
        capabilities_free(may);
        session_error(s, CODE_UNAUTHORIZED, STR_NONE, "Authentication error: Missing 'id' field in user_data");
    } else if (wrong != NULL) {
        session_error(s, CODE_UNAUTHORIZED, STR_NONE, "Authentication error: Invalid capabilities in user_data: %s", wrong);
    } else {
        struct user *user = user_new(id, info.p != NULL ? info : STR("{}"), STR_NONE, may);
        user->has_meta = json_get(value, STR("meta")).p != NULL;
        user_becomes(s, user);
        if (user->watch != NULL)
            watchlist_begin(user->watch, json_get(value, STR("watchlist")), user_data);
        else
            signin_says_success(s, user_data);
    }
}

static void refuse(struct session *s, const char *why)
{
    session_error(s, CODE_UNAUTHORIZED, STR_NONE, "Authentication error: %s", why);
}

void command_signin(struct session *s, const struct client_message *m, struct arena *arena)
{
    char socket[SOCKET_ID_TEXT];
    socket_id_print(socket, s->id);
    if (s->user != NULL && user_by_token(s->user)) {
        refuse(s, "signin is not allowed on capability-token authenticated connections");
        return;
    }
    if (!s->app->config->enable_user_authentication) {
        refuse(s, "User authentication is disabled for this app");
        return;
    }
    struct str data = command_data(m->data, arena);
    struct str auth = json_text_in(json_get(data, STR("auth")), arena);
    struct str user_data = json_text_in(json_get(data, STR("user_data")), arena);
    if (data.p == NULL)
        session_error(s, CODE_GENERIC, STR_NONE, "Invalid message format: Invalid signin data format");
    else if (auth.p == NULL)
        refuse(s, "Missing 'auth' field in signin data");
    else if (user_data.p == NULL)
        refuse(s, "Missing 'user_data' field in signin data");
    else if (!signin_auth_ok(s->app, env_of(s)->shard, auth, str_of(socket), user_data))
        refuse(s, "Connection not authorized for signin.");
    else
        sign_in(s, user_data, arena);
}
