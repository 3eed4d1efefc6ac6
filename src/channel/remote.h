/* remote.h - operations of a channel as they cross the bus (design, "Cluster").
 *
 *      one payload = one operation, or a run of appends to one message at positions without a hole:
 *
 *      app, channel, stream │ action, message, first position, labels │ name, extras, tags, ids │ "Hello wor" │ 5 1 3
 *                                                                                        joined fragments   their lengths
 *
 * A receiver makes the operations of it again, one by one, so nothing behind it knows where they were committed. Of a run only the
 * newest operation's extras and names travel: what a subscriber would see of the run is what they are.
 *
 * The layout is packed (base/pack.h), begins with its version, and is no wire protocol for anybody else.
 *
 * Threads: pure functions, but for remote_publish(), which makes a publish of env's shard; that is the caller's. Ownership: views of the
 * payload, or of ch and p. Errors: a payload that is none, or of another version, is REMOTE_KINDS or false. Limit: REMOTE_OPERATIONS_MAX
 * operations in a payload; its size is the bus's limit.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "channel/channel.h"

enum { REMOTE_VERSION = 1, REMOTE_OPERATIONS_MAX = 65536 };

/* Every payload on the bus begins with the version and its kind. */
enum remote_kind {
    REMOTE_OPERATION, REMOTE_MEMBER, REMOTE_CONTROL,                         /* published to a topic */
    REMOTE_ASK_MEMBERS, REMOTE_MEMBERS, REMOTE_QUESTION, REMOTE_ANSWER,      /* sent to nodes; a place follows */
    REMOTE_ANNOTATION, REMOTE_HEAD,                                          /* published */
    REMOTE_FORGET,                                                           /* sent */
    REMOTE_COUNT,                                                            /* published */
    REMOTE_ASK_COUNT, REMOTE_COUNT_IS,                                       /* sent */
    REMOTE_LOST,                                                             /* published; nothing follows */
    REMOTE_UPPER,                                                            /* sent; from here on src/session speaks: */
    REMOTE_REVOCATION = REMOTE_UPPER, REMOTE_ASK_ACTOR, REMOTE_ACTOR,
    REMOTE_GIVEN_UP,                                                         /* sent, by the hub; from here on in the order of coming, so that no number changes */
    REMOTE_CONNECTIONS,                                                      /* sent, by src/session */
    REMOTE_KINDS
};
void remote_begin(struct buf *out, enum remote_kind kind);
/* Takes it off the front; REMOTE_KINDS = of another version, or unknown. */
enum remote_kind remote_kind_take(struct str *payload);

struct remote {
    struct str app_id, channel, stream_id; /* stream_id "" = no positions */
    enum store_action action;
    enum data_form form;
    enum stream_status status;
    bool stored, versioned, ephemeral;
    struct message_id message;
    uint64_t first;              /* delivery position of the first operation; 0 = none */
    unsigned window;             /* index of the rollup window that it has been through */
    uint32_t count;              /* operations; more than 1 only for appends */
    uint64_t history;            /* the channel's newest history position after the last */
    int64_t at_ms, created_ms;
    uint32_t appends;            /* of the message, after the last */
    uint64_t message_bytes;      /* accumulated, after the last */
    struct socket_id except;
    struct str event_name;       /* create, ordinary: the event; mutation: the message's current name */
    struct str data;             /* JSON value; appends: the joined fragments without quotes, escaped */
    struct str extras, tags, user_id, client_id, message_id, cache_event;
    struct str lengths;          /* packed: of each fragment in `data`; empty unless count > 1 */
};
void remote_put(struct buf *out, const struct remote *r);
/* The rest of a REMOTE_OPERATION. False if it is none. Views of it. */
bool remote_read(struct str payload, struct remote *r);

/* What of a committed operation goes to other nodes; views of ch and p. */
void remote_of_publish(const struct channel *ch, const struct publish *p, struct remote *r);
/* Operation number i of r, as a publish that is committed already; its texts are copies. fragment: of an append; remote_fragment(). */
struct publish *remote_publish(struct env *env, struct app *app, const struct remote *r, uint32_t i, struct str fragment);
/* The next fragment of a run; *lengths and *data move on. False if they do not agree. */
bool remote_fragment(const struct remote *r, struct str *lengths, struct str *data, struct str *fragment);
