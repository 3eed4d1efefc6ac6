/* api_test.c - what happens before a handler: routes, signatures, limits, CORS, body types; and the
 * operational routes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api_fixture.h"

static void unknown_paths_are_plain_404(void **state)
{
    const char *got = plain(*state, "GET", "/nothing");
    assert_starts(got, "HTTP/1.1 404 ");
    assert_contains(got, "Content-Type: text/plain\r\n");
    assert_contains(got, "\r\n\r\n404 NOT FOUND");
}

static void a_wrong_method_is_405_with_allow(void **state)
{
    const char *got = plain(*state, "GET", "/apps/app-id/events");
    assert_starts(got, "HTTP/1.1 405 ");
    assert_contains(got, "Allow: POST\r\n");
}

static void a_call_without_a_query_is_400(void **state)
{
    struct fixture *f = *state;
    plain(f, "GET", "/apps/app-id/channels");
    assert_string_equal(short_form(f), "400 {\"error\":\"Missing authentication query parameters\","
                                       "\"code\":\"invalid_input\",\"status\":400}");
}

static void an_unknown_key_is_404_before_the_body_is_read(void **state)
{
    struct fixture *f = *state;
    send_request(f, "POST", "/apps/app-id/events", "auth_key=nobody&auth_timestamp=1", "");
    settle(f, 0);
    assert_starts(short_form(f), "404 {\"error\":\"Application key not found or invalid: Invalid app key\","
                                 "\"code\":\"app_not_found\"");
}

static void a_body_that_was_not_signed_is_401(void **state)
{
    struct fixture *f = *state;
    send_signed_as(f, "POST", "/apps/app-id/events", "{}", "", "/apps/app-id/events", "{ }");
    settle(f, 0);
    assert_starts(short_form(f), "401 {\"error\":\"body_md5 mismatch\",\"code\":\"auth_failed\"");
}

#define HUGE_BODY "Host: a\r\nContent-Type: application/json\r\nContent-Length: 10000000\r\n\r\n{"

/* Everybody knows an app's key: whoever has no more than that must not make the server keep ten megabytes for him. */
static void a_body_is_not_waited_for_from_who_has_not_signed_for_it(void **state)
{
    struct fixture *f = *state;
    const struct app_config *app = f->core->app->config;
    struct buf out = {0};
    buf_fmt(&out, "POST /apps/app-id/events?auth_key=%.*s&auth_timestamp=%lld&body_md5=%s&auth_signature=%064d HTTP/1.1\r\n" HUGE_BODY,
            STR_ARG(app->key), (long long)now_s(f), "2bd0b03b78b6caf67f0810adfc15a3c7", 0);
    write_raw(f, buf_view(&out));
    buf_free(&out);
    settle(f, 0);
    const char *got = read_response(f);
    assert_starts(got, "HTTP/1.1 401 ");
    assert_contains(got, "Connection: close\r\n");
    assert_contains(got, "{\"error\":\"Invalid API signature\"");
}

static void a_body_is_not_waited_for_where_nobody_reads_it(void **state)
{
    struct fixture *f = *state;
    write_raw(f, STR("GET /live HTTP/1.1\r\n" HUGE_BODY));
    settle(f, 0);
    const char *got = read_response(f);
    assert_starts(got, "HTTP/1.1 200 ");
    assert_contains(got, "Connection: close\r\n");
}

static void either_spelling_of_a_trailing_slash_is_signed(void **state)
{
    struct fixture *f = *state;
    assert_starts(get(f, "/channels/", ""), "200 {");
    send_signed_as(f, "GET", "/apps/app-id/channels", "", "", "/apps/app-id/channels/", "");
    settle(f, 0);
    assert_starts(short_form(f), "200 {");
}

static void a_body_must_be_json(void **state)
{
    struct fixture *f = *state;
    f->headers = "Content-Type: text/plain\r\n";
    assert_contains(post(f, "/events", "{}"), "\"code\":\"unsupported_media_type\",\"status\":415}");
    f->headers = "Content-Type: application/vnd.x+json; charset=utf-8\r\n";
    assert_starts(post(f, "/events", "{"), "400 {\"error\":\"Invalid JSON at byte 1");
    assert_contains(post(f, "/events", "[]"), "\"code\":\"unprocessable_body\",\"status\":422}");
    assert_contains(post(f, "/batch_events", "{\"batch\":3}"), "\"status\":422}");
    assert_contains(post(f, "/batch_events", "{}"), "\"status\":422}");
}

