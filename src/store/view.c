/* view.c - a message read from the kv: its rows, and its text as of any version.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/engine_internal.h"
#include "base/mem.h"

bool get_row(struct kv *kv, uint64_t cid, uint64_t delivery, struct row *row, struct arena *arena)
{
    struct key key = key_of2('L', cid, delivery);
    struct buf value = {0};
    bool failed = false;
    bool found = kv_get(kv, key_str(&key), &value, &failed);
    struct str copy = found ? arena_copy(arena, buf_view(&value)) : STR_NONE;
    buf_free(&value);
    return found && row_read(copy, row);
}

static bool load_untouched(struct kv *kv, uint64_t cid, uint64_t history, struct view *v, bool *found)
{
    struct key key = key_of2('H', cid, history);
    struct buf value = {0};
    struct place place;
    bool failed = false;
    *found = kv_get(kv, key_str(&key), &value, &failed);
    bool ok = !failed && (!*found || place_read(buf_view(&value), &place));
    buf_free(&value);
    if (ok && *found)
        *v = (struct view){.cid = cid, .history = history, .create = place.create, .last = place.create};
    return ok;
}

bool view_load(struct kv *kv, uint64_t cid, uint64_t history, struct view *v, struct arena *arena, bool *found)
{
    struct key key = key_of2('M', cid, history);
    struct buf value = {0};
    struct head h;
    bool failed = false;
    *found = kv_get(kv, key_str(&key), &value, &failed);
    bool ok = !failed && (!*found || head_read(buf_view(&value), &h));
    buf_free(&value);
    if (ok && *found) {
        *v = (struct view){.cid = cid, .history = history, .create = h.create, .last = h.last, .segments = h.segments};
        return true;
    }
    if (!ok || !load_untouched(kv, cid, history, v, found))
        return false;
    if (*found) {
        uint64_t *create = arena_alloc(arena, sizeof(*create));
        *create = v->create;
        v->rows = create;
        v->rows_count = 1;
    }
    return true;
}

static bool get_segment(struct kv *kv, const struct view *v, uint32_t number, struct segment *s, struct arena *arena)
{
    struct key key = key_segment(v->cid, v->history, number);
    struct buf value = {0};
    bool failed = false;
    bool found = kv_get(kv, key_str(&key), &value, &failed);
    struct str copy = found ? arena_copy(arena, buf_view(&value)) : STR_NONE;
    buf_free(&value);
    return found && segment_read(copy, s);
}

struct rows_builder {
    struct arena *arena;
    uint64_t *at;
    size_t count, cap;
};

static void add_row(struct rows_builder *b, uint64_t delivery)
{
    if (b->count == b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 128;
        uint64_t *grown = arena_alloc(b->arena, cap * sizeof(*grown));
        if (b->count > 0)
            memcpy(grown, b->at, b->count * sizeof(*grown));
        b->at = grown;
        b->cap = cap;
    }
    b->at[b->count++] = delivery;
}

static bool add_segment_rows(struct rows_builder *b, const struct segment *s)
{
    struct str in = s->deliveries;
    uint64_t delivery = 0, step;
    for (uint32_t i = 0; i < s->rows; i++) {
        if (!take_varint(&in, &step))
            return false;
        delivery += step;
        add_row(b, delivery);
    }
    return true;
}

bool view_rows(struct kv *kv, const struct view *v, struct view_rows *out, struct arena *arena)
{
    struct rows_builder b = {.arena = arena};
    struct segment s;
    for (uint32_t i = 0; i < v->segments; i++)
        if (!get_segment(kv, v, i, &s, arena) || !add_segment_rows(&b, &s))
            return false;
    for (uint32_t i = 0; i < v->rows_count; i++)
        add_row(&b, v->rows[i]);
    *out = (struct view_rows){b.at, b.count};
    return true;
}

/* ---- text ---- */

struct text {
    struct buf body;
    bool is_string, has_data;
};

static void text_piece(struct text *t, bool replaces, bool is_string, struct str piece)
{
    if (replaces) {
        buf_clear(&t->body);
        t->has_data = false;
        t->is_string = is_string;
    }
    if (piece.p == NULL)
        return;
    t->has_data = true;
    t->is_string = is_string;
    buf_str(&t->body, piece);
}

static bool text_row(struct kv *kv, const struct view *v, uint64_t delivery, struct text *t, struct arena *arena)
{
    struct row row;
    if (!get_row(kv, v->cid, delivery, &row, arena))
        return false;
    bool is_string = is_json_string(row.data);
    struct str piece = is_string ? string_body(row.data) : row.data;
    if (row.action == ACTION_APPEND || row.replaces)
        text_piece(t, row.replaces, is_string, piece);
    return true;
}

static bool text_rows_until(struct kv *kv, const struct view *v, const uint64_t *rows, size_t count, uint64_t as_of,
                            struct text *t, struct arena *arena)
{
    for (size_t i = 0; i < count && rows[i] <= as_of; i++)
        if (!text_row(kv, v, rows[i], t, arena))
            return false;
    return true;
}

static bool text_segment(struct kv *kv, const struct view *v, uint32_t number, uint64_t as_of, struct text *t,
                         struct arena *arena, bool *more)
{
    struct segment s;
    struct rows_builder b = {.arena = arena};
    if (!get_segment(kv, v, number, &s, arena) || !add_segment_rows(&b, &s))
        return false;
    *more = b.count == 0 || b.at[b.count - 1] <= as_of;
    if (!*more)
        return text_rows_until(kv, v, b.at, b.count, as_of, t, arena);
    text_piece(t, s.replaces, s.is_string, s.text);
    return true;
}

static struct str text_json(const struct text *t, struct arena *arena)
{
    if (!t->has_data)
        return STR_NONE;
    if (!t->is_string)
        return arena_copy(arena, buf_view(&t->body));
    char *out = arena_alloc(arena, t->body.n + 2);
    out[0] = '"';
    if (t->body.n > 0)
        memcpy(out + 1, t->body.p, t->body.n);
    out[t->body.n + 1] = '"';
    return str_make(out, t->body.n + 2);
}

bool view_text(struct kv *kv, const struct view *v, uint64_t as_of, struct str *data, struct arena *arena)
{
    struct text t = {0};
    bool ok = true, more = true;
    for (uint32_t i = 0; ok && more && i < v->segments; i++)
        ok = text_segment(kv, v, i, as_of, &t, arena, &more);
    if (ok && more)
        ok = text_rows_until(kv, v, v->rows, v->rows_count, as_of, &t, arena);
    *data = ok ? text_json(&t, arena) : STR_NONE;
    buf_free(&t.body);
    return ok;
}
