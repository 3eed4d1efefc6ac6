/* repair.c - what was committed without this owner having seen it is read from the store and delivered late.
 *
 *      seen 41      a commit "failed" after its rows had reached the disk: 42, 43
 *      comes 44  -> 42, 43 are replayed first, then 44 goes on
 *
 * A gap shows when a completion's head lies above what has been delivered. A missing tail shows nothing, so after a failed
 * write the head is asked for until the store answers. Delay, never loss (design, "Cluster").
 *
 * Subscribers of full snapshots get the whole text of a message, read as of what was missed, where its last missed append stands:
 *
 *      missed     a42:append  b43:append  a44:append
 *      full       -           b whole     a whole
 *
 * They are made to reconnect only if that text is gone. Limit: REPAIR_TEXTS_MAX messages are read at a time; what stands behind is
 * read again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/internal.h"
#include "base/mem.h"
#include <stdlib.h>

enum { RETRY_MS = 100, GAP_WAIT_MS = 10, REPAIR_TEXTS_MAX = 64 };

struct repair {
    struct channel *ch;
    struct store_op op;
    struct store_op texts; /* the whole texts that full subscribers need of what op has found */
    struct timer timer;
    uint64_t upto;     /* 0 = only asking for the head */
    uint64_t wanted;   /* a gap that showed while it was asking, or that the bus may still fill */
    uint64_t due;      /* what the bus has until the timer fires for */
    bool doubts;       /* whether the head is what is known */
    bool first;        /* it begins to follow */
    bool stream_wanted, stream_asked; /* whether its stream is the one that is known, too */
    bool reading, holds;
    bool whole;        /* full subscribers are shown whole texts */
    bool read;         /* something has been found in the store */
    bool gap;          /* something waits for what is missing */
    bool cut;          /* they have been made to reconnect, and get nothing more */
};

static void ask(struct repair *r);

static void later(struct repair *r)
{
    wheel_set(r->ch->env->wheel, &r->timer, env_now_ms(r->ch->env) + RETRY_MS);
}

static void count(struct repair *r)
{
    if (r->read || r->gap)
        metrics_gap_repair(r->ch->env, r->ch->app, r->read ? "store" : "bus");
    r->read = r->gap = false;
}

static void ends(struct repair *r)
{
    struct channel *ch = r->ch;
    count(r);
    if (r->stream_wanted) {
        r->upto = 0;
        ask(r);
        return;
    }
    bool held = r->holds;
    repair_free(ch);
    if (held) {
        channel_release(ch);
    } else {
        owner_settle(ch);
    }
}

/* ---- whole texts ---- */

static bool is_whole_of(const struct store_item *whole, const struct store_item *item)
{
    return whole->message.history == item->message.history && whole->delivery == item->delivery;
}

/* The text of which item is the last append among the missed. NULL: it is shown further on, or gone. */
static const struct store_item *whole_of(const struct repair *r, const struct store_item *item)
{
    for (size_t i = 0; i < r->texts.found.count; i++)
        if (is_whole_of(&r->texts.found.items[i], item))
            return &r->texts.found.items[i];
    return NULL;
}

static bool is_asked_for(const struct repair *r, uint64_t history)
{
    for (size_t i = 0; i < r->texts.read.ids_count; i++)
        if (r->texts.read.ids[i].history == history)
            return true;
    return false;
}

/* No other operation on its message is behind it. */
static bool is_last(const struct repair *r, size_t at)
{
    const struct store_item *items = r->op.found.items;
    for (size_t i = at + 1; i < r->op.found.count; i++)
        if (items[i].message.history == items[at].message.history)
            return false;
    return true;
}

/* Messages that were appended to, each once. What is behind the last that fits is left for the next time. */
static void choose_texts(struct repair *r)
{
    struct message_id *ids = arena_alloc(&r->op.arena, REPAIR_TEXTS_MAX * sizeof *ids);
    r->texts.read.ids = ids;
    for (size_t i = 0; i < r->op.found.count; i++) {
        const struct store_item *item = &r->op.found.items[i];
        if (item->action != ACTION_APPEND || item->delivery <= r->ch->head.delivery || is_asked_for(r, item->message.history))
            continue;
        if (r->texts.read.ids_count == REPAIR_TEXTS_MAX) {
            r->op.found.count = i;
            return;
        }
        ids[r->texts.read.ids_count++] = item->message;
    }
}

static void texts_read(struct store_op *op);

