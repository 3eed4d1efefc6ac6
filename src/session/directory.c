/* directory.c - a table per stripe whose slots are 8 bytes: the address of the entry, NULL = free.
 *
 * Linear probing; a removal moves back what would not be found any more, so there are no tombstones. An idle connection pays 11 to
 * 21 bytes for being found.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session/directory.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"

enum { STRIPES = 64, SLOTS_MIN = 16 };

struct stripe {
    pthread_mutex_t lock;
    const struct directory_entry **slots;
    uint32_t count, mask; /* slots - 1 */
};

struct directory {
    struct stripe stripes[STRIPES];
};

static uint64_t hash_of(struct socket_id id)
{
    return (id.a * 0x9e3779b97f4a7c15u ^ id.b) * 0xff51afd7ed558ccdu >> 16;
}

struct directory *directory_new(void)
{
    struct directory *d = mem_new(struct directory);
    for (int i = 0; i < STRIPES; i++)
        pthread_mutex_init(&d->stripes[i].lock, NULL);
    return d;
}

void directory_free(struct directory *d)
{
    if (d == NULL)
        return;
    for (int i = 0; i < STRIPES; i++) {
        free(d->stripes[i].slots);
        pthread_mutex_destroy(&d->stripes[i].lock);
    }
    free(d);
}

static struct stripe *lock_stripe(struct directory *d, struct socket_id id)
{
    struct stripe *stripe = &d->stripes[(id.a ^ id.b) % STRIPES];
    pthread_mutex_lock(&stripe->lock);
    return stripe;
}

/* Where the id is, or the free slot where it would be. */
static uint32_t find(const struct stripe *s, struct socket_id id)
{
    uint32_t at = (uint32_t)hash_of(id) & s->mask;
    while (s->slots[at] != NULL && !socket_id_eq(s->slots[at]->id, id))
        at = (at + 1) & s->mask;
    return at;
}

static void resize(struct stripe *s, uint32_t slots)
{
    struct stripe old = *s;
    s->slots = mem_zalloc(slots * sizeof(*s->slots));
    s->mask = slots - 1;
    for (uint32_t i = 0; old.slots != NULL && i <= old.mask; i++)
        if (old.slots[i] != NULL)
            s->slots[find(s, old.slots[i]->id)] = old.slots[i];
    free(old.slots);
}

bool directory_add(struct directory *d, const struct directory_entry *entry)
{
    struct stripe *s = lock_stripe(d, entry->id);
    if (s->slots == NULL || (s->count + 1) * 4 > (s->mask + 1) * 3)
        resize(s, s->slots != NULL ? (s->mask + 1) * 2 : SLOTS_MIN);
    uint32_t at = find(s, entry->id);
    bool is_new = s->slots[at] == NULL;
    if (is_new) {
        s->slots[at] = entry;
        s->count++;
    }
    pthread_mutex_unlock(&s->lock);
    return is_new;
}

/* The slot is free now: whatever stands behind it and would have come to stand here, or before, moves up. */
static void close_gap(struct stripe *s, uint32_t gap)
{
    for (uint32_t at = (gap + 1) & s->mask; s->slots[at] != NULL; at = (at + 1) & s->mask) {
        uint32_t home = (uint32_t)hash_of(s->slots[at]->id) & s->mask;
        if (((at - home) & s->mask) < ((at - gap) & s->mask))
            continue;
        s->slots[gap] = s->slots[at];
        s->slots[at] = NULL;
        gap = at;
    }
}

void directory_remove(struct directory *d, const struct directory_entry *entry)
{
    struct stripe *s = lock_stripe(d, entry->id);
    uint32_t at = s->slots != NULL ? find(s, entry->id) : 0;
    if (s->slots != NULL && s->slots[at] != NULL) {
        s->slots[at] = NULL;
        close_gap(s, at);
        s->count--;
        if (s->mask + 1 > SLOTS_MIN && s->count * 8 < s->mask + 1)
            resize(s, (s->mask + 1) / 2);
    }
    pthread_mutex_unlock(&s->lock);
}

bool directory_find(struct directory *d, struct socket_id id, struct directory_entry *found)
{
    struct stripe *s = lock_stripe(d, id);
    const struct directory_entry *entry = s->slots != NULL ? s->slots[find(s, id)] : NULL;
    if (entry != NULL)
        *found = *entry;
    pthread_mutex_unlock(&s->lock);
    return entry != NULL;
}

const struct directory_entry *directory_find_own(struct directory *d, struct socket_id id, unsigned shard)
{
    struct stripe *s = lock_stripe(d, id);
    const struct directory_entry *entry = s->slots != NULL ? s->slots[find(s, id)] : NULL;
    if (entry != NULL && entry->shard != shard)
        entry = NULL;
    pthread_mutex_unlock(&s->lock);
    return entry;
}
