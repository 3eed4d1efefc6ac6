/* apps.c - the table of applications, built once.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "app/app.h"
#include "app/pattern.h"
#include "base/map.h"
#include "base/mem.h"

struct apps {
    struct app *all;
    size_t count;
    unsigned shards;
    struct map by_id, by_key;
};

static bool compile_patterns(struct app *app, struct buf *error)
{
    const struct app_config *config = app->config;
    app->patterns = mem_zalloc((config->namespaces_count + 1) * sizeof *app->patterns);
    for (size_t i = 0; i < config->namespaces_count; i++) {
        const struct namespace_config *ns = &config->namespaces[i];
        if (!ns->channel_name_pattern.p)
            continue;
        app->patterns[i] = pattern_new(ns->channel_name_pattern, error);
        if (app->patterns[i])
            continue;
        buf_fmt(error, " (app '%.*s', namespace '%.*s', channel_name_pattern)", STR_ARG(app->id),
                STR_ARG(ns->name));
        return false;
    }
    return true;
}

static bool app_init(struct app *app, const struct config *config, unsigned index, unsigned shards,
                     struct buf *error)
{
    app->config = &config->apps[index];
    app->global = config;
    app->id = app->config->id;
    app->key = app->config->key;
    app->index = index;
    app->hmac = mem_zalloc(shards * sizeof *app->hmac);
    for (unsigned i = 0; i < shards; i++)
        app->hmac[i] = hmac_key_new(app->config->secret);
    return compile_patterns(app, error);
}

static void app_free(struct app *app, unsigned shards)
{
    for (unsigned i = 0; app->hmac && i < shards; i++)
        hmac_key_free(app->hmac[i]);
    for (size_t i = 0; app->patterns && i < app->config->namespaces_count; i++)
        pattern_free(app->patterns[i]);
    free(app->patterns);
    free(app->hmac);
}

static bool enter(struct apps *apps, struct app *app, struct buf *error)
{
    if (map_put(&apps->by_id, app->id, app)) {
        buf_fmt(error, "two apps have the id '%.*s': give each its own", STR_ARG(app->id));
        return false;
    }
    if (map_put(&apps->by_key, app->key, app)) {
        buf_fmt(error, "two apps have the key '%.*s': give each its own", STR_ARG(app->key));
        return false;
    }
    return true;
}

struct apps *apps_new(const struct config *config, unsigned shards, struct buf *error)
{
    struct apps *apps = mem_new(struct apps);
    apps->shards = shards;
    apps->count = config->apps_count;
    apps->all = mem_zalloc((apps->count + 1) * sizeof *apps->all);
    for (unsigned i = 0; i < apps->count; i++)
        if (!app_init(&apps->all[i], config, i, shards, error) || !enter(apps, &apps->all[i], error)) {
            apps_free(apps);
            return NULL;
        }
    return apps;
}

void apps_free(struct apps *apps)
{
    if (!apps)
        return;
    for (size_t i = 0; i < apps->count; i++)
        app_free(&apps->all[i], apps->shards);
    map_free(&apps->by_id);
    map_free(&apps->by_key);
    free(apps->all);
    free(apps);
}

struct app *apps_by_key(const struct apps *apps, struct str key)
{
    return map_get(&apps->by_key, key);
}

struct app *apps_by_id(const struct apps *apps, struct str id)
{
    return map_get(&apps->by_id, id);
}

size_t apps_count(const struct apps *apps)
{
    return apps->count;
}

struct app *apps_at(const struct apps *apps, size_t index)
{
    return &apps->all[index];
}
