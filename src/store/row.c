/* row.c - writes and reads the values of row.h; every read is bounded and fails on damage.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/pack.h"
#include "store/row.h"

/* ---- keys ---- */

static void put_be64(char *out, uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        out[i] = (char)value;
}

struct key key_of(char kind, uint64_t cid)
{
    struct key k = {.n = 9};
    k.bytes[0] = kind;
    put_be64(k.bytes + 1, cid);
    return k;
}

struct key key_of2(char kind, uint64_t cid, uint64_t number)
{
    struct key k = key_of(kind, cid);
    put_be64(k.bytes + 9, number);
    k.n = 17;
    return k;
}

struct key key_segment(uint64_t cid, uint64_t history, uint32_t segment)
{
    struct key k = key_of2('S', cid, history);
    for (int i = 3; i >= 0; i--, segment >>= 8)
        k.bytes[17 + i] = (char)segment;
    k.n = 21;
    return k;
}

struct key key_receipt(uint64_t cid, struct hash128 receipt)
{
    struct key k = key_of2('R', cid, receipt.hi);
    put_be64(k.bytes + 17, receipt.lo);
    k.n = 25;
    return k;
}

uint64_t key_u64(struct str key, size_t at)
{
    uint64_t value = 0;
    for (size_t i = 0; i < 8 && at + i < key.n; i++)
        value = value << 8 | (unsigned char)key.p[at + i];
    return value;
}

/* ---- primitives ---- */

static void put_hash(struct buf *out, struct hash128 h)
{
    put_be64(buf_reserve(out, 8), h.hi);
    out->n += 8;
    put_be64(buf_reserve(out, 8), h.lo);
    out->n += 8;
}

static bool take_hash(struct str *in, struct hash128 *h)
{
    if (in->n < 16)
        return false;
    h->hi = key_u64(*in, 0);
    h->lo = key_u64(*in, 8);
    *in = str_from(*in, 16);
    return true;
}

static bool take_i64(struct str *in, int64_t *value)
{
    return unpack_u64(in, (uint64_t *)value);
}

static bool take_format(struct str *in)
{
    uint64_t format;
    return unpack_u64(in, &format) && format == ROW_FORMAT;
}

/* ---- rows ---- */

enum { ROW_REPLACES = 1, ROW_RECEIPT = 2, ROW_MORE = 4 }; /* MORE: the seldom fields follow */

void row_put(struct buf *out, const struct row *r)
{
    bool receipt = !hash128_is_zero(r->receipt);
    bool more = r->event_name.p || r->message_id.p || r->client_id.p || r->user_id.p || r->description.p || r->metadata.p ||
                r->tags.p;
    pack_u64(out, ROW_FORMAT);
    pack_u64(out, (uint64_t)r->action | (uint64_t)r->status << 3);
    pack_u64(out, (r->replaces ? ROW_REPLACES : 0) | (receipt ? ROW_RECEIPT : 0) | (more ? ROW_MORE : 0));
    pack_u64(out, r->history);
    pack_u64(out, r->create);
    pack_u64(out, r->previous);
    pack_u64(out, r->name_at);
    pack_u64(out, r->extras_at);
    pack_u64(out, (uint64_t)r->published_ms);
    pack_u64(out, (uint64_t)r->at_ms);
    if (receipt) {
        put_hash(out, r->receipt);
        put_hash(out, r->fingerprint);
    }
    pack_text(out, r->data);
    pack_text(out, r->extras);
    if (!more)
        return;
    const struct str *texts[] = {&r->event_name, &r->message_id, &r->client_id, &r->user_id, &r->description, &r->metadata,
                                 &r->tags};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        pack_text(out, *texts[i]);
}

static bool take_more(struct str *in, struct row *r)
{
    struct str *texts[] = {&r->event_name, &r->message_id, &r->client_id, &r->user_id, &r->description, &r->metadata, &r->tags};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (!unpack_text(in, texts[i]))
            return false;
    return true;
}

bool row_read(struct str in, struct row *r)
{
    uint64_t kind, flags;
    *r = (struct row){0};
    if (!take_format(&in) || !unpack_u64(&in, &kind) || !unpack_u64(&in, &flags))
        return false;
    r->action = (enum store_action)(kind & 7);
    r->status = (enum stream_status)(kind >> 3 & 3);
    r->replaces = flags & ROW_REPLACES;
    if (!unpack_u64(&in, &r->history) || !unpack_u64(&in, &r->create) || !unpack_u64(&in, &r->previous) ||
        !unpack_u64(&in, &r->name_at) || !unpack_u64(&in, &r->extras_at) || !take_i64(&in, &r->published_ms) ||
        !take_i64(&in, &r->at_ms))
        return false;
    if ((flags & ROW_RECEIPT) && (!take_hash(&in, &r->receipt) || !take_hash(&in, &r->fingerprint)))
        return false;
    if (!unpack_text(&in, &r->data) || !unpack_text(&in, &r->extras))
        return false;
    return !(flags & ROW_MORE) || take_more(&in, r);
}

/* ---- records ---- */

static void put_numbers(struct buf *out, const uint64_t *numbers, size_t count)
{
    pack_u64(out, ROW_FORMAT);
    for (size_t i = 0; i < count; i++)
        pack_u64(out, numbers[i]);
}

static bool take_numbers(struct str *in, uint64_t *numbers, size_t count)
{
    if (!take_format(in))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!unpack_u64(in, &numbers[i]))
            return false;
    return true;
}

