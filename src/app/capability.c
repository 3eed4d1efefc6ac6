/* capability.c - one block of memory: the grants, then the text of their patterns.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app/capability.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"

static const struct str names[CAPABILITIES] = {
    [MAY_SUBSCRIBE] = STR("subscribe"),
    [MAY_PUBLISH] = STR("publish"),
    [MAY_HISTORY] = STR("history"),
    [MAY_PRESENCE] = STR("presence"),
    [MAY_ANNOTATION_SUBSCRIBE] = STR("annotation-subscribe"),
    [MAY_ANNOTATION_PUBLISH] = STR("annotation-publish"),
    [MAY_ANNOTATION_DELETE_OWN] = STR("annotation-delete-own"),
    [MAY_ANNOTATION_DELETE_ANY] = STR("annotation-delete-any"),
    [MAY_MESSAGE_UPDATE_OWN] = STR("message-update-own"),
    [MAY_MESSAGE_UPDATE_ANY] = STR("message-update-any"),
    [MAY_MESSAGE_DELETE_OWN] = STR("message-delete-own"),
    [MAY_MESSAGE_DELETE_ANY] = STR("message-delete-any"),
    [MAY_MESSAGE_APPEND_OWN] = STR("message-append-own"),
    [MAY_MESSAGE_APPEND_ANY] = STR("message-append-any"),
    [MAY_PUSH_ADMIN] = STR("push-admin"),
    [MAY_PUSH_SUBSCRIBE] = STR("push-subscribe"),
};
enum { ALL_OPERATIONS = (1 << CAPABILITIES) - 1, OPEN_BY_DEFAULT = (1 << (MAY_PRESENCE + 1)) - 1 };

struct grant {
    struct str pattern;  /* in capabilities.grants' block */
    uint32_t operations; /* bit set: 1 << enum capability */
};

struct capabilities {
    uint32_t listed; /* bit set: operations that have a list */
    uint32_t count;
    char *text;      /* where the next pattern goes; in this block, behind the grants */
    struct grant grants[];
};

/* ---- names and patterns ---- */

static bool is_named(struct str name, struct str spelled)
{
    if (name.n != spelled.n)
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] != spelled.p[i] && !(name.p[i] == '-' && spelled.p[i] == '_'))
            return false;
    return true;
}

enum capability capability_of(struct str name)
{
    int at = 0;
    while (at < CAPABILITIES && !is_named(names[at], name))
        at++;
    return (enum capability)at;
}

bool capability_matches(struct str pattern, struct str channel)
{
    ptrdiff_t first = str_index(pattern, '*');
    if (first < 0 || pattern.n == 1)
        return first == 0 || str_eq(pattern, channel);
    struct str before = str_first(pattern, (size_t)first), after = str_from(pattern, (size_t)first + 1);
    if (str_index(after, '*') < 0)
        return channel.n >= before.n + after.n && str_starts(channel, before) && str_ends(channel, after);
    if (pattern.p[pattern.n - 1] == '*')
        return str_starts(channel, str_first(pattern, pattern.n - 1));
    return str_eq(pattern, channel);
}

bool capabilities_allow(const struct capabilities *c, enum capability operation, struct str channel)
{
    uint32_t bit = 1u << operation;
    if (c == NULL || !(c->listed & bit))
        return (OPEN_BY_DEFAULT & bit) != 0;
    for (uint32_t i = 0; i < c->count; i++)
        if ((c->grants[i].operations & bit) && capability_matches(c->grants[i].pattern, channel))
            return true;
    return false;
}

/* ---- reading ---- */

/* Room for that many grants; a decoded text is never longer than what it was written as. */
static struct capabilities *capabilities_new(size_t grants, size_t text)
{
    struct capabilities *c = mem_zalloc(sizeof(*c) + grants * sizeof(struct grant) + text);
    c->text = (char *)(c->grants + grants);
    return c;
}

void capabilities_free(struct capabilities *c)
{
    free(c);
}

