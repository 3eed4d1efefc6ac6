/* http_test.c - a client on a socket pair talks to an HTTP server.
 *
 * The handler answers each request with a line about it, "POST /a?b [body]", or holds it until the test responds.
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
#include "net/http.h"
#include "net/ws.h"

enum { HELD_MAX = 100, PATIENCE_TURNS = 3000, TIMEOUT_MS = 40 };

struct fixture {
    struct loop *loop;
    struct conn_pool *pool;
    struct http_server *server;
    int client;
    struct buf got; /* all that the client has read */
    enum { ANSWER, HOLD, REJECT_HEAD, UPGRADE } mode;
    struct http_request *held[HELD_MAX];
    size_t held_count;
    size_t heads, requests;
    struct conn *upgraded;
    struct buf upgraded_input;
};

static void respond(struct http_request *r, struct str body)
{
    http_respond(r, &(struct http_response){.status = 200, .content_type = STR("text/plain"), .body = body});
}

static void answer(struct http_request *r)
{
    struct buf line = {0};
    buf_fmt(&line, "%.*s %.*s?%.*s [%.*s]", STR_ARG(r->method_name), STR_ARG(r->path),
            STR_ARG(r->query), STR_ARG(r->body));
    respond(r, buf_view(&line));
    buf_free(&line);
}

static size_t upgraded_input(struct conn *c, char *bytes, size_t n)
{
    struct fixture *f = conn_user(c);
    buf_put(&f->upgraded_input, bytes, n);
    return n;
}

static void upgraded_closed(struct conn *c)
{
    ((struct fixture *)conn_user(c))->upgraded = NULL;
}

static const struct conn_protocol after_upgrade = {.input = upgraded_input, .closed = upgraded_closed};

static bool on_head(void *user, struct http_request *r)
{
    struct fixture *f = user;
    f->heads++;
    if (f->mode == REJECT_HEAD) {
        respond(r, STR("rejected"));
        return true;
    }
    if (f->mode == UPGRADE) {
        http_upgrade(r, &after_upgrade, f, &f->upgraded);
        return true;
    }
    return false;
}

static void on_request(void *user, struct http_request *r)
{
    struct fixture *f = user;
    f->requests++;
    if (f->mode == HOLD)
        f->held[f->held_count++] = r;
    else
        answer(r);
}

static const struct http_handler handler = {on_head, on_request};

static void connect_client(struct fixture *f)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    f->client = fds[1];
    http_accept(f->server, fds[0], NULL);
}

static int setup_with(void **state, struct http_server_options options)
{
    struct fixture *f = mem_new(struct fixture);
    f->loop = loop_new(&clock_system, 16);
    f->pool = conn_pool_new(f->loop);
    f->server = http_server_new(f->pool, &options, &handler, f);
    connect_client(f);
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, (struct http_server_options){.body_max = 100000});
}

static int setup_hasty(void **state)
{
    return setup_with(state, (struct http_server_options){100000, TIMEOUT_MS, TIMEOUT_MS, TIMEOUT_MS});
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->client >= 0)
        close(f->client);
    http_server_free(f->server);
    conn_pool_free(f->pool);
    for (size_t i = 0; i < f->held_count; i++)
        if (f->held[i])
            respond(f->held[i], STR(""));
    loop_free(f->loop);
    buf_free(&f->got);
    buf_free(&f->upgraded_input);
    free(f);
    return 0;
}

/* Returns false once the server has closed. */
static bool client_reads(struct fixture *f)
{
    for (;;) {
        ssize_t n = read(f->client, buf_reserve(&f->got, 65536), 65536);
        if (n <= 0)
            return n < 0;
        f->got.n += (size_t)n;
    }
}

static const char *got(struct fixture *f)
{
    for (int i = 0; i < 5; i++)
        loop_turn(f->loop, 0);
    client_reads(f);
    buf_char(&f->got, '\0');
    f->got.n--;
    return f->got.p;
}

