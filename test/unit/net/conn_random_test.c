/* conn_random_test.c - random histories of many connections, each checked against what was promised:
 * what a peer has read is a prefix of what was accepted for it, `closed` comes exactly once and nothing after
 * it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/random.h"
#include "net/conn.h"

enum { SIDES = 12, STEPS = 6000, SEEDS = 40, BUFFER = 4096, FRAME_MAX_BYTES = 3000 };

struct side {
    struct world *world;
    struct conn *conn; /* NULL once closed */
    int peer;
    struct buf accepted, seen; /* wire bytes: queued for the peer; read by it */
    struct buf written, input; /* by the peer; used up by the protocol */
};

struct world {
    struct loop *loop;
    struct conn_pool *pool;
    struct random random;
    struct side sides[SIDES];
    char bytes[FRAME_MAX_BYTES];
};

static struct side *any_side(struct world *w)
{
    return &w->sides[random_below(&w->random, SIDES)];
}

static void give(struct side *s)
{
    struct world *w = s->world;
    size_t n = random_below(&w->random, FRAME_MAX_BYTES);
    memset(w->bytes, (int)random_below(&w->random, 256), n);
    struct frame *f = frame_new(FRAME_BINARY, str_make(w->bytes, n));
    struct buf wire = {0};
    buf_str(&wire, frame_wire(f));
    if (s->conn && conn_give_frame(s->conn, f))
        buf_str(&s->accepted, buf_view(&wire));
    else if (!s->conn)
        frame_drop(f);
    buf_free(&wire);
}

/* Whatever a handler might do to itself or to another. */
static void meddle(struct world *w)
{
    struct side *s = any_side(w);
    if (!s->conn)
        return;
    switch (random_below(&w->random, 40)) {
    case 0:
        conn_close(s->conn);
        break;
    case 1:
        conn_close_after_flush(s->conn, (uint32_t)random_below(&w->random, 3));
        break;
    case 2:
    case 3:
        conn_pause(s->conn);
        break;
    case 4:
    case 5:
    case 6:
        conn_resume(s->conn);
        break;
    default:
        give(s);
    }
}

static size_t on_input(struct conn *c, char *bytes, size_t n)
{
    struct side *s = conn_user(c);
    assert_ptr_equal(s->conn, c);
    assert_false(conn_is_closing(c));
    size_t used = random_below(&s->world->random, 3) ? n : random_below(&s->world->random, n + 1);
    buf_put(&s->input, bytes, used);
    meddle(s->world);
    return used;
}

static void on_closed(struct conn *c)
{
    struct side *s = conn_user(c);
    assert_ptr_equal(s->conn, c);
    s->conn = NULL;
    meddle(s->world);
}

static void on_overflow(struct conn *c)
{
    meddle(((struct side *)conn_user(c))->world);
}

static bool on_half_closed(struct conn *c)
{
    return random_below(&((struct side *)conn_user(c))->world->random, 2);
}

static const struct conn_protocol protocol = {on_input, on_closed, on_half_closed, on_overflow, on_overflow};

static void check_prefix(const struct buf *part, const struct buf *whole)
{
    assert_true(part->n <= whole->n);
    if (part->n)
        assert_memory_equal(part->p, whole->p, part->n);
}

static void end_side(struct side *s)
{
    check_prefix(&s->seen, &s->accepted);
    check_prefix(&s->input, &s->written);
    if (s->peer >= 0)
        close(s->peer);
    buf_free(&s->accepted);
    buf_free(&s->seen);
    buf_free(&s->written);
    buf_free(&s->input);
}

static void begin_side(struct world *w, struct side *s)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &(int){BUFFER}, sizeof(int));
    *s = (struct side){.world = w, .peer = fds[1]};
    s->conn = conn_new(w->pool, fds[0], NULL, &protocol, s);
    conn_set_limits(s->conn, (struct conn_limits){.queue_frames_max = 20, .queue_bytes_max = 30000});
}

static void peer_reads(struct side *s)
{
    size_t room = 1 + random_below(&s->world->random, 8000);
    ssize_t n = recv(s->peer, buf_reserve(&s->seen, room), room, MSG_DONTWAIT);
    s->seen.n += n > 0 ? (size_t)n : 0;
}

static void peer_writes(struct side *s)
{
    struct world *w = s->world;
    size_t n = random_below(&w->random, FRAME_MAX_BYTES);
    memset(w->bytes, (int)random_below(&w->random, 256), n);
    ssize_t sent = send(s->peer, w->bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    buf_put(&s->written, w->bytes, sent > 0 ? (size_t)sent : 0);
}

static void step(struct world *w)
{
    struct side *s = any_side(w);
    switch (random_below(&w->random, 12)) {
    case 0:
    case 1:
        loop_turn(w->loop, 0);
        break;
    case 2:
    case 3:
    case 4:
        peer_reads(s);
        break;
    case 5:
    case 6:
        peer_writes(s);
        break;
    case 7:
        if (random_below(&w->random, 20) == 0)
            shutdown(s->peer, (int)random_below(&w->random, 3));
        break;
    case 8:
        if (!s->conn) {
            end_side(s);
            begin_side(w, s);
        }
        break;
    default:
        meddle(w);
    }
}

static void random_histories_keep_every_promise(void **state)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world *w = mem_new(struct world);
        random_from_seed(&w->random, seed);
        w->loop = loop_new(&clock_system, 16);
        w->pool = conn_pool_new(w->loop);
        for (size_t i = 0; i < SIDES; i++)
            begin_side(w, &w->sides[i]);
        for (int i = 0; i < STEPS; i++)
            step(w);
        conn_pool_free(w->pool);
        for (size_t i = 0; i < SIDES; i++) {
            assert_null(w->sides[i].conn);
            end_side(&w->sides[i]);
        }
        loop_free(w->loop);
        free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_histories_keep_every_promise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
