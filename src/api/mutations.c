/* mutations.c - POST .../update, /delete, /append (chapter 2, 2.11; chapter 3, 1.5 to 1.9; chapter 4, 3.3).
 *
 *      body rules -> channel -> versions on -> history on -> AI headers -> serial -> [socket_id: does the
 * message exist? -> actor] -> apply
 *
 * Without socket_id the caller is the trusted server, and that the message exists is found out by applying. With one, the
 * operation is that socket's: it needs the grant for its own messages or for any, and everybody sees it, the socket included,
 * which could not follow the text of a stream otherwise.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"

#include "ai/headers.h"
#include "api/actor.h"
#include "api/lookup.h"
#include "api/publish.h"
#include "api/serials.h"
#include "base/json.h"
#include "message/metrics.h"
#include "wire/codes.h"

enum { OP_ID_MAX = 64 };

struct mutation {
    struct call *call;
    enum store_action action;
    struct str name, data, extras, client_id, socket_id, description, metadata, op_id;
    struct texts clear_fields;
    unsigned clear;
    struct extras_facts facts;
    struct channel_name channel;
    struct message_id target;
    /* with a socket_id */
    struct str creator; /* who made the message; absent = not known */
    struct str actor;   /* the socket's identity; absent = none */
};

/* ---- the body ---- */

#define FIELD(member, kind)                                                                                  \
    {                                                                                                        \
#member, kind, false, offsetof(struct mutation, member)                                              \
    }
#define COMMON_FIELDS                                                                                        \
    FIELD(extras, FIELD_OBJECT), FIELD(op_id, FIELD_TEXT), FIELD(client_id, FIELD_TEXT),                     \
        FIELD(socket_id, FIELD_TEXT), FIELD(description, FIELD_TEXT), FIELD(metadata, FIELD_JSON)
static const struct field append_fields[] = {
    {"data", FIELD_JSON, true, offsetof(struct mutation, data)},
    COMMON_FIELDS,
};
/* delete: without the last */
static const struct field patch_fields[] = {
    FIELD(data, FIELD_JSON),
    COMMON_FIELDS,
    FIELD(clear_fields, FIELD_TEXTS),
    FIELD(name, FIELD_TEXT),
};
#undef FIELD
enum { PATCH_FIELDS = sizeof patch_fields / sizeof *patch_fields };

static struct failure read_members(struct call *c, struct str object, struct mutation *m)
{
    switch (m->action) {
    case ACTION_APPEND:
        return body_read(c, object, append_fields, sizeof append_fields / sizeof *append_fields, m);
    case ACTION_UPDATE:
        return body_read(c, object, patch_fields, PATCH_FIELDS, m);
    default:
        return body_read(c, object, patch_fields, PATCH_FIELDS - 1, m);
    }
}

static unsigned clear_bit(struct str field)
{
    return str_eq(field, STR("name"))     ? CLEAR_NAME
           : str_eq(field, STR("data"))   ? CLEAR_DATA
           : str_eq(field, STR("extras")) ? CLEAR_EXTRAS
                                          : 0;
}

static struct failure read_clear(struct call *c, struct mutation *m)
{
    bool twice = false;
    for (size_t i = 0; i < m->clear_fields.count; i++) {
        unsigned bit = clear_bit(m->clear_fields.at[i]);
        if (!bit)
            return fail_fmt(c, 422, "unprocessable_body",
                            "Field 'clear_fields' must hold only 'name', 'data' and 'extras'");
        twice |= (m->clear & bit) != 0;
        m->clear |= bit;
    }
    return twice ? fail_input(STR("clear_fields must not contain duplicates")) : NO_FAILURE;
}

static bool is_empty_patch(const struct mutation *m)
{
    return !m->name.p && !m->data.p && !m->extras.p && !m->clear && !m->client_id.p && !m->description.p &&
           !m->metadata.p && !m->op_id.p;
}

static struct failure check_patch(struct call *c, const struct mutation *m)
{
    bool both = (m->name.p && (m->clear & CLEAR_NAME)) || (m->data.p && (m->clear & CLEAR_DATA)) ||
                (m->extras.p && (m->clear & CLEAR_EXTRAS));
    if (m->action == ACTION_UPDATE && is_empty_patch(m))
        return fail_input(STR("update request must include at least one patch field or operation metadata"));
    if (both)
        return fail_fmt(c, 400, "invalid_input", "%s request cannot both replace and clear the same field",
                        m->action == ACTION_UPDATE ? "update" : "delete");
    return NO_FAILURE;
}

static struct failure check_fragment(struct call *c, const struct mutation *m)
{
    if (!json_is(m->data, JSON_STRING))
        return fail(422, "unprocessable_body", STR("Field 'data' must be a string"));
    if (json_text_size(m->data) == 0 && !m->facts.codec_or_transport_terminal)
        return fail_input(STR("append request data must not be empty"));
    return NO_FAILURE;
}

