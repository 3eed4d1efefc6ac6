/* hot.c - a list of entries, oldest first.
 *
 * A long run is several entries, chunks, of which all but the first `continues` the one before: so ageing and eviction let
 * parts of it go, and a slice joins them again. Within a chunk all texts but the fragments are the same.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "message/hot.h"

#include <stdlib.h>

#include "base/list.h"
#include "base/mem.h"

enum { CHUNK_BYTES = 16 << 10, CHUNK_FRAGMENTS = 512, CHUNKS_PER_TTL = 8, RECENT = 4 };

struct fragment {
    uint32_t end;  /* in body */
    int64_t at_ms;
};

struct entry {
    struct list link;
    uint64_t first, last;    /* delivery positions, both inclusive */
    uint64_t began_ms, newest_ms;
    uint64_t history;
    bool continues;          /* the run of the entry before goes on here */
    bool versioned;
    struct frame *frame;     /* NULL = a chunk of a run, which has: */
    struct message_id message;
    struct buf body;
    struct fragment *fragments; /* one a position */
    uint32_t cap;
    struct str message_id, event_name, name, user_id, tags, extras;
    size_t text_bytes;
    char text[];
};

struct hot {
    struct str channel;      /* text[] */
    struct hot_limits limits;
    char stream_id[STREAM_ID_SIZE + 1];
    struct list entries;
    uint64_t floor, newest;  /* (floor, newest] is here */
    uint64_t runs;           /* entries that do not continue another */
    size_t bytes;
    uint64_t evicted;
    struct {
        struct slice *slice;
        enum hot_want want;
    } recent[RECENT];        /* what was asked for last */
    unsigned recent_next;
    size_t recent_bytes;     /* of the slices */
    char text[];
};

/* ---- entries ---- */

static struct entry *entry_of(struct list *link)
{
    return list_of(link, struct entry, link);
}

static struct entry *oldest(const struct hot *h)
{
    return list_empty(&h->entries) ? NULL : entry_of(h->entries.next);
}

static struct entry *youngest(const struct hot *h)
{
    return list_empty(&h->entries) ? NULL : entry_of(h->entries.prev);
}

static size_t entry_bytes(const struct entry *e)
{
    return sizeof(*e) + e->text_bytes + (e->frame != NULL ? frame_wire(e->frame).n : 0) + e->body.cap +
           e->cap * sizeof(*e->fragments);
}

static struct str put_text(char **at, struct str text)
{
    if (text.p == NULL)
        return STR_NONE;
    memcpy(*at, text.p, text.n);
    *at += text.n;
    return str_make(*at - text.n, text.n);
}

/* texts[]: of the six text fields, in their order. */
static struct entry *entry_new(struct hot *h, uint64_t delivery, const struct str texts[6], uint64_t now_ms)
{
    size_t n = 0;
    for (int i = 0; i < 6; i++)
        n += texts[i].n;
    struct entry *e = mem_zalloc(sizeof(*e) + n);
    char *at = e->text;
    struct str *const fields[] = {&e->message_id, &e->event_name, &e->name, &e->user_id, &e->tags, &e->extras};
    for (int i = 0; i < 6; i++)
        *fields[i] = put_text(&at, texts[i]);
    e->text_bytes = n;
    e->first = e->last = delivery;
    e->began_ms = e->newest_ms = now_ms;
    list_append(&h->entries, &e->link);
    return e;
}

static void entry_free(struct entry *e)
{
    list_remove(&e->link);
    if (e->frame != NULL)
        frame_drop(e->frame);
    buf_free(&e->body);
    free(e->fragments);
    free(e);
}

/* ---- the buffer ---- */

struct hot *hot_new(struct str channel, struct hot_limits limits)
{
    struct hot *h = mem_zalloc(sizeof(*h) + channel.n);
    memcpy(h->text, channel.p, channel.n);
    h->channel = str_make(h->text, channel.n);
    h->limits = limits;
    list_init(&h->entries);
    return h;
}

static void forget_recent(struct hot *h)
{
    for (unsigned i = 0; i < RECENT; i++) {
        slice_drop(h->recent[i].slice);
        h->recent[i].slice = NULL;
    }
    h->recent_bytes = 0;
}

void hot_clear(struct hot *h)
{
    forget_recent(h);
    while (!list_empty(&h->entries))
        entry_free(oldest(h));
    h->floor = h->newest = h->runs = 0;
    h->bytes = 0;
    h->stream_id[0] = '\0';
}

void hot_free(struct hot *h)
{
    if (h != NULL)
        hot_clear(h);
    free(h);
}

static void drop_entry(struct hot *h)
{
    struct entry *e = oldest(h);
    h->bytes -= entry_bytes(e);
    h->floor = e->last;
    struct entry *next = e->link.next != &h->entries ? entry_of(e->link.next) : NULL;
    if (next != NULL && next->continues)
        next->continues = false; /* the run goes on with it */
    else
        h->runs--;
    entry_free(e);
}

