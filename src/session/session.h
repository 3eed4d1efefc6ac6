/* session.h - one WebSocket client, from the handshake to the close (chapter 1).
 *
 * A state machine over text messages: what comes in by session_message(), what goes out by frames to its sink. It knows no
 * socket: production gives it a conn, the simulation a list.
 *
 * Ownership: session_new() to session_closed(); the link outlives the session. Threads: its shard.
 * Calls: session_closed() never from within env->deliver or a function of the link; session_overflow() may be.
 * Limits: websocket.max_channels and the enum below. Beyond them a subscribe is refused with 4300, a resume position with not_subscribed; each counts in
 * connection_limits_reached_total{limit}.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "channel/hub.h"

enum {
    SESSION_WILDCARDS_MAX = 100,
    SESSION_FILTER_BYTES_MAX = 1 << 20, /* of all filters' texts */
    SESSION_SUBSCRIBES_MAX = 16,        /* unanswered, of one channel */
    SESSION_PENDING_MAX = 100,
    SESSION_PENDING_MS = 30000,
    SESSION_POSITION_SIZE_MAX = 1024, /* bytes of channel and stream id of one that has to wait */
};

struct directory; /* session/directory.h */

/* What a session may do to its connection; `sink` is what env->deliver takes. */
struct session_link {
    void (*close)(void *sink, unsigned code, struct str reason); /* close frame, then TCP close (chapter 1, 8.2) */
    void (*ping)(void *sink);                                    /* native ping */
    size_t (*unread)(void *sink);                                /* bytes that the client has not taken yet; NULL = not known */
};

struct session_params { /* from the query string, validated (chapter 1, 1.2) */
    enum wire_protocol protocol;
    enum lane_mode mode;     /* LANE_V1 for protocol V1 */
    unsigned window_index;
    enum wire_format format; /* FORMAT_JSON for protocol V1 */
    bool echo;
    struct str token;        /* capability token, a view or in the arena; absent = none */
};
/* Reads the query string of /app/<key>. NULL, or the reason for HTTP 400. */
const char *session_params_read(const struct config *config, struct str query, struct arena *arena,
                                struct session_params *out);
/* append_rollup_window, as text; absent = the default. *index: for lane_of(). NULL, or the reason for HTTP 400. */
const char *session_window_read(const struct config *config, struct str text, unsigned *index);

struct session;
struct sessions; /* all sessions of one shard: for counting, draining, user control */
struct sessions *sessions_new(struct env *env, const struct session_link *link);
/* Both optional. directory: of the process. room: how many frames of a replay the connection would take now; without it a replay does not
 * wait for the socket. */
void sessions_use(struct sessions *all, struct directory *directory, size_t (*room)(void *sink));
/* How long the first channels of a new connection wait for the resume that a client may have sent behind its subscribes, in
 * another segment: a gate that opened before it would let appends through whose beginning the client lacks. 0 = not at all. */
void sessions_settle(struct sessions *all, unsigned ms);
void sessions_free(struct sessions *all);
size_t sessions_count(const struct sessions *all);

/* After the upgrade. Checks app, origin, quotas (chapter 1, section 2, steps 4 to 8) and sends connection_established or
 * the error frame and close; in the latter case returns NULL (the link's close has been called). app NULL = unknown key. */
struct session *session_new(struct sessions *all, void *sink, struct app *app, struct str origin,
                            const struct session_params *params);
void session_message(struct session *s, struct str text);
/* A binary frame: in the connection's format, JSON for a connection that reads JSON (chapter 1, section 9). */
void session_binary(struct session *s, struct str bytes);
void session_native_ping(struct session *s);
void session_native_pong(struct session *s);
enum session_end { END_GRACEFUL, END_LOST }; /* the client's close frame; anything else */
/* The connection is gone; frees the session. What the session itself closed has left its channels already. */
void session_closed(struct session *s, enum session_end how);
/* The send queue refused a frame: slow consumer (chapter 1, 10.4). Takes effect in the next turn. */
void session_overflow(struct session *s);
/* What hub_on_control() asks for, by whoever knows the session of a sink: error frame and close in the next turn. */
void session_control(struct session *s, int code, struct str reason);
/* Error frame 4200 and close for every session of the shard, spread over spread_ms (0 = at once). */
void sessions_drain(struct sessions *all, uint64_t spread_ms);
struct app *session_app(const struct session *s);
