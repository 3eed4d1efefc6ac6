/* wheel.h - timers of one shard: a hierarchical wheel with intrusive links.
 *
 * Time is in milliseconds on the clock of whoever turns it (the loop's, or the simulation's). A timer fires
 * in the first wheel_turn() whose `now` is at or after its deadline; timers of one turn fire in the order of
 * their deadlines, those of the same millisecond in the order in which they were set.
 *
 * Cost: set and cancel O(1), 32 bytes a timer, nothing per tick for timers that are not due.
 * Threads: one shard's. Ownership: the timer is a field of its user, who cancels it before freeing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/list.h"
#include <stddef.h>
#include <stdint.h>

struct timer {
    struct list link; /* zeroed = not set */
    uint64_t at_ms;
    void (*fire)(
        struct timer *timer); /* the timer is no longer set when this runs; it may set itself again */
};

struct wheel;
struct wheel *wheel_new(uint64_t now_ms);
/* All timers must have been cancelled or may be forgotten by their owners. */
void wheel_free(struct wheel *w);
/* Sets, or moves, the timer. at_ms in the past: fires in the next turn. */
void wheel_set(struct wheel *w, struct timer *t, uint64_t at_ms);
/* Harmless if not set. */
void wheel_cancel(struct wheel *w, struct timer *t);
static inline bool timer_is_set(const struct timer *t)
{
    return t->link.next != NULL && t->link.next != &t->link;
}
/* Fires what is due. */
void wheel_turn(struct wheel *w, uint64_t now_ms);
/* The time of the last turn. */
uint64_t wheel_now_ms(const struct wheel *w);
/* A moment at or before the next deadline, for the poll time-out; UINT64_MAX if no timer is set. May be early
 * (an inner wheel is unrolled then), never late; an idle wheel does not wake anybody every tick. */
uint64_t wheel_next_ms(const struct wheel *w);
size_t wheel_count(const struct wheel *w);
/* Walks the invariants; for tests and fuzzers. */
void wheel_check(const struct wheel *w);
