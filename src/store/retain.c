/* retain.c - forgetting: retention at each write and in the background, reset, purge (chapter 3, 2.4 and 2.7).
 *
 * Places in history are dropped from the oldest on, each with all rows, segments and the head of its message, so that what is
 * retained has no hole: [oldest, newest]. An open stream stops retention until it is closed. The replay floor rises above
 * everything dropped, in the same batch.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/engine_internal.h"
#include <stdatomic.h>

static bool message_view(struct engine *e, struct stored_channel *ch, uint64_t history, struct message *m, struct view *v,
                         struct arena *arena)
{
    bool found;
    if (m == NULL)
        return view_load(e->kv, ch->record.cid, history, v, arena, &found) && found;
    *v = (struct view){ch->record.cid, history, m->h.create, m->h.last, m->h.segments, m->rows, m->rows_count};
    return true;
}

static void del_rows(struct engine *e, const struct view *v, const struct view_rows *rows)
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

bool evict_oldest(struct engine *e, struct stored_channel *ch, enum evict_open open, struct eviction *done)
{
    uint64_t history = ch->floor.oldest_history;
    struct arena arena = {0};
    struct view v;
    struct view_rows rows;
    if (history > ch->history)
        return false;
    struct message *m = message_get(e, ch, history); /* NULL: an ordinary message */
    bool opened = m != NULL && is_open(m->h.status, m->h.action);
    if (e->failed || (m != NULL && m->folding) || (opened && open == KEEP_OPEN))
        return false;
    uint64_t size = size_of(e, ch, history, m);
    bool ok = message_view(e, ch, history, m, &v, &arena) && view_rows(e->kv, &v, &rows, &arena);
    if (ok) {
        del_message(e, &v, &rows);
        if (opened) {
            struct key key = key_of2('O', ch->record.cid, history);
            kv_del(e->kv, key_str(&key));
            ch->open--;
        }
        if (v.last >= ch->floor.replay_floor)
            ch->floor.replay_floor = v.last + 1;
        ch->floor.oldest_history++;
        ch->floor.bytes_evicted += size;
        done->messages++;
        done->bytes += size;
    }
    if (ok && m != NULL)
        message_drop(e, m);
    arena_free(&arena);
    return ok;
}

static void after_eviction(struct engine *e, struct stored_channel *ch, struct eviction done)
{
    if (done.messages == 0)
        return;
    put_floor(e, ch);
    atomic_fetch_add_explicit(&e->stats->evicted_messages, done.messages, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->stats->evicted_bytes, done.bytes, memory_order_relaxed);
}

static bool is_due(const struct stored_channel *ch, const struct store_retention *r, int64_t now_ms)
{
    uint64_t retained = ch->history - ch->floor.oldest_history + 1;
    if (ch->history < ch->floor.oldest_history)
        return false;
    return (r->window_ms > 0 && ch->oldest_ms != 0 && ch->oldest_ms < now_ms - (int64_t)r->window_ms) ||
           (r->messages_max > 0 && retained > r->messages_max) ||
           (r->bytes_max > 0 && ch->bytes_ever - ch->floor.bytes_evicted > r->bytes_max);
}

bool retain(struct engine *e, struct stored_channel *ch, int64_t now_ms, uint32_t messages_max)
{
    struct eviction done = {0};
    while (done.messages < messages_max && is_due(ch, &ch->retention, now_ms) && evict_oldest(e, ch, KEEP_OPEN, &done))
        load_oldest(e, ch);
    after_eviction(e, ch, done);
    return done.messages > 0;
}

/* ---- by hand ---- */

static void del_channel_rows(struct engine *e, uint64_t cid)
{
    static const char kinds[] = {'L', 'H', 'M', 'S', 'O', 'R', 'F'};
    for (size_t i = 0; i < sizeof(kinds); i++) {
        struct key from = key_of(kinds[i], cid), to = key_of(kinds[i], cid + 1);
        kv_del_range(e->kv, key_str(&from), key_str(&to));
    }
}

void stage_reset(struct engine *e, struct store_op *op)
{
    struct stored_channel *ch = channel_get(e, op->app_id, op->channel);
    if (ch != NULL) {
        memcpy(op->found.previous_stream_id, ch->record.stream_id, sizeof(op->found.previous_stream_id));
        op->found.purged_messages = ch->history - ch->floor.oldest_history + 1;
        op->found.purged_bytes = ch->bytes_ever - ch->floor.bytes_evicted;
        del_channel_rows(e, ch->record.cid);
        channel_drop(e, ch);
    }
    ch = channel_make(e, op->app_id, op->channel);
    head_output(ch, &op->head);
}

static bool purge_reaches(const struct stored_channel *ch, const struct store_read *r)
{
    if (ch->floor.oldest_history > ch->history)
        return false;
    if (r->purge_all)
        return true;
    if (r->before_history > 0)
        return ch->floor.oldest_history < r->before_history;
    return ch->oldest_ms < r->before_ms;
}

void stage_purge(struct engine *e, struct store_op *op)
{
    struct stored_channel *ch = channel_get(e, op->app_id, op->channel);
    struct eviction done = {0};
    if (ch == NULL)
        return;
    while (purge_reaches(ch, &op->read) && evict_oldest(e, ch, DROP_OPEN, &done))
        load_oldest(e, ch);
    after_eviction(e, ch, done);
    op->found.purged_messages = done.messages;
    op->found.purged_bytes = done.bytes;
    head_output(ch, &op->head);
}
