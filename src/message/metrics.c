/* metrics.c - every series of the core, made once at start.
 *
 * Series with one or two further labels stand in tables of known values, one copy per app:
 *
 *      series[app][table.first .. ]      value i of the first label, k of the second: first + i * (count of
 * second) + k
 *
 * so that counting compares a few short words and takes no lock. A value that is not in its table still
 * counts: it is looked up in the registry then.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "message/metrics.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

/* ---- buckets: chapter 4, 8.2, "ours" ---- */

static const double BUCKETS_LATENCY[] = {0.5, 1,  2,  2.5, 3,  4,   5,   6,   7,    8,    9,   10,
                                         15,  20, 25, 30,  50, 100, 250, 500, 1000, 2500, 5000};
static const double BUCKETS_FLUSH[] = {0.5, 1,  2,  5,  10, 15,  20,  22,  25,  30,  35,  40,
                                       42,  45, 50, 60, 80, 100, 105, 150, 250, 500, 505, 1000};
static const double BUCKETS_RATIO[] = {1, 2, 4, 8, 16, 32, 64, 128};
static const double BUCKETS_SECONDS[] = {0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300};
static const double BUCKETS_BATCH[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};

#define BOUNDS(array) (array), sizeof(array) / sizeof *(array)

/* ---- what the names mean ---- */

