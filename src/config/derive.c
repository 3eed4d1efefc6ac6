/* derive.c - fields that are more than one value written to one place.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "config/load.h"

#include <sched.h>

#include "base/json.h"
#include "base/metric.h"
#include "base/random.h"

static const uint64_t messages_default = 1000;

static void set_default(struct loader *l, const char *path, struct str text)
{
    struct config_value *value = value_at(&keys_global, l->config->values, path);
    if (!value->text.p)
        *value = (struct config_value){arena_copy(&l->config->arena, text), FROM_DEFAULT};
}

/* Neither bound set means 1000 messages; an inbound message may be as large as the outbound buffer (2.6). */
static void derive_websocket(struct config *config)
{
    uint64_t kb = (config->websocket.max_bytes / 1024) + (config->websocket.max_bytes % 1024 != 0);
    if (config->websocket.max_messages == 0 && config->websocket.max_bytes == 0)
        config->websocket.max_messages = messages_default;
    if (kb > config->websocket_max_payload_kb)
        config->websocket_max_payload_kb = kb < UINT32_MAX ? (uint32_t)kb : UINT32_MAX;
}

static enum store_backend backend(struct str name)
{
    if (str_eq(name, STR("memory")))
        return BACKEND_MEMORY;
    return str_eq(name, STR("rocksdb")) ? BACKEND_ROCKSDB : BACKEND_POSTGRES;
}

static void derive_stores(struct loader *l)
{
    struct config *config = l->config;
    config->adapter.redis_driver = load_is(l, "adapter.driver", "redis");
    set_default(l, "versioned_messages.driver", load_text(l, "history.backend"));
    config->history.backend = backend(load_text(l, "history.backend"));
    config->versioned.driver = config->history.backend; /* validate.c refuses another one */
    config->rocksdb.sync = load_is(l, "database.rocksdb.sync", "interval") ? SYNC_INTERVAL : SYNC_ALWAYS;
}

/* The most special key that is set. */
static void derive_postgres(struct loader *l)
{
    struct config *config = l->config;
    uint64_t pooled;
    config->postgres.connections_max = config->postgres.connection_pool_size;
    if (config->postgres.pool_max > 0)
        config->postgres.connections_max = config->postgres.pool_max;
    else if (load_is(l, "database_pooling.enabled", "true") && str_to_u64(load_text(l, "database_pooling.max"), &pooled))
        config->postgres.connections_max = (uint32_t)pooled;
}

static void derive_ai_prefixes(struct loader *l)
{
    struct config *config = l->config;
    struct str channels = load_text(l, "ai_transport.channels"), item;
    struct json_iter it = json_iter(channels);
    config->ai.prefixes = arena_zalloc(&config->arena, (channels.n / 2 + 1) * sizeof *config->ai.prefixes);
    while (json_next_item(&it, &item)) {
        struct buf scratch = {0};
        struct str prefix = json_text(json_get(item, STR("prefix")), &scratch);
        if (prefix.n)
            config->ai.prefixes[config->ai.prefixes_count++] = arena_copy(&config->arena, prefix);
        buf_free(&scratch);
    }
}

static struct str joined(struct loader *l, const char *path)
{
    size_t count;
    struct str *items = value_strings(load_text(l, path), &l->config->arena, &count);
    struct buf line = {0};
    for (size_t i = 0; i < count; i++) {
        buf_str(&line, i ? STR(", ") : STR(""));
        buf_str(&line, items[i]);
    }
    struct str text = arena_copy(&l->config->arena, buf_view(&line));
    buf_free(&line);
    return text;
}

static void derive_process(struct loader *l)
{
    struct random random;
    char uuid[37];
    random_from_kernel(&random);
    random_uuid(&random, uuid);
    set_default(l, "instance.process_id", str_of(uuid));
    l->config->process_id = load_text(l, "instance.process_id");
}

static void derive_workers(struct loader *l)
{
    cpu_set_t usable;
    int cores = sched_getaffinity(0, sizeof usable, &usable) == 0 ? CPU_COUNT(&usable) : 1;
    struct buf digits = {0};
    buf_u64(&digits, (uint64_t)(cores < METRIC_SHARD_HOOK ? cores : METRIC_SHARD_HOOK));
    set_default(l, "workers", buf_view(&digits));
    buf_free(&digits);
    struct config_value *workers = value_at(&keys_global, l->config->values, "workers");
    const struct config_key as_number = {.type = KEY_U32};
    value_store(&as_number, workers->text, &l->config->arena, &l->config->workers);
}

/* A FLOAT's text in thousandths; digits beyond them do not count. */
static uint32_t permille(struct str text)
{
    ptrdiff_t dot = str_index(text, '.');
    uint64_t whole = 0, value;
    for (size_t i = 0; i < text.n; i++)
        if (!strchr("0123456789.", text.p[i]))
            return UINT32_MAX; /* below 0, or with an exponent: validate.c refuses it */
    struct str fraction = dot < 0 ? STR("") : str_from(text, (size_t)dot + 1);
    if (!str_to_u64(dot < 0 ? text : str_first(text, (size_t)dot), &whole) || whole > 1000)
        whole = text.n > 0 && text.p[0] == '.' ? 0 : 1000;
    value = whole * 1000;
    for (size_t i = 0, unit = 100; i < 3 && i < fraction.n; i++, unit /= 10)
        value += (uint64_t)(fraction.p[i] - '0') * unit;
    return (uint32_t)value;
}

static void derive_queue(struct loader *l)
{
    l->config->queue.enabled = !load_is(l, "queue.driver", "none");
    l->config->queue.retry_jitter_permille = permille(load_text(l, "queue.reliability.retry_jitter"));
}

static void derive_logging(struct loader *l)
{
    struct config *config = l->config;
    set_default(l, "logging.filter", config->debug ? STR("debug") : STR("info"));
    config->logging.filter = load_text(l, "logging.filter");
}

void derive(struct loader *l)
{
    struct config *config = l->config;
    config->rate_limiter.enabled = config->rate_limiter.enabled && !load_is(l, "rate_limiter.driver", "none");
    derive_websocket(config);
    derive_stores(l);
    derive_postgres(l);
    derive_ai_prefixes(l);
    config->cors.methods = joined(l, "cors.methods");
    config->cors.allowed_headers = joined(l, "cors.allowed_headers");
    derive_queue(l);
    derive_redis(l);
    derive_process(l);
    derive_workers(l);
    derive_logging(l);
}
