/* events_test.c - POST /events and /batch_events, keys of both kinds (chapter 2, 2.5 to 2.7, 2.22).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api_fixture.h"

#define ACK "\"acknowledgement_id\":\""

/* How many messages the channel's history holds. */
static unsigned stored(struct fixture *f, const char *channel)
{
    char rest[128];
    snprintf(rest, sizeof rest, "/channels/%s/history/state", channel);
    const char *got = strstr(get(f, rest, ""), "\"next_serial\":");
    assert_non_null(got);
    return (unsigned)strtoul(got + 14, NULL, 10) - 1;
}

static void a_publish_is_acknowledged_with_ok(void **state)
{
    assert_string_equal(post(*state, "/events", "{\"name\":\"tick\",\"channels\":[\"a\"],\"data\":\"{}\"}"),
                        "200 {\"ok\":true}");
    assert_int_equal(stored(*state, "a"), 1);
}

static void who_asks_for_info_gets_the_channels(void **state)
{
    const char *got = post(*state, "/events",
                           "{\"name\":\"tick\",\"channels\":[\"a\",\"presence-b\"],\"info\":\"user_count, "
                           "subscription_count,x\"}");
    assert_starts(got, "200 {\"channels\":{\"a\":{" ACK);
    assert_contains(got, "\"history_serial\":1,\"delivery_serial\":1,\"version_serial\":\"");
    assert_contains(got, "\",\"subscription_count\":0},\"presence-b\":{");
    assert_contains(got, "\"user_count\":0,\"subscription_count\":0}}}");
    assert_starts(post(*state, "/events", "{\"name\":\"tick\",\"channel\":\"a\",\"info\":\"\"}"),
                  "200 {\"channels\":{\"a\":{");
}

static void what_is_wrong_with_an_event_is_told(void **state)
{
    struct fixture *f = *state;
    assert_contains(post(f, "/events", "{\"channel\":\"a\"}"), "Event name is required");
    assert_contains(post(f, "/events", "{\"name\":7,\"channel\":\"a\"}"), "\"status\":422}");
    assert_contains(post(f, "/events", "{\"name\":\"t\"}"), "\"code\":\"missing_channel_info\"");
    assert_contains(post(f, "/events", "{\"name\":\"t\",\"channels\":[],\"channel\":\"a\"}"),
                    "\"code\":\"missing_channel_info\"");
    assert_contains(post(f, "/events", "{\"name\":\"t\",\"channel\":\"a\",\"tags\":{\"k\":1}}"),
                    "\"status\":422}");
    assert_contains(
        post(f, "/events", "{\"name\":\"t\",\"channel\":\"a\",\"extras\":{\"headers\":{\"k\":[]}}}"),
        "\"status\":422}");
    assert_contains(post(f, "/events", "{\"name\":\"t\",\"channel\":\"a\",\"message_id\":\"\"}"),
                    "idempotency key must not be empty");
}

static void limits_of_the_app_are_kept(void **state)
{
    struct fixture *f = *state;
    struct app_config *app = &f->core->config->apps[0];
    app->max_event_name_length = 4;
    app->max_event_channels_at_once = 2;
    app->max_event_payload_in_kb = 1;
    app->max_event_batch_size = 1;
    assert_starts(post(f, "/events", "{\"name\":\"tick\",\"channel\":\"a\"}"), "200 ");
    assert_contains(post(f, "/events", "{\"name\":\"ticks\",\"channel\":\"a\"}"),
                    "\"code\":\"limit_exceeded\",\"status\":400}");
    assert_contains(post(f, "/events", "{\"name\":\"t\",\"channels\":[\"a\",\"b\",\"c\"]}"),
                    "\"code\":\"limit_exceeded\"");
    assert_contains(post(f, "/batch_events", "{\"batch\":[{},{}]}"), "Batch size (2) exceeds limit (1)");
    char body[1200] = "{\"name\":\"t\",\"channel\":\"a\",\"data\":\"";
    size_t n = strlen(body);
    memset(body + n, 'x', 1025);
    memcpy(body + n + 1025, "\"}", 3);
    assert_contains(post(f, "/events", body),
                    "413 {\"error\":\"Event payload size (1025 bytes) for event 't' exceeds limit (1KB)\","
                    "\"code\":\"payload_too_large\",\"status\":413}");
    memcpy(body + n + 1024, "\"}", 3);
    assert_starts(post(f, "/events", body), "200 ");
}

