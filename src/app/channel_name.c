/* channel_name.c - what a channel's name says, and whether it may (chapter 1, 5.1).
 *
 *      private-encrypted-cache-orders:7#u1,u2
 *      `---- kind, cache ----´ `-ns-´   `users´
 *                              `------ logical ------´
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdarg.h>
#include <stdio.h>

#include "app/app.h"
#include "app/pattern.h"

enum { NAME_SIZE_DEFAULT = 200, INVALID_SHOWN_MAX = 16 };

static const char *say(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
static const char *say(struct arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *text = arena_alloc(arena, (size_t)n + 1);
    vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}

/* ---- kind ---- */

static const struct {
    struct str prefix;
    enum channel_kind kind;
    bool cache;
} kinds[] = {
    /* longest first */
    {STR("private-encrypted-cache-"), CHANNEL_ENCRYPTED, true},
    {STR("private-encrypted-"), CHANNEL_ENCRYPTED, false},
    {STR("presence-cache-"), CHANNEL_PRESENCE, true},
    {STR("private-cache-"), CHANNEL_PRIVATE, true},
    {STR("presence-"), CHANNEL_PRESENCE, false},
    {STR("private-"), CHANNEL_PRIVATE, false},
    {STR("cache-"), CHANNEL_PUBLIC, true},
};

static void read_kind(struct str channel, struct channel_name *out)
{
    *out = (struct channel_name){.kind = CHANNEL_PUBLIC, .logical = channel};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (str_starts(channel, kinds[i].prefix)) {
            out->kind = kinds[i].kind;
            out->cache = kinds[i].cache;
            out->logical = str_from(channel, kinds[i].prefix.n);
            return;
        }
}

const char *channel_kind_word(enum channel_kind kind)
{
    static const char *const words[] = {
        [CHANNEL_PUBLIC] = "public",
        [CHANNEL_PRIVATE] = "private",
        [CHANNEL_PRESENCE] = "presence",
        [CHANNEL_ENCRYPTED] = "private-encrypted",
    };
    return words[kind];
}

/* ---- characters ---- */

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_name_char(char c)
{
    return is_alnum(c) || (c && strchr("-_=@,.;:#", c));
}

static bool is_user_char(char c)
{
    return is_alnum(c) || (c && strchr("-_=@.", c));
}

/* 'a', 'b', each once, at most INVALID_SHOWN_MAX of them. */
static void put_invalid(struct buf *out, struct str channel)
{
    struct str shown[INVALID_SHOWN_MAX];
    size_t count = 0;
    for (size_t i = 0, n; i < channel.n && count < INVALID_SHOWN_MAX; i += n) {
        n = str_utf8_first(str_from(channel, i));
        n = n ? n : 1;
        struct str c = str_make(channel.p + i, n);
        bool known = is_name_char(*c.p);
        for (size_t k = 0; k < count && !known; k++)
            known = str_eq(shown[k], c);
        if (known)
            continue;
        buf_fmt(out, "%s'%.*s'", count ? ", " : "", STR_ARG(c));
        shown[count++] = c;
    }
}

static const char *check_chars(struct str channel, struct arena *arena)
{
    size_t i = 0;
    while (i < channel.n && is_name_char(channel.p[i]))
        i++;
    if (i == channel.n)
        return NULL;
    struct buf invalid = {0};
    put_invalid(&invalid, channel);
    const char *wrong = say(arena, "Channel name contains invalid characters: '%.*s' (invalid chars: [%.*s])",
                            STR_ARG(channel), STR_ARG(buf_view(&invalid)));
    buf_free(&invalid);
    return wrong;
}

/* ---- namespace ---- */

/* The part of the logical name before '#'; a '#' in front of everything separates nothing. */
static struct str before_users(struct str logical)
{
    ptrdiff_t at = str_index(logical, '#');
    return at > 0 ? str_first(logical, (size_t)at) : logical;
}

/* Absent if the name has none. */
static struct str namespace_of(struct str base)
{
    ptrdiff_t at = str_index(base, ':');
    return at < 0 ? STR_NONE : str_first(base, (size_t)at);
}

static const struct namespace_config *find_namespace(const struct app *app, struct str name)
{
    for (size_t i = 0; name.p && i < app->config->namespaces_count; i++)
        if (str_eq(app->config->namespaces[i].name, name))
            return &app->config->namespaces[i];
    return NULL;
}

static uint64_t size_max(const struct app *app, const struct namespace_config *ns)
{
    if (ns && ns->max_channel_name_length > 0)
        return (uint64_t)ns->max_channel_name_length;
    if (app->config->max_channel_name_length)
        return app->config->max_channel_name_length;
    uint32_t global = app->global->channel_limits.max_name_length;
    return global ? global : NAME_SIZE_DEFAULT;
}

static const char *check_namespace(const struct app *app, struct str channel, struct str base,
                                   struct str named, const struct namespace_config *ns, struct arena *arena)
{
    if (named.p && !ns)
        return say(arena, "Unknown channel namespace '%.*s'", STR_ARG(named));
    void *pattern = ns ? app->patterns[ns - app->config->namespaces] : NULL;
    if (pattern && !pattern_matches(pattern, base))
        return say(arena, "Channel '%.*s' does not match namespace '%.*s' pattern", STR_ARG(channel),
                   STR_ARG(ns->name));
    return NULL;
}