static const struct {
    const char *name, *help;
} helps[] = {
    {"new_connections_total", "WebSocket connections opened"},
    {"new_disconnections_total", "WebSocket connections closed"},
    {"socket_received_bytes", "Payload bytes received over WebSockets"},
    {"socket_transmitted_bytes", "Payload bytes handed to WebSockets"},
    {"ws_messages_received_total", "WebSocket messages received"},
    {"ws_messages_sent_total", "WebSocket messages sent"},
    {"http_received_bytes", "Body bytes of signed HTTP requests"},
    {"http_transmitted_bytes", "Body bytes of their responses"},
    {"http_calls_received_total", "Signed HTTP requests answered"},
    {"idempotency_publish_total", "Publishes that carried an idempotency key"},
    {"idempotency_refused_total", "Publishes refused since their idempotency key could not be kept"},
    {"idempotency_duplicates_total", "Publishes answered from an earlier one with the same key"},
    {"ephemeral_messages_total", "Messages published as ephemeral"},
    {"event_filter_suppressed_total", "Deliveries withheld by subscription filters"},
    {"echo_suppressed_total", "Deliveries withheld from their own publisher"},
    {"ai_cancel_signals_total", "Cancel events published"},
    {"ai_runs_started_total", "AI runs started"},
    {"ai_turns_started_total", "AI runs started (legacy name)"},
    {"ai_messages_unparseable_total", "Stored AI headers that do not parse"},
    {"ai_stream_bytes_total", "Bytes appended to AI streams"},
    {"appends_received_total", "Appends that entered rollup"},
    {"appends_delivered_total", "Append messages that left rollup"},
    {"rollup_bypassed_total", "Appends that rollup had no room for: they left at once"},
    {"flush_late_total", "Append messages that left rollup more than 5 ms behind the end of their window"},
    {"ai_orphans_closed_total", "Streams closed by the orphan janitor"},
    {"capability_revocations_refused_total", "Revocations refused because too many are in force"},
    {"slow_consumer_disconnects_total", "Connections closed because their send queue was full"},
    {"slow_consumer_dropped_frames_total", "Frames dropped because a send queue was full"},
    {"annotations_published_total", "Annotations created"},
    {"annotations_deleted_total", "Annotations deleted"},
    {"annotation_summary_clipped_total", "Summaries that could not list all client ids"},
    {"annotation_summary_deliveries_total", "Summaries sent to a channel"},
    {"annotation_projection_rebuild_total", "Times that a channel's summaries were folded from the store"},
    {"annotation_projection_rebuild_duration_seconds", "How long that took"},
    {"annotation_bytes", "Bytes of annotations held in memory"},
    {"history_writes_total", "Rows written to durable history"},
    {"history_write_failures_total", "Rows that could not be written"},
    {"history_evictions_total", "Rows removed by retention"},
    {"history_evicted_bytes_total", "Bytes removed by retention"},
    {"recovery_buffer_evictions_total", "Frames and runs that a limit has dropped from the replay buffers"},
    {"cache_channel_events", "Last events of cache channels in memory"},
    {"cache_channel_evictions_total", "Of those, dropped for newer ones: cache.memory.max_capacity"},
    {"recovery_buffer_bytes", "Bytes in the replay buffers"},
    {"replay_waiting_bytes", "Bytes read for rewinds and resumes that wait for their sockets"},
    {"connected", "Open WebSocket connections"},
    {"ai_active_streams", "Open AI streams"},
    {"event_stream_readers", "Readers of messages by server-sent events"},
    {"append_streams_open", "Streaming append requests that have not ended"},
    {"active_streams", "Channels and windows in which something was sent less than a window ago"},
    {"full_text_bytes", "Accumulated text held for subscribers of whole snapshots"},
    {"rollup_pending_bytes", "Memory of what waits in rollup"},
    {"wildcard_subscriptions", "Subscriptions to names with a star"},
    {"capability_revocations", "Revocations of capability tokens in force"},
    {"history_queue_depth", "Writes submitted to the store and not completed"},
    {"history_degraded_channels", "Channels whose history is not healthy, those that need a reset included"},
    {"history_reset_required_channels", "Channels whose history needs a reset"},
    {"append_delivery_latency_ms", "Arrival of an append until its frame was taken by the kernel, ms"},
    {"flush_latency", "Arrival of the oldest fragment at the owner until emission, ms"},
    {"rollup_ratio", "Appends per delivered append message"},
    {"ai_stream_duration_seconds", "First append until the terminal one"},
    {"presence_history_writes_total", "Membership transitions recorded"},
    {"presence_history_write_failures_total", "Membership transitions that could not be recorded"},
    {"presence_history_evictions_total", "Recorded transitions removed by retention"},
    {"presence_history_evicted_bytes_total", "Their bytes"},
    {"presence_departed_dropped_total", "Members who went with a node and could not be kept until the outside surely knows"},
    {"will_entries_dropped_total", "Changes of a node's will that found its queue full: it is wrong in them until the next renewal"},
    {"presence_history_retained_events", "Transitions retained, of channels in memory"},
    {"presence_history_retained_bytes", "Their bytes"},
    {"presence_history_queue_depth", "Transitions submitted to the store, or waiting for that"},
    {"presence_history_degraded_channels", "Channels whose presence history has a hole, those that need a reset included"},
    {"presence_history_reset_required_channels", "Channels whose presence history needs a reset"},
    {"presence_history_write_latency_ms", "Recording a transition as its owner sees it, ms"},
    {"history_write_latency_ms", "Durable write as its owner sees it, ms"},
};

static const char *help_of(const char *name)
{
    for (size_t i = 0; i < sizeof helps / sizeof *helps; i++)
        if (strcmp(helps[i].name, name) == 0)
            return helps[i].help;
    return name;
}

/* ---- tables ---- */

static const char *const CHANNEL_TYPES[] = {"public", "private", "private-encrypted", "presence", NULL};
static const char *const SIZE_CLASSES[] = {"xs", "sm", "md", "lg", "xl", NULL};
static const char *const OPERATIONS[] = {"message.create", "message.update", "message.append",
                                         "message.delete", NULL};
static const char *const RESULTS[] = {"applied",  "duplicate", "auth_failed", "rejected",
                                      "conflict", "error",     NULL};
static const char *const SOURCES[] = {"hot", "cold", NULL};
static const char *const REPAIR_SOURCES[] = {"bus", "store", NULL};
static const char *const RECOVERY_CODES[] = {"position_expired", "stream_reset", "continuity_unverifiable",
                                             "persistence_unavailable", NULL};
static const char *const CONNECTION_ERRORS[] = {"invalid_message_format", "message_parse_error",
                                                "missing_event_name",     "origin_not_allowed",
                                                "socket_handling_failed", "token",
                                                "over_capacity",          "over_quota",           NULL};