static void ignore(struct publish *p)
{
    assert_int_equal(p->result, PUBLISH_OK);
    publish_free(p);
}

static void a_channel_with_4096_publishes_waiting_is_503_with_retry_after(void **state)
{
    struct fixture *f = *state;
    struct arena arena = {0};
    f->core->stalls = true;
    for (unsigned i = 0; i < CHANNEL_WAITING_MAX; i++) {
        struct publish *p = publish_new(&f->core->env, f->core->app, ignore);
        p->op.app_id = f->core->app->id;
        p->op.channel = STR("a");
        channel_name_check(f->core->app, p->op.channel, &p->name, &arena);
        p->op.write.action = ACTION_CREATE;
        p->op.write.event_name = STR("t");
        p->op.write.data = STR("1");
        hub_publish(&f->core->env, p);
    }
    send_signed(f, "POST", "/apps/app-id/events", "", "{\"name\":\"t\",\"channel\":\"a\",\"idempotency_key\":\"k\"}");
    settle(f, 0);
    assert_starts(read_response(f), "HTTP/1.1 503 ");
    assert_contains(read_response(f), "\r\nRetry-After: 1\r\n");
    assert_contains(read_response(f), "\"code\":\"backpressure\",\"status\":503}");
    f->core->stalls = false;
    assert_string_equal(post(f, "/events", "{\"name\":\"t\",\"channel\":\"a\",\"idempotency_key\":\"k\"}"), "200 {\"ok\":true}");
    assert_int_equal(stored(f, "a"), CHANNEL_WAITING_MAX + 1);
    arena_free(&arena);
}

/* The reference delivers to those channels that stand before the bad one. */
static void one_bad_channel_publishes_nothing(void **state)
{
    assert_contains(post(*state, "/events", "{\"name\":\"t\",\"channels\":[\"ok\",\"bad name\"]}"),
                    "\"status\":400}");
    assert_int_equal(stored(*state, "ok"), 0);
    assert_contains(
        post(*state, "/batch_events",
             "{\"batch\":[{\"name\":\"t\",\"channel\":\"ok\"},{\"name\":\"t\",\"channel\":\"bad name\"}]}"),
        "\"status\":400}");
    assert_int_equal(stored(*state, "ok"), 0);
}

static void a_channel_named_twice_is_published_to_once(void **state)
{
    post(*state, "/events", "{\"name\":\"t\",\"channels\":[\"a\",\"b\",\"a\"]}");
    assert_int_equal(stored(*state, "a"), 1);
    assert_int_equal(stored(*state, "b"), 1);
}

static void more_channels_than_fit_at_once_are_all_served(void **state)
{
    struct buf body = {0};
    buf_lit(&body, "{\"name\":\"t\",\"channels\":[\"c0\"");
    for (int i = 1; i < 2 * API_CHANNELS_AT_ONCE; i++)
        buf_fmt(&body, ",\"c%d\"", i);
    buf_lit(&body, "]}");
    buf_char(&body, '\0');
    send_signed(*state, "POST", "/apps/app-id/events", "", body.p);
    for (int i = 0; i < 10; i++)
        settle(*state, 1);
    assert_string_equal(short_form(*state), "200 {\"ok\":true}");
    assert_int_equal(stored(*state, "c511"), 1);
    buf_free(&body);
}

static void data_that_is_no_string_becomes_one(void **state)
{
    post(*state, "/events", "{\"name\":\"t\",\"channel\":\"a\",\"data\":{ \"b\" : 1, \"a\": \"x\" }}");
    assert_contains(get(*state, "/channels/a/history", ""), "\"data\":\"{\\\"b\\\":1,\\\"a\\\":\\\"x\\\"}\"");
    post(*state, "/events", "{\"name\":\"t\",\"channel\":\"b\"}");
    assert_contains(get(*state, "/channels/b/history", ""), "\"data\":\"null\"");
}

