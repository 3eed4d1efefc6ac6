/* http_respond.c - responses: one block of bytes each, queued like any frame.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/http_internal.h"

#include <assert.h>

static const char *reason_of(unsigned status)
{
    static const char *const reasons[600] = {
        [200] = "OK",
        [201] = "Created",
        [202] = "Accepted",
        [204] = "No Content",
        [206] = "Partial Content",
        [301] = "Moved Permanently",
        [302] = "Found",
        [304] = "Not Modified",
        [307] = "Temporary Redirect",
        [308] = "Permanent Redirect",
        [400] = "Bad Request",
        [401] = "Unauthorized",
        [402] = "Payment Required",
        [403] = "Forbidden",
        [404] = "Not Found",
        [405] = "Method Not Allowed",
        [406] = "Not Acceptable",
        [408] = "Request Timeout",
        [409] = "Conflict",
        [410] = "Gone",
        [411] = "Length Required",
        [412] = "Precondition Failed",
        [413] = "Content Too Large",
        [414] = "URI Too Long",
        [415] = "Unsupported Media Type",
        [417] = "Expectation Failed",
        [422] = "Unprocessable Content",
        [423] = "Locked",
        [426] = "Upgrade Required",
        [429] = "Too Many Requests",
        [431] = "Request Header Fields Too Large",
        [500] = "Internal Server Error",
        [501] = "Not Implemented",
        [502] = "Bad Gateway",
        [503] = "Service Unavailable",
        [504] = "Gateway Timeout",
        [505] = "HTTP Version Not Supported",
        [507] = "Insufficient Storage",
    };
    return status < 600 && reasons[status] ? reasons[status] : "Unknown";
}

/* RFC 9110, 6.4.1 */
static bool may_have_body(unsigned status)
{
    return status >= 200 && status != 204 && status != 304;
}

void http_put_head(struct buf *out, const struct http_exchange *x, const struct http_response *response,
                   enum http_framing framing)
{
    buf_lit(out, "HTTP/1.1 ");
    buf_u64(out, response->status);
    buf_char(out, ' ');
    buf_str(out, str_of(reason_of(response->status)));
    if (response->content_type.p) {
        buf_lit(out, "\r\nContent-Type: ");
        buf_str(out, response->content_type);
    }
    if (framing == HTTP_FRAMED_BY_CHUNKS) {
        buf_lit(out, "\r\nTransfer-Encoding: chunked");
    } else if (may_have_body(response->status)) {
        buf_lit(out, "\r\nContent-Length: ");
        buf_u64(out, response->body.n);
    }
    if (!x->keep_alive)
        buf_lit(out, "\r\nConnection: close");
    else if (x->minor_0)
        buf_lit(out, "\r\nConnection: keep-alive");
    buf_lit(out, "\r\n");
    if (response->extra_headers.n)
        buf_str(out, response->extra_headers);
    buf_lit(out, "\r\n");
}

static struct frame *encode(const struct http_exchange *x, const struct http_response *response)
{
    struct buf *head = &x->request.server->scratch;
    buf_clear(head);
    http_put_head(head, x, response, HTTP_FRAMED_BY_LENGTH);
    bool with_body = x->request.method != HTTP_HEAD_ && may_have_body(response->status);
    size_t body_bytes = with_body ? response->body.n : 0;
    struct frame *f = frame_new_raw(head->n + body_bytes);
    memcpy(frame_room(f), head->p, head->n);
    if (body_bytes)
        memcpy(frame_room(f) + head->n, response->body.p, body_bytes);
    return f;
}

void http_respond(struct http_request *request, const struct http_response *response)
{
    struct http_exchange *x = (struct http_exchange *)request;
    struct http_conn *http = x->http;
    assert(!x->response && x->progress == HTTP_PARTS_NONE);
    x->stream = NULL;
    if (!http) {
        http_exchange_free(x);
        return;
    }
    if (http->reading == x)
        http_leave_body(http, x);
    if (response->close || http->server->life != HTTP_SERVING)
        x->keep_alive = false;
    if (!x->keep_alive)
        http->state = HTTP_STATE_STOPPED;
    x->response = encode(x, response);
    http->made_bytes += frame_wire(x->response).n;
    arena_free(&request->arena);
    buf_free(&x->grown_body);
    http_advance(http);
}

struct refusal {
    unsigned status;
    const char *error, *code;
};

static struct refusal refusal_of(unsigned status)
{
    static const struct refusal refusals[] = {
        {408, "The request did not arrive in time", "request_timeout"},
        {413, "The request body is too large", "payload_too_large"},
        {417, "Only 100-continue can be expected", "invalid_request"},
        {431, "The request head is too large", "headers_too_large"},
        {505, "Only HTTP/1.0 and HTTP/1.1 are supported", "invalid_request"},
    };
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        if (refusals[i].status == status)
            return refusals[i];
    return (struct refusal){status, "The request is malformed", "invalid_request"};
}

void http_refuse(struct http_exchange *x, unsigned status)
{
    struct refusal refusal = refusal_of(status);
    struct buf body = {0};
    buf_fmt(&body, "{\"error\":\"%s\",\"code\":\"%s\",\"status\":%u}", refusal.error, refusal.code, status);
    http_respond(&x->request, &(struct http_response){.status = status,
                                                      .content_type = STR("application/json"),
                                                      .body = buf_view(&body),
                                                      .close = true});
    buf_free(&body);
}
