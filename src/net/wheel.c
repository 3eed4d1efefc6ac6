/* wheel.c - four wheels, each turning as slowly as one slot of it spans the whole wheel inside.
 *
 *      level   slots   a slot spans    the wheel spans
 *      0       256     1 ms            256 ms
 *      1       64      256 ms          16 s
 *      2       64      16 s            17 min
 *      3       64      17 min          18 h
 *      far     1       all that is later
 *
 * A timer lies in the innermost wheel whose current revolution contains its deadline:
 *
 *      tick 0x01fe, deadlines 0x01ff -> level 0, slot 0xff;   0x0200 -> level 1, slot 2
 *
 * So slot 2 of level 1 is unrolled into level 0 exactly when the tick becomes 0x0200, before any timer of
 * that block can be set there directly; that keeps timers of one millisecond in the order in which they were
 * set. The tick jumps from one occupied slot to the next (bitmaps find it); empty time costs nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/wheel.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

enum { LEVELS = 4, INNER_BITS = 8, OUTER_BITS = 6, SLOTS = 256 + 3 * 64, FAR = SLOTS, LISTS = SLOTS + 1 };

/* Level l has its slots at [first[l], first[l + 1]) and spans 1 << shift[l] ms a slot. */
static const unsigned first[LEVELS + 1] = {0, 256, 320, 384, 448};
static const unsigned shift[LEVELS + 1] = {0, 8, 14, 20, 26};

struct wheel {
    uint64_t now_ms;  /* of the last turn */
    uint64_t tick_ms; /* everything up to and including it has fired or is in `due` */
    size_t count;
    struct list due; /* deadlines at or before the tick, sorted */
    struct list slots[LISTS];
    uint64_t occupied[SLOTS / 64];
};

struct wheel *wheel_new(uint64_t now_ms)
{
    struct wheel *w = mem_new(struct wheel);
    w->now_ms = w->tick_ms = now_ms;
    list_init(&w->due);
    for (size_t i = 0; i < LISTS; i++)
        list_init(&w->slots[i]);
    return w;
}

void wheel_free(struct wheel *w)
{
    free(w);
}

static struct timer *timer_of(struct list *link)
{
    return list_of(link, struct timer, link);
}

static unsigned slots_of(unsigned level)
{
    return first[level + 1] - first[level];
}

static unsigned index_at(unsigned level, uint64_t at_ms)
{
    return (unsigned)(at_ms >> shift[level]) & (slots_of(level) - 1);
}

static unsigned slot_for(const struct wheel *w, uint64_t at_ms)
{
    for (unsigned level = 0; level < LEVELS; level++)
        if ((at_ms ^ w->tick_ms) >> shift[level + 1] == 0)
            return first[level] + index_at(level, at_ms);
    return FAR;
}

static void place(struct wheel *w, struct timer *t)
{
    unsigned slot = slot_for(w, t->at_ms);
    list_append(&w->slots[slot], &t->link);
    if (slot != FAR)
        w->occupied[slot / 64] |= UINT64_C(1) << slot % 64;
}

static void place_due(struct wheel *w, struct timer *t)
{
    struct list *behind = w->due.prev;
    while (behind != &w->due && timer_of(behind)->at_ms > t->at_ms)
        behind = behind->prev;
    list_prepend(behind, &t->link);
}

void wheel_set(struct wheel *w, struct timer *t, uint64_t at_ms)
{
    wheel_cancel(w, t);
    t->at_ms = at_ms;
    w->count++;
    if (at_ms <= w->tick_ms)
        place_due(w, t);
    else
        place(w, t);
}

/* The last timer of a list has the head on both sides; a head among the slots tells which bit to clear. */
static void unlink_timer(struct wheel *w, struct timer *t)
{
    struct list *head = t->link.next == t->link.prev ? t->link.next : NULL;
    list_remove(&t->link);
    if (head >= &w->slots[0] && head < &w->slots[SLOTS]) {
        size_t slot = (size_t)(head - w->slots);
        w->occupied[slot / 64] &= ~(UINT64_C(1) << slot % 64);
    }
}

