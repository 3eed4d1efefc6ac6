/* conn.c - life of a connection, and the way in.
 *
 * Input is read into one scratch buffer per shard and handed to the protocol there. What it does not use up
 * is kept in a block of exactly that size, and put in front of the next read:
 *
 *      scratch  [kept from last time | newly read ........ ]
 *                                     used up ^   ^ the rest: kept again
 *
 * When much is kept (a large message that is still coming) it would be copied there and back with each read,
 * so from KEPT_SMALL on the socket is read right behind it, into a block that doubles.
 *
 * Sockets are edge triggered. One that still has input after its share of a turn goes on the ready list, and
 * so does one that is resumed: no edge will come for what is there already.
 *
 * A closed connection moves to the dying list; at the end of the turn `closed` is called and it is freed. So
 * nobody's connection vanishes while it is on somebody's stack. Connections lie in slabs aligned to cache
 * lines; a slab is never returned, its places are used again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/conn_internal.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

enum { SCRATCH = 64 * 1024, KEPT_SMALL = 16 * 1024, READ_TURN_MAX = 256 * 1024, SLAB_CONNS = 64 };

struct conn_slab {
    struct conn_slab *next;
    char room[CONN_LINE - sizeof(struct conn_slab *)];
    struct {
        struct conn conn;
        char room[-sizeof(struct conn) % CONN_LINE];
    } places[SLAB_CONNS];
};
_Static_assert(sizeof(struct conn_slab) % CONN_LINE == 0, "places are aligned to cache lines");

struct conn_linger {
    struct timer timer;
    struct conn *conn;
};

static void end_of_turn(struct turn_hook *hook);
static void read_ready(struct task *task);
static void on_events(struct io *io, uint32_t events);

/* ---- pool */

struct conn_pool *conn_pool_new(struct loop *loop)
{
    struct conn_pool *pool = mem_new(struct conn_pool);
    pool->loop = loop;
    pool->hook.run = end_of_turn;
    pool->resume.run = read_ready;
    pool->scratch = mem_alloc(SCRATCH);
    list_init(&pool->open);
    list_init(&pool->ready);
    list_init(&pool->dying);
    return pool;
}

static void add_slab(struct conn_pool *pool)
{
    struct conn_slab *slab = aligned_alloc(CONN_LINE, sizeof *slab);
    if (!slab)
        abort();
    slab->next = pool->slabs;
    pool->slabs = slab;
    for (size_t i = SLAB_CONNS; i-- > 0;) {
        slab->places[i].conn.dirty_next = pool->free;
        pool->free = &slab->places[i].conn;
    }
}

static struct conn *place_take(struct conn_pool *pool)
{
    if (!pool->free)
        add_slab(pool);
    struct conn *c = pool->free;
    ASAN_UNPOISON_MEMORY_REGION(c, sizeof *c);
    pool->free = c->dirty_next;
    *c = (struct conn){0};
    return c;
}

static void place_give(struct conn_pool *pool, struct conn *c)
{
    c->dirty_next = pool->free;
    pool->free = c;
    ASAN_POISON_MEMORY_REGION(c, sizeof *c);
}

static void cancel_linger(struct conn *c)
{
    if (!c->linger)
        return;
    wheel_cancel(loop_wheel(c->pool->loop), &c->linger->timer);
    free(c->linger);
    c->linger = NULL;
}

static void bury(struct conn_pool *pool, struct conn *c)
{
    c->protocol->closed(c);
    assert(!(c->flags & CONN_DIRTY));
    if (c->io.fd >= 0)
        close(c->io.fd);
    free(c->kept);
    list_remove(&c->link);
    pool->count--;
    place_give(pool, c);
}

/* One that became dirty since the flush, in somebody's callback, and was closed then is still on the dirty
 * list: the next flush takes it off. Those that die in a `closed` wait for the next turn as well. */
