/* keys_app.c - the rows of one application (chapter 2, 2.20) and of the other objects that come in lists.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "config/keys.h"

#include <stddef.h>

#include "config/config.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define ROW(path_, type_, initial_, status_, offset_, ...)                                                   \
    {                                                                                                        \
        .path = path_, .initial = initial_, .type = KEY_##type_, .status = status_, .offset = offset_,       \
        __VA_ARGS__                                                                                          \
    }
#define APP(path_, type_, initial_, field, ...)                                                              \
    ROW(path_, type_, initial_, KEY_ACTS, offsetof(struct app_config, field), __VA_ARGS__)
#define NAMESPACE(path_, type_, field, ...)                                                                  \
    ROW(path_, type_, NULL, KEY_ACTS, offsetof(struct namespace_config, field), __VA_ARGS__)
#define WEBHOOK(path_, type_, field, ...)                                                                    \
    ROW(path_, type_, NULL, KEY_ACTS, offsetof(struct webhook_config, field), __VA_ARGS__)
#define KNOWN(path_, type_, ...) ROW(path_, type_, NULL, KEY_TUNING, 0, __VA_ARGS__)

#define HISTORY_NUMBER (KEY_NUMERIC_STRING | KEY_NESTED_ONLY)

/* The rows of an app: what stands beside `policy`, then what stands in it. */
enum { POLICY_FIRST = 5 };