bool hot_drop_oldest(struct hot *h)
{
    if (h->recent_bytes > 0) {
        forget_recent(h); /* what can be made again goes first */
        return true;
    }
    if (list_empty(&h->entries))
        return false;
    drop_entry(h);
    h->evicted++;
    return true;
}

void hot_expire(struct hot *h, uint64_t now_ms)
{
    bool some = false;
    for (struct entry *e; (e = oldest(h)) != NULL && e->newest_ms + h->limits.ttl_ms <= now_ms; some = true)
        drop_entry(h);
    if (some)
        forget_recent(h);
}

bool hot_is_empty(const struct hot *h)
{
    return list_empty(&h->entries);
}

size_t hot_bytes(const struct hot *h)
{
    return h->bytes + h->recent_bytes;
}

uint64_t hot_evicted(struct hot *h)
{
    uint64_t n = h->evicted;
    h->evicted = 0;
    return n;
}

static bool is_stream(const struct hot *h, struct str stream_id)
{
    return stream_id.n == STREAM_ID_SIZE && memcmp(h->stream_id, stream_id.p, STREAM_ID_SIZE) == 0;
}

bool hot_covers(const struct hot *h, struct str stream_id, uint64_t *floor, uint64_t *newest)
{
    if (!is_stream(h, stream_id))
        return false;
    *floor = h->floor;
    *newest = h->newest;
    return true;
}

/* ---- filling ---- */

static void make_room_for(struct hot *h, struct str stream_id, uint64_t delivery)
{
    if (is_stream(h, stream_id) && h->newest + 1 == delivery)
        return;
    hot_clear(h);
    if (stream_id.n == STREAM_ID_SIZE)
        memcpy(h->stream_id, stream_id.p, STREAM_ID_SIZE);
    h->floor = h->newest = delivery - 1;
}

static void keep_limits(struct hot *h, uint64_t now_ms)
{
    hot_expire(h, now_ms);
    for (; h->runs > h->limits.frames_max || h->bytes > h->limits.bytes_max; h->evicted++)
        drop_entry(h);
}

void hot_put_frame(struct hot *h, struct str stream_id, const struct hot_frame *f, uint64_t now_ms)
{
    make_room_for(h, stream_id, f->delivery);
    const struct str texts[6] = {f->message_id, f->event_name, STR_NONE, STR_NONE, f->tags, STR_NONE};
    struct entry *e = entry_new(h, f->delivery, texts, now_ms);
    e->frame = frame_take(f->frame);
    e->history = f->history;
    e->versioned = f->versioned;
    h->runs++;
    h->newest = f->delivery;
    h->bytes += entry_bytes(e);
    keep_limits(h, now_ms);
}

static bool same_text(struct str a, struct str b)
{
    return (a.p == NULL) == (b.p == NULL) && str_eq(a, b);
}

static bool is_of_run(const struct entry *e, const struct hot_append *a)
{
    return e != NULL && e->frame == NULL && e->message.history == a->message.history &&
           e->message.create_delivery == a->message.create_delivery;
}

static bool chunk_has_room(const struct hot *h, const struct entry *e, const struct hot_append *a, uint64_t now_ms)
{
    return e->last - e->first + 1 < CHUNK_FRAGMENTS && e->body.n + a->body.n <= CHUNK_BYTES &&
           now_ms - e->began_ms <= h->limits.ttl_ms / CHUNKS_PER_TTL && same_text(e->extras, a->extras) &&
           same_text(e->name, a->name) && same_text(e->user_id, a->user_id) && same_text(e->tags, a->tags);
}

static struct entry *chunk_new(struct hot *h, const struct hot_append *a, bool continues, uint64_t now_ms)
{
    const struct str texts[6] = {STR_NONE, STR_NONE, a->name, a->user_id, a->tags, a->extras};
    struct entry *e = entry_new(h, a->delivery, texts, now_ms);
    e->message = a->message;
    e->history = a->message.history;
    e->versioned = true;
    e->continues = continues;
    e->last = a->delivery - 1; /* nothing in it yet */
    h->runs += !continues;
    h->bytes += entry_bytes(e);
    return e;
}

static void chunk_append(struct entry *e, const struct hot_append *a)
{
    uint32_t count = (uint32_t)(e->last + 1 - e->first);
    if (count == e->cap) {
        e->cap = e->cap ? e->cap * 2 : 8;
        e->fragments = mem_realloc(e->fragments, e->cap * sizeof(*e->fragments));
    }
    buf_str(&e->body, a->body);
    e->fragments[count] = (struct fragment){(uint32_t)e->body.n, a->at_ms};
    e->last = a->delivery;
}

