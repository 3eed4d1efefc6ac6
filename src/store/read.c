/* read.c - reads in two phases: what only memory knows is copied into a plan, then the kv alone is asked.
 *
 * The second phase may run on another thread while batches commit: it reads a snapshot, so whatever is not there is damage.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/engine_internal.h"
#include <stdlib.h>

struct read_plan {
    bool known;             /* the channel exists */
    bool failed, refused;   /* refused: it is not healthy */
    uint64_t cid;
    uint32_t stream8;
    struct store_head head;
    struct view *dirty;     /* messages whose newest rows no segment holds; by history, ascending */
    size_t dirty_count;
    struct store_found open; /* of OPEN and HEADS: memory knows it all */
};

/* ---- the plan ---- */

static int by_history(const void *a, const void *b)
{
    const struct view *x = a, *y = b;
    return x->history < y->history ? -1 : x->history > y->history;
}

static struct view view_of(const struct message *m, struct arena *arena)
{
    uint64_t *rows = arena_alloc(arena, (m->rows_count + 1) * sizeof(*rows));
    memcpy(rows, m->rows, m->rows_count * sizeof(*rows));
    return (struct view){m->channel->record.cid, m->history, m->h.create, m->h.last, m->h.segments, rows, m->rows_count,
                         m->h.base};
}

struct range {
    uint64_t first, last; /* history, both inclusive */
};

static struct range page_range(const struct store_read *q, const struct store_head *head)
{
    struct range range = {q->start_history ? q->start_history : 1, q->end_history ? q->end_history : UINT64_MAX - 1};
    if (range.first < head->oldest_history)
        range.first = head->oldest_history;
    if (range.last > head->history)
        range.last = head->history;
    if (q->after != 0 && q->direction == NEWEST_FIRST && range.last >= q->after)
        range.last = q->after - 1;
    if (q->after != 0 && q->direction == OLDEST_FIRST && range.first <= q->after)
        range.first = q->after + 1;
    return range;
}

static void add_dirty(struct read_plan *plan, const struct message *m, struct arena *arena)
{
    if (m != NULL && is_dirty(m))
        plan->dirty[plan->dirty_count++] = view_of(m, arena);
}

static void copy_named(struct read_plan *plan, const struct stored_channel *ch, struct store_op *op)
{
    plan->dirty = arena_alloc(&op->arena, (op->read.ids_count + 1) * sizeof(*plan->dirty));
    for (size_t i = 0; i < op->read.ids_count; i++)
        add_dirty(plan, map_get(&ch->messages, history_key(&op->read.ids[i].history)), &op->arena);
}

/* Of a page's dirty messages: where history has no gap and time does not matter, those are known that the page can show. */
static void copy_page(struct read_plan *plan, const struct stored_channel *ch, struct store_op *op)
{
    const struct store_read *q = &op->read;
    struct range range = page_range(q, &plan->head);
    bool dense = plan->head.retained_messages == plan->head.history - plan->head.oldest_history + 1;
    uint64_t newer = q->as_of_delivery != 0 && q->as_of_delivery < plan->head.delivery ? plan->head.delivery - q->as_of_delivery : 0;
    uint64_t width = (uint64_t)q->limit + newer;
    if (range.first > range.last)
        return;
    if (dense && q->start_ms == INT64_MIN && q->end_ms == INT64_MAX && range.last - range.first >= width) {
        if (q->direction == NEWEST_FIRST)
            range.first = range.last - width;
        else
            range.last = range.first + width;
    }
    plan->dirty = arena_alloc(&op->arena, (ch->dirty_count + 1) * sizeof(*plan->dirty));
    if (range.last - range.first < ch->dirty_count) {
        for (uint64_t history = range.first; history <= range.last; history++)
            add_dirty(plan, map_get(&ch->messages, history_key(&history)), &op->arena);
        return;
    }
    list_each(at, &ch->dirty)
    {
        const struct message *m = list_of(at, struct message, dirty);
        if (m->history >= range.first && m->history <= range.last)
            add_dirty(plan, m, &op->arena);
    }
}

