/* conn.h - one accepted TCP connection: bytes in, frames and bytes out, bounded both ways.
 *
 * A connection starts as HTTP/1.1 (net/http.h); an upgrade turns it into a WebSocket (net/ws.h) on the same
 * socket. What is queued for it leaves in one gathered write at the end of the loop turn; while the socket is
 * not writable the queue grows up to its limits and then `overflow` is told, once per refused frame.
 *
 *   queue    [frame][frame][frame]...     the first may have been sent in part
 *
 * Memory: an idle upgraded connection costs its struct and an empty queue, no buffers: input is read into a
 * scratch buffer of the shard and only an incomplete frame or request is kept.
 *
 * Ownership: conn_close() ends it; it is freed at the end of the turn, after `closed`. Threads: its shard's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "net/frame.h"
#include "net/loop.h"
#include <netinet/in.h>

struct conn;

/* What a protocol on top of the socket does. All run on the shard's thread. */
struct conn_protocol {
    /* Bytes that have arrived, those kept from last time in front; n > 0. It may write to those it uses up.
     * Returns how many it has used up; the rest is kept, as it is. May close the connection. */
    size_t (*input)(struct conn *c, char *bytes, size_t n);
    /* The peer has sent its FIN or the socket failed, or conn_close() was called; always the last call, at
     * the end of the turn: never from within another call into conn.h. */
    void (*closed)(struct conn *c);
    /* The peer has sent its FIN and may still read. True: the connection stays open for sending. Optional:
     * without it the connection is closed then. */
    bool (*half_closed)(struct conn *c);
    /* A frame did not fit into the limits and was not queued. Optional. */
    void (*overflow)(struct conn *c);
    /* Everything queued has left, after the socket had not been writable for a while or while the input is
     * paused (not for what leaves at once otherwise). Optional. */
    void (*drained)(struct conn *c);
};

/* Bounds of what waits for a socket that takes no more; when it takes more, a full queue is sent at once and
 * then asked again. One frame, however large, fits into an empty queue. While all connections of the pool together have more than
 * CONN_POOL_BYTES_MAX queued (a frame counts for each of them), one with a limit of bytes has no more than CONN_SQUEEZED_BYTES:
 * those that read least pay first. */
#define CONN_POOL_BYTES_MAX (1ull << 30)
#define CONN_SQUEEZED_BYTES (256u << 10)
struct conn_limits {
    uint32_t queue_frames_max; /* 0 = none */
    uint64_t queue_bytes_max;  /* 0 = none */
};

/* Per-shard statistics of all its connections: written by the shard, read by anybody (relaxed). */
struct conn_stats {
    _Atomic uint64_t bytes_in, bytes_out, writes, frames_out, queued_bytes;
};

/* Per-shard surroundings of its connections. Memory of closed connections is kept for later ones. */
struct conn_pool;
struct conn_pool *conn_pool_new(struct loop *loop);
/* Closes what is open: `closed` is called for each. Before loop_free(). */
void conn_pool_free(struct conn_pool *pool);
const struct conn_stats *conn_pool_stats(const struct conn_pool *pool);
size_t conn_pool_count(const struct conn_pool *pool);

/* Takes over fd (non-blocking, TCP_NODELAY set by the acceptor). peer may be NULL. */
struct conn *conn_new(struct conn_pool *pool, int fd, const struct sockaddr_storage *peer,
                      const struct conn_protocol *protocol, void *user);
/* Changes what is on top (upgrade). Input that was not used up goes to the new protocol at once, after the
 * current input call has returned. */
void conn_become(struct conn *c, const struct conn_protocol *protocol, void *user);
void *conn_user(const struct conn *c);
struct loop *conn_loop(const struct conn *c);
void conn_set_limits(struct conn *c, struct conn_limits limits);
/* The peer's address as text, without port. */
void conn_peer(const struct conn *c, char out[46]);

/* Queues a reference (takes its own). Returns false if the limits refused it (overflow has been called) or
 * the connection is closing. */
bool conn_send_frame(struct conn *c, struct frame *f);
/* As above but takes over one reference that the caller already holds, refused or not: the fan-out's path. */
bool conn_give_frame(struct conn *c, struct frame *f);
/* These two bypass the limits, for close frames and HTTP responses. Dropped if the connection is closing. */
void conn_send_bytes(struct conn *c, struct str bytes); /* copies */
void conn_force_frame(struct conn *c, struct frame *f); /* takes its own reference */
size_t conn_queued_bytes(const struct conn *c);
size_t conn_queued_frames(const struct conn *c);

/* No input is read while paused (back-pressure on a peer). */
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);
/* Sends what is queued, then FIN, and waits for the peer's FIN (a close() with unread input would reset the
 * connection and could destroy what was sent last); closes then, or after linger_ms whatever happens. No
 * further input is delivered and nothing more is queued. */
void conn_close_after_flush(struct conn *c, uint32_t linger_ms);
/* At once. */
void conn_close(struct conn *c);
bool conn_is_closing(const struct conn *c);
