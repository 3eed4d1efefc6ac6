/* keys_later.h - rows of parts that are not built yet, as blocks for the table in keys.c; nobody else
 * includes it.
 *
 * `at` is the section with its dot, E turns the name of an environment variable into what the row gets:
 * SET_BY or NOT_SET, for sections that exist twice while their variables exist once.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#define SET_BY(name) name
#define NOT_SET(name) NULL

/* clang-format off */
#define TLS_KEYS(at, env)                                                                                    \
    TUNES(at "enabled", env("ENABLED"), BOOL, "false"),                                                      \
    TUNES(at "accept_invalid_certs", env("ACCEPT_INVALID_CERTS"), BOOL, "false"),                            \
    TUNES(at "acceptInvalidCerts", NULL, BOOL, "false"),                                                     \
    TUNES(at "ca_path", env("CA_PATH"), STR, NULL),                                                          \
    TUNES(at "client_cert_path", env("CLIENT_CERT_PATH"), STR, NULL),                                        \
    TUNES(at "client_key_path", env("CLIENT_KEY_PATH"), STR, NULL)

#define NATS_KEYS(at, E)                                                                                     \
    TUNES(at "servers", E("NATS_SERVERS"), STRINGS, "[\"nats://localhost:4222\"]", .flags = KEY_SECRET),     \
    TUNES(at "prefix", E("NATS_PREFIX"), STR, "sockudo_adapter:"),                                           \
    TUNES(at "username", E("NATS_USERNAME"), STR, NULL),                                                     \
    TUNES(at "password", E("NATS_PASSWORD"), STR, NULL, .flags = KEY_SECRET),                                \
    TUNES(at "token", E("NATS_TOKEN"), STR, NULL, .flags = KEY_SECRET),                                      \
    TUNES(at "request_timeout_ms", E("NATS_REQUEST_TIMEOUT_MS"), U64, "5000"),                               \
    TUNES(at "connection_timeout_ms", E("NATS_CONNECTION_TIMEOUT_MS"), U64, "5000"),                         \
    TUNES(at "discovery_max_wait_ms", E("NATS_DISCOVERY_MAX_WAIT_MS"), U64, "1000"),                         \
    TUNES(at "discovery_idle_wait_ms", E("NATS_DISCOVERY_IDLE_WAIT_MS"), U64, "150"),                        \
    TUNES(at "nodes_number", E("NATS_NODES_NUMBER"), U32, NULL),                                             \
    TUNES(at "subscription_capacity", E("NATS_SUBSCRIPTION_CAPACITY"), U64, NULL),                           \
    TUNES(at "client_capacity", E("NATS_CLIENT_CAPACITY"), U64, NULL),                                       \
    TUNES(at "max_reconnects", E("NATS_MAX_RECONNECTS"), U64, NULL),                                         \
    TUNES(at "presence_sync_chunk_size", E("NATS_PRESENCE_SYNC_CHUNK_SIZE"), U64, NULL, .flags = KEY_POSITIVE), \
    TUNES(at "no_echo", E("NATS_NO_ECHO"), BOOL, "true")

#define PULSAR_KEYS(at, E)                                                                                   \
    TUNES(at "url", E("PULSAR_URL"), STR, "pulsar://127.0.0.1:6650", .flags = KEY_SECRET),                   \
    TUNES(at "prefix", E("PULSAR_PREFIX"), STR, "sockudo-adapter"),                                          \
    TUNES(at "request_timeout_ms", E("PULSAR_REQUEST_TIMEOUT_MS"), U64, "5000"),                             \
    TUNES(at "token", E("PULSAR_TOKEN"), STR, NULL, .flags = KEY_SECRET),                                    \
    TUNES(at "nodes_number", E("PULSAR_NODES_NUMBER"), U32, NULL)

#define RABBITMQ_KEYS(at, E)                                                                                 \
    TUNES(at "url", E("RABBITMQ_URL"), STR, "amqp://guest:guest@127.0.0.1:5672/%2f", .flags = KEY_SECRET),   \
    TUNES(at "prefix", E("RABBITMQ_PREFIX"), STR, "sockudo_adapter"),                                        \
    TUNES(at "request_timeout_ms", E("RABBITMQ_REQUEST_TIMEOUT_MS"), U64, "5000"),                           \
    TUNES(at "connection_timeout_ms", E("RABBITMQ_CONNECTION_TIMEOUT_MS"), U64, "5000"),                     \
    TUNES(at "nodes_number", E("RABBITMQ_NODES_NUMBER"), U32, NULL)

