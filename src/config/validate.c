/* validate.c - what no single value can tell (chapter 5, 4.1): in the order of that table, the first failure
 * wins.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "config/load.h"

#include "base/metric.h"

#define PREFIX "Configuration validation failed: "
#define FAIL(l, ...) load_fail(l, PREFIX __VA_ARGS__)

static bool is_on(struct loader *l, const char *path)
{
    return load_is(l, path, "true");
}

static bool is_clustered(struct loader *l)
{
    return !load_is(l, "adapter.driver", "local");
}

static bool on_this_node_only(struct str store)
{
    return str_eq(store, STR("memory")) || str_eq(store, STR("rocksdb"));
}

/* All keys marked so whose path starts with `prefix`. */
static bool positive(struct loader *l, const char *prefix)
{
    for (size_t i = 0; i < keys_global.count; i++) {
        const struct config_key *key = &keys_global.keys[i];
        if ((key->flags & KEY_POSITIVE) && str_starts(str_of(key->path), str_of(prefix)) &&
            str_eq(l->config->values[i].text, STR("0")))
            return FAIL(l, "%s must be greater than 0", key->path);
    }
    return true;
}

/* Rows 2 to 4. */
static bool check_ai_needs(struct loader *l)
{
    const struct config *c = l->config;
    if (!c->ai.enabled)
        return true;
    if (c->ai.max_transport_value_bytes < 256)
        return FAIL(l, "ai_transport.max_transport_value_bytes must be at least 256");
    if (c->ai.max_steer_codec_message_ids_bytes < 2048)
        return FAIL(l, "ai_transport.max_steer_codec_message_ids_bytes must be at least 2048");
    if (!c->history.enabled)
        return FAIL(l, "ai_transport.enabled requires history.enabled");
    if (!c->versioned.enabled)
        return FAIL(l, "ai_transport.enabled requires versioned_messages.enabled");
    if (is_clustered(l) && on_this_node_only(load_text(l, "history.backend")))
        return FAIL(l, "ai_transport with several nodes requires a shared history backend");
    if (is_clustered(l) && on_this_node_only(load_text(l, "versioned_messages.driver")))
        return FAIL(l, "ai_transport with several nodes requires a shared version_store driver");
    return true;
}

/* Rows 5 to 7. */
static bool check_cluster(struct loader *l)
{
    const struct config *c = l->config;
    struct str cache = load_text(l, "cache.driver");
    bool api = load_is(l, "server_role", "api"), ably = is_on(l, "ably_compat.enabled");
    if (api && !is_clustered(l))
        return FAIL(l, "server_role=api requires a horizontal adapter");
    if (api && is_on(l, "adapter.fallback_to_local"))
        return FAIL(l, "server_role=api cannot use adapter.fallback_to_local");
    if (!is_clustered(l))
        return true;
    if ((ably || c->idempotency.enabled) && !str_starts(cache, STR("redis")))
        return FAIL(
            l, "ably_compat and idempotency with several nodes require cache.driver=redis or redis-cluster");
    if (ably && !is_on(l, "adapter.cluster_health.enabled"))
        return FAIL(l, "ably_compat with several nodes requires adapter.cluster_health.enabled");
    if (c->history.enabled && on_this_node_only(load_text(l, "history.backend")))
        return FAIL(l, "history with several nodes requires a shared history backend");
    if (is_on(l, "presence_history.enabled") && !c->history.enabled)
        return FAIL(l, "presence_history.enabled with several nodes requires history.enabled");
    if (c->versioned.enabled && on_this_node_only(load_text(l, "versioned_messages.driver")))
        return FAIL(l, "versioned_messages with several nodes requires a shared version_store driver");
    return true;
}

/* Row 8. The mode is read like any value: a bad one is refused even if nothing uses it. */
static bool check_unix_socket(struct loader *l)
{
    struct str mode = load_text(l, "unix_socket.permission_mode"), path = load_text(l, "unix_socket.path");
    bool octal = mode.n >= 1 && mode.n <= 4 && (mode.n < 4 || mode.p[0] == '0');
    for (size_t i = 0; i < mode.n; i++)
        octal = octal && mode.p[i] >= '0' && mode.p[i] <= '7';
    if (!octal)
        return FAIL(l, "unix_socket.permission_mode must be an octal string from \"0\" to \"777\"");
    if (!is_on(l, "unix_socket.enabled"))
        return true;
    if (path.n == 0)
        return FAIL(l, "unix_socket.path must not be empty");
    if (str_find(path, STR("../")) >= 0)
        return FAIL(l, "unix_socket.path must not contain ../");
    if (path.p[0] != '/')
        return FAIL(l, "unix_socket.path must be absolute");
    return true;
}

static bool check_table_prefix(struct loader *l, const char *section, const char *driver_path)
{
    struct str driver = load_text(l, driver_path);
    struct buf path = {0};
    buf_fmt(&path, "%s%.*s.table_prefix", section,
            STR_ARG(str_eq(driver, STR("pgsql")) ? STR("postgres") : driver));
    ptrdiff_t row = key_find(&keys_global, buf_view(&path));
    bool ok = row < 0 || l->config->values[row].text.n > 0 ||
              FAIL(l, "%.*s must not be empty", STR_ARG(buf_view(&path)));
    buf_free(&path);
    return ok;
}

