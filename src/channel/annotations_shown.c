/* annotations_shown.c - what subscribers and webhooks are told of annotations (chapter 3, 7.1). A summary is encoded once, for whoever
 * needs it next, until it changes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/annotations_held.h"
#include "message/notice.h"

enum { CLIENTS_SHOWN_MAX = 64 };

static struct frame *own_frame(const struct channel *ch, struct str event, struct str data, struct str extras)
{
    struct envelope e = {.event = event, .channel = ch->name, .data = data, .extras = extras};
    return envelope_frame(&e, WIRE_V2);
}

static struct frame *summary_frame(const struct channel *ch, const struct message_id *id, const struct reaction *r,
                                   size_t clients_max, bool *clipped)
{
    char serial[SERIAL_SIZE + 1];
    struct buf data = {0};
    serial_print(serial, id->create_delivery, id->stream8, id->history);
    buf_fmt(&data, "{\"action\":\"message.summary\",\"serial\":\"%s\",\"annotations\":{\"summary\":{", serial);
    buf_json(&data, r->type);
    buf_char(&data, ':');
    summary_json(&data, r->summary, clients_max, clipped);
    buf_lit(&data, "}}}");
    struct frame *frame =
        own_frame(ch, STR("sockudo_internal:message"), buf_view(&data), STR("{\"ephemeral\":true}"));
    buf_free(&data);
    return frame;
}

static size_t frame_limit(const struct channel *ch)
{
    uint32_t kb = ch->app->config->max_event_payload_in_kb;
    return 1024 * (size_t)(kb > 0 ? kb : ch->app->global->websocket_max_payload_kb);
}

/* Chapter 3, 7.1: whole, or with at most 64, 32 ... 1, 0 client ids. */
static struct frame *frame_of(struct channel *ch, const struct message_id *id, struct reaction *r)
{
    bool clipped = false;
    size_t shown = SIZE_MAX;
    while (r->frame == NULL) {
        struct frame *frame = summary_frame(ch, id, r, shown, &clipped);
        if (shown == 0 || frame_payload(frame).n <= frame_limit(ch)) {
            r->frame = frame;
            break;
        }
        frame_drop(frame);
        shown = shown == SIZE_MAX ? CLIENTS_SHOWN_MAX : shown / 2;
    }
    if (clipped)
        metrics_count(ch->env, ch->app, annotation_clipped, 1);
    return r->frame;
}

static void deliver(struct channel *ch, struct frame *frame, bool events_only)
{
    struct delivery d = {.lanes = ALL_LANES, .annotation = events_only};
    d.frames[LANE_DELTA] = frame;
    d.frames[LANE_FULL] = frame_take(frame);
    channel_deliver(ch, &d);
}

void annotations_announce(struct channel *ch, const struct annotation *a, struct reaction *r)
{
    struct buf json = {0};
    if (!channel_has_listeners(ch))
        return;
    annotation_json(&json, a);
    deliver(ch, frame_take(frame_of(ch, &a->message, r)), false);
    deliver(ch, own_frame(ch, STR("sockudo_internal:annotation"), buf_view(&json), STR_NONE), true);
    metrics_count(ch->env, ch->app, annotation_summaries, 1);
    buf_free(&json);
}

void annotations_tell_webhooks(struct channel *ch, const struct annotation *a)
{
    enum notice_kind kind = a->deletes ? NOTICE_ANNOTATION_DELETED : NOTICE_ANNOTATION_CREATED;
    char message[SERIAL_SIZE + 1], serial[ANNOTATION_SERIAL_SIZE + 1];
    struct buf fields = {0};
    if (!notice_wanted(ch->env, ch->app, kind))
        return;
    serial_print(message, a->message.create_delivery, a->message.stream8, a->message.history);
    annotation_serial_print(serial, a->serial);
    buf_fmt(&fields, "\"message_serial\":\"%s\",\"annotation_serial\":\"%s\",\"annotation_type\":", message, serial);
    buf_json(&fields, a->type);
    annotation_serial_print(serial, a->target);
    if (a->deletes)
        buf_fmt(&fields, ",\"deleted_annotation_serial\":\"%s\"", serial);
    notice_send(ch->env, &(struct notice){kind, ch->app, ch->name, buf_view(&fields)});
    buf_free(&fields);
}

void annotations_show(struct channel *ch, struct attached *answer, struct arena *arena)
{
    struct annotations *all = ch->annotations;
    annotations_forget_gone(ch);
    answer->summaries = arena_alloc(arena, ANNOTATION_SNAPSHOTS_MAX * sizeof(struct frame *));
    for (size_t i = all->messages_count; i-- > 0;)
        for (struct reaction *r = all->messages[i]->reactions; r != NULL; r = r->next) {
            if (answer->summaries_count == ANNOTATION_SNAPSHOTS_MAX)
                return;
            answer->summaries[answer->summaries_count++] = frame_take(frame_of(ch, &all->messages[i]->id, r));
        }
}
