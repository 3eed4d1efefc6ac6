/* directory.c - a table per stripe whose slots are 8 bytes: the address of the id, its lowest bit says the protocol.
 *
 *      slot   0 = free, or (struct socket_id *) | V2
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
    uintptr_t *slots;
    uint32_t count, mask; /* slots - 1 */
};

struct directory {
    struct stripe stripes[STRIPES];
};

_Static_assert(_Alignof(struct socket_id) > 1, "the lowest bit of an id's address is free");

static const struct socket_id *id_of(uintptr_t slot)
{
    return (const struct socket_id *)(slot & ~(uintptr_t)1);
}

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
    while (s->slots[at] != 0 && !socket_id_eq(*id_of(s->slots[at]), id))
        at = (at + 1) & s->mask;
    return at;
}

static void resize(struct stripe *s, uint32_t slots)
{
    struct stripe old = *s;
    s->slots = mem_zalloc(slots * sizeof(*s->slots));
    s->mask = slots - 1;
    for (uint32_t i = 0; old.slots != NULL && i <= old.mask; i++)
        if (old.slots[i] != 0)
            s->slots[find(s, *id_of(old.slots[i]))] = old.slots[i];
    free(old.slots);
}

bool directory_add(struct directory *d, const struct socket_id *id, enum wire_protocol protocol)
{
    struct stripe *s = lock_stripe(d, *id);
    if (s->slots == NULL || (s->count + 1) * 4 > (s->mask + 1) * 3)
        resize(s, s->slots != NULL ? (s->mask + 1) * 2 : SLOTS_MIN);
    uint32_t at = find(s, *id);
    bool is_new = s->slots[at] == 0;
    if (is_new) {
        s->slots[at] = (uintptr_t)id | (protocol == WIRE_V2);
        s->count++;
    }
    pthread_mutex_unlock(&s->lock);
    return is_new;
}

/* The slot is free now: whatever stands behind it and would have come to stand here, or before, moves up. */
static void close_gap(struct stripe *s, uint32_t gap)
{
    for (uint32_t at = (gap + 1) & s->mask; s->slots[at] != 0; at = (at + 1) & s->mask) {
        uint32_t home = (uint32_t)hash_of(*id_of(s->slots[at])) & s->mask;
        if (((at - home) & s->mask) < ((at - gap) & s->mask))
            continue;
        s->slots[gap] = s->slots[at];
        s->slots[at] = 0;
        gap = at;
    }
}

void directory_remove(struct directory *d, const struct socket_id *id)
{
    struct stripe *s = lock_stripe(d, *id);
    uint32_t at = s->slots != NULL ? find(s, *id) : 0;
    if (s->slots != NULL && s->slots[at] != 0) {
        s->slots[at] = 0;
        close_gap(s, at);
        s->count--;
        if (s->mask + 1 > SLOTS_MIN && s->count * 8 < s->mask + 1)
            resize(s, (s->mask + 1) / 2);
    }
    pthread_mutex_unlock(&s->lock);
}

bool directory_find(struct directory *d, struct socket_id id, enum wire_protocol *protocol)
{
    struct stripe *s = lock_stripe(d, id);
    uintptr_t slot = s->slots != NULL ? s->slots[find(s, id)] : 0;
    if (slot != 0)
        *protocol = slot & 1 ? WIRE_V2 : WIRE_V1;
    pthread_mutex_unlock(&s->lock);
    return slot != 0;
}
