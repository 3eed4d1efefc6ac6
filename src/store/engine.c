/* engine.c - the engine's life, its commits, and background retention.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/engine_internal.h"
#include "base/mem.h"
#include "base/pack.h"
#include <stdatomic.h>
#include <stdlib.h>

struct engine *engine_new(struct kv *kv, const struct store_options *options, struct store_stats *stats)
{
    struct engine *e = mem_new(struct engine);
    e->kv = kv;
    e->stats = stats;
    e->clock = options->clock;
    e->messages_bytes_max = options->messages_bytes_max ? (size_t)options->messages_bytes_max : ENGINE_MESSAGES_BYTES_MAX;
    if (options->seed != 0)
        random_from_seed(&e->random, options->seed);
    else
        random_from_kernel(&e->random);
    list_init(&e->channels_lru);
    list_init(&e->messages);
    list_init(&e->touched);
    list_init(&e->folding);
    health_load(e);
    return e;
}

void engine_free(struct engine *e)
{
    while (!list_empty(&e->channels_lru))
        channel_drop(e, list_of(e->channels_lru.next, struct stored_channel, lru));
    map_free(&e->channels);
    health_free(e);
    buf_free(&e->scratch);
    buf_free(&e->value);
    buf_free(&e->work_at);
    buf_free(&e->receipts_at);
    free(e->pending);
    free(e);
}

void engine_rollback(struct engine *e)
{
    e->kv->ops->abandon(e->kv);
    while (!list_empty(&e->touched)) {
        struct stored_channel *ch = list_of(e->touched.next, struct stored_channel, touched);
        promise_keep(e, ch);
        channel_drop(e, ch);
    }
    e->pending_count = 0;
    e->cid_known = false;
    e->failed = e->spoilt = false;
    e->fault = FAULT_NONE;
    health_load(e);
}

void engine_forget(struct engine *e)
{
    engine_rollback(e);
    while (!list_empty(&e->channels_lru)) {
        struct stored_channel *ch = list_of(e->channels_lru.next, struct stored_channel, lru);
        promise_keep(e, ch);
        channel_drop(e, ch);
    }
}

static bool found_damaged(struct engine *e, struct stored_channel *ch)
{
    enum stream_fault found = e->fault;
    if (found == FAULT_NONE)
        return false;
    e->fault = FAULT_NONE;
    e->failed = false;
    health_mark(e, ch->key, found);
    return true;
}

/* What the batch has touched is durable now: what is due for retention goes in a batch of its own, which need not be synced, since
 * a crash only means that it is done again. */
static bool retain_touched(struct engine *e, struct buf *error)
{
    bool some = false;
    list_each(at, &e->touched)
    {
        struct stored_channel *ch = list_of(at, struct stored_channel, touched);
        struct eviction done = {0};
        /* More than the batch has given, or a bound would not hold under load. */
        some |= retain(e, ch, ch->written_ms, EVICT_PER_WRITE + 2 * ch->batch_places, &done);
        some |= found_damaged(e, ch);
        if (ch->newest_write != NULL && done.messages > 0) {
            ch->newest_write->written.evicted_messages = done.messages;
            ch->newest_write->written.evicted_bytes = done.bytes;
            head_output(ch, &ch->newest_write->head);
        }
    }
    return !e->failed && (!some || kv_commit(e->kv, false, error));
}

static void batch_is_over(struct engine *e)
{
    for (struct list *at; (at = list_take(&e->touched)) != NULL;) {
        struct stored_channel *ch = list_of(at, struct stored_channel, touched);
        ch->newest_write = NULL;
        ch->batch_places = 0;
        ch->acknowledged = ch->delivery;
        channel_show(e, ch);
    }
}

static void folds_are_durable(struct engine *e)
{
    while (list_take(&e->folding) != NULL)
        ;
}

bool engine_commit(struct engine *e, bool sync, struct buf *error)
{
    engine_trim_before(e);
    if (e->failed || e->spoilt || !kv_commit(e->kv, sync, error)) {
        if (e->failed || e->spoilt)
            buf_lit(error, "a row could not be read");
        engine_rollback(e);
        return false;
    }
    e->pending_count = 0;
    folds_are_durable(e);
    if (!retain_touched(e, error))
        engine_rollback(e);
    batch_is_over(e);
    engine_trim_after(e);
    atomic_store_explicit(&e->stats->memory_channels, e->channels.count, memory_order_relaxed);
    atomic_store_explicit(&e->stats->memory_messages, e->messages_count, memory_order_relaxed);
    atomic_store_explicit(&e->stats->memory_messages_bytes, e->messages_bytes, memory_order_relaxed);
    return true;
}

/* ---- background ---- */

enum { WORK_CHANNELS = 256, WORK_RECEIPTS = 4096 };

/* False: there is more to do in it than fits into one slice. */
static bool work_channel(struct engine *e, struct str key, int64_t now_ms, uint32_t messages_max, uint64_t *dropped)
{
    struct eviction done = {0};
    struct str rest = str_from(key, 1);
    struct str app_id = str_split(&rest, '\0');
    if (health_of(e, str_from(key, 1)) != FAULT_NONE)
        return true;
    struct stored_channel *ch = channel_get(e, app_id, rest);
    if (ch == NULL) {
        if (e->fault != FAULT_NONE)
            health_mark(e, str_from(key, 1), e->fault);
        e->failed = false; /* the others are not to wait for this one */
        e->fault = FAULT_NONE;
        return true;
    }
    if (ch->retention.window_ms == 0)
        ch->retention.window_ms = ch->record.window_ms;
    retain(e, ch, now_ms, messages_max, &done);
    bool whole = done.messages < messages_max && done.rows < EVICT_ROWS;
    if (whole && !e->failed)
        whole = collapse_old(e, ch, now_ms, messages_max - (uint32_t)done.messages, &done);
    *dropped += done.messages;
    return found_damaged(e, ch) || whole;
}

