/* config.h - everything that can be set, typed and validated (chapter 5, sections 1, 2 and 4).
 *
 * One structure, filled once at start from defaults, a TOML or JSON file and the environment, then never
 * changed: every thread may read it without a lock. The table of all keys is in keys.c: a key that this build
 * parses but does not act on is refused when it is set to anything but its default.
 *
 * Ownership: all strings live in `arena`. Units are in the names; 0 means "unlimited" or "off" where said.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "net/tls.h"

enum store_backend { BACKEND_MEMORY, BACKEND_ROCKSDB, BACKEND_POSTGRES };
enum sync_policy { SYNC_ALWAYS, SYNC_INTERVAL };

struct config_value; /* src/config/value.h: what each key was set to and by whom, for config_print() */

struct history_policy { /* -1 = not set here, ask the next level: namespace, app, global */
    int enabled;        /* bool */
    int rewind_enabled; /* bool */
    int64_t retention_window_seconds;
    int64_t max_messages_per_channel; /* at global level -1 = no limit */
    int64_t max_bytes_per_channel;
};

struct presence_history_policy { /* -1 = not set here */
    int enabled;
    int64_t retention_window_seconds;
    int64_t max_events_per_channel; /* at global level -1 = no limit */
    int64_t max_bytes_per_channel;
};

struct recovery_policy { /* -1 = not set here */
    int enabled;
    int64_t buffer_ttl_seconds;
    int64_t max_buffer_size;
};

struct namespace_config {
    struct str name;
    struct str channel_name_pattern; /* POSIX-ish regex on the logical name; absent = any */
    int64_t max_channel_name_length; /* 0 = app's */
    int annotations_enabled;         /* -1 = app's */
    int allow_user_limited_channels; /* the next four: -1 = not set: false for user-limited, true for the rest
                                      */
    int allow_subscribe_for_client;
    int allow_publish_for_client;
    int allow_presence_for_client;
    struct history_policy history;
    struct presence_history_policy presence_history;
};

struct webhook_header {
    struct str name, value;
};

struct webhook_config { /* chapter 2, 2.19.1 */
    struct webhook_header *headers;
    size_t headers_count;
    struct str url; /* http or https */
    struct str *event_types;
    size_t event_types_count;
    struct { /* absent = not asked for */
        struct str channel_prefix, channel_suffix, channel_pattern, channel_namespace;
        struct str *channel_namespaces; /* NULL = not asked for */
        size_t channel_namespaces_count;
    } filter;
    struct {
        int enabled; /* here and below: -1 = as in config.webhooks */
        int64_t max_attempts, max_elapsed_time_ms, initial_backoff_ms, max_backoff_ms;
    } retry;
    int64_t request_timeout_ms;
};

struct app_config { /* chapter 2, 2.20 */
    struct str id, key, secret;
    bool enabled;
    /* limits; 0 = unlimited unless said otherwise */
    uint32_t max_connections;
    uint32_t max_client_events_per_second;
    uint64_t decay_seconds; /* window of the above, 1 */
    bool terminate_on_limit;
    struct {
        bool enabled, terminate_on_limit;
        uint32_t max_attempts;
        uint64_t decay_seconds;
    } message_rate_limit;
    uint32_t max_presence_members_per_channel; /* 0 = no limit */
    uint32_t max_presence_member_size_in_kb;   /* 0 = no limit */
    uint32_t max_channel_name_length;          /* bytes; 0 = 200 */
    uint32_t max_event_name_length;            /* bytes; 0 = 200 */
    uint32_t max_event_channels_at_once;       /* 0 = no limit */
    uint32_t max_event_payload_in_kb;          /* 0 = no limit */
    uint32_t max_event_batch_size;             /* 0 = no limit */
    bool enable_client_messages;
    bool enable_user_authentication;
    bool enable_watchlist_events;
    bool annotations_enabled;
    struct str *allowed_origins; /* NULL = all */
    size_t allowed_origins_count;
    struct namespace_config *namespaces;
    size_t namespaces_count;
    struct webhook_config *webhooks;
    size_t webhooks_count;
    int idempotency_enabled;         /* -1 = global */
    int64_t idempotency_ttl_seconds; /* -1 = global */
    struct recovery_policy recovery;
    struct history_policy history;
    struct presence_history_policy presence_history;
    const struct config_value *values; /* one per row of the app's keys */
};

struct redis_address {
    struct str host;
    uint16_t port;
};

