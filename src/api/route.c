/* route.c - patterns are cut into segments once, a path once per request; then it is comparing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/route.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

struct segments {
    struct str at[ROUTE_SEGMENTS_MAX];
    size_t count;
};

struct entry {
    const struct route *route;
    struct segments pattern; /* a segment in braces is absent */
};

struct router {
    struct entry *entries;
    size_t count;
};

/* False: an empty segment, or too many of them. The root has none. */
static bool cut(struct str path, struct segments *out)
{
    out->count = 0;
    if (path.n == 0 || path.p[0] != '/')
        return false;
    if (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    struct str rest = str_from(path, 1);
    if (rest.n == 0)
        return true;
    while (rest.p) {
        struct str segment = str_split(&rest, '/');
        if (segment.n == 0 || out->count == ROUTE_SEGMENTS_MAX)
            return false;
        out->at[out->count++] = segment;
    }
    return true;
}

struct router *router_new(const struct route *routes, size_t count)
{
    struct router *r = mem_new(struct router);
    router_add(r, routes, count);
    return r;
}

void router_add(struct router *r, const struct route *routes, size_t count)
{
    r->entries = mem_realloc(r->entries, (r->count + count) * sizeof *r->entries);
    for (size_t i = 0; i < count; i++) {
        struct entry *e = &r->entries[r->count++];
        e->route = &routes[i];
        bool valid = cut(str_of(routes[i].pattern), &e->pattern);
        assert(valid);
        (void)valid;
        for (size_t k = 0; k < e->pattern.count; k++)
            if (e->pattern.at[k].p[0] == '{')
                e->pattern.at[k] = STR_NONE;
    }
}

void router_free(struct router *r)
{
    if (!r)
        return;
    free(r->entries);
    free(r);
}

/* From the end: all signed paths begin alike. */
static bool fits(const struct segments *pattern, const struct segments *path)
{
    if (pattern->count != path->count)
        return false;
    for (size_t i = path->count; i-- > 0;)
        if (pattern->at[i].p && !str_eq(pattern->at[i], path->at[i]))
            return false;
    return true;
}

static bool serves(enum http_method offered, enum http_method asked)
{
    return offered == asked || (offered == HTTP_GET_ && asked == HTTP_HEAD_);
}

static void take_args(struct route_match *m, const struct segments *pattern, const struct segments *path)
{
    for (size_t i = 0; i < path->count; i++)
        if (!pattern->at[i].p) {
            assert(m->args_count < ROUTE_ARGS_MAX);
            m->args[m->args_count++] = path->at[i];
        }
}

static void allow(struct route_match *m, enum http_method method)
{
    const char *words = method == HTTP_GET_    ? "GET, HEAD"
                        : method == HTTP_POST_ ? "POST"
                        : method == HTTP_PUT_  ? "PUT"
                                               : "DELETE";
    size_t n = strlen(m->allow), more = strlen(words);
    if (strstr(m->allow, words) || n + 2 + more >= sizeof m->allow)
        return;
    if (n > 0) {
        memcpy(m->allow + n, ", ", 2);
        n += 2;
    }
    memcpy(m->allow + n, words, more + 1);
}

struct route_match router_match(const struct router *r, enum http_method method, struct str path)
{
    struct route_match m = {0};
    struct segments cut_path;
    if (!cut(path, &cut_path))
        return m;
    for (size_t i = 0; i < r->count; i++) {
        const struct entry *e = &r->entries[i];
        if (!fits(&e->pattern, &cut_path))
            continue;
        m.known = true;
        if (serves(e->route->method, method)) {
            m.route = e->route;
            take_args(&m, &e->pattern, &cut_path);
            return m;
        }
        allow(&m, e->route->method);
    }
    return m;
}