/* A replay needs nothing of what only memory knows: its rows hold their own data, or follow a segment that does. */
static void plan_channel(struct engine *e, struct read_plan *plan, struct store_op *op)
{
    struct stored_channel *ch = channel_get(e, op->app_id, op->channel);
    if (health_settle(e, op) || health_of(e, stored_key(e, op->app_id, op->channel)) != FAULT_NONE) {
        struct buf key = {0};
        buf_str(&key, stored_key(e, op->app_id, op->channel));
        health_refuse(e, op, buf_view(&key));
        buf_free(&key);
        plan->refused = true;
        plan->head = op->head;
        return;
    }
    if (ch == NULL)
        return;
    plan->known = true;
    plan->cid = ch->record.cid;
    plan->stream8 = ch->stream8;
    head_output(ch, &plan->head);
    if (op->kind == STORE_PAGE && op->read.age_max_ms > 0)
        op->read.start_ms = clock_wall_ms(e->clock) - (int64_t)op->read.age_max_ms;
    if (op->kind == STORE_LATEST || op->kind == STORE_VERSIONS)
        copy_named(plan, ch, op);
    else if (op->kind == STORE_PAGE)
        copy_page(plan, ch, op);
    if (plan->dirty_count > 1)
        qsort(plan->dirty, plan->dirty_count, sizeof(*plan->dirty), by_history);
}

struct open_key {
    struct list link;
    struct str at;  /* the key itself */
    struct str key; /* app id, 0, channel */
};

static void collect_open(struct engine *e, struct list *keys, struct store_op *op, size_t *count)
{
    struct str key, value, after = op->read.open_after;
    struct kv_cursor *cursor = kv_scan(e->kv, after.p != NULL ? after : STR("O"), STR("P"), false);
    bool full = false;
    while (!full && kv_next(e->kv, cursor, &key, &value)) {
        if (after.p != NULL && str_eq(key, after))
            continue;
        full = op->read.limit > 0 && *count == op->read.limit;
        if (full)
            break;
        struct open_key *k = arena_alloc(&op->arena, sizeof(*k));
        k->at = arena_copy(&op->arena, key);
        k->key = arena_copy(&op->arena, value);
        list_append(keys, &k->link);
        (*count)++;
    }
    if (!kv_end(e->kv, cursor))
        e->failed = true;
    op->found.more = full;
}

static struct store_item open_item(const struct stored_channel *ch, const struct message *m)
{
    const struct head *h = &m->h;
    return (struct store_item){.message = {h->create, m->history, ch->stream8},
                               .delivery = h->last,
                               .action = h->action,
                               .published_at_ms = h->published_ms,
                               .version_at_ms = h->at_ms,
                               .size_bytes = h->size,
                               .status = h->status,
                               .mutated = h->last != h->create};
}

static void plan_open(struct engine *e, struct read_plan *plan, struct store_op *op)
{
    struct list keys;
    size_t count = 0;
    struct store_found *found = &plan->open;
    int64_t now_ms = clock_wall_ms(e->clock), before = now_ms - (int64_t)op->read.idle_ms;
    list_init(&keys);
    collect_open(e, &keys, op, &count);
    if (e->failed)
        return;
    *found = (struct store_found){.more = op->found.more, .open_next = op->read.open_after, .now_ms = now_ms};
    found->items = arena_zalloc(&op->arena, (count + 1) * sizeof(*found->items));
    found->open_apps = arena_alloc(&op->arena, (count + 1) * sizeof(struct str));
    found->open_channels = arena_alloc(&op->arena, (count + 1) * sizeof(struct str));
    for (struct list *at = keys.next; at != &keys && !e->failed; at = at->next) {
        struct open_key *k = list_of(at, struct open_key, link);
        struct str name = k->key;
        struct str app_id = str_split(&name, '\0');
        struct stored_channel *ch = channel_get(e, app_id, name);
        struct message *m = ch ? message_get(e, ch, key_u64(k->at, 9)) : NULL;
        found->open_next = k->at;
        if (e->fault != FAULT_NONE) { /* whoever uses the channel is told; the others are looked at */
            health_mark(e, k->key, e->fault);
            e->fault = FAULT_NONE;
            e->failed = false;
        }
        if (m == NULL || m->h.at_ms > before)
            continue;
        found->open_apps[found->count] = app_id;
        found->open_channels[found->count] = name;
        found->items[found->count++] = open_item(ch, m);
    }
}

