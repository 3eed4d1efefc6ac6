/* conn_test.c - connections over socket pairs; the test holds the other end.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "net/conn.h"

enum { BUFFER = 8192, PATIENCE_TURNS = 2000 };

/* One connection and what its protocol was told, e.g. "in:abc overflow closed". */
struct side {
    struct conn *conn;
    int peer;
    struct buf told;
    size_t use_max; /* bytes that input() uses up of each call; 0 = all */
    bool half_open; /* half_closed() answers true */
    void (*on_input)(struct side *s);
};

struct fixture {
    struct loop *loop;
    struct conn_pool *pool;
    struct side a, b;
};

static void tell(struct side *s, const char *what, struct str detail)
{
    buf_fmt(&s->told, "%s%s%.*s", s->told.n ? " " : "", what, STR_ARG(detail));
}

static const char *told(struct side *s)
{
    buf_char(&s->told, '\0');
    s->told.n--;
    return s->told.p;
}

static size_t on_input(struct conn *c, char *bytes, size_t n)
{
    struct side *s = conn_user(c);
    if (n > 100)
        buf_fmt(&s->told, "%sin:%zu bytes", s->told.n ? " " : "", n);
    else
        tell(s, "in:", str_make(bytes, n));
    if (s->on_input)
        s->on_input(s);
    return s->use_max && s->use_max < n ? s->use_max : n;
}

static void on_closed(struct conn *c)
{
    struct side *s = conn_user(c);
    tell(s, "closed", STR_NONE);
    s->conn = NULL;
}

static void on_overflow(struct conn *c)
{
    tell(conn_user(c), "overflow", STR_NONE);
}

static void on_drained(struct conn *c)
{
    tell(conn_user(c), "drained", STR_NONE);
}

static bool on_half_closed(struct conn *c)
{
    struct side *s = conn_user(c);
    tell(s, "half", STR_NONE);
    return s->half_open;
}

static const struct conn_protocol recorder = {on_input, on_closed, on_half_closed, on_overflow, on_drained};

static void open_side(struct fixture *f, struct side *s)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &(int){BUFFER}, sizeof(int));
    *s = (struct side){.peer = fds[1]};
    s->conn = conn_new(f->pool, fds[0], NULL, &recorder, s);
}

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->loop = loop_new(&clock_system, 16);
    f->pool = conn_pool_new(f->loop);
    open_side(f, &f->a);
    open_side(f, &f->b);
    *state = f;
    return 0;
}

static void close_side(struct side *s)
{
    if (s->peer >= 0)
        close(s->peer);
    buf_free(&s->told);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    conn_pool_free(f->pool);
    assert_null(f->a.conn);
    loop_free(f->loop);
    close_side(&f->a);
    close_side(&f->b);
    free(f);
    return 0;
}

static void turn(struct fixture *f)
{
    loop_turn(f->loop, 0);
}

static void turns(struct fixture *f, int count)
{
    while (count-- > 0)
        turn(f);
}

static struct frame *text(const char *payload)
{
    return frame_new(FRAME_TEXT, str_of(payload));
}

static bool give(struct side *s, const char *payload)
{
    return conn_give_frame(s->conn, text(payload));
}

/* What the peer can read now. */
static size_t peer_reads(struct side *s, char *out, size_t size)
{
    size_t total = 0;
    for (ssize_t n; total < size && (n = read(s->peer, out + total, size - total)) > 0;)
        total += (size_t)n;
    return total;
}

static void expect_at_peer(struct side *s, const char *bytes)
{
    char got[4096];
    size_t n = peer_reads(s, got, sizeof got);
    assert_int_equal(n, strlen(bytes));
    assert_memory_equal(got, bytes, n);
}

static uint64_t writes(const struct fixture *f)
{
    return conn_pool_stats(f->pool)->writes;
}

/* ---- output */

