/* metrics.c - the text of /metrics: the core's series, and what is only worth computing when somebody looks.
 *
 *      scrape -> take(): one snapshot of /proc, loops, connections, store -> metric_render() emits it
 *
 * The registry calls our collectors under its mutex, so they only read the snapshot.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ops/internal.h"

#include <stdlib.h>

#include "base/mem.h"
#include "net/loop.h"
#include "webhook/webhook.h"

#ifndef SOCKUDO_VERSION
#define SOCKUDO_VERSION "0.1.0"
#endif
#ifndef SOCKUDO_COMMIT
#define SOCKUDO_COMMIT "unknown"
#endif

struct per_shard {
    unsigned count;
    double at[API_SHARDS_MAX];
};

struct figures {
    struct process process;
    double workers, active_tasks, injection_depth, forced_yields;
    double turns, busy_us, mean_turn_us; /* of all loops, since the last scrape */
    double send_queue_bytes, connections_budget;
    double memory_channels, memory_messages, memory_messages_bytes;
    double queue_ops, queue_bytes, store_writes, store_failures, store_batches;
    double retained_messages, retained_bytes;
    struct per_shard depth, busy, dropped, backlog;
    struct str app_id; /* of figures that the store does not keep per app: the only app's, or "all" */
    char port[8];
    struct metric_series *degraded, *reset_required;
};

/* ---- the snapshot ---- */

static void take_shard(struct figures *f, const struct ops_shard *shard, unsigned i)
{
    struct mailbox *box = loop_mailbox(shard->loop);
    f->depth.at[i] = (double)mailbox_depth(box);
    f->dropped.at[i] = (double)mailbox_dropped(box);
    f->backlog.at[i] = (double)atomic_load_explicit(&shard->env->backlog, memory_order_relaxed);
    struct loop_use use = loop_use(shard->loop);
    f->busy.at[i] = use.all_ns > 0 ? (double)use.busy_ns / (double)use.all_ns : 0;
    f->turns += (double)use.turns;
    f->busy_us += (double)use.busy_ns / 1000;
    f->injection_depth += f->depth.at[i];
    f->send_queue_bytes += (double)conn_pool_stats(shard->conns)->queued_bytes;
}

static void take_shards(struct ops *ops, struct figures *f)
{
    f->workers = f->depth.count = f->busy.count = f->dropped.count = f->backlog.count = ops->shards_count;
    f->injection_depth = f->send_queue_bytes = f->active_tasks = f->turns = f->busy_us = 0;
    for (unsigned i = 0; i < ops->shards_count; i++) {
        take_shard(f, &ops->shards[i], i);
        const struct api *api = ops->api.all[i];
        f->active_tasks += api ? (double)api_in_flight(api) : 0;
    }
    f->mean_turn_us = f->turns > 0 ? f->busy_us / f->turns : 0;
}

static void take_store(struct ops *ops, struct figures *f)
{
    if (!ops->store)
        return;
    const struct store_stats *s = store_stats(ops->store);
    f->queue_ops = (double)s->queue_ops;
    f->queue_bytes = (double)s->queue_bytes;
    f->memory_channels = (double)s->memory_channels;
    f->memory_messages = (double)s->memory_messages;
    f->memory_messages_bytes = (double)s->memory_messages_bytes;
    f->store_writes = (double)s->writes;
    f->store_failures = (double)s->write_failures;
    f->store_batches = (double)s->batches;
    f->retained_messages = (double)s->retained_messages;
    f->retained_bytes = (double)s->retained_bytes;
    f->active_tasks += f->queue_ops;
    f->active_tasks += ops->webhooks ? (double)webhooks_depth(ops->webhooks) : 0;
    metric_set(f->degraded, METRIC_SHARD_MAIN, (int64_t)s->degraded_channels);
    metric_set(f->reset_required, METRIC_SHARD_MAIN, (int64_t)s->reset_required_channels);
}

/* ---- collectors ---- */

