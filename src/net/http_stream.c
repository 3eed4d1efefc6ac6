/* http_stream.c - bodies that are handed over as they arrive, responses that go out in parts (RFC 9112, 7.1).
 *
 *      [first: parts go to the connection at once] [second: parts wait in x->parts until it is first]
 *
 * A body is handed over from the read buffer, or from where its chunks were put together; between two reads nothing of it
 * is kept here. A request may end inside any call of its http_stream, so whoever calls one looks again before
 * he goes on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/http_internal.h"

#include <assert.h>

enum { CHUNK_FRAMING_MAX = 24 };

static struct http_exchange *exchange_of(const struct http_request *request)
{
    return (struct http_exchange *)request;
}

/* ---- the body ---- */

void http_stream(struct http_request *request, const struct http_stream *stream)
{
    struct http_exchange *x = exchange_of(request);
    assert(x->progress == HTTP_PARTS_NONE && !x->response);
    x->stream = stream;
    if (request->gone)
        stream->gone(request);
}

void http_stream_bytes(struct http_exchange *x, struct str bytes)
{
    x->stream->bytes(&x->request, bytes);
}

void http_stream_ended(struct http_conn *http, enum http_body_end how)
{
    struct http_exchange *x = http->reading;
    http->reading = NULL;
    if (how != HTTP_BODY_WHOLE)
        x->keep_alive = false;
    http->state = x->keep_alive ? HTTP_STATE_HEAD : HTTP_STATE_STOPPED;
    http_go_on(http, HTTP_PAUSE_BODY);
    http_set_deadline(http);
    x->stream->ended(&x->request, how);
}

void http_body_pause(struct http_request *request)
{
    struct http_conn *http = exchange_of(request)->http;
    if (!http || http->reading != exchange_of(request))
        return;
    http_hold(http, HTTP_PAUSE_BODY);
    http_set_deadline(http);
}

void http_body_resume(struct http_request *request)
{
    struct http_conn *http = exchange_of(request)->http;
    if (!http || http->reading != exchange_of(request))
        return;
    http_go_on(http, HTTP_PAUSE_BODY);
    http_set_deadline(http);
}

/* ---- the response ---- */

static bool is_first(const struct http_exchange *x)
{
    return x->http->exchanges.next == &x->link;
}

bool http_can_stream(const struct http_request *request)
{
    return !((const struct http_exchange *)request)->minor_0;
}

/* Length in hexadecimal, the bytes, CRLF. */
static void put_chunk(struct buf *out, struct str bytes)
{
    buf_fmt(out, "%zx\r\n", bytes.n);
    buf_str(out, bytes);
    buf_lit(out, "\r\n");
}

/* Out of the buffer, at once or when its turn comes. */
static void send_parts(struct http_exchange *x)
{
    if (!is_first(x))
        return;
    conn_send_bytes(x->http->conn, buf_view(&x->parts));
    buf_clear(&x->parts);
}

void http_stream_turn(struct http_exchange *x)
{
    send_parts(x);
}

void http_begin(struct http_request *request, const struct http_response *head)
{
    struct http_exchange *x = exchange_of(request);
    assert(x->stream && x->progress == HTTP_PARTS_NONE && http_can_stream(request));
    x->progress = HTTP_PARTS_BEGUN;
    if (!x->http)
        return;
    if (head->close || x->http->server->life != HTTP_SERVING)
        x->keep_alive = false;
    http_put_head(&x->parts, x, head, HTTP_FRAMED_BY_CHUNKS);
    if (head->body.n)
        put_chunk(&x->parts, head->body);
    send_parts(x);
}

void http_part(struct http_request *request, struct str bytes)
{
    struct http_exchange *x = exchange_of(request);
    assert(x->progress == HTTP_PARTS_BEGUN);
    if (!x->http || bytes.n == 0)
        return;
    put_chunk(&x->parts, bytes);
    send_parts(x);
}

struct frame *http_part_encode(struct str bytes)
{
    struct buf chunk = {0};
    buf_reserve(&chunk, bytes.n + CHUNK_FRAMING_MAX);
    put_chunk(&chunk, bytes);
    struct frame *frame = frame_new_raw(chunk.n);
    memcpy(frame_room(frame), chunk.p, chunk.n);
    buf_free(&chunk);
    return frame;
}

void http_part_frame(struct http_request *request, struct frame *frame)
{
    struct http_exchange *x = exchange_of(request);
    assert(x->progress == HTTP_PARTS_BEGUN);
    if (!x->http)
        return;
    if (is_first(x))
        conn_send_frame(x->http->conn, frame);
    else if (x->parts.n + frame_wire(frame).n <= HTTP_UNREAD_MAX)
        buf_str(&x->parts, frame_wire(frame));
    else if (x->stream->overflow)
        x->stream->overflow(request);
}

void http_limit(struct http_request *request, struct conn_limits limits)
{
    if (request->conn)
        conn_set_limits(request->conn, limits);
}

size_t http_waiting_bytes(const struct http_request *request)
{
    const struct http_exchange *x = (const struct http_exchange *)request;
    return x->http ? conn_queued_bytes(x->http->conn) + x->parts.n : 0;
}

void http_finish(struct http_request *request)
{
    struct http_exchange *x = exchange_of(request);
    struct http_conn *http = x->http;
    assert(x->progress == HTTP_PARTS_BEGUN);
    if (!http) {
        http_exchange_free(x);
        return;
    }
    conn_set_limits(http->conn, (struct conn_limits){0});
    if (http->reading == x) {
        http_leave_body(http, x);
        x->keep_alive = false; /* the head has not said so: the peer finds out */
    }
    if (http->server->life != HTTP_SERVING)
        x->keep_alive = false;
    if (!x->keep_alive)
        http->state = HTTP_STATE_STOPPED;
    buf_lit(&x->parts, "0\r\n\r\n");
    x->progress = HTTP_PARTS_FINISHED;
    x->stream = NULL;
    arena_free(&request->arena);
    http_advance(http);
}
