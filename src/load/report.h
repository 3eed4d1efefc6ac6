/* report.h - figures of one run: a line each for people, one flat JSON object for programs.
 *
 * Each call prints its line at once and appends its member; a key is a member's name and is not escaped. Threads: one. Ownership: zeroed =
 * empty; report_end() frees.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/hist.h"

struct report {
    struct buf json;
};

void report_text(struct report *r, const char *key, const char *value);
void report_count(struct report *r, const char *key, uint64_t value);
void report_number(struct report *r, const char *key, double value);
/* <key>_count, _p50_ms, _p99_ms, _p999_ms, _max_ms, _mean_ms of a histogram of nanoseconds. */
void report_latency(struct report *r, const char *key, const struct hist *h);
/* Writes the JSON if file is not NULL. False, with a line on stderr, if that fails. Frees the report. */
bool report_end(struct report *r, const char *file);