static struct failure check_rules(struct call *c, struct mutation *m)
{
    const char *wrong = extras_read(m->extras, call_arena(c), &m->facts);
    if (wrong)
        return fail(422, "unprocessable_body", str_of(wrong));
    struct failure refused = read_clear(c, m);
    if (!refused.status)
        refused = m->action == ACTION_APPEND ? check_fragment(c, m) : check_patch(c, m);
    if (!refused.status && m->op_id.p && (m->op_id.n == 0 || m->op_id.n > OP_ID_MAX))
        refused = fail_input(STR("op_id must be 1..=64 bytes"));
    return refused;
}

static struct failure read_body(struct call *c, struct mutation *m)
{
    struct str object;
    struct failure refused = body_object(c, &object);
    if (!refused.status)
        refused = read_members(c, object, m);
    return refused.status ? refused : check_rules(c, m);
}

/* ---- the channel ---- */

struct failure mutation_check_ai(struct call *c, const struct extras_facts *facts, const struct channel_policy *policy)
{
    struct ai_failure refused;
    if (!policy->ai || !facts->has_ai || ai_headers_check(c->env->config, facts, &refused))
        return NO_FAILURE;
    metrics_ai_rejected(c->env, c->app, refused.code);
    return fail_ai(refused.http_status, refused.code, arena_copy(call_arena(c), str_of(refused.text)));
}

static struct failure check_channel(struct call *c, struct mutation *m)
{
    struct channel_policy policy;
    struct failure refused = channel_read(c, c->args[1], &m->channel, &policy);
    if (!refused.status)
        refused = versions_must_be_on(c, c->args[1], &policy);
    if (!refused.status)
        refused = history_must_be_on(c, c->args[1], &policy);
    if (!refused.status)
        refused = mutation_check_ai(c, &m->facts, &policy);
    if (!refused.status)
        refused = serial_check(c, "message_serial", c->args[2]);
    if (!refused.status && !serial_names(c->args[2], &m->target))
        refused = message_not_found(c);
    return refused;
}

static const char *operation_of(enum store_action action)
{
    return action == ACTION_APPEND   ? "message.append"
           : action == ACTION_UPDATE ? "message.update"
                                     : "message.delete";
}

/* ---- a socket as actor ---- */

/* Of operation i of enum store_action: the grants that allow it. */
static const struct {
    enum capability own, any;
} grants[] = {
    [ACTION_UPDATE] = {MAY_MESSAGE_UPDATE_OWN, MAY_MESSAGE_UPDATE_ANY},
    [ACTION_DELETE] = {MAY_MESSAGE_DELETE_OWN, MAY_MESSAGE_DELETE_ANY},
    [ACTION_APPEND] = {MAY_MESSAGE_APPEND_OWN, MAY_MESSAGE_APPEND_ANY},
};

static bool is_own(const struct mutation *m, const struct actor *actor)
{
    return m->creator.n > 0 && actor->identity.n > 0 && str_eq_secret(m->creator, actor->identity);
}

/* Sets who the operation is attributed to. */
static struct failure check_grant(struct mutation *m, const struct actor *actor)
{
    if (actor->by_token && !actor_may(actor, MAY_PUBLISH))
        return fail_ai(403, CODE_MUTABLE_NOT_PERMITTED, STR("mutations not permitted on this channel"));
    bool any = actor_may(actor, grants[m->action].any);
    if (!any && !(actor_may(actor, grants[m->action].own) && is_own(m, actor)))
        return fail_ai(403, CODE_MUTABLE_NOT_PERMITTED, STR("mutations not permitted on this channel"));
    m->actor = actor->identity;
    if (!any || m->client_id.p == NULL)
        m->client_id = actor->identity;
    return NO_FAILURE;
}

static void apply(struct call *c, struct mutation *m);

static void actor_known(struct call_actor *a, struct failure refused)
{
    struct mutation *m = a->user;
    if (!refused.status)
        refused = check_grant(m, &a->actor);
    if (!refused.status) {
        apply(a->call, m);
        return;
    }
    const struct call *c = a->call;
    metrics_mutation(c->env, c->app, operation_of(m->action), "auth_failed");
    if (refused.ai_code && channel_policy(c->app, c->args[1], &m->channel).ai)
        metrics_ai_rejected(c->env, c->app, refused.ai_code);
    call_refuse(a->call, refused);
}

static void ask_actor(struct call *c, struct mutation *m)
{
    struct call_actor *a = arena_zalloc(call_arena(c), sizeof *a);
    a->socket_id = m->socket_id;
    a->client_id = m->client_id;
    a->known = actor_known;
    a->user = m;
    call_actor_ask(c, a);
}

static void message_found(struct lookup *lookup)
{
    struct mutation *m = lookup->user;
    struct call *c = lookup->call;
    const struct store_op *op = &lookup->op;
    bool found = op->result == STORE_OK && op->found.count > 0;
    bool missing = op->result == STORE_NOT_FOUND || op->result == STORE_WRONG_STREAM || (op->result == STORE_OK && !found);
    struct failure refused = missing ? message_not_found(c) : lookup_failure(lookup);
    if (found) {
        const struct store_item *item = &op->found.items[0];
        struct str creator = item->user_id.p == NULL && !item->mutated ? item->client_id : item->user_id;
        m->creator = arena_copy(call_arena(c), creator);
    }
    lookup_end(lookup);
    if (refused.status)
        call_refuse(c, refused);
    else
        ask_actor(c, m);
}

