/* conn_pool_test.c - what all connections of a shard may have queued together.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "net/conn.h"

enum { OTHERS = 18, OTHERS_FRAME = 64 << 20 };
_Static_assert((uint64_t)OTHERS * OTHERS_FRAME > CONN_POOL_BYTES_MAX + OTHERS_FRAME, "the sockets take less than one of them");

static unsigned overflows;

static size_t on_input(struct conn *c, char *bytes, size_t n)
{
    return n;
}

static void on_closed(struct conn *c)
{
}

static void on_overflow(struct conn *c)
{
    overflows++;
}

static const struct conn_protocol protocol = {.input = on_input, .closed = on_closed, .overflow = on_overflow};

/* Nobody reads at the other end. */
static struct conn *connection(struct conn_pool *pool, int *peer)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &(int){8192}, sizeof(int));
    *peer = fds[1];
    return conn_new(pool, fds[0], NULL, &protocol, NULL);
}

/* Thousands of slow readers, each within its own limit, would fill any memory. */
static void all_connections_together_are_bounded(void **state)
{
    struct loop *loop = loop_new(&clock_system, 16);
    struct conn_pool *pool = conn_pool_new(loop);
    struct frame *big = frame_new_raw(OTHERS_FRAME), *quarter = frame_new_raw(CONN_SQUEEZED_BYTES);
    struct conn *others[OTHERS];
    int peers[OTHERS], slow_peer, fresh_peer;
    struct conn *slow = connection(pool, &slow_peer), *fresh = connection(pool, &fresh_peer);
    conn_set_limits(slow, (struct conn_limits){.queue_bytes_max = 4 * CONN_SQUEEZED_BYTES});
    assert_true(conn_send_frame(slow, quarter));
    assert_true(conn_send_frame(slow, quarter));
    for (int i = 0; i < OTHERS; i++) {
        others[i] = connection(pool, &peers[i]);
        assert_true(conn_send_frame(others[i], big));
    }

    assert_false(conn_send_frame(slow, quarter));
    assert_int_equal(overflows, 1);
    assert_true(conn_send_frame(fresh, quarter)); /* it may be one that reads */

    for (int i = 0; i < OTHERS; i++)
        conn_close(others[i]);
    loop_turn(loop, 0);
    assert_true(conn_send_frame(slow, quarter));
    conn_pool_free(pool);
    loop_free(loop);
    frame_drop(big);
    frame_drop(quarter);
    for (int i = 0; i < OTHERS; i++)
        close(peers[i]);
    close(slow_peer);
    close(fresh_peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_connections_together_are_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
