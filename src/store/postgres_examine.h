/* postgres_examine.h - what a PostgreSQL is like before a node works with it: for `sockudo doctor`.
 *
 * Connects as the store does, reads and measures. Nothing is written to a table; the commits that are timed carry an empty message in
 * the write-ahead log. Blocks for seconds at most. Threads: any, one at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "store/store.h"

struct postgres_figures {
    int version;                    /* 150004 = 15.4 */
    uint64_t schema, schema_ours;   /* versions of the tables; schema 0 = none yet, the first node makes them */
    bool may_create;                /* tables, in the current schema */
    bool encrypted;                 /* this connection */
    double connect_ms, round_trip_ms; /* the second: median */
    double commit_ms;               /* median of a commit that waits for the disk; negative = not permitted to measure */
    uint32_t connections_max;       /* of the server, less those kept for superusers */
    uint32_t connections_used, connections_of_node;
    bool syncs;                     /* fsync and full_page_writes */
    uint32_t standbys;              /* that replicate now */
    bool waits_for_standby;         /* synchronous_standby_names is set */
    int64_t ahead_ms;               /* its clock minus ours */
};

/* False with a readable reason: no node could work with it. */
bool postgres_examine(const struct store_postgres *to, const struct clock *clock, struct postgres_figures *out, struct buf *error);