static void find_message(struct call *c, struct mutation *m)
{
    struct lookup *lookup = lookup_new(c, STORE_LATEST, c->args[1], message_found);
    lookup->user = m;
    lookup->op.read.ids = &m->target;
    lookup->op.read.ids_count = 1;
    lookup_start(lookup);
}

/* ---- applying ---- */

static void put_serial(struct buf *out, const char *key, uint64_t delivery, const struct message_id *message)
{
    char text[SERIAL_SIZE + 1];
    serial_print(text, delivery, message->stream8, message->history);
    put_key(out, key);
    buf_char(out, '"');
    buf_put(out, text, SERIAL_SIZE);
    buf_char(out, '"');
}

static void put_answer(struct buf *out, const struct call *c, const struct publish *p)
{
    const struct store_written *w = &p->op.written;
    buf_char(out, '{');
    put_text(out, "channel", c->args[1]);
    put_text(out, "message_serial", c->args[2]);
    put_text(out, "action", action_word(p->op.write.action));
    put_bool(out, "accepted", true);
    put_serial(out, "version_serial", w->delivery, &w->message);
    put_u64(out, "history_serial", w->history);
    put_u64(out, "delivery_serial", w->delivery);
    put_text(out, "status", p->result == PUBLISH_DUPLICATE ? STR("duplicate") : STR("applied"));
    buf_char(out, '}');
}

static void applied(struct publish *p)
{
    struct mutation *m = p->user;
    struct call *c = m->call;
    struct failure refused = publish_failure(c, p->result, true);
    metrics_mutation(c->env, c->app, operation_of(m->action), publish_result_word(p->result));
    if (p->result == PUBLISH_NOT_FOUND)
        refused = message_not_found(c);
    if (refused.ai_code == CODE_AI_OP_CONFLICT && channel_policy(c->app, c->args[1], &m->channel).ai)
        metrics_ai_rejected(c->env, c->app, refused.ai_code);
    if (!refused.status)
        put_answer(call_body(c), c, p);
    publish_free(p);
    if (refused.status)
        call_refuse(c, refused);
    else
        call_ok(c);
}

static void put_part(struct buf *out, struct str part)
{
    buf_char(out, part.p ? '+' : '-');
    buf_u64(out, part.n);
    buf_char(out, ':');
    buf_str(out, part);
}

static struct hash128 key_of(struct call *c, const struct mutation *m)
{
    struct buf *text = &c->api->scratch;
    buf_clear(text);
    buf_str(text, action_word(m->action));
    buf_char(text, '\0');
    buf_str(text, m->op_id);
    return hash128(buf_view(text));
}

static struct hash128 fingerprint_of(struct call *c, const struct mutation *m)
{
    struct buf *text = &c->api->scratch;
    buf_clear(text);
    put_part(text, m->name);
    put_part(text, m->data);
    put_part(text, m->extras);
    put_part(text, m->client_id);
    put_part(text, m->description);
    put_part(text, m->metadata);
    buf_u64(text, m->clear);
    if (m->actor.p)
        put_part(text, m->actor);
    return hash128(buf_view(text));
}

static void fill_write(struct call *c, const struct mutation *m, struct store_write *w)
{
    w->action = m->action;
    w->target = m->target;
    w->event_name = m->name;
    w->data = m->data;
    w->extras = m->extras;
    w->client_id = m->client_id;
    w->description = m->description;
    w->metadata = m->metadata;
    w->clear = m->clear;
    w->status = m->facts.status;
    if (m->op_id.p) {
        w->receipt_key = key_of(c, m);
        w->fingerprint = fingerprint_of(c, m);
    }
}

static void apply(struct call *c, struct mutation *m)
{
    struct publish *p = publish_new(c->env, c->app, applied);
    p->user = m;
    p->op.channel = c->args[1];
    p->name = m->channel;
    p->extras = m->facts;
    p->arrived_ns = c->request->arrived_ns;
    fill_write(c, m, &p->op.write);
    hub_publish(c->env, p);
}

static void mutate(struct call *c, enum store_action action)
{
    struct mutation *m = arena_zalloc(call_arena(c), sizeof *m);
    m->call = c;
    m->action = action;
    struct failure refused = read_body(c, m);
    if (!refused.status)
        refused = check_channel(c, m);
    if (refused.status)
        call_refuse(c, refused);
    else if (m->socket_id.p)
        find_message(c, m);
    else
        apply(c, m);
}

void serve_update(struct call *c)
{
    mutate(c, ACTION_UPDATE);
}

void serve_delete(struct call *c)
{
    mutate(c, ACTION_DELETE);
}

void serve_append(struct call *c)
{
    mutate(c, ACTION_APPEND);
}
