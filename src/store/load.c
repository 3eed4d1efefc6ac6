/* load.c - channels and messages in memory: found, loaded, moved on by rows, dropped.
 *
 * Loading a channel reads its record, then the rows above its checkpoint: at most CHECKPOINT_ROWS_MAX and a quarter. Each of
 * them moves its message on exactly as it did when it was written.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/engine_internal.h"
#include "base/json.h"
#include "base/mem.h"
#include <stdatomic.h>
#include <stdlib.h>

static struct str own(struct str s)
{
    return s.p ? str_make(str_dup(s), s.n) : STR_NONE;
}

static void replace(struct str *owned, struct str with)
{
    free((void *)owned->p);
    *owned = own(with);
}

/* ---- messages ---- */

struct message *message_add(struct engine *e, struct stored_channel *ch, uint64_t history)
{
    struct message *m = mem_new(struct message);
    m->history = history;
    m->channel = ch;
    list_init(&m->dirty);
    list_init(&m->folding);
    m->rows = mem_alloc((FOLD_ROWS + 1) * sizeof(*m->rows));
    list_append(&e->messages, &m->lru);
    e->messages_count++;
    map_put(&ch->messages, history_key(&m->history), m);
    return m;
}

void message_weigh(struct engine *e, struct message *m)
{
    const struct receipts *r = &m->receipts;
    size_t receipts = r->tags != NULL ? (r->mask + 1) * (sizeof(*r->tags) + sizeof(*r->offsets)) : 0;
    size_t bytes = sizeof(*m) + (FOLD_ROWS + 1) * sizeof(*m->rows) + m->tail.cap + m->h.name.n + m->h.extras.n + m->h.user_id.n +
                   m->h.tags.n + receipts;
    e->messages_bytes += bytes - m->bytes;
    m->bytes = bytes;
}

static void message_is_dirty(struct message *m, uint64_t delivery)
{
    if (is_dirty(m))
        return;
    if (m->history < m->channel->collapse_at)
        m->channel->collapse_at = m->history;
    m->dirty_from = delivery;
    list_append(&m->channel->dirty, &m->dirty);
    m->channel->dirty_count++;
}

void message_is_clean(struct message *m)
{
    m->channel->dirty_count -= is_dirty(m);
    list_remove(&m->dirty);
}

void message_drop(struct engine *e, struct message *m)
{
    map_del(&m->channel->messages, history_key(&m->history));
    list_remove(&m->lru);
    e->messages_count--;
    e->messages_bytes -= m->bytes;
    message_is_clean(m);
    list_remove(&m->folding);
    receipts_free(&m->receipts);
    free((void *)m->h.name.p);
    free((void *)m->h.extras.p);
    free((void *)m->h.user_id.p);
    free((void *)m->h.tags.p);
    buf_free(&m->tail);
    free(m->rows);
    free(m);
}

static uint64_t data_bytes(struct str data)
{
    return is_json_string(data) ? json_text_size(data) : data.n;
}

static void apply_text(struct message *m, const struct row *row)
{
    if (row->action == ACTION_APPEND) {
        struct str body = string_body(row->data);
        if (body.n > 0)
            buf_str(&m->tail, body);
        m->h.bytes += json_text_size(row->data);
        m->h.is_string = m->h.has_data = m->tail_is_string = m->tail_has_data = true;
        return;
    }
    if (!row->replaces)
        return;
    buf_clear(&m->tail);
    m->tail_replaces = true;
    m->h.has_data = m->tail_has_data = row->data.p != NULL;
    m->h.is_string = m->tail_is_string = is_json_string(row->data);
    if (row->data.p != NULL)
        buf_str(&m->tail, m->h.is_string ? string_body(row->data) : row->data);
    m->h.bytes = row->data.p ? data_bytes(row->data) : 0;
}

void message_apply(struct message *m, uint64_t delivery, const struct row *row, uint64_t size)
{
    struct head *h = &m->h;
    if (row->action == ACTION_CREATE) {
        h->create = delivery;
        h->published_ms = row->published_ms;
        replace(&h->user_id, row->user_id.p ? row->user_id : row->client_id);
        replace(&h->tags, row->tags);
    } else {
        message_is_dirty(m, delivery);
    }
    if (row->action == ACTION_APPEND)
        h->appends++;
    if (h->name_at != row->name_at)
        replace(&h->name, row->event_name);
    if (h->extras_at != row->extras_at)
        replace(&h->extras, row->extras);
    h->name_at = row->name_at;
    h->extras_at = row->extras_at;
    h->last = delivery;
    h->at_ms = row->at_ms;
    h->status = row->status;
    h->action = row->action;
    h->size += size;
    apply_text(m, row);
    m->rows[m->rows_count++] = delivery;
}

