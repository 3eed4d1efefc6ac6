/* crowd.h - subscribers that keep what an SDK keeps, so that they can be cut off and come back.
 *
 * Each has the position of the last frame and a digest of all text it was sent, fragment after fragment: two that listened to the
 * same channel have the same digest, or one of them missed something, or got something twice.
 *
 * Threads: the wire's loop. Ownership: the crowd is its user's, followers are its own; wire, options and peer are borrowed and outlive it.
 * Errors: counted (lost, refused, order_errors, serial_errors), never fatal. Limit: as many connect at a time as --at-once says.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/hist.h"
#include "load/mark.h"
#include "load/options.h"
#include "load/peer.h"
#include "load/wsc.h"

struct transcript {
    uint64_t hash, bytes; /* FNV-1a over the fragments, however they were framed */
};

struct follower {
    struct wsc conn;
    struct crowd *crowd;
    unsigned channel;
    bool ready;            /* subscribed; with a resume: told how it went */
    bool coming_back;
    char stream_id[37];
    uint64_t serial;       /* newest position */
    uint32_t last;         /* index of the newest mark; 0 = none */
    struct transcript text;
    uint64_t opened_ns;
};

struct crowd {
    struct wire *wire;
    const struct options *options;
    const struct peer *peer;
    struct follower *followers;
    uint32_t count, begun, ready, lost;
    uint64_t begun_ns;            /* of the first connection since the cut */
    uint32_t hot, cold, refused;  /* how resumes ended */
    uint64_t frames, replayed;    /* replayed: as resume_success says */
    uint64_t order_errors, serial_errors;
    uint64_t from_ns, to_ns;      /* marks of [from, to) are recorded */
    struct hist *latency;         /* ns from mark to read */
    struct hist *caught_up;       /* ns from connect to resume_success */
};

/* Follower i is of channel i modulo the number of channels. */
void crowd_init(struct crowd *crowd, struct wire *wire, const struct options *options, const struct peer *peer, uint32_t count);
void crowd_free(struct crowd *crowd);
/* Begins connections, as long as not too many are under way; call it every turn until crowd_is_ready(). */
void crowd_connect(struct crowd *crowd);
bool crowd_is_ready(const struct crowd *crowd);
/* All connections end now, without a word; crowd_connect() then brings them back with subscribe and resume. */
void crowd_cut(struct crowd *crowd);
