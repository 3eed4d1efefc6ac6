/* loop.h - the event loop of one shard (epoll, edge triggered for sockets).
 *
 * A turn: wait (until the next timer, an event or mail) -> mail -> socket events -> timers -> local tasks ->
 * end-of-turn hooks (sockets with something to send write it there, once) -> again.
 *
 * Threads: everything but loop_stop() and loop_mailbox() (whose mailbox_post is for all) belongs to the
 * thread that runs the loop, or to the one that sets it up before it runs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/clock.h"
#include "net/mailbox.h"
#include "net/wheel.h"

/* Something that is polled: a field of its user. */
struct io {
    int fd;
    void (*ready)(struct io *io, uint32_t events); /* EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLERR | EPOLLRDHUP */
};

/* Runs once at the end of the turn in which it was asked for. */
struct turn_hook {
    struct list link; /* zeroed = not asked for */
    void (*run)(struct turn_hook *hook);
};

struct loop;
struct loop *loop_new(const struct clock *clock, size_t mailbox_capacity_tasks);
void loop_free(struct loop *loop);
/* Runs until loop_stop(). */
void loop_run(struct loop *loop);
/* One turn that waits at most wait_ms (-1: as loop_run does). For tests. */
void loop_turn(struct loop *loop, int wait_ms);
void loop_stop(struct loop *loop); /* any thread */

/* events: EPOLLIN and so on; add EPOLLET for sockets. 0, or -errno. */
int loop_add(struct loop *loop, struct io *io, uint32_t events);
int loop_change(struct loop *loop, struct io *io, uint32_t events);
/* Must come before close(fd). No event of this io is dispatched afterwards, even in the same turn. */
void loop_remove(struct loop *loop, struct io *io);

/* Same turn, after timers; from the loop's thread. What a task or hook asks for itself comes in the next
 * turn, which then does not wait. */
void loop_defer(struct loop *loop, struct task *task);
void loop_at_end(struct loop *loop, struct turn_hook *hook); /* harmless if asked for already */

struct mailbox *loop_mailbox(struct loop *loop);
struct wheel *loop_wheel(struct loop *loop);
uint64_t loop_now_ms(const struct loop *loop); /* monotonic, taken at the start of the turn */
uint64_t loop_now_ns(const struct loop *loop);
/* Since the last call of it: time, what of it was not spent waiting, and turns begun. Any thread. */
struct loop_use {
    uint64_t all_ns, busy_ns, turns;
};
struct loop_use loop_use(struct loop *loop);