/* True: they are being read, since somebody needs them. */
static bool needs_texts(struct repair *r)
{
    struct channel *ch = r->ch;
    arena_free(&r->texts.arena);
    r->texts = (struct store_op){.kind = STORE_LATEST, .shard = ch->env->shard, .done = texts_read, .app_id = ch->app->id, .channel = ch->name};
    channel_watchers_now(ch);
    r->whole = channel_lanes_count(ch, lanes_of_mode(LANE_FULL)) > 0;
    if (!r->whole)
        return false;
    choose_texts(r);
    if (r->texts.read.ids_count == 0)
        return false;
    r->texts.read.as_of_delivery = r->op.found.items[r->op.found.count - 1].delivery;
    r->reading = true;
    store_submit(ch->env->store, &r->texts);
    return true;
}

/* ---- delivering ---- */

static struct frame *frame_of_whole(const struct channel *ch, const struct store_item *whole, struct arena *arena)
{
    struct envelope e;
    struct runtime_headers headers;
    envelope_of_item(&e, &headers, whole, ch->name, str_of(ch->head.stream_id), arena);
    return envelope_frame(&e, WIRE_V2);
}

/* whole: what full subscribers are shown of an append; NULL = nothing. */
static void deliver_item(struct repair *r, const struct store_item *item, const struct store_item *whole)
{
    struct channel *ch = r->ch;
    struct arena *arena = &r->op.arena;
    struct envelope e;
    struct runtime_headers headers;
    struct delivery d = {.lanes = ALL_LANES, .first = item->delivery, .last = item->delivery, .tags = item->tags};
    bool mutation = item->action != ACTION_CREATE && item->action != ACTION_ORDINARY;
    envelope_of_item(&e, &headers, item, ch->name, str_of(ch->head.stream_id), arena);
    d.event_name = e.event;
    if (!mutation)
        d.frames[LANE_V1] = envelope_frame(&e, WIRE_V1);
    d.frames[LANE_DELTA] = envelope_frame(&e, WIRE_V2);
    if (item->action != ACTION_APPEND && !r->cut)
        d.frames[LANE_FULL] = frame_take(d.frames[LANE_DELTA]);
    else if (whole != NULL)
        d.frames[LANE_FULL] = frame_of_whole(ch, whole, arena);
    hot_repaired(ch, item, &e, d.frames[LANE_DELTA]);
    channel_deliver(ch, &d);
}

static void deliver_one(struct repair *r, size_t at)
{
    struct channel *ch = r->ch;
    const struct store_item *item = &r->op.found.items[at], *whole = NULL;
    if (item->action == ACTION_APPEND && r->whole && !r->cut) {
        whole = whole_of(r, item);
        if (whole == NULL && is_last(r, at)) {
            /* Before anything that stands behind it: whoever is cut resumes from the last frame that it was given. */
            channel_cut(ch, lanes_of_mode(LANE_FULL));
            r->cut = true;
        }
    }
    deliver_item(r, item, whole);
    r->read = true;
    ch->head.delivery = item->delivery;
    if (item->message.history > ch->head.history)
        ch->head.history = item->message.history;
    foreign_counts(ch, item->action, item->message.history);
}

static void deliver_missed(struct repair *r)
{
    struct channel *ch = r->ch;
    const struct egress *egress = ch->env->hub->egress;
    if (egress->flush != NULL)
        egress->flush(ch);
    for (size_t i = 0; i < r->op.found.count; i++)
        if (r->op.found.items[i].delivery > ch->head.delivery) /* else an attach has read the head meanwhile */
            deliver_one(r, i);
    if (egress->bypassed != NULL)
        egress->bypassed(ch);
}

/* op has been read; what it has found is delivered, or gone. */
static void goes_on(struct repair *r, bool found)
{
    struct channel *ch = r->ch;
    if (found) {
        deliver_missed(r);
        if (ch->head.delivery >= r->upto && ch->head.delivery < r->wanted)
            r->upto = r->wanted;
        if (ch->head.delivery < r->upto && r->op.found.count > 0) {
            ask(r);
            return;
        }
    }
    if (ch->head.delivery < r->upto) {
        /* It is gone for good: those who follow live must start anew. */
        ch->head.delivery = r->upto;
        channel_cut(ch, ALL_LANES & ~1u);
    }
    ends(r);
}

static bool is_gone(enum store_result result)
{
    return result == STORE_EXPIRED || result == STORE_WRONG_STREAM || result == STORE_UNHEALTHY;
}

static void texts_read(struct store_op *op)
{
    struct repair *r = list_of(op, struct repair, texts);
    r->reading = false;
    if (op->result == STORE_OK || is_gone(op->result) || op->result == STORE_NOT_FOUND)
        goes_on(r, true);
    else
        later(r);
}

static void missed_read(struct store_op *op)
{
    struct repair *r = list_of(op, struct repair, op);
    r->reading = false;
    if (op->result == STORE_OK) {
        if (!needs_texts(r))
            goes_on(r, true);
    } else if (is_gone(op->result)) {
        goes_on(r, false);
    } else {
        later(r);
    }
}

