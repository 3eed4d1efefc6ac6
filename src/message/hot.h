/* hot.h - the newest part of one channel, in memory: what a client that was away for a moment has missed (chapter 3, 4.7).
 *
 * Entries in order of position, without a hole. A frame is what was sent live, by reference. Appends of one message are kept
 * as a run: the joined text, and where each fragment ends in it; so a wanted position inside a run cuts it.
 *
 *      floor 40   [41 frame][42..57 run of m1 "Hello wor"][58 frame][59..61 run of m2 "ok"]   newest 61
 *
 *      slice (44, 61]:      [45..57 " wor"] [58] [59..61]
 *
 * It is filled by whoever sees the channel's operations in order of position: the owner when they are committed, a node with
 * subscribers when they come over its bus (the bus header has range and fragment lengths). What does not follow the newest
 * position, or is of another stream, empties it first: it never has a hole.
 *
 * Limits: frames_max runs and frames, bytes_max bytes, ttl_ms; the oldest go first. Threads: one. A slice may go anywhere.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "message/slice.h"

struct hot;
struct hot_limits {
    uint64_t frames_max, bytes_max, ttl_ms;
};

/* channel: copied. */
struct hot *hot_new(struct str channel, struct hot_limits limits);
void hot_free(struct hot *h);
void hot_clear(struct hot *h);

struct hot_frame {
    uint64_t delivery;
    uint64_t history;      /* of its message; 0 = no durable history */
    bool versioned;        /* a create or mutation of a versioned message: not to be shown on its own to everybody */
    struct frame *frame;   /* V2; a reference is taken */
    struct str message_id, event_name, tags; /* copied, as all texts here */
};
void hot_put_frame(struct hot *h, struct str stream_id, const struct hot_frame *f, uint64_t now_ms);

struct hot_append {
    uint64_t delivery;
    struct message_id message;
    int64_t at_ms;         /* label of the version */
    struct str body;       /* escaped, without quotes */
    struct str name, user_id, tags, extras;
};
void hot_put_append(struct hot *h, struct str stream_id, const struct hot_append *a, uint64_t now_ms);

/* Drops what is older than the ttl. */
void hot_expire(struct hot *h, uint64_t now_ms);
/* Drops the oldest entry; false if there is none. */
bool hot_drop_oldest(struct hot *h);
bool hot_is_empty(const struct hot *h);
size_t hot_bytes(const struct hot *h);
uint64_t hot_evicted(struct hot *h); /* entries that a limit, not their age, has dropped since the last call */

/* Positions from which a resume can be served: [floor, newest]. False if it is of another stream or empty. */
bool hot_covers(const struct hot *h, struct str stream_id, uint64_t *floor, uint64_t *newest);

enum hot_want {
    HOT_ANY,       /* fragments are fine */
    HOT_WHOLE,     /* no appends: the client wants whole texts */
    HOT_ORDINARY,  /* no versioned messages */
};
/* The frames of (from, to] with one reference, shared with whoever asked for the same before; NULL if the buffer does not have
 * them all, or has some that are not wanted. */
struct slice *hot_slice(struct hot *h, uint64_t from, uint64_t to, enum hot_want want);
