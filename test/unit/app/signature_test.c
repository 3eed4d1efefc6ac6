/* signature_test.c - the cases of chapter 2, 2.22 that are about signatures, with their vectors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app_fixture.h"

enum { NOW_S = 1700000000 };
static struct signature_failure failure;

static struct signed_request request(const char *method, const char *path, const char *query,
                                     const char *body)
{
    return (struct signed_request){str_of(method), str_of(path), str_of(query), str_of(body), NOW_S};
}

/* "ok", or the status of the failure and its text. */
static const char *verdict(struct fixture *f, struct signed_request r, const char *app_id)
{
    static char shown[256];
    struct app *app = signature_check_head(f->apps, &r, str_of(app_id), &failure);
    struct arena arena = {0};
    struct str body_md5;
    bool fine = app && signature_check_mac(app, 1, &r, &arena, &body_md5, &failure) &&
                signature_check_body(&r, body_md5, &failure);
    arena_free(&arena);
    if (fine)
        return "ok";
    snprintf(shown, sizeof shown, "%u %s", failure.status, failure.text);
    return shown;
}

/* Signs a canonical string by hand; `sent` is the query as sent, without the signature. */
static struct signed_request signed_as(struct fixture *f, const char *method, const char *path,
                                       const char *sent, const char *canonical, const char *body)
{
    static char query[4096];
    char hex[65];
    struct hmac_key *key = hmac_key_new(STR("s3cr3t"));
    hmac_sha256_hex(key, str_of(canonical), hex);
    hmac_key_free(key);
    snprintf(query, sizeof query, "%s&auth_signature=%s", sent, hex);
    return request(method, path, query, body);
}

#define AUTH "auth_key=k1&auth_timestamp=1700000000&auth_version=1.0"
#define TICK "{\"name\":\"tick\",\"channels\":[\"a\"],\"data\":\"{}\"}"
#define TICK_MD5 "2bd0b03b78b6caf67f0810adfc15a3c7"
#define TICK_SIGNATURE "a27ea79cb50d31507a59586acdd7ed662804f81e07bd44be6c69e43d234065c1"

static void vector_1_a_publish_is_accepted(void **state)
{
    const char *query = AUTH "&body_md5=" TICK_MD5 "&auth_signature=" TICK_SIGNATURE;
    assert_string_equal(verdict(*state, request("POST", "/apps/7/events", query, TICK), "7"), "ok");
}

static void vector_2_a_query_value_is_signed_decoded(void **state)
{
#define CHANNELS                                                                                             \
    "&info=user_count&auth_signature=8d624b7a3b5b1750ddf29c6392255f7f3d30470e59465ee6ed03f47e7661e39f"
    const char *percent = AUTH "&filter_by_prefix=presence-a%20b" CHANNELS;
    const char *plus = AUTH "&filter_by_prefix=presence-a+b" CHANNELS;
    assert_string_equal(verdict(*state, request("GET", "/apps/7/channels", percent, ""), "7"), "ok");
    assert_string_equal(verdict(*state, request("GET", "/apps/7/channels", plus, ""), "7"), "ok");
}

static void shuffled_parameters_are_accepted(void **state)
{
    const char *query = "body_md5=" TICK_MD5 "&auth_signature=" TICK_SIGNATURE
                        "&&auth_version=1.0&auth_timestamp=1700000000&auth_key=k1&";
    assert_string_equal(verdict(*state, request("POST", "/apps/7/events", query, TICK), "7"), "ok");
}

static void keys_are_signed_in_lower_case(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(
        verdict(f, signed_as(f, "GET", "/p", "Info=X&" AUTH, "GET\n/p\n" AUTH "&info=X", ""), "7"), "ok");
    assert_string_equal(
        verdict(f, signed_as(f, "GET", "/p", "Info=x&" AUTH, "GET\n/p\nInfo=x&" AUTH, ""), "7"),
        "401 Invalid API signature");
}

static void of_equal_keys_the_last_wins_and_of_two_spellings_the_larger(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(
        verdict(f, signed_as(f, "GET", "/p", AUTH "&info=1&info=2", "GET\n/p\n" AUTH "&info=2", ""), "7"),
        "ok");
    assert_string_equal(
        verdict(f, signed_as(f, "GET", "/p", AUTH "&info=1&Info=2", "GET\n/p\n" AUTH "&info=1", ""), "7"),
        "ok");
    assert_string_equal(
        verdict(f, signed_as(f, "GET", "/p", AUTH "&INFO=3&info=1&Info=2", "GET\n/p\n" AUTH "&info=1", ""),
                "7"),
        "ok");
}