static void a_frame_leaves_at_the_end_of_the_turn(void **state)
{
    struct fixture *f = *state;
    assert_true(give(&f->a, "one"));
    expect_at_peer(&f->a, "");
    assert_int_equal(conn_queued_frames(f->a.conn), 1);
    turn(f);
    expect_at_peer(&f->a, "\x81\x03one");
    assert_int_equal(conn_queued_frames(f->a.conn), 0);
    assert_int_equal(conn_queued_bytes(f->a.conn), 0);
}

static void all_frames_of_a_turn_leave_in_one_write_and_in_order(void **state)
{
    struct fixture *f = *state;
    turn(f);
    uint64_t before = writes(f);
    char expected[1024] = "", payload[16];
    for (int i = 10; i < 60; i++) {
        snprintf(payload, sizeof payload, "%d", i);
        give(&f->a, payload);
        snprintf(expected + strlen(expected), 16, "\x81\x02%d", i);
    }
    turn(f);
    expect_at_peer(&f->a, expected);
    assert_int_equal(writes(f) - before, 1);
    assert_int_equal(conn_pool_stats(f->pool)->frames_out, 50);
    assert_int_equal(conn_pool_stats(f->pool)->bytes_out, 200);
}

static void one_frame_goes_to_many_connections(void **state)
{
    struct fixture *f = *state;
    struct frame *one = text("hi");
    frame_take(one);
    conn_give_frame(f->a.conn, one);
    conn_give_frame(f->b.conn, one);
    turn(f);
    expect_at_peer(&f->a, "\x81\x02hi");
    expect_at_peer(&f->b, "\x81\x02hi");
}

/* A slow reader gets every byte once, in order, however the writes were cut. */
static void partial_writes_continue_where_they_stopped(void **state)
{
    struct fixture *f = *state;
    enum { FRAMES = 300, SIZE = 1001 };
    char *payload = mem_alloc(SIZE), *got = mem_zalloc(FRAMES * (SIZE + 4) + 1);
    size_t n = 0;
    for (int i = 0; i < FRAMES; i++) {
        memset(payload, i, SIZE);
        assert_true(conn_give_frame(f->a.conn, frame_new(FRAME_BINARY, str_make(payload, SIZE))));
    }
    for (int i = 0; i < PATIENCE_TURNS && n < FRAMES * (SIZE + 4); i++) {
        turn(f);
        n += peer_reads(&f->a, got + n, 777);
    }
    assert_int_equal(n, FRAMES * (SIZE + 4));
    for (int i = 0; i < FRAMES; i++) {
        assert_memory_equal(got + i * (SIZE + 4), "\x82\x7e\x03\xe9", 4);
        assert_int_equal((unsigned char)got[i * (SIZE + 4) + 4], i % 256);
        assert_int_equal((unsigned char)got[(i + 1) * (SIZE + 4) - 1], i % 256);
    }
    turn(f);
    assert_string_equal(told(&f->a), "drained");
    assert_int_equal(conn_pool_stats(f->pool)->queued_bytes, 0);
    free(payload);
    free(got);
}

static void fill_socket(struct fixture *f, struct side *s)
{
    char big[4 * BUFFER];
    memset(big, 'x', sizeof big);
    conn_send_bytes(s->conn, str_make(big, sizeof big));
    turn(f);
    turn(f);
    assert_true(conn_queued_frames(s->conn) == 1);
}

static void a_full_queue_refuses_and_tells_each_time(void **state)
{
    struct fixture *f = *state;
    fill_socket(f, &f->a);
    conn_set_limits(f->a.conn, (struct conn_limits){.queue_frames_max = 3});
    assert_true(give(&f->a, "2"));
    assert_true(give(&f->a, "3"));
    assert_false(give(&f->a, "4"));
    assert_false(give(&f->a, "5"));
    assert_string_equal(told(&f->a), "overflow overflow");
    assert_int_equal(conn_queued_frames(f->a.conn), 3);
}

