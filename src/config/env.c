/* env.c - environment overrides (chapter 5, 1.4): the rows say which, the few with rules of their own follow.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "config/load.h"

#include "config/placeholder.h"

static bool apply(struct loader *l, size_t row, struct str name, struct str raw)
{
    const struct config_key *key = &keys_global.keys[row];
    struct str text, shown = key_hides(key, raw) ? STR("********") : raw;
    const char *problem = value_from_env(key, raw, &l->config->arena, &text);
    if (!problem)
        l->config->values[row] = (struct config_value){text, FROM_ENVIRONMENT};
    else if (key->flags & KEY_ENV_HARD)
        return load_fail(l, "%.*s=%.*s: expected %s", STR_ARG(name), STR_ARG(shown), problem);
    else
        load_warn(l, STR("environment"), "%.*s=%.*s: expected %s; %s stays as it was", STR_ARG(name),
                  STR_ARG(shown), problem, key->path);
    return true;
}

static bool apply_row(struct loader *l, size_t row)
{
    struct str names = str_of(keys_global.keys[row].env);
    while (names.p) {
        struct str name = str_split(&names, ' '), raw = environment_get(l->environ_, name);
        if (raw.p && !apply(l, row, name, raw))
            return false;
    }
    return true;
}

static void set(struct loader *l, const char *path, struct str text)
{
    *value_at(&keys_global, l->config->values, path) = (struct config_value){text, FROM_ENVIRONMENT};
}

/* DEBUG is a name that many programs share: only this one value counts. */
static void apply_debug(struct loader *l)
{
    if (str_eq_nocase(environment_get(l->environ_, STR("DEBUG")), STR("true")))
        set(l, "debug", STR("true"));
}

/* 1.5 */
static void apply_logging(struct loader *l)
{
    struct str format = environment_get(l->environ_, STR("LOG_OUTPUT_FORMAT"));
    struct str filter = environment_get(l->environ_, STR("RUST_LOG"));
    if (filter.n == 0)
        filter = environment_get(l->environ_, load_is(l, "debug", "true") ? STR("SOCKUDO_LOG_DEBUG")
                                                                          : STR("SOCKUDO_LOG_PROD"));
    if (format.n)
        set(l, "logging.format", str_eq(format, STR("json")) ? STR("json") : STR("text"));
    if (filter.n && str_is_utf8(filter))
        set(l, "logging.filter", arena_copy(&l->config->arena, filter));
}

bool env_apply(struct loader *l)
{
    for (size_t row = 0; row < keys_global.count; row++)
        if (keys_global.keys[row].env && !apply_row(l, row))
            return false;
    apply_debug(l);
    apply_logging(l);
    return true;
}
