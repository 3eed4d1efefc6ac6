/* wildcards.c - a map of prefixes, each with a map of suffixes; beside each map the lengths of its keys.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/wildcards.h"
#include "base/mem.h"
#include <assert.h>
#include <stdlib.h>

struct length {
    uint32_t n, uses; /* so many keys have n bytes */
};

struct lengths {
    uint32_t count, cap;
    struct length at[];
};

struct prefix {
    struct map by_suffix; /* struct wildcard */
    struct lengths *lengths;
    struct str text; /* bytes[] */
    char bytes[];
};

/* ---- lengths ---- */

static void lengths_add(struct lengths **all, size_t n)
{
    struct lengths *l = *all;
    uint32_t count = l != NULL ? l->count : 0;
    for (uint32_t i = 0; i < count; i++)
        if (l->at[i].n == n) {
            l->at[i].uses++;
            return;
        }
    if (l == NULL || count == l->cap) {
        uint32_t cap = count > 0 ? count * 2 : 2;
        l = *all = mem_realloc(l, sizeof(*l) + cap * sizeof(l->at[0]));
        l->cap = cap;
    }
    l->at[count] = (struct length){(uint32_t)n, 1};
    l->count = count + 1;
}

static void lengths_remove(struct lengths **all, size_t n)
{
    struct lengths *l = *all;
    uint32_t i = 0;
    while (l->at[i].n != n)
        i++;
    if (--l->at[i].uses > 0)
        return;
    l->at[i] = l->at[--l->count];
    if (l->count > 0)
        return;
    free(l);
    *all = NULL;
}

/* ---- patterns ---- */

static struct str prefix_of(struct str text)
{
    return str_first(text, (size_t)str_index(text, '*'));
}

static struct str suffix_of(struct str text)
{
    return str_from(text, (size_t)str_index(text, '*') + 1);
}

static struct prefix *prefix_new(struct wildcards *all, struct str text)
{
    struct prefix *p = mem_zalloc(sizeof(*p) + text.n);
    memcpy(p->bytes, text.p, text.n);
    p->text = str_make(p->bytes, text.n);
    map_put(&all->by_prefix, p->text, p);
    lengths_add(&all->lengths, text.n);
    return p;
}

static void prefix_free(struct wildcards *all, struct prefix *p)
{
    map_del(&all->by_prefix, p->text);
    lengths_remove(&all->lengths, p->text.n);
    map_free(&p->by_suffix);
    free(p);
}

struct wildcard *wildcards_find(const struct wildcards *all, struct str text)
{
    struct prefix *p = map_get(&all->by_prefix, prefix_of(text));
    return p != NULL ? map_get(&p->by_suffix, suffix_of(text)) : NULL;
}

void wildcards_add(struct wildcards *all, struct wildcard *w)
{
    struct prefix *p = map_get(&all->by_prefix, prefix_of(w->text));
    if (p == NULL)
        p = prefix_new(all, prefix_of(w->text));
    void *before = map_put(&p->by_suffix, suffix_of(w->text), w);
    assert(before == NULL);
    (void)before;
    lengths_add(&p->lengths, suffix_of(w->text).n);
    all->count++;
}

void wildcards_remove(struct wildcards *all, struct wildcard *w)
{
    struct prefix *p = map_get(&all->by_prefix, prefix_of(w->text));
    map_del(&p->by_suffix, suffix_of(w->text));
    lengths_remove(&p->lengths, suffix_of(w->text).n);
    if (p->by_suffix.count == 0)
        prefix_free(all, p);
    if (--all->count == 0)
        map_free(&all->by_prefix);
}

static void match_suffixes(const struct prefix *p, struct str rest, void (*found)(void *user, struct wildcard *w), void *user)
{
    for (uint32_t i = 0; i < p->lengths->count; i++) {
        size_t n = p->lengths->at[i].n;
        struct wildcard *w = n <= rest.n ? map_get(&p->by_suffix, str_from(rest, rest.n - n)) : NULL;
        if (w != NULL)
            found(user, w);
    }
}

void wildcards_match(const struct wildcards *all, struct str channel, void (*found)(void *user, struct wildcard *w),
                     void *user)
{
    for (uint32_t i = 0; all->lengths != NULL && i < all->lengths->count; i++) {
        size_t n = all->lengths->at[i].n;
        const struct prefix *p = n <= channel.n ? map_get(&all->by_prefix, str_first(channel, n)) : NULL;
        if (p != NULL)
            match_suffixes(p, str_from(channel, n), found, user);
    }
}

struct wildcard *wildcards_any(const struct wildcards *all)
{
    size_t at = 0, below = 0;
    struct prefix *p = map_next(&all->by_prefix, &at);
    return p != NULL ? map_next(&p->by_suffix, &below) : NULL;
}