static void the_path_must_decode(void **state)
{
    assert_contains(get(*state, "/channels/%FF", ""), "\"status\":400}");
}

static void features_that_are_not_built_say_so(void **state)
{
    assert_starts(post(*state, "/push/publish", "{}"), "501 {\"error\":\"Push notifications are not implemented");
}

/* Chapter 2, 2.10. */
static void a_revocation_needs_a_name_that_a_token_can_have(void **state)
{
    char body[256];
    assert_string_equal(post(*state, "/revocations", "{}"),
                        "401 {\"error\":\"revocation requires jti or client_id\",\"code\":\"auth_failed\",\"status\":401}");
    assert_contains(post(*state, "/revocations", "{\"jti\":\"\"}"), "\"error\":\"jti must be 1..=128 bytes\"");
    snprintf(body, sizeof body, "{\"client_id\":\"%0129d\"}", 7);
    assert_contains(post(*state, "/revocations", body), "\"error\":\"client_id must be 1..=128 bytes\"");
    assert_starts(post(*state, "/revocations", "{\"jti\":7}"), "422 ");
    assert_starts(post(*state, "/revocations", "{\"jti\":\"j\",\"ttl_seconds\":\"9\"}"), "422 ");
    assert_starts(post(*state, "/revocations", "[]"), "422 ");
}

static bool is_revoked(struct fixture *f, const char *jti, int64_t in_s)
{
    struct token token = {.jti = str_of(jti), .client_id = STR("somebody")};
    uint64_t now_ns = f->core->now_ns;
    f->core->now_ns += (uint64_t)in_s * 1000000000u;
    bool revoked = revocations_refuse(f->revocations, f->core->app, &token, clock_wall_ms(f->core->env.clock)) != NULL;
    f->core->now_ns = now_ns;
    return revoked;
}

static void a_revocation_lasts_as_long_as_it_says(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *jti, *more;
        int64_t lasts_s;
    } table[] = {
        {"a", "", 86400},          {"b", ",\"ttl_seconds\":5", 5},   {"c", ",\"ttl_seconds\":0", 1},
        {"d", ",\"ttl_seconds\":-9", 1}, {"e", ",\"expires_at\":0", 1}, {"f", ",\"expires_at\":5,\"ttl_seconds\":7", 7},
        {"g", ",\"ttl_seconds\":9223372036854775807", 3153600000},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char body[128];
        snprintf(body, sizeof body, "{\"jti\":\"%s\"%s}", table[i].jti, table[i].more);
        assert_string_equal(post(f, "/revocations", body),
                            "200 {\"revoked_jti\":true,\"revoked_client_id\":false,\"closed_connections\":0}");
        if (!is_revoked(f, table[i].jti, table[i].lasts_s - 1) || is_revoked(f, table[i].jti, table[i].lasts_s + 1))
            fail_msg("%s", body);
    }
}

static void the_third_call_of_two_is_429(void **state)
{
    struct fixture *f = *state;
    get(f, "/channels", "");
    send_signed(f, "GET", "/apps/app-id/channels", "", "");
    settle(f, 0);
    assert_contains(read_response(f),
                    "x-ratelimit-limit: 2\r\nx-ratelimit-remaining: 0\r\nx-ratelimit-reset: ");
    const char *got = plain(f, "GET", "/apps/app-id/channels");
    assert_starts(got, "HTTP/1.1 429 ");
    assert_contains(got, "retry-after: ");
    assert_contains(
        got,
        "{\"error\":\"Too Many Requests\",\"message\":\"Rate limit exceeded. Please try again later.\"}");
    assert_starts(plain(f, "GET", "/up"), "HTTP/1.1 200 ");
}