/* A channel that cannot be read says so in its own head. */
static void plan_heads(struct engine *e, struct read_plan *plan, struct store_op *op)
{
    struct store_head *heads = arena_zalloc(&op->arena, (op->read.names_count + 1) * sizeof(*heads));
    plan->open.heads = heads;
    for (size_t i = 0; i < op->read.names_count && !e->failed; i++) {
        const struct store_name *name = &op->read.names[i];
        struct stored_channel *ch = channel_get(e, name->app_id, name->channel);
        op->app_id = name->app_id;
        op->channel = name->channel;
        if (health_settle(e, op))
            heads[i] = op->head;
        else if (ch != NULL)
            head_output(ch, &heads[i]);
    }
    op->result = STORE_OK;
}

struct read_plan *engine_plan(struct engine *e, struct store_op *op)
{
    struct read_plan *plan = arena_zalloc(&op->arena, sizeof(*plan));
    op->found = (struct store_found){0};
    if (op->kind == STORE_OPEN)
        plan_open(e, plan, op);
    else if (op->kind == STORE_HEADS)
        plan_heads(e, plan, op);
    else if (op->kind != STORE_NOTE_SCAN)
        plan_channel(e, plan, op);
    plan->failed = e->failed;
    e->failed = false;
    return plan;
}

/* ---- items ---- */

struct reading {
    struct source src;
    const struct read_plan *plan;
    struct store_op *op;
    struct arena *arena;
    /* the rows that the previous item took its name and extras from: runs of one message share them */
    uint64_t create_at, name_at, extras_at;
    struct row create_row, name_row, extras_row;
};

static bool cached_row(struct reading *r, uint64_t delivery, uint64_t *at, struct row *row)
{
    if (delivery == 0 || *at == delivery)
        return delivery != 0;
    *at = 0;
    if (!get_row(&r->src, r->plan->cid, delivery, row))
        return false;
    *at = delivery;
    return true;
}

static bool find_view(struct reading *r, uint64_t history, struct view *v, bool *found)
{
    struct view wanted = {.history = history};
    const struct view *dirty = NULL;
    if (r->plan->dirty_count > 0)
        dirty = bsearch(&wanted, r->plan->dirty, r->plan->dirty_count, sizeof(wanted), by_history);
    *found = dirty != NULL;
    if (dirty == NULL)
        return view_load(&r->src, r->plan->cid, history, v, found);
    *v = *dirty;
    return true;
}

/* What the create said; where versions were dropped, the oldest that is left holds it. */
static bool create_row(struct reading *r, const struct row *row)
{
    struct view v;
    bool found;
    if (row->create != 0 && cached_row(r, row->create, &r->create_at, &r->create_row))
        return true;
    if (r->src.failed || !find_view(r, row->history, &v, &found) || !found || v.base == 0 ||
        !cached_row(r, v.base, &r->create_at, &r->create_row))
        return false;
    r->create_at = row->create;
    return true;
}

