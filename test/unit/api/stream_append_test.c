/* SPDX-License-Identifier: Apache-2.0 */
#include "api/stream_append.h" /* before cmocka, whose fail() is a macro */

#include "api_fixture.h"

#include "base/log.h"
#include "store/kv.h"

#define CHANNEL_PATH "/apps/app-id/channels/ai-1/messages"
#define NEW "format=ndjson&message_id=m1&name=ai-output"

/* Opens a stream; its body follows by chunk(). */
static void open_stream(struct fixture *f, const char *params)
{
    struct buf out = {0}, query = {0};
    put_signed_query(f, &query, "PUT", CHANNEL_PATH "/stream", params, "", now_s(f)); /* PUT: without body_md5 */
    buf_lit(&out, "PUT " CHANNEL_PATH "/stream?");
    buf_str(&out, buf_view(&query));
    buf_lit(&out, " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    buf_clear(&f->got);
    write_raw(f, buf_view(&out));
    buf_free(&out);
    buf_free(&query);
}

static void chunk(struct fixture *f, const char *text)
{
    struct buf out = {0};
    if (*text)
        buf_fmt(&out, "%zx\r\n%s\r\n", strlen(text), text);
    else
        buf_lit(&out, "0\r\n\r\n");
    write_raw(f, buf_view(&out));
    settle(f, 0);
    buf_free(&out);
}

/* What the client has got since the last look. */
static const char *answers(struct fixture *f)
{
    settle(f, 0);
    return read_response(f);
}

static const char *run(struct fixture *f, const char *params, const char *body)
{
    open_stream(f, params);
    chunk(f, body);
    chunk(f, "");
    return answers(f);
}

static const char *serial_of_first(struct fixture *f)
{
    static char serial[SERIAL_SIZE + 1];
    const char *at = strstr(f->got.p, "\"message_serial\":\"");
    assert_non_null(at);
    memcpy(serial, at + 18, SERIAL_SIZE);
    serial[SERIAL_SIZE] = '\0';
    return serial;
}

static const char *message(struct fixture *f, const char *serial)
{
    char path[200];
    close(f->client);
    connect_client(f);
    snprintf(path, sizeof path, "/channels/ai-1/messages/%s", serial);
    return get(f, path, "");
}

static size_t occurrences(const char *text, const char *part)
{
    size_t count = 0;
    for (; (text = strstr(text, part)); text += strlen(part))
        count++;
    return count;
}

/* ---- */

static void each_record_is_an_append_with_its_own_position(void **state)
{
    struct fixture *f = *state;
    open_stream(f, NEW);
    chunk(f, "{\"data\":\"Hel\"}\n{\"data\":\"lo\"}\n");
    assert_contains(answers(f), "\"history_serial\":1,\"delivery_serial\":1,");
    assert_contains(f->got.p, "{\"first_seq\":1,\"seq\":2,\"delivery_serial\":3,");
    chunk(f, "{\"data\":\"!\",\"status\":\"complete\"}\n");
    assert_contains(answers(f), "{\"seq\":3,\"delivery_serial\":4,");
    assert_contains(f->got.p, "{\"end\":\"complete\",\"appends\":3,\"bytes\":6}\n");
    chunk(f, "");
    assert_contains(answers(f), "\r\n0\r\n\r\n");
    assert_contains(message(f, serial_of_first(f)), "\"data\":\"Hello!\"");
    assert_contains(f->got.p, "\"status\":\"complete\"");
}

/* The records of one read travel in one batch: one turn of the store, one line of acknowledgement. */
static void many_records_are_acknowledged_in_one_line(void **state)
{
    struct fixture *f = *state;
    struct buf body = {0};
    open_stream(f, NEW);
    for (int i = 0; i < 100; i++)
        buf_lit(&body, "{\"data\":\"x\"}\n");
    buf_char(&body, '\0');
    chunk(f, body.p);
    assert_contains(answers(f), "{\"first_seq\":1,\"seq\":100,\"delivery_serial\":101,");
    buf_free(&body);
}

static void no_more_than_the_limit_is_in_flight(void **state)
{
    struct fixture *f = *state;
    struct buf body = {0};
    for (int i = 0; i < 3 * STREAM_IN_FLIGHT_MAX; i++)
        buf_lit(&body, "{\"data\":\"x\"}\n");
    buf_char(&body, '\0');
    open_stream(f, NEW);
    settle(f, 0);
    struct buf out = {0};
    buf_fmt(&out, "%zx\r\n%s\r\n", strlen(body.p), body.p);
    write_raw(f, buf_view(&out));
    for (int i = 0; i < 4; i++)
        loop_turn(f->loop, 0); /* read, not stored yet */
    struct append_stream *s = list_of(f->api->streams.next, struct append_stream, link);
    assert_int_equal(s->ring_count, STREAM_IN_FLIGHT_MAX);
    assert_true(s->paused);
    for (int i = 0; i < 20; i++)
        settle(f, 0);
    assert_int_equal(s->settled, 3 * STREAM_IN_FLIGHT_MAX);
    assert_false(s->paused);
    buf_free(&body);
    buf_free(&out);
}

static void a_retry_with_the_same_message_id_stores_nothing_twice(void **state)
{
    struct fixture *f = *state;
    run(f, NEW, "{\"data\":\"ab\"}\n{\"data\":\"cd\"}\n");
    assert_contains(f->got.p, "{\"end\":\"open\",\"appends\":2,\"bytes\":4}");
    run(f, NEW, "{\"data\":\"abc\"}\n{\"data\":\"de\"}\n{\"status\":\"complete\"}\n");
    assert_contains(f->got.p, "\"bytes\":4,\"status\":\"duplicate\"}\n");
    assert_contains(f->got.p, "{\"seq\":1,\"delivery_serial\":3,"); /* what is stored covers it */
    assert_contains(f->got.p, "{\"first_seq\":2,\"seq\":3,\"delivery_serial\":5,");
    run(f, NEW, "{\"data\":\"abcde\"}\n{\"status\":\"complete\"}\n");
    assert_contains(f->got.p, "{\"end\":\"complete\",\"appends\":2,\"bytes\":5}");
    assert_contains(message(f, serial_of_first(f)), "\"data\":\"abcde\"");
    assert_contains(f->got.p, "\"delivery_serial\":5");
}

/* The end has no place in the text: it has a receipt. */
static void an_end_that_is_sent_again_is_a_duplicate(void **state)
{
    struct fixture *f = *state;
    const char *first = run(f, NEW, "{\"data\":\"a\"}\n{\"status\":\"complete\"}\n");
    assert_contains(first, "\"end\":\"complete\"");
    char params[200];
    snprintf(params, sizeof params, "format=ndjson&from=1&message_serial=%s", serial_of_first(f));
    assert_contains(run(f, params, "{\"status\":\"complete\"}\n"), "{\"seq\":1,\"delivery_serial\":3,");
    assert_contains(f->got.p, "\"bytes\":1,\"status\":\"duplicate\"}");
    assert_contains(run(f, params, "{\"data\":\"b\"}\n"), "\"error\":\"cannot append to a terminal message\"");
}

static void another_writer_in_between_ends_the_stream(void **state)
{
    struct fixture *f = *state;
    open_stream(f, NEW);
    chunk(f, "{\"data\":\"a\"}\n");
    char path[200], serial[SERIAL_SIZE + 1];
    answers(f);
    memcpy(serial, serial_of_first(f), sizeof serial);
    int mine = f->client;
    connect_client(f);
    snprintf(path, sizeof path, "/channels/ai-1/messages/%s/append", serial);
    assert_starts(post(f, path, "{\"data\":\"Z\"}"), "200 ");
    close(f->client);
    f->client = mine;
    buf_clear(&f->got);
    chunk(f, "{\"data\":\"b\"}\n{\"data\":\"c\"}\n");
    assert_contains(answers(f), "\"code\":\"backpressure\",\"status\":503,\"seq\":2,\"bytes\":1}\n");
    assert_contains(message(f, serial), "\"data\":\"aZ\"");
}

static void a_peer_that_leaves_frees_its_stream(void **state)
{
    struct fixture *f = *state;
    open_stream(f, NEW);
    chunk(f, "{\"data\":\"a\"}\n{\"da");
    assert_int_equal(api_in_flight(f->api), 1);
    close(f->client);
    for (int i = 0; i < 5; i++)
        settle(f, 1);
    assert_int_equal(api_in_flight(f->api), 0);
    assert_true(list_empty(&f->api->streams));
    connect_client(f);
}

static void a_drain_ends_the_stream_and_says_where_it_was(void **state)
{
    struct fixture *f = *state;
    open_stream(f, NEW);
    chunk(f, "{\"data\":\"abc\"}\n");
    answers(f);
    api_drain(f->api);
    assert_contains(answers(f), "\"code\":\"service_unavailable\",\"status\":503,\"seq\":2,\"bytes\":3}\n");
    assert_int_equal(api_in_flight(f->api), 0);
}

static void a_provider_that_fails_is_said_in_the_headers(void **state)
{
    struct fixture *f = *state;
    run(f, "format=sse&message_id=m1&name=ai-output&extras={\"ai\":{\"transport\":{\"status\":\"streaming\",\"run-id\":\"r1\"}}}",
        "data: {\"choices\":[{\"delta\":{\"content\":\"par\"}}]}\n\ndata: {\"error\":{\"message\":\"overloaded\"}}\n\n");
    assert_contains(message(f, serial_of_first(f)), "\"data\":\"par\"");
    assert_contains(f->got.p, "{\"run-id\":\"r1\",\"status\":\"complete\",\"error-code\":\"provider_error\",\"error-message\":\"overloaded\"}");
}

static void limits_hold_as_for_any_append(void **state)
{
    struct fixture *f = *state;
    f->core->config->ai.max_accumulated_message_bytes = 5;
    run(f, NEW, "{\"data\":\"abc\"}\n{\"data\":\"def\"}\n{\"data\":\"g\"}\n");
    assert_contains(f->got.p, "{\"seq\":1,\"delivery_serial\":2,");
    assert_contains(f->got.p, "\"ai_code\":40009,\"status\":413,\"seq\":2,\"bytes\":3}\n");
}

static void every_append_counts(void **state)
{
    struct fixture *f = *state;
    run(f, NEW, "{\"data\":\"abc\"}\n{\"data\":\"def\"}\n");
    struct buf text = {0};
    metric_render(f->core->env.metrics->registry, STR(""), &text);
    buf_char(&text, '\0');
    assert_contains(text.p, "versioned_message_mutations_total{app_id=\"app-id\",port=\"9601\",action=\"message.append\",result=\"applied\"} 2");
    buf_free(&text);
}

static void what_is_wrong_with_the_request_is_an_ordinary_answer(void **state)
{
    struct fixture *f = *state;
    assert_contains(run(f, "message_id=m1&name=x", ""), "HTTP/1.1 415 ");
    close(f->client);
    connect_client(f);
    assert_contains(run(f, "format=text&message_id=m1&name=x&from=3", ""), "from is 3, but the message's text has 0 bytes");
    close(f->client);
    connect_client(f);
    assert_contains(run(f, NEW "&extras={\"ephemeral\":true}", ""), "An ephemeral message cannot be appended to");
}

/* ---- commits that fail ---- */

enum { COMMITS_MAX = 9, TRIES_MAX = 6, BACK_OFF_MS = 1500 };
static struct kv_ops faulty_ops;
static bool (*real_commit)(struct kv *kv, bool sync, struct buf *error);
static int commits, fail_at;
static enum { LOST, WRITTEN_ALL_THE_SAME } failure;

static bool faulty_commit(struct kv *kv, bool sync, struct buf *error)
{
    if (++commits != fail_at)
        return real_commit(kv, sync, error);
    if (failure == LOST)
        kv->ops->abandon(kv);
    else
        real_commit(kv, sync, error);
    buf_lit(error, "planted");
    return false;
}

/* Sends the records one after the other, until the server has something against one. True: it was complete. */
static bool send_all(struct fixture *f, const char *const *records)
{
    close(f->client);
    connect_client(f);
    open_stream(f, NEW);
    settle(f, 0);
    for (; *records && !strstr(read_response(f), "\"error\""); records++)
        chunk(f, *records);
    return strstr(answers(f), "\"end\":\"complete\"") != NULL;
}

/* Whichever commit fails, lost or written all the same: sent again from the beginning, the text is whole, each record once. */
static void whichever_commit_fails_a_retry_makes_it_whole(void **state)
{
    static const char *const records[] = {"{\"data\":\"one \"}\n",   "{\"data\":\"two \"}\n{\"data\":\"three \"}\n",
                                          "{\"data\":\"four \"}\n",  "{\"data\":\"five\"}\n",
                                          "{\"status\":\"complete\"}\n", NULL};
    struct fixture *f = *state;
    log_setup(&(struct log_options){.filter = "off"}); /* faults are planted by the dozen */
    fail_at = 0;
    if (faulty_ops.commit == NULL) {
        faulty_ops = *f->core->kv->ops;
        real_commit = faulty_ops.commit;
        faulty_ops.commit = faulty_commit;
    }
    f->core->kv->ops = &faulty_ops;
    for (int round = 0; round < 2 * COMMITS_MAX; round++) {
        failure = round % 2;
        commits = 0;
        fail_at = 1 + round / 2;
        int tries = 0;
        while (!send_all(f, records) && ++tries < TRIES_MAX)
            settle(f, BACK_OFF_MS);
        assert_true(tries < TRIES_MAX);
        fail_at = 0;
        assert_contains(message(f, serial_of_first(f)), "\"data\":\"one two three four five\"");
        assert_contains(f->got.p, "\"status\":\"complete\"");
        char rest[200];
        snprintf(rest, sizeof rest, "/channels/ai-1/messages/%s/versions", serial_of_first(f));
        assert_int_equal(occurrences(get(f, rest, ""), "\"message.append\""), 6);
        assert_starts(post(f, "/channels/ai-1/history/reset", "{\"confirm_channel\":\"ai-1\",\"confirm_operation\":\"reset\",\"reason\":\"test\"}"), "200 ");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_record_is_an_append_with_its_own_position),
        TEST(many_records_are_acknowledged_in_one_line),
        TEST(no_more_than_the_limit_is_in_flight),
        TEST(a_retry_with_the_same_message_id_stores_nothing_twice),
        TEST(an_end_that_is_sent_again_is_a_duplicate),
        TEST(another_writer_in_between_ends_the_stream),
        TEST(a_peer_that_leaves_frees_its_stream),
        TEST(a_drain_ends_the_stream_and_says_where_it_was),
        TEST(a_provider_that_fails_is_said_in_the_headers),
        TEST(limits_hold_as_for_any_append),
        TEST(every_append_counts),
        TEST(what_is_wrong_with_the_request_is_an_ordinary_answer),
        TEST(whichever_commit_fails_a_retry_makes_it_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
