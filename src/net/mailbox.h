/* mailbox.h - how one thread hands work to a shard.
 *
 * A bounded lock-free queue of tasks: many posters, one owner.
 *
 * Ownership  a posted task is the mailbox's, a taken one the taker's; after MAILBOX_FULL still the poster's.
 * Threads    mailbox_post(), mailbox_put(), mailbox_wake(), mailbox_depth(): any. The rest: the owning shard only.
 * Order      first in, first out per poster; none between posters.
 * Limit      capacity. Beyond it MAILBOX_FULL and a count (mailbox_dropped()). Nothing blocks.
 * Wake-up    one eventfd write per batch: only when the owner may be asleep.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Work for a shard: embedded in whatever it is about. */
struct task {
    void (*run)(struct task *task); /* on the receiving shard; owns the task from then on */
};

struct mailbox;
enum mailbox_result { MAILBOX_OK = 0, MAILBOX_FULL = -1 };

/* capacity_tasks: a power of two (asserted). */
struct mailbox *mailbox_new(size_t capacity_tasks);
void mailbox_free(struct mailbox *box); /* must be empty, posters stopped (asserted) */
/* An eventfd to poll edge triggered: every write is an edge, so nobody has to read it. */
int mailbox_fd(const struct mailbox *box);
enum mailbox_result mailbox_post(struct mailbox *box, struct task *task);
/* A post in two steps, so that the owner is woken once for many: each put must be followed by a wake. Any thread. */
enum mailbox_result mailbox_put(struct mailbox *box, struct task *task);
void mailbox_wake(struct mailbox *box);
/* Takes up to max tasks, oldest first; returns how many. */
size_t mailbox_take(struct mailbox *box, struct task **tasks, size_t max);
/* The owner says that it is about to sleep. False if tasks have come meanwhile: do not sleep. */
int mailbox_sleep(struct mailbox *box);
/* The owner is awake again: posts need no wake-up. */
void mailbox_awake(struct mailbox *box);
size_t mailbox_depth(const struct mailbox *box);
uint64_t mailbox_dropped(const struct mailbox *box);
