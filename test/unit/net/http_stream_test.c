/* SPDX-License-Identifier: Apache-2.0 */
#include "http_fixture.h"

/* A request in parts, as the test sees it: what came of its body, in "[part]" each, and how it ended. */
static struct parts {
    struct http_request *request; /* NULL = it is over */
    struct buf seen;
    enum { ECHO, QUIET, PAUSES, FINISHES_AT_ONCE, RESPONDS_AT_ONCE } manner;
    bool gone;
    size_t overflows;
} parts;

static void echo(struct str bytes)
{
    if (parts.manner == ECHO)
        http_part(parts.request, bytes);
}

static void on_bytes(struct http_request *r, struct str bytes)
{
    buf_char(&parts.seen, '[');
    buf_str(&parts.seen, bytes);
    buf_char(&parts.seen, ']');
    echo(bytes);
    if (parts.manner == PAUSES)
        http_body_pause(r);
    if (parts.manner == FINISHES_AT_ONCE || parts.manner == RESPONDS_AT_ONCE)
        parts.request = NULL;
    if (parts.manner == FINISHES_AT_ONCE)
        http_finish(r);
    else if (parts.manner == RESPONDS_AT_ONCE)
        respond(r, STR("enough"));
}

static void on_ended(struct http_request *r, enum http_body_end how)
{
    static const char words[] = {[HTTP_BODY_WHOLE] = '.', [HTTP_BODY_BROKEN] = '!', [HTTP_BODY_LATE] = '?'};
    buf_char(&parts.seen, words[how]);
    if (parts.manner != ECHO)
        return;
    parts.request = NULL;
    http_finish(r);
}

static void on_gone(struct http_request *r)
{
    parts.gone = true;
    parts.request = NULL;
    http_finish(r);
}

static void on_overflow(struct http_request *r)
{
    parts.overflows++;
}

static const struct http_stream both = {.bytes = on_bytes, .ended = on_ended, .gone = on_gone};
static const struct http_stream endless = {.gone = on_gone, .overflow = on_overflow, .endless = true};

static void begin(struct http_request *r)
{
    http_begin(r, &(struct http_response){.status = 200, .content_type = STR("text/plain")});
}

static bool streaming_head(void *user, struct http_request *r)
{
    struct fixture *f = user;
    if (!str_starts(r->path, STR("/s")))
        return on_head(user, r);
    f->heads++;
    parts.request = r;
    http_stream(r, &both);
    if (parts.manner != RESPONDS_AT_ONCE)
        begin(r);
    return false;
}

/* GET /e: a response without end. */
static void streaming_request(void *user, struct http_request *r)
{
    if (!str_eq(r->path, STR("/e"))) {
        on_request(user, r);
        return;
    }
    parts.request = r;
    http_stream(r, &endless);
    begin(r);
}

static const struct http_handler streaming = {streaming_head, streaming_request};

static int begin_with(void **state, uint32_t timeout_ms)
{
    struct fixture *f = mem_new(struct fixture);
    struct http_server_options options = {.body_max = 1000, .stream_timeout_ms = timeout_ms};
    parts = (struct parts){0};
    f->loop = loop_new(&clock_system, 16);
    f->pool = conn_pool_new(f->loop);
    f->server = http_server_new(f->pool, &options, &streaming, f);
    connect_client(f);
    *state = f;
    return 0;
}

static int begin_streaming(void **state)
{
    return begin_with(state, 0);
}

static int begin_hasty(void **state)
{
    return begin_with(state, TIMEOUT_MS);
}

static int end_streaming(void **state)
{
    teardown(state);
    buf_free(&parts.seen);
    return parts.request ? -1 : 0; /* whoever had it was told that the peer has gone */
}

static const char *seen(struct fixture *f)
{
    got(f);
    buf_char(&parts.seen, '\0');
    parts.seen.n--;
    return parts.seen.p;
}

#define CHUNKED "POST /s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

static void a_body_is_handed_over_as_it_comes(void **state)
{
    struct fixture *f = *state;
    sends(f, CHUNKED "3\r\nabc\r\n");
    assert_string_equal(seen(f), "[abc]");
    sends(f, "2\r\nde\r\n2\r\nf");
    assert_string_equal(seen(f), "[abc][def]");
    sends(f, "g\r\n0\r\n\r\n");
    assert_string_equal(seen(f), "[abc][def][g].");
}

