/* call.h - one request while the api works on it, and its answer.
 *
 * A call lives in its request's arena: it ends with the answer. Every call is answered exactly once, by one
 * of the call_*() functions that say so; nothing of it may be touched afterwards.
 *
 * Bodies are built in call_body(), one buffer per api that keeps its memory (up to 1 MiB): fill it and answer without
 * giving up control in between.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "api/api.h"
#include "api/read_event.h"
#include "api/route.h"
#include "base/json_put.h"

struct replay_cache;

/* What readers of this shard were sent last (stream_read.c): made once, however many they are. */
struct api_reads {
    struct frame *frame, *event; /* as a WebSocket gets it; as an event, NULL = nobody has wanted it yet */
    bool is_version;
    struct read_event facts;     /* views of frame */
};

struct api {
    struct env *env;
    struct api_shared *shared;
    struct router *router;
    struct replay_cache *replays;
    struct buf body, scratch; /* between two answers, empty */
    struct list streams;      /* struct append_stream.link */
    struct list readers;      /* struct reader.link */
    struct api_reads reads;
    _Atomic uint64_t in_flight;
};

struct call {
    struct api *api;
    struct env *env;
    struct http_request *request;
    const struct route *route;
    struct app *app;                 /* signed routes */
    struct str body_md5;             /* signed routes: what was signed of the body; absent = nothing */
    struct str args[ROUTE_ARGS_MAX]; /* of the path; decoded once serve() runs; args[0] of a signed route is
                                        the app's id */
    void *stream;                    /* of an answer in parts: the handler's */
    struct str headers;              /* lines that go with whatever the answer is; in the arena */
};

/* Why a request is refused (chapter 2, 2.4). */
struct failure {
    unsigned status; /* 0 = not refused */
    const char *code;
    struct str text;        /* static, or in the request's arena */
    int ai_code;            /* 0 = none */
    unsigned retry_after_s; /* 0 = none */
};
static const struct failure NO_FAILURE = {0};

struct failure fail(unsigned status, const char *code, struct str text);
/* 400 invalid_input, the usual one. */
struct failure fail_input(struct str text);
/* The same text, made in the call's arena. */
struct failure fail_fmt(struct call *c, unsigned status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
struct failure fail_ai(unsigned status, int ai_code, struct str text);
struct failure fail_busy(struct str text); /* 503 backpressure, Retry-After: 1 */

/* A call for a request that has just begun; in its arena. */
struct call *call_new(struct api *api, struct http_request *request);
struct arena *call_arena(struct call *c);
struct buf *call_body(struct call *c);
/* ---- the answers; each ends the call ---- */
void call_ok(struct call *c); /* 200, what call_body() holds, as JSON */
void call_ok_json(struct call *c, struct str json);
void call_refuse(struct call *c, struct failure failure);
void call_text(struct call *c, unsigned status, struct str headers, struct str text); /* text/plain */
void call_answer(struct call *c,
                 const struct http_response *response); /* anything; the call's own header lines are added */

/* ---- the answer in parts, to a request that has an http_stream; call_finish() ends the call ---- */
void call_begin(struct call *c, const struct http_response *head); /* the call's own header lines are added */
void call_part(struct call *c, struct str bytes);
void call_finish(struct call *c); /* begun or not, if the peer has gone */

/* The JSON error body. */
void failure_json(struct buf *out, const struct failure *failure);