static void hold(struct repair *r)
{
    if (!r->holds)
        channel_hold(r->ch);
    r->holds = true;
}

static void begin(struct repair *r, uint64_t upto)
{
    r->upto = upto;
    hold(r);
    ask(r);
}

void repair_adopt(struct channel *ch, struct str stream_id)
{
    const struct egress *egress = ch->env->hub->egress;
    if (egress->flush != NULL)
        egress->flush(ch);
    owner_bypassed(ch);
    hot_forget(ch);
    annotations_forget(ch);
    ch->head = (struct store_head){.delivery = 0};
    memcpy(ch->head.stream_id, stream_id.p, stream_id.n);
    ch->head_known = ch->head_partial = true;
    if (egress->forgotten != NULL)
        egress->forgotten(ch->env, ch->key);
}

/* Everything of another stream is new. */
static void stream_read(struct repair *r)
{
    struct channel *ch = r->ch;
    struct store_head head = r->op.head;
    r->stream_asked = false;
    r->wanted = 0;
    if (strcmp(head.stream_id, ch->head.stream_id) != 0)
        repair_adopt(ch, str_of(head.stream_id));
    foreign_drop_others(ch);
    repair_head_read(ch, &head);
    if (!r->reading)
        ends(r);
}

static void head_read(struct store_op *op)
{
    struct repair *r = list_of(op, struct repair, op);
    struct channel *ch = r->ch;
    bool well = op->result == STORE_OK || op->result == STORE_UNHEALTHY;
    r->reading = false;
    if (well && ch->follows && (r->stream_asked || strcmp(op->head.stream_id, ch->head.stream_id) != 0)) {
        hold(r);
        stream_read(r);
        return;
    }
    r->stream_wanted |= r->stream_asked && ch->follows;
    if (r->wanted > ch->head.delivery)
        begin(r, r->wanted);
    else if (op->result == STORE_UNHEALTHY)
        ends(r); /* only a reset helps, and that is another stream */
    else if (op->result != STORE_OK)
        later(r);
    else if (ch->head_known && op->head.delivery > ch->head.delivery && list_empty(&ch->in_flight) && !ch->held &&
             strcmp(op->head.stream_id, ch->head.stream_id) == 0)
        begin(r, op->head.delivery);
    else
        ends(r); /* nothing is missing, or whatever is in flight will show it */
}

static void ask(struct repair *r)
{
    struct channel *ch = r->ch;
    if (r->upto == 0) {
        r->stream_asked = r->stream_wanted;
        r->stream_wanted = false;
    }
    arena_free(&r->op.arena);
    r->op = (struct store_op){.kind = r->upto != 0 ? STORE_REPLAY : STORE_HEAD, .shard = ch->env->shard,
                              .done = r->upto != 0 ? missed_read : head_read, .app_id = ch->app->id, .channel = ch->name};
    if (r->upto != 0) {
        r->op.read.from_delivery = ch->head.delivery;
        r->op.read.to_delivery = r->upto;
        r->op.read.bytes_max = 1 << 20;
        r->op.read.stream_id = str_of(ch->head.stream_id);
    }
    r->reading = true;
    store_submit(ch->env->store, &r->op);
}

static uint64_t lower(uint64_t position, const struct list *link)
{
    const struct publish *p = list_of(link, struct publish, link);
    uint64_t other = p->stored && p->completed && p->result == PUBLISH_OK ? p->op.written.delivery : 0;
    return other != 0 && other < position ? other : position;
}

/* From the lowest operation on that has come. */
static void starts(struct repair *r)
{
    struct channel *ch = r->ch;
    uint64_t position = UINT64_MAX;
    r->first = false;
    list_each(at, &ch->foreign) position = lower(position, at);
    list_each(at, &ch->in_flight) position = lower(position, at);
    if (position != UINT64_MAX && position - 1 > ch->head.delivery)
        ch->head.delivery = position - 1;
}

/* The bus may bring it yet: a gap is only read from the store when it has had its time. */
static void wait_for_bus(struct repair *r, uint64_t upto, unsigned wait_ms)
{
    struct env *env = r->ch->env;
    uint64_t at_ms = env_now_ms(env) + wait_ms;
    if (upto > r->wanted)
        r->wanted = upto;
    if (r->first || (timer_is_set(&r->timer) && r->due > r->ch->head.delivery && r->timer.at_ms <= at_ms))
        return;
    r->due = upto;
    wheel_set(env->wheel, &r->timer, at_ms);
}