static void add_grant(struct capabilities *c, struct str pattern, uint32_t operations)
{
    memcpy(c->text, pattern.p, pattern.n);
    c->grants[c->count++] = (struct grant){str_make(c->text, pattern.n), operations};
    c->text += pattern.n;
}

static size_t count_members(struct str object)
{
    struct str key, value;
    size_t n = 0;
    for (struct json_iter it = json_iter(object); json_next_member(&it, &key, &value);)
        n++;
    return n;
}

/* The bit set of an array of operations; false if there is one that we do not know. */
static bool read_operations(struct str list, uint32_t *operations)
{
    struct buf scratch = {0};
    struct str item;
    bool known = true;
    *operations = 0;
    for (struct json_iter it = json_iter(list); known && json_next_item(&it, &item);) {
        buf_clear(&scratch);
        struct str name = json_text(item, &scratch);
        enum capability operation = name.p != NULL ? capability_of(name) : CAPABILITIES;
        known = operation < CAPABILITIES;
        if (known)
            *operations |= 1u << operation;
    }
    buf_free(&scratch);
    return known;
}

static const char *read_pattern(struct capabilities *c, struct str key, struct str list)
{
    struct buf scratch = {0};
    uint32_t operations;
    const char *wrong = NULL;
    struct str pattern = json_key_text(key, &scratch);
    if (pattern.n == 0)
        wrong = "x-sockudo-capability has an empty pattern";
    else if (!json_is(list, JSON_ARRAY))
        wrong = "x-sockudo-capability patterns must have arrays of operations";
    else if (!read_operations(list, &operations))
        wrong = "x-sockudo-capability names an unknown operation";
    else
        add_grant(c, pattern, operations);
    buf_free(&scratch);
    return wrong;
}

struct capabilities *capabilities_of_token(struct str object, const char **wrong)
{
    struct str key, list;
    size_t count = json_is(object, JSON_OBJECT) ? count_members(object) : 0;
    *wrong = !json_is(object, JSON_OBJECT)       ? "x-sockudo-capability must be an object"
             : count > CAPABILITY_PATTERNS_MAX ? "x-sockudo-capability has more than 100 patterns"
                                               : NULL;
    if (*wrong != NULL)
        return NULL;
    struct capabilities *c = capabilities_new(count, object.n);
    c->listed = ALL_OPERATIONS;
    for (struct json_iter it = json_iter(object); *wrong == NULL && json_next_member(&it, &key, &list);)
        *wrong = read_pattern(c, key, list);
    if (*wrong == NULL)
        return c;
    capabilities_free(c);
    return NULL;
}

static const char *check_lists(struct str object, size_t *patterns)
{
    struct str key, list, item;
    if (!json_is(object, JSON_OBJECT))
        return "expected an object";
    *patterns = 0;
    for (struct json_iter it = json_iter(object); json_next_member(&it, &key, &list);) {
        if (!json_is(list, JSON_ARRAY))
            return "expected arrays of channel patterns";
        for (struct json_iter items = json_iter(list); json_next_item(&items, &item); ++*patterns)
            if (!json_is(item, JSON_STRING))
                return "channel patterns must be strings";
    }
    return NULL;
}

static void read_list(struct capabilities *c, struct str key, struct str list)
{
    struct buf scratch = {0};
    struct str item;
    enum capability operation = capability_of(json_key_text(key, &scratch));
    if (operation < CAPABILITIES)
        c->listed |= 1u << operation;
    for (struct json_iter it = json_iter(list); operation < CAPABILITIES && json_next_item(&it, &item);) {
        buf_clear(&scratch);
        add_grant(c, json_text(item, &scratch), 1u << operation);
    }
    buf_free(&scratch);
}

struct capabilities *capabilities_of_signin(struct str object, const char **wrong)
{
    struct str key, list;
    size_t patterns = 0;
    *wrong = object.p != NULL ? check_lists(object, &patterns) : NULL;
    if (object.p == NULL || *wrong != NULL)
        return NULL;
    struct capabilities *c = capabilities_new(patterns, object.n);
    for (struct json_iter it = json_iter(object); json_next_member(&it, &key, &list);)
        read_list(c, key, list);
    return c;
}
