/* kept.c - what was read from the store for a resume, for a moment more: after a restart thousands of clients miss the same, but
 * they do not come in the same millisecond.
 *
 *      kept   (41 .......... 80]                 read once
 *      hot                 (72 ......... 95]     the owner's buffer, from the first commit on
 *      client 41 -> 95:  kept, and of hot what lies above 80
 *
 * Limits: KEPT_MAX slices, KEPT_BYTES, KEPT_MS; the oldest go first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/mem.h"
#include "session/recovery.h"

enum { KEPT_MAX = 1024, KEPT_MS = 2000 };
#define KEPT_BYTES (8u << 20)

struct kept {
    struct list link;  /* in all->kept, oldest first */
    struct slice *slice;
    uint64_t until_ms;
    struct str key;    /* text[] */
    char text[];
};

static void drop(struct sessions *all, struct kept *k)
{
    list_remove(&k->link);
    if (map_get(&all->kept_by_key, k->key) == k)
        map_del(&all->kept_by_key, k->key);
    all->kept_bytes -= k->slice->bytes;
    all->kept_count--;
    slice_drop(k->slice);
    free(k);
}

static struct kept *oldest(const struct sessions *all)
{
    return list_empty(&all->kept) ? NULL : list_of(all->kept.next, struct kept, link);
}

static void expire(struct timer *timer)
{
    struct sessions *all = list_of(timer, struct sessions, kept_timer);
    uint64_t now = env_now_ms(all->env);
    while (oldest(all) != NULL && oldest(all)->until_ms <= now)
        drop(all, oldest(all));
    if (oldest(all) != NULL)
        wheel_set(all->env->wheel, timer, oldest(all)->until_ms);
}

void kept_init(struct sessions *all)
{
    list_init(&all->kept);
    all->kept_timer.fire = expire;
}

void kept_free(struct sessions *all)
{
    while (oldest(all) != NULL)
        drop(all, oldest(all));
    map_free(&all->kept_by_key);
    wheel_cancel(all->env->wheel, &all->kept_timer);
}

void kept_put(struct sessions *all, struct str key, struct slice *slice)
{
    struct kept *k = mem_alloc(sizeof(*k) + key.n);
    struct kept *before = map_get(&all->kept_by_key, key);
    if (before != NULL)
        drop(all, before);
    memcpy(k->text, key.p, key.n);
    k->key = str_make(k->text, key.n);
    k->slice = slice_take(slice);
    k->until_ms = env_now_ms(all->env) + KEPT_MS;
    list_append(&all->kept, &k->link);
    map_put(&all->kept_by_key, k->key, k);
    all->kept_bytes += slice->bytes;
    all->kept_count++;
    while (all->kept_count > KEPT_MAX || all->kept_bytes > KEPT_BYTES)
        drop(all, oldest(all));
    if (oldest(all) != NULL && !timer_is_set(&all->kept_timer))
        wheel_set(all->env->wheel, &all->kept_timer, oldest(all)->until_ms);
}

struct slice *kept_find(const struct sessions *all, struct str key)
{
    const struct kept *k = map_get(&all->kept_by_key, key);
    return k != NULL ? k->slice : NULL;
}