static void empty_and_bare_parameters_are_signed_alike(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(verdict(f, signed_as(f, "GET", "/p", AUTH "&k=", "GET\n/p\n" AUTH "&k=", ""), "7"),
                        "ok");
    assert_string_equal(verdict(f, signed_as(f, "GET", "/p", AUTH "&k", "GET\n/p\n" AUTH "&k=", ""), "7"),
                        "ok");
    assert_string_equal(
        verdict(f, signed_as(f, "GET", "/p", AUTH "&i[]=a=b%zz", "GET\n/p\n" AUTH "&i[]=a=b%zz", ""), "7"),
        "ok");
}

/* More pairs than the small table holds. */
static void many_parameters_are_sorted_too(void **state)
{
    struct fixture *f = *state;
    char sent[1024] = "", sorted[1024] = "GET\n/p\n" AUTH;
    for (int i = 0; i < 40; i++) {
        snprintf(sent + strlen(sent), 16, "p%02d=v&", 39 - i);
        snprintf(sorted + strlen(sorted), 16, "&p%02d=v", i);
    }
    snprintf(sent + strlen(sent), sizeof sent - strlen(sent), "%s", AUTH);
    assert_string_equal(verdict(f, signed_as(f, "GET", "/p", sent, sorted, ""), "7"), "ok");
}

static void too_many_parameters_are_refused(void **state)
{
    char query[3 * 257 + 1];
    for (int i = 0; i < 257; i++)
        memcpy(query + 3 * i, "a=&", 4);
    assert_string_equal(verdict(*state, request("GET", "/p", query, ""), "7"),
                        "400 Invalid authentication query parameters: too many parameters");
}

static void either_spelling_of_a_trailing_slash_is_accepted(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(verdict(f, signed_as(f, "GET", "/p/", AUTH, "GET\n/p\n" AUTH, ""), "7"), "ok");
    assert_string_equal(verdict(f, signed_as(f, "GET", "/p/", AUTH, "GET\n/p/\n" AUTH, ""), "7"), "ok");
    assert_string_equal(verdict(f, signed_as(f, "GET", "/p//", AUTH, "GET\n/p\n" AUTH, ""), "7"),
                        "401 Invalid API signature");
}

/* Chapter 2, 2.22.8. */
static void the_path_is_signed_as_it_was_sent(void **state)
{
    struct fixture *f = *state;
    const char *path = "/apps/7/channels/presence-a%23b/users";
    assert_string_equal(
        verdict(f, signed_as(f, "GET", path, AUTH, "GET\n/apps/7/channels/presence-a%23b/users\n" AUTH, ""),
                "7"),
        "ok");
    assert_string_equal(
        verdict(f, signed_as(f, "GET", path, AUTH, "GET\n/apps/7/channels/presence-a#b/users\n" AUTH, ""),
                "7"),
        "401 Invalid API signature");
}

static const char *at(struct fixture *f, const char *timestamp)
{
    static char query[128];
    snprintf(query, sizeof query, "auth_key=k1%s&auth_signature=x", timestamp);
    struct signed_request r = request("GET", "/p", query, "");
    return signature_check_head(f->apps, &r, STR("7"), &failure) ? "ok" : failure.text;
}

static void the_window_of_600_seconds_includes_both_ends(void **state)
{
    assert_string_equal(at(*state, "&auth_timestamp=1700000600"), "ok");
    assert_string_equal(at(*state, "&auth_timestamp=1699999400"), "ok");
    assert_string_equal(at(*state, "&auth_timestamp=1700000601"),
                        "Timestamp expired or too far in the future");
    assert_string_equal(at(*state, "&auth_timestamp=1699999399"),
                        "Timestamp expired or too far in the future");
    assert_string_equal(at(*state, "&auth_timestamp=-9223372036854775808"),
                        "Timestamp expired or too far in the future");
    assert_string_equal(at(*state, "&auth_timestamp=abc"), "Invalid auth_timestamp format");
    assert_string_equal(at(*state, "&auth_timestamp="), "Invalid auth_timestamp format");
    assert_string_equal(at(*state, ""), "auth_timestamp is missing");
    assert_int_equal(failure.status, 401);
    assert_string_equal(failure.code, "auth_failed");
}

