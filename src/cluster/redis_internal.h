/* redis_internal.h - what redis.c and redis_open.c share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "cluster/bus_internal.h"
#include "cluster/redis_link.h"

enum redis_state {
    REDIS_WAITING,   /* for the next attempt */
    REDIS_ASKING,    /* a Sentinel */
    REDIS_GREETING,  /* connecting, AUTH and so on */
    REDIS_UP,
};

struct redis {
    struct bus *bus;
    struct redis_config options; /* in bus.arena */
    enum redis_state state;
    struct redis_link ask, pub, sub;
    unsigned ask_left, pub_left, sub_left; /* greetings that are not answered yet */
    size_t sentinel; /* the next one to ask, of those asked in this attempt */
    size_t sentinels_asked;
    struct timer retry, late; /* late: nothing comes of this attempt */
    uint32_t backoff_ms;
    struct tls_client *tls, *sentinel_tls;
    struct str broadcast, requests, node; /* names; broadcast without its number */
    uint16_t *confirmations; /* [topics]: of SUBSCRIBE, still to come */
    struct task restart;
    const char *restart_why; /* NULL = not asked for */
};

extern const struct bus_transport redis_transport;
/* Everything but bus, options and names is set to how it begins. */
void redis_init(struct redis *r);
/* Its links must be closed, or never opened. */
void redis_free(struct redis *r);
