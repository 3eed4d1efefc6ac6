/* query.c - cutting, decoding, sorting. Nothing is copied that needs no decoding.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app/query.h"

#include <stdlib.h>

#include "app/app.h"

/* ---- decoding ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that %XX at p means, or -1. */
static int percent_byte(const char *p, const char *end)
{
    if (*p != '%' || end - p < 3)
        return -1;
    int high = hex_digit(p[1]), low = hex_digit(p[2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static bool is_encoded(struct str raw)
{
    return raw.n && (memchr(raw.p, '%', raw.n) || memchr(raw.p, '+', raw.n));
}

char *query_decode(char *to, struct str raw)
{
    for (const char *p = raw.p, *end = p + raw.n; p < end; p++) {
        int byte = percent_byte(p, end);
        *to++ = byte >= 0 ? (char)byte : *p == '+' ? ' ' : *p;
        p += byte >= 0 ? 2 : 0;
    }
    return to;
}

static struct str decoded(struct str raw, struct arena *arena)
{
    if (!is_encoded(raw))
        return raw;
    char *copy = arena_alloc(arena, raw.n);
    return str_make(copy, (size_t)(query_decode(copy, raw) - copy));
}

struct str query_value(const struct query_pair *pair, struct arena *arena)
{
    return decoded(pair->value_raw, arena);
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static struct str lower(struct str key, struct arena *arena)
{
    size_t i = 0;
    while (i < key.n && !is_upper(key.p[i]))
        i++;
    if (i == key.n)
        return key;
    char *copy = arena_alloc(arena, key.n);
    for (i = 0; i < key.n; i++)
        copy[i] = is_upper(key.p[i]) ? (char)(key.p[i] | 32) : key.p[i];
    return str_make(copy, key.n);
}

/* ---- cutting ---- */

static struct query_pair *add_pair(struct query_pairs *q)
{
    if (q->count == QUERY_PAIRS_FEW) {
        q->pairs = arena_alloc(&q->arena, QUERY_PAIRS_MAX * sizeof *q->pairs);
        memcpy(q->pairs, q->few, sizeof q->few);
    }
    return &q->pairs[q->count++];
}

static const char *read_pair(struct query_pairs *q, struct str piece)
{
    if (q->count == QUERY_PAIRS_MAX)
        return "too many parameters";
    struct query_pair *pair = add_pair(q);
    struct str key = str_split(&piece, '=');
    pair->key = q->plain ? key : decoded(key, &q->arena);
    pair->sort_key = lower(pair->key, &q->arena);
    pair->value_raw = piece.p ? piece : STR("");
    pair->index = q->count - 1;
    return str_is_utf8(pair->key) ? NULL : "a parameter name is not UTF-8";
}

const char *query_read(struct query_pairs *q, struct str text)
{
    const char *wrong = NULL;
    q->pairs = q->few;
    q->count = 0;
    q->plain = !is_encoded(text);
    q->arena = (struct arena){0};
    while (!wrong && text.p) {
        struct str piece = str_split(&text, '&');
        if (piece.n)
            wrong = read_pair(q, piece);
    }
    return wrong;
}

void query_pairs_free(struct query_pairs *q)
{
    arena_free(&q->arena);
}

/* ---- finding and sorting ---- */

const struct query_pair *query_find(const struct query_pairs *q, struct str key)
{
    const struct query_pair *found = NULL;
    for (size_t i = 0; i < q->count; i++)
        if (str_eq(q->pairs[i].key, key) && (!found || q->pairs[i].index > found->index))
            found = &q->pairs[i];
    return found;
}

size_t query_times(const struct query_pairs *q, struct str key)
{
    size_t times = 0;
    for (size_t i = 0; i < q->count; i++)
        times += str_eq(q->pairs[i].key, key);
    return times;
}

static int compare(const void *a, const void *b)
{
    const struct query_pair *x = a, *y = b;
    int order = str_cmp(x->sort_key, y->sort_key);
    if (order == 0)
        order = str_cmp(x->key, y->key);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

void query_sort(struct query_pairs *q)
{
    for (size_t i = 1; i < q->count; i++)
        if (compare(&q->pairs[i - 1], &q->pairs[i]) > 0) {
            qsort(q->pairs, q->count, sizeof *q->pairs, compare);
            return;
        }
}

/* ---- for everybody: app.h ---- */

struct str query_get(struct str text, struct str key, struct arena *arena)
{
    struct query_pairs q;
    struct str value = STR_NONE;
    query_read(&q, text);
    const struct query_pair *pair = query_find(&q, key);
    if (pair)
        value = query_value(pair, arena);
    query_pairs_free(&q);
    return value.p && str_is_utf8(value) ? value : STR_NONE;
}

struct str path_decode(struct str segment, struct arena *arena)
{
    if (!segment.n || !memchr(segment.p, '%', segment.n))
        return segment.p && str_is_utf8(segment) ? segment : STR_NONE;
    char *copy = arena_alloc(arena, segment.n), *to = copy;
    for (const char *p = segment.p, *end = p + segment.n; p < end; p++) {
        int byte = *p == '%' ? percent_byte(p, end) : (unsigned char)*p;
        if (byte < 0)
            return STR_NONE;
        p += *p == '%' ? 2 : 0;
        *to++ = (char)byte;
    }
    struct str text = {copy, (size_t)(to - copy)};
    return str_is_utf8(text) ? text : STR_NONE;
}