static void own_head(struct message *m, const struct head *h)
{
    m->h = *h;
    m->h.name = own(h->name);
    m->h.extras = own(h->extras);
    m->h.user_id = own(h->user_id);
    m->h.tags = own(h->tags);
}

static struct message *load_head(struct engine *e, struct stored_channel *ch, uint64_t history)
{
    struct key key = key_of2('M', ch->record.cid, history);
    struct head h;
    buf_clear(&e->value);
    if (!kv_get(e->kv, key_str(&key), &e->value, &e->failed))
        return NULL;
    if (!head_read(buf_view(&e->value), &h) || h.last < h.create || h.last != h.previous_fold) {
        fault_met(e, FAULT_ROWS);
        return NULL;
    }
    struct message *m = message_add(e, ch, history);
    own_head(m, &h);
    message_weigh(e, m);
    return m;
}

/* A message without mutations has no head record: its create row says it all. */
static struct message *load_create(struct engine *e, struct stored_channel *ch, uint64_t history)
{
    struct key key = key_of2('H', ch->record.cid, history);
    struct place place;
    struct row row;
    buf_clear(&e->value);
    if (!kv_get(e->kv, key_str(&key), &e->value, &e->failed))
        return NULL;
    bool fine = place_read(buf_view(&e->value), &place);
    key = key_of2('L', ch->record.cid, place.create);
    buf_clear(&e->value);
    fine = fine && kv_get(e->kv, key_str(&key), &e->value, &e->failed) && row_read(buf_view(&e->value), &row) &&
           row.history == history && row.create == place.create;
    if (!fine && !e->failed)
        fault_met(e, FAULT_ROWS);
    if (!fine)
        return NULL;
    if (row.action != ACTION_CREATE)
        return NULL;
    struct message *m = message_add(e, ch, history);
    message_apply(m, place.create, &row, place.size);
    message_weigh(e, m);
    return m;
}

struct message *message_get(struct engine *e, struct stored_channel *ch, uint64_t history)
{
    struct message *m = map_get(&ch->messages, history_key(&history));
    if (m == NULL && history >= ch->floor.oldest_history && history <= ch->history && history != 0) {
        m = load_head(e, ch, history);
        if (m == NULL && !e->failed)
            m = load_create(e, ch, history);
    }
    if (m != NULL) {
        list_remove(&m->lru);
        list_append(&e->messages, &m->lru);
    }
    return m;
}

/* ---- channels ---- */

static struct stored_channel *channel_new(struct engine *e, struct str key)
{
    struct stored_channel *ch = mem_new(struct stored_channel);
    ch->key = own(key);
    ch->floor = (struct floor_record){.replay_floor = 1, .oldest_history = 1};
    ch->retain_at = 1;
    list_init(&ch->dirty);
    list_init(&ch->touched);
    list_append(&e->channels_lru, &ch->lru);
    map_put(&e->channels, ch->key, ch);
    return ch;
}

void channel_show(struct engine *e, struct stored_channel *ch)
{
    struct store_head h;
    head_output(ch, &h);
    atomic_fetch_add_explicit(&e->stats->retained_messages, h.retained_messages - ch->shown_messages, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->stats->retained_bytes, h.retained_bytes - ch->shown_bytes, memory_order_relaxed);
    ch->shown_messages = h.retained_messages;
    ch->shown_bytes = h.retained_bytes;
}

void channel_drop(struct engine *e, struct stored_channel *ch)
{
    size_t at = 0;
    for (struct message *m; (m = map_next(&ch->messages, &at)) != NULL;)
        message_drop(e, m);
    map_free(&ch->messages);
    atomic_fetch_sub_explicit(&e->stats->retained_messages, ch->shown_messages, memory_order_relaxed);
    atomic_fetch_sub_explicit(&e->stats->retained_bytes, ch->shown_bytes, memory_order_relaxed);
    map_del(&e->channels, ch->key);
    list_remove(&ch->lru);
    list_remove(&ch->touched);
    free((void *)ch->key.p);
    free(ch);
}