static void a_queue_is_bounded_in_bytes_too(void **state)
{
    struct fixture *f = *state;
    fill_socket(f, &f->a);
    conn_set_limits(f->a.conn, (struct conn_limits){.queue_bytes_max = conn_queued_bytes(f->a.conn) + 10});
    assert_true(give(&f->a, "12345678"));
    assert_false(give(&f->a, ""));
    assert_string_equal(told(&f->a), "overflow");
}

/* Limits are about slow readers: a burst within one turn is no reason to refuse. */
static void a_burst_for_a_fast_reader_passes_a_full_queue(void **state)
{
    struct fixture *f = *state;
    conn_set_limits(f->a.conn, (struct conn_limits){.queue_frames_max = 4});
    for (int i = 0; i < 20; i++)
        assert_true(give(&f->a, "x"));
    assert_string_equal(told(&f->a) ? told(&f->a) : "", "");
}

static void forced_frames_pass_the_limits(void **state)
{
    struct fixture *f = *state;
    fill_socket(f, &f->a);
    conn_set_limits(f->a.conn, (struct conn_limits){.queue_frames_max = 1});
    struct frame *close_frame = frame_new_close(1001, STR_NONE);
    conn_force_frame(f->a.conn, close_frame);
    frame_drop(close_frame);
    assert_int_equal(conn_queued_frames(f->a.conn), 2);
}

/* ---- input */

static void input_that_was_not_used_up_comes_again_in_front(void **state)
{
    struct fixture *f = *state;
    f->a.use_max = 2;
    assert_int_equal(write(f->a.peer, "abcde", 5), 5);
    turn(f);
    assert_int_equal(write(f->a.peer, "f", 1), 1);
    turn(f);
    assert_string_equal(told(&f->a), "in:abcde in:cdef");
}

static void pausing_stops_input_and_resuming_loses_none(void **state)
{
    struct fixture *f = *state;
    conn_pause(f->a.conn);
    assert_int_equal(write(f->a.peer, "abc", 3), 3);
    turns(f, 3);
    assert_int_equal(f->a.told.n, 0);
    conn_resume(f->a.conn);
    turns(f, 2);
    assert_string_equal(told(&f->a), "in:abc");
}

static void pause_self(struct side *s)
{
    conn_pause(s->conn);
    s->on_input = NULL;
}

/* Nothing new may ever arrive: what is kept must come by itself. */
static void resuming_delivers_what_was_left_when_it_paused(void **state)
{
    struct fixture *f = *state;
    f->a.use_max = 1;
    f->a.on_input = pause_self;
    assert_int_equal(write(f->a.peer, "abc", 3), 3);
    turns(f, 2);
    assert_string_equal(told(&f->a), "in:abc");
    f->a.use_max = 0;
    conn_resume(f->a.conn);
    turns(f, 2);
    assert_string_equal(told(&f->a), "in:abc in:bc");
}

static size_t second_input(struct conn *c, char *bytes, size_t n)
{
    tell(conn_user(c), "second:", str_make(bytes, n));
    return n;
}

static const struct conn_protocol second = {.input = second_input, .closed = on_closed};

static void become_second(struct side *s)
{
    conn_become(s->conn, &second, s);
}

/* A client may send its first WebSocket frame right behind its handshake. */
static void a_new_protocol_gets_the_rest_of_the_input_at_once(void **state)
{
    struct fixture *f = *state;
    f->a.use_max = 3;
    f->a.on_input = become_second;
    assert_int_equal(write(f->a.peer, "oldnew", 6), 6);
    turn(f);
    assert_string_equal(told(&f->a), "in:oldnew second:new");
}

struct counter {
    size_t calls, bytes, whole;
};

static size_t wait_for_whole(struct conn *c, char *bytes, size_t n)
{
    struct counter *count = conn_user(c);
    count->calls++;
    count->bytes = n;
    if (n < count->whole)
        return 0;
    for (size_t i = 0; i < n; i++)
        assert_int_equal((unsigned char)bytes[i], i % 251);
    return n;
}

