/* env_apps.c - an application from the environment instead of the file's (chapter 5, 2.4).
 *
 * It is written as the JSON that a file would hold, so apps.c needs to know nothing of it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "config/load.h"

#include "config/placeholder.h"

static struct str variable(const struct loader *l, const char *prefix, const char *name)
{
    struct buf whole = {0};
    for (buf_str(&whole, str_of(prefix)); *name; name++)
        buf_char(&whole, (char)(*name >= 'a' && *name <= 'z' ? *name - ('a' - 'A') : *name));
    struct str value = environment_get(l->environ_, buf_view(&whole));
    buf_free(&whole);
    return value;
}

static struct str app_variable(const struct loader *l, const char *name)
{
    return variable(l, "SOCKUDO_DEFAULT_APP_", name);
}

/* The variable read as the type of `key`; fallback if it is not set or (with a warning) not readable. */
static struct str typed(struct loader *l, const struct config_key *key, struct str raw, const char *name,
                        struct str fallback)
{
    struct str text;
    if (raw.n == 0)
        return fallback;
    const char *problem = value_from_env(key, raw, &l->config->arena, &text);
    if (!problem)
        return text;
    load_warn(l, STR("environment"), "variable for %s: expected %s; taken as %.*s", name, problem,
              STR_ARG(fallback));
    return fallback;
}

static bool flag(struct loader *l, struct str raw, const char *name, bool fallback)
{
    const struct config_key as_bool = {.type = KEY_BOOL};
    struct str text = typed(l, &as_bool, raw, name, fallback ? STR("true") : STR("false"));
    return str_eq(text, STR("true"));
}

static void put_member(struct buf *json, const char *name, struct str value)
{
    buf_fmt(json, ",\"%s\":", name);
    buf_str(json, value);
}

static void put_limits(struct loader *l, struct buf *json)
{
    for (size_t i = 0; i < keys_app_flat.count; i++) {
        const struct config_key *key = &keys_app_flat.keys[i];
        const char *name = key_name(&keys_app_flat, key);
        if (str_starts(str_of(key->path), STR("limits.max_")))
            put_member(json, name, typed(l, key, app_variable(l, name), name, STR("100")));
    }
}

static void put_flags(struct loader *l, struct buf *json)
{
    static const char *const names[] = {"enable_client_messages", "enable_user_authentication",
                                        "enable_watchlist_events", "annotations_enabled"};
    bool client_messages = flag(l, variable(l, "SOCKUDO_", names[0]), names[0], false);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bool on = flag(l, app_variable(l, names[i]), names[i], i == 0 && client_messages);
        put_member(json, names[i], on ? STR("true") : STR("false"));
    }
}

static struct str default_app(struct loader *l, const struct str identity[3])
{
    const struct config_key as_list = {.type = KEY_STRINGS};
    struct buf json = {0};
    buf_lit(&json, "[{\"enabled\":true,\"id\":");
    buf_json(&json, identity[0]);
    buf_lit(&json, ",\"key\":");
    buf_json(&json, identity[1]);
    buf_lit(&json, ",\"secret\":");
    buf_json(&json, identity[2]);
    put_limits(l, &json);
    put_flags(l, &json);
    struct str origins = app_variable(l, "allowed_origins");
    if (origins.n)
        put_member(&json, "allowed_origins", typed(l, &as_list, origins, "allowed_origins", STR("[]")));
    buf_lit(&json, "}]");
    struct str text = arena_copy(&l->config->arena, buf_view(&json));
    buf_free(&json);
    return text;
}

bool apps_from_env(struct loader *l)
{
    struct config_value *apps = value_at(&keys_global, l->config->values, "app_manager.array.apps");
    const struct str identity[3] = {app_variable(l, "ID"), app_variable(l, "KEY"), app_variable(l, "SECRET")};
    bool any = identity[0].n || identity[1].n || identity[2].n;
    bool all = identity[0].n && identity[1].n && identity[2].n;
    bool enabled = flag(l, app_variable(l, "ENABLED"), "enabled", true);
    bool skip = flag(l, variable(l, "SOCKUDO_", "SKIP_INLINE_APPS"), "SOCKUDO_SKIP_INLINE_APPS", false) ||
                !flag(l, variable(l, "APP_MANAGER_", "REGISTER_INLINE_APPS"),
                      "APP_MANAGER_REGISTER_INLINE_APPS", true);
    for (size_t i = 0; i < 3; i++)
        if (identity[i].n && !str_is_utf8(identity[i]))
            return load_fail(l, "SOCKUDO_DEFAULT_APP_ID, _KEY and _SECRET must be valid UTF-8");
    if (skip || any || !enabled)
        *apps = (struct config_value){STR("[]"), FROM_ENVIRONMENT};
    if (any && !all)
        load_warn(
            l, STR("environment"),
            "SOCKUDO_DEFAULT_APP_ID, _KEY and _SECRET belong together: without all three there is no app");
    if (all && enabled)
        apps->text = default_app(l, identity);
    return true;
}
