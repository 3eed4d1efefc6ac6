/* resume.c - the resume request, positions that wait for their subscription, and what the client is told.
 *
 * A batch is one request. It is decided channel by channel, in whatever order the store answers; the last one sends
 * resume_success, and then the gates of all its channels open.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "session/recovery.h"

static const struct resume_failure not_subscribed = {"continuity_unverifiable", "not_subscribed"};
static const struct resume_failure wildcard_is_live = {"continuity_unverifiable", "wildcard_is_live"};
static const struct resume_failure in_progress = {"continuity_unverifiable", "resume_in_progress"};

/* ---- batches ---- */

static struct batch *batch_new(struct session *s)
{
    struct batch *batch = mem_new(struct batch);
    batch->session = s;
    batch->undecided = 1;
    list_init(&batch->works);
    return batch;
}

static void say_success(struct batch *batch)
{
    struct session *s = batch->session;
    struct buf data = {0};
    buf_lit(&data, "{\"recovered\":[");
    buf_str(&data, buf_view(&batch->recovered));
    buf_lit(&data, "],\"failed\":[");
    buf_str(&data, buf_view(&batch->failed));
    buf_lit(&data, "]}");
    session_say(s, frame_own_string(wire_of(s), STR("resume_success"), STR_NONE, buf_view(&data)));
    buf_free(&data);
}

/* One of what the batch waits for is decided. */
static void batch_settle(struct batch *batch)
{
    if (--batch->undecided > 0)
        return;
    if (!batch->session->over)
        say_success(batch);
    for (struct list *link; (link = list_take(&batch->works)) != NULL;) {
        struct work *work = list_of(link, struct work, batch_link);
        work->batch = NULL;
        if (!batch->session->over)
            work_next(work);
    }
    buf_free(&batch->recovered);
    buf_free(&batch->failed);
    free(batch);
}

static void batch_join(struct batch *batch, struct work *work, struct position *position)
{
    work->position = position;
    work->batch = batch;
    batch->undecided++;
    list_append(&batch->works, &work->batch_link);
}

void batch_of_one(struct work *work, struct position *position)
{
    struct batch *batch = batch_new(work->sub->session);
    batch_join(batch, work, position);
    batch->undecided--;
}

/* ---- what the client is told ---- */

static void put_text_or_null(struct buf *out, struct str text)
{
    if (text.p == NULL || text.n == 0)
        buf_lit(out, "null");
    else
        buf_json(out, text);
}

static void put_u64_or_null(struct buf *out, uint64_t value)
{
    if (value == 0)
        buf_lit(out, "null");
    else
        buf_u64(out, value);
}

/* head NULL = nothing is known about the channel. */
static void put_failure(struct buf *out, const struct position *p, struct resume_failure why, const struct store_head *head)
{
    bool retained = head != NULL && head->replay_floor <= head->delivery;
    buf_lit(out, "{\"channel\":");
    buf_json(out, p->channel);
    buf_fmt(out, ",\"code\":\"%s\",\"reason\":\"%s\",\"expected_stream_id\":", why.code, why.reason);
    put_text_or_null(out, p->stream_id);
    buf_lit(out, ",\"current_stream_id\":");
    put_text_or_null(out, head != NULL ? str_of(head->stream_id) : STR_NONE);
    buf_lit(out, ",\"oldest_available_serial\":");
    put_u64_or_null(out, retained ? head->replay_floor : 0);
    buf_lit(out, ",\"newest_available_serial\":");
    put_u64_or_null(out, head != NULL ? head->delivery : 0);
    buf_char(out, '}');
}

static void put_comma(struct buf *out)
{
    if (out->n > 0)
        buf_char(out, ',');
}

/* Says so at once; batch NULL = no resume_success will follow. Frees the position. */
static void say_failed(struct session *s, struct batch *batch, struct position *p, struct resume_failure why,
                       const struct store_head *head)
{
    struct buf data = {0};
    put_failure(&data, p, why, head);
    metrics_recovery(env_of(s), s->app, why.code, "cold");
    if (!s->over)
        session_say(s, frame_own_string(wire_of(s), STR("resume_failed"), p->channel, buf_view(&data)));
    if (batch != NULL) {
        put_comma(&batch->failed);
        buf_str(&batch->failed, buf_view(&data));
    }
    buf_free(&data);
    free(p);
}

