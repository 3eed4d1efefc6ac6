/* retain.c - forgetting: retention at each write and in the background, reset, purge (chapter 3, 2.4 and 2.7).
 *
 * Places in history are dropped from the oldest on, each with all rows, segments and the head of its message. An open stream is
 * passed over; when it closes, retention looks at it again. The replay floor rises above everything dropped, and the counters are
 * noted beside it, in the same batch: a position must not be given twice because its row is gone.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/engine_internal.h"
#include <stdatomic.h>

static bool message_view(struct stored_channel *ch, uint64_t history, struct message *m, struct view *v,
                         struct source *src)
{
    bool found;
    if (m == NULL)
        return view_load(src, ch->record.cid, history, v, &found) && found;
    *v = (struct view){ch->record.cid, history, m->h.create, m->h.last, m->h.segments, m->rows, m->rows_count, m->h.base};
    return true;
}

void del_rows(struct engine *e, const struct view *v, const struct view_rows *rows)
{
    for (size_t i = 0, end; i < rows->count; i = end) {
        for (end = i + 1; end < rows->count && rows->at[end] == rows->at[end - 1] + 1;)
            end++;
        struct key from = key_of2('L', v->cid, rows->at[i]), to = key_of2('L', v->cid, rows->at[end - 1] + 1);
        if (end - i < 8)
            for (size_t k = i; k < end; k++) {
                struct key one = key_of2('L', v->cid, rows->at[k]);
                kv_del(e->kv, key_str(&one));
            }
        else
            kv_del_range(e->kv, key_str(&from), key_str(&to));
    }
}

static void del_message(struct engine *e, const struct view *v, const struct view_rows *rows)
{
    struct key k = key_of2('H', v->cid, v->history);
    kv_del(e->kv, key_str(&k));
    del_rows(e, v, rows);
    if (v->segments == 0 && rows->count == 1)
        return;
    k = key_of2('M', v->cid, v->history);
    kv_del(e->kv, key_str(&k));
    struct key from = key_segment(v->cid, v->history, 0), to = key_segment(v->cid, v->history, v->segments);
    if (v->segments > 0)
        kv_del_range(e->kv, key_str(&from), key_str(&to));
}

void put_floor(struct engine *e, struct stored_channel *ch)
{
    struct key key = key_of('F', ch->record.cid);
    ch->floor.delivery = ch->delivery;
    ch->floor.history = ch->history;
    ch->floor.bytes_ever = ch->bytes_ever;
    buf_clear(&e->scratch);
    floor_put(&e->scratch, &ch->floor);
    kv_put(e->kv, key_str(&key), buf_view(&e->scratch));
    channel_touch(e, ch);
}

static uint64_t size_of(struct engine *e, struct stored_channel *ch, uint64_t history, const struct message *m)
{
    struct key key = key_of2('H', ch->record.cid, history);
    struct place place = {0};
    if (m != NULL)
        return m->h.size;
    buf_clear(&e->value);
    if (kv_get(e->kv, key_str(&key), &e->value, &e->failed))
        place_read(buf_view(&e->value), &place);
    return place.size;
}

/* The first place at or above `from` that is left; 0 = none. Nothing at or above it may be pending. */
static uint64_t next_place(struct engine *e, struct stored_channel *ch, uint64_t from, struct place *place)
{
    struct key low = key_of2('H', ch->record.cid, from), high = key_of2('H', ch->record.cid, ch->history + 1);
    struct str key, value;
    uint64_t history = 0;
    if (from > ch->history)
        return 0;
    if (load_place(e, ch->record.cid, from, place))
        return from;
    struct kv_cursor *cursor = kv_scan(e->kv, key_str(&low), key_str(&high), false);
    if (kv_next(e->kv, cursor, &key, &value) && place_read(value, place))
        history = key_u64(key, 9);
    if (!kv_end(e->kv, cursor))
        e->failed = true;
    return history;
}

static void forget_place(struct engine *e, struct stored_channel *ch, uint64_t history, uint64_t last, uint64_t size)
{
    struct floor_record *floor = &ch->floor;
    if (last >= floor->replay_floor)
        floor->replay_floor = last + 1;
    floor->messages_evicted++;
    floor->bytes_evicted += size;
    if (history == floor->oldest_history) { /* else an open stream before it is kept */
        struct place place;
        uint64_t next = next_place(e, ch, history + 1, &place);
        floor->oldest_history = next ? next : ch->history + 1;
        ch->oldest_ms = next ? place.published_ms : 0;
    }
}

enum evicted { EVICTED, EVICTED_NOT, EVICT_FAILED };

/* now_ms: receipts younger than 24 hours outlive their rows; INT64_MAX: none does. */
static enum evicted evict(struct engine *e, struct stored_channel *ch, uint64_t history, enum evict_open open, int64_t now_ms,
                          struct eviction *done)
{
    struct arena arena = {0};
    struct source src = {.kv = e->kv, .arena = &arena};
    struct view v;
    struct view_rows rows;
    struct message *m = message_get(e, ch, history); /* NULL: an ordinary message */
    bool opened = m != NULL && is_open(m->h.status, m->h.action);
    if (e->failed)
        return EVICT_FAILED;
    if (opened && open == KEEP_OPEN)
        return EVICTED_NOT;
    uint64_t size = size_of(e, ch, history, m);
    bool ok = message_view(ch, history, m, &v, &src) && view_rows(&src, &v, &rows);
    if (ok) {
        if (m != NULL && m->h.at_ms > now_ms - DROPPED_RECEIPT_MS)
            receipts_drop(e, &v, &rows, now_ms);
        del_message(e, &v, &rows);
        if (opened) {
            struct key key = key_of2('O', ch->record.cid, history);
            kv_del(e->kv, key_str(&key));
            ch->open--;
        }
        forget_place(e, ch, history, v.last, size);
        done->messages++;
        done->bytes += size;
        done->rows += rows.count;
    }
    if (ok && m != NULL)
        message_drop(e, m);
    if (!ok && src.failed)
        e->failed = true;
    else if (!ok)
        fault_met(e, FAULT_ROWS);
    arena_free(&arena);
    return ok ? EVICTED : EVICT_FAILED;
}

