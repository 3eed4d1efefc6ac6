/* redis_link.h - one connection to a Redis or a Sentinel: bytes of commands out, replies in.
 *
 * Debian's hiredis has no TLS, and its output buffer no bound: so of hiredis only the reader of replies is used, here and by those who
 * look at its redisReply. Socket, TLS and the output are ours.
 *
 * Life: redis_link_open() -> opened() -> reply()* -> failed(). failed() comes at most once for each open, and the link is closed then;
 * after redis_link_close() nothing comes. Opening and closing are allowed from any of its calls.
 * Threads: the loop's; names are looked up in a thread of their own, which posts to the loop's mailbox, perhaps after the link was
 * closed: whoever frees the loop runs what is left there. Limits: a reply of LINK_REPLY_MAX bytes (failed()); `out` is bounded by whoever fills it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <hiredis/hiredis.h>

#include "base/buf.h"
#include "net/loop.h"
#include "net/tls.h"

enum { LINK_REPLY_MAX = 2 << 20, LINK_CONNECT_MS = 5000 };

enum link_state { LINK_CLOSED, LINK_CONNECTING, LINK_SHAKING_HANDS, LINK_OPEN };

struct redis_link {
    struct loop *loop;
    void *user;
    void (*opened)(struct redis_link *link);
    void (*reply)(struct redis_link *link, const redisReply *reply);
    void (*flushed)(struct redis_link *link); /* all of `out` is written */
    void (*failed)(struct redis_link *link, struct str why);

    enum link_state state;
    struct io io;
    uint32_t events; /* that it is polled for */
    struct lookup *lookup;                /* of the host's addresses; NULL = none under way */
    struct addrinfo *addresses, *address; /* of the host; the one being tried */
    struct tls_client *tls_client;        /* NULL = no TLS; borrowed */
    struct tls *tls;
    char *host;
    uint16_t port;
    redisReader *reader;
    struct buf out;
    size_t out_at;          /* what is before has been written */
    struct timer late;      /* connecting takes too long */
    struct task again;      /* there is more to read than one turn may */
    bool again_asked;
};

/* Zeroed but for the first members, once. */
void redis_link_init(struct redis_link *link);
/* The answer is opened() or failed(), never before this returns. */
void redis_link_open(struct redis_link *link, struct str host, uint16_t port, struct tls_client *tls);
void redis_link_close(struct redis_link *link);
/* Writes what is in `out`, as far as it goes. */
void redis_link_flush(struct redis_link *link);
static inline size_t redis_link_pending(const struct redis_link *link)
{
    return link->out.n - link->out_at;
}

/* Appends a command to `out`. */
void redis_command(struct redis_link *link, const struct str *words, size_t count);
