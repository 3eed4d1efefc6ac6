/* doctor.c - the report, and the checks that only read: limits and configuration.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ops/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "ops/internal.h"

enum { SOMAXCONN_MIN = 1024, API_REQUESTS_MIN_PER_S = 1000, ORPHAN_TTL_MAX_MS = 600000 };

void doctor_say(struct doctor *d, enum doctor_verdict verdict, const char *subject, const char *format, ...)
{
    static const char *const words[] = {"ok  ", "WARN", "FAIL"};
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    d->counts[verdict]++;
    buf_fmt(d->out, "%s  %-13s  %s\n", words[verdict], subject, text);
    if (verdict != DOCTOR_FINE)
        buf_fmt(d->out, "                     -> docs/runbook.md#doctor-%s\n", subject);
}

/* ---- limits ---- */

static uint64_t number_in(const char *path)
{
    FILE *file = fopen(path, "re");
    unsigned long long n = 0;
    if (file == NULL)
        return 0;
    if (fscanf(file, "%llu", &n) != 1)
        n = 0;
    fclose(file);
    return n;
}

void doctor_limits(struct doctor *d, const struct config *config, uint64_t files_max)
{
    struct config unlimited = *config;
    unlimited.max_connections = 0;
    uint64_t room = connections_budget(&unlimited, files_max), queue = number_in("/proc/sys/net/core/somaxconn");
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (config->max_connections > room)
        doctor_say(d, DOCTOR_FAILS, "limits", "max_connections = %u, but %llu open files leave room for %llu", config->max_connections,
                   (unsigned long long)files_max, (unsigned long long)room);
    else
        doctor_say(d, DOCTOR_FINE, "limits", "%llu open files: room for %llu connections, of which to plan for %llu",
                   (unsigned long long)files_max, (unsigned long long)room,
                   (unsigned long long)connections_budget(config, files_max) * 8 / 10);
    if (config->max_connections == 0)
        doctor_say(d, DOCTOR_WARNS, "limits", "max_connections is not set: the node refuses nobody until its files run out");
    if (queue > 0 && queue < SOMAXCONN_MIN)
        doctor_say(d, DOCTOR_WARNS, "limits", "net.core.somaxconn = %llu: a reconnect storm overflows the queue of the port",
                   (unsigned long long)queue);
    if (cores > 0 && config->workers > (unsigned long)cores)
        doctor_say(d, DOCTOR_WARNS, "limits", "workers = %u on %ld cores", config->workers, cores);
}

/* ---- configuration ---- */

static bool is_loopback(struct str host)
{
    return str_starts(host, STR("127.")) || str_eq(host, STR("localhost")) || str_eq(host, STR("::1"));
}

static void look_at_app(struct doctor *d, const struct config *config, const struct app_config *app)
{
    bool known = str_eq(app->key, STR("app-key")) && str_eq(app->secret, STR("app-secret"));
    if (known && !is_loopback(config->host))
        doctor_say(d, DOCTOR_FAILS, "configuration", "app %.*s has the public demo key and secret, on %.*s", STR_ARG(app->id),
                   STR_ARG(config->host));
    else if (known)
        doctor_say(d, DOCTOR_WARNS, "configuration", "app %.*s has the public demo key and secret", STR_ARG(app->id));
    if (app->allowed_origins_count == 0 && !is_loopback(config->host))
        doctor_say(d, DOCTOR_WARNS, "configuration", "app %.*s: any web page may connect (allowed_origins is empty)",
                   STR_ARG(app->id));
    if (app->webhooks_count > 0 && !config->queue.enabled)
        doctor_say(d, DOCTOR_WARNS, "configuration", "app %.*s has webhooks, but queue.driver is none: they are not sent",
                   STR_ARG(app->id));
}

static void look_at_limiter(struct doctor *d, const struct config *config)
{
    const struct rate_limit_config *api = &config->rate_limiter.api;
    if (!config->rate_limiter.enabled && !is_loopback(config->host))
        doctor_say(d, DOCTOR_WARNS, "configuration", "rate_limiter is off: nothing shapes a reconnect storm");
    if (config->rate_limiter.enabled && config->ai.enabled && api->window_seconds > 0 &&
        api->max_requests / api->window_seconds < API_REQUESTS_MIN_PER_S)
        doctor_say(d, DOCTOR_WARNS, "configuration",
                   "rate_limiter.api_rate_limit lets one address make %llu requests in %llu s: an agent that appends token by token meets it",
                   (unsigned long long)api->max_requests, (unsigned long long)api->window_seconds);
}

