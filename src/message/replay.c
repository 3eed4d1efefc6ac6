/* replay.c - joins stored versions into frames.
 *
 * One walk over the items finds where runs begin and end; counting and encoding are the same walk, so that what was
 * checked against the window is exactly what is sent.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "message/replay.h"
#include "base/map.h"

static bool same_message(const struct message_id *a, const struct message_id *b)
{
    return a->history == b->history && a->create_delivery == b->create_delivery;
}

static bool is_mutation(const struct store_item *item)
{
    return item->action == ACTION_APPEND || item->action == ACTION_UPDATE || item->action == ACTION_DELETE;
}

/* The end (exclusive) of the run that begins at `from`. */
static size_t run_end(const struct replay *r, size_t from)
{
    size_t end = from + 1;
    if (r->items[from].action != ACTION_APPEND)
        return end;
    while (end < r->count && r->items[end].action == ACTION_APPEND &&
           same_message(&r->items[end].message, &r->items[from].message))
        end++;
    return end;
}

/* Where each message is mutated for the last time: there it is shown whole, and nowhere before. Built in one walk backwards. */
struct last_mutations {
    struct map at; /* history (8 bytes of the item) -> the item */
};

static struct str history_key(const struct store_item *item)
{
    return str_make(&item->message.history, sizeof(item->message.history));
}

static void last_mutations(struct last_mutations *last, const struct replay *r)
{
    *last = (struct last_mutations){0};
    for (size_t i = r->count; i-- > 0;)
        if (is_mutation(&r->items[i]) && map_get(&last->at, history_key(&r->items[i])) == NULL)
            map_put(&last->at, history_key(&r->items[i]), (void *)&r->items[i]);
}

static bool is_last(const struct last_mutations *last, const struct store_item *item)
{
    return map_get(&last->at, history_key(item)) == item;
}

struct message_id *replay_mutated(const struct replay *r, size_t *count)
{
    struct message_id *ids = arena_alloc(r->arena, (r->count ? r->count : 1) * sizeof(*ids));
    struct last_mutations last;
    last_mutations(&last, r);
    *count = 0;
    for (size_t i = 0; i < r->count; i++)
        if (is_last(&last, &r->items[i]))
            ids[(*count)++] = r->items[i].message;
    map_free(&last.at);
    return ids;
}

static const struct store_item *latest_of(const struct replay *r, const struct message_id *message)
{
    for (size_t i = 0; i < r->latest_count; i++)
        if (same_message(&r->latest[i].message, message))
            return &r->latest[i];
    return NULL;
}

/* Body of the joined fragments of [from, end): escaped JSON text without quotes. */
static struct str join_bodies(const struct replay *r, size_t from, size_t end)
{
    size_t total = 0;
    for (size_t i = from; i < end; i++)
        total += r->items[i].data.n >= 2 ? r->items[i].data.n - 2 : 0;
    char *out = arena_alloc(r->arena, total + 1);
    size_t n = 0;
    for (size_t i = from; i < end; i++) {
        struct str data = r->items[i].data;
        if (data.n < 2)
            continue;
        memcpy(out + n, data.p + 1, data.n - 2);
        n += data.n - 2;
    }
    return str_make(out, n);
}

static void set_frame(struct replay_frame *out, const struct envelope *e, const struct store_item *last)
{
    out->frame = envelope_frame(e, WIRE_V2);
    out->position = last->delivery;
    out->history = last->message.history;
    out->message_id = e->message_id;
    out->event_name = e->event;
    out->tags = last->tags;
}

static struct str fresh_id(struct random *random, struct arena *arena)
{
    char uuid[37];
    random_uuid(random, uuid);
    return arena_copy(arena, str_of(uuid));
}

static void frame_of_run(const struct replay *r, size_t from, size_t end, struct replay_frame *out)
{
    const struct store_item *last = &r->items[end - 1];
    struct envelope e;
    struct runtime_headers headers;
    envelope_of_item(&e, &headers, last, r->channel, r->stream_id, r->arena);
    if (end - from > 1) {
        e.data = STR_NONE;
        e.data_body = join_bodies(r, from, end);
    }
    set_frame(out, &e, last);
}

static void frame_of_whole(const struct replay *r, size_t at, struct replay_frame *out)
{
    const struct store_item *item = &r->items[at];
    const struct store_item *whole = latest_of(r, &item->message);
    struct envelope e;
    struct runtime_headers headers;
    if (whole == NULL) {
        frame_of_run(r, at, at + 1, out);
        return;
    }
    if (r->shape == REPLAY_SNAPSHOT)
        envelope_of_snapshot(&e, &headers, whole, r->channel, r->stream_id, fresh_id(r->random, r->arena), r->arena);
    else
        envelope_of_item(&e, &headers, whole, r->channel, r->stream_id, r->arena);
    set_frame(out, &e, whole);
    out->position = item->delivery;
}

/* Makes each frame of the replay, in order; out NULL = counts only. */
static size_t walk(const struct replay *r, struct replay_frame *out)
{
    struct last_mutations last = {0};
    size_t n = 0;
    if (r->shape != REPLAY_RUNS)
        last_mutations(&last, r);
    for (size_t from = 0, end; from < r->count; from = end) {
        end = run_end(r, from);
        bool runs = r->shape == REPLAY_RUNS || !is_mutation(&r->items[from]);
        if (!runs && !is_last(&last, &r->items[end - 1]))
            continue;
        if (out != NULL && runs)
            frame_of_run(r, from, end, &out[n]);
        else if (out != NULL)
            frame_of_whole(r, end - 1, &out[n]);
        n++;
    }
    map_free(&last.at);
    return n;
}

size_t replay_count(const struct replay *r)
{
    return walk(r, NULL);
}

struct replay_frame *replay_frames(const struct replay *r, size_t *count)
{
    size_t n = walk(r, NULL);
    struct replay_frame *frames = arena_zalloc(r->arena, (n ? n : 1) * sizeof(*frames));
    *count = walk(r, frames);
    return frames;
}

struct frame *replay_row(const struct store_item *item, struct str channel, struct str stream_id, struct random *random,
                         struct arena *arena)
{
    struct envelope e;
    struct runtime_headers headers;
    if (item->mutated)
        envelope_of_snapshot(&e, &headers, item, channel, stream_id, fresh_id(random, arena), arena);
    else
        envelope_of_item(&e, &headers, item, channel, stream_id, arena);
    return envelope_frame(&e, WIRE_V2);
}
