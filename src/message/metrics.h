/* metrics.h - the figures that the core keeps (chapter 4, 8.2), as plain calls.
 *
 * A shard only ever writes its own cells, so counting is an addition. Series for every configured app are made at
 * start, so that they exist at 0 before any traffic.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "app/app.h"
#include "base/metric.h"
#include "message/env.h"

/* Per app. X(field, name) */
#define METRICS_APP_COUNTERS(X)                                                                              \
    X(new_connections, "new_connections_total")                                                              \
    X(new_disconnections, "new_disconnections_total")                                                        \
    X(bytes_in, "socket_received_bytes")                                                                     \
    X(bytes_out, "socket_transmitted_bytes")                                                                 \
    X(messages_in, "ws_messages_received_total")                                                             \
    X(messages_out, "ws_messages_sent_total")                                                                \
    X(http_in, "http_received_bytes")                                                                        \
    X(http_out, "http_transmitted_bytes")                                                                    \
    X(http_calls, "http_calls_received_total")                                                               \
    X(idempotency_publish, "idempotency_publish_total")                                                      \
    X(idempotency_duplicates, "idempotency_duplicates_total")                                                \
    X(idempotency_refused, "idempotency_refused_total")                                                      \
    X(ephemeral, "ephemeral_messages_total")                                                                 \
    X(filtered, "event_filter_suppressed_total")                                                             \
    X(echo_suppressed, "echo_suppressed_total")                                                              \
    X(cancels, "ai_cancel_signals_total")                                                                    \
    X(runs_started, "ai_runs_started_total")                                                                 \
    X(turns_started, "ai_turns_started_total")                                                               \
    X(unparseable, "ai_messages_unparseable_total")                                                          \
    X(stream_bytes, "ai_stream_bytes_total")                                                                 \
    X(appends_received, "appends_received_total")                                                            \
    X(appends_delivered, "appends_delivered_total")                                                          \
    X(rollup_bypassed, "rollup_bypassed_total")                                                          \
    X(flush_late, "flush_late_total")                                                                        \
    X(orphans_closed, "ai_orphans_closed_total")                                                             \
    X(revocations_refused, "capability_revocations_refused_total")                                           \
    X(slow_consumers, "slow_consumer_disconnects_total")                                                     \
    X(dropped_frames, "slow_consumer_dropped_frames_total")                                                  \
    X(annotations_published, "annotations_published_total")                                                  \
    X(annotations_deleted, "annotations_deleted_total")                                                      \
    X(annotation_clipped, "annotation_summary_clipped_total")                                                \
    X(annotation_summaries, "annotation_summary_deliveries_total")                                           \
    X(annotation_rebuilds, "annotation_projection_rebuild_total")                                            \
    X(history_writes, "history_writes_total")                                                                \
    X(history_write_failures, "history_write_failures_total")                                                \
    X(history_evictions, "history_evictions_total")                                                          \
    X(history_evicted_bytes, "history_evicted_bytes_total")                                                  \
    X(cache_evictions, "cache_channel_evictions_total")                                                      \
    X(hot_evictions, "recovery_buffer_evictions_total")                                                    \
    X(presence_writes, "presence_history_writes_total")                                                      \
    X(presence_write_failures, "presence_history_write_failures_total")                                      \
    X(presence_evictions, "presence_history_evictions_total")                                                \
    X(presence_evicted_bytes, "presence_history_evicted_bytes_total")                                        \
    X(presence_departed_dropped, "presence_departed_dropped_total")                                          \
    X(will_dropped, "will_entries_dropped_total")

#define METRICS_APP_GAUGES(X)                                                                                \
    X(connected, "connected")                                                                                \
    X(active_streams, "ai_active_streams")                                                                   \
    X(event_readers, "event_stream_readers")                                                                 \
    X(append_streams, "append_streams_open")                                                                 \
    X(rollup_states, "active_streams")                                                                       \
    X(annotation_bytes, "annotation_bytes")                                                                  \
    X(full_text_bytes, "full_text_bytes")                                                                    \
    X(rollup_pending, "rollup_pending_bytes")                                                                \
    X(wildcards, "wildcard_subscriptions")                                                                   \
    X(revocations, "capability_revocations")                                                                 \
    X(replay_waiting, "replay_waiting_bytes")                                                               \
    X(cached_events, "cache_channel_events")                                                                 \
    X(hot_bytes, "recovery_buffer_bytes")                                                                    \
    X(history_queue, "history_queue_depth")                                                                  \
    X(history_degraded, "history_degraded_channels")                                                         \
    X(history_reset_required, "history_reset_required_channels")                                             \
    X(presence_retained_events, "presence_history_retained_events")                                          \
    X(presence_retained_bytes, "presence_history_retained_bytes")                                            \
    X(presence_queue, "presence_history_queue_depth")                                                        \
    X(presence_degraded, "presence_history_degraded_channels")                                               \
    X(presence_reset_required, "presence_history_reset_required_channels")

