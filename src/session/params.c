/* params.c - the query string of a WebSocket upgrade (chapter 1, 1.2).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session/session.h"

static const char *read_protocol(struct str text, struct session_params *out)
{
    uint64_t protocol = 7;
    if (text.p != NULL && (!str_to_u64(text, &protocol) || protocol > UINT8_MAX))
        return "protocol must be a number from 0 to 255";
    out->protocol = protocol == 2 ? WIRE_V2 : WIRE_V1;
    return NULL;
}

static const char *read_format(struct str format, struct str client, struct session_params *out)
{
    return wire_format_read(format, client, &out->format) ? NULL : "format must be json, msgpack or protobuf";
}

static const char *read_echo(const struct config *config, struct str text, struct session_params *out)
{
    out->echo = config->echo_control.default_echo_messages;
    if (text.p != NULL && !str_eq(text, STR("true")) && !str_eq(text, STR("false")))
        return "echo_messages must be true or false";
    if (text.p != NULL)
        out->echo = str_eq(text, STR("true"));
    if (!config->echo_control.enabled)
        out->echo = true;
    return NULL;
}

static const char *read_append_mode(struct str text, struct session_params *out)
{
    out->mode = LANE_DELTA;
    if (text.n == 0 || str_eq(text, STR("delta")))
        return NULL;
    out->mode = LANE_FULL;
    return str_eq(text, STR("full")) ? NULL : "append_mode must be delta or full";
}

const char *session_window_read(const struct config *config, struct str text, unsigned *out)
{
    uint64_t window_ms = config->ai.rollup.default_window_ms;
    if (text.p != NULL && !str_to_u64(text, &window_ms))
        return "append_rollup_window must be a number";
    int index = window_index(window_ms);
    bool inside = window_ms >= config->ai.rollup.min_window_ms && window_ms <= config->ai.rollup.max_window_ms;
    if (text.p != NULL && (index < 0 || !inside))
        return "append_rollup_window must be one of 0, 20, 40, 100, 500 and within the configured bounds";
    *out = index < 0 || !config->ai.rollup.enabled ? 0 : (unsigned)index;
    return NULL;
}

/* V1 has no appends: a number is all it must be. */
static const char *read_window(const struct config *config, struct str text, struct session_params *out)
{
    uint64_t window_ms;
    if (out->protocol != WIRE_V1)
        return session_window_read(config, text, &out->window_index);
    return text.p == NULL || str_to_u64(text, &window_ms) ? NULL : "append_rollup_window must be a number";
}

const char *session_params_read(const struct config *config, struct str query, struct arena *arena,
                                struct session_params *out)
{
    *out = (struct session_params){.mode = LANE_V1};
    const char *wrong = read_protocol(query_get(query, STR("protocol"), arena), out);
    if (wrong == NULL)
        wrong = read_echo(config, query_get(query, STR("echo_messages"), arena), out);
    if (wrong == NULL)
        wrong = read_window(config, query_get(query, STR("append_rollup_window"), arena), out);
    if (wrong == NULL && out->protocol == WIRE_V2)
        wrong = read_format(query_get(query, STR("format"), arena), query_get(query, STR("client"), arena), out);
    if (wrong == NULL && out->protocol == WIRE_V2)
        wrong = read_append_mode(query_get(query, STR("append_mode"), arena), out);
    out->token = query_get(query, STR("token"), arena);
    if (out->protocol == WIRE_V1)
        out->echo = false; /* V1 senders never get their own events */
    return wrong;
}
