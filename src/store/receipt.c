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

static void learn(struct engine *e, struct message *m)
{
    struct arena arena = {0};
    struct source src = {.kv = e->kv, .arena = &arena};
    struct view v = {m->channel->record.cid, m->history, m->h.create, m->h.last, m->h.segments, m->rows, m->rows_count};
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
