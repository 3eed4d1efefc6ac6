/* metric.c - cells and the registry; metric_text.c prints them.
 *
 * Families are kept sorted by name and the series of a family by label values, both as arrays of
 * pointers, so finding is a binary search and printing a walk. The objects themselves never move.
 *
 *      series -> cells[shard]     NULL until that shard first writes; then a block of its own cache lines:
 *                                 counter, gauge   [ value ]
 *                                 histogram        [ bucket 0 | ... | bucket +Inf | sum as a double ]
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/metric.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/metric_parts.h"

enum { CACHE_LINE = 64 };

struct metric_registry *metric_registry_new(void)
{
    struct metric_registry *r = mem_new(struct metric_registry);
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

static void series_free(struct metric_series *s)
{
    for (unsigned i = 0; i < METRIC_SHARDS_MAX; i++)
        free(atomic_load(&s->cells[i]));
    arena_free(&s->memory);
    free(s);
}

static void family_free(struct metric_family *f)
{
    for (size_t i = 0; i < f->series_count; i++)
        series_free(f->series[i]);
    free(f->series);
    free(f);
}

void metric_registry_free(struct metric_registry *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->family_count; i++)
        family_free(r->families[i]);
    free(r->families);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* Makes room for one more pointer at `index`. */
static void **insert_at(void ***array, size_t *count, size_t index)
{
    if ((*count & (*count - 1)) == 0) /* full at each power of two */
        *array = mem_realloc(*array, (*count ? *count * 2 : 1) * sizeof **array);
    memmove(*array + index + 1, *array + index, (*count - index) * sizeof **array);
    ++*count;
    return *array + index;
}

/* ---- families ---- */

