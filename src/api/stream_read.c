/* stream_read.c - GET .../messages/{serial}/stream: one message as server-sent events (docs/streaming.md).
 *
 *      attach -> head A, gate closed -> the message as of A -> snapshot, or what came after Last-Event-ID
 *             -> gate opens: live -> the last version -> end
 *
 * A reader is a subscriber of the channel like any other, in the lane of delta connections with its window: the
 * same deliveries, the same rollup. What it sends is made once per frame and shard, since a fan-out hands the
 * same frame to one reader after the other. Whatever cannot be continued exactly is shown whole instead: a
 * snapshot replaces all that a client has.
 *
 * Bounds: what a WebSocket may leave unread a reader may too, then its response ends and it can come back with
 * Last-Event-ID. READ_PAGES_MAX pages of versions are replayed, more of them become a snapshot.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"
#include "api/lookup.h"
#include "api/read_auth.h"
#include "api/read_event.h"
#include "api/serials.h"
#include "channel/outlet.h"
#include "message/metrics.h"
#include "message/replay.h"
#include "session/admission.h"
#include "session/session.h"

enum { READ_PAGE = 250, READ_PAGES_MAX = 64, READ_ROOM = 256 * 1024, READ_ROOM_WAIT_MS = 5, HEARTBEAT_MS = 15000 };

struct reader {
    struct outlet outlet; /* first */
    struct list link;     /* in api->readers */
    struct call *call;
    struct read_right right;
    struct channel_name name;
    struct channel_policy policy;
    struct message_id message;
    struct subscription *subscription; /* NULL = left */
    struct store_head head;
    struct str since_stream;           /* Last-Event-ID; absent = none */
    uint64_t since;
    struct timer timer;                /* the next heartbeat, or the next page */
    struct task turn;
    bool turn_asked, looking, begun, live;
    bool over;                         /* to be ended in the next turn */
    unsigned pages;
    unsigned window_index;             /* append_rollup_window */
    uint64_t item_delivery;            /* the message as of the head: its newest version */
    bool item_is_last;                 /* ... after which nothing comes */
    enum stream_status item_status;
};

/* ---- the end ---- */

static void leave(struct reader *r)
{
    struct call *c = r->call;
    if (r->subscription)
        hub_detach(c->env, r->subscription, 0);
    r->subscription = NULL;
    wheel_cancel(c->env->wheel, &r->timer);
    list_remove(&r->link);
    admission_give_back(c->app);
    metrics_gauge(c->env, c->app, event_readers, -1);
}

static void refuse(struct reader *r, struct failure failure)
{
    leave(r);
    call_refuse(r->call, failure);
}

/* Nothing is under way any more: no lookup, no delivery. */
static void turn_ends(struct task *task)
{
    struct reader *r = list_of(task, struct reader, turn);
    struct call *c = r->call;
    r->turn_asked = false;
    if (!r->over || r->looking)
        return;
    if (!r->begun) {
        refuse(r, fail(503, "service_unavailable", STR("The stream ended before it began, try again")));
        return;
    }
    leave(r);
    call_finish(c);
}

static void finish(struct reader *r)
{
    struct env *env = r->call->env;
    r->over = true;
    if (r->turn_asked)
        return;
    r->turn_asked = true;
    r->turn.run = turn_ends;
    env->post(env, env->shard, &r->turn);
}

static void say_end(struct reader *r, uint64_t position, enum stream_status status)
{
    struct buf *out = call_body(r->call);
    read_event_put_end(out, str_of(r->head.stream_id), position, status);
    call_part(r->call, buf_view(out));
    finish(r);
}

/* ---- live ---- */

/* The frame as an event, made when the first reader asks. */
static struct frame *event_of(struct api *api, struct frame *frame, const struct read_event *event)
{
    if (!api->reads.event) {
        struct buf *out = &api->body;
        buf_clear(out);
        read_event_put(out, read_event_name(event->action), event->stream_id, event->position, frame_payload(frame));
        api->reads.event = http_part_encode(buf_view(out));
    }
    return api->reads.event;
}

/* What the frame says, read once for all readers of the shard. */
static const struct read_event *facts_of(struct api *api, struct frame *frame)
{
    struct api_reads *reads = &api->reads;
    if (reads->frame != frame) {
        reads_forget(api);
        reads->frame = frame_take(frame); /* so that no other frame gets its address */
        reads->is_version = read_event_of(frame_payload(frame), &reads->facts);
    }
    return reads->is_version ? &reads->facts : NULL;
}

