/* metric_text.c - the Prometheus text format 0.0.4.
 *
 *      # HELP sockudo_appends_total Appends acknowledged.
 *      # TYPE sockudo_appends_total counter
 *      sockudo_appends_total{app="a"} 17
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/metric_parts.h"

/* The lines of one family. */
struct metric_sink {
    const struct metric_family *family;
    struct str prefix;
    struct buf *out;
};

/* The shortest decimal text that reads back as the same double. */
static void put_double(struct buf *out, double value)
{
    char text[40];
    if (isinf(value) || isnan(value)) {
        buf_str(out, isnan(value) ? STR("NaN") : value > 0 ? STR("+Inf") : STR("-Inf"));
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    buf_str(out, str_of(text));
}

enum quoting { IN_HELP, IN_QUOTES };
static void put_escaped(struct buf *out, struct str text, enum quoting quoting)
{
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '\n')
            buf_lit(out, "\\n");
        else if (c == '\\' || (c == '"' && quoting == IN_QUOTES))
            buf_put(out, (char[]){'\\', c}, 2);
        else
            buf_char(out, c);
    }
}

static void put_name(struct metric_sink *sink)
{
    if (!sink->family->bare)
        buf_str(sink->out, sink->prefix);
    buf_str(sink->out, sink->family->name);
}

static void put_label(struct buf *out, char before, struct str name, struct str value)
{
    buf_char(out, before);
    buf_str(out, name);
    buf_lit(out, "=\"");
    put_escaped(out, value, IN_QUOTES);
    buf_char(out, '"');
}

/* Everything of a line but its value. le: absent unless a histogram's bucket. */
static void put_series(struct metric_sink *sink, struct str suffix, const struct str *values, struct str le)
{
    size_t count = sink->family->label_count;
    put_name(sink);
    buf_str(sink->out, suffix);
    for (size_t i = 0; i < count; i++)
        put_label(sink->out, i ? ',' : '{', sink->family->labels[i], values[i]);
    if (le.p)
        put_label(sink->out, count ? ',' : '{', STR("le"), le);
    if (count || le.p)
        buf_char(sink->out, '}');
    buf_char(sink->out, ' ');
}

void metric_emit(struct metric_sink *sink, const struct str *values, double value)
{
    put_series(sink, STR(""), values, STR_NONE);
    put_double(sink->out, value);
    buf_char(sink->out, '\n');
}

static void put_count(struct metric_sink *sink, struct str suffix, const struct str *values, struct str le,
                      uint64_t count)
{
    put_series(sink, suffix, values, le);
    buf_u64(sink->out, count);
    buf_char(sink->out, '\n');
}

static double sum_of_doubles(const struct metric_series *s, size_t cell)
{
    double sum = 0;
    for (unsigned i = 0; i < METRIC_SHARDS_MAX; i++) {
        metric_cell *cells = atomic_load_explicit(&s->cells[i], memory_order_acquire);
        sum += cells ? metric_double(atomic_load_explicit(&cells[cell], memory_order_relaxed)) : 0;
    }
    return sum;
}

/* _count is the sum of the buckets just printed, so that the two agree even while shards write. */
static void render_histogram(struct metric_sink *sink, const struct metric_series *s)
{
    const struct metric_family *f = s->family;
    struct buf le = {0};
    uint64_t below = 0;
    for (size_t i = 0; i <= f->bound_count; i++) {
        below += metric_sum(s, i);
        buf_clear(&le);
        put_double(&le, i < f->bound_count ? f->bounds[i] : INFINITY);
        put_count(sink, STR("_bucket"), s->values, buf_view(&le), below);
    }
    put_series(sink, STR("_sum"), s->values, STR_NONE);
    put_double(sink->out, sum_of_doubles(s, f->bound_count + 1));
    buf_char(sink->out, '\n');
    put_count(sink, STR("_count"), s->values, STR_NONE, below);
    buf_free(&le);
}

static void render_series(struct metric_sink *sink, const struct metric_series *s)
{
    if (s->family->type == METRIC_HISTOGRAM) {
        render_histogram(sink, s);
        return;
    }
    put_series(sink, STR(""), s->values, STR_NONE);
    buf_i64(sink->out, metric_value(s));
    buf_char(sink->out, '\n');
}

static void render_family(struct metric_sink *sink)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    const struct metric_family *f = sink->family;
    buf_lit(sink->out, "# HELP ");
    put_name(sink);
    buf_char(sink->out, ' ');
    put_escaped(sink->out, f->help, IN_HELP);
    buf_lit(sink->out, "\n# TYPE ");
    put_name(sink);
    buf_fmt(sink->out, " %s\n", types[f->type]);
    if (f->collect) {
        f->collect(f->collect_ctx, sink);
        return;
    }
    for (size_t i = 0; i < f->series_count; i++)
        render_series(sink, f->series[i]);
}

void metric_render(struct metric_registry *r, struct str prefix, struct buf *out)
{
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->family_count; i++) {
        struct metric_sink sink = {r->families[i], prefix, out};
        render_family(&sink);
    }
    pthread_mutex_unlock(&r->lock);
}