/* All of an item but its data, from the row of its newest version. */
static bool describe(struct reading *r, struct store_item *item, uint64_t delivery, const struct row *row)
{
    *item = (struct store_item){.message = {row->create, row->history, r->plan->stream8}, .delivery = delivery,
                                .action = row->action, .published_at_ms = row->published_ms, .version_at_ms = row->at_ms,
                                .status = row->status, .client_id = row->client_id, .description = row->description,
                                .metadata = row->metadata, .mutated = delivery != row->create};
    if (delivery == row->create) {
        item->event_name = row->event_name;
        item->extras = row->extras;
        item->message_id = row->message_id;
        item->user_id = row->user_id;
        item->tags = row->tags;
        return true;
    }
    if (!create_row(r, row))
        return false;
    item->message_id = r->create_row.message_id;
    item->user_id = r->create_row.user_id.p ? r->create_row.user_id : r->create_row.client_id;
    item->tags = r->create_row.tags;
    if (row->name_at == delivery)
        item->event_name = row->event_name;
    else if (row->name_at != 0 && !cached_row(r, row->name_at, &r->name_at, &r->name_row))
        return false;
    else if (row->name_at != 0)
        item->event_name = r->name_row.event_name;
    if (row->extras_at == delivery)
        item->extras = row->extras;
    else if (row->extras_at != 0 && !cached_row(r, row->extras_at, &r->extras_at, &r->extras_row))
        return false;
    else if (row->extras_at != 0)
        item->extras = r->extras_row.extras;
    return true;
}

static uint64_t as_of(const struct reading *r)
{
    return r->op->read.as_of_delivery ? r->op->read.as_of_delivery : UINT64_MAX;
}

/* The newest version at or below the limit; 0 = none. */
static bool newest_row(struct reading *r, const struct view *v, uint64_t limit, uint64_t *delivery, struct row *row)
{
    *delivery = v->create > limit ? 0 : v->last;
    while (*delivery != 0) {
        if (!view_row(&r->src, v, *delivery, row))
            return false;
        if (*delivery <= limit || *delivery == v->base) /* what it was then is not known any more: what it became is shown */
            return true;
        *delivery = row->previous;
    }
    return true;
}

enum read_result { READ_ITEM, READ_NONE, READ_FAILED };

/* The aggregate of a message, whole. */
static enum read_result read_aggregate(struct reading *r, uint64_t history, struct store_item *item)
{
    struct view v;
    struct row row;
    bool found;
    uint64_t delivery;
    if (!find_view(r, history, &v, &found))
        return READ_FAILED;
    if (!found)
        return READ_NONE;
    if (!newest_row(r, &v, as_of(r), &delivery, &row))
        return READ_FAILED;
    if (delivery == 0)
        return READ_NONE;
    if (!describe(r, item, delivery, &row))
        return READ_FAILED;
    if (delivery == v.create)
        item->data = row.data;
    else if (!view_text(&r->src, &v, delivery, &item->data))
        return READ_FAILED;
    item->size_bytes = item->data.n + item->extras.n;
    return READ_ITEM;
}

static struct store_item *items_of(struct reading *r, size_t max)
{
    return r->op->found.items = arena_alloc(r->arena, (max ? max : 1) * sizeof(struct store_item));
}

static enum store_result read_latest(struct reading *r)
{
    const struct store_read *q = &r->op->read;
    struct store_item *items = items_of(r, q->ids_count);
    for (size_t i = 0; i < q->ids_count; i++) {
        struct store_item item;
        if (!r->plan->known || q->ids[i].stream8 != r->plan->stream8)
            continue;
        enum read_result result = read_aggregate(r, q->ids[i].history, &item);
        if (result == READ_FAILED)
            return STORE_FAILED;
        if (result == READ_ITEM && item.message.create_delivery == q->ids[i].create_delivery && item.action != ACTION_ORDINARY)
            items[r->op->found.count++] = item;
    }
    return STORE_OK;
}

/* ---- versions ---- */

static bool read_version(struct reading *r, const struct view *v, uint64_t delivery, struct store_item *item)
{
    struct row row;
    if (!view_row(&r->src, v, delivery, &row) || !describe(r, item, delivery, &row))
        return false;
    item->size_bytes = row.data.n + row.extras.n;
    item->data = row.data;
    if (delivery != v->base && (row.action == ACTION_APPEND || row.replaces))
        return true;
    return view_text(&r->src, v, delivery, &item->data);
}

