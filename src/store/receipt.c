/* receipt.c - who has said this before? (chapter 3, 1.9)
 *
 * A mutation's receipt lives in its row; here is only where to look: 8 bytes per op_id of a message in memory, a tag of the key
 * and the distance of the row from the create. A tag that matches is verified against the row itself, or against the pending
 * batch. A create's receipt is a record of its own that expires.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/engine_internal.h"
#include "base/mem.h"
#include <stdlib.h>

static uint32_t tag_of(struct hash128 key)
{
    uint32_t tag = (uint32_t)key.lo;
    return tag ? tag : 1;
}

void receipts_free(struct receipts *r)
{
    free(r->tags);
    free(r->offsets);
}

static void insert(struct receipts *r, uint32_t tag, uint32_t offset)
{
    uint32_t at = tag & r->mask;
    while (r->tags[at] != 0)
        at = (at + 1) & r->mask;
    r->tags[at] = tag;
    r->offsets[at] = offset;
}

static void grow(struct receipts *r)
{
    struct receipts old = *r;
    uint32_t slots = old.tags ? (old.mask + 1) * 2 : 16;
    r->mask = slots - 1;
    r->tags = mem_zalloc(slots * sizeof(*r->tags));
    r->offsets = mem_alloc(slots * sizeof(*r->offsets));
    for (uint32_t i = 0; old.tags != NULL && i <= old.mask; i++)
        if (old.tags[i] != 0)
            insert(r, old.tags[i], old.offsets[i]);
    receipts_free(&old);
}

void receipts_add(struct receipts *r, struct hash128 key, uint64_t offset)
{
    if (r->tags == NULL || r->count * 4 >= (r->mask + 1) * 3)
        grow(r);
    insert(r, tag_of(key), (uint32_t)offset);
    r->count++;
}

void pending_add(struct engine *e, struct pending_receipt p)
{
    if (e->pending_count == e->pending_cap) {
        e->pending_cap = e->pending_cap ? e->pending_cap * 2 : 256;
        e->pending = mem_realloc(e->pending, e->pending_cap * sizeof(*e->pending));
    }
    e->pending[e->pending_count++] = p;
}

/* The row as the kv has it; absent receipt if it is not there (yet). */
static void row_receipt(struct engine *e, uint64_t cid, uint64_t delivery, struct hash128 *key, struct hash128 *fingerprint)
{
    struct key k = key_of2('L', cid, delivery);
    struct row row;
    *key = (struct hash128){0, 0};
    buf_clear(&e->value);
    if (!kv_get(e->kv, key_str(&k), &e->value, &e->failed) || !row_read(buf_view(&e->value), &row))
        return;
    *key = row.receipt;
    *fingerprint = row.fingerprint;
}

/* ---- of rows that are gone ---- */

static bool get_dropped(struct engine *e, uint64_t cid, uint64_t history, struct buf *value, struct dropped_receipts *d)
{
    struct key key = key_of2('Q', cid, history);
    *d = (struct dropped_receipts){0};
    if (!kv_get(e->kv, key_str(&key), value, &e->failed))
        return false;
    if (!dropped_receipts_read(buf_view(value), d))
        fault_met(e, FAULT_ROWS);
    return !e->failed;
}

static void add_dropped(struct buf *entries, const struct row *row, uint64_t delivery)
{
    uint64_t numbers[] = {row->receipt.hi, row->receipt.lo, row->fingerprint.hi, row->fingerprint.lo, delivery};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uint64_t big = __builtin_bswap64(numbers[i]);
        buf_put(entries, &big, sizeof(big));
    }
}

/* Newest first, until they are too old. Returns when the newest was written. */
static int64_t gather_dropped(struct engine *e, const struct view *v, const struct view_rows *rows, int64_t now_ms,
                              struct buf *entries)
{
    int64_t newest_ms = 0;
    for (size_t i = rows->count; i-- > 0 && rows->at[i] != v->create;) {
        struct arena arena = {0};
        struct source src = {.kv = e->kv, .arena = &arena};
        struct row row;
        bool young = view_row(&src, v, rows->at[i], &row) && row.at_ms > now_ms - DROPPED_RECEIPT_MS;
        if (young && row.at_ms > newest_ms)
            newest_ms = row.at_ms;
        if (young && !hash128_is_zero(row.receipt))
            add_dropped(entries, &row, rows->at[i]);
        arena_free(&arena);
        if (!young)
            break;
    }
    return newest_ms;
}

void receipts_drop(struct engine *e, const struct view *v, const struct view_rows *rows, int64_t now_ms)
{
    struct buf before = {0}, entries = {0};
    struct dropped_receipts d;
    int64_t newest_ms = gather_dropped(e, v, rows, now_ms, &entries);
    if (entries.n > 0) {
        if (get_dropped(e, v->cid, v->history, &before, &d) && d.expires_ms > now_ms)
            buf_str(&entries, d.entries);
        d = (struct dropped_receipts){newest_ms + DROPPED_RECEIPT_MS, entries.n / DROPPED_RECEIPT_SIZE, buf_view(&entries)};
        struct key key = key_of2('Q', v->cid, v->history);
        buf_clear(&e->scratch);
        dropped_receipts_put(&e->scratch, &d);
        kv_put(e->kv, key_str(&key), buf_view(&e->scratch));
    }
    buf_free(&before);
    buf_free(&entries);
}