static void ignore_closed(struct conn *c)
{
}

static void a_large_message_that_comes_in_pieces_stays_whole(void **state)
{
    static const struct conn_protocol waiter = {.input = wait_for_whole, .closed = ignore_closed};
    struct fixture *f = *state;
    struct counter count = {.whole = 1 << 20};
    char *bytes = mem_alloc(count.whole);
    size_t at = 0;
    for (size_t i = 0; i < count.whole; i++)
        bytes[i] = (char)(i % 251);
    conn_become(f->b.conn, &waiter, &count);
    for (int i = 0; i < PATIENCE_TURNS && at < count.whole; i++) {
        ssize_t n = write(f->b.peer, bytes + at, count.whole - at < 5000 ? count.whole - at : 5000);
        at += n > 0 ? (size_t)n : 0;
        turn(f);
    }
    assert_int_equal(count.bytes, count.whole);
    free(bytes);
}

/* ---- the end */

static void the_peer_going_away_closes(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(write(f->a.peer, "bye", 3), 3);
    close(f->a.peer);
    f->a.peer = -1;
    turns(f, 2);
    assert_string_equal(told(&f->a), "in:bye half closed");
    assert_int_equal(conn_pool_count(f->pool), 1);
}

static void a_half_closed_connection_can_still_send(void **state)
{
    struct fixture *f = *state;
    f->a.half_open = true;
    shutdown(f->a.peer, SHUT_WR);
    turn(f);
    assert_string_equal(told(&f->a), "half");
    give(&f->a, "late");
    turn(f);
    expect_at_peer(&f->a, "\x81\x04late");
}

static void close_self(struct side *s)
{
    conn_close(s->conn);
    assert_int_equal(s->told.n, 5); /* `closed` comes later */
}

static void closing_inside_input_is_told_at_the_end_of_the_turn(void **state)
{
    struct fixture *f = *state;
    f->a.on_input = close_self;
    f->a.use_max = 1;
    assert_int_equal(write(f->a.peer, "ab", 2), 2);
    turns(f, 2);
    assert_string_equal(told(&f->a), "in:ab closed");
}

static struct side *other;
static void close_other(struct side *s)
{
    if (other->conn)
        conn_close(other->conn);
}

/* Both have input in the same batch of events; the first to run closes the second. */
static void a_connection_closed_by_another_gets_no_event_of_the_same_batch(void **state)
{
    struct fixture *f = *state;
    turns(f, 2);
    f->a.on_input = f->b.on_input = close_other;
    assert_int_equal(write(f->a.peer, "x", 1), 1);
    assert_int_equal(write(f->b.peer, "x", 1), 1);
    other = &f->b;
    turn(f);
    if (f->b.told.n > 6) /* b's event came first */
        assert_string_equal(told(&f->b), "in:x closed");
    else
        assert_string_equal(told(&f->b), "closed");
}

static void queue_for_other_then_close_it(struct conn *c)
{
    give(other, "too late");
    conn_close(other->conn);
}

/* Bug: it was buried while the dirty list still pointed at it (found by conn_random_test). */
static void a_connection_that_becomes_dirty_and_closes_during_the_flush_is_buried_later(void **state)
{
    static const struct conn_protocol meddler = {
        .input = on_input, .closed = on_closed, .drained = queue_for_other_then_close_it};
    struct fixture *f = *state;
    other = &f->b;
    conn_become(f->a.conn, &meddler, &f->a);
    conn_pause(f->a.conn);
    give(&f->a, "x");
    turns(f, 3);
    assert_string_equal(told(&f->b), "closed");
    expect_at_peer(&f->b, "");
}

static void nothing_is_queued_once_it_is_closing(void **state)
{
    struct fixture *f = *state;
    struct conn *c = f->a.conn;
    give(&f->a, "dropped");
    conn_close(c);
    assert_true(conn_is_closing(c));
    assert_false(give(&f->a, "refused"));
    assert_int_equal(conn_queued_frames(c), 0);
    turn(f);
    expect_at_peer(&f->a, "");
    assert_int_equal(conn_pool_stats(f->pool)->queued_bytes, 0);
}