#define GOOGLE_PUBSUB_KEYS(at, E)                                                                            \
    TUNES(at "project_id", E("GOOGLE_PUBSUB_PROJECT_ID"), STR, NULL),                                        \
    TUNES(at "prefix", E("GOOGLE_PUBSUB_PREFIX"), STR, "sockudo-adapter"),                                   \
    TUNES(at "request_timeout_ms", E("GOOGLE_PUBSUB_REQUEST_TIMEOUT_MS"), U64, "5000"),                      \
    TUNES(at "emulator_host", E("GOOGLE_PUBSUB_EMULATOR_HOST PUBSUB_EMULATOR_HOST"), STR, NULL),             \
    TUNES(at "nodes_number", E("GOOGLE_PUBSUB_NODES_NUMBER"), U32, NULL)

#define KAFKA_KEYS(at, E)                                                                                    \
    TUNES(at "brokers", E("KAFKA_BROKERS"), STRINGS, "[\"localhost:9092\"]"),                                \
    TUNES(at "prefix", E("KAFKA_PREFIX"), STR, "sockudo_adapter"),                                           \
    TUNES(at "request_timeout_ms", E("KAFKA_REQUEST_TIMEOUT_MS"), U64, "5000"),                              \
    TUNES(at "security_protocol", E("KAFKA_SECURITY_PROTOCOL"), STR, NULL),                                  \
    TUNES(at "sasl_mechanism", E("KAFKA_SASL_MECHANISM"), STR, NULL),                                        \
    TUNES(at "sasl_username", E("KAFKA_SASL_USERNAME"), STR, NULL),                                          \
    TUNES(at "sasl_password", E("KAFKA_SASL_PASSWORD"), STR, NULL, .flags = KEY_SECRET),                     \
    TUNES(at "nodes_number", E("KAFKA_NODES_NUMBER"), U32, NULL)

/* own: the variable's prefix for the two keys that adapter and queue set apart. */
#define IGGY_KEYS(at, own)                                                                                   \
    TUNES(at "connection_string", "IGGY_CONNECTION_STRING", STR, "iggy://iggy:iggy@127.0.0.1:8090",          \
          .flags = KEY_SECRET),                                                                              \
    TUNES(at "stream", "IGGY_STREAM", STR, "sockudo"),                                                       \
    TUNES(at "topic_prefix", "IGGY_TOPIC_PREFIX", STR, "sockudo-adapter"),                                   \
    TUNES(at "username", "IGGY_USERNAME", STR, NULL),                                                        \
    TUNES(at "password", "IGGY_PASSWORD", STR, NULL, .flags = KEY_SECRET),                                   \
    TUNES(at "consumer_name", "IGGY_CONSUMER_NAME", STR, NULL),                                              \
    TUNES(at "queue_topic_prefix", "IGGY_QUEUE_TOPIC_PREFIX", STR, "sockudo-queue"),                         \
    TUNES(at "consumer_group_prefix", "IGGY_CONSUMER_GROUP_PREFIX", STR, "sockudo-workers"),                 \
    TUNES(at "request_timeout_ms", "IGGY_REQUEST_TIMEOUT_MS", U64, "5000"),                                  \
    TUNES(at "poll_interval_ms", "IGGY_POLL_INTERVAL_MS", U64, "5"),                                         \
    TUNES(at "poll_batch_size", "IGGY_POLL_BATCH_SIZE", U32, "100"),                                         \
    TUNES(at "partitions_count", "IGGY_PARTITIONS_COUNT " own "IGGY_PARTITIONS_COUNT", U32, "1"),            \
    TUNES(at "partition_id", "IGGY_PARTITION_ID " own "IGGY_PARTITION_ID", U32, "0"),                        \
    TUNES(at "auto_create", "IGGY_AUTO_CREATE", BOOL, "true"),                                               \
    TUNES(at "start_from_latest", "IGGY_START_FROM_LATEST", BOOL, "true"),                                   \
    TUNES(at "nodes_number", "IGGY_NODES_NUMBER", U32, NULL)

#define SQL_KEYS(at, env, port_, table_env)                                                                  \
    TUNES(at "host", env "HOST", STR, "localhost"),                                                          \
    TUNES(at "port", env "PORT", U16, port_),                                                                \
    TUNES(at "username", env "USERNAME", STR, "root"),                                                       \
    TUNES(at "password", env "PASSWORD", STR, "", .flags = KEY_SECRET),                                      \
    TUNES(at "database", env "DATABASE", STR, "sockudo"),                                                    \
    TUNES(at "connection_pool_size", "DATABASE_CONNECTION_POOL_SIZE", U32, "10"),                            \
    TUNES(at "pool_min", env "POOL_MIN", U32, NULL),                                                         \
    TUNES(at "pool_max", env "POOL_MAX", U32, NULL),                                                         \
    SQL_APP_KEYS(at, table_env)
