/* repair.c - what was committed without this owner having seen it is read from the store and delivered late.
 *
 *      seen 41      a commit "failed" after its rows had reached the disk: 42, 43
 *      comes 44  -> 42, 43 are replayed first, then 44 goes on
 *
 * A gap shows when a completion's head lies above what has been delivered. A missing tail shows nothing, so after a failed
 * write the head is asked for until the store answers. Delay, never loss (design, "Cluster").
 *
 * Subscribers of full snapshots are made to reconnect when appends were among the missed: their text is not at hand.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/internal.h"
#include "base/mem.h"
#include <stdlib.h>

enum { RETRY_MS = 100, GAP_WAIT_MS = 10 };

struct repair {
    struct channel *ch;
    struct store_op op;
    struct timer timer;
    uint64_t upto;     /* 0 = only asking for the head */
    uint64_t wanted;   /* a gap that showed while it was asking, or that the bus may still fill */
    bool doubts;       /* whether the head is what is known */
    bool first;        /* it begins to follow */
    bool stream_wanted, stream_asked; /* whether its stream is the one that is known, too */
    bool reading, holds;
};

static void ask(struct repair *r);

static void later(struct repair *r)
{
    wheel_set(r->ch->env->wheel, &r->timer, env_now_ms(r->ch->env) + RETRY_MS);
}

static void ends(struct repair *r)
{
    struct channel *ch = r->ch;
    if (r->stream_wanted) {
        r->upto = 0;
        ask(r);
        return;
    }
    bool held = r->holds;
    wheel_cancel(ch->env->wheel, &r->timer);
    arena_free(&r->op.arena);
    free(r);
    ch->repair = NULL;
    if (held) {
        channel_release(ch);
    } else {
        owner_settle(ch);
    }
}

static void deliver_item(struct channel *ch, const struct store_item *item, struct arena *arena, bool full)
{
    struct envelope e;
    struct runtime_headers headers;
    struct delivery d = {.lanes = ALL_LANES, .first = item->delivery, .last = item->delivery, .tags = item->tags};
    bool mutation = item->action != ACTION_CREATE && item->action != ACTION_ORDINARY;
    envelope_of_item(&e, &headers, item, ch->name, str_of(ch->head.stream_id), arena);
    d.event_name = e.event;
    if (!mutation)
        d.frames[LANE_V1] = envelope_frame(&e, WIRE_V1);
    d.frames[LANE_DELTA] = envelope_frame(&e, WIRE_V2);
    if (full)
        d.frames[LANE_FULL] = frame_take(d.frames[LANE_DELTA]);
    hot_repaired(ch, item, &e, d.frames[LANE_DELTA]);
    channel_deliver(ch, &d);
}

static uint32_t full_lanes(void)
{
    uint32_t lanes = 0;
    for (unsigned w = 0; w < WINDOWS; w++)
        lanes |= 1u << lane_of(LANE_FULL, w);
    return lanes;
}

static void deliver_missed(struct repair *r)
{
    struct channel *ch = r->ch;
    const struct egress *egress = ch->env->hub->egress;
    bool cut = false;
    if (egress->flush != NULL)
        egress->flush(ch);
    for (size_t i = 0; i < r->op.found.count; i++) {
        const struct store_item *item = &r->op.found.items[i];
        if (item->delivery <= ch->head.delivery)
            continue; /* an attach has read the head meanwhile */
        if (item->action == ACTION_APPEND && !cut) {
            /* Before anything that stands behind it: whoever is cut resumes from the last frame that it was given. */
            channel_cut(ch, full_lanes());
            cut = true;
        }
        deliver_item(ch, item, &r->op.arena, !cut);
        ch->head.delivery = item->delivery;
        if (item->message.history > ch->head.history)
            ch->head.history = item->message.history;
        foreign_counts(ch, item->action, item->message.history);
    }
    if (egress->bypassed != NULL)
        egress->bypassed(ch);
}

static void missed_read(struct store_op *op)
{
    struct repair *r = list_of(op, struct repair, op);
    struct channel *ch = r->ch;
    r->reading = false;
    if (op->result == STORE_OK) {
        deliver_missed(r);
        if (ch->head.delivery >= r->upto && ch->head.delivery < r->wanted)
            r->upto = r->wanted;
        if (ch->head.delivery < r->upto && op->found.count > 0) {
            ask(r);
            return;
        }
    } else if (op->result != STORE_EXPIRED && op->result != STORE_WRONG_STREAM && op->result != STORE_UNHEALTHY) {
        later(r);
        return;
    }
    if (ch->head.delivery < r->upto) {
        /* It is gone for good: those who follow live must start anew. */
        ch->head.delivery = r->upto;
        channel_cut(ch, ALL_LANES & ~1u);
    }
    ends(r);
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

static void asks_again(struct timer *timer)
{
    struct repair *r = list_of(timer, struct repair, timer);
    if (r->first)
        starts(r);
    if (r->upto == 0 && r->wanted > r->ch->head.delivery)
        begin(r, r->wanted); /* the bus did not bring it */
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

/* The bus may bring it yet: a gap is only read from the store when it has had its time. */
static void wait_for_bus(struct repair *r, uint64_t upto)
{
    struct env *env = r->ch->env;
    if (upto > r->wanted)
        r->wanted = upto;
    if (!timer_is_set(&r->timer) || r->doubts)
        wheel_set(env->wheel, &r->timer, env_now_ms(env) + GAP_WAIT_MS);
}

void repair_gap(struct channel *ch, uint64_t position)
{
    struct repair *r = repair_of(ch);
    if (!r->reading && r->upto == 0)
        wait_for_bus(r, position - 1);
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

bool repair_begins(struct channel *ch, const struct publish *p)
{
    const struct store_head *head = &p->op.head;
    if (!p->stored || p->result >= PUBLISH_BUSY || !ch->head_known || head->delivery == 0 || strcmp(head->stream_id, ch->head.stream_id) != 0)
        return false;
    uint64_t upto = head->delivery - (p->result == PUBLISH_OK ? 1 : 0);
    if (upto <= ch->head.delivery || (ch->env->bus != NULL ? !ch->follows : !channel_has_listeners(ch)))
        return false;
    struct repair *r = repair_of(ch);
    if (ch->env->bus != NULL && !r->reading && r->upto == 0) {
        wait_for_bus(r, upto);
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
    free(ch->repair);
    ch->repair = NULL;
}