void channel_touch(struct engine *e, struct stored_channel *ch)
{
    if (list_empty(&ch->touched))
        list_append(&e->touched, &ch->touched);
}

static struct str record_key(struct engine *e, struct str app_id, struct str name)
{
    buf_clear(&e->scratch);
    buf_char(&e->scratch, 'C');
    buf_str(&e->scratch, app_id);
    buf_char(&e->scratch, '\0');
    buf_str(&e->scratch, name);
    return buf_view(&e->scratch);
}

struct str stored_key(struct engine *e, struct str app_id, struct str name)
{
    return str_from(record_key(e, app_id, name), 1);
}

static void set_stream8(struct stored_channel *ch)
{
    char hex[9] = {0};
    memcpy(hex, ch->record.stream_id, 8);
    ch->stream8 = (uint32_t)strtoul(hex, NULL, 16);
}

struct loading {
    struct engine *e;
    struct stored_channel *ch;
    uint64_t counted;          /* newest position in the counters as they were noted */
    uint64_t next;             /* what must come next: from the replay floor on there is no hole */
};

static void load_create_row(struct loading *l, uint64_t delivery, const struct row *row)
{
    if (row->create != delivery || (delivery > l->counted && row->history != l->ch->history + 1))
        fault_met(l->e, FAULT_LOAD);
    else if (delivery > l->counted)
        l->ch->history = row->history;
}

static void load_mutation_row(struct loading *l, uint64_t delivery, const struct row *row, uint64_t size)
{
    struct message *m = message_get(l->e, l->ch, row->history);
    if (m == NULL || delivery <= m->h.last)
        return;
    /* At FOLD_ROWS folding would have come first. */
    if (row->previous != m->h.last || row->create != m->h.create || m->rows_count == FOLD_ROWS)
        fault_met(l->e, FAULT_LOAD);
    else
        message_apply(m, delivery, row, size);
    message_weigh(l->e, m);
}

static void load_row(struct loading *l, uint64_t delivery, struct str value)
{
    struct row row;
    if (!row_read(value, &row) || (delivery >= l->ch->floor.replay_floor && delivery != l->next)) {
        fault_met(l->e, FAULT_LOAD);
        return;
    }
    if (delivery >= l->ch->floor.replay_floor)
        l->next = delivery + 1;
    if (delivery > l->counted) {
        l->ch->delivery = delivery;
        l->ch->bytes_ever += value.n;
    }
    if (row.action == ACTION_CREATE || row.action == ACTION_ORDINARY)
        load_create_row(l, delivery, &row);
    else
        load_mutation_row(l, delivery, &row, value.n);
}

static void load_rows(struct engine *e, struct stored_channel *ch)
{
    struct key from = key_of2('L', ch->record.cid, ch->record.checkpoint + 1), to = key_of('L', ch->record.cid + 1);
    struct kv_cursor *cursor = kv_scan(e->kv, key_str(&from), key_str(&to), false);
    struct loading l = {e, ch, ch->delivery, ch->record.checkpoint + 1};
    struct str key, value;
    if (l.next < ch->floor.replay_floor)
        l.next = ch->floor.replay_floor;
    while (!e->failed && kv_next(e->kv, cursor, &key, &value))
        load_row(&l, key_u64(key, 9), value);
    if (!kv_end(e->kv, cursor))
        e->failed = true;
    else if (!e->failed && (l.next <= ch->delivery || !promise_holds(e, ch)))
        fault_met(e, FAULT_LOST);
}

static uint32_t count_open(struct engine *e, uint64_t cid)
{
    struct key from = key_of('O', cid), to = key_of('O', cid + 1);
    struct kv_cursor *cursor = kv_scan(e->kv, key_str(&from), key_str(&to), false);
    struct str key, value;
    uint32_t n = 0;
    while (kv_next(e->kv, cursor, &key, &value))
        n++;
    if (!kv_end(e->kv, cursor))
        e->failed = true;
    return n;
}

bool load_place(struct engine *e, uint64_t cid, uint64_t history, struct place *place)
{
    struct key key = key_of2('H', cid, history);
    buf_clear(&e->value);
    return kv_get(e->kv, key_str(&key), &e->value, &e->failed) && place_read(buf_view(&e->value), place);
}

