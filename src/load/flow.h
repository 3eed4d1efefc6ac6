/* flow.h - streaming appends: each stream is one request at a time, whose body carries a record per fragment.
 *
 *      stream   request ==[r1][r2][r3]..[rN][status complete][end]==>      acks <==[1..3][4]..[N+1][end]==
 *
 * At most `ahead` records of a stream are not acknowledged; within that it sends the next as soon as it can, all that a
 * turn allows in one write. After appends_per_message records it ends its message and begins the next one, on the same
 * connection.
 *
 * Threads: the loop's. Ownership: as in crowd.h. Errors: counted in `failed` and `wrong`, the first few shown on stderr. Limits: `ahead`
 * records per stream; MARK_STREAMS_MAX streams.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/hist.h"
#include "load/api.h"
#include "load/mark.h"
#include "load/sock.h"

struct flow;
enum { FLOW_SERIAL_MAX = 128 };

struct flow_stream {
    struct io io; /* fd -1 = not connected */
    struct flow *flow;
    struct mark mark;           /* of the newest record */
    struct buf in, out;
    size_t head_bytes;          /* of the response, 0 = not whole yet */
    uint64_t sent, acked;       /* records of the request under way, the terminal one not counted */
    uint64_t *sent_ns;          /* ring by record, `ahead` long */
    uint32_t message, first_index;
    char serial[FLOW_SERIAL_MAX + 1]; /* of the message, "" = not known yet */
    bool ending, idle;
};

struct flow {
    struct wire *wire;
    const struct options *options;
    struct api api;
    struct flow_stream *streams;
    uint64_t count, ahead;
    bool running;
    uint64_t from_ns; /* records sent from then on are measured */
    uint64_t acked, messages, failed, wrong;
    struct hist *ack; /* ns, sent to acknowledged */
    struct buf payload;
};

void flow_init(struct flow *flow, struct wire *wire, const struct options *options);
void flow_start(struct flow *flow);
/* Ends the messages; false if a stream is not through after `seconds`. */
bool flow_end(struct flow *flow, uint64_t seconds);
/* Reads the newest message of each stream back; how many are not what was sent. */
uint64_t flow_verify(struct flow *flow);
void flow_free(struct flow *flow);
