/* http.c - an HTTP connection: heads and bodies in, responses out in order, deadlines.
 *
 *      state     HEAD --head--> BODY --body--> HEAD ...      STOPPED once a response will close
 *                          \--answered early--> SKIP -> HEAD
 *
 *      exchanges [1 answered] [2 at work] [3 answered]       1 leaves now; 3 waits for 2
 *
 * A head is parsed only when it is whole; until then the connection keeps its bytes. Exchanges are recycled
 * in a free list per server, each with room for the head and body of a usual request, so such a request
 * allocates nothing.
 *
 * One timer per connection, set anew whenever something moved: the head's deadline counts from its first
 * byte, the body's from its last, the idle one from the last response.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/http_internal.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

enum { HEAD_TIMEOUT_MS = 10000, BODY_TIMEOUT_MS = 30000, IDLE_TIMEOUT_MS = 75000, STREAM_TIMEOUT_MS = 60000 };

static size_t on_input(struct conn *c, char *bytes, size_t n);
static void on_closed(struct conn *c);
static void on_drained(struct conn *c);
static bool on_half_closed(struct conn *c);
static void on_overflow(struct conn *c);
static void on_deadline(struct timer *timer);

static const struct conn_protocol http_protocol = {
    .input = on_input,
    .closed = on_closed,
    .drained = on_drained,
    .half_closed = on_half_closed,
    .overflow = on_overflow,
};

/* ---- server */

struct http_server *http_server_new(struct conn_pool *pool, const struct http_server_options *options,
                                    const struct http_handler *handler, void *user)
{
    struct http_server *server = mem_new(struct http_server);
    server->pool = pool;
    server->options = *options;
    if (!options->head_timeout_ms)
        server->options.head_timeout_ms = HEAD_TIMEOUT_MS;
    if (!options->body_timeout_ms)
        server->options.body_timeout_ms = BODY_TIMEOUT_MS;
    if (!options->idle_timeout_ms)
        server->options.idle_timeout_ms = IDLE_TIMEOUT_MS;
    if (!options->stream_timeout_ms)
        server->options.stream_timeout_ms = STREAM_TIMEOUT_MS;
    server->handler = handler;
    server->user = user;
    server->refs = 1;
    list_init(&server->conns);
    list_init(&server->free_exchanges);
    return server;
}

static struct http_exchange *exchange_of(struct list *link)
{
    return list_of(link, struct http_exchange, link);
}

void http_release(struct http_server *server)
{
    if (--server->refs)
        return;
    for (struct list *link; (link = list_take(&server->free_exchanges));)
        free(exchange_of(link));
    buf_free(&server->scratch);
    free(server);
}

void http_server_free(struct http_server *server)
{
    if (!server)
        return;
    server->life = HTTP_FREED;
    list_each(link, &server->conns) conn_close(list_of(link, struct http_conn, link)->conn);
    http_release(server);
}

static bool is_idle(const struct http_conn *http)
{
    return http->state == HTTP_STATE_HEAD && http->exchanges_count == 0 && http->scanned_bytes == 0;
}

void http_server_drain(struct http_server *server)
{
    server->life = HTTP_DRAINING;
    list_each(link, &server->conns)
    {
        struct http_conn *http = list_of(link, struct http_conn, link);
        if (is_idle(http))
            conn_close_after_flush(http->conn, HTTP_LINGER_MS);
    }
}

/* ---- exchanges */

struct http_exchange *http_exchange_new(struct http_conn *http)
{
    struct http_server *server = http->server;
    struct list *recycled = list_take(&server->free_exchanges);
    struct http_exchange *x = recycled ? exchange_of(recycled) : mem_alloc(sizeof *x);
    server->free_count -= recycled != NULL;
    server->refs++;
    memset(x, 0, offsetof(struct http_exchange, room));
    x->http = http;
    x->request.server = server;
    x->request.conn = http->conn;
    x->request.arena.next = x->room;
    x->request.arena.end = x->room + sizeof x->room;
    x->request.arrived_ns = http->head_since_ns;
    list_append(&http->exchanges, &x->link);
    http->exchanges_count++;
    return x;
}

