/* history_page.c - see history_page.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "message/history_page.h"

#include "message/metrics.h"
#include "message/stream_json.h"
#include "wire/envelope.h"

/* ---- the question ---- */

bool history_direction(struct str word, bool (*equal)(struct str a, struct str b), enum store_direction *out)
{
    static const struct {
        struct str word;
        enum store_direction direction;
    } words[] = {
        {STR("newest_first"), NEWEST_FIRST}, {STR("backwards"), NEWEST_FIRST}, {STR("reverse"), NEWEST_FIRST},
        {STR("oldest_first"), OLDEST_FIRST}, {STR("forwards"), OLDEST_FIRST},  {STR("forward"), OLDEST_FIRST},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (equal(word, words[i].word)) {
            *out = words[i].direction;
            return true;
        }
    return false;
}

const char *history_bounds_check(const struct history_bounds *b)
{
    if (b->has_start_serial && b->has_end_serial && b->start_serial > b->end_serial)
        return "start_serial must be less than or equal to end_serial";
    if (b->has_start_time && b->has_end_time && b->start_time_ms > b->end_time_ms)
        return "start_time_ms must be less than or equal to end_time_ms";
    return NULL;
}

void history_query_fill(const struct history_query *q, struct store_read *read)
{
    const struct history_bounds *b = &q->cursor.bounds;
    read->direction = q->cursor.direction;
    read->limit = q->limit;
    read->bytes_max = q->over_socket ? HISTORY_SOCKET_BYTES_MAX : HISTORY_BYTES_MAX;
    read->start_history = b->start_serial;
    read->end_history = b->end_serial;
    if (b->has_end_serial && b->end_serial == 0) /* below every serial: nothing */
        read->start_history = STORE_NO_HISTORY;
    read->start_ms = b->has_start_time ? b->start_time_ms : INT64_MIN;
    read->end_ms = b->has_end_time ? b->end_time_ms : INT64_MAX;
    if (q->continued) {
        read->after = q->cursor.serial;
        read->stream_id = q->cursor.stream_id;
    }
}

/* ---- the answer ---- */

bool history_is_truncated(const struct history_bounds *b, const struct store_head *head)
{
    /* Nothing retained: the next serial is the oldest that there will be. */
    uint64_t oldest = head->oldest_history ? head->oldest_history : head->history + 1;
    if (b->has_start_serial && b->start_serial < oldest && oldest > 1)
        return true;
    if (b->has_start_time && head->oldest_history > 0 && b->start_time_ms < head->oldest_ms && oldest > 1)
        return true;
    return !b->has_start_serial && !b->has_start_time && oldest > 1;
}

const char *history_cursor_refuses(const struct history_query *q, const struct store_op *op)
{
    if (op->result == STORE_WRONG_STREAM)
        return "Expired history cursor: channel stream changed";
    return op->result == STORE_OK && q->continued ? cursor_check(&q->cursor, &op->head) : NULL;
}

static struct str operation_of(const struct history_query *q, const struct store_item *item)
{
    if (item->action == ACTION_ORDINARY)
        return STR("append");
    return q->over_socket ? action_word(item->action) : action_operation(item->action);
}

static void put_item(struct buf *out, const struct history_query *q, const struct store_item *item, struct str stream_id)
{
    bool ordinary = item->action == ACTION_ORDINARY;
    struct buf message = {0};
    read_item_json(&message, item, q->cursor.channel, ordinary ? stream_id : STR_NONE, true);
    buf_char(out, '{');
    put_text(out, "stream_id", stream_id);
    put_u64(out, "serial", item->message.history);
    put_i64(out, "published_at_ms", item->published_at_ms);
    put_text(out, "message_id", item->message_id);
    put_text(out, "event_name", ordinary ? item->event_name : action_event(item->action));
    put_text(out, "operation_kind", operation_of(q, item));
    put_u64(out, "payload_size_bytes", message.n);
    put_json(out, "message", buf_view(&message));
    buf_char(out, '}');
    buf_free(&message);
}

static void put_items(struct buf *out, const struct env *env, const struct app *app, const struct history_query *q,
                      const struct store_op *op)
{
    put_key(out, "items");
    buf_char(out, '[');
    for (size_t i = 0; i < op->found.count; i++) {
        const struct store_item *item = &op->found.items[i];
        if (i > 0)
            buf_char(out, ',');
        put_item(out, q, item, str_of(op->head.stream_id));
        metrics_substitution(env, app, item->action == ACTION_ORDINARY ? "not_versioned" : "applied");
    }
    buf_char(out, ']');
}

static void put_next_cursor(struct buf *out, const struct history_query *q, const struct store_op *op)
{
    const struct store_found *found = &op->found;
    struct cursor next = q->cursor;
    if (!found->more || found->count == 0) {
        put_null(out, "next_cursor");
        return;
    }
    next.stream_id = str_of(op->head.stream_id);
    next.serial = found->items[found->count - 1].message.history;
    put_key(out, "next_cursor");
    buf_char(out, '"');
    cursor_put(out, &next);
    buf_char(out, '"');
}

static void put_bounds(struct buf *out, const struct history_query *q)
{
    put_key(out, "bounds");
    bounds_json(out, &q->cursor.bounds);
    if (!q->over_socket)
        return;
    out->n--; /* its brace */
    put_bool(out, "until_attach", q->until_attach);
    if (q->has_attach)
        put_u64(out, "attach_serial", q->attach_serial);
    else
        put_null(out, "attach_serial");
    buf_char(out, '}');
}

static void put_continuity(struct buf *out, const struct history_query *q, const struct store_op *op)
{
    bool truncated = history_is_truncated(&q->cursor.bounds, &op->head);
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

void history_put_place(struct buf *out, const struct history_query *q, const struct store_op *op)
{
    put_text(out, "direction", direction_word(q->cursor.direction));
    put_u64(out, "limit", q->limit);
    put_bool(out, "has_more", op->found.more);
    put_next_cursor(out, q, op);
    put_bounds(out, q);
}

void history_page_json(struct buf *out, const struct env *env, const struct app *app, const struct history_query *q,
                       const struct store_op *op)
{
    buf_char(out, '{');
    if (q->request_id.p != NULL)
        put_json(out, "request_id", q->request_id);
    put_items(out, env, app, q, op);
    history_put_place(out, q, op);
    put_continuity(out, q, op);
    put_key(out, "stream_state");
    stream_state_json(out, env->config, &stream_words_history, &op->head);
    buf_char(out, '}');
}
