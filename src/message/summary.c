/* summary.c - folding annotation events into what people see (chapter 3, 7.1).
 *
 *      summary -> buckets, one per name (flag: one without a name) -> clients, each with a sum
 *
 * Set-based: a delete clears its client (of that name; `unique`: of whatever name it holds), however often the client had
 * created.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "message/annotation.h"

#include <stdlib.h>

#include "base/mem.h"

struct client {
    struct str id; /* text[] */
    uint64_t sum;
    char text[];
};
struct bucket {
    struct str name; /* text[] */
    struct map clients;
    uint64_t unidentified;
    char text[];
};
struct summary {
    enum summarizer kind;
    uint64_t total;
    struct map buckets;
};

struct summary *summary_new(enum summarizer kind)
{
    struct summary *s = mem_new(struct summary);
    s->kind = kind;
    return s;
}

static void bucket_free(struct bucket *b)
{
    size_t at = 0;
    for (struct client *c; (c = map_next(&b->clients, &at)) != NULL;)
        free(c);
    map_free(&b->clients);
    free(b);
}

void summary_free(struct summary *s)
{
    size_t at = 0;
    if (s == NULL)
        return;
    for (struct bucket *b; (b = map_next(&s->buckets, &at)) != NULL;)
        bucket_free(b);
    map_free(&s->buckets);
    free(s);
}

static struct bucket *bucket_of(struct summary *s, struct str name)
{
    struct bucket *b = map_get(&s->buckets, name);
    if (b != NULL)
        return b;
    b = mem_zalloc(sizeof *b + name.n);
    if (name.n > 0)
        memcpy(b->text, name.p, name.n);
    b->name = str_make(b->text, name.n);
    map_put(&s->buckets, b->name, b);
    return b;
}

static void client_add(struct bucket *b, struct str id, uint64_t n)
{
    struct client *c = map_get(&b->clients, id);
    if (c == NULL) {
        c = mem_zalloc(sizeof *c + id.n);
        memcpy(c->text, id.p, id.n);
        c->id = str_make(c->text, id.n);
        map_put(&b->clients, c->id, c);
    }
    c->sum += n;
}

/* `multiple` keeps a bucket that nobody is left in. */
static void client_clear(struct summary *s, struct bucket *b, struct str id)
{
    if (b == NULL)
        return;
    free(map_del(&b->clients, id));
    if (b->clients.count == 0 && s->kind != SUMMARIZE_MULTIPLE) {
        map_del(&s->buckets, b->name);
        bucket_free(b);
    }
}

static void clear_everywhere(struct summary *s, struct str id)
{
    size_t at = 0;
    for (struct bucket *b; (b = map_next(&s->buckets, &at)) != NULL;)
        if (map_get(&b->clients, id) != NULL)
            client_clear(s, b, id);
}

static void create(struct summary *s, const struct annotation *event)
{
    s->total++;
    if (s->kind == SUMMARIZE_TOTAL)
        return;
    if (s->kind == SUMMARIZE_UNIQUE)
        clear_everywhere(s, event->client_id);
    uint64_t n = s->kind == SUMMARIZE_MULTIPLE && event->count != 0 ? event->count : 1;
    struct bucket *b = bucket_of(s, s->kind == SUMMARIZE_FLAG ? STR("") : event->name);
    if (event->client_id.n == 0)
        b->unidentified += n;
    else
        client_add(b, event->client_id, n);
}

static void undo(struct summary *s, const struct annotation *event)
{
    s->total -= s->total > 0;
    if (event->client_id.n == 0 || s->kind == SUMMARIZE_TOTAL)
        return;
    if (s->kind == SUMMARIZE_UNIQUE)
        clear_everywhere(s, event->client_id);
    else
        client_clear(s, map_get(&s->buckets, s->kind == SUMMARIZE_FLAG ? STR("") : event->name), event->client_id);
}

void summary_add(struct summary *s, const struct annotation *event)
{
    if (event->deletes)
        undo(s, event);
    else
        create(s, event);
}

/* ---- as JSON ---- */

static int by_key(const void *x, const void *y)
{
    return str_cmp(**(struct str *const *)x, **(struct str *const *)y);
}

/* The keys of a map, by their bytes; offset: of the key within the value. */
static struct str **sorted_keys(const struct map *m, size_t offset)
{
    struct str **keys = mem_alloc((m->count + 1) * sizeof *keys);
    size_t at = 0, n = 0;
    for (char *value; (value = map_next(m, &at)) != NULL;)
        keys[n++] = (struct str *)(void *)(value + offset);
    qsort(keys, n, sizeof *keys, by_key);
    return keys;
}

static void put_clients(struct buf *out, const struct summary *s, const struct bucket *b, size_t max)
{
    bool counts = s->kind == SUMMARIZE_MULTIPLE;
    struct str **ids = sorted_keys(&b->clients, offsetof(struct client, id));
    buf_str(out, counts ? STR("\"clientCounts\":{") : STR("\"clientIds\":["));
    for (size_t i = 0; i < b->clients.count && i < max; i++) {
        if (i > 0)
            buf_char(out, ',');
        buf_json(out, *ids[i]);
        if (counts) {
            buf_char(out, ':');
            buf_u64(out, ((struct client *)map_get(&b->clients, *ids[i]))->sum);
        }
    }
    buf_char(out, counts ? '}' : ']');
    free(ids);
}

static uint64_t sum_of(const struct bucket *b)
{
    uint64_t sum = b->unidentified;
    size_t at = 0;
    for (struct client *c; (c = map_next(&b->clients, &at)) != NULL;)
        sum += c->sum;
    return sum;
}

static void put_bucket(struct buf *out, const struct summary *s, const struct bucket *b, size_t max, bool *clipped)
{
    bool clips = b->clients.count > max, multiple = s->kind == SUMMARIZE_MULTIPLE;
    *clipped |= clips;
    buf_lit(out, "{\"total\":");
    buf_u64(out, multiple ? sum_of(b) : b->clients.count);
    buf_char(out, ',');
    put_clients(out, s, b, max);
    if (multiple)
        buf_fmt(out, ",\"totalUnidentified\":%llu", (unsigned long long)b->unidentified);
    buf_fmt(out, ",\"clipped\":%s", clips ? "true" : "false");
    if (multiple)
        buf_fmt(out, ",\"totalClientIds\":%zu", b->clients.count);
    buf_char(out, '}');
}

static void put_names(struct buf *out, const struct summary *s, size_t max, bool *clipped)
{
    struct str **names = sorted_keys(&s->buckets, offsetof(struct bucket, name));
    buf_char(out, '{');
    for (size_t i = 0; i < s->buckets.count; i++) {
        if (i > 0)
            buf_char(out, ',');
        buf_json(out, *names[i]);
        buf_char(out, ':');
        put_bucket(out, s, map_get(&s->buckets, *names[i]), max, clipped);
    }
    buf_char(out, '}');
    free(names);
}

void summary_json(struct buf *out, const struct summary *s, size_t clients_max, bool *clipped)
{
    static const struct bucket nobody = {0};
    *clipped = false;
    if (s->kind == SUMMARIZE_TOTAL) {
        buf_fmt(out, "{\"total\":%llu}", (unsigned long long)s->total);
    } else if (s->kind == SUMMARIZE_FLAG) {
        const struct bucket *b = map_get(&s->buckets, STR(""));
        put_bucket(out, s, b != NULL ? b : &nobody, clients_max, clipped);
    } else {
        put_names(out, s, clients_max, clipped);
    }
}