void wheel_cancel(struct wheel *w, struct timer *t)
{
    if (!timer_is_set(t))
        return;
    unlink_timer(w, t);
    w->count--;
}

/* The next occupied slot of a level behind the tick's own, in its current revolution; slots_of() if none. */
static unsigned next_occupied(const struct wheel *w, unsigned level)
{
    unsigned from = index_at(level, w->tick_ms) + 1, end = slots_of(level);
    for (unsigned i = from; i < end; i = (i / 64 + 1) * 64) {
        uint64_t bits = w->occupied[(first[level] + i) / 64] >> i % 64;
        if (bits)
            return i + (unsigned)__builtin_ctzll(bits);
    }
    return end;
}

/* When the next occupied slot of any level begins. */
static uint64_t next_slot_ms(const struct wheel *w)
{
    for (unsigned level = 0; level < LEVELS; level++) {
        unsigned index = next_occupied(w, level);
        if (index < slots_of(level))
            return (w->tick_ms >> shift[level + 1] << shift[level + 1]) | (uint64_t)index << shift[level];
    }
    if (list_empty(&w->slots[FAR]))
        return UINT64_MAX;
    return ((w->tick_ms >> shift[LEVELS]) + 1) << shift[LEVELS];
}

static void take_slot(struct wheel *w, unsigned slot, struct list *into)
{
    list_init(into);
    list_splice(into, &w->slots[slot]);
    if (slot != FAR)
        w->occupied[slot / 64] &= ~(UINT64_C(1) << slot % 64);
}

static void unroll_slot(struct wheel *w, unsigned slot)
{
    struct list timers;
    take_slot(w, slot, &timers);
    for (struct list *link; (link = list_take(&timers));)
        place(w, timer_of(link));
}

/* The tick has come to the beginning of outer slots: the outermost first, it fills those inside. */
static void unroll(struct wheel *w)
{
    for (unsigned level = LEVELS; level >= 1; level--) {
        if (w->tick_ms & ((UINT64_C(1) << shift[level]) - 1))
            continue;
        unroll_slot(w, level == LEVELS ? FAR : first[level] + index_at(level, w->tick_ms));
    }
}

static void fire_all(struct wheel *w, struct list *timers)
{
    for (struct list *link; (link = list_take(timers));) {
        w->count--;
        timer_of(link)->fire(timer_of(link));
    }
}

void wheel_turn(struct wheel *w, uint64_t now_ms)
{
    struct list firing;
    if (now_ms < w->now_ms)
        now_ms = w->now_ms;
    w->now_ms = now_ms;
    list_init(&firing);
    list_splice(&firing, &w->due);
    fire_all(w, &firing);
    for (uint64_t next; (next = next_slot_ms(w)) <= now_ms && next != UINT64_MAX;) {
        w->tick_ms = next;
        unroll(w);
        take_slot(w, index_at(0, next), &firing);
        fire_all(w, &firing);
    }
    w->tick_ms = now_ms;
}

uint64_t wheel_now_ms(const struct wheel *w)
{
    return w->now_ms;
}

uint64_t wheel_next_ms(const struct wheel *w)
{
    return list_empty(&w->due) ? next_slot_ms(w) : timer_of(w->due.next)->at_ms;
}

size_t wheel_count(const struct wheel *w)
{
    return w->count;
}

static size_t check_slot(const struct wheel *w, unsigned slot)
{
    size_t count = 0;
    list_each(link, &w->slots[slot])
    {
        assert(link->next->prev == link);
        assert(timer_of(link)->at_ms > w->tick_ms);
        assert(slot_for(w, timer_of(link)->at_ms) == slot);
        count++;
    }
    if (slot != FAR)
        assert((w->occupied[slot / 64] >> slot % 64 & 1) == (count > 0));
    return count;
}

void wheel_check(const struct wheel *w)
{
    size_t count = 0;
    uint64_t before = 0;
    list_each(link, &w->due)
    {
        assert(timer_of(link)->at_ms >= before);
        assert(timer_of(link)->at_ms <= w->tick_ms);
        before = timer_of(link)->at_ms;
        count++;
    }
    for (unsigned slot = 0; slot < LISTS; slot++)
        count += check_slot(w, slot);
    assert(count == w->count);
}