static size_t family_index(const struct metric_registry *r, struct str name, bool *found)
{
    size_t low = 0, high = r->family_count;
    *found = false;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = str_cmp(r->families[middle]->name, name);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void read_label_names(struct metric_family *f, struct str names)
{
    while (names.p) {
        assert(f->label_count < METRIC_LABELS_MAX);
        f->labels[f->label_count++] = str_split(&names, ',');
    }
}

/* Like `wanted`, but for good; or the one that was there. */
static struct metric_family *enlist(struct metric_registry *r, const struct metric_family *wanted)
{
    bool found;
    pthread_mutex_lock(&r->lock);
    size_t index = family_index(r, wanted->name, &found);
    struct metric_family *f = found ? r->families[index] : NULL;
    if (!found) {
        f = mem_alloc(sizeof *f);
        *f = *wanted;
        *insert_at((void ***)&r->families, &r->family_count, index) = f;
    }
    assert(f->type == wanted->type && f->label_count == wanted->label_count);
    pthread_mutex_unlock(&r->lock);
    if (!found && f->label_count == 0)
        metric_series(f, NULL);
    return f;
}

static struct metric_family family_of(struct metric_registry *r, enum metric_type type, const char *name,
                                      const char *help, const char *labels)
{
    struct metric_family f = {.registry = r, .type = type, .name = str_of(name), .help = str_of(help)};
    f.bare = str_starts(f.name, STR("process_"));
    read_label_names(&f, str_of(labels));
    return f;
}

struct metric_family *metric_counter(struct metric_registry *r, const char *name, const char *help,
                                     const char *labels)
{
    struct metric_family f = family_of(r, METRIC_COUNTER, name, help, labels);
    return enlist(r, &f);
}

struct metric_family *metric_gauge(struct metric_registry *r, const char *name, const char *help,
                                   const char *labels)
{
    struct metric_family f = family_of(r, METRIC_GAUGE, name, help, labels);
    return enlist(r, &f);
}

struct metric_family *metric_histogram(struct metric_registry *r, const char *name, const char *help,
                                       const char *labels, const double *bounds, size_t bound_count)
{
    assert(bound_count <= METRIC_BUCKETS_MAX);
    struct metric_family f = family_of(r, METRIC_HISTOGRAM, name, help, labels);
    f.bounds = bounds;
    f.bound_count = bound_count;
    return enlist(r, &f);
}

void metric_without_prefix(struct metric_family *f)
{
    pthread_mutex_lock(&f->registry->lock);
    f->bare = true;
    pthread_mutex_unlock(&f->registry->lock);
}

void metric_collect(struct metric_family *f, void (*fn)(void *ctx, struct metric_sink *sink), void *ctx)
{
    assert(f->type != METRIC_HISTOGRAM);
    pthread_mutex_lock(&f->registry->lock);
    f->collect = fn;
    f->collect_ctx = ctx;
    pthread_mutex_unlock(&f->registry->lock);
}

/* ---- series ---- */

static int compare_values(const struct str *a, const struct str *b, size_t count)
{
    int order = 0;
    for (size_t i = 0; i < count && order == 0; i++)
        order = str_cmp(a[i], b[i]);
    return order;
}

static size_t series_index(const struct metric_family *f, const struct str *values, bool *found)
{
    size_t low = 0, high = f->series_count;
    *found = false;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = compare_values(f->series[middle]->values, values, f->label_count);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct metric_series *series_new(struct metric_family *f, const struct str *values)
{
    struct metric_series *s = mem_new(struct metric_series);
    s->family = f;
    s->values = arena_alloc(&s->memory, f->label_count * sizeof *s->values);
    for (size_t i = 0; i < f->label_count; i++)
        s->values[i] = arena_copy(&s->memory, values[i]);
    return s;
}

static struct metric_series *find_or_make(struct metric_family *f, const struct str *values)
{
    struct str other[METRIC_LABELS_MAX];
    bool found;
    size_t index = series_index(f, values, &found);
    if (!found && f->series_count >= METRIC_SERIES_MAX) {
        for (size_t i = 0; i < f->label_count; i++)
            other[i] = STR("other");
        values = other;
        index = series_index(f, values, &found);
    }
    if (found)
        return f->series[index];
    struct metric_series *s = series_new(f, values);
    *insert_at((void ***)&f->series, &f->series_count, index) = s;
    return s;
}

struct metric_series *metric_series(struct metric_family *f, const struct str *values)
{
    assert(values || f->label_count == 0);
    pthread_mutex_lock(&f->registry->lock);
    struct metric_series *s = find_or_make(f, values);
    pthread_mutex_unlock(&f->registry->lock);
    return s;
}

/* ---- cells ---- */

static metric_cell *cells_new(struct metric_series *s, unsigned shard)
{
    size_t size = metric_cell_count(s->family) * sizeof(metric_cell);
    size = (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    metric_cell *cells = aligned_alloc(CACHE_LINE, size);
    if (!cells)
        cells = mem_alloc(SIZE_MAX); /* aborts with its message */
    memset((void *)cells, 0, size);
    atomic_store_explicit(&s->cells[shard], cells, memory_order_release);
    return cells;
}

static metric_cell *cells_of(struct metric_series *s, unsigned shard)
{
    assert(shard < METRIC_SHARDS_MAX);
    metric_cell *cells = atomic_load_explicit(&s->cells[shard], memory_order_relaxed);
    return cells ? cells : cells_new(s, shard);
}

/* No read-modify-write: nobody else writes this cell. */
static void cell_add(metric_cell *cell, uint64_t n)
{
    uint64_t before = atomic_load_explicit(cell, memory_order_relaxed);
    atomic_store_explicit(cell, before + n, memory_order_relaxed);
}

void metric_add(struct metric_series *s, unsigned shard, int64_t n)
{
    assert(s->family->type != METRIC_HISTOGRAM && (n >= 0 || s->family->type == METRIC_GAUGE));
    cell_add(cells_of(s, shard), (uint64_t)n);
}

void metric_set(struct metric_series *s, unsigned shard, int64_t value)
{
    assert(s->family->type == METRIC_GAUGE);
    atomic_store_explicit(cells_of(s, shard), (uint64_t)value, memory_order_relaxed);
}

void metric_observe(struct metric_series *s, unsigned shard, double value)
{
    const struct metric_family *f = s->family;
    assert(f->type == METRIC_HISTOGRAM);
    metric_cell *cells = cells_of(s, shard), *sum = &cells[f->bound_count + 1];
    size_t bucket = 0;
    while (bucket < f->bound_count && value > f->bounds[bucket])
        bucket++;
    cell_add(&cells[bucket], 1);
    double total = metric_double(atomic_load_explicit(sum, memory_order_relaxed)) + value;
    uint64_t bits;
    memcpy(&bits, &total, sizeof bits);
    atomic_store_explicit(sum, bits, memory_order_relaxed);
}

int64_t metric_value(const struct metric_series *s)
{
    size_t buckets = s->family->type == METRIC_HISTOGRAM ? s->family->bound_count + 1 : 1;
    uint64_t sum = 0;
    for (size_t i = 0; i < buckets; i++)
        sum += metric_sum(s, i);
    return (int64_t)sum;
}
