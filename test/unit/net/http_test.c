/* http_test.c - what a well-behaved client sees: requests, responses, upgrades, the end.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http_fixture.h"

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
    sends(f, "GET /0 HTTP/1.1\r\nHost: a\r\n\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: "
             "a\r\n\r\n");
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

/* One request that takes long must not pile up the responses of those behind it. */
static void reading_pauses_while_large_responses_wait_for_their_turn(void **state)
{
    struct fixture *f = *state;
    char *big = mem_zalloc(50000);
    f->mode = HOLD;
    for (int i = 0; i < 60; i++) {
        sends(f, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        loop_turn(f->loop, 0);
        if (f->held_count > 1)
            respond(f->held[--f->held_count], str_make(big, 50000));
    }
    assert_int_equal(f->requests, 1 + 256 * 1024 / 50000 + 1);
    respond(f->held[0], STR("at last"));
    f->held_count = 0;
    f->mode = ANSWER;
    for (int i = 0; i < PATIENCE_TURNS && f->requests < 60; i++) {
        client_reads(f);
        loop_turn(f->loop, 0);
    }
    assert_int_equal(f->requests, 60);
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
    sends(f,
          "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
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

static void an_upgrade_switches_protocols_and_passes_on_what_follows(void **state)
{
    struct fixture *f = *state;
    f->mode = UPGRADE;
    sends(f, HANDSHAKE("13", KEY) "first frame");
    assert_string_equal(got(f),
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
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
        TEST(reading_pauses_while_large_responses_wait_for_their_turn),
        TEST(expect_100_continue_is_answered_before_the_body),
        TEST(expect_100_continue_waits_for_its_turn),
        TEST(a_short_body_of_a_rejected_request_is_skipped),
        TEST(a_long_body_of_a_rejected_request_closes),
        TEST(a_request_whose_peer_has_gone_is_still_to_be_responded_to),
        TEST(a_request_cut_off_in_its_body_never_reaches_the_handler),
        TEST(a_peer_that_has_sent_fin_still_gets_its_response),
        TEST(draining_closes_idle_connections_and_ends_busy_ones_with_their_response),
        TEST(an_upgrade_switches_protocols_and_passes_on_what_follows),
        TEST(an_upgraded_connection_has_no_deadline_any_more),
        TEST(an_upgrade_to_something_else_is_an_ordinary_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