void hot_put_append(struct hot *h, struct str stream_id, const struct hot_append *a, uint64_t now_ms)
{
    make_room_for(h, stream_id, a->delivery);
    struct entry *e = youngest(h);
    bool of_run = is_of_run(e, a);
    if (!of_run || !chunk_has_room(h, e, a, now_ms))
        e = chunk_new(h, a, of_run, now_ms);
    h->bytes -= entry_bytes(e);
    chunk_append(e, a);
    e->newest_ms = now_ms;
    h->bytes += entry_bytes(e);
    h->newest = a->delivery;
    keep_limits(h, now_ms);
}

/* ---- slices ---- */

struct build {
    struct hot *h;
    uint64_t from, to;
    struct replay_frame *frames;
    size_t count;
    struct arena arena;
};

static uint32_t end_of(const struct entry *e, uint64_t position)
{
    return position < e->first ? 0 : e->fragments[position - e->first].end;
}

/* The chunks [at, end) of one run, cut to the range, as one frame. Returns the entry after them. */
static struct list *build_run(struct build *b, struct list *at)
{
    struct buf body = {0};
    struct entry *e;
    uint64_t last;
    do {
        e = entry_of(at);
        uint64_t after = b->from > e->first - 1 ? b->from : e->first - 1;
        last = b->to < e->last ? b->to : e->last;
        if (end_of(e, last) > end_of(e, after))
            buf_put(&body, e->body.p + end_of(e, after), end_of(e, last) - end_of(e, after));
        at = at->next;
    } while (last < b->to && at != &b->h->entries && entry_of(at)->continues);
    char serial[SERIAL_SIZE + 1];
    struct runtime_headers headers = {ACTION_APPEND, e->message, last, e->fragments[last - e->first].at_ms};
    struct envelope env = {.event = action_event(ACTION_APPEND), .channel = b->h->channel, .name = e->name,
                           .user_id = e->user_id, .tags = e->tags, .stream_id = str_make(b->h->stream_id, STREAM_ID_SIZE),
                           .serial = last, .extras = e->extras, .headers = &headers, .data_body = buf_view(&body)};
    serial_print(serial, last, e->message.stream8, e->message.history);
    env.message_id = arena_copy(&b->arena, str_make(serial, SERIAL_SIZE));
    b->frames[b->count++] = (struct replay_frame){envelope_frame(&env, WIRE_V2), last, e->history, env.message_id,
                                                  env.event, e->tags};
    buf_free(&body);
    return at;
}

static bool is_wanted(const struct entry *e, enum hot_want want)
{
    switch (want) {
    case HOT_ANY:
        return true;
    case HOT_WHOLE:
        return e->frame != NULL;
    default:
        return !e->versioned;
    }
}

/* The entry that holds from + 1; NULL if something in the range is not wanted. */
static struct list *begin_of(const struct hot *h, uint64_t from, uint64_t to, enum hot_want want, size_t *entries)
{
    struct list *at = h->entries.prev, *begin = NULL;
    for (; at != &h->entries && entry_of(at)->last > from; at = at->prev) {
        if (entry_of(at)->first > to)
            continue;
        if (!is_wanted(entry_of(at), want))
            return NULL;
        begin = at;
        ++*entries;
    }
    return begin;
}

static struct slice *build_slice(struct hot *h, uint64_t from, uint64_t to, enum hot_want want)
{
    struct build b = {.h = h, .from = from, .to = to};
    size_t entries = 0;
    struct list *at = begin_of(h, from, to, want, &entries);
    if (at == NULL)
        return NULL;
    b.frames = arena_alloc(&b.arena, entries * sizeof(*b.frames));
    while (at != &h->entries && entry_of(at)->first <= to) {
        struct entry *e = entry_of(at);
        if (e->frame == NULL) {
            at = build_run(&b, at);
            continue;
        }
        b.frames[b.count++] = (struct replay_frame){frame_take(e->frame), e->last, e->history, e->message_id, e->event_name, e->tags};
        at = at->next;
    }
    struct slice *s = slice_new(b.frames, b.count);
    s->from = from;
    s->to = to;
    arena_free(&b.arena);
    return s;
}

struct slice *hot_slice(struct hot *h, uint64_t from, uint64_t to, enum hot_want want)
{
    if (from < h->floor || to > h->newest || from >= to)
        return NULL;
    for (unsigned i = 0; i < RECENT; i++) {
        struct slice *s = h->recent[i].slice;
        if (s != NULL && s->from == from && s->to == to && h->recent[i].want == want)
            return slice_take(s);
    }
    struct slice *s = build_slice(h, from, to, want);
    if (s == NULL)
        return NULL;
    struct slice **place = &h->recent[h->recent_next].slice;
    h->recent_bytes += s->bytes - (*place != NULL ? (*place)->bytes : 0);
    slice_drop(*place);
    *place = slice_take(s);
    h->recent[h->recent_next].want = want;
    h->recent_next = (h->recent_next + 1) % RECENT;
    return s;
}
