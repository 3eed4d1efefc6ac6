/* redis_internal.h - what redis.c and redis_open.c share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "cluster/bus_internal.h"
#include "cluster/redis_master.h"

enum { REDIS_PUB, REDIS_SUB, REDIS_LINKS }; /* of the master's links */

struct redis {
    struct bus *bus;
    struct redis_config options; /* in bus.arena */
    struct redis_master master;
    struct str broadcast, requests, node; /* names; broadcast without its number */
    uint16_t *confirmations; /* [topics]: of SUBSCRIBE, still to come */
};

extern const struct bus_transport redis_transport;
/* The master's calls, before redis_master_init(). */
void redis_init(struct redis *r);
/* Its master must be stopped, or never have been there. */
void redis_free(struct redis *r);
