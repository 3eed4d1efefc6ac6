/* policy.c - namespace, then app, then global: the first that is set decides (chapter 3, 2.2; chapter
 * 2, 2.20).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app/app.h"

static int64_t first_set(int64_t ns, int64_t app, int64_t global)
{
    return ns >= 0 ? ns : app >= 0 ? app : global;
}

static uint64_t or_no_limit(int64_t value)
{
    return value > 0 ? (uint64_t)value : 0;
}

static bool is_ai(const struct config *global, struct str channel)
{
    for (size_t i = 0; global->ai.enabled && i < global->ai.prefixes_count; i++)
        if (global->ai.prefixes[i].n && str_starts(channel, global->ai.prefixes[i]))
            return true;
    return false;
}

static const struct namespace_config unset = {
    .annotations_enabled = -1,
    .history = {-1, -1, -1, -1, -1},
    .presence_history = {-1, -1, -1, -1},
};

static void set_history(struct channel_policy *p, const struct app *app, const struct namespace_config *ns)
{
    const struct history_policy *n = &ns->history, *a = &app->config->history;
    const struct config *g = app->global;
    bool annotations = first_set(ns->annotations_enabled, app->config->annotations_enabled, 0);
    p->history = annotations || first_set(-1, a->enabled, g->history.enabled); /* no switch in namespaces */
    p->rewind = p->history && first_set(n->rewind_enabled, a->rewind_enabled, g->history.rewind_enabled);
    p->versioned = p->history && g->versioned.enabled;
    p->annotations = annotations && g->annotations_enabled && p->versioned;
    p->window_ms = 1000 * (uint64_t)first_set(n->retention_window_seconds, a->retention_window_seconds,
                                              (int64_t)g->history.retention_window_seconds);
    p->messages_max = or_no_limit(first_set(n->max_messages_per_channel, a->max_messages_per_channel,
                                            g->history.max_messages_per_channel));
    p->bytes_max = or_no_limit(
        first_set(n->max_bytes_per_channel, a->max_bytes_per_channel, g->history.max_bytes_per_channel));
    p->versions_window_ms = 1000 * g->versioned.retention_window_seconds;
}

struct channel_policy channel_policy(const struct app *app, struct str channel,
                                     const struct channel_name *name)
{
    const struct config *g = app->global;
    const struct recovery_policy *recovery = &app->config->recovery;
    struct channel_policy p = {0};
    if (name && (name->meta || name->wildcard || name->internal))
        return p; /* nothing is published to them */
    set_history(&p, app, name && name->ns ? name->ns : &unset);
    p.ai = is_ai(g, channel);
    p.recovery = first_set(-1, recovery->enabled, g->recovery.enabled);
    p.recovery_frames_max =
        (uint64_t)first_set(-1, recovery->max_buffer_size, (int64_t)g->recovery.max_buffer_size);
    p.recovery_ttl_ms =
        1000 * (uint64_t)first_set(-1, recovery->buffer_ttl_seconds, (int64_t)g->recovery.buffer_ttl_seconds);
    p.idempotency = first_set(-1, app->config->idempotency_enabled, g->idempotency.enabled);
    int64_t ttl_s = first_set(-1, app->config->idempotency_ttl_seconds, (int64_t)g->idempotency.ttl_seconds);
    p.idempotency_ttl_ms = 1000 * (uint64_t)(ttl_s > 0 ? ttl_s : 1);
    return p;
}

struct presence_history presence_history_policy(const struct app *app, const struct channel_name *name)
{
    const struct presence_history_policy *n = name->ns ? &name->ns->presence_history : &unset.presence_history;
    const struct presence_history_policy *a = &app->config->presence_history;
    const struct config *g = app->global;
    bool presence = name->kind == CHANNEL_PRESENCE && !name->meta;
    return (struct presence_history){
        .on = presence && first_set(n->enabled, a->enabled, g->presence_history.enabled),
        .window_ms = 1000 * (uint64_t)first_set(n->retention_window_seconds, a->retention_window_seconds,
                                                (int64_t)g->presence_history.retention_window_seconds),
        .events_max = or_no_limit(first_set(n->max_events_per_channel, a->max_events_per_channel,
                                            g->presence_history.max_events_per_channel)),
        .bytes_max = or_no_limit(first_set(n->max_bytes_per_channel, a->max_bytes_per_channel,
                                           g->presence_history.max_bytes_per_channel)),
    };
}
