/* metric.h - counters, gauges and histograms, and their Prometheus text.
 *
 *      registry -> family (name, help, type, label names) -> series (label values) -> a cell per shard
 *
 * Each shard writes only cells of its own, with plain relaxed stores; the value of a series is the sum over
 * the shards. So counting takes no lock and shares no cache line, and a scrape disturbs nobody.
 *
 * Threads    metric_add(), metric_set(), metric_observe(): one thread per (series, shard). The rest: any
 *            (a mutex inside), so look a series up once and keep the pointer: it is good for ever.
 * Limit      METRIC_SERIES_MAX series per family; all beyond it share one whose label values are "other".
 * Ownership  the registry owns families and series. Names and help are borrowed literals, label
 *            values are copied.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"

enum {
    METRIC_SHARDS_MAX = 64,
    METRIC_LABELS_MAX = 8,
    METRIC_BUCKETS_MAX = 32,
    METRIC_SERIES_MAX = 10000,

    /* Threads that are no shard count from the top. */
    METRIC_SHARD_MAIN = METRIC_SHARDS_MAX - 1,
    METRIC_SHARD_STORE = METRIC_SHARDS_MAX - 2,
    METRIC_SHARD_BUS = METRIC_SHARDS_MAX - 3,
    METRIC_SHARD_CACHE = METRIC_SHARDS_MAX - 4, /* the series of each cache are its own */
    METRIC_SHARD_HOOK = METRIC_SHARDS_MAX - 5,
};

struct metric_registry;
struct metric_family;
struct metric_series;
struct metric_sink;

struct metric_registry *metric_registry_new(void);
void metric_registry_free(struct metric_registry *r);

/* Registers a family. labels: names separated by commas without spaces, NULL = none. A name registered
 * before returns that family; type and labels must then be the same (asserted). */
struct metric_family *metric_counter(struct metric_registry *r, const char *name, const char *help,
                                     const char *labels);
struct metric_family *metric_gauge(struct metric_registry *r, const char *name, const char *help,
                                   const char *labels);
/* bounds: upper ends of the buckets, ascending, borrowed; +Inf is added. */
struct metric_family *metric_histogram(struct metric_registry *r, const char *name, const char *help,
                                       const char *labels, const double *bounds, size_t bound_count);
/* Prints the family's name as it is, without the prefix. (A name starting with process_ never gets one.) */
void metric_without_prefix(struct metric_family *f);

/* Finds or makes the series with these label values, in the order of the label names.
 *      metric_series(f, (struct str[]){STR("v2"), app_id})         NULL if the family has no labels */
struct metric_series *metric_series(struct metric_family *f, const struct str *values);

/* shard < METRIC_SHARDS_MAX. A counter only grows (n >= 0, asserted). */
void metric_add(struct metric_series *s, unsigned shard, int64_t n);
/* Gauges only: this shard's part of the sum. */
void metric_set(struct metric_series *s, unsigned shard, int64_t value);
void metric_observe(struct metric_series *s, unsigned shard, double value);

/* Sum over all shards; for a histogram, the number of observations. */
int64_t metric_value(const struct metric_series *s);

/* Computes a counter or gauge family at scrape, in place of its series: fn calls metric_emit() once per
 * series. fn runs in the thread that renders, under the registry's mutex: it must call nothing else from
 * here. */
void metric_collect(struct metric_family *f, void (*fn)(void *ctx, struct metric_sink *sink), void *ctx);
/* values: like those of metric_series(). */
void metric_emit(struct metric_sink *sink, const struct str *values, double value);

/* Appends the text format 0.0.4, families and series in the order of their names and label values.
 * A family without any series prints HELP and TYPE only; one without labels always has its series. */
void metric_render(struct metric_registry *r, struct str prefix, struct buf *out);