/* It is in no list any more. */
void http_exchange_free(struct http_exchange *x)
{
    struct http_server *server = x->request.server;
    arena_free(&x->request.arena);
    buf_free(&x->grown_body);
    buf_free(&x->parts);
    if (x->response)
        frame_drop(x->response);
    if (server->free_count < HTTP_FREE_MAX) {
        list_prepend(&server->free_exchanges, &x->link);
        server->free_count++;
    } else {
        free(x);
    }
    http_release(server);
}

struct str http_get_header(const struct http_request *request, struct str name)
{
    for (size_t i = 0; i < request->headers_count; i++)
        if (request->headers[i].name.n == name.n && str_eq_nocase(request->headers[i].name, name))
            return request->headers[i].value;
    return STR_NONE;
}

/* ---- life */

void http_accept(struct http_server *server, int fd, const struct sockaddr_storage *peer)
{
    struct http_conn *http = mem_new(struct http_conn);
    http->server = server;
    http->deadline.fire = on_deadline;
    list_init(&http->exchanges);
    list_append(&server->conns, &http->link);
    server->refs++;
    http->conn = conn_new(server->pool, fd, peer, &http_protocol, http);
    struct loop *loop = conn_loop(http->conn);
    wheel_set(loop_wheel(loop), &http->deadline, loop_now_ms(loop) + server->options.head_timeout_ms);
}

void http_conn_free(struct http_conn *http)
{
    wheel_cancel(loop_wheel(conn_loop(http->conn)), &http->deadline);
    list_remove(&http->link);
    http_release(http->server);
    free(http);
}

/* The handler still has this request: it will respond, and that will free it. */
static void orphan(struct http_exchange *x)
{
    x->http = NULL;
    x->request.conn = NULL;
    x->request.gone = true;
    if (x->stream)
        x->stream->gone(&x->request);
}

static void on_closed(struct conn *c)
{
    struct http_conn *http = conn_user(c);
    for (struct list *link; (link = list_take(&http->exchanges));) {
        struct http_exchange *x = exchange_of(link);
        if (x->response || x->progress == HTTP_PARTS_FINISHED || (x == http->reading && !x->stream && !x->head_waits))
            http_exchange_free(x);
        else
            orphan(x);
    }
    http_conn_free(http);
}

/* ---- deadlines */

static uint64_t deadline_ms(const struct http_conn *http, uint64_t now_ms)
{
    const struct http_server_options *o = &http->server->options;
    if (http->state == HTTP_STATE_BODY && http_is_streamed(http->reading))
        return now_ms + o->stream_timeout_ms;
    if (http->state == HTTP_STATE_BODY || http->state == HTTP_STATE_SKIP)
        return now_ms + o->body_timeout_ms;
    if (http->scanned_bytes)
        return http->head_since_ns / 1000000u + o->head_timeout_ms;
    return now_ms + (http->served ? o->idle_timeout_ms : o->head_timeout_ms);
}

void http_set_deadline(struct http_conn *http)
{
    struct loop *loop = conn_loop(http->conn);
    bool waits_for_handler = http->exchanges_count > (http->reading ? 1 : 0) && !http->scanned_bytes &&
                             http->state != HTTP_STATE_BODY && http->state != HTTP_STATE_SKIP;
    if (waits_for_handler || (http->pauses & (HTTP_PAUSE_BODY | HTTP_PAUSE_HEAD)) || conn_is_closing(http->conn))
        wheel_cancel(loop_wheel(loop), &http->deadline);
    else
        wheel_set(loop_wheel(loop), &http->deadline, deadline_ms(http, loop_now_ms(loop)));
}

static void refuse_next(struct http_conn *http, unsigned status)
{
    http->scanned_bytes = 0;
    http_refuse(http->reading ? http->reading : http_exchange_new(http), status);
}

static void on_deadline(struct timer *timer)
{
    struct http_conn *http = list_of(timer, struct http_conn, deadline);
    if (http->reading && http_is_streamed(http->reading))
        http_stream_ended(http, HTTP_BODY_LATE);
    else if (http->reading || http->scanned_bytes)
        refuse_next(http, 408);
    else
        conn_close(http->conn);
}

/* ---- output */

