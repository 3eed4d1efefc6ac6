/* kv_memory.c - a skip list: for tests, the simulation, and those who want no disk.
 *
 * Deleted entries are unlinked at commit. A cursor holds the lock for reading and copies nothing; it must be short-lived.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/kv.h"
#include "base/mem.h"
#include "base/random.h"
#include <pthread.h>
#include <stdlib.h>

enum { LEVELS = 20 };

struct node {
    struct str key, value;
    struct node *prev; /* on level 0 */
    unsigned levels;
    struct node *next[];
};

struct pending {
    enum { PUT, DEL, DEL_RANGE } what;
    struct str a, b;
};

struct kv_memory {
    struct kv kv;
    struct node *head;
    struct random random;
    struct pending *batch;
    size_t batch_count, batch_cap;
    pthread_rwlock_t lock;
};

struct kv_cursor {
    struct kv_memory *m;
    struct node *at;
    struct str from, to;
    bool backward;
};

static struct kv_memory *memory_of(struct kv *kv)
{
    return (struct kv_memory *)(void *)kv;
}

static struct str own(struct str s)
{
    return str_make(str_dup(s), s.n);
}

static struct node *node_new(unsigned levels, struct str key, struct str value)
{
    struct node *n = mem_zalloc(sizeof(*n) + levels * sizeof(n->next[0]));
    n->levels = levels;
    n->key = key;
    n->value = value;
    return n;
}

/* The last node before key on each level. */
static void find(const struct kv_memory *m, struct str key, struct node *before[LEVELS])
{
    struct node *at = m->head;
    for (int level = LEVELS - 1; level >= 0; level--) {
        while (at->next[level] != NULL && str_cmp(at->next[level]->key, key) < 0)
            at = at->next[level];
        before[level] = at;
    }
}

static void put_now(struct kv_memory *m, struct str key, struct str value)
{
    struct node *before[LEVELS];
    find(m, key, before);
    struct node *n = before[0]->next[0];
    if (n != NULL && str_eq(n->key, key)) {
        free((void *)n->value.p);
        free((void *)key.p);
        n->value = value;
        return;
    }
    unsigned levels = 1;
    while (levels < LEVELS && (random_u64(&m->random) & 3) == 0)
        levels++;
    n = node_new(levels, key, value);
    for (unsigned i = 0; i < levels; i++) {
        n->next[i] = before[i]->next[i];
        before[i]->next[i] = n;
    }
    n->prev = before[0];
    if (n->next[0] != NULL)
        n->next[0]->prev = n;
}

/* Removes from the first key at or above `from` while `below` holds; to absent = just that key. */
static void del_now(struct kv_memory *m, struct str from, struct str to)
{
    struct node *before[LEVELS];
    find(m, from, before);
    for (struct node *n; (n = before[0]->next[0]) != NULL;) {
        bool hit = to.p != NULL ? str_cmp(n->key, to) < 0 : str_eq(n->key, from);
        if (!hit)
            return;
        for (unsigned i = 0; i < n->levels; i++)
            if (before[i]->next[i] == n)
                before[i]->next[i] = n->next[i];
        if (n->next[0] != NULL)
            n->next[0]->prev = n->prev;
        free((void *)n->key.p);
        free((void *)n->value.p);
        free(n);
    }
}

static void gather(struct kv *kv, struct pending p)
{
    struct kv_memory *m = memory_of(kv);
    if (m->batch_count == m->batch_cap) {
        m->batch_cap = m->batch_cap ? m->batch_cap * 2 : 64;
        m->batch = mem_realloc(m->batch, m->batch_cap * sizeof(*m->batch));
    }
    m->batch[m->batch_count++] = p;
}

static void memory_put(struct kv *kv, struct str key, struct str value)
{
    gather(kv, (struct pending){PUT, own(key), own(value)});
}

static void memory_del(struct kv *kv, struct str key)
{
    gather(kv, (struct pending){DEL, own(key), STR_NONE});
}

