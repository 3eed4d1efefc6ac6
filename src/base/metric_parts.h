/* metric_parts.h - the structures that metric.c fills and metric_text.c prints; nobody else includes it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "base/metric.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

typedef _Atomic uint64_t metric_cell;

struct metric_series {
    struct metric_family *family;
    struct str *values; /* family->label_count of them, in `memory` */
    struct arena memory;
    metric_cell *_Atomic cells[METRIC_SHARDS_MAX];
};

struct metric_family {
    struct metric_registry *registry;
    struct str name, help;
    enum metric_type type;
    bool bare; /* printed without the prefix */
    struct str labels[METRIC_LABELS_MAX];
    size_t label_count;
    const double *bounds; /* histograms */
    size_t bound_count;
    void (*collect)(void *ctx, struct metric_sink *sink); /* NULL = print the series */
    void *collect_ctx;
    struct metric_series **series; /* sorted by label values */
    size_t series_count;
};

struct metric_registry {
    pthread_mutex_t lock;            /* guards all but the cells */
    struct metric_family **families; /* sorted by name */
    size_t family_count;
};

static inline size_t metric_cell_count(const struct metric_family *f)
{
    return f->type == METRIC_HISTOGRAM ? f->bound_count + 2 : 1;
}

static inline double metric_double(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Sum of one cell over all shards. */
static inline uint64_t metric_sum(const struct metric_series *s, size_t cell)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < METRIC_SHARDS_MAX; i++) {
        metric_cell *cells = atomic_load_explicit(&s->cells[i], memory_order_acquire);
        sum += cells ? atomic_load_explicit(&cells[cell], memory_order_relaxed) : 0;
    }
    return sum;
}
