/* internal.h - what the files of ops share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "api/call.h"
#include "ops/ops.h"

static inline struct ops *ops_of(const struct call *c)
{
    return c->api->shared->routes_user;
}

/* health.c */
void serve_live(struct call *c);
void serve_up(struct call *c);
void serve_up_app(struct call *c);
/* stats.c */
void serve_usage(struct call *c);
void serve_stats(struct call *c);
/* metrics.c: registers what is computed at a scrape */
void figures_start(struct ops *ops);
void figures_stop(struct ops *ops);

/* system.c */
struct memory {
    uint64_t total, free, used; /* bytes of the host; free: what programs could get */
    double percent;             /* used of total */
};
struct memory memory_read(void);
/* The same, of the text of /proc/meminfo. */
struct memory memory_of(struct str meminfo);
struct process {
    double resident_bytes, virtual_bytes, cpu_seconds, start_time_seconds, open_fds, max_fds;
};
struct process process_read(void);
/* Open descriptors, by looking at each. */
double walk_fds(void);
/* Sockets that a node can hold: max_connections if set, but never more than the limit of open files leaves when FILES_KEPT of
 * them are for the store, the listeners, HTTP requests and webhooks. */
enum { FILES_KEPT = 1000 };
uint64_t connections_budget(const struct config *config, uint64_t files_max);
/* What /proc/self/stat says; ticks of `hertz` per second, `boot_s` Unix time. Fills all but the descriptors.
 */
struct process process_of(struct str stat, double hertz, double page_bytes, double boot_s);