#define METRICS_APP_HISTOGRAMS(X)                                                                            \
    X(append_delivery, "append_delivery_latency_ms", BUCKETS_LATENCY)                                        \
    X(flush_latency, "flush_latency", BUCKETS_FLUSH)                                                         \
    X(rollup_ratio, "rollup_ratio", BUCKETS_RATIO)                                                           \
    X(stream_duration, "ai_stream_duration_seconds", BUCKETS_SECONDS)                                        \
    X(annotation_rebuild_seconds, "annotation_projection_rebuild_duration_seconds", BUCKETS_SECONDS)         \
    X(history_write_latency, "history_write_latency_ms", BUCKETS_LATENCY)                                    \
    X(presence_write_latency, "presence_history_write_latency_ms", BUCKETS_LATENCY)

struct app_metrics {
#define X(field, name) struct metric_series *field;
    METRICS_APP_COUNTERS(X)
    METRICS_APP_GAUGES(X)
#undef X
#define X(field, name, buckets) struct metric_series *field;
    METRICS_APP_HISTOGRAMS(X)
#undef X
};

struct metrics {
    struct metric_registry *registry;
    struct app_metrics *apps;               /* by app->index */
    struct metric_series *store_commit_ms;  /* histogram store_commit_latency_ms */
    struct metric_series *store_batch_size; /* histogram */
};

/* port: the metrics port, the value of the label `port`. */
struct metrics *metrics_new(const struct apps *apps, unsigned port);
void metrics_free(struct metrics *m);

static inline struct app_metrics *metrics_of(const struct env *env, const struct app *app)
{
    return &env->metrics->apps[app->index];
}
#define metrics_count(env, app, field, n) metric_add(metrics_of(env, app)->field, (env)->shard, n)
/* Gauges are kept as sums of changes per shard; n may be negative. */
#define metrics_gauge(env, app, field, n) metric_add(metrics_of(env, app)->field, (env)->shard, (uint64_t)(int64_t)(n))
#define metrics_observe(env, app, field, value) metric_observe(metrics_of(env, app)->field, (env)->shard, value)

/* Counters with a second label; found by value, so not for the hottest paths. */
void metrics_mutation(const struct env *env, const struct app *app, const char *action, const char *result);
void metrics_recovery(const struct env *env, const struct app *app, const char *failure_code_or_null, const char *source);
/* What was missed of other nodes, or of a failed write, has been brought: source "bus", late, or "store". */
void metrics_gap_repair(const struct env *env, const struct app *app, const char *source);
void metrics_subscription(const struct env *env, const struct app *app, const char *channel_type, int change);
void metrics_active_channel(const struct env *env, const struct app *app, const char *channel_type, int change);
void metrics_connection_error(const struct env *env, const struct app *app, const char *type);
void metrics_rate_limit(const struct env *env, const char *app_id, const char *limiter, const char *context, bool triggered);
/* The limiters of one connection: "messages", "client_events", "presence_update". */
void metrics_connection_limit(const struct env *env, const struct app *app, const char *limiter, bool triggered);
/* connection_limits_reached_total{limit}: "channels", "wildcards", "filters", "subscribes", "attaches", "channels_of_node", "positions", "histories", "replays", "watchlist". */
void metrics_limit_reached(const struct env *env, const struct app *app, const char *limit);
void metrics_ai_validated(const struct env *env, const struct app *app, struct str event);
void metrics_ai_rejected(const struct env *env, const struct app *app, int code);
void metrics_run_ended(const struct env *env, const struct app *app, const char *reason);
void metrics_retrieval(const struct env *env, const struct app *app, const char *surface, const char *result);
void metrics_substitution(const struct env *env, const struct app *app, const char *result);
/* broadcast_latency_ms{channel_type,recipient_count_bucket} */
void metrics_broadcast(const struct env *env, const struct app *app, const char *channel_type, uint32_t recipients, double ms);
