/* annotations.c - annotating a message, taking that back, and listing what was said (chapter 2, 2.12; chapter 3, 7.2).
 *
 *   checks -> the message exists (store) -> who asks -> hub_annotate -> answer
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/annotations.h"

#include "api/actor.h"
#include "api/handlers.h"
#include "api/lookup.h"
#include "api/serials.h"

struct wish { /* what a call wants; also the body of a POST */
    struct str type, name, clientId, client_id, socketId, socket_id, data, encoding;
    struct number count;
    enum annotate_kind kind;
    enum summarizer summarizer;
    struct channel_name channel;
    struct message_id message;
    uint64_t target;    /* DELETE */
    uint64_t after;     /* GET */
    uint32_t limit;
    struct str own_of;  /* DELETE: only this client's; absent = anybody's */
};

/* ---- checks ---- */

static struct failure annotations_must_be_on(struct call *c, const struct channel_policy *policy)
{
    if (!c->env->config->annotations_enabled)
        return fail(422, "feature_disabled", STR("Annotations are disabled"));
    if (!policy->annotations)
        return fail_fmt(c, 403, "forbidden", "Annotations are disabled by channel policy for channel '%.*s'",
                        STR_ARG(c->args[1]));
    return NO_FAILURE;
}

static struct failure check_channel(struct call *c, struct wish *w)
{
    struct channel_policy policy;
    struct failure refused = channel_read(c, c->args[1], &w->channel, &policy);
    if (!refused.status)
        refused = versions_must_be_on(c, c->args[1], &policy);
    if (!refused.status)
        refused = annotations_must_be_on(c, &policy);
    return refused;
}

static struct failure annotation_not_found(struct call *c)
{
    return fail_fmt(c, 404, "not_found", "Annotation '%.*s' was not found on message '%.*s'",
                    STR_ARG(c->args[3]), STR_ARG(c->args[2]));
}

#define FIELD(member, kind, required)                                                                        \
    {                                                                                                        \
#member, kind, required, offsetof(struct wish, member)                                               \
    }
static const struct field create_fields[] = {
    FIELD(type, FIELD_TEXT, true),       FIELD(name, FIELD_TEXT, false),      FIELD(clientId, FIELD_TEXT, false),
    FIELD(client_id, FIELD_TEXT, false), FIELD(socketId, FIELD_TEXT, false),  FIELD(socket_id, FIELD_TEXT, false),
    FIELD(data, FIELD_JSON, false),      FIELD(encoding, FIELD_TEXT, false),  FIELD(count, FIELD_U64, false),
};
#undef FIELD

static struct failure read_body(struct call *c, struct wish *w)
{
    struct str object;
    struct failure refused = body_object(c, &object);
    if (!refused.status)
        refused = body_read(c, object, create_fields, sizeof create_fields / sizeof *create_fields, w);
    if (w->clientId.p == NULL)
        w->clientId = w->client_id;
    if (w->socketId.p == NULL)
        w->socketId = w->socket_id;
    return refused;
}

static struct failure check_create(struct call *c, struct wish *w)
{
    const char *wrong = annotation_type_read(w->type, &w->summarizer);
    if (wrong != NULL)
        return fail_input(str_of(wrong));
    if (w->count.given && w->count.u == 0)
        return fail_input(STR("count must be greater than 0"));
    /* Whom a socket stands for is not known yet. */
    wrong = w->socketId.p == NULL ? annotation_lacks(w->summarizer, w->name, w->clientId) : NULL;
    if (wrong != NULL)
        return fail_input(str_of(wrong));
    return serial_check(c, "message_serial", c->args[2]);
}

static struct failure check_delete(struct call *c, struct wish *w)
{
    struct failure refused = serial_check(c, "message_serial", c->args[2]);
    if (!refused.status)
        refused = serial_check(c, "annotation_serial", c->args[3]);
    w->socketId = query_get(c->request->query, STR("socket_id"), call_arena(c));
    return refused;
}

