/* postgres_promises.c - the newest position of each channel that this node has told anybody.
 *
 * A database that answers with less has lost some: an asynchronous failover (chapter 3, 2.8).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/mem.h"
#include "store/postgres_internal.h"

enum { PROMISES_MAX = 100000 };

struct promises {
    struct map map;
    struct list lru; /* newest last; beyond PROMISES_MAX the oldest is forgotten, and a loss there is not noticed */
};

const struct promise *promises_find(const struct promises *p, struct str key)
{
    return map_get(&p->map, key);
}

struct promises *promises_new(void)
{
    struct promises *p = mem_new(struct promises);
    list_init(&p->lru);
    return p;
}

static void promise_drop(struct promises *p, struct promise *one)
{
    map_del(&p->map, one->key);
    list_remove(&one->lru);
    free((void *)one->key.p);
    free(one);
}

void promises_free(struct promises *p)
{
    while (!list_empty(&p->lru))
        promise_drop(p, list_of(p->lru.next, struct promise, lru));
    map_free(&p->map);
    free(p);
}

void promises_keep(struct promises *p, struct str key, const struct store_head *head)
{
    struct promise *one = map_get(&p->map, key);
    if (one == NULL) {
        if (p->map.count >= PROMISES_MAX)
            promise_drop(p, list_of(p->lru.next, struct promise, lru));
        one = mem_new(struct promise);
        one->key = str_make(str_dup(key), key.n);
        list_init(&one->lru);
        map_put(&p->map, one->key, one);
    }
    list_remove(&one->lru);
    list_append(&p->lru, &one->lru);
    one->stream8 = stream8_of(str_of(head->stream_id));
    one->delivery = head->delivery;
}
