/* read_auth.c - see read_auth.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/read_auth.h"

#include "api/lookup.h"
#include "api/serials.h"
#include "app/token.h"
#include "session/revocation.h"

static struct str get(struct call *c, const char *key)
{
    return query_get(c->request->query, str_of(key), call_arena(c));
}

static int64_t wall_s(const struct call *c)
{
    return clock_wall_ms(c->env->clock) / 1000;
}

/* ---- the app's signature ---- */

/* The time at which the signature is looked at: that of its making while a link is good. */
static struct failure time_of_link(struct call *c, int64_t *now_s)
{
    struct number expires, at;
    struct failure refused = query_i64(c, "expires", &expires);
    if (!refused.status)
        refused = query_i64(c, "auth_timestamp", &at);
    *now_s = wall_s(c);
    if (refused.status || !expires.given || !at.given)
        return refused;
    if (expires.i < *now_s)
        return fail(401, "auth_failed", STR("The link has expired"));
    if (at.i < 0 || at.i > *now_s + 600 || expires.i - at.i > READ_LINK_MAX_S)
        return fail(401, "auth_failed", STR("expires may be at most 86400 s after auth_timestamp"));
    *now_s = at.i;
    return NO_FAILURE;
}

static struct failure by_signature(struct call *c)
{
    struct signature_failure wrong;
    int64_t now_s;
    struct failure refused = time_of_link(c, &now_s);
    if (refused.status)
        return refused;
    struct signed_request part = {c->request->method_name, c->request->path, c->request->query, STR_NONE, now_s};
    struct app *app = signature_check_head(c->env->apps, &part, c->app->id, &wrong);
    struct str no_body_md5;
    if (app && signature_check_mac(app, c->env->shard, &part, call_arena(c), &no_body_md5, &wrong))
        return NO_FAILURE;
    return fail(wrong.status, wrong.code, arena_copy(call_arena(c), str_of(wrong.text)));
}

/* ---- a capability token ---- */

static const char *refused_by(struct call *c, const struct token *token)
{
    return revocations_refuse(c->api->shared->revocations, c->app, token, clock_wall_ms(c->env->clock));
}

static struct failure by_token(struct call *c, struct str jwt, const struct channel_name *name, struct read_right *right)
{
    struct token token;
    const char *wrong = token_read(c->app, c->env->shard, jwt, wall_s(c), call_arena(c), &token);
    if (wrong)
        return fail(401, "auth_failed", str_of(wrong));
    bool may = capabilities_allow(token.may, MAY_SUBSCRIBE, c->args[1]) &&
               (name->kind != CHANNEL_PRESENCE || capabilities_allow(token.may, MAY_PRESENCE, c->args[1]));
    capabilities_free(token.may);
    token.may = NULL;
    *right = (struct read_right){token.client_id, token.jti, token.exp_s};
    wrong = refused_by(c, &token);
    if (wrong)
        return fail(401, "auth_failed", str_of(wrong));
    if (!may)
        return fail(403, "forbidden", STR("The token does not allow to subscribe to this channel"));
    return NO_FAILURE;
}

const char *read_auth_again(struct call *c, const struct read_right *right)
{
    struct token token = {.client_id = right->client_id, .jti = right->jti, .exp_s = right->until_s};
    if (!right->client_id.p)
        return NULL;
    if (right->until_s <= wall_s(c))
        return "capability token expired";
    return refused_by(c, &token);
}

/* ---- nothing but the key ---- */

static struct failure by_key(struct call *c, const struct channel_name *name)
{
    if (name->kind != CHANNEL_PUBLIC || name->users.p || name->server_to_user)
        return fail(401, "auth_failed", STR("This channel needs auth_signature or token"));
    if (!str_eq(get(c, "auth_key"), c->app->key))
        return fail(404, "app_not_found", STR("Application key not found or invalid: Invalid app key"));
    return NO_FAILURE;
}

/* What holds for a client whatever it has shown; the app's own signature stands above it. */
static struct failure check_client(const struct channel_name *name, const struct read_right *right)
{
    struct str rest = name->users;
    if (name->ns && name->ns->allow_subscribe_for_client == 0)
        return fail(403, "forbidden", STR("The channel's namespace does not allow client subscriptions"));
    if (name->server_to_user)
        return fail(403, "forbidden", STR("A user's own channel is for his connections"));
    while (rest.p)
        if (str_eq(str_split(&rest, ','), right->client_id))
            return NO_FAILURE;
    return name->users.p ? fail(403, "forbidden", STR("The channel is for other users")) : NO_FAILURE;
}

struct failure read_auth(struct call *c, struct channel_name *name, struct channel_policy *policy, struct read_right *right)
{
    struct str token = get(c, "token");
    *right = (struct read_right){0};
    c->app = apps_by_id(c->env->apps, c->args[0]);
    if (!c->app)
        return fail(404, "app_not_found", STR("Application not found"));
    if (!c->app->config->enabled)
        return fail(403, "forbidden", STR("Application is disabled"));
    struct failure refused = get(c, "auth_signature").p ? by_signature(c) : NO_FAILURE;
    if (!refused.status)
        refused = channel_read(c, c->args[1], name, policy);
    if (refused.status || get(c, "auth_signature").p)
        return refused;
    refused = token.p ? by_token(c, token, name, right) : by_key(c, name);
    return refused.status ? refused : check_client(name, right);
}