static struct failure check_list(struct call *c, struct wish *w)
{
    struct str query = c->request->query;
    struct str after = query_get(query, STR("from_serial"), call_arena(c));
    struct failure refused = serial_check(c, "message_serial", c->args[2]);
    w->type = query_get(query, STR("type"), call_arena(c));
    w->socketId = query_get(query, STR("socket_id"), call_arena(c));
    if (!refused.status)
        refused = query_limit(c, "annotations", c->env->config->versioned.max_page_size, &w->limit);
    if (!refused.status && w->type.p != NULL) {
        const char *wrong = annotation_type_read(w->type, &w->summarizer);
        refused = wrong != NULL ? fail_input(str_of(wrong)) : NO_FAILURE;
    }
    if (!refused.status && after.p != NULL && !annotation_serial_parse(after, &w->after))
        refused = fail_fmt(c, 400, "invalid_input", "from_serial '%.*s' is not an annotation serial", STR_ARG(after));
    return refused;
}

/* ---- answers ---- */

static struct failure failure_of(struct call *c, enum annotate_result result)
{
    switch (result) {
    case ANNOTATE_NOT_FOUND:
        return annotation_not_found(c);
    case ANNOTATE_NOT_CREATE:
        return fail_input(STR("Only annotation.create events can be deleted"));
    case ANNOTATE_FORBIDDEN:
        return fail(403, "forbidden", STR("Connection is not allowed to delete this annotation"));
    case ANNOTATE_FULL:
        return fail_fmt(c, 413, "payload_too_large", "channel annotation count exceeds %d", ANNOTATIONS_MAX);
    case ANNOTATE_BUSY:
        return fail_busy(STR("Too many annotations are waiting, try again"));
    case ANNOTATE_UNHEALTHY:
        return fail(503, "service_unavailable", STR("The channel's annotations need a reset"));
    case ANNOTATE_FAILED:
        return fail_busy(STR("The message store is not available, try again"));
    default:
        return NO_FAILURE;
    }
}

static void put_serial(struct buf *body, const char *key, uint64_t serial)
{
    char text[ANNOTATION_SERIAL_SIZE + 1];
    annotation_serial_print(text, serial);
    put_text(body, key, str_make(text, ANNOTATION_SERIAL_SIZE));
}

static void put_list(struct buf *body, struct call *c, const struct annotate *a)
{
    put_text(body, "channel", c->args[1]);
    put_text(body, "messageSerial", c->args[2]);
    put_u64(body, "limit", a->limit);
    put_bool(body, "hasMore", a->more);
    if (a->more)
        put_serial(body, "nextCursor", a->serial);
    else
        put_null(body, "nextCursor");
    put_key(body, "items");
    buf_char(body, '[');
    for (size_t i = 0; i < a->items_count; i++) {
        if (i > 0)
            buf_char(body, ',');
        buf_str(body, a->items[i]);
    }
    buf_char(body, ']');
}

static void annotated(struct annotate *a)
{
    struct call *c = a->user;
    struct failure refused = failure_of(c, a->result);
    struct buf *body = call_body(c);
    if (!refused.status) {
        buf_char(body, '{');
        if (a->kind == ANNOTATE_LIST)
            put_list(body, c, a);
        else
            put_serial(body, "annotationSerial", a->serial);
        if (a->kind == ANNOTATE_DELETE)
            put_serial(body, "deletedAnnotationSerial", a->event.target);
        buf_char(body, '}');
    }
    annotate_free(a);
    if (refused.status)
        call_refuse(c, refused);
    else
        call_ok(c);
}

static void submit(struct call *c, const struct wish *w)
{
    struct annotate *a = annotate_new(c->env, c->app, w->kind, annotated);
    a->user = c;
    a->name = w->channel;
    a->channel_name = c->args[1];
    a->event = (struct annotation){
        .target = w->target,
        .message = w->message,
        .type = w->type,
        .name = w->name,
        .client_id = w->clientId,
        .encoding = w->encoding,
        .data = w->data,
        .count = w->count.u,
    };
    a->own_of = w->own_of;
    a->type = w->type;
    a->after = w->after;
    a->limit = w->limit;
    hub_annotate(c->env, a);
}

/* ---- a socket as actor ---- */

static struct failure forbidden(struct call *c, const char *what)
{
    return fail_fmt(c, 403, "forbidden", "Connection is not allowed to %s channel '%.*s'", what, STR_ARG(c->args[1]));
}

