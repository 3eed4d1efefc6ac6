/* store.c - opening the stores that there are, and small helpers of the contract.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/commit.h"
#include "store/internal.h"
#include "store/row.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>

struct store *store_open_memory(const struct store_options *options, struct buf *error)
{
    return store_open_threads(kv_memory_new(), options);
}

/* ---- sync = interval: what an unclean stop of the machine means (chapter 3, 2.8) ---- */

static void read_boot_id(struct buf *out)
{
    char text[64] = {0};
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");
    if (f != NULL) {
        if (fgets(text, sizeof(text), f) == NULL)
            text[0] = '\0';
        fclose(f);
    }
    buf_str(out, str_trim(str_of(text)));
}

/* A tail may be lost when the store was open, unsynced, on a boot of the machine that is over. Every channel then goes on under a
 * new stream id, so that no position is given to two contents. */
static bool renew_streams(struct kv *kv, struct buf *error)
{
    struct random random;
    struct str key, value;
    random_from_kernel(&random);
    struct kv_cursor *cursor = kv_scan(kv, STR("C"), STR("D"), false);
    while (kv_next(kv, cursor, &key, &value)) {
        struct channel_record record;
        struct buf out = {0};
        if (!channel_record_read(value, &record))
            continue; /* the channel itself will say so */
        random_uuid(&random, record.stream_id);
        channel_record_put(&out, &record);
        kv_put(kv, key, buf_view(&out));
        buf_free(&out);
    }
    if (kv_end(kv, cursor))
        return true;
    buf_lit(error, "cannot open the store: its channels cannot be read. Check the disk, restore from a backup, or move the directory away to start empty.");
    return false;
}

static bool settle_boot(struct kv *kv, struct str boot_id, bool sync_always, struct buf *error)
{
    struct buf before = {0};
    bool failed = false;
    bool doubtful = kv_get(kv, STR("B"), &before, &failed) && !str_eq(buf_view(&before), boot_id);
    buf_free(&before);
    if (doubtful && !renew_streams(kv, error))
        return false;
    if (sync_always)
        kv_del(kv, STR("B"));
    else
        kv_put(kv, STR("B"), boot_id);
    return kv_commit(kv, true, error) && !failed;
}

struct store *store_open_rocksdb(const struct store_options *options, struct buf *error)
{
    struct buf boot_id = {0};
    struct kv *kv = kv_rocksdb_open(options->path, error);
    if (kv == NULL)
        return NULL;
    read_boot_id(&boot_id);
    bool ok = settle_boot(kv, buf_view(&boot_id), options->sync_always, error);
    buf_free(&boot_id);
    if (ok)
        return store_open_threads(kv, options);
    kv->ops->close(kv);
    return NULL;
}

/* ---- passed on ---- */

void store_submit(struct store *store, struct store_op *op)
{
    store->ops->submit(store, op);
}

void store_kick(struct store *store)
{
    store->ops->kick(store);
}

bool store_is_healthy(struct store *store)
{
    return store->ops->is_healthy(store);
}

int64_t store_now_ms(struct store *store)
{
    return store->ops->now_ms(store);
}

struct store_stats *store_stats(struct store *store)
{
    return &store->stats;
}

void store_close(struct store *store)
{
    store->ops->close(store);
}

struct store_op *store_op_new(enum store_op_kind kind, unsigned shard, void (*done)(struct store_op *))
{
    struct store_op *op = mem_new(struct store_op);
    op->kind = kind;
    op->shard = shard;
    op->done = done;
    return op;
}

void store_op_free(struct store_op *op)
{
    arena_free(&op->arena);
    free(op);
}

const char *store_result_text(enum store_result result)
{
    static const char *const texts[] = {
        [STORE_OK] = "ok", [STORE_DUPLICATE] = "duplicate", [STORE_RECEIPT_CONFLICT] = "receipt conflict",
        [STORE_NOT_FOUND] = "not found", [STORE_TERMINAL] = "terminal", [STORE_NOT_STRING] = "not a string",
        [STORE_APPENDS_MAX] = "too many appends", [STORE_BYTES_MAX] = "too large", [STORE_OPEN_MAX] = "too many open streams",
        [STORE_CHANGED] = "changed", [STORE_UNHEALTHY] = "stream needs a reset", [STORE_EXPIRED] = "expired",
        [STORE_WRONG_STREAM] = "another stream", [STORE_BUSY] = "busy", [STORE_FAILED] = "failed",
    };
    return texts[result];
}