static void look_at_history(struct doctor *d, const struct config *config)
{
    if (config->history.enabled && config->history.backend == BACKEND_MEMORY)
        doctor_say(d, DOCTOR_WARNS, "configuration", "history.backend = memory: a restart forgets all history");
    if (config->history.enabled && config->history.backend == BACKEND_ROCKSDB && config->rocksdb.sync != SYNC_ALWAYS)
        doctor_say(d, DOCTOR_WARNS, "configuration",
                   "database.rocksdb.sync = interval: a power loss takes back up to %u ms of what was acknowledged",
                   config->rocksdb.sync_interval_ms);
    if (config->recovery.enabled && !config->history.enabled)
        doctor_say(d, DOCTOR_WARNS, "configuration", "connection_recovery without history: after a restart no resume succeeds");
    if (config->history.enabled && config->recovery.enabled &&
        config->history.retention_window_seconds < config->recovery.buffer_ttl_seconds)
        doctor_say(d, DOCTOR_WARNS, "configuration",
                   "history.retention_window_seconds = %llu is shorter than connection_recovery.buffer_ttl_seconds = %llu",
                   (unsigned long long)config->history.retention_window_seconds,
                   (unsigned long long)config->recovery.buffer_ttl_seconds);
}

void doctor_configuration(struct doctor *d, const struct config *config)
{
    unsigned before = d->counts[DOCTOR_WARNS] + d->counts[DOCTOR_FAILS];
    for (size_t i = 0; i < config->apps_count; i++)
        look_at_app(d, config, &config->apps[i]);
    if (config->apps_count == 0)
        doctor_say(d, DOCTOR_FAILS, "configuration", "no app is configured: nobody can connect, /up is ERROR");
    look_at_limiter(d, config);
    look_at_history(d, config);
    if (config->ai.enabled && config->ai.rollup.orphan_ttl_ms > ORPHAN_TTL_MAX_MS)
        doctor_say(d, DOCTOR_WARNS, "configuration", "ai_transport.rollup.orphan_ttl_ms = %llu: streams that nobody ends stay open so long",
                   (unsigned long long)config->ai.rollup.orphan_ttl_ms);
    if (!config->metrics.enabled)
        doctor_say(d, DOCTOR_WARNS, "configuration", "metrics.enabled = false: no alert can fire");
    if (config->shutdown_grace_period_seconds == 0)
        doctor_say(d, DOCTOR_WARNS, "configuration", "shutdown_grace_period = 0: requests under way are cut off at a stop");
    if (d->counts[DOCTOR_WARNS] + d->counts[DOCTOR_FAILS] == before)
        doctor_say(d, DOCTOR_FINE, "configuration", "no pitfall known");
}

/* ---- all ---- */

enum doctor_verdict doctor_run(const struct config *config, struct buf *out)
{
    struct doctor d = {.out = out};
    struct rlimit files = {0};
    int64_t now_ms = clock_wall_ms(&clock_system);
    char *path = str_dup(config->rocksdb.path);
    bool on_disk = config->history.enabled && config->history.backend == BACKEND_ROCKSDB;
    getrlimit(RLIMIT_NOFILE, &files); /* the server raises its soft limit to the hard one */
    doctor_limits(&d, config, files.rlim_max);
    doctor_ports(&d, config);
    if (on_disk)
        doctor_data(&d, path);
    doctor_clock(&d, on_disk ? path : NULL, now_ms);
    doctor_configuration(&d, config);
    if (config->history.enabled && config->history.backend == BACKEND_POSTGRES)
        doctor_postgres(&d, config);
    doctor_redis(&d, config);
    free(path);
    buf_fmt(out, "%u fine, %u warnings, %u failures\n", d.counts[DOCTOR_FINE], d.counts[DOCTOR_WARNS], d.counts[DOCTOR_FAILS]);
    return d.counts[DOCTOR_FAILS] > 0 ? DOCTOR_FAILS : d.counts[DOCTOR_WARNS] > 0 ? DOCTOR_WARNS : DOCTOR_FINE;
}
