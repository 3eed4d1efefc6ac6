/* messages.c - reading one message and its versions (chapter 2, 2.11; chapter 3, 1.11).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"
#include "api/lookup.h"
#include "api/serials.h"
#include "message/metrics.h"

/* The path's channel may have messages and its serial may name one. */
static struct failure check_path(struct call *c)
{
    struct channel_name name;
    struct channel_policy policy;
    struct failure refused = channel_read(c, c->args[1], &name, &policy);
    if (!refused.status)
        refused = versions_must_be_on(c, c->args[1], &policy);
    if (!refused.status)
        refused = serial_check(c, "message_serial", c->args[2]);
    return refused;
}

static struct message_id *message_of(struct call *c)
{
    struct message_id *id = arena_zalloc(call_arena(c), sizeof *id);
    return serial_names(c->args[2], id) ? id : NULL;
}

static void miss(struct call *c, const char *surface)
{
    metrics_retrieval(c->env, c->app, surface, "miss");
    call_refuse(c, message_not_found(c));
}

static bool is_missing(const struct lookup *lookup)
{
    const struct store_op *op = &lookup->op;
    if (op->result == STORE_NOT_FOUND || op->result == STORE_WRONG_STREAM)
        return true;
    return op->kind == STORE_LATEST && op->result == STORE_OK &&
           (op->found.count == 0 || op->found.items[0].action == ACTION_ORDINARY);
}

/* True if the answer has been given already. */
static bool has_failed(struct lookup *lookup, const char *surface)
{
    struct call *c = lookup->call;
    bool missing = is_missing(lookup);
    struct failure refused = missing ? NO_FAILURE : lookup_failure(lookup);
    if (!missing && !refused.status)
        return false;
    lookup_end(lookup);
    if (missing)
        miss(c, surface);
    else
        call_refuse(c, refused);
    return true;
}

static void latest_found(struct lookup *lookup)
{
    struct call *c = lookup->call;
    if (has_failed(lookup, "latest"))
        return;
    struct buf *body = call_body(c);
    buf_char(body, '{');
    put_text(body, "channel", c->args[1]);
    put_key(body, "item");
    read_item_json(body, &lookup->op.found.items[0], c->args[1], STR_NONE, true);
    buf_char(body, '}');
    lookup_end(lookup);
    metrics_retrieval(c->env, c->app, "latest", "hit");
    call_ok(c);
}

static void start(struct call *c, struct lookup *lookup, const struct message_id *id)
{
    lookup->op.read.ids = id;
    lookup->op.read.ids_count = 1;
    lookup_start(lookup);
}

void serve_message(struct call *c)
{
    struct failure refused = check_path(c);
    if (refused.status) {
        call_refuse(c, refused);
        return;
    }
    const struct message_id *id = message_of(c);
    if (id)
        start(c, lookup_new(c, STORE_LATEST, c->args[1], latest_found), id);
    else
        miss(c, "latest");
}

/* ---- versions ---- */

static void put_items(struct buf *body, const struct lookup *lookup)
{
    const struct store_found *found = &lookup->op.found;
    put_key(body, "items");
    buf_char(body, '[');
    for (size_t i = 0; i < found->count; i++) {
        if (i > 0)
            buf_char(body, ',');
        read_item_json(body, &found->items[i], lookup->call->args[1], STR_NONE, false);
    }
    buf_char(body, ']');
}

static void put_next_cursor(struct buf *body, const struct store_found *found)
{
    char text[SERIAL_SIZE + 1];
    if (!found->more || found->count == 0)
        return;
    const struct store_item *last = &found->items[found->count - 1];
    serial_print(text, last->delivery, last->message.stream8, last->message.history);
    put_text(body, "next_cursor", str_make(text, SERIAL_SIZE));
}

static void versions_found(struct lookup *lookup)
{
    struct call *c = lookup->call;
    if (has_failed(lookup, "versions"))
        return;
    const struct store_read *read = &lookup->op.read;
    struct buf *body = call_body(c);
    buf_char(body, '{');
    put_text(body, "channel", c->args[1]);
    put_text(body, "direction", read->direction == NEWEST_FIRST ? STR("newest_first") : STR("oldest_first"));
    put_u64(body, "limit", read->limit);
    put_bool(body, "has_more", lookup->op.found.more);
    put_next_cursor(body, &lookup->op.found);
    put_items(body, lookup);
    buf_char(body, '}');
    lookup_end(lookup);
    metrics_retrieval(c->env, c->app, "versions", "hit");
    call_ok(c);
}

static struct failure read_direction(struct call *c, enum store_direction *direction)
{
    struct str text = query_get(c->request->query, STR("direction"), call_arena(c));
    *direction = NEWEST_FIRST;
    if (!text.p || str_eq(text, STR("newest_first")))
        return NO_FAILURE;
    *direction = OLDEST_FIRST;
    if (str_eq(text, STR("oldest_first")))
        return NO_FAILURE;
    return fail_fmt(c, 400, "invalid_input",
                    "Invalid direction '%.*s'. Accepted values: newest_first, oldest_first", STR_ARG(text));
}

/* A cursor need not be a serial of ours: it stands between those that are smaller and larger, byte by byte.
 */
static struct failure read_cursor(struct call *c, struct store_read *read)
{
    struct str text = query_get(c->request->query, STR("cursor"), call_arena(c));
    if (!text.p)
        return NO_FAILURE;
    struct message_id message = {0};
    serial_names(c->args[2], &message);
    read->after = serial_bound(text, &message, read->direction);
    return serial_check(c, "version_serial", text);
}

static struct failure read_page(struct call *c, struct store_read *read)
{
    struct failure refused =
        query_limit(c, "versions", c->env->config->versioned.max_page_size, &read->limit);
    if (!refused.status)
        refused = read_direction(c, &read->direction);
    if (!refused.status)
        refused = read_cursor(c, read);
    return refused;
}

void serve_versions(struct call *c)
{
    struct lookup *lookup = lookup_new(c, STORE_VERSIONS, c->args[1], versions_found);
    struct failure refused = check_path(c);
    if (!refused.status)
        refused = read_page(c, &lookup->op.read);
    if (refused.status) {
        call_refuse(c, refused);
        return;
    }
    const struct message_id *id = message_of(c);
    if (id)
        start(c, lookup, id);
    else
        miss(c, "versions");
}
