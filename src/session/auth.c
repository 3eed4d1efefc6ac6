/* auth.c - a capability token on a connection: at connect, refreshed by `auth`, expired, revoked (chapter 1, 4.4; chapter 4, 4.4 to 4.6).
 *
 *      accepted ---- exp: token_expired 40142 ---- 30 s: error, close 4009          revoked: token_expired 40160, error, close 4009
 *                \-- auth: another token of this client takes its place --/
 *
 * The capabilities of a token count from then on; what has been subscribed to stays.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/json.h"
#include "session/internal.h"
#include "session/revocation.h"

enum { EXPIRED_GRACE_MS = 30000 };

const char *auth_check(struct sessions *all, struct app *app, enum wire_protocol protocol, struct str jwt,
                       struct arena *arena, struct token *out)
{
    const struct env *env = all->env;
    int64_t now_ms = clock_wall_ms(env->clock);
    if (protocol == WIRE_V1)
        return "capability tokens require protocol V2";
    const char *wrong = token_read(app, env->shard, jwt, now_ms / 1000, arena, out);
    if (wrong == NULL)
        wrong = revocations_refuse(all->revocations, app, out, now_ms);
    if (wrong == NULL)
        return NULL;
    capabilities_free(out->may);
    out->may = NULL;
    return wrong;
}

void auth_take(struct session *s, const struct token *token)
{
    struct user *user = user_new(token->client_id, STR("{}"), token->jti, token->may);
    int64_t left_ms = token->exp_s * 1000 - clock_wall_ms(env_of(s)->clock);
    user->token_due_ms = now_of(s) + (uint64_t)(left_ms > 0 ? left_ms : 0);
    user_becomes(s, user);
    session_arm(s);
}

/* ---- the command ---- */

static const char *check_identity(const struct session *s, const struct token *token)
{
    if (s->user == NULL || str_eq(s->user->id, token->client_id))
        return NULL;
    return user_by_token(s->user) ? "capability token refresh cannot change client_id"
                                  : "capability token cannot change the signed-in identity";
}

static void say_success(struct session *s, const struct token *token)
{
    struct buf data = {0};
    buf_lit(&data, "{\"client_id\":");
    buf_json(&data, token->client_id);
    buf_lit(&data, ",\"jti\":");
    buf_json(&data, token->jti);
    buf_fmt(&data, ",\"exp\":%lld}", (long long)token->exp_s);
    session_say(s, frame_own(wire_of(s), STR("auth_success"), STR_NONE, buf_view(&data), STR_NONE, 0));
    buf_free(&data);
}

static const char *refresh(struct session *s, struct str jwt, struct arena *arena)
{
    struct token token;
    const char *wrong = auth_check(s->all, s->app, s->protocol, jwt, arena, &token);
    if (wrong != NULL)
        return wrong;
    wrong = check_identity(s, &token);
    if (wrong != NULL) {
        capabilities_free(token.may);
        return wrong;
    }
    auth_take(s, &token);
    say_success(s, &token);
    return NULL;
}

void command_auth(struct session *s, const struct client_message *m, struct arena *arena)
{
    struct str jwt = json_text_in(json_get(command_data(m->data, arena), STR("token")), arena);
    if (jwt.p == NULL && s->protocol == WIRE_V2) {
        session_error(s, CODE_GENERIC, STR_NONE, "Invalid message format: sockudo:auth requires data.token");
        return;
    }
    const char *wrong = refresh(s, jwt, arena);
    if (wrong != NULL)
        session_error(s, CODE_UNAUTHORIZED, STR_NONE, "Authentication error: %s", wrong);
}

/* ---- the end of a token ---- */

static void say_expired(struct session *s, int code, const char *reason)
{
    struct buf data = {0};
    buf_fmt(&data, "{\"code\":%d,\"reason\":\"%s\"}", code, reason);
    session_say(s, frame_own(wire_of(s), STR("token_expired"), STR_NONE, buf_view(&data), STR_NONE, 0));
    buf_free(&data);
}

uint64_t token_due_ms(const struct session *s)
{
    return s->user != NULL ? s->user->token_due_ms : 0;
}

void token_expires(struct session *s, uint64_t now)
{
    if (s->user->token_expired) {
        session_fatal(s, CODE_UNAUTHORIZED, STR("capability token expired"));
        return;
    }
    s->user->token_expired = true;
    s->user->token_due_ms = now + EXPIRED_GRACE_MS;
    say_expired(s, CODE_TOKEN_EXPIRED, "expired");
}

static bool is_meant(const struct session *s, const struct app *app, struct str jti, struct str client_id)
{
    const struct user *user = s->user;
    if (s->over || s->app != app || user == NULL || !user_by_token(user))
        return false;
    return (jti.p != NULL && str_eq(user->jti, jti)) || (client_id.p != NULL && str_eq(user->id, client_id));
}

uint32_t sessions_revoke(struct sessions *all, const struct app *app, struct str jti, struct str client_id)
{
    uint32_t closed = 0;
    list_each_safe(link, after, &all->all)
    {
        struct session *s = list_of(link, struct session, link);
        if (!is_meant(s, app, jti, client_id))
            continue;
        say_expired(s, CODE_TOKEN_REVOKED, "revoked");
        session_fatal(s, CODE_UNAUTHORIZED, STR("capability token revoked"));
        closed++;
    }
    return closed;
}