static const char *const AI_EVENTS[] = {"ai-input",      "ai-cancel",      "ai-output",     "ai-run-start",
                                        "ai-turn-start", "ai-run-suspend", "ai-run-resume", "ai-run-end",
                                        "ai-turn-end",   "ai-step-start",  "ai-step-end",   NULL};
static const char *const AI_CODES[] = {"104000", "104001", "104002", "104003",
                                       "40009",  "93002",  "104006", NULL};
static const char *const RUN_REASONS[] = {"complete", "cancelled", "error", "unknown", NULL};
static const char *const SURFACES[] = {"latest", "versions", NULL};
static const char *const HITS[] = {"hit", "miss", NULL};
static const char *const SUBSTITUTIONS[] = {"applied", "missing_latest", "not_versioned", NULL};
static const char *const LIMITS[] = {"channels", "wildcards", "filters", "subscribes", "attaches", "channels_of_node", "positions", "histories", "replays", "watchlist", NULL};
static const char *const LIMITERS[] = {"messages", "client_events", "presence_update", NULL};
static const char *const NO_CONTEXT[] = {"unknown", NULL};

enum table_id {
    SUBSCRIPTIONS,
    UNSUBSCRIPTIONS,
    ACTIVE_CHANNELS,
    BROADCAST,
    MUTATIONS,
    RECOVERED,
    NOT_RECOVERED,
    GAP_REPAIRS,
    ERRORS,
    AI_VALID,
    AI_REJECTED,
    RUNS_ENDED,
    TURNS_ENDED,
    RETRIEVALS,
    SUBSTITUTED,
    LIMIT_CHECKS,
    LIMIT_TRIGGERS,
    LIMITS_REACHED,
    TABLES
};
enum table_kind { COUNTER, GAUGE, HISTOGRAM };

static const struct table {
    const char *name, *help, *labels;
    enum table_kind kind;
    const char *const *first, *const *second; /* NULL-terminated; second NULL = one further label */
} tables[TABLES] = {
    [SUBSCRIPTIONS] = {"channel_subscriptions_total", "Subscriptions made", "app_id,port,channel_type",
                       COUNTER, CHANNEL_TYPES, NULL},
    [UNSUBSCRIPTIONS] = {"channel_unsubscriptions_total", "Subscriptions ended", "app_id,port,channel_type",
                         COUNTER, CHANNEL_TYPES, NULL},
    [ACTIVE_CHANNELS] = {"active_channels", "Channels with subscribers", "app_id,port,channel_type", GAUGE,
                         CHANNEL_TYPES, NULL},
    [BROADCAST] = {"broadcast_latency_ms",
                   "Arrival of a message until its last local recipient's kernel took it, ms",
                   "app_id,port,channel_type,recipient_count_bucket", HISTOGRAM, CHANNEL_TYPES, SIZE_CLASSES},
    [MUTATIONS] = {"versioned_message_mutations_total", "Operations on versioned messages",
                   "app_id,port,action,result", COUNTER, OPERATIONS, RESULTS},
    [RECOVERED] = {"history_recovery_success_total", "Resumes that were served", "app_id,port,source",
                   COUNTER, SOURCES, NULL},
    [NOT_RECOVERED] = {"history_recovery_failures_total", "Resumes that were refused", "app_id,port,code",
                       COUNTER, RECOVERY_CODES, NULL},
    [GAP_REPAIRS] = {"resume_gap_repairs_total", "Gaps in a channel that came late over the bus, or were read from the store",
                     "app_id,port,source", COUNTER, REPAIR_SOURCES, NULL},
    [ERRORS] = {"connection_errors_total", "Errors on WebSocket connections", "app_id,port,error_type",
                COUNTER, CONNECTION_ERRORS, NULL},
    [AI_VALID] = {"ai_messages_validated_total", "AI events accepted", "app_id,port,event", COUNTER,
                  AI_EVENTS, NULL},
    [AI_REJECTED] = {"ai_messages_rejected_total", "AI events and mutations refused", "app_id,port,code",
                     COUNTER, AI_CODES, NULL},
    [RUNS_ENDED] = {"ai_runs_ended_total", "AI runs ended", "app_id,port,reason", COUNTER, RUN_REASONS, NULL},
    [TURNS_ENDED] = {"ai_turns_ended_total", "AI runs ended (legacy name)", "app_id,port,reason", COUNTER,
                     RUN_REASONS, NULL},
    [RETRIEVALS] = {"versioned_message_retrieval_total", "Reads of messages and their versions",
                    "app_id,port,surface,result", COUNTER, SURFACES, HITS},
    [SUBSTITUTED] = {"versioned_history_substitution_total", "History rows shown as their newest version",
                     "app_id,port,result", COUNTER, SUBSTITUTIONS, NULL},
    [LIMIT_CHECKS] = {"rate_limit_checks_total", "Rate limit checks",
                      "app_id,port,limiter_type,request_context", COUNTER, LIMITERS, NO_CONTEXT},
    [LIMIT_TRIGGERS] = {"rate_limit_triggered_total", "Requests refused by a rate limit",
                        "app_id,port,limiter_type,request_context", COUNTER, LIMITERS, NO_CONTEXT},
    [LIMITS_REACHED] = {"connection_limits_reached_total", "What a client asked for beyond what one connection, or all of them, may have",
                        "app_id,port,limit", COUNTER, LIMITS, NULL},
};