struct redis_config { /* a Redis, and how to get in */
    struct str host, username, password; /* absent or empty = none */
    uint16_t port;
    uint32_t db;
    struct redis_address *sentinels; /* ask them for the master `name`, in place of host and port */
    size_t sentinels_count;
    struct str name, sentinel_username, sentinel_password;
    struct tls_options master_tls, sentinel_tls;
};

struct rate_limit_config {
    uint64_t max_requests, window_seconds;
    uint32_t trust_hops;
};

struct config {
    struct arena arena;
    struct config_value *values; /* one per row of the table in keys.c */
    bool demo_profile;           /* started without any configuration file (2.10) */

    bool debug;
    struct str host;
    uint16_t port;
    struct str mode;
    uint32_t max_connections; /* per process, 0 = off */
    uint64_t shutdown_grace_period_seconds;
    uint64_t user_authentication_timeout_seconds;
    uint32_t websocket_max_payload_kb;
    uint64_t activity_timeout_seconds;
    uint64_t health_check_timeout_ms;
    struct str process_id; /* instance.process_id */
    uint32_t workers;      /* shards */

    struct {
        bool enabled; /* rate_limiter.enabled and driver != none */
        struct rate_limit_config api, websocket;
        bool redis_driver; /* else each node counts for itself */
        struct str redis_prefix;
        struct redis_config redis; /* as for the cache */
    } rate_limiter;

    struct redis_config redis; /* database.redis */
    struct {
        bool redis_driver; /* else this is the only node */
        uint32_t topics;
        bool cluster_health_enabled;
        bool fallback_to_local;       /* the node starts and serves without its bus; else it must have it, /up says so */
        uint64_t requests_timeout_ms; /* what other nodes have to answer a question in; then the answer is without them */
        uint64_t heartbeat_interval_ms, node_timeout_ms; /* cluster_health.* */
        struct str redis_prefix;                         /* adapter.redis.prefix */
        struct redis_config redis; /* database.redis, or what adapter.redis.redis_pub_options.url makes of it */
    } adapter;

    struct {
        int64_t ttl_seconds, max_capacity; /* cache.memory.* */
        bool redis_driver;
        struct str redis_prefix;   /* cache.redis.prefix */
        struct redis_config redis; /* database.redis, or what cache.redis.url_override makes of it */
    } cache;

    struct app_config *apps;
    size_t apps_count;

    struct {
        uint32_t max_name_length; /* channel_limits */
        uint64_t cache_ttl_seconds;
    } channel_limits;
    struct {
        uint32_t update_rate_limit_per_member_per_second;
        uint64_t ungraceful_timeout_seconds, v2_ungraceful_timeout_seconds;
    } presence;
    struct {
        uint32_t request_limit_in_mb;
        bool usage_enabled;
        uint32_t stream_idle_timeout_seconds; /* between two bytes of a streamed body */
    } http_api;
    struct {
        uint64_t max_messages; /* outbound frames per socket, 1000; 0 = bytes only (then 10,000) */
        uint64_t max_bytes;    /* outbound bytes per socket; 0 = not set: config_send_bytes_max() */
        bool disconnect_on_buffer_full;
        uint32_t max_channels; /* subscriptions of a connection */
        uint64_t max_message_size, max_frame_size;
        bool auto_ping;
        uint64_t ping_interval_seconds, idle_timeout_seconds;
    } websocket;
    struct {
        bool enabled;
        uint64_t buffer_ttl_seconds, max_buffer_size;
        uint64_t max_positions;
    } recovery; /* connection_recovery */
    struct {
        bool enabled;
        uint64_t ttl_seconds, max_key_length;
    } idempotency;
    bool ephemeral_enabled;
    struct {
        bool enabled, default_echo_messages;
    } echo_control;
    struct {
        bool enabled;
        uint32_t max_events_per_filter, max_event_name_length;
    } event_name_filtering;
    struct {
        bool enabled, enable_tags;
    } tag_filtering;