static void bury_dying(struct conn_pool *pool)
{
    struct list now;
    list_init(&now);
    list_splice(&now, &pool->dying);
    while (!list_empty(&now)) {
        struct conn *c = list_of(now.next, struct conn, link);
        if (c->flags & CONN_DIRTY) {
            list_remove(&c->link);
            list_append(&pool->dying, &c->link);
        } else {
            bury(pool, c);
        }
    }
    if (!list_empty(&pool->dying))
        loop_at_end(pool->loop, &pool->hook);
}

static void end_of_turn(struct turn_hook *hook)
{
    struct conn_pool *pool = list_of(hook, struct conn_pool, hook);
    conn_flush_dirty(pool);
    bury_dying(pool);
}

void conn_pool_free(struct conn_pool *pool)
{
    if (!pool)
        return;
    list_each_safe(link, after, &pool->open) conn_close(list_of(link, struct conn, link));
    while (pool->count)
        end_of_turn(&pool->hook);
    conn_flush_dirty(pool);
    if (pool->hook.link.next)
        list_remove(&pool->hook.link);
    for (struct conn_slab *slab = pool->slabs, *next; slab; slab = next) {
        next = slab->next;
        ASAN_UNPOISON_MEMORY_REGION(slab, sizeof *slab);
        free(slab);
    }
    free(pool->scratch);
    free(pool);
}

const struct conn_stats *conn_pool_stats(const struct conn_pool *pool)
{
    return &pool->stats;
}

size_t conn_pool_count(const struct conn_pool *pool)
{
    return pool->count;
}

/* ---- life */

static void set_peer(struct conn *c, const struct sockaddr_storage *peer)
{
    if (peer && peer->ss_family == AF_INET) {
        memcpy(c->peer_address, &((const struct sockaddr_in *)peer)->sin_addr, 4);
        c->peer_family = AF_INET;
    } else if (peer && peer->ss_family == AF_INET6) {
        memcpy(c->peer_address, &((const struct sockaddr_in6 *)peer)->sin6_addr, 16);
        c->peer_family = AF_INET6;
    }
}

struct conn *conn_new(struct conn_pool *pool, int fd, const struct sockaddr_storage *peer,
                      const struct conn_protocol *protocol, void *user)
{
    struct conn *c = place_take(pool);
    c->io = (struct io){fd, on_events};
    c->pool = pool;
    c->protocol = protocol;
    c->user = user;
    set_peer(c, peer);
    list_append(&pool->open, &c->link);
    pool->count++;
    if (loop_add(pool->loop, &c->io, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) != 0)
        conn_close(c);
    return c;
}

void conn_become(struct conn *c, const struct conn_protocol *protocol, void *user)
{
    c->protocol = protocol;
    c->user = user;
    if (c->kept_bytes && !(c->flags & CONN_READING))
        conn_ready_again(c);
}

void *conn_user(const struct conn *c)
{
    return c->user;
}

struct loop *conn_loop(const struct conn *c)
{
    return c->pool->loop;
}

void conn_set_limits(struct conn *c, struct conn_limits limits)
{
    c->limits = limits;
}

