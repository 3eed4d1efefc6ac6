/* stream_append.c - POST .../messages/stream: one signed request, many appends (docs/streaming.md).
 *
 * What makes a retry exact is the place of each append in the text. The body begins at byte `from`; every append says
 * to the store how long the text must be before it and that nobody else may have written since our last one, and is
 * refused otherwise (store.h: expect_bytes, writer). So nothing is ever stored twice, whatever is replayed, and
 * appends behind one that failed fail too:
 *
 *      stored      H e l l o            found when the retry begins
 *      body from 2     l l|o _ w|o      sent again
 *                      skip  append " w", append "o"      what is skipped must be what is stored
 *
 * Only an append of nothing, which ends a message, has no place of its own: it has a receipt, named after its place.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/stream_append.h"

#include <stdlib.h>

#include "ai/extras.h"
#include "api/handlers.h"
#include "api/serials.h"
#include "base/json.h"
#include "base/mem.h"
#include "message/metrics.h"
#include "wire/codes.h"

enum { OP_ID_MAX = 64, RING_FIRST = 8 };

static void proceed(struct append_stream *s);

/* ---- the end of a turn ---- */

static void refuse(struct append_stream *s, struct failure failure, uint64_t seq)
{
    if (s->refused.status && s->refused_seq <= seq)
        return;
    s->refused = failure;
    s->refused_seq = seq;
}

static void free_parts(struct append_stream *s)
{
    list_remove(&s->link);
    stream_parser_free(&s->parser);
    buf_free(&s->rest);
    buf_free(&s->lines);
    free(s->ring);
    metrics_gauge(s->call->env, s->call->app, append_streams, -1);
}

static bool is_over(const struct append_stream *s)
{
    const struct http_request *request = s->call->request;
    if (s->phase == STREAM_STARTING || s->ring_count > 0)
        return false;
    return request->gone || s->phase == STREAM_ENDING || s->refused.status;
}

static void turn_ends(struct task *task)
{
    struct append_stream *s = list_of(task, struct append_stream, turn);
    struct call *c = s->call;
    bool over = is_over(s), last = over || (s->ended && s->ring_count == 0);
    s->turn_asked = false;
    ack_flush(s);
    if (last && !s->end_said)
        ack_end(s);
    s->end_said |= last;
    call_part(c, buf_view(&s->lines));
    buf_clear(&s->lines);
    if (!over)
        return;
    free_parts(s);
    call_finish(c);
}

static void ask_turn(struct append_stream *s)
{
    struct env *env = s->call->env;
    if (s->turn_asked || s->phase == STREAM_STARTING)
        return;
    s->turn_asked = true;
    s->turn.run = turn_ends;
    env->post(env, env->shard, &s->turn);
}

/* ---- answers of the store ---- */

static void settle(struct append_stream *s, const struct in_flight *f)
{
    struct call *c = s->call;
    struct publish *p = f->publish;
    struct failure failure = publish_failure(c, p->result, true);
    uint64_t seq = s->settled + 1;
    metrics_mutation(c->env, c->app, "message.append", publish_result_word(p->result));
    if (p->result == PUBLISH_NOT_FOUND)
        failure = fail(404, "not_found", STR("The message is gone"));
    if (failure.status)
        refuse(s, failure, seq);
    else if (!s->refused.status || seq < s->refused_seq)
        ack_record(s, p->op.written.delivery, f->bytes, p->result == PUBLISH_DUPLICATE);
    publish_free(p);
}

static struct in_flight *slot(const struct append_stream *s, unsigned at)
{
    return &s->ring[at & (s->ring_size - 1)];
}

