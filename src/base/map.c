/* map.c - open addressing with linear probing.
 *
 *      slot     0       1       2       3
 *             [empty] [ab->v] [gone ] [cd->w]     a lookup stops at the first empty slot
 *
 * A removed entry leaves a tombstone (`gone`) only if its neighbour is taken; otherwise it, and the
 * tombstones before it, become empty again. At most 3/4 of the slots are not empty, so each probe ends.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/map.h"

#include <assert.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/mem.h"

enum { SLOTS_MIN = 4, SLOTS_KEPT_EMPTY = 1024 };

struct map_entry {
    uint64_t hash; /* without a value: 0 = empty, 1 = gone */
    struct str key;
    void *value; /* NULL = empty or gone */
};

uint64_t map_hash(struct str key)
{
    return XXH3_64bits(key.p, key.n);
}

static bool is_empty(const struct map_entry *e)
{
    return !e->value && e->hash == 0;
}

static struct map_entry *find(const struct map *m, uint64_t hash, struct str key)
{
    if (!m->entries)
        return NULL;
    for (size_t i = hash & m->mask;; i = (i + 1) & m->mask) {
        struct map_entry *e = &m->entries[i];
        if (e->value && e->hash == hash && str_eq(e->key, key))
            return e;
        if (is_empty(e))
            return NULL;
    }
}

static struct map_entry *first_empty(const struct map *m, uint64_t hash)
{
    size_t i = hash & m->mask;
    while (!is_empty(&m->entries[i]))
        i = (i + 1) & m->mask;
    return &m->entries[i];
}

/* Gets rid of tombstones too, so it may well end with fewer slots than before. */
static void rebuild(struct map *m)
{
    size_t slots = SLOTS_MIN;
    while (slots < (m->count + 1) * 2)
        slots *= 2;
    struct map bigger = {.entries = mem_zalloc(slots * sizeof *m->entries), .mask = slots - 1};
    for (size_t i = 0; m->entries && i <= m->mask; i++)
        if (m->entries[i].value)
            *first_empty(&bigger, m->entries[i].hash) = m->entries[i];
    bigger.count = bigger.used = m->count;
    free(m->entries);
    *m = bigger;
}

void *map_get(const struct map *m, struct str key)
{
    if (m->count == 0)
        return NULL;
    struct map_entry *e = find(m, map_hash(key), key);
    return e ? e->value : NULL;
}

void *map_put(struct map *m, struct str key, void *value)
{
    assert(value);
    uint64_t hash = map_hash(key);
    struct map_entry *e = find(m, hash, key);
    if (e) {
        void *before = e->value;
        e->key = key; /* the old key may die with the old value */
        e->value = value;
        return before;
    }
    if (!m->entries || (m->used + 1) * 4 > (m->mask + 1) * 3)
        rebuild(m);
    *first_empty(m, hash) = (struct map_entry){hash, key, value};
    m->count++;
    m->used++;
    return NULL;
}

static void vacate(struct map *m, struct map_entry *e)
{
    size_t i = (size_t)(e - m->entries);
    *e = (struct map_entry){.hash = 1};
    if (!is_empty(&m->entries[(i + 1) & m->mask]))
        return;
    while (!m->entries[i].value && m->entries[i].hash == 1) {
        m->entries[i].hash = 0;
        m->used--;
        i = (i - 1) & m->mask;
    }
}

void *map_del(struct map *m, struct str key)
{
    struct map_entry *e = find(m, map_hash(key), key);
    if (!e)
        return NULL;
    void *value = e->value;
    m->count--;
    vacate(m, e);
    if (m->count == 0 && m->mask >= SLOTS_KEPT_EMPTY)
        map_free(m);
    return value;
}

void *map_next(const struct map *m, size_t *at)
{
    while (m->entries && *at <= m->mask) {
        void *value = m->entries[(*at)++].value;
        if (value)
            return value;
    }
    return NULL;
}

void map_free(struct map *m)
{
    free(m->entries);
    *m = (struct map){0};
}