static void a_preflight_needs_no_signature(void **state)
{
    struct fixture *f = *state;
    f->headers = "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n";
    const char *got = plain(f, "OPTIONS", "/apps/app-id/events");
    assert_starts(got, "HTTP/1.1 200 ");
    assert_contains(got, "Access-Control-Allow-Origin: *\r\n");
    assert_contains(got, "Access-Control-Allow-Methods: GET, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
    assert_null(strstr(plain(f, "GET", "/nothing"), "Access-Control"));
}

static void a_listed_origin_is_echoed_and_no_other(void **state)
{
    struct fixture *f = *state;
    struct str origins[] = {STR("https://*.example.com")}, *before = f->core->config->cors.origins;
    size_t count = f->core->config->cors.origins_count;
    f->core->config->cors.origins = origins;
    f->core->config->cors.origins_count = 1;
    f->headers = "Origin: https://Shop.example.com\r\n";
    const char *got = plain(f, "GET", "/up");
    assert_contains(got, "Access-Control-Allow-Origin: https://Shop.example.com\r\n");
    assert_contains(got, "Access-Control-Allow-Credentials: true\r\n");
    assert_contains(got, "Vary: Origin\r\n");
    f->headers = "Origin: https://evilexample.com\r\n";
    got = plain(f, "GET", "/up");
    assert_starts(got, "HTTP/1.1 200 ");
    assert_null(strstr(got, "Access-Control-Allow"));
    assert_contains(got, "Vary: Origin\r\n");
    f->headers = "";
    assert_null(strstr(plain(f, "GET", "/up"), "Access-Control"));
    f->core->config->cors.origins = before;
    f->core->config->cors.origins_count = count;
}

static void health_is_a_word(void **state)
{
    struct fixture *f = *state;
    assert_contains(plain(f, "GET", "/up"), "X-Health-Check: OK\r\n\r\nOK");
    assert_contains(plain(f, "GET", "/up/app-id"), "X-Health-Check: OK\r\n\r\nOK");
    assert_starts(plain(f, "GET", "/up/nope"), "HTTP/1.1 404 ");
    assert_contains(read_response(f), "NOT_FOUND");
    atomic_store(&f->ops.draining, true);
    assert_starts(plain(f, "GET", "/up"), "HTTP/1.1 503 ");
    assert_contains(read_response(f), "DRAINING");
    assert_starts(plain(f, "GET", "/live"), "HTTP/1.1 200 ");
}

static void statistics_count_what_is_here(void **state)
{
    struct fixture *f = *state;
    plain(f, "GET", "/stats");
    const char *got = short_form(f);
    assert_starts(got, "200 {\"memory\":{\"free\":");
    assert_contains(got, "\"totals\":{\"apps\":1,\"connections\":0,");
    assert_contains(got, "\"apps\":[{\"app_id\":\"app-id\",\"connections\":0,");
    plain(f, "GET", "/usage");
    assert_starts(short_form(f), "200 {\"memory\":{\"free\":");
}

static void metrics_are_text(void **state)
{
    struct fixture *f = *state;
    struct buf text = {0};
    ops_metrics_text(&f->ops, &text);
    buf_char(&text, '\0');
    assert_contains(text.p, "\nprocess_resident_memory_bytes ");
    assert_contains(text.p, "sockudo_build_info{");
    assert_contains(text.p, "sockudo_tokio_workers_count 1\n");
    assert_contains(text.p, "sockudo_tokio_worker_local_queue_depth{worker=\"0\"} 0\n");
    assert_contains(text.p, "sockudo_mailbox_dropped_total{shard=\"0\"} 0\n");
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(unknown_paths_are_plain_404),
        TEST(a_wrong_method_is_405_with_allow),
        TEST(a_call_without_a_query_is_400),
        TEST(an_unknown_key_is_404_before_the_body_is_read),
        TEST(a_body_that_was_not_signed_is_401),
        TEST(a_body_is_not_waited_for_from_who_has_not_signed_for_it),
        TEST(a_body_is_not_waited_for_where_nobody_reads_it),
        TEST(either_spelling_of_a_trailing_slash_is_signed),
        TEST(a_body_must_be_json),
        TEST(the_path_must_decode),
        TEST(features_that_are_not_built_say_so),
        TEST(a_revocation_needs_a_name_that_a_token_can_have),
        TEST(a_revocation_lasts_as_long_as_it_says),
        LIMITED(the_third_call_of_two_is_429),
        TEST(a_preflight_needs_no_signature),
        TEST(a_listed_origin_is_echoed_and_no_other),
        TEST(health_is_a_word),
        TEST(statistics_count_what_is_here),
        TEST(metrics_are_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