/* Row 10, and that both stores are one: a create, its row and its receipt are one transaction (2.10). */
static bool check_stores(struct loader *l)
{
    const struct config *c = l->config;
    if (c->history.enabled &&
        !(positive(l, "history.") && check_table_prefix(l, "history.", "history.backend")))
        return false;
    if (is_on(l, "presence_history.enabled") && !positive(l, "presence_history."))
        return false;
    if (!c->versioned.enabled)
        return true;
    if (!positive(l, "versioned_messages.") ||
        !check_table_prefix(l, "versioned_messages.", "versioned_messages.driver"))
        return false;
    if (!str_eq(load_text(l, "history.backend"), load_text(l, "versioned_messages.driver")))
        return FAIL(
            l, "history.backend and versioned_messages.driver must name the same store, not %.*s and %.*s",
            STR_ARG(load_text(l, "history.backend")), STR_ARG(load_text(l, "versioned_messages.driver")));
    return true;
}

/* Row 12. */
static bool check_rollup(struct loader *l)
{
    const struct config *c = l->config;
    uint32_t window = c->ai.rollup.default_window_ms;
    if (!c->ai.enabled)
        return true;
    if (!positive(l, "ai_transport.max_"))
        return false;
    if (window != 0 && window != 20 && window != 40 && window != 100 && window != 500)
        return FAIL(l, "ai_transport.rollup.default_window_ms must be one of 0, 20, 40, 100, 500");
    if (c->ai.rollup.min_window_ms > c->ai.rollup.max_window_ms)
        return FAIL(l, "ai_transport.rollup.min_window_ms must not be greater than max_window_ms");
    if (window < c->ai.rollup.min_window_ms || window > c->ai.rollup.max_window_ms)
        return FAIL(l,
                    "ai_transport.rollup.default_window_ms must be between min_window_ms and max_window_ms");
    return positive(l, "ai_transport.rollup.");
}

static uint64_t number(struct loader *l, const char *path)
{
    uint64_t value = 0;
    str_to_u64(load_text(l, path), &value);
    return value;
}

/* Note of 2.2. */
static bool check_cluster_health(struct loader *l)
{
    uint64_t heartbeat = number(l, "adapter.cluster_health.heartbeat_interval_ms");
    uint64_t timeout = number(l, "adapter.cluster_health.node_timeout_ms");
    uint64_t cleanup = number(l, "adapter.cluster_health.cleanup_interval_ms");
    if (!heartbeat || !timeout || !cleanup)
        return FAIL(l, "adapter.cluster_health: all intervals must be greater than 0");
    if (heartbeat > timeout / 3)
        return FAIL(
            l, "adapter.cluster_health.heartbeat_interval_ms must be at most a third of node_timeout_ms");
    if (cleanup > timeout)
        return FAIL(l, "adapter.cluster_health.cleanup_interval_ms must be at most node_timeout_ms");
    return true;
}

/* 6.2. */
static bool check_queue(struct loader *l)
{
    const struct config *c = l->config;
    if (c->queue.retry_base_delay_ms > c->queue.retry_max_delay_ms)
        return FAIL(l, "queue.reliability.retry_base_delay_ms must not be greater than retry_max_delay_ms");
    if (c->queue.retry_jitter_permille > 1000)
        return FAIL(l, "queue.reliability.retry_jitter must be from 0 to 1");
    return positive(l, "queue.reliability.");
}

/* What the table does not know, because the reference does not check it or does not have it. */
static bool check_ours(struct loader *l)
{
    const struct config *c = l->config;
    if (c->versioned.retention_window_seconds > c->history.retention_window_seconds)
        load_warn(l, STR("versioned_messages.retention_window_seconds"),
                  "longer than history.retention_window_seconds: versions go with their message's place in history");
    uint64_t versions_s = c->versioned.retention_window_seconds;
    if (c->history.backend == BACKEND_POSTGRES && versions_s > 0 && versions_s < c->history.retention_window_seconds)
        return load_fail(l, "versioned_messages.retention_window_seconds = %llu is not supported with postgres by this build yet: there "
                         "versions stay as long as their message; leave it out, or not below history.retention_window_seconds",
                         (unsigned long long)versions_s);
    for (size_t i = 0; i < c->cors.origins_count; i++) {
        const char *problem = origin_pattern_problem(c->cors.origins[i]);
        if (problem)
            return FAIL(l, "cors.origin: '%.*s' %s", STR_ARG(c->cors.origins[i]), problem);
    }
    if (load_is(l, "cache.driver", "none") && c->idempotency.enabled)
        return FAIL(l, "idempotency.enabled requires a cache, but cache.driver is none");
    if (c->workers > METRIC_SHARD_HOOK)
        return FAIL(l, "workers must be at most %d", METRIC_SHARD_HOOK);
    if (!load_is(l, "logging.format", "text") && !load_is(l, "logging.format", "json"))
        return FAIL(l, "logging.format must be text or json");
    if (c->rocksdb.path.n == 0)
        return FAIL(l, "database.rocksdb.path must not be empty");
    if (load_is(l, "queue.driver", "redis"))
        load_warn(l, STR("queue.driver"), "webhook jobs are kept in the store of history.backend, not in Redis");
    return check_cluster_health(l) && validate_redis(l) && check_queue(l) && positive(l, "webhooks.") && positive(l, "workers") && positive(l, "database.rocksdb.") &&
           positive(l, "rate_limiter.");
}

bool validate(struct loader *l)
{
    if (!positive(l, "ably_compat.") || !validate_ably_keys(l) || !check_ai_needs(l) || !check_cluster(l) ||
        !check_unix_socket(l))
        return false;
    if (!positive(l, "cleanup.") || !positive(l, "idempotency.") || !positive(l, "connection_recovery."))
        return false;
    if (!check_stores(l) || !positive(l, "presence."))
        return false;
    if (is_on(l, "annotations.enabled") && !l->config->versioned.enabled)
        return FAIL(l, "annotations.enabled requires versioned_messages.enabled");
    return check_rollup(l) && validate_push_rules(l) && positive(l, "adapter.") && check_ours(l);
}