static struct failure may_create(struct call *c, struct wish *w, const struct actor *actor)
{
    if (!actor_may(actor, MAY_PUBLISH) || !actor_may(actor, MAY_ANNOTATION_PUBLISH))
        return forbidden(c, "annotation_publish");
    w->clientId = actor->identity;
    const char *lacks = annotation_lacks(w->summarizer, w->name, w->clientId);
    return lacks != NULL ? fail_input(str_of(lacks)) : NO_FAILURE;
}

static struct failure may_delete(struct call *c, struct wish *w, const struct actor *actor)
{
    if (actor->identity.n > 0 && actor_may(actor, MAY_ANNOTATION_DELETE_ANY))
        return NO_FAILURE;
    if (actor->identity.n == 0 || !actor_may(actor, MAY_ANNOTATION_DELETE_OWN))
        return forbidden(c, "annotation_delete");
    w->own_of = actor->identity;
    return NO_FAILURE;
}

static struct failure may_list(struct call *c, struct wish *w, const struct actor *actor)
{
    bool may = actor_may(actor, MAY_SUBSCRIBE) && actor_may(actor, MAY_ANNOTATION_SUBSCRIBE);
    return may ? NO_FAILURE : forbidden(c, "annotation_subscribe");
}

static struct failure (*const may[])(struct call *c, struct wish *w, const struct actor *actor) = {
    [ANNOTATE_CREATE] = may_create,
    [ANNOTATE_DELETE] = may_delete,
    [ANNOTATE_LIST] = may_list,
};

static void actor_known(struct call_actor *a, struct failure refused)
{
    struct wish *w = a->user;
    if (!refused.status)
        refused = may[w->kind](a->call, w, &a->actor);
    if (refused.status)
        call_refuse(a->call, refused);
    else
        submit(a->call, w);
}

static void ask_actor(struct call *c, struct wish *w)
{
    struct call_actor *a = arena_zalloc(call_arena(c), sizeof *a);
    a->socket_id = w->socketId;
    a->client_id = w->kind == ANNOTATE_CREATE ? w->clientId : STR_NONE;
    a->known = actor_known;
    a->user = w;
    call_actor_ask(c, a);
}

/* ---- the calls ---- */

static void message_found(struct lookup *lookup)
{
    struct call *c = lookup->call;
    struct wish *w = lookup->user;
    const struct store_op *op = &lookup->op;
    bool missing = op->result == STORE_NOT_FOUND || op->result == STORE_WRONG_STREAM ||
                   (op->result == STORE_OK && (op->found.count == 0 || op->found.items[0].action == ACTION_ORDINARY));
    struct failure refused = missing ? message_not_found(c) : lookup_failure(lookup);
    lookup_end(lookup);
    if (refused.status)
        call_refuse(c, refused);
    else if (w->socketId.p != NULL)
        ask_actor(c, w);
    else
        submit(c, w);
}

static void find_message(struct call *c, struct wish *w)
{
    if (!serial_names(c->args[2], &w->message)) {
        call_refuse(c, message_not_found(c));
        return;
    }
    if (w->kind == ANNOTATE_DELETE && !annotation_serial_parse(c->args[3], &w->target)) {
        call_refuse(c, annotation_not_found(c));
        return;
    }
    struct lookup *lookup = lookup_new(c, STORE_LATEST, c->args[1], message_found);
    lookup->user = w;
    lookup->op.read.ids = &w->message;
    lookup->op.read.ids_count = 1;
    lookup_start(lookup);
}

static void serve(struct call *c, enum annotate_kind kind, struct failure (*check)(struct call *c, struct wish *w))
{
    struct wish *w = arena_zalloc(call_arena(c), sizeof *w);
    w->kind = kind;
    struct failure refused = kind == ANNOTATE_CREATE ? read_body(c, w) : NO_FAILURE;
    if (!refused.status)
        refused = check_channel(c, w);
    if (!refused.status)
        refused = check(c, w);
    if (refused.status)
        call_refuse(c, refused);
    else
        find_message(c, w);
}

void serve_annotate(struct call *c)
{
    serve(c, ANNOTATE_CREATE, check_create);
}

void serve_annotation_delete(struct call *c)
{
    serve(c, ANNOTATE_DELETE, check_delete);
}

void serve_annotations(struct call *c)
{
    serve(c, ANNOTATE_LIST, check_list);
}