static void after_eviction(struct engine *e, struct stored_channel *ch, struct eviction done)
{
    if (done.messages == 0)
        return;
    put_floor(e, ch);
    atomic_fetch_add_explicit(&e->stats->evicted_messages, done.messages, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->stats->evicted_bytes, done.bytes, memory_order_relaxed);
}

/* retain_ms not known counts as due: then it is looked up. */
static bool is_due(const struct stored_channel *ch, int64_t now_ms)
{
    const struct store_retention *r = &ch->retention;
    return (r->window_ms > 0 && ch->retain_ms < now_ms - (int64_t)r->window_ms) ||
           (r->messages_max > 0 && ch->history - ch->floor.messages_evicted > r->messages_max) ||
           (r->bytes_max > 0 && ch->bytes_ever - ch->floor.bytes_evicted > r->bytes_max);
}

bool retain(struct engine *e, struct stored_channel *ch, int64_t now_ms, uint32_t messages_max, struct eviction *done)
{
    if (ch->fault != FAULT_NONE)
        return false;
    while (done->messages < messages_max && done->rows < EVICT_ROWS && ch->retain_at <= ch->history && is_due(ch, now_ms)) {
        struct place place;
        uint64_t history = next_place(e, ch, ch->retain_at, &place);
        ch->retain_at = history ? history : ch->history + 1;
        ch->retain_ms = history ? place.published_ms : 0;
        if (history == 0 || e->failed || !is_due(ch, now_ms) || evict(e, ch, history, KEEP_OPEN, now_ms, done) == EVICT_FAILED)
            break;
        ch->retain_at++;
        ch->retain_ms = 0;
    }
    after_eviction(e, ch, *done);
    return done->messages > 0;
}

/* ---- by hand ---- */

static void del_channel_rows(struct engine *e, uint64_t cid)
{
    static const char kinds[] = {'L', 'H', 'M', 'S', 'O', 'R', 'Q', 'F'};
    for (size_t i = 0; i < sizeof(kinds); i++) {
        struct key from = key_of(kinds[i], cid), to = key_of(kinds[i], cid + 1);
        kv_del_range(e->kv, key_str(&from), key_str(&to));
    }
}

void stage_reset(struct engine *e, struct store_op *op)
{
    struct stored_channel *ch = channel_get(e, op->app_id, op->channel);
    struct channel_record damaged;
    health_clear(e, stored_key(e, op->app_id, op->channel));
    if (ch == NULL && e->failed) { /* a reset is the way out for a channel whose rows are damaged */
        e->failed = false;
        e->fault = FAULT_NONE;
        if (channel_record_get(e, op->app_id, op->channel, &damaged)) {
            memcpy(op->found.previous_stream_id, damaged.stream_id, sizeof(op->found.previous_stream_id));
            del_channel_rows(e, damaged.cid);
        }
        e->failed = false; /* not even its record: its rows stay behind, under a number that nobody uses again */
        e->fault = FAULT_NONE;
    } else if (ch != NULL) {
        memcpy(op->found.previous_stream_id, ch->record.stream_id, sizeof(op->found.previous_stream_id));
        op->found.purged_messages = ch->history - ch->floor.messages_evicted;
        op->found.purged_bytes = ch->bytes_ever - ch->floor.bytes_evicted;
        del_channel_rows(e, ch->record.cid);
        channel_drop(e, ch);
    }
    ch = channel_make(e, op->app_id, op->channel);
    head_output(ch, &op->head);
}

static bool purge_reaches(const struct store_read *r, uint64_t history, const struct place *place)
{
    if (r->purge_all)
        return true;
    return r->before_history > 0 ? history < r->before_history : place->published_ms < r->before_ms;
}

enum stage_result stage_purge(struct engine *e, struct store_op *op)
{
    struct stored_channel *ch = channel_get(e, op->app_id, op->channel);
    struct eviction done = {0};
    struct place place;
    if (ch == NULL)
        return STAGED;
    if (!list_empty(&ch->touched))
        return COMMIT_FIRST; /* what is pending must go too, and cannot be found yet */
    for (uint64_t at = ch->floor.oldest_history; (at = next_place(e, ch, at, &place)) != 0; at++) {
        if (purge_reaches(&op->read, at, &place))
            evict(e, ch, at, DROP_OPEN, INT64_MAX, &done);
        if (e->failed || (op->read.before_history > 0 && at >= op->read.before_history))
            break;
    }
    after_eviction(e, ch, done);
    op->found.purged_messages = done.messages;
    op->found.purged_bytes = done.bytes;
    head_output(ch, &op->head);
    return STAGED;
}
