/* validate_lists.c - objects that come in lists and belong to parts not built yet (4.1, rows 1 and 13), and
 * patterns of origins (7.4).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "config/load.h"

#include <stdio.h>

#include "base/json.h"

#define PREFIX "Configuration validation failed: "
#define FAIL(l, ...) load_fail(l, PREFIX __VA_ARGS__)

static struct str text_at(const struct key_table *table, struct config_value *values, const char *path)
{
    return value_at(table, values, path)->text;
}

static bool check_event_filter(struct loader *l, const char *where, struct str filter)
{
    size_t count;
    struct str *events = value_strings(filter, &l->config->arena, &count);
    if (count == 0 || count > 32)
        return FAIL(l, "%sevent_filter must name 1 to 32 events", where);
    for (size_t i = 0; i < count; i++)
        if (events[i].n == 0 || events[i].n > 200)
            return FAIL(l, "%sevent_filter: an event name must have 1 to 200 bytes", where);
    return true;
}

static bool check_push_rule(struct loader *l, const char *where, struct config_value *values)
{
    struct str pattern = text_at(&keys_push_rule, values, "channel_pattern");
    ptrdiff_t star = str_index(pattern, '*');
    if (pattern.n == 0 || pattern.n > 256)
        return FAIL(l, "%schannel_pattern must have 1 to 256 bytes", where);
    if (star >= 0 && (size_t)star != pattern.n - 1)
        return FAIL(l, "%schannel_pattern may have '*' only at its end", where);
    if (str_eq(text_at(&keys_push_rule, values, "rate_limit_per_second"), STR("0")))
        return FAIL(l, "%srate_limit_per_second must be greater than 0", where);
    return check_event_filter(l, where, text_at(&keys_push_rule, values, "event_filter"));
}

bool validate_push_rules(struct loader *l)
{
    struct json_iter it = json_iter(load_text(l, "push_rules"));
    struct str json;
    for (size_t i = 0; json_next_item(&it, &json); i++) {
        struct config_value *values = value_defaults(&keys_push_rule, &l->config->arena);
        char where[48];
        snprintf(where, sizeof where, "push_rules[%zu].", i);
        if (!walk_object(l, &keys_push_rule, values, str_of(where), json) ||
            !check_push_rule(l, where, values))
            return false;
    }
    return true;
}

static bool is_seen_before(struct str keys, size_t index, struct str name)
{
    struct json_iter it = json_iter(keys);
    struct str json;
    bool seen = false;
    for (size_t i = 0; i < index && json_next_item(&it, &json) && !seen; i++) {
        struct buf scratch = {0};
        seen = str_eq(json_text(json_get(json, STR("key_name")), &scratch), name);
        buf_free(&scratch);
    }
    return seen;
}

bool validate_ably_keys(struct loader *l)
{
    static const char *const required[] = {"app_id", "key_name", "secret"};
    struct str keys = load_text(l, "ably_compat.keys"), json;
    struct json_iter it = json_iter(keys);
    for (size_t i = 0; json_next_item(&it, &json); i++) {
        struct config_value *values = value_defaults(&keys_ably_key, &l->config->arena);
        char where[48];
        snprintf(where, sizeof where, "ably_compat.keys[%zu].", i);
        if (!walk_object(l, &keys_ably_key, values, str_of(where), json))
            return false;
        for (size_t k = 0; k < 3; k++)
            if (text_at(&keys_ably_key, values, required[k]).n == 0)
                return FAIL(l, "%s%s must not be empty", where, required[k]);
        if (is_seen_before(keys, i, text_at(&keys_ably_key, values, "key_name")))
            return FAIL(l, "%skey_name is used twice", where);
    }
    return true;
}

static bool is_domain(struct str domain)
{
    if (domain.n == 0 || domain.p[0] == '.' || domain.p[domain.n - 1] == '.' ||
        str_find(domain, STR("..")) >= 0)
        return false;
    for (size_t i = 0; i < domain.n; i++)
        if (strchr("/ \t@?#*", domain.p[i]) || !domain.p[i])
            return false;
    return true;
}

const char *origin_pattern_problem(struct str pattern)
{
    ptrdiff_t scheme_end = str_find(pattern, STR("://")), star = str_index(pattern, '*');
    if (pattern.n == 0)
        return "is empty";
    if (star >= 0 && str_index(str_from(pattern, (size_t)star + 1), '*') >= 0)
        return "has more than one '*'";
    if (str_starts(pattern, STR("*.")) && scheme_end < 0 && !is_domain(str_from(pattern, 2)))
        return "has no valid domain behind '*.'";
    if (scheme_end == 0 || (scheme_end > 0 && (size_t)scheme_end + 3 == pattern.n))
        return "lacks a scheme or a host";
    return NULL;
}
