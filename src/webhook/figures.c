/* figures.c - what the queue counts; every series exists at 0 from the start (chapter 4, 8.2).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "webhook/internal.h"

#include <stdlib.h>

#include "base/mem.h"

static const double latency_bounds[] = {1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 60000, 300000};

#define OF_APP "app_id,port"

static void app_series(struct metric_registry *r, struct app_figures *f, struct str app_id, struct str port)
{
    struct str own[] = {app_id, port}, full[] = {app_id, port, STR("queue_full")}, large[] = {app_id, port, STR("too_large")};
    struct metric_family *dropped = metric_counter(r, "webhook_events_dropped_total", "Events that never became a job", OF_APP ",reason");
    f->events = metric_series(metric_counter(r, "webhook_events_total", "Events that a webhook asked for", OF_APP), own);
    f->dropped_full = metric_series(dropped, full);
    f->dropped_large = metric_series(dropped, large);
    f->delivered = metric_series(metric_counter(r, "webhook_delivered_total", "Jobs answered 2xx", OF_APP), own);
    f->retried = metric_series(metric_counter(r, "webhook_retries_total", "Attempts that failed and are tried again", OF_APP), own);
    f->dead = metric_series(metric_counter(r, "webhook_dead_letters_total", "Jobs given up", OF_APP), own);
    f->dead_dropped =
        metric_series(metric_counter(r, "webhook_dead_letters_dropped_total", "Dead letters that made room for newer ones", OF_APP), own);
    f->letters = metric_series(metric_gauge(r, "webhook_dead_letters", "Dead letters kept", OF_APP), own);
    f->depth = metric_series(metric_gauge(r, "webhook_queue_depth", "Jobs that are not delivered yet", OF_APP), own);
    f->latency_ms = metric_series(metric_histogram(r, "webhook_delivery_latency_ms", "From the oldest event to the answer", OF_APP,
                                                   latency_bounds, sizeof latency_bounds / sizeof *latency_bounds),
                                  own);
}

static void emit_atomic(void *ctx, struct metric_sink *sink)
{
    metric_emit(sink, NULL, (double)atomic_load((const _Atomic uint64_t *)ctx));
}

static const _Atomic uint64_t nothing;

static void gauges(struct metric_registry *r, const _Atomic uint64_t *in_flight, const _Atomic uint64_t *events,
                   const _Atomic uint64_t *bytes)
{
    metric_collect(metric_gauge(r, "webhook_in_flight", "Requests under way", NULL), emit_atomic, (void *)(uintptr_t)in_flight);
    metric_collect(metric_gauge(r, "webhook_inbox_events", "Events that are in no job yet", NULL), emit_atomic,
                   (void *)(uintptr_t)events);
    metric_collect(metric_gauge(r, "webhook_inbox_bytes", "Their bytes", NULL), emit_atomic, (void *)(uintptr_t)bytes);
}

static struct metric_series *store_failures(struct metric_registry *r)
{
    return metric_series(metric_counter(r, "webhook_store_failures_total", "Writes of the queue that the store refused", NULL), NULL);
}

static struct app_figures *all_apps(struct metric_registry *r, const struct config *config, const struct apps *apps)
{
    struct app_figures *figures = mem_zalloc((apps_count(apps) + 1) * sizeof *figures);
    struct buf port = {0};
    buf_u64(&port, config->metrics.port);
    for (size_t i = 0; i < apps_count(apps); i++)
        app_series(r, &figures[i], apps_at(apps, i)->id, buf_view(&port));
    buf_free(&port);
    return figures;
}

void figures_of_webhooks(struct webhooks *w)
{
    struct metric_registry *r = w->options.metrics->registry;
    w->figures = all_apps(r, w->options.config, w->options.apps);
    w->store_failures = store_failures(r);
    gauges(r, &w->in_flight, &w->inbox_events, &w->inbox_bytes);
}

void figures_of_none(const struct webhooks_options *o)
{
    struct metric_registry *r = o->metrics->registry;
    free(all_apps(r, o->config, o->apps));
    store_failures(r);
    gauges(r, &nothing, &nothing, &nothing);
}
