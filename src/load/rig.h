/* rig.h - what every mode needs around its measurement.
 *
 * Life: rig_new() -> rig_begin() -> the measurement -> rig_end() -> rig_report_...() -> rig_free(). Threads: one; it has the loop.
 * Ownership: options are borrowed, the rest is the rig's. Errors: on stderr, and 1 for exit(). Units: seconds as real numbers, ns as
 * integers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "load/feed.h"
#include "load/options.h"
#include "load/proc.h"
#include "load/report.h"
#include "load/swarm.h"

struct rig {
    const struct options *options;
    const struct peer *peer;
    struct wire wire;
    struct report report;
    uint64_t begun_ns, server_cpu_ns, own_cpu_ns, machine_cpu_ns; /* at rig_begin() */
    double seconds, server_cpu_s, own_cpu_s, others_cpu_s;        /* between rig_begin() and rig_end() */
};

/* NULL, with a line on stderr, if the options name no address or no peer. */
struct rig *rig_new(const struct options *options, const char *mode);
/* Writes the report. 0 or 1, for exit(). */
int rig_free(struct rig *rig);

void rig_begin(struct rig *rig);
void rig_end(struct rig *rig);
/* Turns the loop for so long. */
void rig_turn_ms(struct rig *rig, uint64_t ms);
/* Turns the loop until the server process uses less than 2 % of a core, at most 20 s. */
void rig_settle(struct rig *rig);
/* Seconds, CPU of both sides, and `count` of `what` per second and per server-CPU-second. */
void rig_report_rate(struct rig *rig, const char *what, uint64_t count);
void rig_report_swarm(struct rig *rig, const struct swarm *swarm);
void rig_report_feed(struct rig *rig, const struct feed *feed);

/* The modes, each in a file of its own; for exit(). */
int mode_subscribe(const struct options *options);
int mode_publish(const struct options *options);
int mode_fanout(const struct options *options);
int mode_append(const struct options *options);
int mode_append_streaming(const struct options *options); /* of mode_append() */
int mode_resume(const struct options *options);
int mode_idle(const struct options *options);
int mode_streams(const struct options *options);
int mode_agent(const struct options *options);
int mode_start(const struct options *options);