bool dropped_receipt_find(struct engine *e, uint64_t cid, uint64_t history, struct hash128 key, uint64_t *delivery,
                          struct hash128 *fingerprint)
{
    struct buf value = {0};
    struct dropped_receipts d;
    bool found = false;
    if (get_dropped(e, cid, history, &value, &d))
        for (uint64_t i = 0; !found && i < d.count; i++) {
            size_t at = (size_t)i * DROPPED_RECEIPT_SIZE;
            found = key_u64(d.entries, at) == key.hi && key_u64(d.entries, at + 8) == key.lo;
            *fingerprint = (struct hash128){key_u64(d.entries, at + 16), key_u64(d.entries, at + 24)};
            *delivery = key_u64(d.entries, at + 32);
        }
    buf_free(&value);
    return found;
}

static void learn_dropped(struct engine *e, struct message *m)
{
    struct buf value = {0};
    struct dropped_receipts d;
    if (get_dropped(e, m->channel->record.cid, m->history, &value, &d))
        for (uint64_t i = 0; i < d.count; i++) {
            size_t at = (size_t)i * DROPPED_RECEIPT_SIZE;
            struct hash128 key = {key_u64(d.entries, at), key_u64(d.entries, at + 8)};
            receipts_add(&m->receipts, key, key_u64(d.entries, at + 32) - m->h.create);
        }
    buf_free(&value);
}

static void learn(struct engine *e, struct message *m)
{
    struct arena arena = {0};
    struct source src = {.kv = e->kv, .arena = &arena};
    struct view v = {m->channel->record.cid, m->history, m->h.create, m->h.last, m->h.segments, m->rows, m->rows_count,
                     m->h.base};
    struct view_rows rows;
    m->receipts.known = true;
    if (!view_rows(&src, &v, &rows)) {
        e->failed = true;
        m->receipts.known = false;
        rows.count = 0;
    }
    for (size_t i = 0; i < rows.count; i++) {
        struct hash128 key, fingerprint;
        row_receipt(e, v.cid, rows.at[i], &key, &fingerprint);
        if (!hash128_is_zero(key) && rows.at[i] != m->h.create)
            receipts_add(&m->receipts, key, rows.at[i] - m->h.create);
    }
    if (m->h.base != 0)
        learn_dropped(e, m);
    message_weigh(e, m);
    arena_free(&arena);
}

static const struct pending_receipt *find_pending(const struct engine *e, uint64_t cid, uint64_t delivery)
{
    for (size_t i = e->pending_count; i-- > 0;)
        if (e->pending[i].cid == cid && e->pending[i].delivery == delivery)
            return &e->pending[i];
    return NULL;
}

bool receipts_find(struct engine *e, struct message *m, struct hash128 key, uint64_t *delivery, struct hash128 *fingerprint)
{
    struct receipts *r = &m->receipts;
    if (!r->known)
        learn(e, m);
    if (r->tags == NULL)
        return false;
    uint32_t tag = tag_of(key);
    for (uint32_t at = tag & r->mask; r->tags[at] != 0; at = (at + 1) & r->mask) {
        struct hash128 found;
        if (r->tags[at] != tag)
            continue;
        *delivery = m->h.create + r->offsets[at];
        const struct pending_receipt *p = find_pending(e, m->channel->record.cid, *delivery);
        if (p != NULL) {
            found = p->key;
            *fingerprint = p->fingerprint;
        } else {
            row_receipt(e, m->channel->record.cid, *delivery, &found, fingerprint);
        }
        if (hash128_eq(found, key))
            return true;
        if (m->h.base != 0 && *delivery < m->h.last &&
            dropped_receipt_find(e, m->channel->record.cid, m->history, key, delivery, fingerprint))
            return true;
    }
    return false;
}

bool create_receipt_find(struct engine *e, struct stored_channel *ch, struct hash128 key, int64_t now_ms, struct receipt *out)
{
    for (size_t i = e->pending_count; i-- > 0;) {
        const struct pending_receipt *p = &e->pending[i];
        if (!p->mutation && p->cid == ch->record.cid && hash128_eq(p->key, key)) {
            *out = (struct receipt){p->fingerprint, p->delivery, p->history, INT64_MAX};
            return true;
        }
    }
    struct key k = key_receipt(ch->record.cid, key);
    buf_clear(&e->value);
    return kv_get(e->kv, key_str(&k), &e->value, &e->failed) && receipt_read(buf_view(&e->value), out) &&
           out->expires_ms > now_ms;
}
