/* disk.c - a disk that fails: the memory kv behind a door that refuses writes now and then.
 *
 * What was committed with sync outlives the process; a commit that "fails" may or may not have reached the disk, as in life,
 * since a failed fsync says nothing about what was written. ACK_EARLY, planted: a commit says yes while it is still in the
 * drawer, and the drawer is lost with the process.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim.h"
#include "base/mem.h"
#include <stdlib.h>

struct disk { /* outlives server processes; also the kv that the store gets */
    struct kv kv;
    struct world *world;
    struct kv *inner;
    bool broken; /* a write has failed: nothing goes until it is opened anew */
    unsigned drawer; /* ACK_EARLY: commits held back in the inner batch */
};

static struct disk *disk_of(struct kv *kv)
{
    return (struct disk *)(void *)kv;
}

static void disk_put(struct kv *kv, struct str key, struct str value)
{
    kv_put(disk_of(kv)->inner, key, value);
}

static void disk_del(struct kv *kv, struct str key)
{
    kv_del(disk_of(kv)->inner, key);
}

static void disk_del_range(struct kv *kv, struct str from, struct str to)
{
    kv_del_range(disk_of(kv)->inner, from, to);
}

static void disk_abandon(struct kv *kv)
{
    struct disk *d = disk_of(kv);
    d->inner->ops->abandon(d->inner);
}

static bool strikes(struct disk *d)
{
    return !d->world->calm && world_chance(d->world, 60);
}

static bool disk_commit(struct kv *kv, bool sync, struct buf *error)
{
    struct disk *d = disk_of(kv);
    if (d->broken) {
        disk_abandon(kv);
        buf_lit(error, "still broken");
        return false;
    }
    if (!sync && strikes(d)) {
        /* Only what may be done again is committed without sync. */
        disk_abandon(kv);
        d->broken = true;
        buf_lit(error, "disk error");
        return false;
    }
    if (sync && strikes(d)) {
        if (world_chance(d->world, 2))
            kv_commit(d->inner, true, error);
        else
            disk_abandon(kv);
        d->broken = true;
        buf_lit(error, "disk error");
        return false;
    }
    if (d->world->plant == PLANT_ACK_EARLY && !d->world->calm && world_chance(d->world, 3)) {
        d->world->planted++;
        d->drawer++;
        return true;
    }
    d->drawer = 0;
    return kv_commit(d->inner, true, error);
}

static bool disk_sync(struct kv *kv, struct buf *error)
{
    return !disk_of(kv)->broken;
}

static bool disk_get(struct kv *kv, struct str key, struct buf *out, bool *failed)
{
    return kv_get(disk_of(kv)->inner, key, out, failed);
}

static struct kv_cursor *disk_scan(struct kv *kv, struct str from, struct str to, bool backward)
{
    return kv_scan(disk_of(kv)->inner, from, to, backward);
}

static bool disk_next(struct kv_cursor *cursor, struct str *key, struct str *value)
{
    (void)cursor;
    abort(); /* the cursor is the inner kv's: see disk_ops_of() */
}

static bool disk_end(struct kv_cursor *cursor)
{
    (void)cursor;
    abort();
}

static bool disk_reopen(struct kv *kv, struct buf *error)
{
    struct disk *d = disk_of(kv);
    if (!d->world->calm && world_chance(d->world, 2)) {
        buf_lit(error, "still broken");
        return false;
    }
    d->broken = false;
    return true;
}

static void disk_close(struct kv *kv)
{
    (void)kv;
}

/* Cursors are the memory kv's own: its next and end serve them. */
static const struct kv_ops *disk_ops_of(const struct kv *inner)
{
    static struct kv_ops ops = {disk_put,  disk_del,  disk_del_range, disk_abandon, disk_commit, disk_sync,
                                disk_get,  disk_scan, disk_next,      disk_end,     disk_reopen, disk_close, NULL};
    ops.next = inner->ops->next;
    ops.end = inner->ops->end;
    return &ops;
}

struct disk *disk_new(struct world *w)
{
    struct disk *d = mem_new(struct disk);
    d->world = w;
    d->inner = kv_memory_new();
    d->kv.ops = disk_ops_of(d->inner);
    return d;
}

struct store *disk_open_store(struct disk *d, const struct store_options *options)
{
    d->broken = false;
    return store_open_inline(&d->kv, options);
}

void disk_process_died(struct disk *d)
{
    /* The pending batch, and the drawer with it, are gone. */
    d->inner->ops->abandon(d->inner);
    d->drawer = 0;
}