/* The limiters by client address, which belong to no app. */
static const struct {
    const char *limiter, *context;
} global_limiters[] = {{"api_rate_limit", "http_api"}, {"websocket_connect", "websocket_upgrade"}};
enum { GLOBAL_LIMITERS = sizeof global_limiters / sizeof *global_limiters };

struct whole {
    struct metrics public; /* first: what callers hold */
    char port[8];
    size_t first[TABLES + 1]; /* of each table in a row of series */
    struct metric_family *families[TABLES];
    struct metric_series **series;                    /* apps x first[TABLES] */
    struct metric_series *global[2][GLOBAL_LIMITERS]; /* checks, triggers */
};

static size_t count_words(const char *const *words)
{
    size_t n = 0;
    while (words && words[n])
        n++;
    return n;
}

static size_t seconds_of(const struct table *t)
{
    return t->second ? count_words(t->second) : 1;
}

static struct metric_family *family_of(struct metric_registry *r, const struct table *t)
{
    switch (t->kind) {
    case COUNTER:
        return metric_counter(r, t->name, t->help, t->labels);
    case GAUGE:
        return metric_gauge(r, t->name, t->help, t->labels);
    default:
        return metric_histogram(r, t->name, t->help, t->labels, BOUNDS(BUCKETS_LATENCY));
    }
}

static struct metric_series *series_for(struct whole *w, enum table_id id, struct str app_id,
                                        const char *first, const char *second)
{
    return metric_series(w->families[id], (struct str[]){app_id, str_of(w->port), str_of(first),
                                                         str_of(second ? second : "")});
}

/* ---- start ---- */

static void make_plain(struct whole *w, const struct app *app)
{
    struct metric_registry *r = w->public.registry;
    struct app_metrics *m = &w->public.apps[app->index];
    struct str values[] = {app->id, str_of(w->port)};
#define X(field, name)                                                                                       \
    m->field = metric_series(metric_counter(r, name, help_of(name), "app_id,port"), values);
    METRICS_APP_COUNTERS(X)
#undef X
#define X(field, name) m->field = metric_series(metric_gauge(r, name, help_of(name), "app_id,port"), values);
    METRICS_APP_GAUGES(X)
#undef X
#define X(field, name, buckets)                                                                              \
    m->field =                                                                                               \
        metric_series(metric_histogram(r, name, help_of(name), "app_id,port", BOUNDS(buckets)), values);
    METRICS_APP_HISTOGRAMS(X)
#undef X
}