static void client_sends(struct fixture *f, const void *bytes, size_t n)
{
    for (size_t at = 0, tries = 0; at < n && tries < PATIENCE_TURNS; tries++) {
        ssize_t written = send(f->client, (const char *)bytes + at, n - at, MSG_NOSIGNAL);
        at += written > 0 ? (size_t)written : 0;
        loop_turn(f->loop, 0);
    }
}

static void sends(struct fixture *f, const char *text)
{
    client_sends(f, text, strlen(text));
}

static bool closed_by_server(struct fixture *f)
{
    for (int i = 0; i < PATIENCE_TURNS; i++) {
        if (!client_reads(f))
            return true;
        if (i > 20 && !wheel_count(loop_wheel(f->loop)))
            return false;
        loop_turn(f->loop, 1);
    }
    return false;
}

static size_t occurrences(const char *text, const char *part)
{
    size_t count = 0;
    for (; (text = strstr(text, part)); text += strlen(part))
        count++;
    return count;
}

#define assert_contains(text, part)                                                                          \
    do {                                                                                                     \
        if (!strstr((text), (part)))                                                                         \
            fail_msg("'%s' is not in '%s'", (part), (text));                                                 \
    } while (0)

/* ---- requests */

static void a_request_is_answered_and_the_connection_stays(void **state)
{
    struct fixture *f = *state;
    sends(f, "GET /apps/1?x=y&z HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_string_equal(got(f), "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20\r\n\r\n"
                                "GET /apps/1?x=y&z []");
    sends(f, "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_contains(got(f), "POST /b? [abc]");
}

static void a_request_may_come_byte_by_byte(void **state)
{
    struct fixture *f = *state;
    const char *request = "\r\nPOST /p HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nContent-Length: 5\r\n\r\nhello"
                          "POST /q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                          "3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n"
                          "GET /r HTTP/1.1\r\nHost: a\r\n\r\n";
    for (const char *p = request; *p; p++) {
        client_sends(f, p, 1);
        loop_turn(f->loop, 0);
    }
    assert_contains(got(f), "POST /p? [hello]");
    assert_contains(got(f), "POST /q? [abcde]");
    assert_contains(got(f), "GET /r? []");
}

static void pipelined_requests_of_every_kind_are_told_apart(void **state)
{
    struct fixture *f = *state;
    sends(f, "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
             "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\ny"
             "GET /3 HTTP/1.1\r\nHost: a\r\n\r\n"
             "POST /4 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: v\r\n\r\n"
             "DELETE /5 HTTP/1.1\r\nHost: a\r\n\r\n");
    const char *all = got(f);
    assert_contains(all, "POST /1? [x]");
    assert_contains(all, "POST /2? [y]");
    assert_contains(all, "GET /3? []");
    assert_contains(all, "POST /4? []");
    assert_contains(all, "DELETE /5? []");
}

static void a_large_body_arrives_whole(void **state)
{
    struct fixture *f = *state;
    char *body = mem_alloc(100000);
    f->mode = HOLD;
    for (size_t i = 0; i < 100000; i++)
        body[i] = (char)(i % 251);
    sends(f, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    client_sends(f, body, 100000);
    for (int i = 0; i < PATIENCE_TURNS && !f->held_count; i++)
        loop_turn(f->loop, 0);
    assert_int_equal(f->held_count, 1);
    assert_int_equal(f->held[0]->body.n, 100000);
    assert_memory_equal(f->held[0]->body.p, body, 100000);
    free(body);
}

static void headers_are_found_whatever_their_case_and_trimmed(void **state)
{
    struct fixture *f = *state;
    f->mode = HOLD;
    sends(f, "GET / HTTP/1.1\r\nhOST: a\r\nX-Thing: \t two words \t\r\nx-thing: second\r\nX-Empty:\r\n\r\n");
    struct http_request *r = f->held[0];
    assert_int_equal(f->held_count, 1);
    assert_int_equal(r->headers_count, 4);
    assert_true(str_eq(http_get_header(r, STR("x-THING")), STR("two words")));
    assert_true(str_eq(http_get_header(r, STR("x-empty")), STR("")));
    assert_non_null(http_get_header(r, STR("x-empty")).p);
    assert_null(http_get_header(r, STR("absent")).p);
}

static void an_absent_query_differs_from_an_empty_one(void **state)
{
    struct fixture *f = *state;
    f->mode = HOLD;
    sends(f, "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /a? HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(f->held_count, 2);
    assert_null(f->held[0]->query.p);
    assert_non_null(f->held[1]->query.p);
    assert_int_equal(f->held[1]->query.n, 0);
}

/* ---- responses */

static void responses_leave_in_request_order_whatever_order_they_are_made_in(void **state)
{
    struct fixture *f = *state;
    f->mode = HOLD;
    sends(f, "GET /0 HTTP/1.1\r\nHost: a\r\n\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(f->held_count, 3);
    respond(f->held[2], STR("third"));
    respond(f->held[1], STR("second"));
    assert_string_equal(got(f), "");
    respond(f->held[0], STR("first"));
    f->held_count = 0;
    const char *all = got(f);
    assert_true(strstr(all, "first") < strstr(all, "second"));
    assert_true(strstr(all, "second") < strstr(all, "third"));
}

static void head_gets_the_length_without_the_body(void **state)
{
    struct fixture *f = *state;
    sends(f, "HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_string_equal(got(f), "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n\r\n");
}

static void connection_close_is_honoured(void **state)
{
    struct fixture *f = *state;
    sends(f, "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_contains(got(f), "\r\nConnection: close\r\n");
    assert_null(strstr(got(f), "/b"));
    assert_true(closed_by_server(f));
}

static void http_1_0_closes_unless_asked_not_to(void **state)
{
    struct fixture *f = *state;
    sends(f, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_contains(got(f), "\r\nConnection: keep-alive\r\n");
    sends(f, "GET /b HTTP/1.0\r\n\r\n");
    assert_contains(got(f), "\r\nConnection: close\r\n");
    assert_true(closed_by_server(f));
}

static void a_204_has_neither_body_nor_length(void **state)
{
    struct fixture *f = *state;
    f->mode = HOLD;
    sends(f, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    http_respond(f->held[0], &(struct http_response){.status = 204, .extra_headers = STR("X-A: b\r\n")});
    f->held_count = 0;
    assert_string_equal(got(f), "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n");
}

static void reading_pauses_while_the_pipeline_is_full_and_goes_on_afterwards(void **state)
{
    struct fixture *f = *state;
    f->mode = HOLD;
    for (int i = 0; i < 70; i++)
        sends(f, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    got(f);
    assert_int_equal(f->held_count, 64);
    for (int i = 0; i < 64; i++) {
        respond(f->held[i], STR(""));
        f->held[i] = NULL;
    }
    got(f);
    assert_int_equal(f->held_count, 70);
}

/* Small requests for large responses, none of which is read, must not fill our memory. */
static void reading_pauses_while_the_peer_does_not_read(void **state)
{
    struct fixture *f = *state;
    struct buf many = {0};
    char *big = mem_zalloc(50000);
    for (int i = 0; i < 500; i++)
        buf_lit(&many, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    f->mode = HOLD;
    client_sends(f, many.p, many.n);
    for (int i = 0; i < 1000; i++) {
        for (size_t k = 0; k < f->held_count; k++)
            respond(f->held[k], str_make(big, 50000));
        f->held_count = 0;
        loop_turn(f->loop, 0);
    }
    assert_true(f->requests < 200);
    assert_true(conn_pool_stats(f->pool)->queued_bytes < 70 * 50100);
    for (int i = 0; i < PATIENCE_TURNS && f->requests < 500; i++) {
        client_reads(f);
        loop_turn(f->loop, 0);
        for (size_t k = 0; k < f->held_count; k++)
            respond(f->held[k], str_make(big, 50000));
        f->held_count = 0;
    }
    assert_int_equal(f->requests, 500);
    buf_free(&many);
    free(big);
}

static void expect_100_continue_is_answered_before_the_body(void **state)
{
    struct fixture *f = *state;
    sends(f, "POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_string_equal(got(f), "HTTP/1.1 100 Continue\r\n\r\n");
    sends(f, "ok");
    assert_contains(got(f), "POST /e? [ok]");
}

/* A 100 before the responses that are still owed would be taken for theirs. */
static void expect_100_continue_waits_for_its_turn(void **state)
{
    struct fixture *f = *state;
    f->mode = HOLD;
    sends(f, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
             "POST /2 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_string_equal(got(f), "");
    respond(f->held[0], STR("1"));
    f->held_count = 0;
    const char *end = "\r\n\r\n1HTTP/1.1 100 Continue\r\n\r\n";
    assert_contains(got(f), end);
}

/* ---- rejected early */

static void a_short_body_of_a_rejected_request_is_skipped(void **state)
{
    struct fixture *f = *state;
    f->mode = REJECT_HEAD;
    sends(f, "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(occurrences(got(f), "rejected"), 2);
    assert_int_equal(f->requests, 0);
    assert_null(strstr(got(f), "Connection: close"));
}

static void a_long_body_of_a_rejected_request_closes(void **state)
{
    struct fixture *f = *state;
    f->mode = REJECT_HEAD;
    sends(f, "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\nabc");
    assert_contains(got(f), "Connection: close");
    assert_true(closed_by_server(f));
}

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
        "GET / HTTP/1.1\r\n\r\n",                                                    /* no Host */
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",                              /* two */
        "GET / HTTP/1.1\nHost: a\n\nGET / HTTP/1.1\r\n\r\n",                         /* bare LF */
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rContent-Length: 3\r\n\r\n",              /* bare CR */
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n",                      /* obs-fold */
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\n",                   /* blank before the colon */
        "GET / HTTP/1.1\r\nHost: a\r\nContent Length: 3\r\n\r\n",                    /* blank in a name */
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\x01z\r\n\r\n",                            /* control character */
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
    assert_contains(got(f), "{\"error\":\"The request is malformed\",\"code\":\"invalid_request\",\"status\":400}");
}

static void a_declared_body_too_large_is_413_at_once(void **state)
{
    check_refused(state, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n", "HTTP/1.1 413 ");
    assert_int_equal(((struct fixture *)*state)->heads, 0);
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
    for (int i = 0; i < 17000; i++)
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

/* ---- going away */

static void a_request_whose_peer_has_gone_is_still_to_be_responded_to(void **state)
{
    struct fixture *f = *state;
    f->mode = HOLD;
    sends(f, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    conn_close(f->held[0]->conn);
    got(f);
    assert_true(f->held[0]->gone);
    assert_null(f->held[0]->conn);
    assert_true(str_eq(f->held[0]->path, STR("/")));
    respond(f->held[0], STR("nobody hears"));
    f->held_count = 0;
}

static void a_request_cut_off_in_its_body_never_reaches_the_handler(void **state)
{
    struct fixture *f = *state;
    sends(f, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    close(f->client);
    f->client = -1;
    for (int i = 0; i < 5; i++)
        loop_turn(f->loop, 0);
    assert_int_equal(f->heads, 1);
    assert_int_equal(f->requests, 0);
    assert_int_equal(conn_pool_count(f->pool), 0);
}

/* printf 'GET ...' | nc -N */
static void a_peer_that_has_sent_fin_still_gets_its_response(void **state)
{
    struct fixture *f = *state;
    f->mode = HOLD;
    sends(f, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    shutdown(f->client, SHUT_WR);
    got(f);
    respond(f->held[0], STR("still here"));
    f->held_count = 0;
    assert_contains(got(f), "still here");
    assert_true(closed_by_server(f));
}

static void draining_closes_idle_connections_and_ends_busy_ones_with_their_response(void **state)
{
    struct fixture *f = *state;
    int idle;
    f->mode = HOLD;
    got(f);
    idle = f->client;
    connect_client(f);
    sends(f, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    http_server_drain(f->server);
    int busy = f->client;
    f->client = idle;
    assert_true(closed_by_server(f));
    close(idle);
    f->client = busy;
    respond(f->held[0], STR("done"));
    f->held_count = 0;
    assert_contains(got(f), "Connection: close\r\n\r\ndone");
    assert_true(closed_by_server(f));
}

/* ---- upgrade */

#define HANDSHAKE(version, key)                                                                              \
    "GET /app/k HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"           \
    "Sec-WebSocket-Version: " version "\r\nSec-WebSocket-Key: " key "\r\n\r\n"
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="

static void an_upgrade_switches_protocols_and_passes_on_what_follows(void **state)
{
    struct fixture *f = *state;
    f->mode = UPGRADE;
    sends(f, HANDSHAKE("13", KEY) "first frame");
    assert_string_equal(got(f), "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    assert_non_null(f->upgraded);
    sends(f, ", second");
    assert_true(str_eq(buf_view(&f->upgraded_input), STR("first frame, second")));
}

static void an_upgraded_connection_has_no_deadline_any_more(void **state)
{
    struct fixture *f = *state;
    f->mode = UPGRADE;
    sends(f, HANDSHAKE("13", KEY));
    assert_int_equal(wheel_count(loop_wheel(f->loop)), 0);
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

/* curl --http2 asks for h2c and must get HTTP/1.1. */
static void an_upgrade_to_something_else_is_an_ordinary_request(void **state)
{
    struct fixture *f = *state;
    f->mode = HOLD;
    sends(f, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n");
    assert_int_equal(f->held_count, 1);
    assert_false(f->held[0]->upgrade);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define HASTY(name) cmocka_unit_test_setup_teardown(name, setup_hasty, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_answered_and_the_connection_stays),
        TEST(a_request_may_come_byte_by_byte),
        TEST(pipelined_requests_of_every_kind_are_told_apart),
        TEST(a_large_body_arrives_whole),
        TEST(headers_are_found_whatever_their_case_and_trimmed),
        TEST(an_absent_query_differs_from_an_empty_one),
        TEST(responses_leave_in_request_order_whatever_order_they_are_made_in),
        TEST(head_gets_the_length_without_the_body),
        TEST(connection_close_is_honoured),
        TEST(http_1_0_closes_unless_asked_not_to),
        TEST(a_204_has_neither_body_nor_length),
        TEST(reading_pauses_while_the_pipeline_is_full_and_goes_on_afterwards),
        TEST(reading_pauses_while_the_peer_does_not_read),
        TEST(expect_100_continue_is_answered_before_the_body),
        TEST(expect_100_continue_waits_for_its_turn),
        TEST(a_short_body_of_a_rejected_request_is_skipped),
        TEST(a_long_body_of_a_rejected_request_closes),
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
        TEST(a_request_whose_peer_has_gone_is_still_to_be_responded_to),
        TEST(a_request_cut_off_in_its_body_never_reaches_the_handler),
        TEST(a_peer_that_has_sent_fin_still_gets_its_response),
        TEST(draining_closes_idle_connections_and_ends_busy_ones_with_their_response),
        TEST(an_upgrade_switches_protocols_and_passes_on_what_follows),
        TEST(an_upgraded_connection_has_no_deadline_any_more),
        TEST(another_websocket_version_is_426),
        TEST(a_handshake_with_a_bad_key_is_400),
        TEST(an_ordinary_request_cannot_be_upgraded),
        TEST(an_upgrade_to_something_else_is_an_ordinary_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