void batch_failed(struct work *work, struct resume_failure why)
{
    struct position *p = work->position;
    work->position = NULL;
    say_failed(work->batch->session, work->batch, p, why, work->attached ? &work->head : NULL);
    batch_settle(work->batch);
}

void batch_recovered(struct work *work, const char *source, uint32_t replayed, bool examined, struct str last_id)
{
    struct batch *batch = work->batch;
    struct buf *out = &batch->recovered;
    put_comma(out);
    buf_lit(out, "{\"channel\":");
    buf_json(out, work->position->channel);
    buf_fmt(out, ",\"source\":\"%s\",\"replayed\":%u,\"position\":", source, replayed);
    if (examined) {
        buf_lit(out, "{\"stream_id\":");
        buf_json(out, str_of(work->head.stream_id));
        buf_lit(out, ",\"serial\":");
        buf_u64(out, work->sub->live_at);
        buf_lit(out, ",\"last_message_id\":");
        put_text_or_null(out, last_id);
        buf_lit(out, "}}");
    } else {
        buf_lit(out, "null}");
    }
    metrics_recovery(env_of(batch->session), batch->session->app, NULL, source);
    free(work->position);
    work->position = NULL;
    batch_settle(batch);
}

/* ---- positions that wait ---- */

struct position *pending_take(struct session *s, struct str channel)
{
    if (s->pending == NULL)
        return NULL;
    list_each(link, &s->pending->positions)
    {
        struct position *p = list_of(link, struct position, link);
        if (!str_eq(p->channel, channel))
            continue;
        list_remove(&p->link);
        s->pending->count--;
        return p;
    }
    return NULL;
}

uint64_t pending_due_ms(const struct session *s)
{
    if (s->pending == NULL || list_empty(&s->pending->positions))
        return 0;
    return list_of(s->pending->positions.next, struct position, link)->due_ms;
}

void pending_expire(struct session *s, uint64_t now_ms)
{
    while (pending_due_ms(s) != 0 && pending_due_ms(s) <= now_ms) {
        struct position *p = list_of(list_take(&s->pending->positions), struct position, link);
        s->pending->count--;
        say_failed(s, NULL, p, not_subscribed, NULL);
    }
}

void pending_free(struct session *s)
{
    if (s->pending == NULL)
        return;
    for (struct list *link; (link = list_take(&s->pending->positions)) != NULL;)
        free(list_of(link, struct position, link));
    free(s->pending);
    s->pending = NULL;
}

static bool pending_put(struct session *s, struct position *p)
{
    if (s->pending == NULL) {
        s->pending = mem_new(struct pending);
        list_init(&s->pending->positions);
    }
    free(pending_take(s, p->channel));
    if (s->pending->count >= SESSION_PENDING_MAX || p->channel.n + p->stream_id.n > SESSION_POSITION_SIZE_MAX) {
        metrics_limit_reached(env_of(s), s->app, "positions");
        return false;
    }
    p->due_ms = now_of(s) + SESSION_PENDING_MS;
    list_append(&s->pending->positions, &p->link);
    s->pending->count++;
    return true;
}

/* ---- the request ---- */

static struct position *position_new(struct str channel, struct str stream_id, uint64_t serial)
{
    struct position *p = mem_zalloc(sizeof(*p) + channel.n + stream_id.n);
    memcpy(p->text, channel.p, channel.n);
    p->channel = str_make(p->text, channel.n);
    p->serial = serial;
    if (stream_id.p != NULL) {
        memcpy(p->text + channel.n, stream_id.p, stream_id.n);
        p->stream_id = str_make(p->text + channel.n, stream_id.n);
    }
    return p;
}

