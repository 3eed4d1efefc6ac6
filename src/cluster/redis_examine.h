/* redis_examine.h - what a Redis (or a Sentinel) is like before a node works with it: for `sockudo doctor`.
 *
 * Connects as the bus and the cache do (TLS, AUTH, SELECT), reads and measures; changes nothing. Blocks at most wait_ms for each
 * answer. Threads: one at a time; SIGPIPE must be ignored or blocked.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/clock.h"
#include "config/config.h"

struct redis_figures { /* texts in the arena; absent = it does not say, as with an ACL that refuses INFO */
    struct str version, role, policy; /* "7.0.15", "master", "noeviction" */
    uint64_t memory_max, memory_used; /* bytes; 0 = no limit */
    uint64_t clients_max, clients;
    double connect_ms, round_trip_ms; /* the second: median; 0 = it does not say */
    bool knows_time;
    int64_t ahead_ms;                 /* its clock minus ours */
};

/* False with a readable reason: no node could work with it. at: its address, of the options or a Sentinel's answer. */
bool redis_examine(const struct redis_config *options, struct redis_address at, const struct clock *clock, uint32_t wait_ms,
                   struct redis_figures *out, struct arena *arena, struct buf *error);
/* Where this Sentinel says that the master is, in the arena. False with a readable reason. */
bool redis_examine_sentinel(const struct redis_config *options, struct redis_address sentinel, const struct clock *clock, uint32_t wait_ms,
                            struct redis_address *master, struct arena *arena, struct buf *error);
