/* replay_cache.c - a map for the keys, a heap for their ends.
 *
 * Leases and answers end at different times, so the entries also stand in a binary heap with the earliest end
 * on top:
 *
 *      heap[0]  ends first      parent of i: (i - 1) / 2      entry->place: its index
 *
 * Each claim takes away at most two entries that have ended, so that memory follows the traffic and no call
 * takes long.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app/replay_cache.h"

#include <assert.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"

enum { ENDED_PER_CLAIM = 2 };

struct entry {
    uint64_t token, ends_ms;
    size_t place;
    bool completed;
    char *body;
    size_t body_size, key_size;
    char key[];
};

struct replay_cache {
    struct map by_key;
    struct entry **heap;
    size_t count, capacity, bytes;
    uint64_t last_token;
};

struct replay_cache *replay_cache_new(size_t capacity)
{
    struct replay_cache *c = mem_new(struct replay_cache);
    c->capacity = capacity;
    c->heap = mem_alloc((capacity + 1) * sizeof *c->heap);
    return c;
}

static size_t bytes_of(const struct entry *e)
{
    return sizeof *e + e->key_size + e->body_size;
}

static void entry_free(struct entry *e)
{
    free(e->body);
    free(e);
}

void replay_cache_free(struct replay_cache *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->count; i++)
        entry_free(c->heap[i]);
    map_free(&c->by_key);
    free(c->heap);
    free(c);
}

/* ---- the heap ---- */

static void put_at(struct replay_cache *c, size_t place, struct entry *e)
{
    c->heap[place] = e;
    e->place = place;
}

static void sift_up(struct replay_cache *c, struct entry *e)
{
    size_t at = e->place;
    while (at > 0 && c->heap[(at - 1) / 2]->ends_ms > e->ends_ms) {
        put_at(c, at, c->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put_at(c, at, e);
}

static void sift_down(struct replay_cache *c, struct entry *e)
{
    size_t at = e->place;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < c->count && c->heap[child + 1]->ends_ms < c->heap[child]->ends_ms)
            child++;
        if (child >= c->count || c->heap[child]->ends_ms >= e->ends_ms)
            break;
        put_at(c, at, c->heap[child]);
        at = child;
    }
    put_at(c, at, e);
}

static void set_end(struct replay_cache *c, struct entry *e, uint64_t ends_ms)
{
    bool later = ends_ms > e->ends_ms;
    e->ends_ms = ends_ms;
    if (later)
        sift_down(c, e);
    else
        sift_up(c, e);
}

static void remove_entry(struct replay_cache *c, struct entry *e)
{
    struct entry *last = c->heap[--c->count];
    map_del(&c->by_key, str_make(e->key, e->key_size));
    c->bytes -= bytes_of(e);
    if (last != e) {
        put_at(c, e->place, last);
        sift_up(c, last);
        sift_down(c, last);
    }
    entry_free(e);
}

/* ---- keys ---- */

static void forget_ended(struct replay_cache *c, uint64_t now_ms)
{
    for (int i = 0; i < ENDED_PER_CLAIM && c->count && c->heap[0]->ends_ms <= now_ms; i++)
        remove_entry(c, c->heap[0]);
}

static void claim_new(struct replay_cache *c, struct str key, uint64_t ends_ms)
{
    struct entry *e = mem_zalloc(sizeof *e + key.n);
    e->token = c->last_token;
    e->ends_ms = ends_ms;
    e->key_size = key.n;
    memcpy(e->key, key.p ? key.p : "", key.n);
    map_put(&c->by_key, str_make(e->key, e->key_size), e);
    e->place = c->count++;
    c->bytes += bytes_of(e);
    sift_up(c, e);
}

enum replay_result replay_claim(struct replay_cache *c, struct str key, uint64_t now_ms, uint64_t lease_ms,
                                uint64_t *token, struct str *body)
{
    struct entry *e = map_get(&c->by_key, key);
    if (e && e->ends_ms > now_ms) {
        *body = str_make(e->body, e->body_size);
        return e->completed ? REPLAY_ANSWER : REPLAY_PENDING;
    }
    if (e)
        remove_entry(c, e);
    forget_ended(c, now_ms);
    if (c->count >= c->capacity || c->bytes >= REPLAY_BYTES_MAX)
        return REPLAY_FULL;
    *token = ++c->last_token;
    claim_new(c, key, now_ms + lease_ms);
    return REPLAY_CLAIMED;
}

static struct entry *owned(struct replay_cache *c, struct str key, uint64_t token)
{
    struct entry *e = map_get(&c->by_key, key);
    return e && e->token == token && !e->completed ? e : NULL;
}

void replay_renew(struct replay_cache *c, struct str key, uint64_t token, uint64_t now_ms, uint64_t lease_ms)
{
    struct entry *e = owned(c, key, token);
    if (e)
        set_end(c, e, now_ms + lease_ms);
}

void replay_complete(struct replay_cache *c, struct str key, uint64_t token, struct str body, uint64_t now_ms,
                     uint64_t ttl_ms)
{
    struct entry *e = owned(c, key, token);
    if (!e)
        return;
    e->body = str_dup(body);
    e->body_size = body.n;
    c->bytes += body.n;
    e->completed = true;
    set_end(c, e, now_ms + ttl_ms);
}

void replay_release(struct replay_cache *c, struct str key, uint64_t token)
{
    struct entry *e = owned(c, key, token);
    if (e)
        remove_entry(c, e);
}

size_t replay_cache_count(const struct replay_cache *c)
{
    return c->count;
}

void replay_check(const struct replay_cache *c)
{
    assert(c->count <= c->capacity);
    assert(c->by_key.count == c->count);
    size_t bytes = 0;
    for (size_t i = 0; i < c->count; i++) {
        const struct entry *e = c->heap[i];
        bytes += bytes_of(e);
        assert(e->place == i);
        assert(i == 0 || c->heap[(i - 1) / 2]->ends_ms <= e->ends_ms);
        assert(map_get(&c->by_key, str_make(e->key, e->key_size)) == e);
    }
    assert(bytes == c->bytes);
}
