/* kv.h - the little that the engine wants from an ordered key-value store.
 *
 * Keys are byte strings in byte order. Writes are gathered in one pending batch and become visible, and durable, all at
 * once by kv_commit(). Reads see committed state only.
 *
 * Threads: the batch belongs to one thread (the engine's). Reads: any thread, at any time. Ownership: keys and values are copied. Errors:
 * false with a reason where there is `error`; a read that fails is told apart from one that finds nothing. Limits: none of its own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"

struct kv;
struct kv_cursor;

/* Each implementation puts this first in its own structure. */
struct kv {
    const struct kv_ops *ops;
};

struct kv_ops {
    void (*put)(struct kv *kv, struct str key, struct str value);
    void (*del)(struct kv *kv, struct str key);
    void (*del_range)(struct kv *kv, struct str from, struct str to); /* [from, to) */
    void (*abandon)(struct kv *kv);                                   /* forgets the pending batch */
    /* Empties the pending batch in any case. False: nothing of it is to be trusted, *error says why. */
    bool (*commit)(struct kv *kv, bool sync, struct buf *error);
    /* Makes earlier unsynced commits durable. */
    bool (*sync)(struct kv *kv, struct buf *error);
    /* Appends the value to out. False if there is none; *failed is set if it could not be read. */
    bool (*get)(struct kv *kv, struct str key, struct buf *out, bool *failed);
    /* Walks [from, to), backward from the end if so. */
    struct kv_cursor *(*scan)(struct kv *kv, struct str from, struct str to, bool backward);
    /* Views valid until the next call. */
    bool (*next)(struct kv_cursor *cursor, struct str *key, struct str *value);
    /* Ends the walk; false if it broke off because of a read error. */
    bool (*end)(struct kv_cursor *cursor);
    /* After a failed commit: close and open anew. False: still not usable. */
    bool (*reopen)(struct kv *kv, struct buf *error);
    void (*close)(struct kv *kv);
    /* What is committed now, to be read (get, scan, next, end) whatever is committed later, then closed; one thread at a time, and
     * while the kv is open. NULL = not offered: then reads that must agree with one another are done between commits. */
    struct kv *(*snapshot)(struct kv *kv);
};

static inline void kv_put(struct kv *kv, struct str key, struct str value)
{
    kv->ops->put(kv, key, value);
}
static inline void kv_del(struct kv *kv, struct str key)
{
    kv->ops->del(kv, key);
}
static inline void kv_del_range(struct kv *kv, struct str from, struct str to)
{
    kv->ops->del_range(kv, from, to);
}
static inline bool kv_commit(struct kv *kv, bool sync, struct buf *error)
{
    return kv->ops->commit(kv, sync, error);
}
static inline bool kv_get(struct kv *kv, struct str key, struct buf *out, bool *failed)
{
    return kv->ops->get(kv, key, out, failed);
}
static inline struct kv_cursor *kv_scan(struct kv *kv, struct str from, struct str to, bool backward)
{
    return kv->ops->scan(kv, from, to, backward);
}
static inline bool kv_next(struct kv *kv, struct kv_cursor *cursor, struct str *key, struct str *value)
{
    return kv->ops->next(cursor, key, value);
}
static inline bool kv_end(struct kv *kv, struct kv_cursor *cursor)
{
    return kv->ops->end(cursor);
}

struct kv *kv_memory_new(void);
/* Creates the directory (0700) if missing. NULL with a message that says how to proceed. */
struct kv *kv_rocksdb_open(const char *path, struct buf *error);
