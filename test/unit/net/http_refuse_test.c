/* http_refuse_test.c - what an ill-behaved or slow client sees.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http_fixture.h"

/* ---- malformed, too large */

static void check_refused(void **state, const char *request, const char *status_line)
{
    struct fixture *f = *state;
    sends(f, request);
    if (!strstr(got(f), status_line))
        fail_msg("'%s' was answered with '%s'", request, got(f));
    assert_contains(got(f), "Connection: close\r\n");
    assert_contains(got(f), "Content-Type: application/json\r\n");
    assert_int_equal(f->requests, 0);
    if (!closed_by_server(f))
        fail_msg("'%s' did not close", request);
    close(f->client);
    buf_clear(&f->got);
    connect_client(f);
}

static void malformed_requests_are_400_and_close(void **state)
{
    static const char *const bad[] = {
        "GET / HTTP/1.1\r\n\r\n",                                       /* no Host */
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",                 /* two */
        "GET / HTTP/1.1\nHost: a\n\nGET / HTTP/1.1\r\n\r\n",            /* bare LF */
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rContent-Length: 3\r\n\r\n", /* bare CR */
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n",         /* obs-fold */
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\n",      /* blank before the colon */
        "GET / HTTP/1.1\r\nHost: a\r\nContent Length: 3\r\n\r\n",       /* blank in a name */
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\x01z\r\n\r\n",               /* control character */
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: no name\r\n\r\n",
        "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / / HTTP/1.1\r\nHost: a\r\n\r\n",
        "NONSENSE / HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n",
        "\x16\x03\x01\x02",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        check_refused(state, bad[i], "HTTP/1.1 400 Bad Request\r\n");
}

static void other_versions_are_505(void **state)
{
    check_refused(state, "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "HTTP/1.1 505 ");
    check_refused(state, "GET / HTTP/1.7\r\nHost: a\r\n\r\n", "HTTP/1.1 505 ");
}

static void the_error_body_says_what_and_why(void **state)
{
    struct fixture *f = *state;
    sends(f, "GET / HTTP/1.1\r\n\r\n");
    assert_contains(got(f),
                    "{\"error\":\"The request is malformed\",\"code\":\"invalid_request\",\"status\":400}");
}

static void a_declared_body_too_large_is_413_at_once(void **state)
{
    check_refused(state, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n", "HTTP/1.1 413 ");
    assert_int_equal(((struct fixture *)*state)->requests, 0);
}

static void a_chunked_body_too_large_is_413(void **state)
{
    struct buf request = {0};
    buf_lit(&request, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n186a1\r\n");
    for (int i = 0; i < 100001; i++)
        buf_char(&request, 'x');
    buf_char(&request, '\0');
    check_refused(state, request.p, "HTTP/1.1 413 ");
    buf_free(&request);
}

static void a_head_too_large_is_431(void **state)
{
    struct buf request = {0};
    buf_lit(&request, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
    for (int i = 0; i < 33000; i++)
        buf_char(&request, 'x');
    buf_char(&request, '\0');
    check_refused(state, request.p, "HTTP/1.1 431 ");
    buf_free(&request);
}

static void more_than_100_headers_are_431(void **state)
{
    struct buf request = {0};
    buf_lit(&request, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 100; i++)
        buf_fmt(&request, "X-%d: y\r\n", i);
    buf_lit(&request, "\r\n\0");
    check_refused(state, request.p, "HTTP/1.1 431 ");
    buf_free(&request);
}

/* Framing that outweighs what it frames is an attack, not a stream. */
static void endless_chunk_extensions_are_refused(void **state)
{
    struct buf request = {0};
    buf_lit(&request, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;");
    for (int i = 0; i < 40000; i++)
        buf_char(&request, 'x');
    buf_char(&request, '\0');
    check_refused(state, request.p, "HTTP/1.1 400 ");
    buf_free(&request);
}

/* The error waits like any response: it must not be taken for an earlier one's. */
static void an_error_leaves_after_the_responses_before_it(void **state)
{
    struct fixture *f = *state;
    f->mode = HOLD;
    sends(f, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nBROKEN\r\n\r\n");
    assert_string_equal(got(f), "");
    respond(f->held[0], STR("first"));
    f->held_count = 0;
    const char *all = got(f);
    assert_contains(all, "HTTP/1.1 400 ");
    assert_true(strstr(all, "first") < strstr(all, "HTTP/1.1 400 "));
    assert_true(closed_by_server(f));
}

/* ---- time */

static void check_times_out(struct fixture *f, const char *status_line)
{
    assert_true(closed_by_server(f));
    assert_contains(got(f), status_line);
    assert_int_equal(occurrences(got(f), "HTTP/1.1 "), 1);
}

static void a_slow_head_is_408(void **state)
{
    struct fixture *f = *state;
    sends(f, "GET / HTTP/1.1\r\nHo");
    check_times_out(f, "HTTP/1.1 408 ");
}

/* Slowloris: a byte now and then does not move the deadline of a head. */
static void a_dripping_head_is_408(void **state)
{
    struct fixture *f = *state;
    uint64_t start_ms = loop_now_ms(f->loop);
    sends(f, "GET / HTTP/1.1\r\nX: ");
    for (int i = 0; i < PATIENCE_TURNS && client_reads(f) && f->got.n == 0; i++) {
        ssize_t ignored = send(f->client, "x", 1, MSG_NOSIGNAL);
        (void)ignored;
        loop_turn(f->loop, 1);
        usleep(500);
    }
    assert_contains(got(f), "HTTP/1.1 408 ");
    assert_in_range(loop_now_ms(f->loop) - start_ms, TIMEOUT_MS - 1, 20 * TIMEOUT_MS);
}

static void a_slow_body_is_408(void **state)
{
    struct fixture *f = *state;
    sends(f, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    check_times_out(f, "HTTP/1.1 408 ");
}

static void an_idle_connection_is_closed_without_a_word(void **state)
{
    struct fixture *f = *state;
    assert_true(closed_by_server(f));
    assert_string_equal(got(f), "");
}

static void a_slow_handler_is_not_the_peers_fault(void **state)
{
    struct fixture *f = *state;
    f->mode = HOLD;
    sends(f, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    for (int i = 0; i < 3 * TIMEOUT_MS; i++)
        loop_turn(f->loop, 1);
    usleep(3 * TIMEOUT_MS * 1000);
    got(f);
    respond(f->held[0], STR("late"));
    f->held_count = 0;
    assert_contains(got(f), "late");
}

static void another_websocket_version_is_426(void **state)
{
    ((struct fixture *)*state)->mode = UPGRADE;
    check_refused(state, HANDSHAKE("8", KEY), "HTTP/1.1 426 Upgrade Required\r\n");
}

static void a_handshake_with_a_bad_key_is_400(void **state)
{
    ((struct fixture *)*state)->mode = UPGRADE;
    check_refused(state, HANDSHAKE("13", "short"), "HTTP/1.1 400 ");
}

static void an_ordinary_request_cannot_be_upgraded(void **state)
{
    ((struct fixture *)*state)->mode = UPGRADE;
    check_refused(state, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(malformed_requests_are_400_and_close),
        TEST(other_versions_are_505),
        TEST(the_error_body_says_what_and_why),
        TEST(a_declared_body_too_large_is_413_at_once),
        TEST(a_chunked_body_too_large_is_413),
        TEST(a_head_too_large_is_431),
        TEST(more_than_100_headers_are_431),
        TEST(endless_chunk_extensions_are_refused),
        TEST(an_error_leaves_after_the_responses_before_it),
        HASTY(a_slow_head_is_408),
        HASTY(a_dripping_head_is_408),
        HASTY(a_slow_body_is_408),
        HASTY(an_idle_connection_is_closed_without_a_word),
        HASTY(a_slow_handler_is_not_the_peers_fault),
        TEST(another_websocket_version_is_426),
        TEST(a_handshake_with_a_bad_key_is_400),
        TEST(an_ordinary_request_cannot_be_upgraded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