/* Most streams have few under way at a time. */
static void remember(struct append_stream *s, struct publish *p)
{
    if (s->ring_count == s->ring_size) {
        unsigned size = s->ring_size ? 2 * s->ring_size : RING_FIRST;
        struct in_flight *ring = mem_alloc(size * sizeof *ring);
        for (unsigned i = 0; i < s->ring_count; i++)
            ring[i] = *slot(s, s->ring_first + i);
        free(s->ring);
        s->ring = ring;
        s->ring_first = 0;
        s->ring_size = size;
    }
    *slot(s, s->ring_first + s->ring_count++) = (struct in_flight){p, s->at, false};
}

/* The store answers in order; only what was not even accepted comes early. */
static void appended(struct publish *p)
{
    struct append_stream *s = p->user;
    unsigned at = s->ring_first;
    while (slot(s, at)->publish != p)
        at++;
    slot(s, at)->done = true;
    for (; s->ring_count > 0 && slot(s, s->ring_first)->done; s->ring_first++, s->ring_count--)
        settle(s, slot(s, s->ring_first));
    if (s->paused && s->ring_count <= STREAM_IN_FLIGHT_MAX / 2)
        proceed(s);
    ask_turn(s);
}

/* ---- one record ---- */

/* The record's text goes before the append does. */
static struct str own_text(struct arena *arena, struct str value)
{
    return value.p ? arena_copy(arena, json_text_in(value, arena)) : STR_NONE;
}

static bool is_last(enum stream_status status)
{
    return status == STREAM_COMPLETE || status == STREAM_CANCELLED;
}

/* The provider's own words, as far as a header may hold them. */
static struct str error_message(const struct append_stream *s, struct str failed, struct arena *arena)
{
    size_t max = s->call->env->config->ai.max_transport_value_bytes;
    struct str text = json_text_in(failed, arena);
    if (text.n <= max)
        return text;
    for (text.n = max; text.n > 0 && ((unsigned char)text.p[text.n] & 0xc0) == 0x80;)
        text.n--;
    return text;
}

/* The extras of the message, or of the record, with the record's status in them. */
static struct str extras_of(struct append_stream *s, const struct stream_record *r, struct arena *arena)
{
    struct ai_header_value set[3];
    struct str before = r->extras.p ? r->extras : s->extras;
    struct extras_facts facts;
    size_t count = 0;
    if (r->status == STREAM_NONE || !s->policy.ai)
        return arena_copy(arena, r->extras);
    set[count++] = (struct ai_header_value){STR("status"), r->status == STREAM_OPEN       ? STR("streaming")
                                                  : r->status == STREAM_COMPLETE ? STR("complete")
                                                                                 : STR("cancelled")};
    if (r->failed.p) {
        set[count++] = (struct ai_header_value){STR("error-code"), STR("provider_error")};
        set[count++] = (struct ai_header_value){STR("error-message"), error_message(s, r->failed, arena)};
    }
    if (extras_read(before, arena, &facts))
        return arena_copy(arena, before); /* malformed: refused as it is */
    struct buf *out = &s->call->api->scratch;
    buf_clear(out);
    ai_extras_put(out, before, &facts, set, count);
    return arena_copy(arena, buf_view(out));
}

static struct failure check_extras(struct append_stream *s, struct publish *p, struct str extras)
{
    const char *wrong = extras_read(extras, &p->op.arena, &p->extras);
    if (wrong)
        return fail(422, "unprocessable_body", str_of(wrong));
    return mutation_check_ai(s->call, &p->extras, &s->policy);
}

static struct hash128 receipt_of(struct append_stream *s, struct str op_id)
{
    struct buf *text = &s->call->api->scratch;
    buf_clear(text);
    buf_lit(text, "append");
    buf_char(text, '\0');
    if (op_id.p)
        buf_str(text, op_id);
    else
        buf_fmt(text, "\n%llu", (unsigned long long)s->at); /* no op_id of a client's is like it in a hash */
    return hash128(buf_view(text));
}

static struct hash128 fingerprint_of(struct append_stream *s, const struct store_write *w)
{
    struct buf *text = &s->call->api->scratch;
    struct str parts[] = {w->data, w->extras, w->client_id, w->description, w->metadata};
    buf_clear(text);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        buf_fmt(text, "%c%zu:", parts[i].p ? '+' : '-', parts[i].n);
        buf_str(text, parts[i]);
    }
    return hash128(buf_view(text));
}

