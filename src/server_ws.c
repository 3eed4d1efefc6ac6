/* server_ws.c - from an upgrade request to a session, and between connection and session afterwards.
 *
 *      request -> draining? -> limit by address -> parameters -> 101 -> session_new
 *      bytes -> ws_parse -> session_message          session -> frames -> conn (the sink)
 *
 * The sink of a session is its conn, so that the fan-out touches nothing else.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "api/limits.h"
#include "base/mem.h"
#include "channel/outlet.h"
#include "net/http.h"
#include "net/ws.h"
#include "server_internal.h"
#include "session/directory.h"

enum { CLOSE_WAIT_MS = 5000, FRAMES_MAX_BY_BYTES = 10000, ROOM_LEFT = 64 };

static const struct str app_prefix = {"/app/", 5};

struct ws {
    struct shard *shard;
    struct conn *conn;
    struct session *session; /* NULL = refused */
    struct ws_parser parser;
    bool graceful;           /* the client has sent a close frame */
};

/* ---- what the session does to its connection ---- */

void ws_deliver(void *sink, struct frame *frame)
{
    struct outlet *outlet = outlet_of(sink);
    if (outlet == NULL)
        conn_give_frame(sink, frame);
    else
        outlet->kind->frame(outlet, frame);
}

static void close_with(void *sink, unsigned code, struct str reason)
{
    struct frame *frame = frame_new_close(code, reason);
    conn_force_frame(sink, frame);
    frame_drop(frame);
    conn_close_after_flush(sink, CLOSE_WAIT_MS);
}

static void send_ping(void *sink)
{
    conn_send_bytes(sink, STR("\x89\x00"));
}

static uint32_t queue_frames_max(const struct config *config)
{
    if (config->websocket.max_messages > 0)
        return (uint32_t)config->websocket.max_messages;
    return config->websocket.max_bytes > 0 ? FRAMES_MAX_BY_BYTES : 0;
}

struct conn_limits ws_send_limits(const struct config *config)
{
    return (struct conn_limits){queue_frames_max(config), config_send_bytes_max(config)};
}

/* What is sent live meanwhile shall fit, too: some of the frames are left to it, and half of the bytes. */
size_t ws_room(void *sink)
{
    struct ws *ws = conn_user(sink);
    const struct config *config = ws->shard->server->config;
    size_t max = queue_frames_max(config), queued = conn_queued_frames(sink);
    size_t left = max / 4 < ROOM_LEFT ? max / 4 : ROOM_LEFT;
    if (queued > 0 && conn_queued_bytes(sink) > config_send_bytes_max(config) / 2)
        return 0;
    if (max == 0)
        return SIZE_MAX;
    return queued + left < max ? max - left - queued : 0;
}

static size_t unread(void *sink)
{
    return conn_queued_bytes(sink);
}

const struct session_link ws_link = {close_with, send_ping, unread};

void ws_control(void *sink, int code, struct str reason)
{
    struct outlet *outlet = outlet_of(sink);
    if (outlet != NULL) {
        outlet->kind->control(outlet, code, reason);
        return;
    }
    struct ws *ws = conn_user(sink);
    if (ws->session != NULL)
        session_control(ws->session, code, reason);
}

/* ---- what the connection tells the session ---- */

static void answer_close(struct ws *ws, struct str payload)
{
    struct frame *frame = frame_new(FRAME_CLOSE, str_first(payload, 2)); /* the same code */
    ws->graceful = true;
    conn_force_frame(ws->conn, frame);
    frame_drop(frame);
    conn_close_after_flush(ws->conn, CLOSE_WAIT_MS);
}

static void answer_ping(struct ws *ws, struct str payload)
{
    struct frame *frame = frame_new(FRAME_PONG, payload);
    session_native_ping(ws->session);
    conn_give_frame(ws->conn, frame);
}

static bool on_message(void *user, enum ws_kind kind, struct str payload)
{
    struct ws *ws = user;
    switch (kind) {
    case WS_TEXT:
        session_message(ws->session, payload);
        break;
    case WS_BINARY:
        session_binary(ws->session, payload);
        break;
    case WS_PING:
        answer_ping(ws, payload);
        break;
    case WS_PONG:
        session_native_pong(ws->session);
        break;
    case WS_CLOSE:
        answer_close(ws, payload);
        break;
    }
    return !conn_is_closing(ws->conn);
}

static size_t smaller(size_t a, uint64_t limit)
{
    return limit > 0 && limit < a ? (size_t)limit : a;
}

static struct ws_limits limits_of(const struct config *config)
{
    size_t max = (size_t)config->websocket_max_payload_kb * 1024;
    if (config->websocket.max_bytes > max)
        max = config->websocket.max_bytes; /* chapter 1, 10.1 */
    return (struct ws_limits){smaller(smaller(max, config->websocket.max_frame_size), config->websocket.max_message_size)};
}

