/* ai_event.c - ai-input and ai-cancel from clients (chapter 4, 3.2 and 4.2; chapter 1, 11.1).
 *
 * The checks are a table, in the order of the chapter; the first that refuses has said why, and the connection stays open. What
 * only the store can refuse (the open streams of a channel, a reused message_id) is said when it answers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ai/extras.h"
#include "ai/headers.h"
#include "base/json.h"
#include "message/fingerprint.h"
#include "session/client_event.h"

struct ai_event {
    struct client_event base; /* first */
    struct channel_policy policy;
    struct extras_facts facts;
    struct str identity, tags;
};

/* What the answer needs; in the publish's arena. */
struct sent {
    struct env *env;
    struct handle *handle;
    struct socket_id socket;
    struct str member; /* of a presence channel; absent = none */
};

static bool refuse(const struct ai_event *e, int code, const char *text)
{
    metrics_ai_rejected(env_of(e->base.s), e->base.s->app, code);
    session_error(e->base.s, code, STR_NONE, "%s", text);
    return false;
}

static bool refuse_because(const struct ai_event *e, const struct ai_failure *failure)
{
    return refuse(e, failure->code, failure->text);
}

/* ---- checks ---- */

static bool within_rate(struct ai_event *e)
{
    return client_event_within_rate(&e->base);
}

static bool has_shape(struct ai_event *e)
{
    const char *wrong = extras_read(e->base.m->extras, e->base.arena, &e->facts);
    e->tags = json_get(str_trim(e->base.m->raw), STR("tags"));
    if (wrong == NULL && e->tags.p != NULL && (!json_is(e->tags, JSON_OBJECT) || !json_all_strings(e->tags)))
        wrong = "tags must be an object of strings";
    if (wrong != NULL)
        session_error(e->base.s, CODE_GENERIC, STR_NONE, "Invalid message format: Decode failed: %s", wrong);
    return wrong == NULL;
}

static bool has_channel(struct ai_event *e)
{
    return e->base.m->channel.p != NULL || refuse(e, CODE_AI_INVALID_HEADER, "channel required for AI event");
}

static bool is_ai_channel(struct ai_event *e)
{
    struct client_event *base = &e->base;
    const char *wrong = channel_name_check(base->s->app, base->m->channel, &base->name, base->arena);
    if (wrong != NULL) {
        session_error(base->s, CODE_CHANNEL, STR_NONE, "Channel error: %s", wrong);
        return false;
    }
    e->policy = channel_policy(base->s->app, base->m->channel, &base->name);
    return e->policy.ai || refuse(e, CODE_AI_EVENT_NOT_PERMITTED, "AI Transport is not enabled for this channel");
}

static bool is_v2(struct ai_event *e)
{
    return e->base.s->protocol == WIRE_V2 || refuse(e, CODE_AI_EVENT_NOT_PERMITTED, "AI events require protocol v2");
}

static bool is_for_clients(struct ai_event *e)
{
    return is_ai_client_event(e->base.m->event) ||
           refuse(e, CODE_AI_EVENT_NOT_PERMITTED, "agent AI events require trusted app-key publish");
}

static bool has_identity(struct ai_event *e)
{
    e->identity = session_identity(e->base.s);
    if (e->identity.p == NULL)
        session_error(e->base.s, CODE_UNAUTHORIZED, STR_NONE,
                      "Authentication error: AI client events require an authenticated client_id");
    return e->identity.p != NULL;
}

static bool fits_payload(struct ai_event *e)
{
    return client_event_fits_payload(&e->base);
}

static bool has_valid_headers(struct ai_event *e)
{
    const struct client_message *m = e->base.m;
    const struct config *config = env_of(e->base.s)->config;
    struct ai_failure failure;
    struct ai_publish p = {.event = m->event, .extras = &e->facts, .message_id = m->message_id, .ai_channel = true};
    return ai_publish_check(config, &p, &failure) || refuse_because(e, &failure);
}

static bool is_no_spoof(struct ai_event *e)
{
    struct ai_failure failure;
    return ai_identity_check(&e->facts, e->identity, &failure) || refuse_because(e, &failure);
}

static bool may_publish(struct ai_event *e)
{
    return client_event_may_publish(&e->base);
}

static bool is_subscribed(struct ai_event *e)
{
    return client_event_is_subscribed(&e->base);
}

static bool fits_message(struct ai_event *e)
{
    struct str data = e->base.m->data;
    const struct config *config = env_of(e->base.s)->config;
    struct ai_failure failure;
    uint64_t size = json_is(data, JSON_STRING) ? json_text_size(data) : data.n;
    if (size <= config->ai.max_accumulated_message_bytes)
        return true;
    ai_limit_failure(config, AI_LIMIT_BYTES, &failure);
    return refuse_because(e, &failure);
}

static bool (*const checks[])(struct ai_event *e) = {
    within_rate,  has_shape,   has_channel, is_ai_channel, is_v2,        is_for_clients, has_identity,
    has_valid_headers, is_no_spoof, may_publish, is_subscribed, fits_payload, fits_message,
};

/* ---- the answer ---- */

