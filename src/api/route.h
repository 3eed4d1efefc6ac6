/* route.h - which handler serves a method and a path.
 *
 * A pattern is a path whose segments in braces match anything but the empty text:
 * "/apps/{app}/channels/{channel}". Literal segments win by standing first in the table. One trailing slash
 * of the path is ignored (chapter 2, 2.1).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "net/http.h"

struct call;

enum {
    ROUTE_SIGNED = 1, /* begins with /apps/{app}; checked and limited */
    ROUTE_JSON = 2,   /* reads a JSON body: anything else is 415 */
    ROUTE_STREAM = 4, /* signed, but its body is not: served when the head is there; answers or calls http_stream() */
    ROUTE_LIMITED = 8, /* not signed, but counted by address as those are */
    ROUTE_SEGMENTS_MAX = 10,
    ROUTE_ARGS_MAX = 4,
};

struct route {
    enum http_method method; /* GET serves HEAD too */
    const char *pattern;
    void (*serve)(struct call *call);
    unsigned flags;
};

struct router;
/* The routes are borrowed. */
struct router *router_new(const struct route *routes, size_t count);
void router_add(struct router *r, const struct route *routes, size_t count);
void router_free(struct router *r);

struct route_match {
    const struct route *route;       /* NULL = none */
    struct str args[ROUTE_ARGS_MAX]; /* raw, in the order of the pattern's braces */
    size_t args_count;
    bool known;     /* the path exists, if not for this method */
    char allow[64]; /* then: the value of Allow */
};
struct route_match router_match(const struct router *r, enum http_method method, struct str path);