static void the_same_request_key_is_answered_alike_and_published_once(void **state)
{
    struct fixture *f = *state;
    char first[1024];
    snprintf(
        first, sizeof first, "%s",
        post(f, "/events", "{\"name\":\"t\",\"channel\":\"a\",\"idempotency_key\":\"k\",\"info\":\"\"}"));
    assert_starts(first, "200 {\"channels\"");
    assert_string_equal(
        post(f, "/events", "{\"name\":\"other\",\"channel\":\"a\",\"idempotency_key\":\"k\"}"), first);
    f->headers = "X-Idempotency-Key: k\r\n";
    assert_string_equal(post(f, "/events", "{\"name\":\"other\",\"channel\":\"a\"}"), first);
    f->headers = "";
    assert_int_equal(stored(f, "a"), 1);
    assert_contains(post(f, "/events", "{\"name\":\"t\",\"channel\":\"a\",\"idempotency_key\":\"\"}"),
                    "Idempotency key must not be empty");
}

static void a_refused_request_takes_no_key(void **state)
{
    struct fixture *f = *state;
    assert_starts(post(f, "/events", "{\"name\":\"t\",\"channel\":\"bad name\",\"idempotency_key\":\"k\"}"),
                  "400 ");
    assert_starts(post(f, "/events", "{\"name\":\"t\",\"channel\":\"a\",\"idempotency_key\":\"k\"}"), "200 ");
}

/* What fails behind the claim must not block its key until the time is up. */
static void a_publish_that_fails_gives_its_key_back(void **state)
{
    struct fixture *f = *state;
    post(f, "/events", "{\"name\":\"t\",\"channel\":\"a\",\"message_id\":\"m\",\"data\":\"x\"}");
    assert_contains(post(f, "/events",
                         "{\"name\":\"t\",\"channel\":\"a\",\"message_id\":\"m\",\"data\":\"y\","
                         "\"idempotency_key\":\"k\"}"),
                    "\"code\":\"invalid_input\",\"status\":400}");
    assert_string_equal(
        post(f, "/events", "{\"name\":\"t\",\"channel\":\"a\",\"data\":\"y\",\"idempotency_key\":\"k\"}"),
        "200 {\"ok\":true}");
    assert_int_equal(stored(f, "a"), 2);
}

static void a_twin_of_a_request_under_way_is_told_to_come_again(void **state)
{
    static const struct {
        const char *path, *headers, *body, *refusal;
    } each[] = {
        {"/apps/app-id/events", "", "{\"name\":\"t\",\"channel\":\"a\",\"idempotency_key\":\"k\"}",
         "\"error\":\"Idempotent publish is still in progress\",\"code\":\"backpressure\",\"status\":503}"},
        {"/apps/app-id/batch_events", "X-Idempotency-Key: k\r\n",
         "{\"batch\":[{\"name\":\"t\",\"channel\":\"a\"}]}",
         "\"error\":\"Idempotent batch publish is still in progress\",\"code\":\"backpressure\",\"status\":503}"},
    };
    struct fixture *f = *state;
    for (unsigned i = 0; i < 2; i++) {
        f->headers = each[i].headers;
        f->core->stalls = true;
        send_signed(f, "POST", each[i].path, "", each[i].body);
        settle(f, 0);
        assert_string_equal(read_response(f), "");
        int first = f->client;
        connect_client(f);
        send_signed(f, "POST", each[i].path, "", each[i].body);
        settle(f, 290); /* 6 times 50 ms it looks whether there is an answer to repeat */
        assert_string_equal(read_response(f), "");
        settle(f, 20);
        assert_contains(read_response(f), "HTTP/1.1 503 ");
        assert_contains(read_response(f), "\r\nRetry-After: 1\r\n");
        assert_contains(read_response(f), each[i].refusal);
        close(f->client);
        f->client = first;
        f->core->stalls = false;
        buf_clear(&f->got);
        settle(f, 0);
        assert_starts(short_form(f), "200 {");
        f->headers = "";
        assert_int_equal(stored(f, "a"), i + 1);
    }
}

