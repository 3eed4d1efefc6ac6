/* httpc.h - a keep-alive HTTP/1.1 client connection with one request under way at a time.
 *
 * Understands what API servers answer: a status line, Content-Length or chunks. When the server ends the
 * connection the request under way gets status 0; the next request connects anew.
 *
 * Threads: the loop's. Ownership: request bytes are copied, the body lives for the call. Limits: none: it trusts the server with the size
 * of an answer, which is kept whole until done().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "load/sock.h"

struct httpc {
    struct io io; /* fd -1 = not connected */
    struct wire *wire;
    /* The response to the request under way; the connection is free for another one then. */
    void (*done)(struct httpc *c, unsigned status, struct str body);
    struct buf in, out;
    size_t answer_bytes; /* of the last response, head and body */
    bool connecting, busy;
};

void httpc_init(struct httpc *c, struct wire *wire,
                void (*done)(struct httpc *c, unsigned status, struct str body));
/* Connects if it is not; !busy (asserted). */
void httpc_send(struct httpc *c, struct str request);
void httpc_reset(struct httpc *c);
