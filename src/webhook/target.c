/* target.c - one webhook as configured: what it wants to hear, how often it is tried (chapter 2, 2.19.1).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "webhook/internal.h"

#include <stdlib.h>

#include "app/pattern.h"
#include "base/log.h"

static struct str origin_of(struct str url)
{
    size_t scheme = (size_t)str_find(url, STR("://")) + 3, end = scheme;
    while (end < url.n && strchr("/?#", url.p[end]) == NULL)
        end++;
    struct str authority = str_make(url.p + scheme, end - scheme);
    for (ptrdiff_t at; (at = str_index(authority, '@')) >= 0;)
        authority = str_from(authority, (size_t)at + 1);
    struct buf out = {0};
    buf_str(&out, str_first(url, scheme));
    buf_str(&out, authority);
    return buf_view(&out);
}

static uint32_t kinds_of(const struct webhook_config *config, const struct app *app)
{
    uint32_t kinds = 0;
    for (size_t i = 0; i < config->event_types_count; i++) {
        enum notice_kind kind = notice_kind_of(config->event_types[i]);
        if (kind < NOTICE_KINDS)
            kinds |= 1u << kind;
        else
            log_warn("webhook", "app %.*s: no event has the type '%.*s' that a webhook asks for", STR_ARG(app->id),
                     STR_ARG(config->event_types[i]));
    }
    return kinds;
}

static uint64_t own_or(int64_t own, uint64_t global)
{
    return own >= 0 ? (uint64_t)own : global;
}

static void read_policy(struct target *t)
{
    const struct webhook_config *own = t->config;
    const struct config *global = t->app->global;
    t->retry = (struct retry){
        .enabled = own->retry.enabled >= 0 ? own->retry.enabled != 0 : global->webhooks.retry.enabled,
        .attempts_max = (uint32_t)own_or(own->retry.max_attempts, global->webhooks.retry.max_attempts),
        .elapsed_max_ms = own_or(own->retry.max_elapsed_time_ms, global->webhooks.retry.max_elapsed_time_ms),
        .initial_ms = own_or(own->retry.initial_backoff_ms, global->webhooks.retry.initial_backoff_ms),
        .max_ms = own_or(own->retry.max_backoff_ms, global->webhooks.retry.max_backoff_ms),
    };
    t->timeout_ms = own_or(own->request_timeout_ms, global->webhooks.request_timeout_ms);
}

/* An invalid pattern matches nothing (2.19.1); that must be said. */
static void compile(struct target *t)
{
    struct buf why = {0};
    if (t->config->filter.channel_pattern.p == NULL)
        return;
    t->pattern = pattern_new(t->config->filter.channel_pattern, &why);
    t->wants_nothing = t->pattern == NULL;
    if (t->wants_nothing)
        log_warn("webhook", "app %.*s, webhooks[%u].filter.channel_pattern: %.*s; this webhook gets nothing", STR_ARG(t->app->id),
                 t->index, STR_ARG(buf_view(&why)));
    buf_free(&why);
}

bool target_init(struct target *t, struct app *app, unsigned index)
{
    const struct webhook_config *config = &app->config->webhooks[index];
    *t = (struct target){.app = app, .config = config, .index = index, .kinds = kinds_of(config, app)};
    struct hash128 hash = hash128(config->url);
    struct buf id = {0};
    hex_put(&id, &hash, sizeof hash);
    memcpy(t->id, id.p, sizeof t->id - 1);
    buf_free(&id);
    t->origin = origin_of(config->url);
    t->hmac = hmac_key_new(app->config->secret);
    read_policy(t);
    compile(t);
    list_init(&t->link);
    list_init(&t->ready);
    return true;
}

void target_free(struct target *t)
{
    pattern_free(t->pattern);
    hmac_key_free(t->hmac);
    free((void *)(uintptr_t)t->origin.p);
}

/* Before the first ':' of the name without its kind; absent if there is none. */
static struct str namespace_of(const struct app *app, struct str channel)
{
    struct channel_name name;
    struct arena arena = {0};
    channel_name_check(app, channel, &name, &arena);
    arena_free(&arena);
    ptrdiff_t colon = str_index(name.logical, ':');
    return colon < 0 ? STR_NONE : str_first(name.logical, (size_t)colon);
}

static bool is_in_namespaces(const struct target *t, struct str channel)
{
    struct str ns = namespace_of(t->app, channel), one = t->config->filter.channel_namespace;
    if (ns.p == NULL || (one.p != NULL && !str_eq(one, ns)))
        return false;
    size_t count = t->config->filter.channel_namespaces_count;
    bool found = t->config->filter.channel_namespaces == NULL;
    for (size_t i = 0; i < count && !found; i++)
        found = str_eq(t->config->filter.channel_namespaces[i], ns);
    return found;
}

bool target_wants(const struct target *t, enum notice_kind kind, struct str channel)
{
    if (!(t->kinds >> kind & 1u) || t->wants_nothing)
        return false;
    if (t->config->filter.channel_prefix.p != NULL && !str_starts(channel, t->config->filter.channel_prefix))
        return false;
    if (t->config->filter.channel_suffix.p != NULL && !str_ends(channel, t->config->filter.channel_suffix))
        return false;
    if (t->pattern != NULL && !pattern_matches(t->pattern, channel))
        return false;
    bool spaces = t->config->filter.channel_namespace.p != NULL || t->config->filter.channel_namespaces != NULL;
    return !spaces || is_in_namespaces(t, channel);
}