static void a_missing_or_empty_query_is_a_bad_request(void **state)
{
    assert_string_equal(verdict(*state, request("GET", "/p", NULL, ""), "7"),
                        "400 Missing authentication query parameters");
    assert_string_equal(verdict(*state, request("GET", "/p", "", ""), "7"),
                        "400 Query string is empty or invalid");
    assert_string_equal(failure.code, "invalid_input");
}

static void an_auth_parameter_given_twice_is_a_bad_request(void **state)
{
    assert_string_equal(verdict(*state, request("GET", "/p", AUTH "&auth_%6bey=k1", ""), "7"),
                        "400 Invalid authentication query parameters: duplicate field `auth_key`");
    assert_string_equal(verdict(*state, request("GET", "/p", AUTH "&body_md5=&body_md5=", ""), "7"),
                        "400 Invalid authentication query parameters: duplicate field `body_md5`");
}

static void an_unknown_key_is_not_found(void **state)
{
    assert_string_equal(verdict(*state, request("GET", "/p", "auth_key=k9", ""), "7"),
                        "404 Application key not found or invalid: Invalid app key");
    assert_string_equal(verdict(*state, request("GET", "/p", "x=1", ""), "7"),
                        "404 Application key not found or invalid: Invalid app key");
    assert_string_equal(failure.code, "app_not_found");
}

static void a_disabled_app_is_forbidden(void **state)
{
    struct fixture *f = *state;
    f->app_configs[0].enabled = false;
    assert_string_equal(verdict(f, request("GET", "/p", AUTH, ""), "7"), "403 Application is disabled");
    assert_string_equal(failure.code, "forbidden");
}

static void the_route_must_name_the_app_of_the_key(void **state)
{
    assert_string_equal(verdict(*state, request("GET", "/p", AUTH, ""), "8"),
                        "401 Authenticated app does not match route app_id");
    assert_string_equal(verdict(*state, request("GET", "/p", AUTH, ""), "9"),
                        "401 Authenticated app does not match route app_id");
    assert_string_equal(verdict(*state, request("GET", "/p", AUTH, ""), "%37"),
                        "401 Authenticated app does not match route app_id");
}

static void body_md5_must_fit_the_body_of_a_post(void **state)
{
    struct fixture *f = *state;
    const char *wrong = AUTH "&body_md5=" TICK_MD5 "&auth_signature=x", *tick = AUTH "&body_md5=" TICK_MD5;
    const char *canonical = "POST\n/p\n" AUTH "&body_md5=" TICK_MD5;
    assert_string_equal(verdict(f, signed_as(f, "POST", "/p", tick, canonical, TICK), "7"), "ok");
    assert_string_equal(verdict(f, signed_as(f, "POST", "/p", tick, canonical, "{}"), "7"), "401 body_md5 mismatch");
    assert_string_equal(verdict(f, signed_as(f, "POST", "/p", tick, canonical, ""), "7"), "401 body_md5 mismatch");
    assert_string_equal(verdict(f, signed_as(f, "POST", "/p", AUTH, "POST\n/p\n" AUTH, "{}"), "7"),
                        "401 body_md5 is required and must be non-empty for POST requests");
    assert_string_equal(verdict(*state, request("GET", "/p", wrong, ""), "7"),
                        "401 body_md5 must not be present in query parameters for GET requests");
    assert_string_equal(verdict(*state, request("DELETE", "/p", AUTH "&body_md5=", ""), "7"),
                        "401 body_md5 must not be present in query parameters for DELETE requests");
}

static void a_post_without_body_may_leave_body_md5_out(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(verdict(f, signed_as(f, "POST", "/p", AUTH, "POST\n/p\n" AUTH, ""), "7"), "ok");
    const char *with = AUTH "&body_md5=d41d8cd98f00b204e9800998ecf8427e";
    const char *canonical = "POST\n/p\n" AUTH "&body_md5=d41d8cd98f00b204e9800998ecf8427e";
    assert_string_equal(verdict(f, signed_as(f, "POST", "/p", with, canonical, ""), "7"), "ok");
}