static struct failure fill(struct append_stream *s, const struct stream_record *r, uint64_t n, struct publish *p)
{
    struct store_write *w = &p->op.write;
    struct arena *arena = &p->op.arena;
    struct str op_id = own_text(arena, r->op_id);
    w->action = ACTION_APPEND;
    w->target = s->message;
    w->data = arena_copy(arena, r->data);
    w->extras = extras_of(s, r, arena);
    w->client_id = r->client_id.p ? own_text(arena, r->client_id) : s->params.client_id;
    w->description = own_text(arena, r->description);
    w->metadata = arena_copy(arena, r->metadata);
    w->expects_bytes = true;
    w->expect_bytes = s->at;
    w->writer = s->writer;
    w->follows = s->follows;
    struct failure refused = w->extras.p ? check_extras(s, p, w->extras) : NO_FAILURE;
    w->status = p->extras.status;
    if (!refused.status && op_id.p && (op_id.n == 0 || op_id.n > OP_ID_MAX))
        refused = fail_input(STR("op_id must be 1..=64 bytes"));
    if (!refused.status && n == 0 && !p->extras.codec_or_transport_terminal)
        refused = fail_input(STR("append request data must not be empty"));
    if (op_id.p || n == 0) {
        w->receipt_key = receipt_of(s, op_id);
        w->fingerprint = fingerprint_of(s, w);
    }
    return refused;
}

static void submit(struct append_stream *s, const struct stream_record *r, uint64_t n)
{
    struct call *c = s->call;
    struct publish *p = publish_new(c->env, c->app, appended);
    struct failure refused = fill(s, r, n, p);
    if (refused.status) {
        publish_free(p);
        refuse(s, refused, s->seq);
        return;
    }
    p->user = s;
    p->op.channel = c->args[1];
    p->name = s->channel;
    p->arrived_ns = s->arrived_ns;
    s->at += n;
    s->follows = true;
    remember(s, p);
    hub_publish(c->env, p);
}

/* ---- what is stored already ---- */

static struct failure differs(struct append_stream *s)
{
    struct failure f = fail_fmt(s->call, 400, "invalid_input",
                                "The body differs from what is stored at byte %llu of the message's text",
                                (unsigned long long)s->at);
    f.ai_code = CODE_AI_OP_CONFLICT;
    return f;
}

/* Of the record's text, n bytes, what is stored need not be stored again. True: all of it, and nothing else is new. */
static bool skip_stored(struct append_stream *s, struct stream_record *r, uint64_t *n)
{
    struct buf decoded = {0};
    struct str text = json_text(r->data, &decoded);
    size_t left = s->stored.n - s->at, known = *n < left ? *n : left;
    bool same = memcmp(text.p, s->stored.p + s->at, known) == 0;
    if (same) {
        s->at += known;
        *n -= known;
        buf_clear(&s->rest);
        buf_json(&s->rest, str_from(text, known));
        r->data = buf_view(&s->rest);
    } else {
        refuse(s, differs(s), s->seq);
    }
    buf_free(&decoded);
    bool says_more = is_last(r->status) && s->policy.ai && !is_last(s->stored_status);
    if (same && (*n > 0 || says_more))
        return false;
    if (same)
        ack_record(s, s->stored_delivery, s->at, true);
    return true;
}

/* Says what the record adds to the message; a message without a status of its own is not ended by one. */
static void take(struct append_stream *s, struct stream_record *r)
{
    uint64_t n = json_text_size(r->data);
    bool ends = is_last(r->status);
    s->seq++;
    s->ended |= ends;
    if (ends)
        s->end = r->status;
    if (n > 0 && s->at < s->stored.n && skip_stored(s, r, &n))
        return;
    if (n == 0 && ends && !s->policy.ai && !r->extras.p)
        s->seq--; /* there is nothing to store */
    else
        submit(s, r, n);
}

