/* doctor.h - `sockudo doctor`: what on this machine, or in this configuration, will keep a server from doing its work.
 *
 *      limits   port   data   clock   configuration   postgres   redis
 *
 * Each finding is a line; one that is not fine names the section of docs/runbook.md that says what to do. Looks and measures, changes
 * nothing: a probe file in the data directory is removed again, a running server is not disturbed.
 *
 * Threads: one, before any server is started. Blocks: DOCTOR_WAIT_MS for an answer of Redis, 5 s for one of PostgreSQL.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "config/config.h"

enum { DOCTOR_WAIT_MS = 2000 };
enum doctor_verdict { DOCTOR_FINE, DOCTOR_WARNS, DOCTOR_FAILS };

struct doctor {
    struct buf *out;                     /* the report, borrowed */
    unsigned counts[DOCTOR_FAILS + 1];
};

/* All checks; the worst that was found. The program's exit status: 1 for DOCTOR_FAILS, else 0. */
enum doctor_verdict doctor_run(const struct config *config, struct buf *out);

/* PostgreSQL as the store; each Redis that the bus, the cache or the rate limits use. */
void doctor_postgres(struct doctor *d, const struct config *config);
void doctor_redis(struct doctor *d, const struct config *config);
/* ahead_ms: of us, the clock of `whose`. */
void doctor_compare_clocks(struct doctor *d, const char *whose, int64_t ahead_ms);

/* The single checks. subject: the runbook's section too. */
void doctor_limits(struct doctor *d, const struct config *config, uint64_t files_max);
void doctor_ports(struct doctor *d, const struct config *config);
void doctor_data(struct doctor *d, const char *path);
void doctor_clock(struct doctor *d, const char *data_path, int64_t now_ms);
void doctor_configuration(struct doctor *d, const struct config *config);

void doctor_say(struct doctor *d, enum doctor_verdict verdict, const char *subject, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
