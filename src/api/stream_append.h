/* stream_append.h - one streaming append while it runs; shared by stream_append.c and stream_ack.c.
 *
 *      STARTING --created or found--> RUNNING --body ends--> ENDING --nothing in flight--> (freed)
 *                                        \--refused------------^
 *
 *      bytes -> parser -> [skip what is stored] -> hub_publish -> ring -> acks, in order
 *
 * Lives in its request's arena, until the request is finished.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "api/handlers.h"
#include "api/lookup.h"
#include "api/publish.h"
#include "api/stream_params.h"

/* Records in flight per request; the socket is not read while there are so many, until half of them are answered. */
enum { STREAM_IN_FLIGHT_MAX = 256 };

struct in_flight {
    struct publish *publish;
    uint64_t bytes; /* of the text, with it */
    bool done;
};

/* Acknowledged, not said yet: records [first, last], or nothing if first is 0. */
struct ack {
    uint64_t first, last, delivery, bytes;
    bool duplicate;
};

struct append_stream {
    struct list link; /* in api->streams */
    struct call *call;
    struct stream_params params;
    struct event event;          /* that creates the message */
    struct channel_name channel;
    struct channel_policy policy;
    struct message_id message;
    struct str extras;           /* of the message: what a status of its own is put into */
    enum { STREAM_STARTING, STREAM_RUNNING, STREAM_ENDING } phase;
    struct stream_parser parser;
    bool paused;                 /* the body waits for records in flight */
    bool ended;                  /* the last record has been taken */
    enum stream_status end;      /* with which status; STREAM_NONE: none, the message stays open */
    uint64_t arrived_ns;         /* of the newest bytes */
    uint64_t at;                 /* bytes of the text in front of the next record */
    struct str stored;           /* text found at the start; what of it is at or behind `at` is sent once more */
    uint64_t stored_delivery;
    enum stream_status stored_status;
    uint64_t seq;                /* records taken */
    uint64_t writer;             /* for the store: who we are */
    bool follows;                /* we have written already */
    struct in_flight *ring;      /* [ring_first, ring_first + ring_count), modulo ring_size, a power of two */
    unsigned ring_first, ring_count, ring_size;
    uint64_t settled;            /* records answered, in order */
    uint64_t settled_bytes;
    struct ack ack;
    struct buf lines;            /* of the response, not sent yet */
    struct buf rest;             /* of a record that is stored in part: what is not */
    bool end_said;
    struct task turn;            /* says what is acknowledged, and ends what has ended */
    bool turn_asked;
    struct failure refused;      /* what ended it */
    uint64_t refused_seq;
};

/* stream_ack.c */
/* {"message_serial":..}: the first line. */
void ack_message(struct append_stream *s, uint64_t delivery, uint64_t bytes, bool duplicate);
/* The next record in order is stored at this position. */
void ack_record(struct append_stream *s, uint64_t delivery, uint64_t bytes, bool duplicate);
/* What has not been said yet, as lines. */
void ack_flush(struct append_stream *s);
/* The last line: how it ended. */
void ack_end(struct append_stream *s);
