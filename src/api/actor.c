/* actor.c - see actor.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/actor.h"

static struct failure identity_failure(struct call *c, const struct call_actor *a)
{
    struct str identity = a->actor.identity, claimed = a->client_id;
    if (claimed.p == NULL)
        return NO_FAILURE;
    if (identity.p == NULL)
        return fail(401, "auth_failed", STR("Mutation actor socket is not signed in with an identified client"));
    if (str_eq_secret(claimed, identity))
        return NO_FAILURE;
    return fail_fmt(c, 401, "auth_failed", "Requested client_id '%.*s' does not match authenticated actor '%.*s'",
                    STR_ARG(claimed), STR_ARG(identity));
}

static struct failure failure_of(struct call *c, const struct call_actor *a)
{
    switch (a->actor.state) {
    case ACTOR_UNKNOWN:
        return fail_fmt(c, 401, "auth_failed", "Mutation actor socket '%.*s' is not connected", STR_ARG(a->socket_id));
    case ACTOR_V1:
        return fail(401, "auth_failed", STR("Mutation actor socket must use protocol V2"));
    default:
        return identity_failure(c, a);
    }
}

static void answered(struct actor *actor)
{
    struct call_actor *a = actor->user;
    actor->identity = arena_copy(call_arena(a->call), actor->identity);
    arena_free(&actor->arena);
    a->known(a, failure_of(a->call, a));
}

void call_actor_ask(struct call *c, struct call_actor *a)
{
    a->call = c;
    if (!socket_id_parse(a->socket_id, &a->actor.socket)) {
        a->known(a, fail_fmt(c, 400, "invalid_input", "Invalid socket_id: %.*s", STR_ARG(a->socket_id)));
        return;
    }
    a->actor.app = c->app;
    a->actor.channel = c->args[1];
    a->actor.done = answered;
    a->actor.user = a;
    actor_ask(c->api->shared->directory, c->env, &a->actor);
}
