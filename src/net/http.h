/* http.h - HTTP/1.1 server side on a connection (RFC 9112), parsed by llhttp.
 *
 * Keep-alive, pipelining (responses leave in request order whatever order they are made in), chunked and
 * sized bodies, limits on head and body while reading, a deadline for slow heads and bodies, `Expect:
 * 100-continue`, HEAD. An Upgrade request becomes a WebSocket by http_upgrade().
 *
 * Life of a request: head complete -> on_head() may answer at once (the body is then skipped, or the
 * connection closed when it is long) -> body complete -> on_request(). The handler answers now or later with
 * http_respond(), exactly once. If the peer goes away first, http_request.gone becomes true, respond is still
 * to be called and then only frees. A request whose body never becomes complete is freed without
 * on_request(): an on_head() that returns false leaves nothing behind that the arena does not free.
 *
 * A body that is wanted as it arrives, and a response that goes out in parts, belong to a struct http_stream:
 *
 *      on_head: http_stream() -> bytes() bytes() ... ended()         the request's body
 *               http_begin() http_part() ... http_finish()           its response; either without the other
 *
 * Such a request ends with http_finish(), or http_respond() if nothing was begun, also when the peer has gone.
 *
 * Limits: head 32 KiB (431; a history cursor may take 16), 100 headers (431), body body_max (413), 64 requests in the pipeline or 256 KiB
 * of responses that the peer does not read, or that wait for one before them (then reading pauses), head within 10 s and body within 30 s of
 * its last byte (408). A body that is streamed has no size limit and an idle time of its own; at most one read
 * of the socket (64 KiB) is handed over after http_body_pause(). Malformed: 400 and close. A peer that has sent FIN still gets its responses.
 *
 * Ownership: all str fields of the request live until http_respond(). Threads: the connection's shard.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "net/conn.h"

enum http_method {
    HTTP_GET_,
    HTTP_HEAD_,
    HTTP_POST_,
    HTTP_PUT_,
    HTTP_DELETE_,
    HTTP_OPTIONS_,
    HTTP_PATCH_,
    HTTP_OTHER_
};

struct http_header {
    struct str name, value; /* value trimmed */
};

struct http_request {
    struct http_server *server;
    struct conn *conn;  /* NULL once gone */
    struct arena arena; /* for whatever lives as long as the request; freed by http_respond() */
    enum http_method method;
    struct str method_name; /* as sent, e.g. "GET" */
    struct str target;      /* as sent: path and query */
    struct str path;        /* raw, up to '?' */
    struct str query;       /* raw, behind '?'; absent if there is no '?' */
    struct http_header *headers;
    size_t headers_count;
    struct str body;
    uint64_t arrived_ns; /* monotonic, when the first byte of the request was read */
    bool upgrade;        /* asks for websocket */
    bool gone;           /* the peer went away; only http_respond() is left to do */
    void *user;          /* the handler's */
    void *waiting;       /* what http_head_wait() is about: whoever called it */
};

struct http_handler {
    /* Optional. Return true when it has responded already (reject early). For an upgrade request this is
     * where http_upgrade() or http_respond() is called, and true returned. */
    bool (*on_head)(void *user, struct http_request *request);
    void (*on_request)(void *user, struct http_request *request);
};

struct http_server_options {
    size_t body_max;                                            /* bytes */
    uint32_t head_timeout_ms, body_timeout_ms, idle_timeout_ms; /* 0 = 10 s, 30 s, 75 s */
    uint32_t stream_timeout_ms; /* between two bytes of a streamed body; 0 = 60 s */
};

/* One per shard. */
struct http_server;
/* handler is borrowed. */
struct http_server *http_server_new(struct conn_pool *pool, const struct http_server_options *options,
                                    const struct http_handler *handler, void *user);
/* Closes its connections; lives on until they are closed and each request has been responded to. */
void http_server_free(struct http_server *server);
/* A freshly accepted socket. */
void http_accept(struct http_server *server, int fd, const struct sockaddr_storage *peer);
/* Answers every following request with `Connection: close` and closes idle connections (drain). */
void http_server_drain(struct http_server *server);

/* The handler needs somebody's answer first: from on_head(), which then returns false. Nothing more of the connection is read until
 * http_head_again() calls on_head() a second time, from where any answer, an upgrade too, is possible. If the peer has gone meanwhile
 * (request->gone), that call must respond. */
void http_head_wait(struct http_request *request);
void http_head_again(struct http_request *request);

/* First header with that name (ASCII case folded), absent if none. */
struct str http_get_header(const struct http_request *request, struct str name);

struct http_response {
    unsigned status;
    struct str content_type;  /* absent = none */
    struct str extra_headers; /* complete lines "Name: value\r\n", or absent */
    struct str body;          /* copied */
    bool close;
};
/* Frees the request. Content-Length and Connection are added here. */
void http_respond(struct http_request *request, const struct http_response *response);

/* ---- in parts ---- */

enum http_body_end {
    HTTP_BODY_WHOLE,
    HTTP_BODY_BROKEN, /* the peer stopped in the middle of it, or what it sent is no chunked body */
    HTTP_BODY_LATE,   /* nothing came for stream_timeout_ms */
};

/* What a request in parts is told; none of them after http_finish() or http_respond(). All but gone() may end the
 * request. */
struct http_stream {
    /* The next of the body, n > 0, for the duration of the call. Optional: without it the body is none of its. */
    void (*bytes)(struct http_request *request, struct str bytes);
    /* There is no more. Unless it is whole, the connection closes after the response. */
    void (*ended)(struct http_request *request, enum http_body_end how);
    /* The peer has gone: what is sent arrives nowhere. May call http_finish(). */
    void (*gone)(struct http_request *request);
    /* http_part_frame() met the connection's limits: nothing of the frame was sent. Optional. */
    void (*overflow)(struct http_request *request);
    /* A response without end: the peer's FIN counts as going away, since it has no other way to say so. */
    bool endless;
};
/* From on_head(), which then returns false (and may have responded by then); or, without `bytes`, at any time before the response. Borrowed. */
void http_stream(struct http_request *request, const struct http_stream *stream);
/* No more bytes() until resumed; the peer feels it. */
void http_body_pause(struct http_request *request);
void http_body_resume(struct http_request *request);
/* False for HTTP/1.0, which has no chunks: then only http_respond() may be called. */
bool http_can_stream(const struct http_request *request);
/* Status, type and headers; head->body is the first part, if not empty. */
void http_begin(struct http_request *request, const struct http_response *head);
void http_part(struct http_request *request, struct str bytes); /* copied; empty = nothing happens */
/* A frame of http_part_encode(), shared by many responses: takes its own reference; obeys limits set by
 * http_limit(), and 256 KiB while others of the connection come first. */
void http_part_frame(struct http_request *request, struct frame *frame);
struct frame *http_part_encode(struct str bytes);
void http_limit(struct http_request *request, struct conn_limits limits);
/* What the peer has not taken yet. */
size_t http_waiting_bytes(const struct http_request *request);
/* The last chunk; frees the request. */
void http_finish(struct http_request *request);

/* Completes the WebSocket handshake (101 with Sec-WebSocket-Accept) and hands the connection to `protocol`;
 * frees the request. False if the handshake is invalid: then it has been answered (400, or 426 with
 * Sec-WebSocket-Version: 13). Only from on_head(). The connection is returned in *upgraded. */
bool http_upgrade(struct http_request *request, const struct conn_protocol *protocol, void *user,
                  struct conn **upgraded);