void channel_record_put(struct buf *out, const struct channel_record *r)
{
    put_numbers(out, (uint64_t[]){r->cid, r->checkpoint, r->delivery, r->history, r->bytes_ever, r->window_ms,
                                  r->versions_window_ms}, 7);
    pack_text(out, str_of(r->stream_id));
}

bool channel_record_read(struct str in, struct channel_record *r)
{
    uint64_t n[7];
    struct str stream_id;
    *r = (struct channel_record){0};
    if (!take_numbers(&in, n, 7) || !unpack_text(&in, &stream_id) || stream_id.n != STREAM_ID_SIZE)
        return false;
    *r = (struct channel_record){.cid = n[0], .checkpoint = n[1], .delivery = n[2], .history = n[3], .bytes_ever = n[4],
                                  .window_ms = n[5], .versions_window_ms = n[6]};
    memcpy(r->stream_id, stream_id.p, STREAM_ID_SIZE);
    return true;
}

void floor_put(struct buf *out, const struct floor_record *r)
{
    put_numbers(out, (uint64_t[]){r->replay_floor, r->oldest_history, r->bytes_evicted, r->messages_evicted, r->delivery, r->history,
                                  r->bytes_ever}, 7);
}

bool floor_read(struct str in, struct floor_record *r)
{
    uint64_t n[7];
    if (!take_numbers(&in, n, 7))
        return false;
    *r = (struct floor_record){n[0], n[1], n[2], n[3], n[4], n[5], n[6]};
    return true;
}

void place_put(struct buf *out, const struct place *p)
{
    put_numbers(out, (uint64_t[]){p->create, p->size, (uint64_t)p->published_ms}, 3);
}

bool place_read(struct str in, struct place *p)
{
    uint64_t n[3];
    if (!take_numbers(&in, n, 3))
        return false;
    *p = (struct place){n[0], n[1], (int64_t)n[2]};
    return true;
}

void head_put(struct buf *out, const struct head *h)
{
    uint64_t flags = (h->is_string ? 1u : 0) | (h->has_data ? 2u : 0) | (uint64_t)h->status << 2 | (uint64_t)h->action << 4;
    put_numbers(out, (uint64_t[]){h->create, h->last, h->previous_fold, h->name_at, h->extras_at, h->bytes, h->size, h->appends,
                                  h->segments, (uint64_t)h->published_ms, (uint64_t)h->at_ms, flags, h->base}, 13);
    pack_text(out, h->name);
    pack_text(out, h->extras);
    pack_text(out, h->user_id);
    pack_text(out, h->tags);
}

bool head_read(struct str in, struct head *h)
{
    uint64_t n[13];
    *h = (struct head){0};
    if (!take_numbers(&in, n, 13))
        return false;
    *h = (struct head){.create = n[0], .last = n[1], .previous_fold = n[2], .name_at = n[3], .extras_at = n[4], .bytes = n[5],
                       .size = n[6], .appends = (uint32_t)n[7], .segments = (uint32_t)n[8], .published_ms = (int64_t)n[9],
                       .at_ms = (int64_t)n[10], .is_string = n[11] & 1, .has_data = n[11] & 2,
                       .status = (enum stream_status)(n[11] >> 2 & 3), .action = (enum store_action)(n[11] >> 4 & 7), .base = n[12]};
    return unpack_text(&in, &h->name) && unpack_text(&in, &h->extras) && unpack_text(&in, &h->user_id) && unpack_text(&in, &h->tags);
}

void segment_put(struct buf *out, const struct segment *s)
{
    put_numbers(out, (uint64_t[]){(s->replaces ? 1u : 0) | (s->is_string ? 2u : 0), s->rows}, 2);
    pack_text(out, s->deliveries);
    pack_text(out, s->text);
}

bool segment_read(struct str in, struct segment *s)
{
    uint64_t n[2];
    *s = (struct segment){0};
    if (!take_numbers(&in, n, 2))
        return false;
    s->replaces = n[0] & 1;
    s->is_string = n[0] & 2;
    s->rows = (uint32_t)n[1];
    return unpack_text(&in, &s->deliveries) && unpack_text(&in, &s->text);
}

void receipt_put(struct buf *out, const struct receipt *r)
{
    put_numbers(out, (uint64_t[]){r->delivery, r->history, (uint64_t)r->expires_ms}, 3);
    put_hash(out, r->fingerprint);
}

bool receipt_read(struct str in, struct receipt *r)
{
    uint64_t n[3];
    *r = (struct receipt){0};
    if (!take_numbers(&in, n, 3))
        return false;
    *r = (struct receipt){.delivery = n[0], .history = n[1], .expires_ms = (int64_t)n[2]};
    return take_hash(&in, &r->fingerprint);
}

void dropped_receipts_put(struct buf *out, const struct dropped_receipts *d)
{
    put_numbers(out, (uint64_t[]){(uint64_t)d->expires_ms, d->count}, 2);
    buf_str(out, d->entries);
}

bool dropped_receipts_read(struct str in, struct dropped_receipts *d)
{
    uint64_t n[2];
    *d = (struct dropped_receipts){0};
    if (!take_numbers(&in, n, 2) || n[1] > in.n / DROPPED_RECEIPT_SIZE || in.n != n[1] * DROPPED_RECEIPT_SIZE)
        return false;
    *d = (struct dropped_receipts){(int64_t)n[0], n[1], in};
    return true;
}
