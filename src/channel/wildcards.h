/* wildcards.h - names with one '*', found by the channels that they match.
 *
 *      by prefix      by suffix             channel "orders:7:eu" asks for
 *      "orders:"  ->  "", ":eu"             prefixes of the lengths in use: "", "orders:"
 *      ""         ->  ":us"                 and below each suffixes of the lengths in use there: "", ":eu"
 *
 * So a question costs one look-up per length in use (at most the length of a name, squared), not one per pattern.
 *
 * Ownership: a pattern belongs to whoever puts it in; it and its text stay where they are until it is taken out.
 * Threads: one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/map.h"

struct wildcard { /* first in a struct of yours */
    struct str text; /* with exactly one '*' */
};

struct lengths; /* wildcards.c */
struct wildcards { /* zeroed = empty */
    struct map by_prefix;
    struct lengths *lengths;
    size_t count;
};

struct wildcard *wildcards_find(const struct wildcards *all, struct str text);
/* Its text must not be in there (asserted). */
void wildcards_add(struct wildcards *all, struct wildcard *w);
void wildcards_remove(struct wildcards *all, struct wildcard *w);
/* Calls found() for each that matches, in no order; it must not change the table. */
void wildcards_match(const struct wildcards *all, struct str channel, void (*found)(void *user, struct wildcard *w),
                     void *user);
/* Any of them, to empty the table; NULL = empty. */
struct wildcard *wildcards_any(const struct wildcards *all);
