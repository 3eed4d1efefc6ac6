/* walk.c - an object of a configuration file against the table of its keys.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "config/load.h"

#include "base/json.h"

struct walk {
    struct loader *l;
    const struct key_table *table;
    struct config_value *values;
    struct str where;
    struct buf path; /* of the object that is being walked, with a dot at its end unless empty */
};

static void warn_unknown(struct walk *w)
{
    struct str path = buf_view(&w->path), nearest = key_nearest(w->table, path);
    if (nearest.p)
        load_warn(w->l, w->l->name, "unknown key %.*s%.*s, ignored (did you mean %.*s?)", STR_ARG(w->where),
                  STR_ARG(path), STR_ARG(nearest));
    else
        load_warn(w->l, w->l->name, "unknown key %.*s%.*s, ignored", STR_ARG(w->where), STR_ARG(path));
}

static bool set_value(struct walk *w, size_t row, struct str json)
{
    struct loader *l = w->l;
    struct str text, path = buf_view(&w->path);
    const char *problem = value_from_json(&w->table->keys[row], json, &l->config->arena, &text);
    if (problem)
        return load_fail(l, "%.*s: %.*s%.*s: expected %s", STR_ARG(l->name), STR_ARG(w->where), STR_ARG(path),
                         problem);
    w->values[row] = (struct config_value){text, l->source};
    return true;
}

static bool walk_members(struct walk *w, struct str object);

/* w->path is the member's. */
static bool walk_member(struct walk *w, struct str json)
{
    struct str path = buf_view(&w->path);
    ptrdiff_t row = key_find(w->table, path);
    if (row >= 0)
        return json_is(json, JSON_NULL) || set_value(w, (size_t)row, json);
    if (!key_is_section(w->table, path)) {
        warn_unknown(w);
        return true;
    }
    if (json_is(json, JSON_NULL))
        return true;
    if (!json_is(json, JSON_OBJECT))
        return load_fail(w->l, "%.*s: %.*s%.*s: expected a table", STR_ARG(w->l->name), STR_ARG(w->where),
                         STR_ARG(path));
    buf_char(&w->path, '.');
    return walk_members(w, json);
}

static bool walk_members(struct walk *w, struct str object)
{
    size_t own_size = w->path.n;
    struct json_iter it = json_iter(object);
    struct str key_raw, json;
    bool ok = true;
    while (ok && json_next_member(&it, &key_raw, &json)) {
        struct buf scratch = {0};
        struct str key = json_key_text(key_raw, &scratch);
        buf_str(&w->path, key);
        if (str_index(key, '.') >= 0)
            warn_unknown(w);
        else
            ok = walk_member(w, json);
        w->path.n = own_size;
        buf_free(&scratch);
    }
    return ok;
}

bool walk_object(struct loader *l, const struct key_table *table, struct config_value *values,
                 struct str where, struct str object)
{
    struct walk w = {.l = l, .table = table, .values = values, .where = where};
    bool ok = walk_members(&w, object);
    buf_free(&w.path);
    return ok;
}

static bool refuse(struct loader *l, const struct key_table *table, const struct config_key *key,
                   struct str where, struct str text)
{
    struct str shown = key_hides(key, text) ? STR("********") : text;
    return load_fail(l, "%.*s%s = %.*s is not supported by this build yet", STR_ARG(where),
                     key_name(table, key), STR_ARG(shown));
}

static bool is_built(const struct config_key *key, struct str text)
{
    bool built = true;
    if (key->type == KEY_CHOICE && text.p)
        key_word(key, text, &built);
    return built;
}

bool walk_end(struct loader *l, const struct key_table *table, const struct config_value *values,
              struct str where)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct config_key *key = &table->keys[i];
        bool is_default = value_is_default(key, values[i].text);
        if (!is_built(key, values[i].text) || (key->status == KEY_NOT_YET && !is_default))
            return refuse(l, table, key, where, values[i].text);
        if (key->status == KEY_TUNING && !is_default)
            buf_fmt(&l->without_effect, "%s%.*s%s", l->without_effect.n ? ", " : "", STR_ARG(where),
                    key_name(table, key));
    }
    return true;
}
