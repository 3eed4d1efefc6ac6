/* apps.c - the list of applications: two shapes, one result (chapter 2, 2.20).
 *
 * The rows of an app are one array: first those beside `policy`, behind them the policy's. So the values of
 * both shapes end up in the same places:
 *
 *      rows    id key secret enabled policy | limits.max_connections ...
 *      nested  {"id": ..., "policy": {"limits": {"max_connections": 5}}}
 *      flat    {"id": ..., "max_connections": 5}
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "config/load.h"

#include <assert.h>
#include <stdio.h>

#include "base/json.h"

/* What an app leaves open, in the policy's rows, and the global key that then decides. */
static const char *const fallbacks[][2] = {
    {"limits.max_presence_members_per_channel", "presence.max_members_per_channel"},
    {"limits.max_presence_member_size_in_kb", "presence.max_member_size_in_kb"},
    {"limits.max_event_channels_at_once", "event_limits.max_channels_at_once"},
    {"limits.max_event_name_length", "event_limits.max_name_length"},
    {"limits.max_event_payload_in_kb", "event_limits.max_payload_in_kb"},
    {"limits.max_event_batch_size", "event_limits.max_batch_size"},
};

static struct config_value *policy_values(struct config_value *values)
{
    return values + keys_app.count;
}

static void warn_ignored(struct loader *l, struct str where, const struct config_value *flat)
{
    for (size_t i = keys_app.count; i < keys_app_flat.count; i++)
        if (flat[i].source != FROM_DEFAULT)
            load_warn(l, l->name, "%.*s%s is ignored, because the app has a policy", STR_ARG(where),
                      key_name(&keys_app_flat, &keys_app_flat.keys[i]));
}

static bool walk_nested(struct loader *l, struct config_value *values, struct str where, struct str json)
{
    struct config_value *flat = value_defaults(&keys_app_flat, &l->config->arena);
    char inside[80];
    int n = snprintf(inside, sizeof inside, "%.*spolicy.", STR_ARG(where));
    if (!walk_object(l, &keys_app_flat, flat, where, json))
        return false;
    memcpy(values, flat, keys_app.count * sizeof *values);
    warn_ignored(l, where, flat);
    struct str deeper = str_make(inside, (size_t)n), policy = json_get(json, STR("policy"));
    return walk_object(l, &keys_policy, policy_values(values), deeper, policy) &&
           walk_end(l, &keys_policy, policy_values(values), deeper);
}

static bool walk_flat(struct loader *l, struct config_value *values, struct str where, struct str json)
{
    return walk_object(l, &keys_app_flat, values, where, json) && walk_end(l, &keys_app_flat, values, where);
}

static bool check_namespace(struct loader *l, const struct namespace_config *ns, struct str where)
{
    if (ns->name.n == 0 || str_index(ns->name, ':') >= 0)
        return load_fail(l, "%.*sname must not be empty and must not contain ':'", STR_ARG(where));
    if (ns->max_channel_name_length == 0)
        return load_fail(l, "%.*smax_channel_name_length must be greater than 0", STR_ARG(where));
    return true;
}

static bool load_namespace(struct loader *l, struct namespace_config *ns, struct str where, struct str json)
{
    struct arena *arena = &l->config->arena;
    struct config_value *values = value_defaults(&keys_namespace, arena);
    *ns = (struct namespace_config){.history.enabled = -1};
    if (!walk_object(l, &keys_namespace, values, where, json) || !walk_end(l, &keys_namespace, values, where))
        return false;
    value_store_all(&keys_namespace, values, arena, ns);
    ns->name = value_at(&keys_namespace, values, "name")->text;
    if (!check_namespace(l, ns, where))
        return false;
    if (ns->max_channel_name_length < 0)
        ns->max_channel_name_length = 0;
    return true;
}

static size_t item_count(struct str array)
{
    struct json_iter it = json_iter(array);
    struct str item;
    size_t count = 0;
    while (json_next_item(&it, &item))
        count++;
    return count;
}