static void memory_del_range(struct kv *kv, struct str from, struct str to)
{
    gather(kv, (struct pending){DEL_RANGE, own(from), own(to)});
}

static void memory_abandon(struct kv *kv)
{
    struct kv_memory *m = memory_of(kv);
    for (size_t i = 0; i < m->batch_count; i++) {
        free((void *)m->batch[i].a.p);
        free((void *)m->batch[i].b.p);
    }
    m->batch_count = 0;
}

static bool memory_commit(struct kv *kv, bool sync, struct buf *error)
{
    struct kv_memory *m = memory_of(kv);
    pthread_rwlock_wrlock(&m->lock);
    for (size_t i = 0; i < m->batch_count; i++) {
        struct pending *p = &m->batch[i];
        if (p->what == PUT) {
            put_now(m, p->a, p->b);
            continue;
        }
        del_now(m, p->a, p->what == DEL ? STR_NONE : p->b);
        free((void *)p->a.p);
        free((void *)p->b.p);
    }
    m->batch_count = 0;
    pthread_rwlock_unlock(&m->lock);
    return true;
}

static bool memory_sync(struct kv *kv, struct buf *error)
{
    return true;
}

static bool memory_get(struct kv *kv, struct str key, struct buf *out, bool *failed)
{
    struct kv_memory *m = memory_of(kv);
    struct node *before[LEVELS];
    pthread_rwlock_rdlock(&m->lock);
    find(m, key, before);
    struct node *n = before[0]->next[0];
    bool found = n != NULL && str_eq(n->key, key);
    if (found)
        buf_str(out, n->value);
    pthread_rwlock_unlock(&m->lock);
    return found;
}

static struct kv_cursor *memory_scan(struct kv *kv, struct str from, struct str to, bool backward)
{
    struct kv_memory *m = memory_of(kv);
    struct node *before[LEVELS];
    struct kv_cursor *c = mem_new(struct kv_cursor);
    *c = (struct kv_cursor){.m = m, .from = own(from), .to = own(to), .backward = backward};
    pthread_rwlock_rdlock(&m->lock);
    find(m, backward ? to : from, before);
    c->at = backward ? before[0] : before[0]->next[0];
    return c;
}

static bool memory_next(struct kv_cursor *c, struct str *key, struct str *value)
{
    struct node *n = c->at;
    if (n == NULL || n == c->m->head)
        return false;
    if (c->backward ? str_cmp(n->key, c->from) < 0 : str_cmp(n->key, c->to) >= 0)
        return false;
    *key = n->key;
    *value = n->value;
    c->at = c->backward ? n->prev : n->next[0];
    return true;
}

static bool memory_end(struct kv_cursor *c)
{
    pthread_rwlock_unlock(&c->m->lock);
    free((void *)c->from.p);
    free((void *)c->to.p);
    free(c);
    return true;
}

static bool memory_reopen(struct kv *kv, struct buf *error)
{
    return true;
}

static void memory_close(struct kv *kv)
{
    struct kv_memory *m = memory_of(kv);
    memory_abandon(kv);
    for (struct node *n = m->head, *next; n != NULL; n = next) {
        next = n->next[0];
        free((void *)n->key.p);
        free((void *)n->value.p);
        free(n);
    }
    free(m->batch);
    pthread_rwlock_destroy(&m->lock);
    free(m);
}

static const struct kv_ops memory_ops = {memory_put, memory_del, memory_del_range, memory_abandon, memory_commit,
                                         memory_sync, memory_get, memory_scan, memory_next, memory_end,
                                         memory_reopen, memory_close, NULL};

struct kv *kv_memory_new(void)
{
    struct kv_memory *m = mem_new(struct kv_memory);
    m->kv.ops = &memory_ops;
    m->head = node_new(LEVELS, STR_NONE, STR_NONE);
    random_from_seed(&m->random, 1);
    pthread_rwlock_init(&m->lock, NULL);
    return &m->kv;
}
