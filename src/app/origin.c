/* origin.c - which web pages may connect (chapter 1, 2.1; chapter 5, 7.4).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app/app.h"

static struct str without_scheme(struct str origin)
{
    ptrdiff_t at = str_find(origin, STR("://"));
    return at < 0 ? origin : str_from(origin, (size_t)at + 3);
}

static bool starts_nocase(struct str s, struct str prefix)
{
    return s.n >= prefix.n && str_eq_nocase(str_first(s, prefix.n), prefix);
}

static bool ends_nocase(struct str s, struct str suffix)
{
    return s.n >= suffix.n && str_eq_nocase(str_from(s, s.n - suffix.n), suffix);
}

/* `*.example.com`: the domain itself, and what ends in ".example.com". */
static bool in_domain(struct str origin, struct str pattern)
{
    struct str host = without_scheme(origin);
    return str_eq_nocase(host, str_from(pattern, 2)) || ends_nocase(host, str_from(pattern, 1));
}

static bool matches(struct str pattern, struct str origin)
{
    bool has_scheme = str_find(pattern, STR("://")) >= 0;
    ptrdiff_t star = str_index(pattern, '*');
    if (star >= 0 && !has_scheme && str_starts(pattern, STR("*.")))
        return in_domain(origin, pattern);
    if (star >= 0) {
        struct str before = str_first(pattern, (size_t)star), after = str_from(pattern, (size_t)star + 1);
        return origin.n >= before.n + after.n && starts_nocase(origin, before) && ends_nocase(origin, after);
    }
    return str_eq_nocase(pattern, origin) || (!has_scheme && str_eq_nocase(pattern, without_scheme(origin)));
}

static bool allows_all(struct str pattern)
{
    return str_eq(pattern, STR("*")) || str_eq_nocase(pattern, STR("any"));
}

bool origin_allowed(const struct str *patterns, size_t count, struct str origin)
{
    for (size_t i = 0; i < count; i++)
        if (allows_all(patterns[i]) || (origin.n && matches(patterns[i], origin)))
            return true;
    return false;
}
