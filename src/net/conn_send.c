/* conn_send.c - the way out: a queue of frames per connection, one write per connection and turn.
 *
 *      give    a -> q:[f]    b -> q:[f]    c -> q:[e][f]         pool: dirty a -> b -> c
 *      end of the turn:  send(a, f)   send(b, f)   sendmsg(c, e f)
 *
 * Nothing but the first cache line of a connection is touched for a frame that leaves at once, the line of
 * the next one is fetched while the kernel sends, and the references of a frame that went to many connections
 * in a row are given back with one atomic operation.
 *
 * A socket that takes no more is BLOCKED until EPOLLOUT comes: it is never dirty meanwhile. After a short
 * write we try again until the kernel says EAGAIN, since only that arms the edge.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/conn_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/mem.h"

enum { RING_FIRST = 8, GATHER_MAX = 64 };

static uint32_t size_of(const struct frame *f)
{
    return f->end - f->head;
}

static struct frame **slot(struct conn *c, uint32_t index)
{
    assert(index < c->queued_frames);
    if (!(c->flags & CONN_RING))
        return &c->inline_frames[index];
    return &c->ring->frames[(c->ring->first + index) & c->ring->mask];
}

size_t conn_queued_frames(const struct conn *c)
{
    return c->queued_frames;
}

size_t conn_queued_bytes(const struct conn *c)
{
    if (c->flags & CONN_RING)
        return c->ring->bytes - c->sent_bytes;
    size_t bytes = 0;
    for (uint32_t i = 0; i < c->queued_frames; i++)
        bytes += size_of(c->inline_frames[i]);
    return bytes - c->sent_bytes;
}

static struct conn_ring *ring_of(uint32_t slots)
{
    struct conn_ring *ring = mem_alloc(sizeof *ring + slots * sizeof ring->frames[0]);
    *ring = (struct conn_ring){.mask = slots - 1};
    return ring;
}

static void grow(struct conn *c)
{
    uint32_t slots = c->flags & CONN_RING ? (c->ring->mask + 1) * 2 : RING_FIRST;
    struct conn_ring *ring = ring_of(slots);
    for (uint32_t i = 0; i < c->queued_frames; i++) {
        ring->frames[i] = *slot(c, i);
        ring->bytes += size_of(ring->frames[i]);
    }
    if (c->flags & CONN_RING)
        free(c->ring);
    c->ring = ring;
    c->flags |= CONN_RING;
}

static void release_ring(struct conn *c)
{
    if (!(c->flags & CONN_RING))
        return;
    free(c->ring);
    c->flags &= ~(uint32_t)CONN_RING;
}

static void push(struct conn *c, struct frame *f)
{
    uint32_t room = c->flags & CONN_RING ? c->ring->mask + 1 : CONN_INLINE_FRAMES;
    if (c->queued_frames == room)
        grow(c);
    if (c->flags & CONN_RING)
        c->ring->bytes += size_of(f);
    c->queued_frames++;
    *slot(c, c->queued_frames - 1) = f;
    c->pool->queued_bytes += size_of(f);
    conn_mark_dirty(c);
}

void conn_mark_dirty(struct conn *c)
{
    struct conn_pool *pool = c->pool;
    if (c->flags & (CONN_DIRTY | CONN_BLOCKED))
        return;
    c->flags |= CONN_DIRTY;
    c->dirty_next = NULL;
    if (pool->dirty_first)
        pool->dirty_last->dirty_next = c;
    else
        pool->dirty_first = c;
    pool->dirty_last = c;
    loop_at_end(pool->loop, &pool->hook);
}

/* One reference of f is to be dropped: soon, together with its like. */
static void spend(struct conn_pool *pool, struct frame *f)
{
    if (pool->spent == f && pool->spent_count < UINT32_MAX) {
        pool->spent_count++;
        return;
    }
    if (pool->spent)
        frame_drop_many(pool->spent, pool->spent_count);
    pool->spent = f;
    pool->spent_count = 1;
}

/* The first `frames` of the queue are done with. */
static void pop(struct conn *c, uint32_t frames)
{
    for (uint32_t i = 0; i < frames; i++) {
        struct frame *f = *slot(c, i);
        if (c->flags & CONN_RING)
            c->ring->bytes -= size_of(f);
        spend(c->pool, f);
    }
    if (c->flags & CONN_RING)
        c->ring->first = (c->ring->first + frames) & c->ring->mask;
    else if (frames == 1)
        c->inline_frames[0] = c->inline_frames[1];
    c->queued_frames -= frames;
    if (c->queued_frames == 0)
        release_ring(c);
}

void conn_drop_queue(struct conn *c)
{
    c->pool->queued_bytes -= conn_queued_bytes(c);
    c->sent_bytes = 0;
    pop(c, c->queued_frames);
}

/* n bytes of the queue have left. */
static void sent(struct conn *c, size_t n)
{
    struct conn_pool *pool = c->pool;
    uint32_t frames = 0;
    pool->bytes_out += n;
    pool->queued_bytes -= n;
    n += c->sent_bytes;
    while (frames < c->queued_frames && n >= size_of(*slot(c, frames)))
        n -= size_of(*slot(c, frames++));
    pool->frames_out += frames;
    c->sent_bytes = (uint32_t)n;
    pop(c, frames);
}

