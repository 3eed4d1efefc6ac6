/* view.c - a message read from the kv: its rows, and its text as of any version.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/engine_internal.h"
#include "base/mem.h"
#include "base/pack.h"

static bool get_copy(struct source *src, struct key key, struct str *copy)
{
    struct buf value = {0};
    bool found = kv_get(src->kv, key_str(&key), &value, &src->failed);
    if (found)
        *copy = arena_copy(src->arena, buf_view(&value));
    buf_free(&value);
    return found;
}

bool get_row(struct source *src, uint64_t cid, uint64_t delivery, struct row *row)
{
    struct str value;
    return get_copy(src, key_of2('L', cid, delivery), &value) && row_read(value, row);
}

bool view_row(struct source *src, const struct view *v, uint64_t delivery, struct row *row)
{
    return get_row(src, v->cid, delivery, row) && row->create == v->create && row->history == v->history &&
           row->previous < delivery;
}

static bool load_untouched(struct source *src, uint64_t cid, uint64_t history, struct view *v, bool *found)
{
    struct str value;
    struct place place;
    *found = get_copy(src, key_of2('H', cid, history), &value);
    if (!*found)
        return !src->failed;
    if (!place_read(value, &place))
        return false;
    uint64_t *create = arena_alloc(src->arena, sizeof(*create));
    *create = place.create;
    *v = (struct view){cid, history, place.create, place.create, 0, create, 1, 0};
    return true;
}

bool view_load(struct source *src, uint64_t cid, uint64_t history, struct view *v, bool *found)
{
    struct str value;
    struct head h;
    *found = get_copy(src, key_of2('M', cid, history), &value);
    if (!*found)
        return !src->failed && load_untouched(src, cid, history, v, found);
    if (!head_read(value, &h) || h.last != h.previous_fold)
        return false;
    *v = (struct view){.cid = cid, .history = history, .create = h.create, .last = h.last, .segments = h.segments,
                       .base = h.base};
    return true;
}

static bool get_segment(struct source *src, const struct view *v, uint32_t number, struct segment *s)
{
    struct str value;
    return get_copy(src, key_segment(v->cid, v->history, number), &value) && segment_read(value, s);
}

struct rows_builder {
    struct arena *arena;
    uint64_t *at;
    size_t count, cap;
};

/* False unless it is newer than the one before. */
static bool add_row(struct rows_builder *b, uint64_t delivery)
{
    if (b->count > 0 && delivery <= b->at[b->count - 1])
        return false;
    if (b->count == b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 128;
        uint64_t *grown = arena_alloc(b->arena, cap * sizeof(*grown));
        if (b->count > 0)
            memcpy(grown, b->at, b->count * sizeof(*grown));
        b->at = grown;
        b->cap = cap;
    }
    b->at[b->count++] = delivery;
    return true;
}

static bool add_segment_rows(struct rows_builder *b, const struct segment *s)
{
    struct str in = s->deliveries;
    uint64_t delivery = 0, step;
    for (uint32_t i = 0; i < s->rows; i++) {
        if (!unpack_u64(&in, &step))
            return false;
        delivery += step;
        if (!add_row(b, delivery))
            return false;
    }
    return true;
}

bool view_rows(struct source *src, const struct view *v, struct view_rows *out)
{
    struct rows_builder b = {.arena = src->arena};
    struct segment s;
    for (uint32_t i = 0; i < v->segments; i++)
        if (!get_segment(src, v, i, &s) || !add_segment_rows(&b, &s))
            return false;
    for (uint32_t i = 0; i < v->rows_count; i++)
        if (!add_row(&b, v->rows[i]))
            return false;
    *out = (struct view_rows){b.at, b.count};
    return b.count > 0 && b.at[0] == (v->base ? v->base : v->create) && b.at[b.count - 1] == v->last;
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

static bool text_row(struct source *src, const struct view *v, uint64_t delivery, struct text *t)
{
    struct row row;
    if (!view_row(src, v, delivery, &row))
        return false;
    bool is_string = is_json_string(row.data);
    struct str piece = is_string ? string_body(row.data) : row.data;
    if (row.action == ACTION_APPEND || row.replaces)
        text_piece(t, row.replaces, is_string, piece);
    return true;
}

static bool text_rows_until(struct source *src, const struct view *v, const uint64_t *rows, size_t count, uint64_t as_of,
                            struct text *t)
{
    for (size_t i = 0; i < count && rows[i] <= as_of; i++)
        if (!text_row(src, v, rows[i], t))
            return false;
    return true;
}

static bool text_segment(struct source *src, const struct view *v, uint32_t number, uint64_t as_of, struct text *t,
                         bool *more)
{
    struct segment s;
    struct rows_builder b = {.arena = src->arena};
    if (!get_segment(src, v, number, &s) || !add_segment_rows(&b, &s))
        return false;
    *more = b.count == 0 || b.at[b.count - 1] <= as_of;
    if (!*more)
        return text_rows_until(src, v, b.at, b.count, as_of, t);
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

bool view_text(struct source *src, const struct view *v, uint64_t as_of, struct str *data)
{
    struct text t = {0};
    bool ok = true, more = true;
    for (uint32_t i = 0; ok && more && i < v->segments; i++)
        ok = text_segment(src, v, i, as_of, &t, &more);
    if (ok && more)
        ok = text_rows_until(src, v, v->rows, v->rows_count, as_of, &t);
    *data = ok ? text_json(&t, src->arena) : STR_NONE;
    buf_free(&t.body);
    return ok;
}
