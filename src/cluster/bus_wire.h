/* bus_wire.h - what the buses of a fleet say to each other.
 *
 *      offset  size
 *      0       1     BUS_WIRE_VERSION
 *      1       1     enum bus_kind
 *      2       16    node id
 *      18      n     body
 *
 *      kind        goes to   body
 *      PUBLISHED   topic     the payload
 *      SENT        all, one  the payload
 *      HELLO       all       nonce, name, topics, generation, interests    I am here: answer with STATE
 *      STATE       one       nonce, name, topics, generation, of which generation of yours it is the answer, interests
 *      ANNOUNCE    all       since, generation, changes              mine were those of `since`, these are changed: answer with ACK
 *      ACK         one       generation                              of yours, which I know now
 *      ASK         one                                               send me your STATE
 *      HEARTBEAT   all       nonce, generation                       whoever knows another generation asks
 *      BYE         all
 *
 * Numbers are varints (base/pack.h), the nonce is 8 bytes as they are, the name a text of at most BUS_NAME_MAX bytes. interests, changes: a count, then for each topic, ascending,
 * the distance from the topic before (from 0) and window + 1, 0 = does not listen.
 *
 * Threads: pure functions. Ownership: what is read are views of the bytes. Errors: bus_read() is false, with no reason: a fleet of one
 * version has none, and the bus counts them. Limits: BUS_TOPICS_MAX topics, window indexes up to BUS_WINDOW_MAX.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "cluster/bus.h"

enum {
    BUS_WIRE_VERSION = 2,
    BUS_ID_BYTES = 16,
    BUS_NONCE_BYTES = 8,
    BUS_NAME_MAX = 128,
    BUS_HEAD_BYTES = 2 + BUS_ID_BYTES,
    BUS_WINDOW_MAX = 200, /* of bus_listen() */
};

enum bus_kind { BUS_PUBLISHED = 1, BUS_SENT, BUS_HELLO, BUS_STATE, BUS_ANNOUNCE, BUS_ACK, BUS_ASK, BUS_HEARTBEAT, BUS_BYE };

struct bus_message {
    enum bus_kind kind;
    const char *node;         /* BUS_ID_BYTES */
    struct str payload;       /* PUBLISHED, SENT */
    const char *nonce;        /* BUS_NONCE_BYTES */
    struct str name;          /* HELLO, STATE */
    uint32_t topics;          /* how many there are */
    uint64_t since, generation;
    uint64_t answers;         /* STATE: the receiver's generation that it answers */
    struct str interests;     /* for bus_interest_next() */
};

/* Appends the head, with the kind and node of m. */
void bus_put_head(struct buf *out, enum bus_kind kind, const char *node);
/* Appends all of m but PUBLISHED and SENT's payload, which may be appended behind it. */
void bus_put(struct buf *out, const struct bus_message *m);
/* False if the bytes are no such message; what m gets are views. Interests are checked: topics below BUS_TOPICS_MAX, ascending,
 * windows up to BUS_WINDOW_MAX. */
bool bus_read(struct str bytes, struct bus_message *m);

struct bus_interest {
    unsigned topic;
    int window; /* BUS_NOBODY = does not listen */
};
/* The next of *in, which moves on; `before`: zeroed at first. False at the end. */
struct bus_interests {
    struct str in;
    uint64_t left;
    uint64_t next; /* the smallest topic that may follow */
};
bool bus_interests_begin(struct bus_interests *it, struct str interests);
bool bus_interest_next(struct bus_interests *it, struct bus_interest *interest);
/* Appends `count` interests, ascending by topic. */
void bus_put_interests(struct buf *out, const struct bus_interest *interests, size_t count);

/* 36 characters of a UUID to 16 bytes and back; false if it is none (lower case only). */
bool bus_id_read(struct str uuid, char id[BUS_ID_BYTES]);
void bus_id_write(const char id[BUS_ID_BYTES], char uuid[BUS_NODE_SIZE + 1]);
