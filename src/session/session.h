/* session.h - one WebSocket client, from the handshake to the close (chapter 1).
 *
 * A state machine over text messages: what comes in by session_message(), what goes out by frames to its sink. It knows no
 * socket: production gives it a conn, the simulation a list.
 *
 * Ownership: session_new() to session_closed(); the link outlives the session. Threads: its shard.
 * Limits: channels per connection SESSION_CHANNELS_MAX (error 4300), pending resume positions 100.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "channel/hub.h"

enum { SESSION_CHANNELS_MAX = 10000 };

/* What a session may do to its connection; `sink` is what env->deliver takes. */
struct session_link {
    void (*close)(void *sink, unsigned code, struct str reason); /* close frame, then TCP close (chapter 1, 8.2) */
    void (*ping)(void *sink);                                    /* native ping */
};

struct session_params { /* from the query string, validated (chapter 1, 1.2) */
    enum wire_protocol protocol;
    enum lane_mode mode;     /* LANE_V1 for protocol V1 */
    unsigned window_index;
    bool echo;
};
/* Reads the query string of /app/<key>. NULL, or the reason for HTTP 400. */
const char *session_params_read(const struct config *config, struct str query, struct arena *arena,
                                struct session_params *out);

struct sessions; /* all sessions of one shard: for counting, draining, user control */
struct sessions *sessions_new(struct env *env, const struct session_link *link);
void sessions_free(struct sessions *all);
size_t sessions_count(const struct sessions *all);

struct session;
/* After the upgrade. Checks app, origin, quotas (chapter 1, section 2, steps 4 to 7) and sends connection_established or
 * the error frame and close; in the latter case returns NULL (the link's close has been called). app NULL = unknown key. */
struct session *session_new(struct sessions *all, void *sink, struct app *app, struct str origin,
                            const struct session_params *params);
void session_message(struct session *s, struct str text);
void session_native_ping(struct session *s);
void session_native_pong(struct session *s);
enum session_end { END_GRACEFUL, END_LOST }; /* the client's close frame or ours at 4009; anything else */
/* The connection is gone; frees the session. */
void session_closed(struct session *s, enum session_end how);
/* The send queue refused a frame: slow consumer (chapter 1, 10.4). */
void session_overflow(struct session *s);
/* Error frame 4200 and close for every session of the shard, spread over spread_ms (0 = at once). */
void sessions_drain(struct sessions *all, uint64_t spread_ms);
struct app *session_app(const struct session *s);