static void make_table(struct whole *w, enum table_id id, const struct app *app)
{
    const struct table *t = &tables[id];
    struct metric_series **at = &w->series[app->index * w->first[TABLES] + w->first[id]];
    for (size_t i = 0; t->first[i]; i++)
        for (size_t k = 0; k < seconds_of(t); k++)
            *at++ = series_for(w, id, app->id, t->first[i], t->second ? t->second[k] : NULL);
}

static void make_global(struct whole *w)
{
    for (size_t i = 0; i < GLOBAL_LIMITERS; i++)
        for (size_t k = 0; k < 2; k++)
            w->global[k][i] = series_for(w, k == 0 ? LIMIT_CHECKS : LIMIT_TRIGGERS, STR("global"),
                                         global_limiters[i].limiter, global_limiters[i].context);
}

/* One node: there is nothing to lose or to wait for, and the alerts must find their series. */
static void make_transport(struct metric_registry *r)
{
    const struct str driver[] = {STR("local")};
    metric_series(
        metric_gauge(r, "horizontal_transport_queue_depth", "Frames that wait for the bus", "driver"),
        driver);
    metric_series(metric_counter(r, "horizontal_transport_messages_dropped_total",
                                 "Bus messages lost or undecodable", "driver"),
                  driver);
    metric_series(
        metric_counter(r, "horizontal_transport_reconnections_total", "Reconnections of the bus", "driver"),
        driver);
}

struct metrics *metrics_new(const struct apps *apps, unsigned port)
{
    struct whole *w = mem_new(struct whole);
    struct buf text = {0};
    size_t n = apps_count(apps);
    w->public.registry = metric_registry_new();
    w->public.apps = mem_zalloc((n + 1) * sizeof *w->public.apps);
    buf_u64(&text, port);
    memcpy(w->port, text.p, text.n < sizeof w->port ? text.n : sizeof w->port - 1);
    buf_free(&text);
    for (int id = 0; id < TABLES; id++) {
        w->families[id] = family_of(w->public.registry, &tables[id]);
        w->first[id + 1] = w->first[id] + count_words(tables[id].first) * seconds_of(&tables[id]);
    }
    w->series = mem_alloc((n + 1) * w->first[TABLES] * sizeof(struct metric_series *));
    for (size_t i = 0; i < n; i++) {
        make_plain(w, apps_at(apps, i));
        for (int id = 0; id < TABLES; id++)
            make_table(w, (enum table_id)id, apps_at(apps, i));
    }
    make_global(w);
    make_transport(w->public.registry);
    w->public.store_commit_ms =
        metric_series(metric_histogram(w->public.registry, "store_commit_latency_ms",
                                       "Commits of the store, ms", NULL, BOUNDS(BUCKETS_LATENCY)),
                      NULL);
    w->public.store_batch_size =
        metric_series(metric_histogram(w->public.registry, "store_batch_size", "Operations per commit", NULL,
                                       BOUNDS(BUCKETS_BATCH)),
                      NULL);
    return &w->public;
}

void metrics_free(struct metrics *m)
{
    struct whole *w = (struct whole *)m;
    if (!w)
        return;
    metric_registry_free(m->registry);
    free(m->apps);
    free(w->series);
    free(w);
}

/* ---- counting ---- */

static size_t index_of(const char *const *words, const char *word)
{
    size_t i = 0;
    while (words[i] && strcmp(words[i], word) != 0)
        i++;
    return i;
}

static struct metric_series *find(const struct env *env, const struct app *app, enum table_id id,
                                  const char *first, const char *second)
{
    struct whole *w = (struct whole *)env->metrics;
    const struct table *t = &tables[id];
    size_t i = index_of(t->first, first), k = t->second ? index_of(t->second, second) : 0;
    if (!t->first[i] || (t->second && !t->second[k]))
        return series_for(w, id, app->id, first, second);
    return w->series[app->index * w->first[TABLES] + w->first[id] + i * seconds_of(t) + k];
}

static void count(const struct env *env, const struct app *app, enum table_id id, const char *first,
                  const char *second)
{
    metric_add(find(env, app, id, first, second), env->shard, 1);
}