static void closing_after_flush_sends_everything_then_fin_then_waits_for_the_peer(void **state)
{
    struct fixture *f = *state;
    char byte;
    give(&f->a, "last");
    conn_close_after_flush(f->a.conn, 60000);
    turns(f, 2);
    expect_at_peer(&f->a, "\x81\x04last");
    assert_int_equal(read(f->a.peer, &byte, 1), 0);
    assert_int_equal(write(f->a.peer, "ignored", 7), 7);
    turns(f, 2);
    assert_int_equal(f->a.told.n, 0);
    close(f->a.peer);
    f->a.peer = -1;
    turns(f, 2);
    assert_string_equal(told(&f->a), "closed");
}

static void a_peer_that_never_reads_is_given_up_after_the_linger_time(void **state)
{
    struct fixture *f = *state;
    fill_socket(f, &f->a);
    conn_close_after_flush(f->a.conn, 20);
    uint64_t start_ms = loop_now_ms(f->loop);
    for (int i = 0; i < PATIENCE_TURNS && f->a.conn; i++)
        loop_turn(f->loop, 100);
    assert_string_equal(told(&f->a), "closed");
    assert_in_range(loop_now_ms(f->loop) - start_ms, 19, 2000);
}

static void writing_to_a_peer_that_is_gone_closes(void **state)
{
    struct fixture *f = *state;
    turn(f);
    conn_pause(f->a.conn);
    close(f->a.peer);
    f->a.peer = -1;
    give(&f->a, "x");
    turns(f, 3);
    assert_non_null(strstr(told(&f->a), "closed"));
}

static void an_address_is_shown_as_text(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_storage peer = {.ss_family = AF_INET6};
    unsigned char mapped[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
    struct side s = {0};
    char out[46];
    memcpy(&((struct sockaddr_in6 *)&peer)->sin6_addr, mapped, 16);
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    s.conn = conn_new(f->pool, fds[0], &peer, &recorder, &s);
    conn_peer(s.conn, out);
    assert_string_equal(out, "127.0.0.1");
    conn_peer(f->a.conn, out);
    assert_string_equal(out, "");
    conn_close(s.conn);
    turn(f);
    close(fds[1]);
    buf_free(&s.told);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_frame_leaves_at_the_end_of_the_turn),
        TEST(all_frames_of_a_turn_leave_in_one_write_and_in_order),
        TEST(one_frame_goes_to_many_connections),
        TEST(partial_writes_continue_where_they_stopped),
        TEST(a_full_queue_refuses_and_tells_each_time),
        TEST(a_queue_is_bounded_in_bytes_too),
        TEST(a_burst_for_a_fast_reader_passes_a_full_queue),
        TEST(forced_frames_pass_the_limits),
        TEST(input_that_was_not_used_up_comes_again_in_front),
        TEST(pausing_stops_input_and_resuming_loses_none),
        TEST(resuming_delivers_what_was_left_when_it_paused),
        TEST(a_new_protocol_gets_the_rest_of_the_input_at_once),
        TEST(a_large_message_that_comes_in_pieces_stays_whole),
        TEST(the_peer_going_away_closes),
        TEST(a_half_closed_connection_can_still_send),
        TEST(closing_inside_input_is_told_at_the_end_of_the_turn),
        TEST(a_connection_closed_by_another_gets_no_event_of_the_same_batch),
        TEST(a_connection_that_becomes_dirty_and_closes_during_the_flush_is_buried_later),
        TEST(nothing_is_queued_once_it_is_closing),
        TEST(closing_after_flush_sends_everything_then_fin_then_waits_for_the_peer),
        TEST(a_peer_that_never_reads_is_given_up_after_the_linger_time),
        TEST(writing_to_a_peer_that_is_gone_closes),
        TEST(an_address_is_shown_as_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
