/* collapse.c - the versions' own retention window (chapter 3, 1.1, 2.4 and 8.6): a message whose last update is older keeps its
 * latest aggregate alone, for as long as its place in history lives.
 *
 *      before   place -> 4:create  9:append  17:append  23:update     segments 0, 1
 *      after    place -> 23:update, with all that it needs            segment 0: the whole text
 *
 * All or nothing per message, in one batch with the replay floor, which rises above the newest version. An open stream is left
 * alone, and so is a message that was written to since. What is written to a collapsed message later continues from its base.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/engine_internal.h"
#include "base/pack.h"

struct collapsing {
    struct engine *e;
    struct message *m;
    struct view v;
    struct view_rows rows;
    struct source src;
    struct str text;   /* whole, JSON */
    struct row newest, first;
    uint64_t size;
};

static bool load_all(struct collapsing *c)
{
    const struct message *m = c->m;
    c->v = (struct view){m->channel->record.cid, m->history, m->h.create, m->h.last, m->h.segments, m->rows, m->rows_count, m->h.base};
    return view_rows(&c->src, &c->v, &c->rows) && view_text(&c->src, &c->v, UINT64_MAX, &c->text) &&
           view_row(&c->src, &c->v, m->h.last, &c->newest) && view_row(&c->src, &c->v, c->rows.at[0], &c->first);
}

static void put_base(struct collapsing *c)
{
    struct engine *e = c->e;
    struct head *h = &c->m->h;
    struct key key = key_of2('L', c->v.cid, h->last);
    struct row row = c->newest;
    h->name_at = h->name_at ? h->last : 0;
    h->extras_at = h->extras_at ? h->last : 0;
    row.previous = 0;
    row.replaces = false;
    row.data = STR_NONE;
    row.event_name = h->name_at ? h->name : STR_NONE;
    row.extras = h->extras_at ? h->extras : STR_NONE;
    row.name_at = h->name_at;
    row.extras_at = h->extras_at;
    row.message_id = c->first.message_id;
    row.user_id = c->first.user_id.p ? c->first.user_id : c->first.client_id;
    if (h->base != 0)
        row.user_id = c->first.user_id;
    row.tags = c->first.tags;
    buf_clear(&e->scratch);
    row_put(&e->scratch, &row);
    kv_put(e->kv, key_str(&key), buf_view(&e->scratch));
    c->size = e->scratch.n;
}

static void put_text(struct collapsing *c)
{
    struct engine *e = c->e;
    struct key from = key_segment(c->v.cid, c->v.history, 0), to = key_segment(c->v.cid, c->v.history, c->v.segments);
    struct buf deliveries = {0};
    bool is_string = is_json_string(c->text);
    pack_u64(&deliveries, c->m->h.last);
    struct segment s = {.replaces = true, .is_string = is_string, .rows = 1, .deliveries = buf_view(&deliveries),
                        .text = c->text.p == NULL ? STR_NONE : is_string ? string_body(c->text) : c->text};
    kv_del_range(e->kv, key_str(&from), key_str(&to));
    buf_clear(&e->scratch);
    segment_put(&e->scratch, &s);
    kv_put(e->kv, key_str(&from), buf_view(&e->scratch));
    c->size += e->scratch.n;
    buf_free(&deliveries);
}

static void put_head(struct collapsing *c)
{
    struct engine *e = c->e;
    struct stored_channel *ch = c->m->channel;
    struct head *h = &c->m->h;
    struct key key = key_of2('M', c->v.cid, c->v.history);
    if (c->size < h->size) {
        ch->floor.bytes_evicted += h->size - c->size;
        h->size = c->size;
    }
    h->base = h->last;
    h->segments = 1;
    buf_clear(&e->scratch);
    head_put(&e->scratch, h);
    kv_put(e->kv, key_str(&key), buf_view(&e->scratch));
    if (!is_folding(c->m))
        list_append(&e->folding, &c->m->folding);
    receipts_free(&c->m->receipts);
    c->m->receipts = (struct receipts){0};
    if (h->last >= ch->floor.replay_floor)
        ch->floor.replay_floor = h->last + 1;
    put_floor(e, ch);
}

static void collapse(struct engine *e, struct message *m, int64_t now_ms, struct eviction *done)
{
    struct arena arena = {0};
    struct collapsing c = {.e = e, .m = m, .src = {.kv = e->kv, .arena = &arena}};
    if (load_all(&c)) {
        receipts_drop(e, &c.v, &c.rows, now_ms);
        struct view_rows older = {c.rows.at, c.rows.count - 1};
        del_rows(e, &c.v, &older);
        put_base(&c);
        put_text(&c);
        put_head(&c);
        done->messages++;
        done->rows += c.rows.count;
    } else if (c.src.failed) {
        e->failed = true;
    } else {
        fault_met(e, FAULT_ROWS);
    }
    arena_free(&arena);
}

/* ---- which ---- */

enum due { DUE_NOT, DUE_LATER, DUE_NOW };

static enum due due(const struct head *h, int64_t before_ms)
{
    if (h->base == h->last || (h->segments == 0 && h->last == h->create))
        return DUE_NOT;
    return is_open(h->status, h->action) || h->at_ms >= before_ms ? DUE_LATER : DUE_NOW;
}

/* Places of messages that are due, from ch->collapse_at on, which moves past those that need no further look. */
static size_t find_due(struct engine *e, struct stored_channel *ch, int64_t before_ms, uint64_t *places, size_t max)
{
    struct key from = key_of2('M', ch->record.cid, ch->collapse_at), to = key_of('M', ch->record.cid + 1);
    struct kv_cursor *cursor = kv_scan(e->kv, key_str(&from), key_str(&to), false);
    struct str key, value;
    bool passing = true;
    size_t count = 0;
    while (count < max && kv_next(e->kv, cursor, &key, &value)) {
        uint64_t history = key_u64(key, 9);
        const struct message *m = map_get(&ch->messages, history_key(&history));
        struct head h;
        if (!head_read(value, &h)) {
            fault_met(e, FAULT_ROWS);
            break;
        }
        enum due is = m != NULL && (is_dirty(m) || is_folding(m)) ? DUE_LATER : due(m != NULL ? &m->h : &h, before_ms);
        passing = passing && is == DUE_NOT;
        if (passing)
            ch->collapse_at = history + 1;
        if (is == DUE_NOW)
            places[count++] = history;
    }
    if (!kv_end(e->kv, cursor))
        e->failed = true;
    return count;
}

bool collapse_old(struct engine *e, struct stored_channel *ch, int64_t now_ms, uint32_t messages_max, struct eviction *done)
{
    enum { AT_ONCE = 256 };
    uint64_t places[AT_ONCE];
    int64_t before_ms = now_ms - (int64_t)ch->record.versions_window_ms;
    if (ch->record.versions_window_ms == 0 || ch->fault != FAULT_NONE)
        return true;
    /* Who was silent since before the window has no newer row that would fold it; it is looked at again in the next run. */
    if (ch->dirty_count > 0 && list_of(ch->dirty.next, struct message, dirty)->h.at_ms < before_ms)
        channel_checkpoint(e, ch);
    size_t max = messages_max < AT_ONCE ? messages_max : AT_ONCE, i = 0;
    size_t count = find_due(e, ch, before_ms, places, max);
    for (; i < count && !e->failed && done->rows < EVICT_ROWS; i++) {
        struct message *m = message_get(e, ch, places[i]);
        if (m != NULL && !e->failed)
            collapse(e, m, now_ms, done);
    }
    return e->failed || (i == count && count < max);
}