/* ---- user limits ---- */

static const char *check_user(struct str channel, struct str user, struct arena *arena)
{
    if (user.n == 0)
        return say(arena, "Channel '%.*s' has an empty user id in its user limit", STR_ARG(channel));
    for (size_t i = 0; i < user.n; i++)
        if (!is_user_char(user.p[i]))
            return say(arena, "Channel '%.*s' has an invalid user id '%.*s' in its user limit",
                       STR_ARG(channel), STR_ARG(user));
    return NULL;
}

static const char *check_users(struct str channel, struct channel_name *name, struct arena *arena)
{
    ptrdiff_t at = str_index(name->logical, '#');
    if (at <= 0)
        return NULL;
    if (!name->ns || name->ns->allow_user_limited_channels != 1)
        return say(arena, "Channel '%.*s' uses user-limited syntax but the namespace does not allow it",
                   STR_ARG(channel));
    struct str users = str_from(name->logical, (size_t)at + 1), rest = users;
    if (str_index(users, '#') >= 0)
        return say(arena, "Channel '%.*s' contains multiple user limit separators", STR_ARG(channel));
    if (users.n == 0)
        return say(arena, "Channel '%.*s' has an empty user limit segment", STR_ARG(channel));
    name->users = users;
    const char *wrong = NULL;
    while (!wrong && rest.p)
        wrong = check_user(channel, str_split(&rest, ','), arena);
    return wrong;
}

/* ---- all together ---- */

static const char *check_size(struct str channel, uint64_t max, struct arena *arena)
{
    if (channel.n == 0)
        return "Channel name must not be empty";
    if (channel.n > max)
        return say(arena, "Channel name too long. Max length is %llu", (unsigned long long)max);
    return NULL;
}

/* #server-to-user-<id>: any id, since identity providers choose them ("auth0|7"). */
static bool is_server_to_user(struct str channel)
{
    struct str prefix = STR("#server-to-user-");
    return channel.n > prefix.n && str_starts(channel, prefix);
}

const char *channel_name_check(const struct app *app, struct str channel, struct channel_name *out,
                               struct arena *arena)
{
    read_kind(channel, out);
    out->server_to_user = is_server_to_user(channel);
    if (out->server_to_user)
        return check_size(channel, size_max(app, NULL), arena);
    struct str base = before_users(out->logical), named = namespace_of(base);
    out->ns = find_namespace(app, named);
    const char *wrong = check_size(channel, size_max(app, out->ns), arena);
    wrong = wrong ? wrong : check_chars(channel, arena);
    wrong = wrong ? wrong : check_namespace(app, channel, base, named, out->ns, arena);
    return wrong ? wrong : check_users(channel, out, arena);
}

bool channel_name_internal(struct str channel, struct channel_name *out)
{
    *out = (struct channel_name){.kind = CHANNEL_PUBLIC, .internal = true, .logical = channel};
    return str_starts(channel, STR(CHANNEL_ONLINE_PREFIX));
}

/* ---- what is no channel, but may be subscribed to ---- */

static const char *check_wildcard(const struct app *app, struct str pattern, struct channel_name *out,
                                  struct arena *arena)
{
    *out = (struct channel_name){.kind = CHANNEL_PUBLIC, .wildcard = true, .logical = pattern};
    if (str_index(str_from(pattern, (size_t)str_index(pattern, '*') + 1), '*') >= 0)
        return "Wildcard subscriptions may contain only one '*'";
    if (str_index(pattern, '#') >= 0)
        return "Wildcard subscriptions may not contain '#'";
    if (str_starts(pattern, STR("private-")) || str_starts(pattern, STR("presence-")))
        return "Wildcard subscriptions are not allowed for private and presence channels";
    for (size_t i = 0; i < pattern.n; i++)
        if (!is_alnum(pattern.p[i]) && !strchr("-_=@.:*", pattern.p[i]))
            return say(arena, "Wildcard subscription contains invalid characters: '%.*s'", STR_ARG(pattern));
    return check_size(pattern, size_max(app, NULL), arena);
}

const char *subscription_name_check(const struct app *app, struct str name, struct channel_name *out,
                                    struct arena *arena)
{
    struct str channel = without_meta(name);
    if (str_index(name, '*') >= 0 && channel.p == name.p && !is_server_to_user(name))
        return check_wildcard(app, name, out, arena);
    const char *wrong = channel_name_check(app, channel, out, arena);
    out->meta = channel.p != name.p;
    out->cache = out->cache && !out->meta;
    return wrong;
}

bool wildcard_may_match(const struct channel_name *name)
{
    bool closed = name->ns && name->ns->allow_subscribe_for_client == 0;
    return name->kind == CHANNEL_PUBLIC && !name->meta && !name->server_to_user && !closed &&
           str_index(name->logical, '#') <= 0; /* base#u1,u2 is for them alone */
}

bool wildcard_matches(struct str pattern, struct str channel)
{
    size_t star = (size_t)str_index(pattern, '*');
    struct str suffix = str_from(pattern, star + 1);
    return channel.n + 1 >= pattern.n && str_starts(channel, str_first(pattern, star)) &&
           str_eq(str_from(channel, channel.n - suffix.n), suffix);
}
