/* signin.c - who the client is, and what that allows (chapter 1, 4.1 and 4.4).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "session/internal.h"

struct str text_in(struct arena *arena, struct str value)
{
    struct buf scratch = {0};
    struct str text = json_text(value, &scratch);
    if (scratch.p != NULL)
        text = arena_copy(arena, text);
    buf_free(&scratch);
    return text;
}

/* ---- capabilities ---- */

/* Pattern: exact, or one `*` anywhere. */
static bool matches(struct str pattern, struct str channel)
{
    ptrdiff_t star = str_index(pattern, '*');
    if (star < 0)
        return str_eq(pattern, channel);
    struct str before = str_first(pattern, (size_t)star), after = str_from(pattern, (size_t)star + 1);
    return channel.n >= before.n + after.n && str_starts(channel, before) && str_ends(channel, after);
}

static bool is_open_by_default(struct str operation)
{
    return str_eq(operation, STR("subscribe")) || str_eq(operation, STR("publish")) ||
           str_eq(operation, STR("history")) || str_eq(operation, STR("presence"));
}

bool user_may(const struct session *s, struct str operation, struct str channel)
{
    if (s->protocol == WIRE_V1 || s->user == NULL || s->user->capabilities.p == NULL)
        return true;
    struct str list = json_get(s->user->capabilities, operation), item;
    if (list.p == NULL)
        return is_open_by_default(operation);
    struct json_iter it = json_iter(list);
    struct buf scratch = {0};
    bool allowed = false;
    while (!allowed && json_next_item(&it, &item)) {
        buf_clear(&scratch);
        allowed = matches(json_text(item, &scratch), channel);
    }
    buf_free(&scratch);
    return allowed;
}

/* NULL, or what is wrong. */
static const char *check_capabilities(struct str capabilities)
{
    struct str key, list, item;
    if (capabilities.p == NULL)
        return NULL;
    if (!json_is(capabilities, JSON_OBJECT))
        return "expected an object";
    for (struct json_iter it = json_iter(capabilities); json_next_member(&it, &key, &list);) {
        if (!json_is(list, JSON_ARRAY))
            return "expected arrays of channel patterns";
        for (struct json_iter items = json_iter(list); json_next_item(&items, &item);)
            if (!json_is(item, JSON_STRING))
                return "channel patterns must be strings";
    }
    return NULL;
}

/* ---- sign-in ---- */

static struct user *user_new(struct str id, struct str info, struct str capabilities)
{
    struct user *user = mem_alloc(sizeof(*user) + id.n + info.n + capabilities.n);
    char *text = user->text;
    memcpy(text, id.p, id.n);
    user->id = str_make(text, id.n);
    memcpy(text += id.n, info.p, info.n);
    user->info = str_make(text, info.n);
    text += info.n;
    user->capabilities = STR_NONE;
    if (capabilities.p != NULL) {
        memcpy(text, capabilities.p, capabilities.n);
        user->capabilities = str_make(text, capabilities.n);
    }
    return user;
}

static void become(struct session *s, struct user *user)
{
    struct user *old = s->user;
    s->user = user;
    s->auth_due_ms = 0;
    sub_identify(s, user->id);
    if (old != NULL)
        sub_forget_identity(s, old->id);
    free(old);
}

static void say_success(struct session *s, struct str user_data)
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
    struct str id = text_in(arena, json_get(value, STR("id")));
    struct str info = json_get(value, STR("user_info"));
    struct str capabilities = json_get(value, STR("capabilities"));
    const char *wrong = check_capabilities(capabilities);
    if (id.n == 0) {
        session_error(s, CODE_UNAUTHORIZED, STR_NONE, "Authentication error: Missing 'id' field in user_data");
    } else if (wrong != NULL) {
        session_error(s, CODE_UNAUTHORIZED, STR_NONE, "Authentication error: Invalid capabilities in user_data: %s", wrong);
    } else {
        become(s, user_new(id, info.p != NULL ? info : STR("{}"), capabilities));
        say_success(s, user_data);
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
    if (!s->app->config->enable_user_authentication) {
        refuse(s, "User authentication is disabled for this app");
        return;
    }
    struct str data = command_data(m->data, arena);
    struct str auth = text_in(arena, json_get(data, STR("auth")));
    struct str user_data = text_in(arena, json_get(data, STR("user_data")));
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
