/* revocations.c - POST /apps/{id}/revocations: capability tokens that shall be good no more (chapter 2, 2.10).
 *
 * The answer comes when the sockets have been told to close and the revocation is durable.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"

#include "api/body.h"
#include "session/revocation.h"

enum { TTL_DEFAULT_S = 86400, REASON_MAX = 256 };
#define TTL_MAX_S ((int64_t)100 * 365 * 86400)

struct revocation_body {
    struct str jti, client_id, reason;
    struct number expires_at, ttl_seconds;
};

static const struct field fields[] = {
    {"jti", FIELD_TEXT, false, offsetof(struct revocation_body, jti)},
    {"client_id", FIELD_TEXT, false, offsetof(struct revocation_body, client_id)},
    {"reason", FIELD_TEXT, false, offsetof(struct revocation_body, reason)},
    {"expires_at", FIELD_I64, false, offsetof(struct revocation_body, expires_at)},
    {"ttl_seconds", FIELD_I64, false, offsetof(struct revocation_body, ttl_seconds)},
};

/* What no token can carry needs no revocation. */
static struct failure check_name(struct call *c, const char *field, struct str name)
{
    if (name.p == NULL || (name.n > 0 && name.n <= TOKEN_NAME_MAX))
        return NO_FAILURE;
    return fail_fmt(c, 400, "invalid_input", "%s must be 1..=%d bytes", field, TOKEN_NAME_MAX);
}

static struct failure check_body(struct call *c, const struct revocation_body *body)
{
    if (body->jti.p == NULL && body->client_id.p == NULL)
        return fail(401, "auth_failed", STR("revocation requires jti or client_id"));
    struct failure refused = check_name(c, "jti", body->jti);
    if (!refused.status)
        refused = check_name(c, "client_id", body->client_id);
    if (!refused.status && body->reason.n > REASON_MAX)
        refused = fail_fmt(c, 400, "invalid_input", "reason must be at most %d bytes", REASON_MAX);
    return refused;
}

static struct failure read_body(struct call *c, struct revocation_body *body)
{
    struct str object;
    struct failure refused = body_object(c, &object);
    if (!refused.status)
        refused = body_read(c, object, fields, sizeof fields / sizeof *fields, body);
    return refused.status ? refused : check_body(c, body);
}

static int64_t expires_s(const struct revocation_body *body, int64_t now_s)
{
    int64_t ttl = TTL_DEFAULT_S;
    if (body->ttl_seconds.given)
        ttl = body->ttl_seconds.i;
    else if (body->expires_at.given && __builtin_sub_overflow(body->expires_at.i, now_s, &ttl))
        ttl = body->expires_at.i < 0 ? 1 : TTL_MAX_S;
    ttl = ttl < 1 ? 1 : ttl;
    return now_s + (ttl < TTL_MAX_S ? ttl : TTL_MAX_S);
}

static void put_answer(struct buf *out, const struct revocation *rv)
{
    buf_char(out, '{');
    put_bool(out, "revoked_jti", rv->jti.p != NULL);
    put_bool(out, "revoked_client_id", rv->client_id.p != NULL);
    put_u64(out, "closed_connections", rv->closed);
    buf_char(out, '}');
}

static struct failure failure_of(enum revocation_result result)
{
    switch (result) {
    case REVOCATION_FULL:
        return fail(503, "service_unavailable", STR("Too many revocations are in force: nothing has been revoked"));
    case REVOCATION_UNSURE:
        return fail_busy(STR("The revocation is in force, but the store failed: it may not survive a restart, retry"));
    case REVOCATION_DONE:
        break;
    }
    return NO_FAILURE;
}

static void revoked(struct revocation *rv)
{
    struct call *c = rv->user;
    struct failure refused = failure_of(rv->result);
    if (!refused.status)
        put_answer(call_body(c), rv);
    revocation_free(rv);
    if (refused.status)
        call_refuse(c, refused);
    else
        call_ok(c);
}

void serve_revocations(struct call *c)
{
    struct revocation_body body = {0};
    struct revocations *all = c->api->shared->revocations;
    struct failure refused = read_body(c, &body);
    if (!refused.status && all == NULL)
        refused = fail(503, "service_unavailable", STR("Revocations are not available"));
    if (refused.status) {
        call_refuse(c, refused);
        return;
    }
    struct revocation *rv = revocation_new(c->env, c->app, revoked);
    rv->jti = arena_copy(&rv->op.arena, body.jti);
    rv->client_id = arena_copy(&rv->op.arena, body.client_id);
    rv->reason = arena_copy(&rv->op.arena, body.reason.n > 0 ? body.reason : STR("revoked"));
    rv->expires_s = expires_s(&body, (store_now_ms(c->env->store) + 999) / 1000); /* never shorter than asked for */
    rv->user = c;
    revocation_begin(all, c->env, rv);
}