static void a_message_id_is_published_once_per_channel(void **state)
{
    struct fixture *f = *state;
    char first[1024];
    const char *body = "{\"name\":\"t\",\"channel\":\"a\",\"message_id\":\"m\",\"data\":\"x\"}";
    snprintf(first, sizeof first, "%s", post(f, "/events", body));
    assert_string_equal(post(f, "/events", body), first);
    assert_int_equal(stored(f, "a"), 1);
    assert_contains(
        post(f, "/events", "{\"name\":\"t\",\"channel\":\"a\",\"message_id\":\"m\",\"data\":\"y\"}"),
        "400 {\"error\":\"idempotency key was already used with a different "
        "payload\",\"code\":\"invalid_input\",\"status\":400}");
    assert_starts(
        post(f, "/events", "{\"name\":\"t\",\"channel\":\"b\",\"message_id\":\"m\",\"data\":\"y\"}"), "200 ");
}

/* The reference lets the message_id that it makes itself displace it when recovery is on. */
static void a_key_in_the_extras_counts_whether_or_not_a_message_id_is_made(void **state)
{
    struct fixture *f = *state;
    const char *one = "{\"name\":\"t\",\"channel\":\"a\",\"data\":\"x\",\"extras\":{\"idempotencyKey\":\"e\"}}";
    assert_true(f->core->config->recovery.enabled);
    assert_string_equal(post(f, "/events", one), "200 {\"ok\":true}");
    assert_string_equal(post(f, "/events", one), "200 {\"ok\":true}");
    assert_int_equal(stored(f, "a"), 1);
    assert_contains(post(f, "/events",
                         "{\"name\":\"t\",\"channel\":\"a\",\"data\":\"y\",\"extras\":{\"idempotency_key\":\"e\"}}"),
                    "idempotency key was already used with a different payload");
}

/* Without history there is no store to keep the receipt. */
static void a_message_id_counts_without_history_too(void **state)
{
    struct fixture *f = *state;
    char first[1024];
    const char *body = "{\"name\":\"t\",\"channel\":\"a\",\"message_id\":\"m\",\"data\":\"x\",\"info\":"
                       "\"subscription_count\"}";
    f->core->config->history.enabled = false;
    snprintf(first, sizeof first, "%s", post(f, "/events", body));
    assert_string_equal(first,
                        "200 {\"channels\":{\"a\":{\"acknowledgement_id\":\"m\",\"subscription_count\":0}}}");
    assert_string_equal(post(f, "/events", body), first);
    assert_contains(
        post(f, "/events", "{\"name\":\"t\",\"channel\":\"a\",\"message_id\":\"m\",\"data\":\"y\"}"),
        "different payload");
    assert_int_equal(metric_value(metrics_of(&f->core->env, f->core->app)->idempotency_duplicates), 2);
}

static void a_batch_answers_one_object_per_event(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(post(f, "/batch_events", "{\"batch\":[]}"), "200 {}");
    assert_string_equal(post(f, "/batch_events", "{\"batch\":[{\"name\":\"t\",\"channel\":\"a\"}]}"),
                        "200 {}");
    const char *got = post(f, "/batch_events",
                           "{\"batch\":[{\"name\":\"t\",\"channel\":\"a\"},"
                           "{\"name\":\"t\",\"channel\":\"a\",\"info\":\"subscription_count\"}]}");
    assert_starts(got, "200 {\"batch\":[{},{" ACK);
    assert_contains(got, "\"history_serial\":3,\"delivery_serial\":3");
}

static void an_item_key_is_the_key_of_its_event(void **state)
{
    struct fixture *f = *state;
    const char *batch = "{\"batch\":[{\"name\":\"t\",\"channel\":\"a\",\"idempotency_key\":\"y\"}]}";
    f->headers = "X-Idempotency-Key: y\r\n";
    assert_string_equal(post(f, "/batch_events", batch), "200 {}");
    f->headers = "";
    assert_string_equal(post(f, "/events", "{\"name\":\"t\",\"channel\":\"a\",\"idempotency_key\":\"y\"}"),
                        "200 {\"ok\":true}");
    assert_string_equal(post(f, "/batch_events", batch), "200 {}");
    assert_int_equal(stored(f, "a"), 1);
}