/* Of the app store alone. */
#define SQL_APP_KEYS(at, table_env)                                                                          \
    TUNES(at "table_name", table_env, STR, "applications"),                                                  \
    TUNES(at "cache_ttl", "CACHE_TTL_SECONDS", U64, "300"),                                                  \
    TUNES(at "cache_cleanup_interval", "CACHE_CLEANUP_INTERVAL", U64, "60"),                                 \
    TUNES(at "cache_max_capacity", "CACHE_MAX_CAPACITY", U64, "100")

#define STORE_TABLE_KEYS(at, prefix_env, timeout_env, initial_prefix)                                        \
    TUNES(at "table_prefix", prefix_env, STR, initial_prefix),                                               \
    TUNES(at "write_timeout_ms", timeout_env, U64, "5000")

#define PUSH_NUMBER(name, env, initial) TUNES("push." name, env, U64, initial)
#define PUSH_PROVIDER(name, NAME)                                                                            \
    LATER("push." name "_enabled", "PUSH_" NAME "_ENABLED", BOOL, "false"),                                  \
    TUNES("push." name "_credential_ref", NULL, STR, NULL, .flags = KEY_SECRET)
#define PUSH_KEYS                                                                                            \
    TUNES("push.storage_driver", "PUSH_STORAGE_DRIVER", STR, "memory"),                                      \
    TUNES("push.queue_driver", "PUSH_QUEUE_DRIVER", STR, "memory"),                                          \
    TUNES("push.allow_memory_drivers", "PUSH_ALLOW_MEMORY_DRIVERS", BOOL, "false"),                          \
    PUSH_PROVIDER("fcm", "FCM"), PUSH_PROVIDER("apns", "APNS"), PUSH_PROVIDER("webpush", "WEBPUSH"),         \
    PUSH_PROVIDER("hms", "HMS"), PUSH_PROVIDER("wns", "WNS"),                                                \
    PUSH_NUMBER("accept_worker_count", NULL, "1"), PUSH_NUMBER("planner_worker_count", NULL, "1"),           \
    PUSH_NUMBER("shard_worker_count", NULL, "1"), PUSH_NUMBER("dispatch_worker_count", NULL, "1"),           \
    PUSH_NUMBER("feedback_worker_count", NULL, "1"),                                                         \
    PUSH_NUMBER("retry_worker_count", "PUSH_RETRY_WORKER_COUNT", "1"),                                       \
    PUSH_NUMBER("dispatch_max_outbound_requests", "PUSH_DISPATCH_MAX_OUTBOUND_REQUESTS", "32"),              \
    PUSH_NUMBER("queue_partition_count", NULL, "1"), PUSH_NUMBER("channel_shard_count", NULL, "1"),          \
    PUSH_NUMBER("fanout_fast_threshold", "PUSH_FANOUT_FAST_THRESHOLD", "10000"),                             \
    PUSH_NUMBER("fanout_shard_size", "PUSH_FANOUT_SHARD_SIZE", "100000"),                                    \
    PUSH_NUMBER("fanout_sync_threshold", "PUSH_FANOUT_SYNC_THRESHOLD", "0"),                                 \
    PUSH_NUMBER("backpressure_lag_threshold_secs", "PUSH_BACKPRESSURE_LAG_THRESHOLD_SECS", "60"),            \
    PUSH_NUMBER("publish_status_ttl_days", "PUSH_PUBLISH_STATUS_TTL_DAYS", "30"),                            \
    PUSH_NUMBER("stale_device_max_age_days", "PUSH_STALE_DEVICE_MAX_AGE_DAYS", "90"),                        \
    TUNES("push.credential_encryption_key", "PUSH_CREDENTIAL_ENCRYPTION_KEY", STR, NULL, .flags = KEY_SECRET), \
    TUNES("push.kms_key_ref", NULL, STR, NULL, .flags = KEY_SECRET),                                         \
    TUNES("push.vault_secret_ref", NULL, STR, NULL, .flags = KEY_SECRET),                                    \
    TUNES("push.dry_run", NULL, BOOL, "false"),                                                              \
    TUNES("push.analytics_enabled", "PUSH_ANALYTICS_ENABLED", BOOL, "false"),                                \
    PUSH_NUMBER("analytics_retention_days", NULL, "30"),                                                     \
    PUSH_NUMBER("scheduler_interval_secs", "PUSH_SCHEDULER_INTERVAL_SECS", "5"),                             \
    PUSH_NUMBER("repair_interval_secs", "PUSH_REPAIR_INTERVAL_SECS", "30"),                                  \
    PUSH_NUMBER("repair_min_age_secs", "PUSH_REPAIR_MIN_AGE_SECS", "30"),                                    \
    PUSH_NUMBER("repair_batch_size", "PUSH_REPAIR_BATCH_SIZE", "100"),                                       \
    PUSH_NUMBER("cleanup_interval_secs", "PUSH_CLEANUP_INTERVAL_SECS", "300"),                               \
    PUSH_NUMBER("cleanup_batch_size", "PUSH_CLEANUP_BATCH_SIZE", "1000"),                                    \
    PUSH_NUMBER("cleanup_max_deleted_per_tick", "PUSH_CLEANUP_MAX_DELETED_PER_TICK", "100000"),              \
    PUSH_NUMBER("retry.max_attempts", "PUSH_RETRY_MAX_ATTEMPTS", "5"),                                       \
    PUSH_NUMBER("retry.initial_backoff_ms", "PUSH_RETRY_INITIAL_BACKOFF_MS", "1000"),                        \
    PUSH_NUMBER("retry.max_backoff_ms", "PUSH_RETRY_MAX_BACKOFF_MS", "60000"),                               \
    PUSH_NUMBER("retry.max_elapsed_secs", "PUSH_RETRY_MAX_ELAPSED_SECS", "86400"),                           \
    TUNES("push.retry.jitter", "PUSH_RETRY_JITTER", BOOL, "true"),                                           \
    PUSH_NUMBER("retry.jitter_ratio_percent", "PUSH_RETRY_JITTER_RATIO_PERCENT", "20"),                      \
    TUNES("push.retry.respect_retry_after", "PUSH_RETRY_RESPECT_RETRY_AFTER", BOOL, "true"),                 \
    PUSH_NUMBER("circuit_breaker.failure_threshold", "PUSH_FAILURE_THRESHOLD", "5"),                         \
    PUSH_NUMBER("circuit_breaker.cooldown_secs", NULL, "60"),                                                \
    PUSH_NUMBER("circuit_breaker.half_open_max_inflight", NULL, "10"),                                       \
    PUSH_NUMBER("default_quotas.acceptance_rps", "PUSH_DEFAULT_ACCEPTANCE_RPS", "100"),                      \
    PUSH_NUMBER("default_quotas.delivery_quota_daily", "PUSH_DEFAULT_DELIVERY_QUOTA_DAILY", "0"),            \
    PUSH_NUMBER("default_quotas.fanout_max", "PUSH_DEFAULT_FANOUT_MAX", "0"),                                \
    PUSH_NUMBER("default_quotas.inflight_max", "PUSH_DEFAULT_INFLIGHT_MAX", "1000"),                         \
    TUNES("push.payload_redaction.redact_payload", NULL, BOOL, "true"),                                      \
    TUNES("push.payload_redaction.redact_template_data", NULL, BOOL, "true"),                                \
    TUNES("push.payload_redaction.redact_provider_overrides", NULL, BOOL, "true"),                           \
    TUNES("push.payload_redaction.allow_debug_payload_logging", NULL, BOOL, "false")

