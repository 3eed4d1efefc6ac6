/* presence_page.c - see presence_page.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "message/presence_page.h"
#include "base/json.h"
#include "message/stream_json.h"

void presence_head_doubt(struct store_head *head, enum stream_state doubt)
{
    if (head->state != STATE_HEALTHY || doubt == STATE_HEALTHY)
        return;
    head->state = doubt;
    head->state_reason = doubt == STATE_DEGRADED ? STR("presence_history_write_failed")
                                                 : STR("presence_history_reset_required_after_write_failure");
}

static void put_item(struct buf *out, const struct store_item *item, struct str stream_id)
{
    static const char *const facts[] = {"event", "cause", "user_id", "connection_id", "dead_node_id"};
    buf_char(out, '{');
    put_text(out, "stream_id", stream_id);
    put_u64(out, "serial", item->message.history);
    put_i64(out, "published_at_ms", item->published_at_ms);
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        put_json(out, facts[i], json_get(item->data, str_of(facts[i])));
    put_u64(out, "payload_size_bytes", item->data.n);
    put_json(out, "presence_event", item->data);
    buf_char(out, '}');
}

static void put_continuity(struct buf *out, const struct store_head *head, bool more, bool truncated)
{
    bool degraded = head->state != STATE_HEALTHY;
    put_key(out, "continuity");
    buf_char(out, '{');
    put_stream_id(out, "stream_id", head->stream_id);
    put_available(out, head);
    put_u64(out, "retained_events", head->retained_messages);
    put_u64(out, "retained_bytes", head->retained_bytes);
    put_bool(out, "degraded", degraded);
    put_bool(out, "complete", !more && !truncated && !degraded);
    put_bool(out, "truncated_by_retention", truncated);
    buf_char(out, '}');
}

void presence_page_json(struct buf *out, const struct config *config, const struct history_query *q, const struct store_op *op)
{
    const struct store_found *found = &op->found;
    buf_char(out, '{');
    put_key(out, "items");
    buf_char(out, '[');
    for (size_t i = 0; i < found->count; i++) {
        if (i > 0)
            buf_char(out, ',');
        put_item(out, &found->items[i], str_of(op->head.stream_id));
    }
    buf_char(out, ']');
    history_put_place(out, q, op);
    put_continuity(out, &op->head, found->more, history_is_truncated(&q->cursor.bounds, &op->head));
    put_key(out, "stream_state");
    stream_state_json(out, config, &stream_words_presence, &op->head);
    buf_char(out, '}');
}

static void put_member(struct buf *out, const struct folded *member)
{
    buf_char(out, '{');
    put_text(out, "user_id", member->user_id);
    put_text(out, "last_event", presence_event_word(member->last));
    put_u64(out, "last_event_serial", member->serial);
    put_i64(out, "last_event_at_ms", member->at_ms);
    buf_char(out, '}');
}

void presence_snapshot_json(struct buf *out, const struct presence_snapshot *s, const struct store_head *head)
{
    buf_char(out, '{');
    put_text(out, "channel", s->channel);
    put_key(out, "members");
    buf_char(out, '[');
    for (size_t i = 0; i < s->members_count; i++) {
        if (i > 0)
            buf_char(out, ',');
        put_member(out, &s->members[i]);
    }
    buf_char(out, ']');
    put_u64(out, "member_count", s->members_count);
    put_u64(out, "events_replayed", s->replayed);
    if (s->replayed > 0) {
        put_u64(out, "snapshot_serial", s->serial);
        put_i64(out, "snapshot_time_ms", s->time_ms);
    } else {
        put_null(out, "snapshot_serial");
        put_null(out, "snapshot_time_ms");
    }
    put_continuity(out, head, false, s->truncated);
    buf_char(out, '}');
}