/* What the limits of the store refuse. */
static void say_limit(const struct sent *sent, const struct publish *p)
{
    struct ai_failure failure;
    enum ai_limit limit = p->result == PUBLISH_OPEN_MAX       ? AI_LIMIT_OPEN
                          : p->result == PUBLISH_APP_OPEN_MAX ? AI_LIMIT_APP_OPEN
                                                              : AI_LIMIT_BYTES;
    ai_limit_failure(sent->env->config, limit, &failure);
    metrics_ai_rejected(sent->env, p->app, failure.code);
    if (sent->handle->session != NULL && !sent->handle->session->over)
        session_error(sent->handle->session, failure.code, p->op.channel, "%s", failure.text);
}

static void say_conflict(const struct sent *sent, const struct publish *p)
{
    if (sent->handle->session != NULL && !sent->handle->session->over)
        session_error(sent->handle->session, CODE_GENERIC, p->op.channel,
                      "Invalid message format: message_id was already used with a different payload");
}

static void published(struct publish *p)
{
    struct sent *sent = p->user;
    switch (p->result) {
    case PUBLISH_OK:
        if (!p->extras.ephemeral)
            client_event_notify(sent->env, p, sent->socket, STR("ai-event"), STR("null"), sent->member);
        break;
    case PUBLISH_DUPLICATE:
        metrics_count(sent->env, p->app, idempotency_duplicates, 1);
        break;
    case PUBLISH_CONFLICT:
        say_conflict(sent, p);
        break;
    case PUBLISH_OPEN_MAX:
    case PUBLISH_APP_OPEN_MAX:
    case PUBLISH_BYTES_MAX:
        say_limit(sent, p);
        break;
    default:
        break; /* client_event_answer() says what was lost */
    }
    client_event_answer(sent->handle, p);
    publish_free(p);
}

/* ---- publishing ---- */

/* Section 4.2: who says this, if the client has not said so itself. */
static struct str own_header(struct str event)
{
    return str_eq(event, STR("ai-input")) ? STR("input-client-id") : STR("run-client-id");
}

static void put_extras(const struct ai_event *e, struct publish *p)
{
    const struct config *config = env_of(e->base.s)->config;
    const struct ai_header_value own = {own_header(e->base.m->event), e->identity};
    bool given = json_has(e->facts.transport, own.key);
    struct buf extras = {0};
    ai_extras_put(&extras, e->base.m->extras, &e->facts, &own, given ? 0 : 1);
    p->op.write.extras = arena_copy(&p->op.arena, buf_view(&extras));
    buf_free(&extras);
    extras_read(p->op.write.extras, &p->op.arena, &p->extras);
    p->op.write.status = p->extras.status;
    p->extras.ephemeral = p->extras.ephemeral && config->ephemeral_enabled;
}

/* With the same id the same event is not published twice (chapter 3, 1.9). */
static void put_receipt(const struct ai_event *e, struct publish *p)
{
    const struct client_message *m = e->base.m;
    struct store_write *w = &p->op.write;
    struct buf text = {0}, scratch = {0};
    if (m->message_id.p == NULL || !e->policy.idempotency || !e->policy.history || p->extras.ephemeral)
        return;
    struct publish_content content = {m->event, json_text_in(w->data, e->base.arena), e->tags, e->identity, m->extras};
    if (content.text.p == NULL) {
        json_compact(&text, w->data);
        content.text = buf_view(&text);
    }
    w->receipt_key = hash128(m->message_id);
    w->fingerprint = publish_fingerprint(&content, &scratch);
    w->receipt_ttl_ms = e->policy.idempotency_ttl_ms;
    metrics_count(env_of(e->base.s), e->base.s->app, idempotency_publish, 1);
    buf_free(&text);
    buf_free(&scratch);
}

static enum client_echo echo_of(const struct ai_event *e)
{
    bool wanted = env_of(e->base.s)->config->echo_control.enabled && e->facts.echo >= 0 ? e->facts.echo : e->base.s->echo;
    return wanted ? ECHO_YES : ECHO_NO;
}

static void publish(struct ai_event *e)
{
    struct session *s = e->base.s;
    struct publish *p = client_event_new(&e->base, echo_of(e), published);
    struct arena *arena = &p->op.arena;
    struct str message_id = e->base.m->message_id;
    struct sent *sent = arena_zalloc(arena, sizeof(*sent));
    *sent = (struct sent){env_of(s), session_handle(s), s->id, arena_copy(arena, e->base.sub->member)};
    p->user = sent;
    p->ai_event = true;
    p->op.write.user_id = p->op.write.client_id = arena_copy(arena, e->identity);
    p->op.write.message_id =
        message_id.p != NULL ? arena_copy(arena, message_id) : client_event_fresh_id(&e->base, arena);
    p->op.write.tags = arena_copy(arena, e->tags);
    put_extras(e, p);
    put_receipt(e, p);
    if (p->extras.ephemeral)
        metrics_count(env_of(s), s->app, ephemeral, 1);
    hub_publish(env_of(s), p);
}

void command_ai_event(struct session *s, const struct client_message *m, struct arena *arena)
{
    struct ai_event e = {.base = {.s = s, .m = m, .arena = arena}};
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        if (!checks[i](&e))
            return;
    publish(&e);
}
