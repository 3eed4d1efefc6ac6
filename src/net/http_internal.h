/* http_internal.h - what the files of http share.
 *
 *      http_conn   one per connection while it speaks HTTP
 *        exchanges   in request order: [answered, waits][handler at work][body incomplete = reading]
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "net/http.h"

#include <llhttp.h>

enum { HTTP_HEAD_SIZE_MAX = 32 * 1024, HTTP_HEADERS_MAX = 100, HTTP_PIPELINE_MAX = 64 };
enum { HTTP_UNREAD_MAX = 256 * 1024, HTTP_SKIP_MAX = 64 * 1024, HTTP_LINGER_MS = 2000 };
enum { HTTP_ROOM = 3584, HTTP_FREE_MAX = 64 };

struct http_server {
    struct conn_pool *pool;
    struct http_server_options options;
    const struct http_handler *handler;
    void *user;
    size_t refs; /* 1 until http_server_free(), and one per http_conn and exchange */
    enum { HTTP_SERVING, HTTP_DRAINING, HTTP_FREED } life;
    struct list conns;
    struct list free_exchanges;
    size_t free_count;
    struct buf scratch; /* for response heads */
};

enum http_state {
    HTTP_STATE_HEAD,    /* between requests or inside a head */
    HTTP_STATE_BODY,    /* of `reading` */
    HTTP_STATE_SKIP,    /* a short body that nobody wants */
    HTTP_STATE_STOPPED, /* the connection closes after the responses: no further requests */
};

enum http_pause { HTTP_PAUSE_PIPELINE = 1, HTTP_PAUSE_OUTPUT = 2, HTTP_PAUSE_BODY = 4, HTTP_PAUSE_HEAD = 8 };

struct http_conn {
    struct http_server *server;
    struct conn *conn;
    struct list link; /* in server->conns */
    struct list exchanges;
    size_t exchanges_count;
    struct http_exchange *reading; /* its body is incomplete; NULL = none */
    struct timer deadline;
    enum http_state state;
    unsigned pauses;        /* enum http_pause */
    size_t made_bytes;      /* of responses that wait for those before them */
    size_t skip_bytes;      /* HTTP_STATE_SKIP: still to come */
    size_t scanned_bytes;   /* of an incomplete head; 0 = between requests */
    uint64_t head_since_ns; /* when its first byte came */
    bool served;            /* has had a request */
    bool half_closed;       /* the peer's FIN has come */
    bool upgraded;          /* no longer ours: to be freed by on_input() */
};

struct http_exchange {
    struct http_request request; /* first: what the handler sees */
    struct list link;            /* in http->exchanges or server->free_exchanges */
    struct http_conn *http;      /* NULL once the peer has gone */
    struct frame *response;      /* made, waits for those before it; NULL = not made */
    const struct http_stream *stream; /* in parts; NULL = not */
    struct buf parts;            /* of a response in parts whose turn has not come */
    enum { HTTP_PARTS_NONE, HTTP_PARTS_BEGUN, HTTP_PARTS_FINISHED } progress;
    llhttp_t parser;
    uint64_t content_length;
    uint64_t body_bytes;   /* received; chunked: raw */
    uint64_t chunks_bytes; /* chunked: what was in the chunks */
    struct buf grown_body; /* of a body that came in pieces; streamed: of this read */
    bool head_parsed, chunked, minor_0, keep_alive, wants_continue, body_too_large, name_open;
    bool head_waits; /* http_head_wait() */
    _Alignas(16) char room[HTTP_ROOM]; /* the arena's first chunk */
};

/* http.c */
struct http_exchange *http_exchange_new(struct http_conn *http);
void http_exchange_free(struct http_exchange *x);
void http_release(struct http_server *server);
/* Takes the connection out of the server; frees http. */
void http_conn_free(struct http_conn *http);
/* Sends the responses whose turn it is. */
void http_advance(struct http_conn *http);
void http_hold(struct http_conn *http, enum http_pause why);
void http_go_on(struct http_conn *http, enum http_pause why);
void http_set_deadline(struct http_conn *http);
/* The response has been decided before the body has been read. */
void http_leave_body(struct http_conn *http, struct http_exchange *x);

/* http_parse.c: a whole head into x->request. 0, or the status to refuse it with. */
unsigned http_parse_head(struct http_exchange *x, struct str head);
enum http_chunk_result { HTTP_CHUNK_MORE, HTTP_CHUNK_DONE, HTTP_CHUNK_MALFORMED, HTTP_CHUNK_TOO_LARGE };
/* Bytes of a chunked body; *used of them belong to it. */
enum http_chunk_result http_parse_chunks(struct http_exchange *x, const char *bytes, size_t n, size_t *used);

/* http_stream.c */
static inline bool http_is_streamed(const struct http_exchange *x)
{
    return x->stream && x->stream->bytes;
}
/* x is being read and streamed: hands over, or says that there is no more. x may be gone afterwards. */
void http_stream_bytes(struct http_exchange *x, struct str bytes);
void http_stream_ended(struct http_conn *http, enum http_body_end how);
/* x is first in its connection and has begun: sends what has waited for that. */
void http_stream_turn(struct http_exchange *x);

/* http_respond.c: status line and headers; parts: chunks follow. */
enum http_framing { HTTP_FRAMED_BY_LENGTH, HTTP_FRAMED_BY_CHUNKS };
void http_put_head(struct buf *out, const struct http_exchange *x, const struct http_response *response,
                   enum http_framing framing);
/* an error that this layer found; the connection closes after it. */
void http_refuse(struct http_exchange *x, unsigned status);
