/* swarm.h - many subscribers, each of which checks every frame it gets.
 *
 * Of every stream a subscriber expects the indices of its marks one after the other: a hole, a repetition or
 * a step back is an order error (in append mode `full` a frame repeats what came before; only what is new
 * counts). The wire `serial` of V2 frames must grow in each channel of a connection.
 *
 * Connection i belongs to group i modulo --groups and has all channels of that group: channel c is in group c modulo
 * --groups. Without --groups there are as many as channels, and each connection has one.
 *
 * Threads: the wire's loop. Ownership: as in crowd.h. Errors: counted (failed, lost, order_errors, serial_errors), `why` has the last one.
 * Limit: as many connect at a time as swarm.c's CONNECTING_MAX.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/hist.h"
#include "load/options.h"
#include "load/peer.h"
#include "load/mark.h"
#include "load/wsc.h"

struct subscriber {
    struct wsc conn;
    struct swarm *swarm;
    struct last {
        uint64_t serial; /* newest wire serial; 0 = none */
        uint32_t index;  /* newest of that stream; 0 = none */
    } *last;         /* by stream / groups */
    uint32_t slots;  /* of last[] */
    uint32_t index;
    uint32_t subscribed; /* channels that have said so */
    bool ready; /* subscribed, or established if only that is wanted */
};

struct swarm {
    struct wire *wire;
    const struct options *options;
    const struct peer *peer;
    struct subscriber *subscribers;
    bool idle;               /* connect only, subscribe to nothing */
    uint64_t from_ns, to_ns; /* marks of [from, to) are recorded */
    uint64_t begun_ns;       /* of the ramp */
    uint32_t begun, ready;   /* connections */
    uint32_t failed;         /* that never became ready */
    uint32_t lost;           /* that were ready and closed */
    uint64_t deliveries;     /* marks that were new */
    uint64_t frames;         /* that had a mark */
    uint64_t bytes;          /* of those frames */
    uint64_t order_errors, serial_errors;
    struct hist *latency; /* ns from mark to read */
    char why[64];         /* the last failure */
};

void swarm_init(struct swarm *swarm, struct wire *wire, const struct options *options,
                const struct peer *peer);
/* Opens all connections at the ramp's pace and turns the loop until each is ready. False, with a line on
 * stderr, if some failed or nothing moved for 30 s. */
bool swarm_start(struct swarm *swarm);
void swarm_free(struct swarm *swarm);
