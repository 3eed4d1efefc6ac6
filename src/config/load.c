/* load.c - from a file to the typed structure.
 *
 *      file -> placeholders -> TOML to JSON -> walk -> environment -> command line      values, as text
 *           -> derive -> apps -> validate -> refuse what is not built                   the typed structure
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "config/load.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "config/placeholder.h"
#include "config/toml.h"

enum { FILE_SIZE_MAX = 16 << 20 };

bool load_fail(struct loader *l, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (l->error->n == 0)
        buf_str(l->error, str_of(text));
    return false;
}

void load_warn(struct loader *l, struct str name, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buf_fmt(l->warnings, "%.*s: %s\n", STR_ARG(name), text);
}

struct str load_text(const struct loader *l, const char *path)
{
    return value_at(&keys_global, l->config->values, path)->text;
}

bool load_is(const struct loader *l, const char *path, const char *text)
{
    return str_eq(load_text(l, path), str_of(text));
}

/* ---- text to JSON ---- */

static void put_json(void *ctx, const char *json, size_t size)
{
    buf_put(ctx, json, size);
}

static bool convert_toml(struct loader *l, struct str text, struct buf *json)
{
    struct toml_error error = {0};
    if (toml_to_json(text.p, text.n, put_json, json, &error))
        return true;
    return load_fail(l, "%.*s:%u:%u: %s", STR_ARG(l->name), error.line, error.column, error.why);
}

static bool fail_json(struct loader *l, struct str text, const struct json_error *error)
{
    unsigned line = 1, column = 1;
    for (size_t i = 0; i < error->offset; i++) {
        column = text.p[i] == '\n' ? 1 : column + 1;
        line += text.p[i] == '\n';
    }
    return load_fail(l, "%.*s:%u:%u: %s", STR_ARG(l->name), line, column, error->why);
}

/* An absent number of a limiter that is partly given is not the default of the table (2.3). */
static void set_partial_limit(struct loader *l, struct str limits, const char *name,
                              const char *requests_path)
{
    struct str limit = json_get(limits, str_of(name));
    if (json_is(limit, JSON_OBJECT) && !json_get(limit, STR("max_requests")).p)
        *value_at(&keys_global, l->config->values, requests_path) =
            (struct config_value){STR("60"), l->source};
}

static bool walk_root(struct loader *l, struct str root)
{
    struct config_value *values = l->config->values;
    struct str limits = json_get(root, STR("rate_limiter")), health = json_get(root, STR("cluster_health"));
    if (!json_is(root, JSON_OBJECT))
        return load_fail(l, "%.*s: expected an object", STR_ARG(l->name));
    set_partial_limit(l, limits, "api_rate_limit", "rate_limiter.api_rate_limit.max_requests");
    set_partial_limit(l, limits, "websocket_rate_limit", "rate_limiter.websocket_rate_limit.max_requests");
    if (health.p) {
        /* The old place of this section; walked first, so that the adapter's own wins. */
        struct buf moved = {0};
        struct str checked;
        buf_fmt(&moved, "{\"adapter\":{\"cluster_health\":%.*s}}", STR_ARG(health));
        bool ok = json_check(buf_view(&moved), &checked, NULL)
                      ? walk_object(l, &keys_global, values, STR(""), checked)
                      : load_fail(l, "%.*s: cluster_health is nested too deeply", STR_ARG(l->name));
        buf_free(&moved);
        if (!ok)
            return false;
    }
    return walk_object(l, &keys_global, values, STR(""), root);
}

static bool walk_text(struct loader *l, struct str text, enum config_format format)
{
    struct buf json = {0};
    struct json_error error;
    struct str root;
    bool ok = format == CONFIG_JSON || convert_toml(l, text, &json);
    if (ok && format == CONFIG_TOML)
        text = buf_view(&json);
    if (ok)
        ok = (json_check(text, &root, &error) || fail_json(l, text, &error)) && walk_root(l, root);
    buf_free(&json);
    return ok;
}