void reads_forget(struct api *api)
{
    if (api->reads.frame)
        frame_drop(api->reads.frame);
    if (api->reads.event)
        frame_drop(api->reads.event);
    api->reads = (struct api_reads){0};
}

static bool is_of(const struct reader *r, const struct read_event *event)
{
    return event->message.history == r->message.history && event->message.create_delivery == r->message.create_delivery;
}

static void take_frame(struct outlet *outlet, struct frame *frame)
{
    struct reader *r = (struct reader *)outlet;
    struct api *api = r->call->api;
    const struct read_event *event = r->over ? NULL : facts_of(api, frame);
    if (event && is_of(r, event)) {
        struct frame *encoded = event_of(api, frame, event);
        metrics_count(r->call->env, r->call->app, http_out, frame_wire(encoded).n);
        http_part_frame(r->call->request, encoded);
        if (!r->over && read_event_is_last(event))
            say_end(r, event->position, event->action == ACTION_DELETE ? STREAM_NONE : event->status);
    }
    frame_drop(frame);
}

static void take_control(struct outlet *outlet, int code, struct str reason)
{
    (void)code;
    (void)reason;
    finish((struct reader *)outlet); /* it comes back, and is shown what holds then */
}

static const struct outlet_kind reader_kind = {take_frame, take_control};

static void heartbeat(struct timer *timer)
{
    struct reader *r = list_of(timer, struct reader, timer);
    struct env *env = r->call->env;
    if (read_auth_again(r->call, &r->right)) {
        finish(r);
        return;
    }
    if (http_waiting_bytes(r->call->request) == 0)
        call_part(r->call, STR(":\n\n"));
    wheel_set(env->wheel, &r->timer, env_now_ms(env) + HEARTBEAT_MS);
}

static void go_live(struct reader *r)
{
    struct env *env = r->call->env;
    uint64_t last = 0;
    if (r->item_is_last) {
        say_end(r, r->head.delivery, r->item_status);
        return;
    }
    http_limit(r->call->request, r->call->api->shared->reader_limits);
    r->live = true;
    r->timer.fire = heartbeat;
    wheel_set(env->wheel, &r->timer, env_now_ms(env) + HEARTBEAT_MS);
    subscription_open(env, r->subscription, r->head.delivery, &last);
}

/* ---- what was before ---- */

static void begin(struct reader *r)
{
    if (r->begun)
        return;
    r->begun = true;
    call_begin(r->call,
               &(struct http_response){.status = 200,
                                       .content_type = STR("text/event-stream"),
                                       .extra_headers = STR("Cache-Control: no-store\r\nX-Accel-Buffering: no\r\n"),
                                       .close = true});
    call_part(r->call, STR("retry: 1000\n\n"));
}

static void snapshot(struct reader *r, const struct store_item *item, struct arena *arena)
{
    struct buf *out = call_body(r->call);
    struct str stream_id = str_of(r->head.stream_id);
    struct frame *frame = replay_row(item, r->call->args[1], stream_id, &r->call->env->random, arena);
    read_event_put(out, STR("snapshot"), stream_id, r->head.delivery, frame_payload(frame));
    call_part(r->call, buf_view(out));
    frame_drop(frame);
}

static void look(struct reader *r, enum store_op_kind kind, void (*found)(struct lookup *lookup));

/* The client's position is one of this stream, and all that came after it is still there. */
static bool can_continue(const struct reader *r)
{
    return r->since_stream.p && str_eq(r->since_stream, str_of(r->head.stream_id)) && r->since <= r->head.delivery &&
           r->since + 1 >= r->head.replay_floor;
}

static void put_run(struct reader *r, struct buf *out, const struct replay_frame *f)
{
    struct read_event event;
    if (read_event_of(frame_payload(f->frame), &event))
        read_event_put(out, read_event_name(event.action), str_of(r->head.stream_id), f->position, frame_payload(f->frame));
    frame_drop(f->frame);
}

static void send_versions(struct reader *r, struct lookup *lookup, size_t count)
{
    struct replay replay = {.channel = r->call->args[1],
                            .stream_id = str_of(r->head.stream_id),
                            .shape = REPLAY_RUNS,
                            .items = lookup->op.found.items,
                            .count = count,
                            .random = &r->call->env->random,
                            .arena = &lookup->op.arena};
    struct buf *out = call_body(r->call);
    size_t frames_count;
    struct replay_frame *frames = replay_frames(&replay, &frames_count);
    for (size_t i = 0; i < frames_count; i++)
        put_run(r, out, &frames[i]);
    call_part(r->call, buf_view(out));
}