static size_t on_input(struct conn *conn, char *bytes, size_t n)
{
    struct ws *ws = conn_user(conn);
    struct ws_limits limits = limits_of(ws->shard->server->config);
    size_t used = n;
    if (ws->session == NULL)
        return n;
    unsigned status = ws_parse(&ws->parser, &limits, bytes, n, &used, on_message, ws);
    if (status == WS_STOPPED)
        return n;
    if (status == WS_MORE)
        return used;
    close_with(conn, status, STR(""));
    return n;
}

static void on_closed(struct conn *conn)
{
    struct ws *ws = conn_user(conn);
    if (ws->session != NULL)
        session_closed(ws->session, ws->graceful ? END_GRACEFUL : END_LOST);
    ws_parser_free(&ws->parser);
    free(ws);
}

static void on_overflow(struct conn *conn)
{
    struct ws *ws = conn_user(conn);
    if (ws->session != NULL)
        session_overflow(ws->session);
}

static const struct conn_protocol protocol = {.input = on_input, .closed = on_closed, .overflow = on_overflow};

/* ---- the upgrade ---- */

bool ws_is_path(struct str path)
{
    struct str rest = str_starts(path, app_prefix) ? str_from(path, app_prefix.n) : STR_NONE;
    return rest.n > 0 && (str_index(rest, '/') < 0 || (size_t)str_index(rest, '/') == rest.n - 1);
}

static void refuse(struct http_request *request, unsigned status, struct str headers, struct str text)
{
    http_respond(request, &(struct http_response){.status = status,
                                                  .content_type = STR("text/plain; charset=utf-8"),
                                                  .extra_headers = headers,
                                                  .body = text,
                                                  .close = true});
}

static void refuse_rate(struct http_request *request, const struct limiter_verdict *verdict)
{
    struct buf headers = {0};
    buf_fmt(&headers, "Retry-After: %llu\r\nX-RateLimit-Limit: %llu\r\nX-RateLimit-Remaining: %llu\r\nX-RateLimit-Reset: %llu\r\n",
            (unsigned long long)verdict->reset_s, (unsigned long long)verdict->limit,
            (unsigned long long)verdict->remaining, (unsigned long long)verdict->reset_s);
    struct str lines = arena_copy(&request->arena, buf_view(&headers));
    buf_free(&headers);
    http_respond(request, &(struct http_response){.status = 429,
                                                  .content_type = STR("application/json"),
                                                  .extra_headers = lines,
                                                  .body = STR("{\"error\":\"Too Many Requests\",\"message\":\"Rate limit "
                                                              "exceeded. Please try again later.\"}"),
                                                  .close = true});
}

enum limit_result { LIMIT_WITHIN, LIMIT_WAITS, LIMIT_REFUSED };

static enum limit_result check_limit(struct shard *shard, struct http_request *request)
{
    struct limiter_verdict verdict;
    if (shard->server->connects == NULL)
        return LIMIT_WITHIN;
    if (!limits_check(shard->server->connects, &shard->env, request, &verdict))
        return LIMIT_WAITS;
    metrics_rate_limit(&shard->env, "global", "websocket_connect", "websocket_upgrade", !verdict.allowed);
    if (verdict.allowed)
        return LIMIT_WITHIN;
    refuse_rate(request, &verdict);
    return LIMIT_REFUSED;
}

static struct app *app_of(struct shard *shard, struct http_request *request)
{
    struct str segment = str_from(request->path, app_prefix.n);
    if (str_ends(segment, STR("/")))
        segment.n--;
    struct str key = path_decode(segment, &request->arena);
    return key.p != NULL ? apps_by_key(shard->server->apps, key) : NULL;
}

static void upgrade(struct shard *shard, struct http_request *request, const struct session_params *params)
{
    struct app *app = app_of(shard, request);
    struct arena arena = {0}; /* the request is gone after the upgrade */
    struct str origin = arena_copy(&arena, http_get_header(request, STR("origin")));
    struct session_params kept = *params;
    kept.token = arena_copy(&arena, params->token);
    const struct config *config = shard->server->config;
    struct ws *ws = mem_new(struct ws);
    ws->shard = shard;
    if (http_upgrade(request, &protocol, ws, &ws->conn)) {
        conn_set_limits(ws->conn, ws_send_limits(config));
        ws->session = session_new(shard->sessions, ws->conn, app, origin, &kept);
    } else {
        free(ws);
    }
    arena_free(&arena);
}

bool ws_request(struct shard *shard, struct http_request *request)
{
    struct session_params params;
    enum limit_result limit;
    if (request->method != HTTP_GET_ || !request->upgrade) {
        refuse(request, 426, STR("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
               STR("This is a WebSocket endpoint: connect with an Upgrade request"));
        return true;
    }
    if (request->gone || atomic_load(&shard->server->ops.draining)) {
        refuse(request, 503, STR_NONE, STR("The server is shutting down"));
        return true;
    }
    if ((limit = check_limit(shard, request)) != LIMIT_WITHIN)
        return limit == LIMIT_REFUSED;
    const char *wrong = session_params_read(shard->server->config, request->query, &request->arena, &params);
    if (wrong != NULL)
        refuse(request, 400, STR_NONE, str_of(wrong));
    else
        upgrade(shard, request, &params);
    return true;
}