static bool read_text(struct loader *l, const struct config_text *text)
{
    struct buf expanded = {0}, unresolved = {0};
    bool ok = str_is_utf8(text->text) || load_fail(l, "%.*s: not valid UTF-8", STR_ARG(text->name));
    if (ok && !placeholder_expand(text->text, l->environ_, &expanded, &unresolved))
        ok = load_fail(l, "%.*s: unresolved environment variables in config: %.*s", STR_ARG(text->name),
                       STR_ARG(buf_view(&unresolved)));
    l->name = text->name;
    l->source = FROM_FILE;
    ok = ok && walk_text(l, buf_view(&expanded), text->format);
    buf_free(&expanded);
    buf_free(&unresolved);
    return ok;
}

static bool read_demo_profile(struct loader *l)
{
    l->name = STR("demo profile");
    l->source = FROM_DEMO;
    l->config->demo_profile = true;
    return walk_text(l, str_of(demo_profile_toml), CONFIG_TOML);
}

/* ---- all steps ---- */

static void apply_command_line(struct loader *l, const struct config_request *request)
{
    if (request->data_dir)
        *value_at(&keys_global, l->config->values, "database.rocksdb.path") = (struct config_value){
            arena_copy(&l->config->arena, str_of(request->data_dir)), FROM_COMMAND_LINE};
}

static bool run_steps(struct loader *l, const struct config_text *text, const struct config_request *request)
{
    struct config *config = l->config;
    if (!(text->text.p ? read_text(l, text) : read_demo_profile(l)) || !env_apply(l) || !apps_from_env(l))
        return false;
    apply_command_line(l, request);
    value_store_all(&keys_global, config->values, &config->arena, config);
    derive(l);
    return apps_load(l) && validate(l) && walk_end(l, &keys_global, config->values, STR(""));
}

struct config *config_from_text(const struct config_text *text, const struct config_request *request,
                                struct buf *warnings, struct buf *error)
{
    struct loader l = {.config = mem_new(struct config),
                       .environ_ = request->environ_,
                       .warnings = warnings,
                       .error = error};
    l.config->values = value_defaults(&keys_global, &l.config->arena);
    bool ok = run_steps(&l, text, request);
    if (ok && l.without_effect.n)
        buf_fmt(warnings, "these keys have no effect in this build: %.*s\n",
                STR_ARG(buf_view(&l.without_effect)));
    buf_free(&l.without_effect);
    if (ok)
        return l.config;
    config_free(l.config);
    return NULL;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    struct arena arena = config->arena;
    free(config);
    arena_free(&arena);
}

/* ---- files ---- */

static bool read_file(const char *path, struct buf *out, struct buf *error)
{
    FILE *file = fopen(path, "re");
    size_t got = 1;
    if (!file) {
        buf_fmt(error, "%s: %s", path, strerror(errno));
        return false;
    }
    while (got > 0 && out->n <= FILE_SIZE_MAX) {
        buf_reserve(out, 65536);
        got = fread(out->p + out->n, 1, 65536, file);
        out->n += got;
    }
    if (ferror(file))
        buf_fmt(error, "%s: %s", path, strerror(errno));
    else if (out->n > FILE_SIZE_MAX)
        buf_fmt(error, "%s: larger than 16 MiB", path);
    fclose(file);
    return error->n == 0;
}

/* NULL = none, so the demo profile. */
static const char *choose_file(const struct config_request *request)
{
    static const char *const implicit[] = {"config/config.toml", "config/config.json"};
    if (request->file)
        return request->file;
    for (size_t i = 0; i < 2; i++)
        if (access(implicit[i], F_OK) == 0)
            return implicit[i];
    return NULL;
}

struct config *config_load(const struct config_request *request, struct buf *warnings, struct buf *error)
{
    const char *path = choose_file(request);
    struct config_text text = {.name = str_of(path)};
    struct config *config = NULL;
    struct buf content = {0};
    if (!path || read_file(path, &content, error)) {
        text.text = path ? buf_view(&content) : STR_NONE;
        text.format = str_ends(text.name, STR(".toml")) ? CONFIG_TOML : CONFIG_JSON;
        config = config_from_text(&text, request, warnings, error);
    }
    buf_free(&content);
    return config;
}
