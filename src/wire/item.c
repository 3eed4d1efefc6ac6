/* item.c - stored items in the three shapes in which they are shown (chapter 3, 1.4).
 *
 *      replay     what a live subscriber saw: a create under its own event name, an append as its fragment
 *      snapshot   the whole message in one frame, as an update on which every reducer replaces
 *      read item  replay's fields and the facts of the version, for pages over HTTP and WebSocket
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "wire/envelope.h"

#include "wire/out.h"

static void base_of(struct envelope *e, const struct store_item *item, struct str channel,
                    struct str stream_id)
{
    *e = (struct envelope){
        .event = item->event_name,
        .channel = channel,
        .data = item->data,
        .user_id = item->user_id.p ? item->user_id : item->client_id,
        .tags = item->tags,
        .message_id = item->message_id,
        .stream_id = stream_id,
        .serial = item->delivery,
        .extras = item->extras,
    };
}

static struct runtime_headers headers_of(const struct store_item *item, enum store_action action)
{
    return (struct runtime_headers){action, item->message, item->delivery, item->version_at_ms};
}

static struct str version_serial(const struct store_item *item, struct arena *arena)
{
    char *text = arena_alloc(arena, SERIAL_SIZE + 1);
    serial_print(text, item->delivery, item->message.stream8, item->message.history);
    return str_make(text, SERIAL_SIZE);
}

/* The event of an action moves in, the message's own becomes its name. */
static void name_by_action(struct envelope *e, enum store_action action)
{
    e->name = e->event;
    e->event = action_event(action);
}

void envelope_of_item(struct envelope *e, struct runtime_headers *headers, const struct store_item *item,
                      struct str channel, struct str stream_id, struct arena *arena)
{
    base_of(e, item, channel, stream_id);
    if (item->action == ACTION_ORDINARY)
        return;
    *headers = headers_of(item, item->action);
    e->headers = headers;
    if (item->action == ACTION_CREATE)
        return;
    name_by_action(e, item->action);
    e->message_id = version_serial(item, arena);
}

void envelope_of_snapshot(struct envelope *e, struct runtime_headers *headers, const struct store_item *item,
                          struct str channel, struct str stream_id, struct str fresh_id, struct arena *arena)
{
    if (item->action == ACTION_ORDINARY || item->action == ACTION_CREATE) {
        envelope_of_item(e, headers, item, channel, stream_id, arena);
        return;
    }
    base_of(e, item, channel, stream_id);
    /* A deleted message must not come back to life on a client that only now sees it. */
    *headers = headers_of(item, item->action == ACTION_DELETE ? ACTION_DELETE : ACTION_UPDATE);
    e->headers = headers;
    name_by_action(e, headers->action);
    e->message_id = fresh_id;
}

/* ---- read items ---- */

#define put_serial_field(out, lead, delivery, message) put_serial((out), STR(lead), (delivery), (message))

static void put_serial(struct buf *out, struct str lead, uint64_t delivery, const struct message_id *message)
{
    buf_str(out, lead);
    serial_print(buf_reserve(out, SERIAL_SIZE + 1), delivery, message->stream8, message->history);
    out->n += SERIAL_SIZE;
    buf_char(out, '"');
}

static void put_version(struct buf *out, const struct store_item *item)
{
    put_serial_field(out, ",\"version\":{\"serial\":\"", item->delivery, &item->message);
    if (item->client_id.p) {
        buf_lit(out, ",\"client_id\":");
        buf_json(out, item->client_id);
    }
    buf_lit(out, ",\"timestamp_ms\":");
    buf_i64(out, item->version_at_ms);
    if (item->description.p) {
        buf_lit(out, ",\"description\":");
        buf_json(out, item->description);
    }
    if (item->metadata.p) {
        buf_lit(out, ",\"metadata\":");
        buf_str(out, item->metadata);
    }
    buf_char(out, '}');
}

static void put_facts(struct buf *out, const struct store_item *item)
{
    buf_lit(out, ",\"action\":\"");
    buf_str(out, action_word(item->action));
    buf_char(out, '"');
    put_serial_field(out, ",\"message_serial\":\"", item->message.create_delivery, &item->message);
    buf_lit(out, ",\"history_serial\":");
    buf_u64(out, item->message.history);
    buf_lit(out, ",\"delivery_serial\":");
    buf_u64(out, item->delivery);
    put_version(out, item);
}

void read_item_json(struct buf *out, const struct store_item *item, struct str channel, struct str stream_id,
                    bool aggregate)
{
    struct envelope e;
    base_of(&e, item, channel, stream_id);
    if (item->action == ACTION_ORDINARY) {
        envelope_json(out, &e, WIRE_V2);
        return;
    }
    bool joined = aggregate && item->action == ACTION_APPEND;
    struct runtime_headers headers = headers_of(item, joined ? ACTION_UPDATE : item->action);
    e.headers = &headers;
    e.message_id = STR_NONE;
    name_by_action(&e, item->action);
    envelope_json(out, &e, WIRE_V2);
    out->n--; /* the brace: more members follow */
    put_facts(out, item);
    buf_char(out, '}');
}