/* A text has no last record: its end is that of the body. */
static void take_end_of_text(struct append_stream *s)
{
    struct stream_record last = {.data = STR("\"\""), .status = STREAM_COMPLETE};
    if (s->params.format == STREAM_TEXT && !s->params.leave_open)
        take(s, &last);
}

/* ---- the body ---- */

static bool has_room(const struct append_stream *s)
{
    return s->phase == STREAM_RUNNING && !s->refused.status && s->ring_count < STREAM_IN_FLIGHT_MAX;
}

static void hold_body(struct append_stream *s, bool hold)
{
    if (s->paused == hold)
        return;
    s->paused = hold;
    if (hold)
        http_body_pause(s->call->request);
    else
        http_body_resume(s->call->request);
}

static void proceed(struct append_stream *s)
{
    struct stream_record record;
    enum parse_result result = PARSE_RECORD;
    while (has_room(s) && (result = stream_parser_next(&s->parser, &record)) == PARSE_RECORD)
        take(s, &record);
    if (result == PARSE_WRONG)
        refuse(s, fail(400, "invalid_input", str_of(s->parser.why)), s->seq + 1);
    if (result == PARSE_MORE && s->parser.whole) {
        take_end_of_text(s);
        s->phase = STREAM_ENDING;
    }
    hold_body(s, s->phase == STREAM_RUNNING && !s->refused.status && result == PARSE_RECORD);
    ask_turn(s);
}

static struct append_stream *stream_of(const struct http_request *request)
{
    return ((struct call *)request->user)->stream;
}

static void on_bytes(struct http_request *request, struct str bytes)
{
    struct append_stream *s = stream_of(request);
    struct env *env = s->call->env;
    metrics_count(env, s->call->app, http_in, bytes.n);
    if (s->refused.status)
        return;
    s->arrived_ns = clock_mono_ns(env->clock);
    stream_parser_put(&s->parser, bytes);
    proceed(s);
}

static void on_ended(struct http_request *request, enum http_body_end how)
{
    struct append_stream *s = stream_of(request);
    if (how == HTTP_BODY_WHOLE || s->ended)
        stream_parser_end(&s->parser);
    else if (how == HTTP_BODY_LATE)
        refuse(s, fail(408, "request_timeout", STR("Nothing came for too long: the message stays open, continue with from")),
               s->seq + 1);
    else
        refuse(s, fail(400, "invalid_request", STR("The body broke off: the message stays open, continue with from")),
               s->seq + 1);
    if (s->phase == STREAM_RUNNING)
        proceed(s);
}

static void on_gone(struct http_request *request)
{
    ask_turn(stream_of(request));
}

static const struct http_stream in_parts = {.bytes = on_bytes, .ended = on_ended, .gone = on_gone};

/* ---- the message ---- */

static void give_up(struct append_stream *s, struct failure failure)
{
    free_parts(s);
    call_refuse(s->call, failure);
}

static void begin(struct append_stream *s, uint64_t delivery, bool duplicate)
{
    s->phase = STREAM_RUNNING;
    s->settled_bytes = s->at;
    s->stored_delivery = delivery;
    call_begin(s->call, &(struct http_response){.status = 200, .content_type = STR("application/x-ndjson")});
    ack_message(s, delivery, s->stored.n, duplicate);
    proceed(s);
}

static struct failure read_stored(struct append_stream *s, const struct store_item *item)
{
    struct arena *arena = call_arena(s->call);
    if (!json_is(item->data, JSON_STRING) && item->data.p)
        return fail_input(STR("append requires string message data"));
    s->stored = item->data.p ? own_text(arena, item->data) : STR("");
    s->extras = arena_copy(arena, item->extras);
    s->stored_status = item->status;
    s->end = is_last(item->status) ? item->status : STREAM_NONE;
    s->at = s->params.from;
    if (s->at > s->stored.n)
        return fail_fmt(s->call, 400, "invalid_input", "from is %llu, but the message's text has %zu bytes",
                        (unsigned long long)s->at, s->stored.n);
    return NO_FAILURE;
}