static void ai_events_belong_on_ai_channels(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(
        post(f, "/events", "{\"name\":\"ai-output\",\"channel\":\"chat\"}"),
        "403 {\"error\":\"AI Transport is not enabled for this channel\",\"code\":\"ai_event_not_permitted\","
        "\"ai_code\":104003,\"status\":403}");
    assert_contains(post(f, "/events",
                         "{\"name\":\"ai-output\",\"channel\":\"ai-1\",\"extras\":{\"ai\":{\"transport\":{"
                         "\"status\":\"x\"}}}}"),
                    "\"ai_code\":104000,\"status\":400}");
    assert_contains(post(f, "/events", "{\"name\":\"x\",\"channel\":\"ai-1\",\"message_id\":\"\"}"),
                    "\"code\":\"ai_invalid_transport_header\"");
    assert_starts(post(f, "/events",
                       "{\"name\":\"ai-output\",\"channel\":\"ai-1\",\"extras\":{\"ai\":{\"transport\":{"
                       "\"status\":\"streaming\"}}}}"),
                  "200 {\"channels\":{\"ai-1\":{");
    assert_contains(get(f, "/channels/ai-1", ""),
                    "\"ai\":{\"active_streams\":1,\"last_history_serial\":1,\"message_count\":1}}");
}

static void a_cache_channel_remembers_its_last_event(void **state)
{
    struct fixture *f = *state;
    post(f, "/events", "{\"name\":\"t\",\"channel\":\"cache-x\",\"data\":\"d\"}");
    assert_contains(
        get(f, "/channels/cache-x", "info=cache"),
        "200 "
        "{\"occupied\":false,\"cache\":{\"data\":\"{\\\"event\\\":\\\"t\\\",\\\"channel\\\":\\\"cache-x\\\","
        "\\\"data\\\":\\\"d\\\"}\",\"ttl\":");
    post(f, "/events", "{\"name\":\"t\",\"channel\":\"my-cache-x\",\"data\":\"d\"}");
    assert_string_equal(get(f, "/channels/my-cache-x", "info=cache"), "200 {\"occupied\":false}");
}

/* A reader that has gone must not keep the request alive. */
static void a_peer_that_left_is_still_answered(void **state)
{
    struct fixture *f = *state;
    send_signed(f, "POST", "/apps/app-id/events", "", "{\"name\":\"t\",\"channel\":\"a\"}");
    close(f->client);
    settle(f, 0);
    assert_int_equal(api_in_flight(f->api), 0);
    connect_client(f);
    assert_starts(get(f, "/channels", ""), "200 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_publish_is_acknowledged_with_ok),
        TEST(who_asks_for_info_gets_the_channels),
        TEST(what_is_wrong_with_an_event_is_told),
        TEST(limits_of_the_app_are_kept),
        TEST(a_channel_with_4096_publishes_waiting_is_503_with_retry_after),
        TEST(one_bad_channel_publishes_nothing),
        TEST(a_channel_named_twice_is_published_to_once),
        TEST(more_channels_than_fit_at_once_are_all_served),
        TEST(data_that_is_no_string_becomes_one),
        TEST(the_same_request_key_is_answered_alike_and_published_once),
        TEST(a_refused_request_takes_no_key),
        TEST(a_publish_that_fails_gives_its_key_back),
        TEST(a_twin_of_a_request_under_way_is_told_to_come_again),
        TEST(a_message_id_is_published_once_per_channel),
        TEST(a_key_in_the_extras_counts_whether_or_not_a_message_id_is_made),
        TEST(a_message_id_counts_without_history_too),
        TEST(a_batch_answers_one_object_per_event),
        TEST(an_item_key_is_the_key_of_its_event),
        TEST(ai_events_belong_on_ai_channels),
        TEST(a_cache_channel_remembers_its_last_event),
        TEST(a_peer_that_left_is_still_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