static void emit_number(void *ctx, struct metric_sink *sink)
{
    metric_emit(sink, NULL, *(double *)ctx);
}

static void emit_shards(void *ctx, struct metric_sink *sink)
{
    const struct per_shard *values = ctx;
    for (unsigned i = 0; i < values->count; i++) {
        char text[2] = {(char)('0' + i / 10), (char)('0' + i % 10)};
        metric_emit(sink, (struct str[]){i < 10 ? str_make(text + 1, 1) : str_make(text, 2)}, values->at[i]);
    }
}

static void emit_retained_messages(void *ctx, struct metric_sink *sink)
{
    const struct figures *f = ctx;
    metric_emit(sink, (struct str[]){f->app_id, str_of(f->port)}, f->retained_messages);
}

static void emit_retained_bytes(void *ctx, struct metric_sink *sink)
{
    const struct figures *f = ctx;
    metric_emit(sink, (struct str[]){f->app_id, str_of(f->port)}, f->retained_bytes);
}

static void emit_build(void *ctx, struct metric_sink *sink)
{
    (void)ctx;
    metric_emit(sink, (struct str[]){STR(SOCKUDO_VERSION), STR(SOCKUDO_COMMIT), STR("gcc " __VERSION__)}, 1);
}

/* Name, help, field: gauges without labels. */
#define NUMBERS(X)                                                                                           \
    X("process_resident_memory_bytes", "Resident memory", process.resident_bytes)                            \
    X("process_virtual_memory_bytes", "Virtual memory", process.virtual_bytes)                               \
    X("process_start_time_seconds", "Unix time of the start", process.start_time_seconds)                    \
    X("process_open_fds", "Open file descriptors", process.open_fds)                                         \
    X("process_max_fds", "Limit of open file descriptors", process.max_fds)                                  \
    X("tokio_workers_count", "Shards (kept name)", workers)                                                  \
    X("tokio_active_tasks", "HTTP requests, store operations, webhook jobs (kept name)", active_tasks)        \
    X("tokio_injection_queue_depth", "Tasks in the mailboxes of all shards (kept name)", injection_depth)    \
    X("tokio_worker_mean_poll_duration_us", "Mean work of a turn of a shard's loop since the last scrape, us (kept name)", mean_turn_us) \
    X("tokio_budget_forced_yield_count", "Always 0: shards do not yield (kept name)", forced_yields)         \
    X("send_queue_bytes", "Bytes queued for sockets", send_queue_bytes)                                      \
    X("connections_budget", "max_connections, or without it what the open file limit leaves", connections_budget) \
    X("store_queue_ops", "Operations waiting for the store", queue_ops)                                      \
    X("store_queue_bytes", "Their bytes", queue_bytes)                                                       \
    X("store_memory_channels", "Channels that the embedded store holds in memory", memory_channels)          \
    X("store_memory_messages", "Messages that the embedded store holds in memory", memory_messages)          \
    X("store_memory_messages_bytes", "Their bytes", memory_messages_bytes)

#define COUNTS(X)                                                                                            \
    X("process_cpu_seconds_total", "CPU time used", process.cpu_seconds)                                     \
    X("store_writes_total", "Writes committed", store_writes)                                                \
    X("store_write_failures_total", "Writes that failed", store_failures)                                    \
    X("store_batches_total", "Commits", store_batches)

