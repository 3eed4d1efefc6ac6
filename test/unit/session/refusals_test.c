/* refusals_test.c - the codes and texts of what is refused (chapter 1, sections 2, 4.1, 5.4, 5.8, 6, 10.2), and that the connection stays.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session_fixture.h"

/* Refused with just that error frame; the connection stays open. channel NULL: none in the frame. */
static void refused(struct client *c, int code, const char *channel, const char *text)
{
    char frame[512];
    answer(c);
    snprintf(frame, sizeof frame, "\"data\":{\"code\":%d,\"message\":\"%s\"}", code, text);
    if (!said(c, frame))
        fail_msg("%s is not in %.*s", frame, STR_ARG(buf_view(&c->raw)));
    assert_int_equal(c->close_code, 0);
    snprintf(frame, sizeof frame, "error%s%s%s:%d%s", channel ? "(" : "", channel ? channel : "", channel ? ")" : "", code,
             channel ? " subscription_error(" : "");
    assert_true(strncmp(c->text.p, frame, strlen(frame)) == 0);
}

static void ended(struct client *c, unsigned code, const char *text)
{
    char frame[256];
    answer(c);
    snprintf(frame, sizeof frame, "error\",\"data\":{\"code\":%u,\"message\":\"%s\"}", code, text);
    assert_true(said(c, frame));
    assert_int_equal(c->close_code, code);
    unit_assert_str(buf_view(&c->reason), str_of(text), __FILE__, __LINE__);
}

static void a_closing_frame_says_what_the_error_frame_says(void **state)
{
    struct fixture *f = *state;
    struct str nobody[] = {STR("https://nobody.example")};
    app_config(f)->enabled = false;
    ended(connect_from(f, "", NULL), 4003, "Application disabled");
    app_config(f)->enabled = true;
    app_config(f)->allowed_origins = nobody;
    app_config(f)->allowed_origins_count = 1;
    ended(connect_from(f, "", "https://a.example"), 4009, "Origin not allowed");
    app_config(f)->allowed_origins_count = 0;
    struct client *first = connect_as(f, "");
    app_config(f)->max_connections = 1;
    ended(connect_from(f, "", NULL), 4004, "Application is over adapter quota");
    app_config(f)->max_connections = 0;
    f->core->config->max_connections = 1;
    ended(connect_from(f, "", NULL), 4100, "Over capacity");
    f->core->config->max_connections = 0;
    core_advance_ms(f->core, 150000);
    ended(first, 4201, "Pong reply not received in time");
    f->core->config->user_authentication_timeout_seconds = 1;
    struct client *nobody_yet = connect_as(f, "");
    core_advance_ms(f->core, 1000);
    ended(nobody_yet, 4009, "Connection not authorized within timeout.");
}

static void signin(struct client *c, const char *data)
{
    tell(c, "{\"event\":\"pusher:signin\",\"data\":%s}", data);
}

static void each_bad_sign_in_has_its_text(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    signin(c, "[]");
    refused(c, 4000, NULL, "Invalid message format: Invalid signin data format");
    signin(c, "\"no object\"");
    refused(c, 4000, NULL, "Invalid message format: Invalid signin data format");
    signin(c, "{\"user_data\":\"{}\"}");
    refused(c, 4009, NULL, "Authentication error: Missing 'auth' field in signin data");
    signin(c, "\"{\\\"auth\\\":\\\"x\\\"}\"");
    refused(c, 4009, NULL, "Authentication error: Missing 'user_data' field in signin data");
    signin(c, "{\"auth\":\"app-key:00\",\"user_data\":\"{}\"}");
    refused(c, 4009, NULL, "Authentication error: Connection not authorized for signin.");
    sign_in(f, c, "{}");
    assert_true(said(c, "\"message\":\"Authentication error: Missing 'id' field in user_data\""));
    sign_in(f, c, "{\"id\":\"\"}");
    assert_true(said(c, "Missing 'id' field in user_data"));
    sign_in(f, c, "{\"id\":\"u\"");
    assert_true(said(c, "Authentication error: Invalid user_data JSON: "));
    sign_in(f, c, "{\"id\":\"u\",\"capabilities\":[]}");
    assert_true(said(c, "Authentication error: Invalid capabilities in user_data: "));
    publish(f, "#server-to-user-u", "1");
    assert_string_equal(heard(c), "");
}