void http_hold(struct http_conn *http, enum http_pause why)
{
    http->pauses |= why;
    conn_pause(http->conn);
}

void http_go_on(struct http_conn *http, enum http_pause why)
{
    if (!(http->pauses & why))
        return;
    http->pauses &= ~(unsigned)why;
    if (!http->pauses)
        conn_resume(http->conn);
}

static void on_drained(struct conn *c)
{
    http_go_on(conn_user(c), HTTP_PAUSE_OUTPUT);
}

/* Its turn has come: a client that waits for permission to send the body gets it. */
static void permit_body(struct http_conn *http)
{
    struct http_exchange *x = http->reading;
    if (!x || !x->wants_continue || http->exchanges.next != &x->link)
        return;
    x->wants_continue = false;
    if (x->body_bytes == 0)
        conn_send_bytes(http->conn, STR("HTTP/1.1 100 Continue\r\n\r\n"));
}

/* Only parts of a response may not fit, and only the first is sending any. */
static void on_overflow(struct conn *c)
{
    struct http_conn *http = conn_user(c);
    struct http_exchange *x = list_empty(&http->exchanges) ? NULL : exchange_of(http->exchanges.next);
    if (x && x->stream && x->stream->overflow)
        x->stream->overflow(&x->request);
}

static void send_response(struct http_conn *http, struct http_exchange *x)
{
    if (x->response) {
        conn_force_frame(http->conn, x->response);
        http->made_bytes -= frame_wire(x->response).n;
    }
    if (!x->keep_alive)
        conn_close_after_flush(http->conn, HTTP_LINGER_MS);
    list_remove(&x->link);
    http->exchanges_count--;
    http_exchange_free(x);
}

void http_advance(struct http_conn *http)
{
    while (!list_empty(&http->exchanges)) {
        struct http_exchange *first = exchange_of(http->exchanges.next);
        if (first->progress != HTTP_PARTS_NONE)
            http_stream_turn(first);
        if (!first->response && first->progress != HTTP_PARTS_FINISHED)
            break;
        send_response(http, first);
    }
    if (http->exchanges_count == 0 && http->half_closed)
        conn_close_after_flush(http->conn, HTTP_LINGER_MS);
    if (http->exchanges_count < HTTP_PIPELINE_MAX)
        http_go_on(http, HTTP_PAUSE_PIPELINE);
    permit_body(http);
    http_set_deadline(http);
}

static bool on_half_closed(struct conn *c)
{
    struct http_conn *http = conn_user(c);
    list_each(link, &http->exchanges)
    {
        const struct http_exchange *x = exchange_of(link);
        if (x->stream && x->stream->endless)
            return false;
    }
    http->half_closed = true;
    if (http->reading && http_is_streamed(http->reading)) {
        http_stream_ended(http, HTTP_BODY_BROKEN);
    } else if (http->reading && !http->reading->head_waits) { /* it will never be complete, nor answered */
        struct http_exchange *x = http->reading;
        http->reading = NULL;
        list_remove(&x->link);
        http->exchanges_count--;
        http_exchange_free(x);
    }
    http->state = HTTP_STATE_STOPPED;
    http->scanned_bytes = 0;
    if (http->exchanges_count == 0 && conn_queued_frames(c) == 0)
        return false;
    http_advance(http);
    return true;
}

/* ---- input */

enum step { STEP_DONE, STEP_MORE };

static void complete(struct http_conn *http, struct http_exchange *x)
{
    http->reading = NULL;
    http->state = x->keep_alive ? HTTP_STATE_HEAD : HTTP_STATE_STOPPED;
    http->server->handler->on_request(http->server->user, &x->request);
}

void http_leave_body(struct http_conn *http, struct http_exchange *x)
{
    uint64_t left = x->content_length - x->body_bytes;
    http->reading = NULL;
    http_go_on(http, HTTP_PAUSE_BODY);
    if (x->chunked || left > HTTP_SKIP_MAX || x->wants_continue)
        x->keep_alive = false;
    http->skip_bytes = (size_t)left;
    http->state = left ? HTTP_STATE_SKIP : HTTP_STATE_HEAD;
    if (!x->keep_alive)
        http->state = HTTP_STATE_STOPPED;
}