static ssize_t write_gathered(struct conn *c)
{
    struct iovec parts[GATHER_MAX];
    size_t count = c->queued_frames < GATHER_MAX ? c->queued_frames : GATHER_MAX;
    for (uint32_t i = 0; i < count; i++) {
        struct str wire = frame_wire(*slot(c, i));
        parts[i] = (struct iovec){(void *)wire.p, wire.n};
    }
    parts[0].iov_base = (char *)parts[0].iov_base + c->sent_bytes;
    parts[0].iov_len -= c->sent_bytes;
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    return sendmsg(c->io.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static ssize_t write_first(struct conn *c)
{
    struct str wire = str_from(frame_wire(*slot(c, 0)), c->sent_bytes);
    return send(c->io.fd, wire.p, wire.n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void tell_drained(struct conn *c)
{
    if (c->queued_frames == 0 && !(c->flags & (CONN_CLOSING | CONN_FINISHING)) && c->protocol->drained)
        c->protocol->drained(c);
}

void conn_flush(struct conn_pool *pool, struct conn *c)
{
    while (c->queued_frames && !(c->flags & (CONN_CLOSING | CONN_BLOCKED))) {
        ssize_t n = c->queued_frames == 1 ? write_first(c) : write_gathered(c);
        pool->writes++;
        if (n >= 0)
            sent(c, (size_t)n);
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            c->flags |= CONN_BLOCKED;
        else if (errno != EINTR)
            conn_close(c);
    }
    if ((c->flags & (CONN_FINISHING | CONN_CLOSING)) == CONN_FINISHING && c->queued_frames == 0)
        conn_finish(c);
}

/* One writer: no locked addition is needed. */
static void publish(_Atomic uint64_t *total, uint64_t more)
{
    uint64_t before = atomic_load_explicit(total, memory_order_relaxed);
    atomic_store_explicit(total, before + more, memory_order_relaxed);
}

static void publish_stats(struct conn_pool *pool)
{
    struct conn_stats *s = &pool->stats;
    publish(&s->bytes_in, pool->bytes_in);
    publish(&s->bytes_out, pool->bytes_out);
    publish(&s->writes, pool->writes);
    publish(&s->frames_out, pool->frames_out);
    atomic_store_explicit(&s->queued_bytes, pool->queued_bytes, memory_order_relaxed);
    pool->bytes_in = pool->bytes_out = pool->writes = pool->frames_out = 0;
}

/* Those that become dirty meanwhile come in the next turn. */
void conn_flush_dirty(struct conn_pool *pool)
{
    struct conn *c = pool->dirty_first, *next;
    pool->dirty_first = pool->dirty_last = NULL;
    for (; c; c = next) {
        next = c->dirty_next;
        __builtin_prefetch(next, 1);
        c->flags &= ~(uint32_t)CONN_DIRTY;
        conn_flush(pool, c);
        if (c->flags & CONN_PAUSED)
            tell_drained(c);
    }
    if (pool->spent)
        frame_drop_many(pool->spent, pool->spent_count);
    pool->spent = NULL;
    publish_stats(pool);
}

void conn_writable(struct conn *c)
{
    if (!(c->flags & CONN_BLOCKED))
        return;
    c->flags &= ~(uint32_t)CONN_BLOCKED;
    conn_flush(c->pool, c);
    loop_at_end(c->pool->loop, &c->pool->hook); /* publishes, gives back what was spent */
    tell_drained(c);
}

static bool fits(const struct conn *c, const struct frame *f)
{
    uint64_t bytes_max = c->limits.queue_bytes_max;
    if (c->limits.queue_frames_max && c->queued_frames >= c->limits.queue_frames_max)
        return false;
    if (bytes_max > CONN_SQUEEZED_BYTES && c->pool->queued_bytes > CONN_POOL_BYTES_MAX)
        bytes_max = CONN_SQUEEZED_BYTES;
    return !bytes_max || conn_queued_bytes(c) + size_of(f) <= bytes_max;
}

/* The queue is not empty: room as it is, or after sending now instead of at the end of the turn? */
static bool make_room(struct conn *c, const struct frame *f)
{
    if (fits(c, f))
        return true;
    conn_flush(c->pool, c);
    loop_at_end(c->pool->loop, &c->pool->hook);
    return !(c->flags & CONN_CLOSING) && (c->queued_frames == 0 || fits(c, f));
}

bool conn_give_frame(struct conn *c, struct frame *f)
{
    if (c->flags & (CONN_CLOSING | CONN_FINISHING)) {
        frame_drop(f);
        return false;
    }
    if (c->queued_frames && !make_room(c, f)) {
        frame_drop(f);
        if (!(c->flags & CONN_CLOSING) && c->protocol->overflow)
            c->protocol->overflow(c);
        return false;
    }
    push(c, f);
    return true;
}

bool conn_send_frame(struct conn *c, struct frame *f)
{
    return conn_give_frame(c, frame_take(f));
}

void conn_force_frame(struct conn *c, struct frame *f)
{
    if (!(c->flags & (CONN_CLOSING | CONN_FINISHING)))
        push(c, frame_take(f));
}

void conn_send_bytes(struct conn *c, struct str bytes)
{
    if (bytes.n == 0)
        return;
    struct frame *f = frame_new_raw(bytes.n);
    memcpy(frame_room(f), bytes.p, bytes.n);
    conn_force_frame(c, f);
    frame_drop(f);
}