/* A number, or its decimal digits in a string (JavaScript writes those above 2^53). */
static bool read_serial(struct str value, struct arena *arena, uint64_t *serial)
{
    struct str text = json_text_in(value, arena);
    return text.p != NULL ? str_to_u64(text, serial) : json_u64(value, serial);
}

/* NULL if it is malformed. */
static struct position *read_position(struct str channel, struct str value, bool legacy, struct arena *arena)
{
    uint64_t serial;
    if (!read_serial(legacy ? value : json_get(value, STR("serial")), arena, &serial))
        return NULL;
    struct str stream_id = legacy ? STR_NONE : json_text_in(json_get(value, STR("stream_id")), arena);
    struct position *p = position_new(channel, stream_id, serial);
    p->legacy = legacy;
    return p;
}

/* Hands a position to its channel. */
static void place(struct session *s, struct batch *batch, struct position *p)
{
    struct sub *sub = sub_find(s, p->channel);
    if (sub == NULL && cover_channel(s, p->channel, &sub) == COVER_LATE) {
        say_failed(s, batch, p, wildcard_is_live, NULL);
        return;
    }
    if (sub == NULL || !(sub->shown || sub->covered)) {
        if (!pending_put(s, p))
            say_failed(s, batch, p, not_subscribed, NULL);
        return;
    }
    bool idle = sub->work == NULL && sub->next == NULL;
    if (sub->work != NULL && sub->work->batch != NULL) {
        say_failed(s, batch, p, in_progress, NULL);
        return;
    }
    batch_join(batch, work_of(sub), p);
    if (idle)
        sub_attach_again(sub);
    else
        work_next(sub->work);
}

static bool all_well_formed(struct str positions, bool legacy, struct arena *arena)
{
    struct json_iter it = json_iter(positions);
    struct str key, value;
    uint64_t serial;
    while (json_next_member(&it, &key, &value))
        if (!read_serial(legacy ? value : json_get(value, STR("serial")), arena, &serial))
            return false;
    return true;
}

static void resume(struct session *s, struct str positions, bool legacy, struct arena *arena)
{
    struct json_iter it = json_iter(positions);
    struct buf scratch = {0};
    struct str key, value;
    struct batch *batch = batch_new(s);
    while (json_next_member(&it, &key, &value)) {
        buf_clear(&scratch);
        struct position *p = read_position(json_key_text(key, &scratch), value, legacy, arena);
        place(s, batch, p);
    }
    buf_free(&scratch);
    batch_settle(batch);
    session_arm(s);
}

bool session_recovers(const struct session *s)
{
    struct channel_name none = {0};
    return s->protocol == WIRE_V2 && channel_policy(s->app, STR(""), &none).recovery;
}

void command_resume(struct session *s, const struct client_message *m, struct arena *arena)
{
    if (!session_recovers(s)) {
        session_error(s, CODE_CLIENT_EVENT, STR_NONE, "Connection recovery is not enabled");
        return;
    }
    struct str data = command_data(m->data, arena);
    struct str positions = json_get(data, STR("channel_positions"));
    bool legacy = !json_is(positions, JSON_OBJECT);
    if (legacy)
        positions = json_get(data, STR("channel_serials"));
    struct json_iter it = json_iter(json_is(positions, JSON_OBJECT) ? positions : STR("{}"));
    struct str key, value;
    if (data.p == NULL)
        session_error(s, CODE_GENERIC, STR_NONE, "Invalid message format: Invalid resume data JSON: expected an object");
    else if (!json_is(positions, JSON_OBJECT))
        session_error(s, CODE_GENERIC, STR_NONE,
                      "Invalid message format: Missing channel_positions or channel_serials in resume data");
    else if (!json_next_member(&it, &key, &value))
        session_error(s, CODE_LIMIT, STR_NONE, "No channel recovery positions provided");
    else if (!all_well_formed(positions, legacy, arena))
        session_error(s, CODE_GENERIC, STR_NONE,
                      "Invalid message format: Invalid resume data JSON: serial must be a non-negative integer");
    else {
        sub_settled(s);
        resume(s, positions, legacy, arena);
    }
}