static bool is_mapped_v4(const unsigned char address[16])
{
    static const unsigned char prefix[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(address, prefix, sizeof prefix) == 0;
}

void conn_peer(const struct conn *c, char out[46])
{
    out[0] = '\0';
    if (c->peer_family == AF_INET6 && is_mapped_v4(c->peer_address))
        inet_ntop(AF_INET, c->peer_address + 12, out, 46);
    else if (c->peer_family)
        inet_ntop(c->peer_family, c->peer_address, out, 46);
}

void conn_close(struct conn *c)
{
    struct conn_pool *pool = c->pool;
    if (c->flags & CONN_CLOSING)
        return;
    c->flags |= CONN_CLOSING;
    cancel_linger(c);
    conn_drop_queue(c);
    if (c->ready_link.next)
        list_remove(&c->ready_link);
    loop_remove(pool->loop, &c->io);
    list_remove(&c->link);
    list_append(&pool->dying, &c->link);
    loop_at_end(pool->loop, &pool->hook);
}

bool conn_is_closing(const struct conn *c)
{
    return c->flags & (CONN_CLOSING | CONN_FINISHING);
}

static void lingered_enough(struct timer *timer)
{
    conn_close(list_of(timer, struct conn_linger, timer)->conn);
}

void conn_close_after_flush(struct conn *c, uint32_t linger_ms)
{
    if (conn_is_closing(c))
        return;
    c->flags |= CONN_FINISHING;
    c->flags &= ~(uint32_t)CONN_PAUSED;
    c->linger = mem_new(struct conn_linger);
    c->linger->conn = c;
    c->linger->timer.fire = lingered_enough;
    wheel_set(loop_wheel(c->pool->loop), &c->linger->timer, loop_now_ms(c->pool->loop) + linger_ms);
    conn_mark_dirty(c);  /* even with nothing to send: the flush finishes it */
    conn_ready_again(c); /* what is there already is to be read and thrown away */
}

/* Everything has been sent. */
void conn_finish(struct conn *c)
{
    if (c->flags & CONN_ENDED) {
        conn_close(c);
        return;
    }
    if (c->flags & CONN_SHUT)
        return;
    c->flags |= CONN_SHUT;
    shutdown(c->io.fd, SHUT_WR);
}

/* ---- input */

void conn_pause(struct conn *c)
{
    c->flags |= CONN_PAUSED;
}

void conn_resume(struct conn *c)
{
    if (!(c->flags & CONN_PAUSED))
        return;
    c->flags &= ~(uint32_t)CONN_PAUSED;
    conn_ready_again(c);
}

void conn_ready_again(struct conn *c)
{
    struct conn_pool *pool = c->pool;
    if ((c->flags & CONN_CLOSING) || (c->ready_link.next && !list_empty(&c->ready_link)))
        return;
    list_append(&pool->ready, &c->ready_link);
    if (pool->resume_state == RESUME_ASKED)
        return;
    pool->resume_state = RESUME_ASKED;
    loop_defer(pool->loop, &pool->resume);
}

static bool wants_input(const struct conn *c)
{
    return !(c->flags & (CONN_CLOSING | CONN_FINISHING | CONN_PAUSED));
}

/* Returns how many bytes were used up. */
static size_t deliver(struct conn *c, char *bytes, size_t n)
{
    size_t used = 0;
    for (const struct conn_protocol *protocol = NULL;
         used < n && wants_input(c) && protocol != c->protocol;) {
        protocol = c->protocol;
        size_t now = protocol->input(c, bytes + used, n - used);
        assert(now <= n - used);
        used += now;
    }
    return used;
}

static void keep(struct conn *c, const char *bytes, size_t n)
{
    if (n != c->kept_cap) {
        free(c->kept);
        c->kept = n ? mem_alloc(n) : NULL;
        c->kept_cap = (uint32_t)n;
    }
    if (n)
        memcpy(c->kept, bytes, n);
    c->kept_bytes = (uint32_t)n;
}

static void use_kept(struct conn *c, size_t used)
{
    if (used == 0)
        return;
    c->kept_bytes -= (uint32_t)used;
    memmove(c->kept, c->kept + used, c->kept_bytes);
    if (c->kept_bytes > KEPT_SMALL)
        return;
    c->kept_cap = c->kept_bytes;
    if (c->kept_bytes) {
        c->kept = mem_realloc(c->kept, c->kept_bytes);
        return;
    }
    free(c->kept);
    c->kept = NULL;
}

/* Little or nothing is kept: through the scratch buffer. Returns what recv() did; *room is what it was asked.
 */
static ssize_t read_through_scratch(struct conn *c, size_t *room)
{
    struct conn_pool *pool = c->pool;
    size_t before = c->kept_bytes;
    *room = SCRATCH - before;
    ssize_t n = recv(c->io.fd, pool->scratch + before, *room, MSG_DONTWAIT);
    if (n <= 0 || !wants_input(c))
        return n; /* finishing: thrown away */
    if (before)
        memcpy(pool->scratch, c->kept, before);
    size_t all = before + (size_t)n, used = deliver(c, pool->scratch, all);
    keep(c, pool->scratch + used, all - used);
    return n;
}

/* Much is kept: right behind it. */
static ssize_t read_behind_kept(struct conn *c, size_t *room)
{
    if (c->kept_cap - c->kept_bytes < SCRATCH) {
        assert(c->kept_cap < UINT32_MAX / 2 - SCRATCH);
        c->kept_cap = c->kept_cap * 2 + SCRATCH;
        c->kept = mem_realloc(c->kept, c->kept_cap);
    }
    *room = c->kept_cap - c->kept_bytes;
    if (*room > READ_TURN_MAX)
        *room = READ_TURN_MAX;
    ssize_t n = recv(c->io.fd, c->kept + c->kept_bytes, *room, MSG_DONTWAIT);
    if (n <= 0)
        return n;
    c->kept_bytes += (uint32_t)n;
    use_kept(c, deliver(c, c->kept, c->kept_bytes));
    return n;
}

static void on_end(struct conn *c)
{
    c->flags |= CONN_ENDED;
    if (c->flags & CONN_FINISHING) {
        if (c->flags & CONN_SHUT)
            conn_close(c);
        return;
    }
    if (!c->protocol->half_closed || !c->protocol->half_closed(c))
        conn_close(c);
}

enum read_result { READ_ON, READ_LATER };

static enum read_result read_once(struct conn *c, size_t *share)
{
    size_t room;
    if (c->flags & CONN_FINISHING)
        use_kept(c, c->kept_bytes);
    ssize_t n = c->kept_bytes <= KEPT_SMALL ? read_through_scratch(c, &room) : read_behind_kept(c, &room);
    if (n > 0) {
        c->pool->bytes_in += (size_t)n;
        *share -= (size_t)n < *share ? (size_t)n : *share;
        return (size_t)n < room && !(c->flags & CONN_HUNG_UP) ? READ_LATER : READ_ON;
    }
    if (n < 0 && errno == EINTR)
        return READ_ON;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return READ_LATER;
    if (n == 0)
        on_end(c);
    else
        conn_close(c);
    return READ_LATER;
}

static void conn_read(struct conn *c)
{
    size_t share = READ_TURN_MAX;
    c->flags |= CONN_READING;
    while (!(c->flags & (CONN_CLOSING | CONN_ENDED | CONN_PAUSED))) {
        if (share == 0) {
            conn_ready_again(c);
            break;
        }
        if (read_once(c, &share) == READ_LATER)
            break;
    }
    c->flags &= ~(uint32_t)CONN_READING;
    loop_at_end(c->pool->loop, &c->pool->hook); /* publishes what was counted */
}

static void on_events(struct io *io, uint32_t events)
{
    struct conn *c = list_of(io, struct conn, io);
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        c->flags |= CONN_HUNG_UP;
    if ((events & (EPOLLHUP | EPOLLERR)) && (c->flags & (CONN_PAUSED | CONN_ENDED))) {
        conn_close(c); /* nobody would read the error */
        return;
    }
    if (events & EPOLLOUT)
        conn_writable(c);
    if (events & ~(uint32_t)EPOLLOUT)
        conn_read(c);
}

/* First what is kept, which the protocol had left when it paused or was replaced, then the socket. */
static void read_again(struct conn *c)
{
    if (c->kept_bytes && wants_input(c)) {
        c->flags |= CONN_READING;
        size_t used = deliver(c, c->kept, c->kept_bytes);
        use_kept(c, used);
        c->flags &= ~(uint32_t)CONN_READING;
    }
    conn_read(c);
}

static void read_ready(struct task *task)
{
    struct conn_pool *pool = list_of(task, struct conn_pool, resume);
    struct list now;
    list_init(&now);
    list_splice(&now, &pool->ready);
    pool->resume_state = RESUME_IDLE;
    for (struct list *link; (link = list_take(&now));)
        read_again(list_of(link, struct conn, ready_link));
}