static void latest_found(struct lookup *lookup);
static void versions_found(struct lookup *lookup);

static void next_page(struct timer *timer)
{
    struct reader *r = list_of(timer, struct reader, timer);
    struct env *env = r->call->env;
    if (http_waiting_bytes(r->call->request) > READ_ROOM)
        wheel_set(env->wheel, timer, env_now_ms(env) + READ_ROOM_WAIT_MS);
    else
        look(r, STORE_VERSIONS, versions_found);
}

/* True: the lookup is of no use any more. */
static bool is_stale(struct reader *r, struct lookup *lookup)
{
    r->looking = false;
    if (!r->over)
        return false;
    lookup_end(lookup);
    finish(r);
    return true;
}

static void versions_found(struct lookup *lookup)
{
    struct reader *r = lookup->user;
    const struct store_found *found = &lookup->op.found;
    size_t count = 0;
    if (is_stale(r, lookup))
        return;
    bool failed = lookup->op.result != STORE_OK;
    while (!failed && count < found->count && found->items[count].delivery <= r->head.delivery)
        count++;
    bool more = !failed && found->more && count == found->count && count > 0;
    if (count > 0) {
        send_versions(r, lookup, count);
        r->since = found->items[count - 1].delivery;
    }
    lookup_end(lookup);
    if (failed || ++r->pages > READ_PAGES_MAX) {
        r->since_stream = STR_NONE;
        look(r, STORE_LATEST, latest_found);
    } else if (more) {
        r->timer.fire = next_page;
        next_page(&r->timer);
    } else {
        go_live(r);
    }
}

static void answer_no_more(struct reader *r)
{
    leave(r);
    call_answer(r->call, &(struct http_response){.status = 204}); /* an EventSource does not come back then */
}

/* The message is there: what does the client lack of it? */
static void start(struct reader *r, struct lookup *lookup)
{
    const struct store_item *item = &lookup->op.found.items[0];
    bool goes_on = can_continue(r);
    r->item_delivery = item->delivery;
    r->item_status = item->action == ACTION_DELETE ? STREAM_NONE : item->status;
    r->item_is_last = item->action == ACTION_DELETE || item->status == STREAM_COMPLETE || item->status == STREAM_CANCELLED;
    if (goes_on && r->since >= item->delivery && r->item_is_last && !r->begun) {
        lookup_end(lookup);
        answer_no_more(r);
        return;
    }
    begin(r);
    if (!goes_on)
        snapshot(r, item, &lookup->op.arena);
    lookup_end(lookup);
    if (goes_on && r->since < r->item_delivery)
        look(r, STORE_VERSIONS, versions_found);
    else
        go_live(r);
}

static void latest_found(struct lookup *lookup)
{
    struct reader *r = lookup->user;
    const struct store_op *op = &lookup->op;
    if (is_stale(r, lookup))
        return;
    bool missing = op->result == STORE_NOT_FOUND || op->result == STORE_WRONG_STREAM ||
                   (op->result == STORE_OK && (op->found.count == 0 || op->found.items[0].action == ACTION_ORDINARY));
    struct failure failure = missing ? message_not_found(r->call) : lookup_failure(lookup);
    if (!failure.status) {
        start(r, lookup);
        return;
    }
    lookup_end(lookup);
    if (r->begun)
        finish(r);
    else
        refuse(r, failure);
}

static void look(struct reader *r, enum store_op_kind kind, void (*found)(struct lookup *lookup))
{
    struct lookup *lookup = lookup_new(r->call, kind, r->call->args[1], found);
    struct store_read *read = &lookup->op.read;
    lookup->user = r;
    read->ids = &r->message;
    read->ids_count = 1;
    if (kind == STORE_LATEST) {
        read->as_of_delivery = r->head.delivery;
    } else {
        read->direction = OLDEST_FIRST;
        read->after = r->since;
        read->limit = READ_PAGE;
    }
    r->looking = true;
    lookup_start(lookup);
}

/* ---- attaching ---- */

static void attached(void *user, struct subscription *s, const struct attached *a)
{
    struct reader *r = user;
    (void)s;
    if (a->code) {
        r->subscription = NULL; /* the hub frees it */
        refuse(r, fail_busy(arena_copy(call_arena(r->call), a->message)));
        return;
    }
    r->head = a->head;
    if (r->head.delivery == 0)
        refuse(r, message_not_found(r->call));
    else
        look(r, STORE_LATEST, latest_found);
}

static void on_gone(struct http_request *request)
{
    struct reader *r = ((struct call *)request->user)->stream;
    finish(r);
}