/* clang-format off */
static const struct config_key app_rows[] = {
    ROW("id", STR, "", KEY_ACTS, 0), /* first in its structure, so stored by apps.c; a namespace's name too */
    APP("key", STR, "", key),
    APP("secret", STR, "", secret, .flags = KEY_SECRET),
    APP("enabled", BOOL, "false", enabled),
    ROW("policy", MAP, NULL, KEY_ACTS, 0),

    APP("limits.max_connections", U32, "0", max_connections, .flags = KEY_NUMERIC_STRING),
    APP("limits.max_client_events_per_second", U32, "0", max_client_events_per_second, .flags = KEY_NUMERIC_STRING),
    APP("limits.decay_seconds", U64, "1", decay_seconds, .flags = KEY_NUMERIC_STRING),
    APP("limits.terminate_on_limit", BOOL, "false", terminate_on_limit),
    ROW("limits.max_backend_events_per_second", U32, NULL, KEY_TUNING, 0, .flags = KEY_NUMERIC_STRING),
    ROW("limits.max_read_requests_per_second", U32, NULL, KEY_TUNING, 0, .flags = KEY_NUMERIC_STRING),
    APP("limits.max_presence_members_per_channel", U32, NULL, max_presence_members_per_channel,
        .flags = KEY_NUMERIC_STRING),
    APP("limits.max_presence_member_size_in_kb", U32, NULL, max_presence_member_size_in_kb,
        .flags = KEY_NUMERIC_STRING),
    APP("limits.max_channel_name_length", U32, NULL, max_channel_name_length, .flags = KEY_NUMERIC_STRING),
    APP("limits.max_event_name_length", U32, NULL, max_event_name_length, .flags = KEY_NUMERIC_STRING),
    APP("limits.max_event_channels_at_once", U32, NULL, max_event_channels_at_once, .flags = KEY_NUMERIC_STRING),
    APP("limits.max_event_payload_in_kb", U32, NULL, max_event_payload_in_kb, .flags = KEY_NUMERIC_STRING),
    APP("limits.max_event_batch_size", U32, NULL, max_event_batch_size, .flags = KEY_NUMERIC_STRING),
    APP("limits.message_rate_limit.enabled", BOOL, "false", message_rate_limit.enabled),
    APP("limits.message_rate_limit.max_attempts", U32, "60", message_rate_limit.max_attempts,
        .flags = KEY_NUMERIC_STRING),
    APP("limits.message_rate_limit.decay_seconds", U64, "60", message_rate_limit.decay_seconds,
        .flags = KEY_NUMERIC_STRING),
    APP("limits.message_rate_limit.terminate_on_limit", BOOL, "false", message_rate_limit.terminate_on_limit),
    APP("features.enable_client_messages", BOOL, "false", enable_client_messages),
    APP("features.enable_user_authentication", BOOL, "false", enable_user_authentication),
    APP("features.enable_watchlist_events", BOOL, "false", enable_watchlist_events),
    APP("channels.allowed_origins", STRINGS, NULL, allowed_origins),
    APP("channels.annotations_enabled", BOOL, "false", annotations_enabled),
    ROW("channels.channel_delta_compression", MAP, "{}", KEY_NOT_YET, 0),
    ROW("channels.channel_namespaces", OBJECTS, "[]", KEY_ACTS, 0),
    ROW("webhooks", OBJECTS, "[]", KEY_ACTS, 0, .flags = KEY_SECRET),
    APP("idempotency.enabled", TRISTATE, NULL, idempotency_enabled),
    APP("idempotency.ttl_seconds", I64, NULL, idempotency_ttl_seconds, .flags = KEY_NUMERIC_STRING),
    APP("connection_recovery.enabled", TRISTATE, NULL, recovery.enabled),
    APP("connection_recovery.buffer_ttl_seconds", I64, NULL, recovery.buffer_ttl_seconds,
        .flags = KEY_NUMERIC_STRING),
    APP("connection_recovery.max_buffer_size", I64, NULL, recovery.max_buffer_size, .flags = KEY_NUMERIC_STRING),
    APP("history.enabled", TRISTATE, NULL, history.enabled, .flags = KEY_NESTED_ONLY),
    APP("history.rewind_enabled", TRISTATE, NULL, history.rewind_enabled, .flags = KEY_NESTED_ONLY),
    APP("history.retention_window_seconds", I64, NULL, history.retention_window_seconds, .flags = HISTORY_NUMBER),
    APP("history.max_messages_per_channel", I64, NULL, history.max_messages_per_channel, .flags = HISTORY_NUMBER),
    APP("history.max_bytes_per_channel", I64, NULL, history.max_bytes_per_channel, .flags = HISTORY_NUMBER),
    APP("presence_history.enabled", TRISTATE, NULL, presence_history.enabled, .flags = KEY_NESTED_ONLY),
    APP("presence_history.retention_window_seconds", I64, NULL, presence_history.retention_window_seconds,
        .flags = HISTORY_NUMBER),
    APP("presence_history.max_events_per_channel", I64, NULL, presence_history.max_events_per_channel,
        .flags = HISTORY_NUMBER),
    APP("presence_history.max_bytes_per_channel", I64, NULL, presence_history.max_bytes_per_channel,
        .flags = HISTORY_NUMBER),
};

static const struct config_key namespace_rows[] = {
    ROW("name", STR, "", KEY_ACTS, 0),
    NAMESPACE("channel_name_pattern", STR, channel_name_pattern),
    NAMESPACE("max_channel_name_length", I64, max_channel_name_length, .flags = KEY_NUMERIC_STRING),
    NAMESPACE("annotations_enabled", TRISTATE, annotations_enabled),
    NAMESPACE("allow_user_limited_channels", TRISTATE, allow_user_limited_channels),
    NAMESPACE("allow_subscribe_for_client", TRISTATE, allow_subscribe_for_client),
    NAMESPACE("allow_publish_for_client", TRISTATE, allow_publish_for_client),
    NAMESPACE("allow_presence_for_client", TRISTATE, allow_presence_for_client),
    NAMESPACE("history.rewind_enabled", TRISTATE, history.rewind_enabled),
    NAMESPACE("history.retention_window_seconds", I64, history.retention_window_seconds, .flags = KEY_NUMERIC_STRING),
    NAMESPACE("history.max_messages_per_channel", I64, history.max_messages_per_channel, .flags = KEY_NUMERIC_STRING),
    NAMESPACE("history.max_bytes_per_channel", I64, history.max_bytes_per_channel, .flags = KEY_NUMERIC_STRING),
    NAMESPACE("presence_history.enabled", TRISTATE, presence_history.enabled),
    NAMESPACE("presence_history.retention_window_seconds", I64, presence_history.retention_window_seconds,
              .flags = KEY_NUMERIC_STRING),
    NAMESPACE("presence_history.max_events_per_channel", I64, presence_history.max_events_per_channel,
              .flags = KEY_NUMERIC_STRING),
    NAMESPACE("presence_history.max_bytes_per_channel", I64, presence_history.max_bytes_per_channel,
              .flags = KEY_NUMERIC_STRING),
};

