/* limiter.c - fixed windows that start with the first request of an address.
 *
 * All windows have one length, so the order in which they started is the order in which they end: each stripe
 * keeps its entries in a list, and what has expired stands in front.
 *
 *      stripe   map: address -> entry      list: [oldest window] ... [newest window]
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app/limiter.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

enum { STRIPES = 16, STRIPED_FROM_ENTRIES = 1024 };

struct entry {
    struct list link;
    uint64_t started_ms, used;
    size_t key_size;
    char key[];
};

struct stripe {
    pthread_mutex_t lock;
    struct map by_key;
    struct list by_age;
};

struct overflow {
    pthread_mutex_t lock;
    uint64_t started_ms, used;
};

struct limiter {
    uint64_t max_requests, window_ms;
    size_t stripe_entries_max;
    unsigned stripes_count;
    struct stripe stripes[STRIPES];
    struct overflow overflow;
};

struct limiter *limiter_new(uint64_t max_requests, uint64_t window_ms, size_t entries_max)
{
    struct limiter *l = mem_new(struct limiter);
    l->max_requests = max_requests;
    l->window_ms = window_ms;
    l->stripes_count = entries_max >= STRIPED_FROM_ENTRIES ? STRIPES : 1;
    l->stripe_entries_max = entries_max / l->stripes_count;
    for (unsigned i = 0; i < STRIPES; i++) {
        pthread_mutex_init(&l->stripes[i].lock, NULL);
        list_init(&l->stripes[i].by_age);
    }
    pthread_mutex_init(&l->overflow.lock, NULL);
    return l;
}

void limiter_free(struct limiter *l)
{
    if (!l)
        return;
    for (unsigned i = 0; i < STRIPES; i++) {
        list_each_safe(at, after, &l->stripes[i].by_age) free(list_of(at, struct entry, link));
        map_free(&l->stripes[i].by_key);
        pthread_mutex_destroy(&l->stripes[i].lock);
    }
    pthread_mutex_destroy(&l->overflow.lock);
    free(l);
}

/* One request at now_ms in a window that may have ended. */
static struct limiter_verdict count(const struct limiter *l, uint64_t *started_ms, uint64_t *used,
                                    uint64_t now_ms)
{
    if (now_ms - *started_ms >= l->window_ms) {
        *started_ms = now_ms;
        *used = 0;
    }
    bool allowed = *used < l->max_requests;
    *used += allowed;
    uint64_t left_ms = l->window_ms - (now_ms - *started_ms);
    return (struct limiter_verdict){
        .allowed = allowed, .limit = l->max_requests, .remaining = l->max_requests - *used, .reset_s = (left_ms + 999) / 1000};
}

static bool has_ended(const struct limiter *l, const struct entry *e, uint64_t now_ms)
{
    return now_ms - e->started_ms >= l->window_ms;
}

static void forget_ended(struct limiter *l, struct stripe *s, uint64_t now_ms)
{
    list_each_safe(at, after, &s->by_age)
    {
        struct entry *e = list_of(at, struct entry, link);
        if (!has_ended(l, e, now_ms))
            return;
        map_del(&s->by_key, str_make(e->key, e->key_size));
        list_remove(&e->link);
        free(e);
    }
}

/* NULL if the stripe is full of windows that still run. */
static struct entry *entry_new(struct limiter *l, struct stripe *s, struct str key, uint64_t now_ms)
{
    if (s->by_key.count >= l->stripe_entries_max)
        forget_ended(l, s, now_ms);
    if (s->by_key.count >= l->stripe_entries_max)
        return NULL;
    struct entry *e = mem_alloc(sizeof *e + key.n);
    e->started_ms = now_ms;
    e->used = 0;
    e->key_size = key.n;
    memcpy(e->key, key.p ? key.p : "", key.n);
    map_put(&s->by_key, str_make(e->key, e->key_size), e);
    list_append(&s->by_age, &e->link);
    return e;
}

static struct limiter_verdict check_overflow(struct limiter *l, uint64_t now_ms)
{
    pthread_mutex_lock(&l->overflow.lock);
    struct limiter_verdict v = count(l, &l->overflow.started_ms, &l->overflow.used, now_ms);
    pthread_mutex_unlock(&l->overflow.lock);
    v.crowded = true;
    return v;
}

struct limiter_verdict limiter_check(struct limiter *l, struct str key, uint64_t now_ms)
{
    struct stripe *s = &l->stripes[(map_hash(key) >> 32) % l->stripes_count];
    struct limiter_verdict v = {0};
    pthread_mutex_lock(&s->lock);
    struct entry *e = map_get(&s->by_key, key);
    if (e && has_ended(l, e, now_ms)) {
        list_remove(&e->link);
        list_append(&s->by_age, &e->link);
    }
    e = e ? e : entry_new(l, s, key, now_ms);
    if (e)
        v = count(l, &e->started_ms, &e->used, now_ms);
    pthread_mutex_unlock(&s->lock);
    return e ? v : check_overflow(l, now_ms);
}

bool window_take(struct window *w, uint32_t max, uint64_t window_ms, uint64_t now_ms)
{
    if (w->used == 0 || now_ms - w->started_ms >= window_ms) {
        w->started_ms = now_ms;
        w->used = 0;
    }
    if (w->used >= max)
        return false;
    w->used++;
    return true;
}