void metrics_mutation(const struct env *env, const struct app *app, const char *action, const char *result)
{
    count(env, app, MUTATIONS, action, result);
}

void metrics_recovery(const struct env *env, const struct app *app, const char *failure_code_or_null,
                      const char *source)
{
    if (failure_code_or_null)
        count(env, app, NOT_RECOVERED, failure_code_or_null, NULL);
    else
        count(env, app, RECOVERED, source, NULL);
}

void metrics_gap_repair(const struct env *env, const struct app *app, const char *source)
{
    count(env, app, GAP_REPAIRS, source, NULL);
}

void metrics_subscription(const struct env *env, const struct app *app, const char *channel_type, int change)
{
    count(env, app, change > 0 ? SUBSCRIPTIONS : UNSUBSCRIPTIONS, channel_type, NULL);
}

void metrics_active_channel(const struct env *env, const struct app *app, const char *channel_type,
                            int change)
{
    metric_add(find(env, app, ACTIVE_CHANNELS, channel_type, NULL), env->shard, change);
}

void metrics_connection_error(const struct env *env, const struct app *app, const char *type)
{
    count(env, app, ERRORS, type, NULL);
}

static struct metric_series *limiter_series(struct whole *w, const char *app_id, bool trigger,
                                            const char *limiter, const char *context)
{
    if (strcmp(app_id, "global") == 0)
        for (size_t i = 0; i < GLOBAL_LIMITERS; i++)
            if (strcmp(limiter, global_limiters[i].limiter) == 0 &&
                strcmp(context, global_limiters[i].context) == 0)
                return w->global[trigger][i];
    return series_for(w, trigger ? LIMIT_TRIGGERS : LIMIT_CHECKS, str_of(app_id), limiter, context);
}

void metrics_rate_limit(const struct env *env, const char *app_id, const char *limiter, const char *context,
                        bool triggered)
{
    struct whole *w = (struct whole *)env->metrics;
    metric_add(limiter_series(w, app_id, false, limiter, context), env->shard, 1);
    if (triggered)
        metric_add(limiter_series(w, app_id, true, limiter, context), env->shard, 1);
}

void metrics_connection_limit(const struct env *env, const struct app *app, const char *limiter, bool triggered)
{
    count(env, app, LIMIT_CHECKS, limiter, NO_CONTEXT[0]);
    if (triggered)
        count(env, app, LIMIT_TRIGGERS, limiter, NO_CONTEXT[0]);
}

void metrics_limit_reached(const struct env *env, const struct app *app, const char *limit)
{
    count(env, app, LIMITS_REACHED, limit, NULL);
}

void metrics_ai_validated(const struct env *env, const struct app *app, struct str event)
{
    for (size_t i = 0; AI_EVENTS[i]; i++)
        if (str_eq(event, str_of(AI_EVENTS[i])))
            count(env, app, AI_VALID, AI_EVENTS[i], NULL);
}

void metrics_ai_rejected(const struct env *env, const struct app *app, int code)
{
    char text[16];
    snprintf(text, sizeof text, "%d", code);
    count(env, app, AI_REJECTED, text, NULL);
}

void metrics_run_ended(const struct env *env, const struct app *app, const char *reason)
{
    count(env, app, RUNS_ENDED, reason, NULL);
    count(env, app, TURNS_ENDED, reason, NULL);
}

void metrics_retrieval(const struct env *env, const struct app *app, const char *surface, const char *result)
{
    count(env, app, RETRIEVALS, surface, result);
}

void metrics_substitution(const struct env *env, const struct app *app, const char *result)
{
    count(env, app, SUBSTITUTED, result, NULL);
}

static const char *size_class(uint32_t recipients)
{
    return recipients <= 10      ? "xs"
           : recipients <= 100   ? "sm"
           : recipients <= 1000  ? "md"
           : recipients <= 10000 ? "lg"
                                 : "xl";
}

void metrics_broadcast(const struct env *env, const struct app *app, const char *channel_type,
                       uint32_t recipients, double ms)
{
    metric_observe(find(env, app, BROADCAST, channel_type, size_class(recipients)), env->shard, ms);
}
