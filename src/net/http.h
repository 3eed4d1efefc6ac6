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
 * Limits: head 32 KiB (431; a history cursor may take 16), 100 headers (431), body body_max (413), 64 requests in the pipeline or 256 KiB
 * of responses that the peer does not read (then reading pauses), head within 10 s and body within 30 s of
 * its last byte (408). Malformed: 400 and close. A peer that has sent FIN still gets its responses.
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

/* Completes the WebSocket handshake (101 with Sec-WebSocket-Accept) and hands the connection to `protocol`;
 * frees the request. False if the handshake is invalid: then it has been answered (400, or 426 with
 * Sec-WebSocket-Version: 13). Only from on_head(). The connection is returned in *upgraded. */
bool http_upgrade(struct http_request *request, const struct conn_protocol *protocol, void *user,
                  struct conn **upgraded);
