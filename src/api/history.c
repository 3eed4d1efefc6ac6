/* history.c - GET .../history: a page of a channel's messages, each as its newest version (chapter 3, 2.5).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"

#include "api/history_query.h"
#include "api/lookup.h"
#include "api/stream_json.h"
#include "message/metrics.h"

struct page {
    struct lookup *lookup;
    struct history_query query;
};

static void put_item(struct buf *out, struct call *c, const struct store_item *item, struct str stream_id)
{
    bool ordinary = item->action == ACTION_ORDINARY;
    struct buf *message = &c->api->scratch;
    buf_clear(message);
    read_item_json(message, item, c->args[1], ordinary ? stream_id : STR_NONE, true);
    buf_char(out, '{');
    put_text(out, "stream_id", stream_id);
    put_u64(out, "serial", item->message.history);
    put_i64(out, "published_at_ms", item->published_at_ms);
    put_text(out, "message_id", item->message_id);
    put_text(out, "event_name", ordinary ? item->event_name : action_event(item->action));
    put_text(out, "operation_kind", ordinary ? STR("append") : action_operation(item->action));
    put_u64(out, "payload_size_bytes", message->n);
    put_json(out, "message", buf_view(message));
    buf_char(out, '}');
    metrics_substitution(c->env, c->app, ordinary ? "not_versioned" : "applied");
}

static void put_items(struct buf *out, const struct lookup *lookup)
{
    const struct store_found *found = &lookup->op.found;
    put_key(out, "items");
    buf_char(out, '[');
    for (size_t i = 0; i < found->count; i++) {
        if (i > 0)
            buf_char(out, ',');
        put_item(out, lookup->call, &found->items[i], str_of(lookup->op.head.stream_id));
    }
    buf_char(out, ']');
}

static void put_next_cursor(struct buf *out, const struct page *page)
{
    const struct store_found *found = &page->lookup->op.found;
    struct cursor next = page->query.cursor;
    if (!found->more || found->count == 0) {
        put_null(out, "next_cursor");
        return;
    }
    next.stream_id = str_of(page->lookup->op.head.stream_id);
    next.serial = found->items[found->count - 1].message.history;
    put_key(out, "next_cursor");
    buf_char(out, '"');
    cursor_put(out, &next);
    buf_char(out, '"');
}

static void put_continuity(struct buf *out, const struct page *page)
{
    const struct store_op *op = &page->lookup->op;
    bool truncated = history_is_truncated(&page->query.cursor.bounds, &op->head);
    put_key(out, "continuity");
    buf_char(out, '{');
    put_stream_id(out, "stream_id", op->head.stream_id);
    put_available(out, &op->head);
    put_u64(out, "retained_messages", op->head.retained_messages);
    put_u64(out, "retained_bytes", op->head.retained_bytes);
    put_bool(out, "complete", !op->found.more && !truncated);
    put_bool(out, "truncated_by_retention", truncated);
    buf_char(out, '}');
}

static void put_page(struct buf *out, const struct page *page)
{
    const struct store_op *op = &page->lookup->op;
    buf_char(out, '{');
    put_items(out, page->lookup);
    put_text(out, "direction", direction_word(page->query.cursor.direction));
    put_u64(out, "limit", page->query.limit);
    put_bool(out, "has_more", op->found.more);
    put_next_cursor(out, page);
    put_key(out, "bounds");
    bounds_json(out, &page->query.cursor.bounds);
    put_continuity(out, page);
    put_key(out, "stream_state");
    stream_state_json(out, page->lookup->call->env->config, &op->head);
    buf_char(out, '}');
}

static struct failure page_failure(const struct page *page)
{
    const struct store_op *op = &page->lookup->op;
    if (op->result == STORE_WRONG_STREAM)
        return fail_input(STR("Expired history cursor: channel stream changed"));
    struct failure refused = lookup_failure(page->lookup);
    if (refused.status || !page->query.continued)
        return refused;
    const char *expired = cursor_check(&page->query.cursor, &op->head);
    return expired ? fail_input(str_of(expired)) : NO_FAILURE;
}

static void page_found(struct lookup *lookup)
{
    struct page *page = lookup->user;
    struct call *c = lookup->call;
    struct failure refused = page_failure(page);
    if (!refused.status)
        put_page(call_body(c), page);
    lookup_end(lookup);
    if (refused.status)
        call_refuse(c, refused);
    else
        call_ok(c);
}

void serve_history(struct call *c)
{
    struct channel_name name;
    struct channel_policy policy;
    struct page *page = arena_zalloc(call_arena(c), sizeof *page);
    struct failure refused = channel_read(c, c->args[1], &name, &policy);
    if (!refused.status)
        refused = history_must_be_on(c, c->args[1], &policy);
    if (!refused.status)
        refused = history_query_read(c, c->args[1], &page->query);
    if (refused.status) {
        call_refuse(c, refused);
        return;
    }
    page->lookup = lookup_new(c, STORE_PAGE, c->args[1], page_found);
    page->lookup->user = page;
    history_query_fill(&page->query, &page->lookup->op.read);
    lookup_start(page->lookup);
}