static void each_bad_subscribe_has_its_text(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f), *old = v1(f);
    tell_subscribe(f, old, "news", ",\"rewind\":3");
    refused(old, 4300, "news", "Channel error: Channel rewind is only supported on protocol V2");
    tell_subscribe(f, c, "news", ",\"rewind\":0");
    refused(c, 4000, "news", "Invalid message format: Invalid rewind option in subscription data");
    tell_subscribe(f, c, "news", ",\"modes\":{}");
    refused(c, 4000, "news", "Invalid message format: modes must be an array");
    tell_subscribe(f, c, "news", ",\"modes\":[\"SUBSCRIBE\",\"ANNOTATION_SUBSCRIBE\"]");
    refused(c, 4300, "news", "Channel error: Annotations are disabled by channel policy for channel 'news'");
    f->core->config->history.rewind_enabled = false;
    tell_subscribe(f, c, "news", ",\"rewind\":3");
    refused(c, 4300, "news", "Channel error: Channel rewind is disabled by policy for channel 'news'");
    tell(c, "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"private-a\",\"auth\":\"\"}}");
    refused(c, 4009, "private-a", "Authentication error: Authentication signature required for this channel");
    tell(c, "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"private-a\",\"auth\":\"x\"}}");
    refused(c, 4009, "private-a", "Authentication error: Channel requires authentication");
    tell_subscribe(f, c, "presence-a", "");
    refused(c, 4000, "presence-a", "Invalid message format: Missing channel_data for presence channel");
    join(f, c, "presence-a", "{\"user_id\":");
    assert_true(said(c, "\"code\":4000,\"message\":\"Invalid message format: Invalid channel_data JSON for presence\""));
    join(f, c, "presence-a", "{\"user_id\":\"\"}");
    assert_true(said(c, "\"code\":4300,\"message\":\"Channel error: Missing user_id in channel_data\""));
}

/* Of user_info, in whole kilobytes: 2047 bytes are one. */
static void a_member_may_be_as_large_as_the_app_says(void **state)
{
    struct fixture *f = *state;
    app_config(f)->max_presence_member_size_in_kb = 1;
    for (unsigned size = 2047; size <= 2048; size++) {
        struct client *c = v1(f);
        struct buf data = {0}, quoted = {0}, text = {0};
        char auth[96];
        buf_fmt(&data, "{\"user_id\":\"u\",\"user_info\":\"%0*d\"}", (int)size - 2, 0);
        buf_json(&quoted, buf_view(&data));
        buf_fmt(&text, "%s:presence-a:%.*s%c", c->id, STR_ARG(buf_view(&data)), '\0');
        sign(f, text.p, auth);
        tell(c, "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"presence-a\",\"auth\":\"%s\",\"channel_data\":%.*s}}", auth,
             STR_ARG(buf_view(&quoted)));
        if (size == 2047)
            assert_string_equal(answer(c), "subscription_succeeded(presence-a)");
        else
            refused(c, 4300, "presence-a", "Channel error: Presence member data size (2KB) exceeds limit (1KB)");
        buf_free(&data);
        buf_free(&quoted);
        buf_free(&text);
    }
}

static void event(struct client *c, const char *name, const char *channel, const char *data)
{
    tell(c, "{\"event\":\"%s\",\"channel\":\"%s\",\"data\":%s}", name, channel, data);
}