static enum store_result read_versions(struct reading *r)
{
    const struct store_read *q = &r->op->read;
    struct store_found *out = &r->op->found;
    struct view v;
    struct view_rows rows;
    bool found = false;
    if (!r->plan->known || q->ids_count == 0 || q->ids[0].stream8 != r->plan->stream8)
        return STORE_NOT_FOUND;
    if (!find_view(r, q->ids[0].history, &v, &found))
        return STORE_FAILED;
    if (!found || v.create != q->ids[0].create_delivery)
        return STORE_NOT_FOUND;
    if (!view_rows(&r->src, &v, &rows))
        return STORE_FAILED;
    items_of(r, q->limit < rows.count ? q->limit : rows.count);
    for (size_t i = 0; i < rows.count; i++) {
        uint64_t delivery = rows.at[q->direction == NEWEST_FIRST ? rows.count - 1 - i : i];
        if (q->after != 0 && (q->direction == NEWEST_FIRST ? delivery >= q->after : delivery <= q->after))
            continue;
        if (out->count == q->limit) {
            out->more = true;
            break;
        }
        if (!read_version(r, &v, delivery, &out->items[out->count++]))
            return STORE_FAILED;
    }
    return STORE_OK;
}

/* ---- pages ---- */

static bool in_time(const struct store_read *q, int64_t published_ms)
{
    return published_ms >= q->start_ms && published_ms <= q->end_ms;
}

static bool end_scan(struct reading *r, struct kv_cursor *cursor)
{
    bool whole = kv_end(r->src.kv, cursor);
    r->src.failed |= !whole;
    return whole;
}

/* Places first, then their messages: the cursor must not be held while other keys are read. */
static bool page_places(struct reading *r, uint64_t *places, size_t *count)
{
    const struct store_read *q = &r->op->read;
    struct range range = page_range(q, &r->plan->head);
    struct key from = key_of2('H', r->plan->cid, range.first), to = key_of2('H', r->plan->cid, range.last + 1);
    struct str key, value;
    if (!r->plan->known || range.first > range.last)
        return true;
    struct kv_cursor *cursor = kv_scan(r->src.kv, key_str(&from), key_str(&to), q->direction == NEWEST_FIRST);
    while (kv_next(r->src.kv, cursor, &key, &value)) {
        struct place place;
        if (!place_read(value, &place)) {
            end_scan(r, cursor);
            return false;
        }
        if (!in_time(q, place.published_ms) || place.create > as_of(r))
            continue;
        if (*count == q->limit) {
            r->op->found.more = true;
            break;
        }
        places[(*count)++] = key_u64(key, 9);
    }
    return end_scan(r, cursor);
}

static enum store_result read_page(struct reading *r)
{
    const struct store_read *q = &r->op->read;
    uint64_t *places = arena_alloc(r->arena, (q->limit + 1) * sizeof(*places));
    size_t count = 0, i = 0;
    if (!page_places(r, places, &count))
        return STORE_FAILED;
    struct store_item *items = items_of(r, count);
    for (uint64_t bytes = 0; i < count && (q->bytes_max == 0 || bytes < q->bytes_max); i++) {
        enum read_result result = read_aggregate(r, places[i], &items[r->op->found.count]);
        if (result == READ_FAILED)
            return STORE_FAILED;
        if (result == READ_ITEM)
            bytes += items[r->op->found.count++].size_bytes;
    }
    r->op->found.more |= i < count;
    return STORE_OK;
}

/* ---- replay ---- */

struct replayed {
    struct store_item *items;
    struct row *rows;
    size_t count, cap;
};

static void replay_add(struct reading *r, struct replayed *all, uint64_t delivery, const struct row *row)
{
    if (all->count == all->cap) {
        size_t cap = all->cap ? all->cap * 2 : 64;
        struct store_item *items = arena_alloc(r->arena, cap * sizeof(*items));
        struct row *rows = arena_alloc(r->arena, cap * sizeof(*rows));
        if (all->count > 0) {
            memcpy(items, all->items, all->count * sizeof(*items));
            memcpy(rows, all->rows, all->count * sizeof(*rows));
        }
        *all = (struct replayed){items, rows, all->count, cap};
    }
    all->items[all->count].delivery = delivery;
    all->rows[all->count++] = *row;
}

