/* row.h - keys and values of the engine, byte by byte.
 *
 * Keys (all integers big endian, so that byte order is number order); cid = the channel's number:
 *
 *   'C' app-id 00 channel         channel record     made once, written again at checkpoints
 *   'F' cid8                      floor record       what retention and purge have removed, and the counters then
 *   'L' cid8 delivery8            row                one per create, ordinary message or mutation: the log
 *   'H' cid8 history8             place in history   of creates and ordinary messages
 *   'M' cid8 history8             message head       of mutated messages, when folded
 *   'S' cid8 history8 segment4    segment            the text of up to 64 rows, and which rows
 *   'O' cid8 history8             open stream        while its status is streaming
 *   'R' cid8 key16                receipt            of creates and ordinary messages, until it expires
 *   'U' app-id 00 channel         unhealthy          channels whose rows cannot be trusted: format, enum stream_fault
 *   'n' bytes                     note               of the server itself: format, then its value as it came
 *   'Q' cid8 history8             dropped receipts   of mutations whose rows retention has removed, for 24 hours
 *   'N'                           next cid (8 bytes)
 *   'B'                           boot id of the machine while the store is open with sync = interval
 *
 * Values are fields in the order of the structures below, integers and texts as base/pack.h has them. The first byte of every value is its format, ROW_FORMAT.
 *
 * An append costs exactly one put: its row. The receipt of a mutation is part of it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "store/store.h"

enum { ROW_FORMAT = 1, KEY_MAX = 32, DROPPED_RECEIPT_SIZE = 40 };

struct key {
    char bytes[KEY_MAX];
    size_t n;
};
struct key key_of(char kind, uint64_t cid);
struct key key_of2(char kind, uint64_t cid, uint64_t number);
struct key key_segment(uint64_t cid, uint64_t history, uint32_t segment);
struct key key_receipt(uint64_t cid, struct hash128 receipt);
static inline struct str key_str(const struct key *k)
{
    return str_make(k->bytes, k->n);
}
uint64_t key_u64(struct str key, size_t at); /* eight bytes big endian at an offset */

struct row { /* one operation */
    enum store_action action;
    enum stream_status status;     /* after it */
    uint64_t history, create;      /* the message: its place in history, delivery of its create */
    uint64_t previous;             /* delivery of the message's version before; 0 = none */
    uint64_t name_at, extras_at;   /* deliveries of the rows that hold the current name and extras; 0 = none */
    int64_t published_ms, at_ms;
    struct hash128 receipt, fingerprint; /* receipt zero = none (then no fingerprint is stored) */
    bool replaces;                 /* data replaces (or, absent, clears) the text so far */
    struct str event_name, data, extras, message_id, client_id, user_id, description, metadata, tags;
};
void row_put(struct buf *out, const struct row *row);
/* Views into value. False if it is not a row (damage). */
bool row_read(struct str value, struct row *row);

struct channel_record {
    uint64_t cid;
    char stream_id[STREAM_ID_SIZE + 1];
    uint64_t checkpoint;           /* every message head is complete up to this delivery */
    /* When it was written: newest positions given, and what was ever stored. */
    uint64_t delivery, history, bytes_ever;
    uint64_t window_ms, versions_window_ms; /* retention that the newest write asked for; 0 = keep */
};
void channel_record_put(struct buf *out, const struct channel_record *r);
bool channel_record_read(struct str value, struct channel_record *r);

struct floor_record {
    uint64_t replay_floor, oldest_history; /* oldest retained; newest + 1 if none is */
    uint64_t bytes_evicted, messages_evicted;
    /* The counters when it was written: rows that would say so may be among those removed. */
    uint64_t delivery, history, bytes_ever;
};
void floor_put(struct buf *out, const struct floor_record *r);
bool floor_read(struct str value, struct floor_record *r);

struct place { /* 'H' */
    uint64_t create, size;
    int64_t published_ms;
};
void place_put(struct buf *out, const struct place *p);
bool place_read(struct str value, struct place *p);

struct head { /* 'M': what later operations on a message must know, never its text */
    uint64_t create, last, previous_fold; /* deliveries: create, newest version, newest version that is in a segment */
    uint64_t name_at, extras_at;
    uint64_t bytes;                /* decoded length of its data */
    uint64_t size;                 /* what retention counts */
    uint32_t appends, segments;
    int64_t published_ms, at_ms;
    enum stream_status status;
    enum store_action action;      /* of the newest version */
    bool is_string, has_data;
    struct str name, extras, user_id, tags;
    uint64_t base;                 /* oldest version that is left, an aggregate which holds what the create held; 0 = the create */
};
void head_put(struct buf *out, const struct head *h);
bool head_read(struct str value, struct head *h);

struct segment {
    bool replaces;                 /* the text before does not count any more */
    bool is_string;                /* text is an escaped JSON string body, else one JSON value; empty value = no data */
    struct str text;
    uint32_t rows;
    struct str deliveries;         /* varints: the first delivery, then differences */
};
void segment_put(struct buf *out, const struct segment *s);
bool segment_read(struct str value, struct segment *s);

struct receipt {
    struct hash128 fingerprint;
    uint64_t delivery, history;
    int64_t expires_ms;            /* wall clock */
};
void receipt_put(struct buf *out, const struct receipt *r);
bool receipt_read(struct str value, struct receipt *r);

enum { DROPPED_RECEIPT_MS = 24 * 3600 * 1000 };
struct dropped_receipts {
    int64_t expires_ms;            /* of the newest */
    uint64_t count;
    struct str entries;            /* key (16 bytes), fingerprint (16), delivery (8, big endian) */
};
void dropped_receipts_put(struct buf *out, const struct dropped_receipts *d);
bool dropped_receipts_read(struct str value, struct dropped_receipts *d);
