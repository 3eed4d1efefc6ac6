/* mailbox.c - a ring of cells, each with the turn it is ready for (D. Vyukov's bounded queue).
 *
 *      capacity 4, tail 6, head 4
 *      cell      0       1       2       3
 *      ready     5       6       6       7        cell i is free for position p when ready == p,
 *      task      a(4)    b(5)    -       -        and holds the task of p when ready == p + 1
 *
 * A poster claims a position by moving tail, then publishes the cell; the owner takes the cell at head only
 * when it is published, so a poster that is interrupted in between delays those behind it and loses nothing.
 *
 * Sleeping: the owner writes `asleep`, then looks at the cell at head; a poster writes the cell, then looks
 * at `asleep`. All four are sequentially consistent, so at least one of the two sees the other. (No fences:
 * ThreadSanitizer does not know them.)
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/mailbox.h"

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"

enum { CACHE_LINE = 64 };

struct cell {
    _Atomic size_t ready;
    struct task *task;
};

struct mailbox {
    struct cell *cells;
    size_t mask; /* cells - 1 */
    int fd;
    alignas(CACHE_LINE) _Atomic size_t tail; /* next position to claim */
    _Atomic uint64_t dropped;
    alignas(CACHE_LINE) _Atomic size_t head; /* next position to take; the owner's */
    alignas(CACHE_LINE) _Atomic int asleep;
};

struct mailbox *mailbox_new(size_t capacity_tasks)
{
    assert(capacity_tasks >= 2);
    assert((capacity_tasks & (capacity_tasks - 1)) == 0);
    struct mailbox *box = aligned_alloc(CACHE_LINE, sizeof *box);
    if (!box)
        abort();
    memset(box, 0, sizeof *box);
    box->cells = mem_alloc(capacity_tasks * sizeof *box->cells);
    box->mask = capacity_tasks - 1;
    for (size_t i = 0; i < capacity_tasks; i++) {
        atomic_init(&box->cells[i].ready, i);
        box->cells[i].task = NULL;
    }
    box->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (box->fd < 0) {
        perror("eventfd");
        abort();
    }
    return box;
}

void mailbox_free(struct mailbox *box)
{
    if (!box)
        return;
    assert(mailbox_depth(box) == 0);
    close(box->fd);
    free(box->cells);
    free(box);
}

int mailbox_fd(const struct mailbox *box)
{
    return box->fd;
}

void mailbox_wake(struct mailbox *box)
{
    if (atomic_load(&box->asleep) && atomic_exchange(&box->asleep, 0)) {
        ssize_t written = write(box->fd, &(uint64_t){1}, sizeof(uint64_t));
        (void)written; /* fails only when the counter is full: then it is readable anyway */
    }
}

static struct cell *claim(struct mailbox *box, size_t *position)
{
    size_t at = atomic_load_explicit(&box->tail, memory_order_relaxed);
    for (;;) {
        struct cell *cell = &box->cells[at & box->mask];
        ptrdiff_t lead = (ptrdiff_t)(atomic_load_explicit(&cell->ready, memory_order_acquire) - at);
        if (lead < 0)
            return NULL;
        if (lead > 0) {
            at = atomic_load_explicit(&box->tail, memory_order_relaxed);
            continue;
        }
        if (atomic_compare_exchange_weak_explicit(&box->tail, &at, at + 1, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            *position = at;
            return cell;
        }
    }
}

enum mailbox_result mailbox_put(struct mailbox *box, struct task *task)
{
    size_t position;
    struct cell *cell = claim(box, &position);
    if (!cell) {
        atomic_fetch_add_explicit(&box->dropped, 1, memory_order_relaxed);
        return MAILBOX_FULL;
    }
    cell->task = task;
    atomic_store(&cell->ready, position + 1);
    return MAILBOX_OK;
}

enum mailbox_result mailbox_post(struct mailbox *box, struct task *task)
{
    enum mailbox_result result = mailbox_put(box, task);
    if (result == MAILBOX_OK)
        mailbox_wake(box);
    return result;
}

size_t mailbox_take(struct mailbox *box, struct task **tasks, size_t max)
{
    size_t head = atomic_load_explicit(&box->head, memory_order_relaxed), count = 0;
    for (; count < max; count++, head++) {
        struct cell *cell = &box->cells[head & box->mask];
        if (atomic_load_explicit(&cell->ready, memory_order_acquire) != head + 1)
            break;
        tasks[count] = cell->task;
        atomic_store_explicit(&cell->ready, head + box->mask + 1, memory_order_release);
    }
    atomic_store_explicit(&box->head, head, memory_order_relaxed);
    return count;
}

int mailbox_sleep(struct mailbox *box)
{
    size_t head = atomic_load_explicit(&box->head, memory_order_relaxed);
    atomic_store(&box->asleep, 1);
    if (atomic_load(&box->cells[head & box->mask].ready) != head + 1)
        return 1;
    atomic_store(&box->asleep, 0);
    return 0;
}

void mailbox_awake(struct mailbox *box)
{
    atomic_store_explicit(&box->asleep, 0, memory_order_relaxed);
}

size_t mailbox_depth(const struct mailbox *box)
{
    size_t head = atomic_load_explicit(&box->head, memory_order_relaxed);
    size_t tail = atomic_load_explicit(&box->tail, memory_order_relaxed);
    return tail - head > box->mask + 1 ? 0 : tail - head;
}

uint64_t mailbox_dropped(const struct mailbox *box)
{
    return atomic_load_explicit(&box->dropped, memory_order_relaxed);
}