#define ABLY_NUMBER(name, NAME, initial)                                                                     \
    TUNES("ably_compat." name, "SOCKUDO_ABLY_COMPAT_" NAME, U64, initial, .flags = KEY_POSITIVE)
#define ABLY_KEYS                                                                                            \
    LATER("ably_compat.enabled", "SOCKUDO_ABLY_COMPAT_ENABLED", BOOL, "false"),                              \
    TUNES("ably_compat.realtime_admission", "SOCKUDO_ABLY_COMPAT_REALTIME_ADMISSION", CHOICE, "accept",      \
          .words = "accept placement_constraint"),                                                           \
    ABLY_NUMBER("attach_timeout_ms", "ATTACH_TIMEOUT_MS", "10000"),                                          \
    TUNES("ably_compat.keys", "SOCKUDO_ABLY_COMPAT_KEYS_JSON", OBJECTS, "[]",                                \
          .flags = KEY_SECRET | KEY_ENV_HARD),                                                               \
    ABLY_NUMBER("max_token_ttl_ms", "MAX_TOKEN_TTL_MS", "86400000"),                                         \
    ABLY_NUMBER("token_request_timestamp_skew_ms", "TOKEN_REQUEST_TIMESTAMP_SKEW_MS", "900000"),             \
    ABLY_NUMBER("nonce_ttl_seconds", "NONCE_TTL_SECONDS", "900"),                                            \
    TUNES("ably_compat.stats_fixture_ingest_enabled", "SOCKUDO_ABLY_COMPAT_STATS_FIXTURE_INGEST_ENABLED", BOOL, \
          "false"),                                                                                          \
    ABLY_NUMBER("stats_queue_capacity", "STATS_QUEUE_CAPACITY", "4096"),                                     \
    ABLY_NUMBER("stats_flush_interval_ms", "STATS_FLUSH_INTERVAL_MS", "10"),                                 \
    ABLY_NUMBER("stats_retention_seconds", "STATS_RETENTION_SECONDS", "34560000"),                           \
    ABLY_NUMBER("stats_max_scan_entries", "STATS_MAX_SCAN_ENTRIES", "100000"),                               \
    ABLY_NUMBER("stats_cas_retries", "STATS_CAS_RETRIES", "8")
/* clang-format on */
