/* hist.h - how long things took: counts in buckets whose width is a fixed part of their value.
 *
 * The High Dynamic Range histogram: with 3 digits, a percentile is at most 0.1 % above the true value.
 * Values have no unit here. One thread at a time; merge the histograms of several threads.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct hist;

/* digits: significant decimal digits, 1 to 5 (asserted). Values above value_max are counted as value_max,
 * but hist_max() still tells the truth. */
struct hist *hist_new(uint64_t value_max, int digits);
/* 3 digits, up to an hour in nanoseconds: about 260 KiB. */
struct hist *hist_new_default(void);
void hist_free(struct hist *h);

void hist_record(struct hist *h, uint64_t value);
void hist_record_many(struct hist *h, uint64_t value, uint64_t count);
/* Adds what `from` holds; both of the same value_max and digits (asserted). */
void hist_merge(struct hist *into, const struct hist *from);
void hist_reset(struct hist *h);

/* All of these are 0 while the histogram is empty. */
uint64_t hist_count(const struct hist *h);
uint64_t hist_min(const struct hist *h); /* exact */
uint64_t hist_max(const struct hist *h); /* exact */
double hist_mean(const struct hist *h);  /* exact while the sum fits 64 bits */
/* The smallest value such that `percent` (0 to 100) of all are at or below it, rounded up to the end of
 * its bucket; never above hist_max(). */
uint64_t hist_percentile(const struct hist *h, double percent);
/* The next bucket that holds something, for whoever writes a histogram down. *at starts as 0. False at the end; else the highest
 * value of the bucket and its count. Values beyond value_max stand in the last one. */
bool hist_next(const struct hist *h, uint64_t *at, uint64_t *value_end, uint64_t *count);
