/* SPDX-License-Identifier: Apache-2.0 */
#include "api/call.h" /* before cmocka, whose fail() is a macro */

#include "api_fixture.h"

#define MESSAGES "/apps/app-id/channels/ai-1/messages"

static char serial[SERIAL_SIZE + 1];

/* A connection of its own for who writes: the client is the reader's. */
static const char *write_as_server(struct fixture *f, const char *rest, const char *body)
{
    static char answer[8192];
    int reader = f->client;
    struct buf got = f->got;
    f->got = (struct buf){0};
    connect_client(f);
    snprintf(answer, sizeof answer, "%s", post(f, rest, body));
    buf_free(&f->got);
    f->got = got;
    close(f->client);
    f->client = reader;
    settle(f, 0);
    return answer;
}

static void create(struct fixture *f, const char *text)
{
    char body[300];
    snprintf(body, sizeof body,
             "{\"name\":\"ai-output\",\"channel\":\"ai-1\",\"data\":\"%s\",\"message_id\":\"m1\","
             "\"extras\":{\"ai\":{\"transport\":{\"status\":\"streaming\"}}}}",
             text);
    const char *at = strstr(write_as_server(f, "/events", body), "\"message_serial\":\"");
    assert_non_null(at);
    memcpy(serial, at + 18, SERIAL_SIZE);
}

static void mutate(struct fixture *f, const char *action, const char *body)
{
    char rest[200];
    snprintf(rest, sizeof rest, "/channels/ai-1/messages/%s/%s", serial, action);
    assert_starts(write_as_server(f, rest, body), "200 ");
}

static void append(struct fixture *f, const char *text)
{
    char body[8300];
    snprintf(body, sizeof body, "{\"data\":\"%s\"}", text);
    mutate(f, "append", body);
}

#define COMPLETE "{\"data\":\"!\",\"extras\":{\"ai\":{\"transport\":{\"status\":\"complete\"}}}}"

/* Reads the message as events; since: an id, or "". */
static void start(struct fixture *f, const char *since)
{
    char path[300], headers[200];
    snprintf(path, sizeof path, MESSAGES "/%s/stream", serial);
    snprintf(headers, sizeof headers, "%s%s%s", *since ? "Last-Event-ID: " : "", since, *since ? "\r\n" : "");
    close(f->client);
    connect_client(f);
    f->headers = headers;
    send_request(f, "GET", path, "auth_key=app-key", "");
    f->headers = "";
    settle(f, 0);
}

/* Event names and texts so far: "snapshot:Hel append:lo end:complete". */
static const char *events(struct fixture *f)
{
    static char shown[4096];
    size_t n = 0;
    settle(f, 50);
    const char *at = read_response(f);
    shown[0] = '\0';
    while ((at = strstr(at, "event: ")) != NULL && n < sizeof shown - 300) {
        const char *data = strstr(at, "data: ");
        const char *text = data ? strstr(data, strncmp(at, "event: end", 10) == 0 ? "\"status\":\"" : "\"data\":\"") : NULL;
        if (!text)
            break;
        text = strchr(text, ':') + 2;
        n += (size_t)snprintf(shown + n, sizeof shown - n, "%s%.*s:%.*s", n ? " " : "", (int)strcspn(at + 7, "\n"), at + 7,
                              (int)strcspn(text, "\""), text);
        at = data;
    }
    return shown;
}

static const char *last_id(struct fixture *f)
{
    static char id[80];
    const char *at = f->got.p, *last = NULL;
    while ((at = strstr(at, "\nid: ")) != NULL)
        last = at++;
    assert_non_null(last);
    snprintf(id, sizeof id, "%.*s", (int)strcspn(last + 5, "\n"), last + 5);
    return id;
}

/* ---- */

static void a_reader_gets_what_is_there_and_what_comes(void **state)
{
    struct fixture *f = *state;
    create(f, "Hel");
    start(f, "");
    assert_string_equal(events(f), "snapshot:Hel");
    assert_contains(f->got.p, "Content-Type: text/event-stream\r\n");
    append(f, "lo");
    assert_string_equal(events(f), "snapshot:Hel append:lo");
    mutate(f, "append", COMPLETE);
    assert_string_equal(events(f), "snapshot:Hel append:lo append:! end:complete");
    assert_contains(f->got.p, "\r\n0\r\n\r\n");
    assert_int_equal(api_in_flight(f->api), 0);
}

static void what_was_missed_comes_as_one_run(void **state)
{
    struct fixture *f = *state;
    create(f, "");
    start(f, "");
    append(f, "a");
    assert_string_equal(events(f), "snapshot: append:a");
    char id[80];
    snprintf(id, sizeof id, "%s", last_id(f));
    append(f, "b");
    append(f, "c");
    start(f, id);
    assert_string_equal(events(f), "append:bc");
    append(f, "d");
    assert_string_equal(events(f), "append:bc append:d");
}