static void work_channels(struct engine *e, int64_t now_ms, uint32_t messages_max, uint64_t *dropped)
{
    struct buf keys = {0};
    struct str key, value;
    size_t count = 0;
    if (e->work_at.n == 0)
        buf_char(&e->work_at, 'C');
    struct kv_cursor *cursor = kv_scan(e->kv, buf_view(&e->work_at), STR("D"), false);
    while (count < WORK_CHANNELS && kv_next(e->kv, cursor, &key, &value)) {
        pack_u64(&keys, key.n);
        buf_str(&keys, key);
        count++;
    }
    kv_end(e->kv, cursor);
    struct str rest = buf_view(&keys);
    bool whole = true;
    for (uint64_t n; whole && *dropped < messages_max && unpack_u64(&rest, &n); rest = str_from(rest, n)) {
        uint64_t before = *dropped;
        whole = work_channel(e, str_first(rest, n), now_ms, messages_max - (uint32_t)before, dropped);
        buf_clear(&e->work_at);
        buf_str(&e->work_at, str_first(rest, n));
        if (whole && *dropped < messages_max)
            buf_char(&e->work_at, '\0'); /* behind it; else it goes on with this one */
    }
    e->channels_done = whole && count < WORK_CHANNELS && *dropped < messages_max;
    buf_free(&keys);
}

static void work_receipts(struct engine *e, int64_t now_ms)
{
    struct str key, value;
    struct receipt r;
    size_t looked = 0;
    if (e->receipts_at.n == 0)
        buf_char(&e->receipts_at, 'Q'); /* then 'R' */
    struct kv_cursor *cursor = kv_scan(e->kv, buf_view(&e->receipts_at), STR("S"), false);
    for (; looked < WORK_RECEIPTS && kv_next(e->kv, cursor, &key, &value); looked++) {
        struct dropped_receipts dropped;
        bool over = key.p[0] == 'Q' ? dropped_receipts_read(value, &dropped) && dropped.expires_ms <= now_ms
                                    : receipt_read(value, &r) && r.expires_ms <= now_ms;
        if (over)
            kv_del(e->kv, key);
        buf_clear(&e->receipts_at);
        buf_str(&e->receipts_at, key);
    }
    kv_end(e->kv, cursor);
    buf_char(&e->receipts_at, '\0');
    e->receipts_done = looked < WORK_RECEIPTS;
}

enum work_result engine_work(struct engine *e, int64_t now_ms, uint32_t messages_max, uint64_t *dropped)
{
    uint64_t slice = 0;
    if (!e->channels_done)
        work_channels(e, now_ms, messages_max, &slice);
    if (!e->receipts_done)
        work_receipts(e, now_ms);
    *dropped += slice;
    if (!e->channels_done || !e->receipts_done)
        return WORK_GOES_ON;
    e->channels_done = e->receipts_done = false;
    buf_clear(&e->work_at);
    buf_clear(&e->receipts_at);
    return WORK_DONE;
}

/* ---- checking ---- */

static bool same_head(const struct head *a, const struct head *b)
{
    return a->create == b->create && a->last == b->last && a->bytes == b->bytes && a->size == b->size &&
           a->appends == b->appends && a->status == b->status && a->action == b->action && str_eq(a->name, b->name) &&
           str_eq(a->extras, b->extras) && a->name_at == b->name_at && a->extras_at == b->extras_at;
}

static bool check_channel(struct engine *e, struct engine *fresh, struct stored_channel *ch, struct buf *why)
{
    struct str rest = ch->key;
    struct str app_id = str_split(&rest, '\0');
    struct stored_channel *twin = channel_get(fresh, app_id, rest);
    size_t at = 0;
    if (twin == NULL || twin->delivery != ch->delivery || twin->history != ch->history || twin->open != ch->open ||
        twin->bytes_ever != ch->bytes_ever || twin->oldest_ms != ch->oldest_ms) {
        buf_fmt(why, "channel %.*s differs", STR_ARG(rest));
        return false;
    }
    for (struct message *m; (m = map_next(&ch->messages, &at)) != NULL;) {
        struct message *other = message_get(fresh, twin, m->history);
        if (other == NULL || !same_head(&m->h, &other->h)) {
            buf_fmt(why, "message %llu of %.*s differs", (unsigned long long)m->history, STR_ARG(rest));
            return false;
        }
    }
    return true;
}

bool engine_check(struct engine *e, struct buf *why)
{
    struct store_options options = {.seed = 1, .clock = e->clock};
    struct engine *fresh = engine_new(e->kv, &options, e->stats);
    bool same = true;
    size_t at = 0;
    for (struct stored_channel *ch; same && (ch = map_next(&e->channels, &at)) != NULL;)
        same = check_channel(e, fresh, ch, why);
    engine_free(fresh);
    return same;
}
