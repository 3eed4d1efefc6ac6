/* feed.h - publishers: keep-alive connections that send marked payloads, in a closed loop or on a schedule.
 *
 * A stream is a connection with an index of its own payloads; it has one request under way at a time.
 *
 *   closed loop  a stream sends its next request when it got the answer; latency runs from the send
 *   schedule     request i is due at start + i / rate, whoever sends it. If all streams are busy it waits,
 * and its latency runs from when it was due: a slow server cannot slow down the question (no coordinated
 *                omission)
 *   by hand      feed_once(), for who decides himself
 *
 * Appends: a stream opens a message, appends to it, and opens the next one after appends_per_message. A
 * request that the server did not take (503, or a lost connection) is repeated as it was, same op_id, same
 * latency clock.
 *
 * Threads: the wire's loop. Ownership: as in crowd.h. Errors: what is not repeated is counted in `failed`, the first few are shown on
 * stderr. Limits: MARK_STREAMS_MAX streams; a stream has one request under way, so a schedule that the server cannot keep up
 * with shows in `late`, not in memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/hist.h"
#include "load/api.h"
#include "load/httpc.h"
#include "load/mark.h"
#include "load/peer.h"

enum feed_kind { FEED_PUBLISH, FEED_APPEND };
enum stream_stage { STREAM_NEW, STREAM_CREATING, STREAM_GROWING, STREAM_OPEN };
enum { SERIAL_TEXT_MAX = 128 };

struct stream {
    struct httpc http;
    struct feed *feed;
    struct stream *next; /* in the queue of those that are free */
    struct timer again;  /* repeats a request that was not taken */
    struct mark mark;    /* of the request under way, or the last one */
    struct buf request;  /* that one's bytes */
    uint64_t grown_bytes, appended;
    uint32_t message, op; /* number of the message, and of the operation in it */
    uint32_t first_index; /* of the message */
    enum stream_stage stage;
    char serial[SERIAL_TEXT_MAX + 1];
};

struct feed {
    struct wire *wire;
    const struct options *options;
    const struct peer *peer;
    enum feed_kind kind;
    struct api api;
    struct stream *streams;
    uint64_t count;
    struct stream *free_first, *free_last;
    uint64_t free_count;
    struct buf payload;
    bool running;                             /* streams send by themselves */
    bool preparing;                           /* streams stop once their message is open and grown */
    uint64_t rate_per_s, start_ns, scheduled; /* schedule: request number `scheduled` is next */
    struct io timer;
    uint64_t issued_max;     /* 0 = none */
    uint64_t from_ns, to_ns; /* requests due in [from, to) are recorded */
    uint64_t issued, acked, creates, failed, repeated;
    /* of the payload that was acknowledged last: bytes of what the server has to handle */
    uint64_t request_bytes, answer_bytes, canonical_bytes, body_bytes;
    struct hist *ack;  /* ns, due to answered */
    struct hist *late; /* ns, due to sent */
};

void feed_init(struct feed *feed, struct wire *wire, const struct options *options, const struct peer *peer,
               enum feed_kind kind, uint64_t streams);
/* Opens (and grows) the first message of each stream. False, with a line on stderr, when that fails. */
bool feed_prepare(struct feed *feed);
/* rate 0: closed loop. issued_max 0: until feed_stop(). */
void feed_run(struct feed *feed, uint64_t rate_per_s, uint64_t issued_max);
void feed_stop(struct feed *feed);
/* Sends one now. False if no stream is free. */
bool feed_once(struct feed *feed);
/* Turns the loop until every request is answered; false after `seconds`. */
bool feed_drain(struct feed *feed, uint64_t seconds);
void feed_free(struct feed *feed);