static void an_id_that_is_the_last_leaves_nothing_to_say(void **state)
{
    struct fixture *f = *state;
    create(f, "a");
    mutate(f, "append", COMPLETE);
    start(f, "");
    assert_string_equal(events(f), "snapshot:a! end:complete");
    char id[80];
    snprintf(id, sizeof id, "%s", last_id(f));
    start(f, id);
    settle(f, 0);
    assert_starts(read_response(f), "HTTP/1.1 204 ");
}

static void a_position_of_another_stream_becomes_a_snapshot(void **state)
{
    struct fixture *f = *state;
    create(f, "a");
    append(f, "b");
    start(f, "00000000-0000-4000-8000-000000000000:1");
    assert_string_equal(events(f), "snapshot:ab");
}

static void two_readers_of_a_shard_share_what_is_sent(void **state)
{
    struct fixture *f = *state;
    create(f, "a");
    start(f, "");
    int first = f->client;
    connect_client(f);
    int second = f->client;
    char path[300];
    snprintf(path, sizeof path, MESSAGES "/%s/stream", serial);
    send_request(f, "GET", path, "auth_key=app-key", "");
    settle(f, 0);
    append(f, "b");
    settle(f, 50);
    assert_non_null(f->api->reads.event);
    assert_int_equal(atomic_load(&f->core->app->connections), 2);
    assert_string_equal(events(f), "snapshot:a append:b");
    f->client = first;
    buf_clear(&f->got);
    assert_string_equal(events(f), "snapshot:a append:b");
    close(second);
}

static void a_reader_that_leaves_leaves_nothing_behind(void **state)
{
    struct fixture *f = *state;
    create(f, "a");
    start(f, "");
    events(f);
    assert_int_equal(atomic_load(&f->core->app->connections), 1);
    close(f->client);
    for (int i = 0; i < 5; i++)
        settle(f, 1);
    assert_int_equal(atomic_load(&f->core->app->connections), 0);
    assert_true(list_empty(&f->api->readers));
    assert_int_equal(api_in_flight(f->api), 0);
    connect_client(f);
}

/* Nobody reads the socket: the queue meets its limit, the response ends, the place is given back. */
static void a_slow_reader_is_ended_at_its_limit(void **state)
{
    struct fixture *f = *state;
    char much[8001];
    memset(much, 'x', 8000);
    much[8000] = '\0';
    f->core->config->ai.rollup.enabled = false;
    f->ops.api.reader_limits = (struct conn_limits){.queue_frames_max = 5};
    create(f, "a");
    start(f, "");
    for (int i = 0; i < 100 && !list_empty(&f->api->readers); i++)
        append(f, much);
    assert_true(list_empty(&f->api->readers));
    assert_int_equal(atomic_load(&f->core->app->connections), 0);
}

static void a_quiet_reader_hears_a_heartbeat(void **state)
{
    struct fixture *f = *state;
    create(f, "a");
    start(f, "");
    settle(f, 15001);
    assert_contains(read_response(f), "\r\n3\r\n:\n\n\r\n");
}

static void a_drain_ends_readers(void **state)
{
    struct fixture *f = *state;
    create(f, "a");
    start(f, "");
    api_drain(f->api);
    settle(f, 0);
    assert_contains(read_response(f), "\r\n0\r\n\r\n");
    assert_int_equal(api_in_flight(f->api), 0);
}

static void a_full_app_takes_no_reader(void **state)
{
    struct fixture *f = *state;
    create(f, "a");
    ((struct app_config *)(uintptr_t)f->core->app->config)->max_connections = 1;
    start(f, "");
    int first = f->client;
    f->client = dup(first);
    start(f, "");
    settle(f, 0);
    assert_starts(read_response(f), "HTTP/1.1 503 ");
    close(first);
}

static void white_space_between_tokens_does_not_break_an_event(void **state)
{
    struct fixture *f = *state;
    create(f, "a");
    start(f, "");
    mutate(f, "append", "{\"data\":\"b\",\"extras\":{\"z\":{\"x\":\n1,\r\n\"y\":2}}}");
    settle(f, 50);
    assert_contains(read_response(f), "{\"x\": 1,  \"y\":2}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_reader_gets_what_is_there_and_what_comes),
        TEST(what_was_missed_comes_as_one_run),
        TEST(an_id_that_is_the_last_leaves_nothing_to_say),
        TEST(a_position_of_another_stream_becomes_a_snapshot),
        TEST(two_readers_of_a_shard_share_what_is_sent),
        TEST(a_reader_that_leaves_leaves_nothing_behind),
        TEST(a_slow_reader_is_ended_at_its_limit),
        TEST(a_quiet_reader_hears_a_heartbeat),
        TEST(a_drain_ends_readers),
        TEST(a_full_app_takes_no_reader),
        TEST(white_space_between_tokens_does_not_break_an_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