/* What does the handler say? */
static void ask_handler(struct http_conn *http, struct http_exchange *x)
{
    const struct http_server *server = http->server;
    bool has_body = x->chunked || x->content_length;
    if (server->handler->on_head && server->handler->on_head(server->user, &x->request)) {
        if (http->reading == x) /* it will respond later */
            http_leave_body(http, x);
        return;
    }
    if (http->reading != x || x->head_waits)
        return; /* it has responded all the same, or does not know yet */
    if (x->content_length > server->options.body_max && !http_is_streamed(x)) {
        http_refuse(x, 413);
        return;
    }
    if (has_body)
        permit_body(http);
    else if (http_is_streamed(x))
        http_stream_ended(http, HTTP_BODY_WHOLE);
    else
        complete(http, x);
}

/* The head is parsed and allowed. */
static void begin(struct http_conn *http, struct http_exchange *x)
{
    http->served = true;
    http->reading = x;
    http->state = HTTP_STATE_BODY;
    ask_handler(http, x);
}

void http_head_wait(struct http_request *request)
{
    struct http_exchange *x = (struct http_exchange *)request;
    x->head_waits = true;
    http_hold(x->http, HTTP_PAUSE_HEAD);
}

void http_head_again(struct http_request *request)
{
    struct http_exchange *x = (struct http_exchange *)request;
    struct http_conn *http = x->http;
    x->head_waits = false;
    if (http == NULL) {
        request->server->handler->on_head(request->server->user, request);
        return;
    }
    http_go_on(http, HTTP_PAUSE_HEAD);
    ask_handler(http, x);
    if (http->upgraded)
        http_conn_free(http);
    else
        http_set_deadline(http);
}

static void take_whole_head(struct http_conn *http, struct str head)
{
    struct http_exchange *x = http_exchange_new(http);
    unsigned refused = http_parse_head(x, head);
    http->scanned_bytes = 0;
    if (refused)
        http_refuse(x, refused);
    else
        begin(http, x);
}

/* Empty lines in front of a request are forgiven (RFC 9112, 2.2). */
static size_t empty_lines(const char *bytes, size_t n)
{
    size_t at = 0;
    while (n - at >= 2 && bytes[at] == '\r' && bytes[at + 1] == '\n')
        at += 2;
    return at;
}

/* From line end to line end: a head is some ten short lines, and memmem() costs twice as much. */
static size_t find_head(const struct http_conn *http, const char *bytes, size_t n)
{
    size_t from = http->scanned_bytes > 3 ? http->scanned_bytes - 3 : 0;
    const char *end = bytes + n, *at = from < n ? bytes + from : end;
    while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        at++;
        if (end - at >= 2 && at[0] == '\r' && at[1] == '\n' && at - bytes >= 2 && at[-2] == '\r')
            return (size_t)(at + 2 - bytes);
    }
    return 0;
}

static enum step take_head(struct http_conn *http, const char *bytes, size_t n, size_t *used)
{
    if (http->scanned_bytes == 0) {
        *used = empty_lines(bytes, n);
        bytes += *used;
        n -= *used;
        if (n == 0 || (n == 1 && bytes[0] == '\r'))
            return STEP_MORE;
        http->head_since_ns = loop_now_ns(conn_loop(http->conn));
    }
    size_t size = find_head(http, bytes, n);
    if (size > HTTP_HEAD_SIZE_MAX || (size == 0 && n > HTTP_HEAD_SIZE_MAX)) {
        refuse_next(http, 431);
    } else if (size) {
        *used += size;
        take_whole_head(http, str_make(bytes, size));
    } else if (bytes[0] < 'A' || bytes[0] > 'Z') {
        refuse_next(http, 400); /* TLS or noise: no need to wait for its end */
    } else {
        http->scanned_bytes = n;
        return STEP_MORE;
    }
    return STEP_DONE;
}