static void asks_again(struct timer *timer)
{
    struct repair *r = list_of(timer, struct repair, timer);
    if (r->first)
        starts(r);
    uint64_t head = r->ch->head.delivery, due = r->due;
    r->due = 0;
    if (r->upto == 0 && r->wanted > head && due != 0 && due <= head && !r->holds)
        wait_for_bus(r, r->wanted, GAP_WAIT_MS); /* it has brought that, and another gap has shown since */
    else if (r->upto == 0 && r->wanted > head)
        begin(r, r->wanted); /* it did not */
    else if (r->upto != 0 || r->doubts || r->stream_wanted)
        ask(r);
    else
        ends(r);
}

static struct repair *repair_of(struct channel *ch)
{
    if (ch->repair == NULL) {
        ch->repair = mem_new(struct repair);
        ch->repair->ch = ch;
        ch->repair->timer.fire = asks_again;
        owner_wake(ch);
    }
    return ch->repair;
}

void repair_doubt(struct channel *ch)
{
    if (ch->repair != NULL || !ch->head_known || !channel_has_listeners(ch))
        return;
    repair_of(ch)->doubts = true;
    later(ch->repair);
}

void repair_gap(struct channel *ch, uint64_t position, unsigned more_ms)
{
    struct repair *r = repair_of(ch);
    r->gap |= more_ms == 0;
    if (!r->reading && r->upto == 0)
        wait_for_bus(r, position - 1, GAP_WAIT_MS + more_ms);
}

void repair_first(struct channel *ch, struct str stream_id, uint64_t position)
{
    ch->follows = true;
    if (ch->repair != NULL && (ch->repair->reading || ch->repair->upto != 0))
        return; /* it goes on from where it is */
    owner_bypassed(ch);
    ch->head = (struct store_head){.delivery = 0};
    memcpy(ch->head.stream_id, stream_id.p, stream_id.n);
    ch->head_known = ch->head_partial = true;
    if (position == 1)
        return; /* nothing lies below */
    struct repair *r = repair_of(ch);
    r->first = true;
    r->doubts = false;
    hold(r);
    wheel_set(ch->env->wheel, &r->timer, env_now_ms(ch->env) + GAP_WAIT_MS);
}

void repair_stream(struct channel *ch)
{
    struct repair *r = repair_of(ch);
    r->stream_wanted = true;
    hold(r);
    if (r->first || r->reading || r->upto != 0)
        return; /* when that is done */
    wheel_cancel(ch->env->wheel, &r->timer);
    ask(r);
}

void repair_head_read(struct channel *ch, const struct store_head *head)
{
    uint64_t delivery = ch->head.delivery, history = ch->head.history;
    owner_know_head(ch, head);
    ch->head.delivery = delivery;
    if (history > head->history)
        ch->head.history = history;
    if (head->delivery <= delivery)
        return;
    struct repair *r = repair_of(ch);
    hold(r);
    r->wanted = head->delivery;
    if (!r->reading && r->upto == 0 && !r->first)
        begin(r, r->wanted);
}

/* Others keep appends back in their rollup until they hear of what stands behind: p, which waits here for just those. They get it
 * once more when it leaves, and drop it. */
static void send_ahead(struct channel *ch, struct publish *p)
{
    if (p->result == PUBLISH_OK && !p->sent_ahead && channel_bus_wants(ch, ALL_LANES))
        channel_send_publish(ch, p);
    p->sent_ahead = true;
}

bool repair_begins(struct channel *ch, struct publish *p)
{
    const struct store_head *head = &p->op.head;
    if (!p->stored || p->result >= PUBLISH_BUSY || !ch->head_known || head->delivery == 0 || strcmp(head->stream_id, ch->head.stream_id) != 0)
        return false;
    uint64_t upto = head->delivery - (p->result == PUBLISH_OK ? 1 : 0);
    if (upto <= ch->head.delivery || (ch->env->bus != NULL ? !ch->follows : !channel_has_listeners(ch)))
        return false;
    struct repair *r = repair_of(ch);
    if (ch->env->bus != NULL && !r->reading && r->upto == 0) {
        r->gap = true;
        wait_for_bus(r, upto, GAP_WAIT_MS);
        send_ahead(ch, p);
        return true;
    }
    if (r->reading) {
        /* The op is under way, asking for the head: the gap waits for it. */
        hold(r);
        r->wanted = upto;
        return true;
    }
    wheel_cancel(ch->env->wheel, &r->timer);
    begin(r, upto);
    return true;
}

void repair_free(struct channel *ch)
{
    if (ch->repair == NULL)
        return;
    wheel_cancel(ch->env->wheel, &ch->repair->timer);
    arena_free(&ch->repair->op.arena);
    arena_free(&ch->repair->texts.arena);
    free(ch->repair);
    ch->repair = NULL;
}
