/* print.c - the effective configuration as a TOML file that could be loaded again, but for its secrets.
 *
 *      [history]
 *      enabled = true # from file
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "config/load.h"

#include "base/json.h"

static const char *const origins[] = {
    [FROM_DEFAULT] = "default",           [FROM_FILE] = "file",
    [FROM_DEMO] = "demo profile",         [FROM_ENVIRONMENT] = "environment",
    [FROM_COMMAND_LINE] = "command line",
};

/* As a TOML basic string: JSON's escapes are TOML's too, but DEL has to be one as well. */
static void put_string(struct buf *out, struct str text)
{
    struct buf json = {0};
    buf_json(&json, text);
    for (size_t i = 0; i < json.n; i++)
        if (json.p[i] == 0x7f)
            buf_lit(out, "\\u007F");
        else
            buf_char(out, json.p[i]);
    buf_free(&json);
}

static void put_json(struct buf *out, struct str json);

static void put_inline_table(struct buf *out, struct str object)
{
    struct json_iter it = json_iter(object);
    struct str key_raw, value;
    const char *between = " ";
    buf_char(out, '{');
    while (json_next_member(&it, &key_raw, &value)) {
        struct buf scratch = {0};
        if (json_is(value, JSON_NULL))
            continue;
        buf_str(out, str_of(between));
        put_string(out, json_key_text(key_raw, &scratch));
        buf_lit(out, " = ");
        put_json(out, value);
        between = ", ";
        buf_free(&scratch);
    }
    buf_lit(out, " }");
}

static void put_array(struct buf *out, struct str array)
{
    struct json_iter it = json_iter(array);
    struct str item;
    const char *between = "";
    buf_char(out, '[');
    while (json_next_item(&it, &item)) {
        if (json_is(item, JSON_NULL))
            continue;
        buf_str(out, str_of(between));
        put_json(out, item);
        between = ", ";
    }
    buf_char(out, ']');
}

static void put_json(struct buf *out, struct str json)
{
    struct buf scratch = {0};
    switch (json_type(json)) {
    case JSON_OBJECT:
        put_inline_table(out, json);
        break;
    case JSON_ARRAY:
        put_array(out, json);
        break;
    case JSON_STRING:
        put_string(out, json_text(json, &scratch));
        break;
    default:
        buf_str(out, json);
    }
    buf_free(&scratch);
}

/* Of a webhook nobody may read where it goes, which may hold credentials, nor what its headers say. */
static void put_webhook(struct buf *out, struct str object)
{
    struct json_iter it = json_iter(object), inner;
    struct str key, value, header;
    const char *between = "{ ";
    while (json_next_member(&it, &key, &value)) {
        if (json_is(value, JSON_NULL))
            continue;
        buf_fmt(out, "%s\"%.*s\" = ", between, STR_ARG(key));
        between = ", ";
        if (str_eq(key, STR("url"))) {
            put_string(out, STR("https://********"));
        } else if (str_eq(key, STR("headers")) && json_is(value, JSON_OBJECT)) {
            inner = json_iter(value);
            buf_char(out, '{');
            for (const char *comma = ""; json_next_member(&inner, &key, &header); comma = ", ")
                buf_fmt(out, "%s\"%.*s\" = \"********\"", comma, STR_ARG(key));
            buf_char(out, '}');
        } else {
            put_json(out, value);
        }
    }
    buf_lit(out, " }");
}

static void put_webhooks(struct buf *out, struct str array)
{
    struct json_iter it = json_iter(array);
    struct str item;
    buf_char(out, '[');
    for (const char *comma = ""; json_next_item(&it, &item); comma = ", ") {
        buf_str(out, str_of(comma));
        put_webhook(out, item);
    }
    buf_char(out, ']');
}

static void put_value(struct buf *out, const struct config_key *key, struct str text)
{
    if (str_eq(str_of(key->path), STR("webhooks")))
        put_webhooks(out, text);
    else if (key_hides(key, text))
        put_string(out, STR("********"));
    else if (key->type == KEY_STR || key->type == KEY_CHOICE)
        put_string(out, text);
    else
        put_json(out, text);
}

/* The section of a path, and what is behind it. */
static struct str section_of(const char *path, const char **name)
{
    const char *dot = strrchr(path, '.');
    *name = dot ? dot + 1 : path;
    return str_make(path, dot ? (size_t)(dot - path) : 0);
}

static bool is_shown(const struct config_key *key, const struct config_value *value)
{
    bool is_apps = str_eq(str_of(key->path), STR("app_manager.array.apps"));
    return key->status == KEY_ACTS && value->text.p && !is_apps && !str_eq(str_of(key->path), STR("policy"));
}

/* above: the table that all sections are below of, with a dot at its end. */
static void put_table(struct buf *out, const struct key_table *table, const struct config_value *values,
                      struct str above)
{
    struct str last = above.n > 0 ? STR("-") : STR(""); /* "-": none was named yet */
    for (size_t i = 0; i < table->count; i++) {
        const char *name;
        struct str section = section_of(table->keys[i].path, &name);
        if (!is_shown(&table->keys[i], &values[i]))
            continue;
        if (!str_eq(section, last))
            buf_fmt(out, "\n[%.*s%.*s]\n", STR_ARG(section.n > 0 ? above : str_first(above, above.n - 1)), STR_ARG(section));
        last = section;
        buf_fmt(out, "%s = ", name);
        put_value(out, &table->keys[i], values[i].text);
        buf_fmt(out, " # from %s\n", origins[values[i].source]);
    }
}

void config_print(const struct config *config, struct buf *out)
{
    put_table(out, &keys_global, config->values, STR(""));
    for (size_t i = 0; i < config->apps_count; i++) {
        const struct config_value *values = config->apps[i].values;
        buf_lit(out, "\n[[app_manager.array.apps]]\n");
        put_table(out, &keys_app, values, STR(""));
        put_table(out, &keys_policy, values + keys_app.count, STR("app_manager.array.apps.policy."));
    }
}