static void each_bad_client_event_has_its_text(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    char name[256] = "client-", text[128];
    subscribe(f, c, "private-a");
    tell(c, "{\"event\":\"client-x\"}");
    refused(c, 4301, NULL, "Client event error: Channel required for client event");
    memset(name + 7, 'x', 194);
    event(c, name, "private-a", "1");
    refused(c, 4000, NULL, "Invalid event name: Event name exceeds maximum length of 200");
    name[200] = '\0';
    event(c, name, "private-a", "1");
    assert_non_null(strstr(answer(c), "(private-a)@1=1"));
    memcpy(name, "private", 7);
    name[200] = 'x';
    event(c, "client-x", name, "1");
    refused(c, 4300, NULL, "Channel name invalid: Channel name exceeds maximum length of 200");
    event(c, "client-x", "[meta]private-a", "1");
    refused(c, 4301, NULL, "Client event error: Client events cannot target metachannels");
    event(c, "client-x", "private-*", "1");
    refused(c, 4301, NULL, "Client event error: Client events cannot target wildcard subscription channels");
    event(c, "client-x", "news", "1");
    refused(c, 4301, NULL, "Client event error: Client events can only be sent to private or presence channels");
    event(c, "client-x", "private-b", "1");
    snprintf(text, sizeof text, "Client event error: Socket %s is not subscribed to channel private-b", c->id);
    refused(c, 4301, NULL, text);
    app_config(f)->max_event_payload_in_kb = 1;
    char data[1100] = "\"";
    memset(data + 1, 'x', 1023);
    data[1024] = '"';
    event(c, "client-x", "private-a", data);
    refused(c, 4301, NULL, "Client event error: Event payload size (1025 bytes) exceeds limit (1KB)");
    data[1023] = '"', data[1024] = '\0';
    event(c, "client-x", "private-a", data);
    assert_non_null(strstr(answer(c), "client-x(private-a)@2="));
    app_config(f)->enable_client_messages = false;
    event(c, "client-x", "private-a", "1");
    refused(c, 4301, NULL, "Client event error: Client events are not enabled for this app");
}

/* Section 10.6. What has been taken is delivered, in its order. */
static void a_channel_takes_4096_events_that_wait_and_no_more(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f), *other = v1(f);
    subscribe(f, c, "private-a");
    subscribe(f, other, "private-a");
    f->core->stalls = true;
    for (unsigned i = 1; i <= CHANNEL_WAITING_MAX + 1; i++) {
        char n[16];
        snprintf(n, sizeof n, "%u", i);
        event(c, "client-x", "private-a", n);
    }
    assert_string_equal(answer(c), "error(private-a):4100");
    assert_true(said(c, "\"message\":\"Over capacity\""));
    assert_int_equal(c->close_code, 0);
    f->core->stalls = false;
    core_settle(f->core);
    struct str got = str_of(heard(other));
    for (unsigned i = 1; i <= CHANNEL_WAITING_MAX; i++) {
        char expected[48];
        snprintf(expected, sizeof expected, "client-x(private-a)=%u", i);
        unit_assert_str(str_split(&got, ' '), str_of(expected), __FILE__, __LINE__);
    }
    assert_null(got.p);
    event(c, "client-x", "private-a", "0");
    assert_string_equal(answer(c), "");
    assert_string_equal(heard(other), "client-x(private-a)=0");
}

static void limits_of_rate_have_their_texts(void **state)
{
    struct fixture *f = *state;
    app_config(f)->max_client_events_per_second = 1;
    struct client *c = v1(f), *other = v1(f);
    subscribe(f, c, "private-a");
    subscribe(f, other, "private-a");
    event(c, "client-x", "private-a", "1");
    event(c, "client-x", "private-a", "2");
    refused(c, 4301, NULL, "Client event rejected due to rate limit");
    assert_string_equal(heard(other), "client-x(private-a)=1");
    core_advance_ms(f->core, 1000);
    event(c, "client-x", "private-a", "3");
    assert_string_equal(answer(c), "");
    app_config(f)->terminate_on_limit = true;
    event(c, "client-x", "private-a", "4");
    ended(c, 4301, "Connection closed due to client event rate limit");
    app_config(f)->message_rate_limit.enabled = true;
    app_config(f)->message_rate_limit.max_attempts = 1;
    app_config(f)->message_rate_limit.decay_seconds = 60;
    c = v1(f);
    tell(c, "{\"event\":\"pusher:ping\"}");
    assert_string_equal(answer(c), "pong");
    tell(c, "{\"event\":\"pusher:ping\"}");
    refused(c, 4301, NULL, "Message rejected due to rate limit");
    app_config(f)->message_rate_limit.terminate_on_limit = true;
    tell(c, "{\"event\":\"pusher:ping\"}");
    ended(c, 4301, "Connection closed due to message rate limit");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_closing_frame_says_what_the_error_frame_says),
        T(each_bad_sign_in_has_its_text),
        T(each_bad_subscribe_has_its_text),
        T(a_member_may_be_as_large_as_the_app_says),
        T(each_bad_client_event_has_its_text),
        T(a_channel_takes_4096_events_that_wait_and_no_more),
        T(limits_of_rate_have_their_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