static bool replay_scan(struct reading *r, struct replayed *all)
{
    const struct store_read *q = &r->op->read;
    struct key from = key_of2('L', r->plan->cid, q->from_delivery + 1), to = key_of2('L', r->plan->cid, q->to_delivery + 1);
    struct str key, value;
    uint64_t bytes = 0, next = q->from_delivery + 1;
    bool whole = true;
    struct kv_cursor *cursor = kv_scan(r->src.kv, key_str(&from), key_str(&to), false);
    while (whole && kv_next(r->src.kv, cursor, &key, &value)) {
        struct row row;
        if (q->bytes_max > 0 && bytes >= q->bytes_max) {
            r->op->found.more = true;
            break;
        }
        whole = key_u64(key, 9) == next && row_read(arena_copy(r->arena, value), &row);
        if (whole)
            replay_add(r, all, next++, &row);
        bytes += value.n;
    }
    whole = end_scan(r, cursor) && whole;
    return whole && (r->op->found.more || next == q->to_delivery + 1);
}

static enum store_result read_replay(struct reading *r)
{
    struct store_read *q = &r->op->read;
    struct replayed all = {0};
    if (q->to_delivery == 0 || q->to_delivery > r->plan->head.delivery)
        q->to_delivery = r->plan->head.delivery;
    if (q->from_delivery >= q->to_delivery)
        return STORE_OK;
    if (q->from_delivery + 1 < r->plan->head.replay_floor)
        return STORE_EXPIRED;
    if (!replay_scan(r, &all))
        return STORE_FAILED;
    for (size_t i = 0; i < all.count; i++) {
        uint64_t delivery = all.items[i].delivery;
        if (!describe(r, &all.items[i], delivery, &all.rows[i]))
            return STORE_FAILED;
        all.items[i].data = all.rows[i].data;
        if (all.rows[i].action == ACTION_APPEND || all.rows[i].replaces)
            continue;
        struct view v;
        bool found;
        if (!find_view(r, all.rows[i].history, &v, &found) || !found)
            return STORE_FAILED;
        if (!view_text(&r->src, &v, delivery, &all.items[i].data))
            return STORE_FAILED;
    }
    r->op->found.items = all.items;
    r->op->found.count = all.count;
    return STORE_OK;
}

static enum store_result read_now(struct reading *r)
{
    const struct read_plan *plan = r->plan;
    struct store_op *op = r->op;
    if (plan->known && op->read.stream_id.p != NULL && !str_eq(op->read.stream_id, str_of(plan->head.stream_id)))
        return STORE_WRONG_STREAM;
    if (op->kind == STORE_LATEST)
        return read_latest(r);
    if (op->kind == STORE_VERSIONS)
        return read_versions(r);
    return op->kind == STORE_PAGE ? read_page(r) : read_replay(r);
}

enum read_verdict engine_read(struct kv *kv, const struct read_plan *plan, struct store_op *op)
{
    struct reading r = {.src = {.kv = kv, .arena = &op->arena}, .plan = plan, .op = op, .arena = &op->arena};
    op->head = plan->head;
    if (op->kind == STORE_NOTE_SCAN || op->kind == STORE_OPEN || op->kind == STORE_HEADS) {
        if (op->kind != STORE_NOTE_SCAN)
            op->found = plan->open;
        op->result = op->kind == STORE_NOTE_SCAN ? read_notes(kv, op) : plan->failed ? STORE_FAILED : STORE_OK;
        return READ_FINE;
    }
    op->result = plan->refused ? STORE_UNHEALTHY : plan->failed ? STORE_FAILED : read_now(&r);
    if (op->result != STORE_FAILED || plan->failed || r.src.failed)
        return READ_FINE;
    /* No read failed, so what is there contradicts itself. */
    op->result = STORE_UNHEALTHY;
    health_output(FAULT_ROWS, &op->head);
    return READ_DAMAGED;
}
