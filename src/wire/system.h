/* system.h - the frames that the server says in its own name (chapter 1, sections 3, 5, 7.4, 8, 11).
 *
 * Each returns one text frame with one reference, in the family of `protocol` (pusher: / sockudo:). On V2
 * every frame but ping and pong carries a random top-level message_id, taken from `random`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/random.h"
#include "wire/envelope.h"

struct socket_id {
    uint64_t a, b; /* printed "a.b"; both 0 = none */
};
enum { SOCKET_ID_TEXT = 24 };
#define SOCKET_ID_PART_MAX 10000000000u
void socket_id_print(char out[SOCKET_ID_TEXT], struct socket_id id);
/* Only the spelling that socket_id_print() gives; "0.0" is nobody's. */
bool socket_id_parse(struct str text, struct socket_id *id);
static inline bool socket_id_eq(struct socket_id x, struct socket_id y)
{
    return x.a == y.a && x.b == y.b;
}

struct wire_to { /* whom a system frame is for */
    enum wire_protocol protocol;
    struct random *random;
};

struct frame *frame_established(struct wire_to to, struct socket_id id, unsigned activity_timeout_s);
struct frame *frame_ping(enum wire_protocol protocol);
struct frame *frame_pong(enum wire_protocol protocol);
/* channel absent = none. Registry codes get their symbolic name as data.name (codes.h). */
struct frame *frame_error(struct wire_to to, int code, struct str message, struct str channel);
/* type "AuthError", "LimitReached" or "SubscriptionError" and status come from the code (chapter 1, 5.6). */
struct frame *frame_subscription_error(struct wire_to to, struct str channel, int code, struct str message);

struct subscribed {
    struct str channel;
    struct str presence; /* JSON object text {"ids":..,"hash":..,"count":..}; absent = no presence channel */
    bool has_attach_serial;
    uint64_t attach_serial;
    struct str stream_id; /* absent = no position */
    uint64_t serial;      /* with stream_id; 0 is a position too */
};
/* attach_serial and position are V2's; V1 gets neither. */
struct frame *frame_subscribed(struct wire_to to, const struct subscribed *s);
/* internal event `event` ("member_added", "member_removed") whose data is a JSON string of `data_json`. */
struct frame *frame_internal(struct wire_to to, struct str event, struct str channel, struct str data_json);
/* The same with data as it is ("watchlist_events", meta events). */
struct frame *frame_internal_object(struct wire_to to, struct str event, struct str channel,
                                    struct str data_json);
/* event in the protocol's own family ("signin_success"), data an object. channel absent = none. position:
 * stream_id absent = none. */
struct frame *frame_own(struct wire_to to, struct str event, struct str channel, struct str data_json,
                        struct str stream_id, uint64_t serial);
/* As frame_own but data is a JSON string that contains data_json. */
struct frame *frame_own_string(struct wire_to to, struct str event, struct str channel, struct str data_json);

/* What `data` was when it came: JSON, or (binary formats only) bytes, which stand in JSON as an array of their numbers. */
enum data_form { DATA_JSON, DATA_BYTES };

enum family { FAMILY_NONE, FAMILY_COMMAND, FAMILY_INTERNAL }; /* pusher:/sockudo:, *_internal: */

/* An inbound frame, read once: everything else stays raw (chapter 1, 2.3-11). */
struct client_message {
    struct str event; /* text; the family prefix of a command removed into `family` */
    enum family family;
    struct str channel; /* text or absent: the top-level key */
    struct str data;    /* JSON value text or absent */
    enum data_form form; /* of data */
    struct str extras, message_id;
    struct str raw;
};
/* NULL, or the reason for error 4000; the caller puts "Invalid message format: Decode failed: " in front, or,
 * when the result is client_message_no_event itself (compare pointers), "Invalid event name: ". Texts in
 * arena or views of `text`. */
extern const char client_message_no_event[];
const char *client_message_read(struct str text, struct arena *arena, struct client_message *out);
/* `data` of a command: the object itself, or the object inside a JSON string (decoded into the arena). Absent
 * if neither. */
struct str command_data(struct str data, struct arena *arena);
