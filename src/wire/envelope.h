/* envelope.h - one message on its way to subscribers, and its encoding for each protocol (chapter 1, 7).
 *
 * Encoded once per (protocol, append mode) into a frame, then only referenced. Fields are written in the
 * order of chapter 1, 7.1; absent fields are left out, never null. `data`, `tags` and `extras` are JSON text
 * that passes through byte for byte.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "net/frame.h"
#include "base/arena.h"
#include "wire/item.h"

enum wire_protocol { WIRE_V1, WIRE_V2 };
/* What a connection gets of an append: nothing, the fragment, or the whole text (chapter 3, 1.7). */
enum lane_mode { LANE_V1, LANE_DELTA, LANE_FULL };

/* The five facts of chapter 3, 1.4 that travel in extras.headers of a versioned message. */
struct runtime_headers {
    enum store_action action;  /* CREATE, UPDATE, DELETE, APPEND */
    struct message_id message; /* makes sockudo_message_serial */
    uint64_t delivery;         /* of the version: makes sockudo_version_serial */
    int64_t version_at_ms;
};

struct envelope {
    struct str event, channel; /* text; prefix families are rewritten by the encoder (chapter 1, 1.4) */
    struct str data;           /* JSON value text; absent = no data key */
    struct str name, user_id;  /* text */
    struct str tags;           /* JSON object text */
    struct str message_id, stream_id;
    uint64_t serial;                       /* 0 = none */
    struct str extras;                     /* JSON object text as published */
    const struct runtime_headers *headers; /* NULL = not versioned */
    /* data = '"' data_body '"': joined fragments of appends, already escaped; used when data is absent. */
    struct str data_body;
    unsigned strip; /* STRIP_*: members of extras whose feature is off (chapter 1, 7.3) */
};
enum { STRIP_EPHEMERAL = 1, STRIP_ECHO = 2 };

/* One text frame with one reference. V1 drops what chapter 1, 7.2 says; that V1 gets no mutations is the
 * caller's business. Of `extras` a client never sees idempotencyKey (in either spelling), nor, among its
 * headers, those that only the server may write: the five runtime ones and sockudo_append_fragment. All else
 * passes through byte for byte; an object of which nothing is left is left out. The runtime headers come
 * first. */
struct frame *envelope_frame(const struct envelope *e, enum wire_protocol protocol);
/* The same JSON, appended to out. */
void envelope_json(struct buf *out, const struct envelope *e, enum wire_protocol protocol);

/* What the server itself reads from `extras` (chapter 1, 7.1; chapter 4, 2.2). */
struct extras_facts {
    bool ephemeral;
    int echo;                    /* -1 not given, 0, 1 */
    struct str idempotency_key;  /* text */
    struct str headers;          /* JSON object text, absent if none */
    struct str transport, codec; /* extras.ai.*: JSON object text, absent if none */
    bool has_ai;
    enum stream_status status;        /* transport.status */
    bool codec_or_transport_terminal; /* chapter 3, 1.5: complete or cancelled, codec read first */
};
/* NULL, or static text saying what is wrong with its shape ("extras.headers values must be strings, numbers
 * or booleans"). Decoded texts go to the arena. `extras` absent: all defaults. */
const char *extras_read(struct str extras, struct arena *arena, struct extras_facts *facts);

/* Event name of a mutation frame: "sockudo:message.append" and so on; operation text "message.append"; short
 * "append". */
struct str action_event(enum store_action action);
struct str action_operation(enum store_action action);
struct str action_word(enum store_action action);

/* A stored item as subscribers see it when it is replayed (live shape; append = fragment) or shown whole
 * (snapshot, chapter 3, 1.4). Fills e and headers from item; texts that must be made are made in the arena.
 * `fresh_id`: the message_id for a snapshot of a mutated message. */
void envelope_of_item(struct envelope *e, struct runtime_headers *headers, const struct store_item *item,
                      struct str channel, struct str stream_id, struct arena *arena);
void envelope_of_snapshot(struct envelope *e, struct runtime_headers *headers, const struct store_item *item,
                          struct str channel, struct str stream_id, struct str fresh_id, struct arena *arena);

/* A read item of the HTTP API (chapter 3, 1.4): latest, versions and history pages. aggregate: the newest
 * version shown whole (header operation message.update when its last operation was an append). An ordinary
 * message (no versions) is written as a plain V2 wire frame. */
void read_item_json(struct buf *out, const struct store_item *item, struct str channel, struct str stream_id,
                    bool aggregate);