static void register_all(struct metric_registry *r, struct figures *f)
{
#define X(name, help, field) metric_collect(metric_gauge(r, name, help, NULL), emit_number, &f->field);
    NUMBERS(X)
#undef X
#define X(name, help, field) metric_collect(metric_counter(r, name, help, NULL), emit_number, &f->field);
    COUNTS(X)
#undef X
    metric_collect(metric_gauge(r, "tokio_worker_local_queue_depth",
                                "Tasks in the shard's mailbox (kept name)", "worker"),
                   emit_shards, &f->depth);
    metric_collect(metric_gauge(r, "tokio_worker_busy_ratio",
                                "Share of time not waiting since the last scrape (kept name)", "worker"),
                   emit_shards, &f->busy);
    metric_collect(metric_counter(r, "mailbox_dropped_total", "Tasks refused by a full mailbox", "shard"),
                   emit_shards, &f->dropped);
    metric_collect(metric_gauge(r, "mailbox_backlog", "Tasks of a shard that wait for full mailboxes of others", "shard"),
                   emit_shards, &f->backlog);
    metric_collect(
        metric_gauge(r, "history_retained_messages", "Rows retained, of channels in memory", "app_id,port"),
        emit_retained_messages, f);
    metric_collect(metric_gauge(r, "history_retained_bytes", "Their bytes", "app_id,port"),
                   emit_retained_bytes, f);
    metric_collect(metric_gauge(r, "build_info", "What this is", "version,commit,compiler"), emit_build,
                   NULL);
}

/* On the store's commit thread. */
static void on_batch(void *user, uint32_t ops, uint64_t bytes, uint64_t commit_ns)
{
    struct metrics *m = user;
    (void)bytes;
    metric_observe(m->store_commit_ms, METRIC_SHARD_STORE, (double)commit_ns / 1e6);
    metric_observe(m->store_batch_size, METRIC_SHARD_STORE, (double)ops);
}

/* ---- life ---- */

static struct metric_series *store_gauge(struct ops *ops, const char *name, const char *help)
{
    struct figures *f = ops->figures;
    return metric_series(metric_gauge(ops->metrics->registry, name, help, "app_id,port"),
                         (struct str[]){f->app_id, str_of(f->port)});
}

void figures_start(struct ops *ops)
{
    struct figures *f = ops->figures = mem_new(struct figures);
    struct buf port = {0};
    buf_u64(&port, ops->config->metrics.port);
    memcpy(f->port, port.p, port.n);
    buf_free(&port);
    f->app_id = apps_count(ops->apps) == 1 ? apps_at(ops->apps, 0)->id : STR("all");
    f->degraded = store_gauge(ops, "history_degraded_channels",
                              "Channels whose history is not healthy, those that need a reset included");
    f->reset_required =
        store_gauge(ops, "history_reset_required_channels", "Channels whose history needs a reset");
    register_all(ops->metrics->registry, f);
    if (ops->store) {
        store_stats(ops->store)->on_batch_user = ops->metrics;
        store_stats(ops->store)->on_batch = on_batch;
    }
}

void figures_stop(struct ops *ops)
{
    free(ops->figures);
    ops->figures = NULL;
}

void ops_metrics_text(struct ops *ops, struct buf *out)
{
    struct figures *f = ops->figures;
    f->process = process_read();
    f->connections_budget = (double)connections_budget(ops->config, (uint64_t)f->process.max_fds);
    take_shards(ops, f);
    take_store(ops, f);
    metric_render(ops->metrics->registry, ops->config->metrics.prefix, out);
}

/* ---- the listener ---- */

static void respond(struct http_request *request, unsigned status, struct str type, struct str headers,
                    struct str body)
{
    http_respond(request,
                 &(struct http_response){
                     .status = status, .content_type = type, .extra_headers = headers, .body = body});
}

void ops_metrics_request(void *user, struct http_request *request)
{
    struct ops *ops = user;
    struct buf text = {0};
    if (!str_eq(request->path, STR("/metrics"))) {
        respond(request, 404, STR("text/plain"), STR_NONE, STR("404 NOT FOUND"));
        return;
    }
    if (request->method != HTTP_GET_ && request->method != HTTP_HEAD_) {
        respond(request, 405, STR("text/plain"), STR("Allow: GET, HEAD\r\n"), STR("405 METHOD NOT ALLOWED"));
        return;
    }
    if (ops->config->metrics.enabled)
        ops_metrics_text(ops, &text);
    else
        buf_lit(&text, "# Metrics collection is not enabled.\n");
    respond(request, 200, STR("text/plain; version=0.0.4; charset=utf-8"), STR_NONE, buf_view(&text));
    buf_free(&text);
}