    struct {
        bool enabled, rewind_enabled;
        enum store_backend backend;
        uint64_t retention_window_seconds;
        uint32_t max_page_size;
        int64_t max_messages_per_channel, max_bytes_per_channel; /* -1 = none */
        uint64_t purge_interval_seconds;
        uint32_t purge_batch_size, max_purge_per_tick;
    } history;
    struct {
        bool enabled;
        uint64_t retention_window_seconds;
        uint32_t max_page_size;
        int64_t max_events_per_channel, max_bytes_per_channel; /* -1 = none */
    } presence_history;
    struct {
        bool enabled;
        enum store_backend driver; /* always equal to history.backend */
        uint32_t max_page_size;
        uint64_t retention_window_seconds; /* 0 = as long as the message's place in history; never longer */
    } versioned;                           /* versioned_messages */
    bool annotations_enabled;              /* annotations.enabled */
    struct {
        struct str path;
        enum sync_policy sync;
        uint32_t sync_interval_ms;
        uint32_t commit_max_ops;
        uint64_t commit_max_bytes;
    } rocksdb; /* database.rocksdb */

    struct {
        struct str host, username, password, database;
        uint16_t port;
        uint32_t connection_pool_size, pool_max; /* pool_max 0 = not set */
        uint32_t connections_max;                /* of the three keys that say so */
        struct str table_prefix;                 /* history.postgres */
        uint64_t write_timeout_ms;
    } postgres; /* database.postgres */

    struct {
        bool enabled;
        struct str *prefixes; /* ai_transport.channels[].prefix, the empty ones left out */
        size_t prefixes_count;
        uint64_t max_accumulated_message_bytes;
        uint32_t max_appends_per_message;
        uint32_t max_open_streaming_messages_per_channel;
        uint32_t max_transport_value_bytes;
        uint32_t max_steer_codec_message_ids_bytes;
        uint32_t max_open_streams_per_app; /* of this node; 0 = no limit */
        uint64_t max_stream_duration_ms;   /* from its opening; appends that do not end it are refused then; 0 = no limit */
        uint64_t max_append_bytes;         /* of one fragment; 0 = no limit */
        struct {
            bool enabled;
            uint32_t default_window_ms, min_window_ms, max_window_ms;
            uint64_t orphan_ttl_ms;
            uint64_t max_pending_bytes;       /* text of one channel and window */
            uint64_t max_shard_pending_bytes; /* memory of all that waits on a shard */
            uint64_t max_full_text_bytes;     /* accumulated text that a shard holds for append_mode=full */
        } rollup;
    } ai; /* ai_transport */

    struct {
        bool enabled; /* driver != none */
        uint32_t max_attempts; /* the rest: reliability.* */
        uint64_t retry_base_delay_ms, retry_max_delay_ms;
        uint32_t retry_jitter_permille;
        uint64_t memory_capacity, failed_retention;
    } queue;
    struct {
        struct {
            bool enabled;
            uint64_t duration_ms, size;
        } batching;
        struct {
            bool enabled;
            uint32_t max_attempts; /* 0 = no limit */
            uint64_t max_elapsed_time_ms, initial_backoff_ms, max_backoff_ms;
        } retry;
        uint64_t request_timeout_ms;
        bool block_private_addresses; /* ours: only public addresses are connected to */
    } webhooks; /* defaults of every struct webhook_config */

    struct {
        bool enabled;
        struct str host, prefix;
        uint16_t port;
    } metrics;
    struct {
        struct str *origins; /* patterns; empty list = no Allow-Origin header */
        size_t origins_count;
        struct str methods, allowed_headers; /* joined with ", " for the header */
        bool credentials;
    } cors;
    struct {
        struct str format, filter; /* LOG_OUTPUT_FORMAT; RUST_LOG and its kin */
        bool colors, include_target;
    } logging;
};

/* What may wait for one socket where max_bytes says nothing, and in a closed gate. */
#define SEND_BYTES_DEFAULT (64u << 20)
static inline uint64_t config_send_bytes_max(const struct config *config)
{
    return config->websocket.max_bytes > 0 ? config->websocket.max_bytes : SEND_BYTES_DEFAULT;
}

struct config_request {
    const char *file;      /* --config, or NULL: config/config.toml, config/config.json, else demo profile */
    const char *data_dir;  /* --data-dir, or NULL */
    char *const *environ_; /* "NAME=value", NULL-terminated */
};

/* Loads, overrides, validates. NULL on failure with one readable message (file, position, key, reason) in
 * *error; on success *warnings holds one line per warning (unknown keys with the nearest known name, bad
 * environment values, exempt tuning keys), perhaps none. */
struct config *config_load(const struct config_request *request, struct buf *warnings, struct buf *error);
void config_free(struct config *config);

/* The effective configuration as TOML, secrets masked, each value with where it came from (--print-config).
 */
void config_print(const struct config *config, struct buf *out);