static void a_response_goes_out_while_the_body_comes_in(void **state)
{
    struct fixture *f = *state;
    sends(f, CHUNKED "3\r\nabc\r\n");
    assert_contains(got(f), "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    sends(f, "1\r\nd\r\n0\r\n\r\n");
    assert_contains(got(f), "1\r\nd\r\n0\r\n\r\n");
}

static void the_connection_serves_the_next_request_afterwards(void **state)
{
    struct fixture *f = *state;
    sends(f, CHUNKED "1\r\na\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_contains(got(f), "0\r\n\r\nHTTP/1.1 200 OK");
    assert_contains(got(f), "GET /next? []");
}

static void a_sized_body_is_streamed_too_however_long(void **state)
{
    struct fixture *f = *state;
    struct buf body = {0};
    parts.manner = QUIET;
    sends(f, "POST /s HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n");
    memset(buf_reserve(&body, 5000), 'x', 5000);
    client_sends(f, body.p, 5000);
    assert_int_equal(occurrences(seen(f), "x"), 5000);
    assert_contains(seen(f), "].");
    http_finish(parts.request);
    parts.request = NULL;
    buf_free(&body);
}

static void permission_to_send_is_given_first(void **state)
{
    struct fixture *f = *state;
    sends(f, "PUT /s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
    assert_contains(got(f), "HTTP/1.1 100 Continue\r\n\r\n");
    sends(f, "1\r\na\r\n0\r\n\r\n");
    assert_string_equal(seen(f), "[a].");
}

/* Flow control: whoever does not take more leaves it in the peer's socket. */
static void nothing_is_read_while_paused(void **state)
{
    struct fixture *f = *state;
    struct buf chunk = {0};
    size_t sent = 0;
    parts.manner = PAUSES;
    buf_lit(&chunk, "8000\r\n");
    memset(buf_reserve(&chunk, 0x8000), 'x', 0x8000);
    chunk.n += 0x8000;
    buf_lit(&chunk, "\r\n");
    sends(f, CHUNKED "1\r\na\r\n");
    for (ssize_t n = 1; n > 0; sent += n > 0 ? (size_t)n : 0) {
        n = send(f->client, chunk.p + sent % chunk.n, chunk.n - sent % chunk.n, MSG_NOSIGNAL);
        loop_turn(f->loop, 0);
    }
    assert_string_equal(seen(f), "[a]");
    assert_true(sent > 0);
    for (int i = 0; i < PATIENCE_TURNS && occurrences(seen(f), "x") < sent - 100; i++)
        http_body_resume(parts.request);
    assert_true(parts.seen.n > sent - 100);
    buf_free(&chunk);
    http_finish(parts.request);
    parts.request = NULL;
}

static void a_peer_that_stops_in_the_middle_still_gets_its_response(void **state)
{
    struct fixture *f = *state;
    sends(f, CHUNKED "3\r\nab");
    shutdown(f->client, SHUT_WR);
    assert_string_equal(seen(f), "[ab]!");
    assert_contains(got(f), "ab\r\n0\r\n\r\n");
    assert_true(closed_by_server(f));
}

static void chunks_that_are_none_break_the_body(void **state)
{
    struct fixture *f = *state;
    sends(f, CHUNKED "1\r\na\r\nnonsense\r\n");
    assert_string_equal(seen(f), "[a]!");
    assert_true(closed_by_server(f));
}

static void a_body_that_rests_too_long_is_late(void **state)
{
    struct fixture *f = *state;
    sends(f, CHUNKED "1\r\na\r\n");
    assert_true(closed_by_server(f));
    assert_string_equal(seen(f), "[a]?");
}

static void a_paused_body_is_never_late(void **state)
{
    struct fixture *f = *state;
    parts.manner = PAUSES;
    sends(f, CHUNKED "1\r\na\r\n");
    for (int i = 0; i < 4 * TIMEOUT_MS / 5; i++)
        loop_turn(f->loop, 5);
    assert_string_equal(seen(f), "[a]");
    http_finish(parts.request);
    parts.request = NULL;
}

static void whoever_leaves_is_noticed(void **state)
{
    struct fixture *f = *state;
    parts.manner = QUIET;
    sends(f, CHUNKED "1\r\na\r\n");
    close(f->client);
    f->client = -1;
    for (int i = 0; i < 10; i++) {
        if (parts.request)
            http_part(parts.request, STR("x"));
        loop_turn(f->loop, 1);
    }
    assert_true(parts.gone);
}

static void it_may_end_before_its_body_does(void **state)
{
    struct fixture *f = *state;
    parts.manner = FINISHES_AT_ONCE;
    sends(f, CHUNKED "1\r\na\r\n1\r\nb\r\n");
    assert_string_equal(seen(f), "[ab]");
    sends(f, "1\r\nc\r\n");
    assert_true(closed_by_server(f));
    assert_string_equal(seen(f), "[ab]");
}

static void it_may_be_refused_like_any_other(void **state)
{
    struct fixture *f = *state;
    parts.manner = RESPONDS_AT_ONCE;
    sends(f, CHUNKED "1\r\na\r\n");
    assert_contains(got(f), "Content-Length: 6\r\nConnection: close\r\n\r\nenough");
    assert_true(closed_by_server(f));
}

static void parts_wait_for_the_response_before_them(void **state)
{
    struct fixture *f = *state;
    f->mode = HOLD;
    sends(f, "GET /first HTTP/1.1\r\nHost: a\r\n\r\n" CHUNKED "1\r\na\r\n");
    assert_string_equal(got(f), "");
    answer(f->held[0]);
    f->held[0] = NULL;
    assert_contains(got(f), "GET /first? []HTTP/1.1 200 OK");
    assert_contains(got(f), "1\r\na\r\n");
    sends(f, "0\r\n\r\n");
    assert_contains(got(f), "0\r\n\r\n");
}

static void a_response_without_end_ends_with_its_reader(void **state)
{
    struct fixture *f = *state;
    sends(f, "GET /e HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_contains(got(f), "Transfer-Encoding: chunked");
    http_part(parts.request, STR("tick"));
    assert_contains(got(f), "4\r\ntick\r\n");
    shutdown(f->client, SHUT_WR);
    got(f);
    assert_true(parts.gone);
}

static void a_slow_reader_meets_its_limits(void **state)
{
    struct fixture *f = *state;
    char much[4096];
    sends(f, "GET /e HTTP/1.1\r\nHost: a\r\n\r\n");
    got(f);
    memset(much, 'x', sizeof much);
    struct frame *frame = http_part_encode(str_make(much, sizeof much));
    http_limit(parts.request, (struct conn_limits){.queue_frames_max = 10});
    for (int i = 0; i < 1000 && !parts.overflows; i++) {
        http_part_frame(parts.request, frame);
        loop_turn(f->loop, 0);
    }
    assert_true(parts.overflows > 0);
    assert_true(http_waiting_bytes(parts.request) > 0);
    frame_drop(frame);
    http_finish(parts.request);
    parts.request = NULL;
}

/* A response without end, behind another one: its turn may never come. */
static void frames_of_a_response_that_is_not_first_are_bounded(void **state)
{
    struct fixture *f = *state;
    char much[10000] = {0};
    f->mode = HOLD;
    sends(f, "GET /held HTTP/1.1\r\nHost: a\r\n\r\nGET /e HTTP/1.1\r\nHost: a\r\n\r\n");
    got(f);
    struct frame *frame = http_part_encode(str_make(much, sizeof much));
    for (int i = 0; i < 100; i++)
        http_part_frame(parts.request, frame);
    assert_in_range(http_waiting_bytes(parts.request), 200 * 1024, 256 * 1024);
    assert_int_equal(parts.overflows, 100 - 256 * 1024 / 10010);
    frame_drop(frame);
    http_finish(parts.request);
    parts.request = NULL;
}

static void http_1_0_has_no_parts(void **state)
{
    struct fixture *f = *state;
    f->mode = HOLD;
    sends(f, "GET / HTTP/1.0\r\n\r\n");
    assert_false(http_can_stream(f->held[0]));
}

#define STREAMING(name) cmocka_unit_test_setup_teardown(name, begin_streaming, end_streaming)
#define RESTING(name) cmocka_unit_test_setup_teardown(name, begin_hasty, end_streaming)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STREAMING(a_body_is_handed_over_as_it_comes),
        STREAMING(a_response_goes_out_while_the_body_comes_in),
        STREAMING(the_connection_serves_the_next_request_afterwards),
        STREAMING(a_sized_body_is_streamed_too_however_long),
        STREAMING(permission_to_send_is_given_first),
        STREAMING(nothing_is_read_while_paused),
        STREAMING(a_peer_that_stops_in_the_middle_still_gets_its_response),
        STREAMING(chunks_that_are_none_break_the_body),
        RESTING(a_body_that_rests_too_long_is_late),
        RESTING(a_paused_body_is_never_late),
        STREAMING(whoever_leaves_is_noticed),
        STREAMING(it_may_end_before_its_body_does),
        STREAMING(it_may_be_refused_like_any_other),
        STREAMING(parts_wait_for_the_response_before_them),
        STREAMING(a_response_without_end_ends_with_its_reader),
        STREAMING(a_slow_reader_meets_its_limits),
        STREAMING(frames_of_a_response_that_is_not_first_are_bounded),
        STREAMING(http_1_0_has_no_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