bool channel_record_get(struct engine *e, struct str app_id, struct str name, struct channel_record *record)
{
    buf_clear(&e->value);
    if (!kv_get(e->kv, record_key(e, app_id, name), &e->value, &e->failed))
        return false;
    if (channel_record_read(buf_view(&e->value), record))
        return true;
    fault_met(e, FAULT_LOAD);
    return false;
}

static struct stored_channel *channel_load(struct engine *e, struct str app_id, struct str name)
{
    struct channel_record record;
    if (!channel_record_get(e, app_id, name, &record))
        return NULL;
    struct stored_channel *ch = channel_new(e, str_from(record_key(e, app_id, name), 1));
    struct place oldest, newest;
    ch->record = record;
    ch->delivery = record.delivery;
    ch->history = record.history;
    ch->bytes_ever = record.bytes_ever;
    set_stream8(ch);
    struct key floor = key_of('F', record.cid);
    buf_clear(&e->value);
    if (kv_get(e->kv, key_str(&floor), &e->value, &e->failed) && !floor_read(buf_view(&e->value), &ch->floor))
        fault_met(e, FAULT_LOAD);
    if (ch->floor.delivery > record.delivery) {
        ch->delivery = ch->floor.delivery;
        ch->history = ch->floor.history;
        ch->bytes_ever = ch->floor.bytes_ever;
    }
    ch->retain_at = ch->floor.oldest_history;
    load_rows(e, ch);
    ch->open = count_open(e, record.cid);
    if (ch->floor.oldest_history <= ch->history && load_place(e, record.cid, ch->floor.oldest_history, &oldest))
        ch->oldest_ms = oldest.published_ms;
    if (ch->history > 0 && load_place(e, record.cid, ch->history, &newest))
        ch->newest_ms = newest.published_ms;
    ch->acknowledged = ch->delivery;
    ch->fault = health_of(e, ch->key);
    if (!e->failed) {
        channel_show(e, ch);
        return ch;
    }
    if (e->fault != FAULT_NONE)
        fault_met(e, FAULT_LOAD); /* of one message, but the counters hang on it */
    channel_drop(e, ch);
    return NULL;
}

struct stored_channel *channel_get(struct engine *e, struct str app_id, struct str name)
{
    struct str key = str_from(record_key(e, app_id, name), 1);
    struct stored_channel *ch = map_get(&e->channels, key);
    if (ch == NULL)
        return channel_load(e, app_id, name);
    list_remove(&ch->lru);
    list_append(&e->channels_lru, &ch->lru);
    return ch;
}

static uint64_t next_cid(struct engine *e)
{
    struct str key = STR("N");
    if (!e->cid_known) {
        buf_clear(&e->value);
        bool found = kv_get(e->kv, key, &e->value, &e->failed);
        e->next_cid = found ? key_u64(buf_view(&e->value), 0) : 1;
        e->cid_known = true;
    }
    uint64_t cid = e->next_cid++;
    struct key number = key_of('N', e->next_cid);
    kv_put(e->kv, key, str_from(key_str(&number), 1));
    return cid;
}

struct stored_channel *channel_make(struct engine *e, struct str app_id, struct str name)
{
    struct stored_channel *ch = channel_new(e, str_from(record_key(e, app_id, name), 1));
    ch->record.cid = next_cid(e);
    random_uuid(&e->random, ch->record.stream_id);
    set_stream8(ch);
    channel_touch(e, ch);
    put_channel_record(e, ch);
    return ch;
}

void head_output(const struct stored_channel *ch, struct store_head *out)
{
    *out = (struct store_head){.delivery = ch->delivery, .history = ch->history, .replay_floor = ch->floor.replay_floor,
                               .newest_ms = ch->newest_ms, .open_streams = ch->open};
    health_output(ch->fault, out);
    memcpy(out->stream_id, ch->record.stream_id, sizeof(out->stream_id));
    if (ch->history < ch->floor.oldest_history)
        return;
    out->oldest_history = ch->floor.oldest_history;
    out->oldest_ms = ch->oldest_ms;
    out->retained_messages = ch->history - ch->floor.messages_evicted;
    out->messages = (uint32_t)out->retained_messages;
    out->retained_bytes = ch->bytes_ever - ch->floor.bytes_evicted;
}