static enum step take_streamed_body(struct http_conn *http, const char *bytes, size_t n, size_t *used)
{
    struct http_exchange *x = http->reading;
    enum http_chunk_result result = HTTP_CHUNK_MORE;
    struct str now;
    buf_clear(&x->grown_body);
    if (x->chunked) {
        result = http_parse_chunks(x, bytes, n, used);
        now = buf_view(&x->grown_body);
    } else {
        uint64_t left = x->content_length - x->body_bytes;
        *used = n < left ? n : (size_t)left;
        x->body_bytes += *used;
        now = str_make(bytes, *used);
        result = *used == left ? HTTP_CHUNK_DONE : HTTP_CHUNK_MORE;
    }
    if (now.n > 0)
        http_stream_bytes(x, now);
    if (http->reading == x && x->grown_body.cap > HTTP_ROOM)
        buf_free(&x->grown_body);
    if (http->reading == x && result != HTTP_CHUNK_MORE)
        http_stream_ended(http, result == HTTP_CHUNK_DONE ? HTTP_BODY_WHOLE : HTTP_BODY_BROKEN);
    return STEP_DONE;
}

static enum step take_sized_body(struct http_conn *http, const char *bytes, size_t n, size_t *used)
{
    struct http_exchange *x = http->reading;
    uint64_t left = x->content_length - x->body_bytes;
    *used = n < left ? n : (size_t)left;
    x->body_bytes += *used;
    if (*used == x->content_length) {
        x->request.body = arena_copy(&x->request.arena, str_make(bytes, *used));
    } else {
        buf_put(&x->grown_body, bytes, *used);
        if (*used < left)
            return STEP_MORE;
        x->request.body = buf_view(&x->grown_body);
    }
    complete(http, x);
    return STEP_DONE;
}

static enum step take_chunked_body(struct http_conn *http, const char *bytes, size_t n, size_t *used)
{
    struct http_exchange *x = http->reading;
    switch (http_parse_chunks(x, bytes, n, used)) {
    case HTTP_CHUNK_MORE:
        return STEP_MORE;
    case HTTP_CHUNK_DONE:
        x->request.body = buf_view(&x->grown_body);
        complete(http, x);
        return STEP_DONE;
    case HTTP_CHUNK_TOO_LARGE:
        http_refuse(x, 413);
        return STEP_DONE;
    case HTTP_CHUNK_MALFORMED:
        http_refuse(x, 400);
        return STEP_DONE;
    }
    return STEP_DONE;
}

static enum step skip_body(struct http_conn *http, size_t n, size_t *used)
{
    *used = n < http->skip_bytes ? n : http->skip_bytes;
    http->skip_bytes -= *used;
    if (http->skip_bytes)
        return STEP_MORE;
    http->state = HTTP_STATE_HEAD;
    return STEP_DONE;
}

static enum step take(struct http_conn *http, const char *bytes, size_t n, size_t *used)
{
    *used = 0;
    switch (http->state) {
    case HTTP_STATE_HEAD:
        return take_head(http, bytes, n, used);
    case HTTP_STATE_BODY:
        if (http_is_streamed(http->reading))
            return take_streamed_body(http, bytes, n, used);
        return http->reading->chunked ? take_chunked_body(http, bytes, n, used)
                                      : take_sized_body(http, bytes, n, used);
    case HTTP_STATE_SKIP:
        return skip_body(http, n, used);
    case HTTP_STATE_STOPPED:
        *used = n;
        return STEP_MORE;
    }
    return STEP_MORE;
}

static bool must_hold(struct http_conn *http)
{
    if (http->exchanges_count >= HTTP_PIPELINE_MAX && http->state == HTTP_STATE_HEAD)
        http_hold(http, HTTP_PAUSE_PIPELINE);
    if (conn_queued_bytes(http->conn) + http->made_bytes > HTTP_UNREAD_MAX)
        http_hold(http, HTTP_PAUSE_OUTPUT);
    return http->pauses != 0;
}

static size_t on_input(struct conn *c, char *bytes, size_t n)
{
    struct http_conn *http = conn_user(c);
    size_t used = 0, now;
    while (used < n && !conn_is_closing(c) && !must_hold(http)) {
        enum step step = take(http, bytes + used, n - used, &now);
        used += now;
        if (http->upgraded) {
            http_conn_free(http);
            return used;
        }
        if (step == STEP_MORE)
            break;
    }
    http_set_deadline(http);
    return used;
}