static bool load_namespaces(struct loader *l, struct app_config *app, struct str where, struct str array)
{
    struct json_iter it = json_iter(array);
    struct str json;
    app->namespaces = arena_zalloc(&l->config->arena, item_count(array) * sizeof *app->namespaces);
    while (json_next_item(&it, &json)) {
        char inside[120];
        int n = snprintf(inside, sizeof inside, "%.*schannel_namespaces[%zu].", STR_ARG(where),
                         app->namespaces_count);
        struct namespace_config *ns = &app->namespaces[app->namespaces_count];
        if (!load_namespace(l, ns, str_make(inside, (size_t)n), json))
            return false;
        for (size_t i = 0; i < app->namespaces_count; i++)
            if (str_eq(app->namespaces[i].name, ns->name))
                return load_fail(l, "%sname: there is a second namespace '%.*s'", inside, STR_ARG(ns->name));
        app->namespaces_count++;
    }
    return true;
}

static void apply_fallbacks(struct loader *l, struct config_value *policy)
{
    for (size_t i = 0; i < sizeof fallbacks / sizeof *fallbacks; i++) {
        struct config_value *own = value_at(&keys_policy, policy, fallbacks[i][0]);
        if (!own->text.p)
            *own = *value_at(&keys_global, l->config->values, fallbacks[i][1]);
    }
}

static bool check_app(struct loader *l, const struct app_config *app, struct str where)
{
    if (app->id.n == 0 || app->key.n == 0)
        return load_fail(l, "%.*sid and key must not be empty", STR_ARG(where));
    if (app->enabled && app->secret.n == 0)
        return load_fail(l, "%.*ssecret must not be empty", STR_ARG(where));
    if (!app->enabled)
        load_warn(l, l->name, "app '%.*s' is disabled (its key `enabled` is not true)", STR_ARG(app->id));
    for (size_t i = 0; i < app->allowed_origins_count; i++) {
        const char *problem = origin_pattern_problem(app->allowed_origins[i]);
        if (problem)
            return load_fail(l, "%.*sallowed_origins: '%.*s' %s", STR_ARG(where),
                             STR_ARG(app->allowed_origins[i]), problem);
    }
    return true;
}

static bool load_app(struct loader *l, struct app_config *app, struct str where, struct str json)
{
    struct arena *arena = &l->config->arena;
    struct config_value *values = value_defaults(&keys_app_flat, arena), *policy = policy_values(values);
    bool nested = json_get(json, STR("policy")).p != NULL;
    if (!(nested ? walk_nested(l, values, where, json) : walk_flat(l, values, where, json)))
        return false;
    apply_fallbacks(l, policy);
    *app = (struct app_config){.values = values, .id = value_at(&keys_app, values, "id")->text};
    value_store_all(&keys_app, values, arena, app);
    value_store_all(&keys_policy, policy, arena, app);
    return load_namespaces(l, app, where,
                           value_at(&keys_policy, policy, "channels.channel_namespaces")->text) &&
           apps_webhooks(l, app, where, value_at(&keys_policy, policy, "webhooks")->text) && check_app(l, app, where);
}

/* A second app with the same id takes the place of the first, as in the reference; keys are unique. */
static bool enter(struct loader *l, const struct app_config *app, struct str where)
{
    struct config *config = l->config;
    struct app_config *place = &config->apps[config->apps_count];
    for (size_t i = 0; i < config->apps_count; i++) {
        if (str_eq(config->apps[i].id, app->id))
            place = &config->apps[i];
        else if (str_eq(config->apps[i].key, app->key))
            return load_fail(l, "%.*skey: two apps have the key '%.*s'", STR_ARG(where), STR_ARG(app->key));
    }
    if (place == &config->apps[config->apps_count])
        config->apps_count++;
    else
        load_warn(l, l->name, "app '%.*s' is defined twice, the later one counts", STR_ARG(app->id));
    *place = *app;
    return true;
}

bool apps_load(struct loader *l)
{
    struct config_value *list = value_at(&keys_global, l->config->values, "app_manager.array.apps");
    struct json_iter it = json_iter(list->text);
    struct str json;
    l->source = list->source;
    if (list->source == FROM_ENVIRONMENT)
        l->name = STR("environment");
    l->config->apps = arena_zalloc(&l->config->arena, (item_count(list->text) + 1) * sizeof *l->config->apps);
    for (size_t i = 0; json_next_item(&it, &json); i++) {
        struct app_config app;
        char where[64];
        int n = snprintf(where, sizeof where, "app_manager.array.apps[%zu].", i);
        if (!load_app(l, &app, str_make(where, (size_t)n), json) ||
            !enter(l, &app, str_make(where, (size_t)n)))
            return false;
    }
    return true;
}