static void a_signature_in_upper_case_or_none_is_refused(void **state)
{
    const char *upper =
        AUTH "&body_md5=" TICK_MD5
             "&auth_signature=A27EA79CB50D31507A59586ACDD7ED662804F81E07BD44BE6C69E43D234065C1";
    assert_string_equal(verdict(*state, request("POST", "/apps/7/events", upper, TICK), "7"),
                        "401 Invalid API signature");
    assert_string_equal(verdict(*state, request("GET", "/p", AUTH, ""), "7"), "401 Invalid API signature");
    assert_string_equal(verdict(*state, request("GET", "/p", AUTH "&auth_signature=", ""), "7"),
                        "401 Invalid API signature");
}

/* ---- what sockets sign ---- */

static char auth[128];
static struct str auth_for(const char *key, const char *message)
{
    char hex[65];
    struct hmac_key *k = hmac_key_new(STR("s3cr3t"));
    hmac_sha256_hex(k, str_of(message), hex);
    hmac_key_free(k);
    snprintf(auth, sizeof auth, "%s%s", key, hex);
    return str_of(auth);
}

static void a_channel_signature_covers_socket_channel_and_data(void **state)
{
    struct fixture *f = *state;
    struct str socket = STR("1.2"), channel = STR("presence-a"), data = STR("{\"user_id\":\"u\"}");
    assert_true(
        channel_auth_ok(f->app, 0, auth_for("k1:", "1.2:private-a"), socket, STR("private-a"), STR_NONE));
    assert_true(channel_auth_ok(f->app, 0, auth_for("k1:", "1.2:presence-a:{\"user_id\":\"u\"}"), socket,
                                channel, data));
    assert_false(channel_auth_ok(f->app, 0, auth_for("k1:", "1.2:presence-a"), socket, channel, data));
    assert_false(
        channel_auth_ok(f->app, 0, auth_for("k2:", "1.2:private-a"), socket, STR("private-a"), STR_NONE));
    assert_false(
        channel_auth_ok(f->app, 0, auth_for("", "1.2:private-a"), socket, STR("private-a"), STR_NONE));
    assert_false(channel_auth_ok(f->app, 0, STR("k1:"), socket, STR("private-a"), STR_NONE));
    assert_false(channel_auth_ok(f->app, 0, STR(""), socket, STR("private-a"), STR_NONE));
    assert_false(channel_auth_ok(f->app, 0, STR_NONE, socket, STR("private-a"), STR_NONE));
}

static void a_signin_signature_may_come_without_the_key(void **state)
{
    struct fixture *f = *state;
    struct str data = STR("{\"id\":\"u1\"}");
    const char *message = "1.2::user::{\"id\":\"u1\"}";
    assert_true(signin_auth_ok(f->app, 0, auth_for("k1:", message), STR("1.2"), data));
    assert_true(signin_auth_ok(f->app, 0, auth_for("", message), STR("1.2"), data));
    assert_false(signin_auth_ok(f->app, 0, auth_for("k2:", message), STR("1.2"), data));
    assert_false(signin_auth_ok(f->app, 0, auth_for("k1:", message), STR("1.3"), data));
    assert_false(signin_auth_ok(f->app, 0, STR_NONE, STR("1.2"), data));
}

#define T(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(vector_1_a_publish_is_accepted),
        T(vector_2_a_query_value_is_signed_decoded),
        T(shuffled_parameters_are_accepted),
        T(keys_are_signed_in_lower_case),
        T(of_equal_keys_the_last_wins_and_of_two_spellings_the_larger),
        T(empty_and_bare_parameters_are_signed_alike),
        T(many_parameters_are_sorted_too),
        T(too_many_parameters_are_refused),
        T(either_spelling_of_a_trailing_slash_is_accepted),
        T(the_path_is_signed_as_it_was_sent),
        T(the_window_of_600_seconds_includes_both_ends),
        T(a_missing_or_empty_query_is_a_bad_request),
        T(an_auth_parameter_given_twice_is_a_bad_request),
        T(an_unknown_key_is_not_found),
        T(a_disabled_app_is_forbidden),
        T(the_route_must_name_the_app_of_the_key),
        T(body_md5_must_fit_the_body_of_a_post),
        T(a_post_without_body_may_leave_body_md5_out),
        T(a_signature_in_upper_case_or_none_is_refused),
        T(a_channel_signature_covers_socket_channel_and_data),
        T(a_signin_signature_may_come_without_the_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