static void on_overflow(struct http_request *request)
{
    struct reader *r = ((struct call *)request->user)->stream;
    if (r->over)
        return;
    metrics_count(r->call->env, r->call->app, slow_consumers, 1);
    finish(r);
}

static void gate_is_full(void *user, struct subscription *s)
{
    (void)s;
    finish(user);
}

static const struct http_stream in_parts = {.gone = on_gone, .overflow = on_overflow, .endless = true};

static void attach(struct reader *r)
{
    struct call *c = r->call;
    struct conn_limits limits = c->api->shared->reader_limits;
    struct attach_request request = {.app = c->app,
                                     .channel = c->args[1],
                                     .name = r->name,
                                     .sink = outlet_handle(&r->outlet),
                                     .lane = lane_of(LANE_DELTA, r->window_index),
                                     .fresh = r->since_stream.n > 0,
                                     .attached = attached,
                                     .user = r,
                                     .overflow = gate_is_full,
                                     .gate_frames_max = limits.queue_frames_max,
                                     .gate_bytes_max = limits.queue_bytes_max};
    r->subscription = hub_attach(c->env, &request);
}

/* ---- the request ---- */

static struct failure read_params(struct reader *r)
{
    struct call *c = r->call;
    struct str id = http_get_header(c->request, STR("last-event-id"));
    if (!id.n)
        id = query_get(c->request->query, STR("last_event_id"), call_arena(c));
    const char *wrong = session_window_read(
        c->env->config, query_get(c->request->query, STR("append_rollup_window"), call_arena(c)), &r->window_index);
    if (wrong)
        return fail_input(str_of(wrong));
    if (id.n && !read_event_id(id, &r->since_stream, &r->since))
        return fail_input(STR("Last-Event-ID must be an id of this stream: <stream_id>:<delivery_serial>"));
    return NO_FAILURE;
}

static struct failure check(struct reader *r)
{
    struct call *c = r->call;
    struct failure refused = read_auth(c, &r->name, &r->policy, &r->right);
    if (!refused.status)
        refused = versions_must_be_on(c, c->args[1], &r->policy);
    if (!refused.status)
        refused = history_must_be_on(c, c->args[1], &r->policy);
    if (!refused.status)
        refused = serial_check(c, "message_serial", c->args[2]);
    if (!refused.status && !serial_names(c->args[2], &r->message))
        refused = message_not_found(c);
    if (!refused.status)
        refused = read_params(r);
    if (!refused.status && !http_can_stream(c->request))
        refused = fail(505, "invalid_request", STR("A stream needs HTTP/1.1"));
    return refused;
}

static struct failure admit(struct call *c)
{
    struct refusal refusal = admission_take(c->env, c->app, http_get_header(c->request, STR("origin")));
    if (refusal.code == 0)
        return NO_FAILURE;
    bool origin = str_eq(str_of(refusal.type), STR("origin_not_allowed"));
    struct failure f = fail(origin ? 403 : 503, origin ? "forbidden" : "over_capacity", refusal.text);
    f.retry_after_s = !origin;
    return f;
}

void serve_stream_read(struct call *c)
{
    struct reader *r = arena_zalloc(call_arena(c), sizeof *r);
    r->outlet.kind = &reader_kind;
    r->call = c;
    c->stream = r;
    struct failure refused = check(r);
    if (!refused.status && c->request->method == HTTP_HEAD_) {
        call_answer(c, &(struct http_response){.status = 200, .content_type = STR("text/event-stream")});
        return;
    }
    if (!refused.status)
        refused = admit(c);
    if (refused.status) {
        call_refuse(c, refused);
        return;
    }
    metrics_gauge(c->env, c->app, event_readers, 1);
    list_append(&c->api->readers, &r->link);
    http_stream(c->request, &in_parts);
    attach(r);
}

/* ---- ended by others ---- */

uint32_t stream_readers_revoke(void *user, const struct app *app, struct str jti, struct str client_id)
{
    struct api *api = user;
    uint32_t ended = 0;
    list_each(link, &api->readers)
    {
        struct reader *r = list_of(link, struct reader, link);
        bool meant = (jti.p && str_eq(r->right.jti, jti)) || (client_id.p && str_eq(r->right.client_id, client_id));
        if (r->over || r->call->app != app || !r->right.jti.p || !meant)
            continue;
        finish(r); /* it comes back, and is refused */
        ended++;
    }
    return ended;
}

void stream_readers_drain(struct api *api)
{
    list_each(link, &api->readers) finish(list_of(link, struct reader, link));
}