/* Headers are apps_webhooks.c's. */
static const struct config_key webhook_rows[] = {
    WEBHOOK("url", STR, url, .flags = KEY_SECRET),
    KNOWN("lambda.function_name", STR),
    KNOWN("lambda.region", STR),
    KNOWN("lambda_function", STR),
    WEBHOOK("event_types", STRINGS, event_types),
    WEBHOOK("filter.channel_prefix", STR, filter.channel_prefix),
    WEBHOOK("filter.channel_suffix", STR, filter.channel_suffix),
    WEBHOOK("filter.channel_pattern", STR, filter.channel_pattern),
    WEBHOOK("filter.channel_namespace", STR, filter.channel_namespace),
    WEBHOOK("filter.channel_namespaces", STRINGS, filter.channel_namespaces),
    ROW("headers", MAP, NULL, KEY_ACTS, 0, .flags = KEY_SECRET),
    WEBHOOK("retry.enabled", TRISTATE, retry.enabled),
    WEBHOOK("retry.max_attempts", I64, retry.max_attempts),
    WEBHOOK("retry.max_elapsed_time_ms", I64, retry.max_elapsed_time_ms),
    WEBHOOK("retry.initial_backoff_ms", I64, retry.initial_backoff_ms),
    WEBHOOK("retry.max_backoff_ms", I64, retry.max_backoff_ms),
    WEBHOOK("request_timeout_ms", I64, request_timeout_ms),
};

/* The order of the first four is validate_lists.c's too. */
static const struct config_key push_rule_rows[] = {
    ROW("enabled", BOOL, "true", KEY_TUNING, 0),
    ROW("channel_pattern", STR, "", KEY_TUNING, 0),
    ROW("event_filter", STRINGS, "[]", KEY_TUNING, 0),
    ROW("rate_limit_per_second", U32, "100", KEY_TUNING, 0),
    KNOWN("payload_mapping.title_field", STR),
    KNOWN("payload_mapping.body_field", STR),
    KNOWN("payload_mapping.template_data_field", STR),
    KNOWN("payload_mapping.include_remaining_fields", BOOL),
};

static const struct config_key ably_key_rows[] = {
    ROW("app_id", STR, "", KEY_TUNING, 0),
    ROW("key_name", STR, "", KEY_TUNING, 0),
    ROW("secret", STR, "", KEY_TUNING, 0, .flags = KEY_SECRET),
    ROW("capability", MAP, "{}", KEY_TUNING, 0),
    KNOWN("revocable_tokens", BOOL),
    KNOWN("enabled", BOOL),
    KNOWN("rotation_id", STR),
    KNOWN("created_at_ms", U64),
    KNOWN("expires_at_ms", U64),
    KNOWN("revoked_at_ms", U64),
};
/* clang-format on */

const struct key_table keys_app = {app_rows, POLICY_FIRST, false};
const struct key_table keys_app_flat = {app_rows, COUNT(app_rows), true};
const struct key_table keys_policy = {app_rows + POLICY_FIRST, COUNT(app_rows) - POLICY_FIRST, false};
const struct key_table keys_namespace = {namespace_rows, COUNT(namespace_rows), false};
const struct key_table keys_webhook = {webhook_rows, COUNT(webhook_rows), false};
const struct key_table keys_push_rule = {push_rule_rows, COUNT(push_rule_rows), false};
const struct key_table keys_ably_key = {ably_key_rows, COUNT(ably_key_rows), false};