static void found(struct lookup *lookup)
{
    struct append_stream *s = lookup->user;
    const struct store_item *item = lookup->op.found.items;
    bool missing = lookup->op.result == STORE_NOT_FOUND || lookup->op.result == STORE_WRONG_STREAM ||
                   (lookup->op.result == STORE_OK &&
                    (lookup->op.found.count == 0 || item->action == ACTION_ORDINARY));
    struct failure refused = missing ? fail(404, "not_found", STR("The message was not found in the channel"))
                                     : lookup_failure(lookup);
    if (!refused.status)
        refused = read_stored(s, item);
    uint64_t delivery = refused.status ? 0 : item->delivery;
    lookup_end(lookup);
    if (refused.status)
        give_up(s, refused);
    else
        begin(s, delivery, true);
}

static void find(struct append_stream *s)
{
    struct lookup *lookup = lookup_new(s->call, STORE_LATEST, s->call->args[1], found);
    lookup->user = s;
    lookup->op.read.ids = &s->message;
    lookup->op.read.ids_count = 1;
    lookup_start(lookup);
}

static void created(void *user, struct failure failure)
{
    struct append_stream *s = user;
    const struct target *target = s->event.targets;
    struct str serial = json_get(failure.status ? STR_NONE : target->answer, STR("message_serial"));
    if (!failure.status && !serial_names(json_text_in(serial, call_arena(s->call)), &s->message))
        failure = fail_input(STR("An ephemeral message cannot be appended to"));
    if (!failure.status && !target->duplicate && s->params.from > 0)
        failure = fail_fmt(s->call, 400, "invalid_input", "from is %llu, but the message's text has 0 bytes",
                           (unsigned long long)s->params.from);
    s->extras = s->params.extras;
    if (failure.status)
        give_up(s, failure);
    else if (target->duplicate)
        find(s);
    else
        begin(s, s->message.create_delivery, false);
}

static struct failure check_channel(struct append_stream *s)
{
    struct call *c = s->call;
    struct failure refused = channel_read(c, c->args[1], &s->channel, &s->policy);
    if (!refused.status)
        refused = versions_must_be_on(c, c->args[1], &s->policy);
    if (!refused.status)
        refused = history_must_be_on(c, c->args[1], &s->policy);
    return refused;
}

void serve_stream_append(struct call *c)
{
    struct append_stream *s = arena_zalloc(call_arena(c), sizeof *s);
    s->call = c;
    c->stream = s;
    struct failure refused = stream_params_read(c, &s->params);
    if (!refused.status)
        refused = check_channel(s);
    if (!refused.status && s->params.message_id.p)
        refused = stream_event(c, &s->params, s->policy.ai, &s->event);
    if (!refused.status && !http_can_stream(c->request))
        refused = fail(505, "invalid_request", STR("A stream needs HTTP/1.1"));
    if (refused.status) {
        call_refuse(c, refused);
        return;
    }
    metrics_gauge(c->env, c->app, append_streams, 1);
    list_append(&c->api->streams, &s->link);
    s->parser.format = s->params.format;
    s->message = s->params.target;
    s->writer = random_u64(&c->env->random) | 1;
    http_stream(c->request, &in_parts);
    hold_body(s, true);
    if (s->params.message_id.p)
        event_publish(c, &s->event, created, s);
    else
        find(s);
}

void append_streams_drain(struct api *api)
{
    list_each(link, &api->streams)
    {
        struct append_stream *s = list_of(link, struct append_stream, link);
        refuse(s, fail(503, "service_unavailable", STR("The server is shutting down: continue with from")), s->seq + 1);
        ask_turn(s);
    }
}
