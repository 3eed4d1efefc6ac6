/* conn_internal.h - the structure behind conn.h, shared by conn.c (life, input) and conn_send.c (output).
 *
 * The first cache line is all that a fan-out touches:
 *
 *   offset  size  field
 *   0       16    io            fd and where its events go
 *   16      8     dirty_next
 *   24      4     flags
 *   28      4     queued_frames
 *   32      4     sent_bytes    of the first frame in the queue
 *   36      4     -
 *   40      16    inline_frames, or a malloc'd ring once more than two wait
 *   56      8     pool
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "net/conn.h"

enum { CONN_INLINE_FRAMES = 2, CONN_LINE = 64 };

enum conn_flag {
    CONN_DIRTY = 1 << 0,     /* on the dirty list: has something to send at the end of the turn */
    CONN_BLOCKED = 1 << 1,   /* the socket takes no more; EPOLLOUT will come */
    CONN_RING = 1 << 2,      /* the queue is in the ring */
    CONN_CLOSING = 1 << 3,   /* on the dying list: only `closed` is still to be called */
    CONN_FINISHING = 1 << 4, /* closes once everything has been sent */
    CONN_SHUT = 1 << 5,      /* our FIN has been sent */
    CONN_PAUSED = 1 << 6,
    CONN_HUNG_UP = 1 << 7, /* the kernel has announced a FIN or an error: read until it shows */
    CONN_ENDED = 1 << 8,   /* the peer's FIN has been read */
    CONN_READING = 1 << 9, /* inside conn_read(): `kept` is not where the bytes are */
};

struct conn_ring {
    uint64_t bytes;
    uint32_t first, mask; /* frames at [first, first + queued_frames), modulo mask + 1 */
    struct frame *frames[];
};

struct conn_linger;

struct conn {
    struct io io;
    struct conn *dirty_next; /* also the free list's */
    uint32_t flags;
    uint32_t queued_frames;
    uint32_t sent_bytes;
    union {
        struct frame *inline_frames[CONN_INLINE_FRAMES];
        struct conn_ring *ring;
    };
    struct conn_pool *pool;

    /* The second line and what follows: input, limits, life. */
    const struct conn_protocol *protocol;
    void *user;
    char *kept;          /* input that the protocol has not used up, malloc'd; NULL = none */
    uint32_t kept_bytes; /* in use */
    uint32_t kept_cap;
    struct conn_limits limits;
    struct list link;       /* in pool->open or pool->dying */
    struct list ready_link; /* in pool->ready: input to look at although no event will come; zeroed = not */
    struct conn_linger *linger;
    unsigned char peer_address[16];
    int peer_family; /* AF_INET, AF_INET6, or 0 = unknown */
};
_Static_assert(offsetof(struct conn, protocol) == CONN_LINE, "a send touches one cache line");
_Static_assert(sizeof(struct conn) <= 3 * CONN_LINE, "an idle connection is cheap");

struct conn_pool {
    struct loop *loop;
    struct turn_hook hook; /* sends what is dirty, then buries what is dying */
    struct task resume;    /* reads those that are ready */
    enum { RESUME_IDLE, RESUME_ASKED } resume_state;
    struct conn *dirty_first, *dirty_last;
    struct list open, ready, dying;
    size_t count; /* open and dying */
    struct conn *free;
    struct conn_slab *slabs;
    char *scratch;
    struct frame *spent; /* sent spent_count times, references not given back yet; NULL = none */
    uint32_t spent_count;
    /* Since stats were last published. */
    uint64_t bytes_in, bytes_out, writes, frames_out;
    uint64_t queued_bytes; /* of all connections */
    struct conn_stats stats;
};

/* conn_send.c */
void conn_flush(struct conn_pool *pool, struct conn *c);
void conn_flush_dirty(struct conn_pool *pool);
void conn_mark_dirty(struct conn *c);
/* Forgets the whole queue. */
void conn_drop_queue(struct conn *c);
/* EPOLLOUT came. */
void conn_writable(struct conn *c);

/* conn.c */
void conn_finish(struct conn *c);
void conn_ready_again(struct conn *c);
