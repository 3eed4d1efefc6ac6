/* rows_fuzz.c - a store in which one value has been replaced by anything: it may refuse, it must not fall over.
 *
 * The first byte chooses the row, the rest is its new value. After a reset the channel must be as good as new.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/log.h"
#include "store/commit.h"
#include "store/row.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void deliver(struct store_home *home, struct store_op *chain)
{
    (void)home;
    (void)chain;
}

/* A store that has forgotten all but its rows; the kv outlives it. */
struct shared_kv {
    struct kv kv;
    struct kv *inner;
    struct kv_ops ops;
};

static struct kv *inner_of(struct kv *kv)
{
    return ((struct shared_kv *)(void *)kv)->inner;
}

static void shared_put(struct kv *kv, struct str key, struct str value)
{
    kv_put(inner_of(kv), key, value);
}

static void shared_del(struct kv *kv, struct str key)
{
    kv_del(inner_of(kv), key);
}

static void shared_del_range(struct kv *kv, struct str from, struct str to)
{
    kv_del_range(inner_of(kv), from, to);
}

static void shared_abandon(struct kv *kv)
{
    inner_of(kv)->ops->abandon(inner_of(kv));
}

static bool shared_commit(struct kv *kv, bool sync, struct buf *error)
{
    return kv_commit(inner_of(kv), sync, error);
}

static bool shared_get(struct kv *kv, struct str key, struct buf *out, bool *failed)
{
    return kv_get(inner_of(kv), key, out, failed);
}

static struct kv_cursor *shared_scan(struct kv *kv, struct str from, struct str to, bool backward)
{
    return kv_scan(inner_of(kv), from, to, backward);
}

static bool shared_fine(struct kv *kv, struct buf *error)
{
    (void)kv;
    (void)error;
    return true;
}

static void shared_close(struct kv *kv)
{
    (void)kv;
}

static struct store *open_over(struct shared_kv *kv, struct store_home *home)
{
    struct store_options options = {.sync_always = true, .clock = &clock_system, .home = home, .seed = 1};
    kv->ops = (struct kv_ops){shared_put,  shared_del,   shared_del_range,     shared_abandon,      shared_commit, shared_fine,
                              shared_get,  shared_scan,  kv->inner->ops->next, kv->inner->ops->end, shared_fine,   shared_close,
                              NULL};
    kv->kv.ops = &kv->ops;
    return store_open_inline(&kv->kv, &options);
}

static enum store_result run(struct store *store, struct store_op *op, struct message_id *made)
{
    op->app_id = STR("a");
    op->channel = STR("c");
    store_submit(store, op);
    store_step(store);
    if (made != NULL)
        *made = op->written.message;
    enum store_result result = op->result;
    arena_free(&op->arena);
    return result;
}

static enum store_result write_one(struct store *store, enum store_action action, struct message_id target, struct message_id *made)
{
    struct store_op op = {.kind = STORE_WRITE};
    op.write = (struct store_write){.action = action, .target = target, .now_ms = 1000, .event_name = STR("e"),
                                    .data = action == ACTION_DELETE ? STR_NONE : STR("\"xy\""), .extras = STR("{}"),
                                    .status = STREAM_OPEN, .receipt_key = {1, (uint64_t)rand()}, .fingerprint = {2, 2},
                                    .receipt_ttl_ms = 1000, .retention = {.messages_max = 50}};
    return run(store, &op, made);
}

static void read_all(struct store *store, struct message_id id)
{
    static const enum store_op_kind kinds[] = {STORE_HEAD, STORE_LATEST, STORE_VERSIONS, STORE_PAGE, STORE_REPLAY, STORE_OPEN};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct store_op op = {.kind = kinds[i]};
        op.read = (struct store_read){.ids = &id, .ids_count = 1, .limit = 100, .start_ms = INT64_MIN, .end_ms = INT64_MAX};
        run(store, &op, NULL);
    }
}

/* Overwrites the value of the n-th row, counted round. */
static void damage(struct kv *kv, unsigned n, struct str with)
{
    struct buf keys[256] = {0};
    struct str key, value;
    unsigned count = 0;
    struct kv_cursor *cursor = kv_scan(kv, STR("A"), STR("z"), false);
    while (count < 256 && kv_next(kv, cursor, &key, &value))
        buf_str(&keys[count++], key);
    kv_end(kv, cursor);
    kv_put(kv, buf_view(&keys[n % count]), with);
    require(kv_commit(kv, true, NULL));
    for (unsigned i = 0; i < count; i++)
        buf_free(&keys[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct store_home home = {.deliver = deliver};
    struct shared_kv kv = {.inner = kv_memory_new()};
    struct message_id id, other, fresh;
    log_setup(&(struct log_options){.filter = "off"});
    if (size < 1)
        data = (const uint8_t *)"\0";
    struct store *store = open_over(&kv, &home);
    require(write_one(store, ACTION_CREATE, (struct message_id){0}, &id) == STORE_OK);
    require(write_one(store, ACTION_CREATE, (struct message_id){0}, &other) == STORE_OK);
    for (int i = 0; i < 70; i++)
        require(write_one(store, ACTION_APPEND, i % 8 ? id : other, NULL) == STORE_OK);
    store_close(store);

    damage(kv.inner, data[0], str_make((const char *)data + 1, size > 0 ? size - 1 : 0));

    store = open_over(&kv, &home);
    read_all(store, id);
    write_one(store, ACTION_APPEND, id, NULL);
    write_one(store, ACTION_DELETE, other, NULL);
    read_all(store, other);
    struct store_op purge = {.kind = STORE_PURGE, .read = {.before_history = 2}};
    run(store, &purge, NULL);
    struct store_op reset = {.kind = STORE_RESET};
    require(run(store, &reset, NULL) == STORE_OK);
    require(write_one(store, ACTION_CREATE, (struct message_id){0}, &fresh) == STORE_OK);
    require(fresh.create_delivery == 1);
    require(write_one(store, ACTION_APPEND, fresh, NULL) == STORE_OK);
    store_close(store);
    kv.inner->ops->close(kv.inner);
    return 0;
}
