/* ai_event_test.c - ai-input and ai-cancel from clients, every refusal with its code and text (chapter 4, 3.2 and 4.2).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session_fixture.h"

#define CHANNEL "private-ai-1"

static void tell_ai(struct client *c, const char *event, const char *channel, const char *more)
{
    tell(c, "{\"event\":\"%s\",\"channel\":\"%s\",\"data\":\"x\"%s}", event, channel, more);
}

static struct client *user(struct fixture *f, const char *id)
{
    char data[64];
    struct client *c = v2(f);
    snprintf(data, sizeof data, "{\"id\":\"%s\"}", id);
    sign_in(f, c, data);
    subscribe(f, c, CHANNEL);
    return c;
}

static const char *ai(struct client *c, const char *event, const char *more)
{
    tell_ai(c, event, CHANNEL, more);
    return answer(c);
}

#define TRANSPORT(members) ",\"extras\":{\"ai\":{\"transport\":{" members "}}}"

static void input_is_delivered_to_everybody_with_its_author(void **state)
{
    struct fixture *f = *state;
    struct client *u = user(f, "u1"), *other = v2(f);
    subscribe(f, other, CHANNEL);
    assert_string_equal(ai(u, "ai-input", TRANSPORT("\"run-id\":\"r1\"")), "ai-input(private-ai-1)@1=\"x\"");
    assert_true(said(u, "\"transport\":{\"run-id\":\"r1\",\"input-client-id\":\"u1\"}"));
    assert_string_equal(heard(other), "ai-input(private-ai-1)@1=\"x\"");
    assert_true(said(other, "\"user_id\":\"u1\""));
    assert_string_equal(ai(u, "ai-cancel", ""), "ai-cancel(private-ai-1)@2=\"x\"");
    assert_true(said(u, "\"ai\":{\"transport\":{\"run-client-id\":\"u1\"}}"));
}

static void own_id_may_be_given_and_extras_pass_through(void **state)
{
    struct fixture *f = *state;
    struct client *u = user(f, "u1");
    ai(u, "ai-input",
       ",\"extras\":{\"mine\":{\"a\": 1},\"headers\":{\"h\":1},\"ai\":{\"codec\":{\"k\":\"v\"},\"transport\":{\"input-client-id\":"
       "\"u1\"}}}");
    assert_true(said(u, "\"mine\":{\"a\": 1}"));
    assert_true(said(u, "\"h\":1"));
    assert_true(said(u, "\"ai\":{\"transport\":{\"input-client-id\":\"u1\"},\"codec\":{\"k\":\"v\"}}"));
    ai(u, "ai-input", ",\"tags\":{\"room\":\"1\"}");
    assert_true(said(u, "\"tags\":{\"room\":\"1\"}"));
}

static void echo_is_the_connections_unless_the_event_says_otherwise(void **state)
{
    struct fixture *f = *state;
    struct client *quiet = connect_as(f, "protocol=2&echo_messages=false"), *loud = user(f, "u1");
    sign_in(f, quiet, "{\"id\":\"q\"}");
    subscribe(f, quiet, CHANNEL);
    assert_string_equal(ai(quiet, "ai-input", ""), "");
    assert_string_equal(ai(quiet, "ai-input", ",\"extras\":{\"echo\":true}"), "ai-input(private-ai-1)@2=\"x\"");
    heard(loud);
    assert_string_equal(ai(loud, "ai-input", ",\"extras\":{\"echo\":false}"), "");
}

static const char long_id[] = ",\"message_id\":\"0123456789012345678901234567890123456789012345678901234567890123x\"";
static const struct {
    const char *event, *more, *expected, *text;
} refusals[] = {
    {"ai-output", "", "error:104003", "agent AI events require trusted app-key publish"},
    {"ai-run-start", "", "error:104003", "agent AI events require trusted app-key publish"},
    {"ai-turn-end", "", "error:104003", "agent AI events require trusted app-key publish"},
    {"ai-step-end", "", "error:104003", "\"name\":\"ai_event_not_permitted\""},
    {"ai-input", ",\"message_id\":\"\"", "error:104000", "message_id must not be empty"},
    {"ai-input", long_id, "error:104001", "message_id exceeds 64 bytes"},
    {"ai-input", TRANSPORT("\"Run-Id\":\"x\""), "error:104000", "key 'Run-Id' must match [a-z0-9-]+"},
    {"ai-input", TRANSPORT("\"nope\":\"x\""), "error:104000", "unknown extras.ai.transport key 'nope'"},
    {"ai-input", TRANSPORT("\"status\":\"done\""), "error:104000", "\"name\":\"ai_invalid_transport_header\""},
    {"ai-input", TRANSPORT("\"input-client-id\":\"u2\""), "error:104002",
     "extras.ai.transport.input-client-id does not match verified identity"},
    {"ai-input", TRANSPORT("\"run-client-id\":\"\""), "error:104002", "\"name\":\"ai_client_id_spoof\""},
    {"ai-cancel", TRANSPORT("\"turn-client-id\":\"x\""), "error:104002", "turn-client-id"},
    {"ai-input", TRANSPORT("\"run-id\":1"), "error:4000", "extras.ai.transport values must be strings"},
    {"ai-input", ",\"tags\":{\"a\":1}", "error:4000", "tags must be an object of strings"},
    {"ai-input", ",\"extras\":{\"ai\":1}", "error:4000", "extras.ai must be an object"},
};

static void each_wrong_event_has_its_code_and_stores_nothing(void **state)
{
    struct fixture *f = *state;
    struct client *u = user(f, "u1");
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        assert_string_equal(ai(u, refusals[i].event, refusals[i].more), refusals[i].expected);
        assert_true(said(u, refusals[i].text));
    }
    assert_int_equal(u->close_code, 0);
    assert_string_equal(ai(u, "ai-input", ""), "ai-input(private-ai-1)@1=\"x\"");
}

static void channel_protocol_and_identity_are_checked_in_this_order(void **state)
{
    struct fixture *f = *state;
    struct client *nobody = v2(f), *old = v1(f);
    tell(nobody, "{\"event\":\"ai-output\"}");
    assert_string_equal(answer(nobody), "error:104000");
    assert_true(said(nobody, "channel required for AI event"));
    tell_ai(old, "ai-output", "private-chat", "");
    assert_string_equal(answer(old), "error:104003");
    assert_true(said(old, "AI Transport is not enabled for this channel"));
    assert_string_equal(ai(old, "ai-output", ""), "error:104003");
    assert_true(said(old, "pusher:error"));
    assert_true(said(old, "AI events require protocol v2"));
    assert_string_equal(ai(nobody, "ai-output", ""), "error:104003");
    assert_string_equal(ai(nobody, "ai-input", TRANSPORT("\"nope\":\"\"")), "error:4009");
    assert_true(said(nobody, "Authentication error: AI client events require an authenticated client_id"));
    sign_in(f, nobody, "{\"id\":\"u1\",\"capabilities\":{\"publish\":[\"other\"]}}");
    assert_string_equal(ai(nobody, "ai-input", ""), "error:4009");
    assert_true(said(nobody, "not allowed to publish channel 'private-ai-1'"));
    sign_in(f, nobody, "{\"id\":\"u1\"}");
    assert_string_equal(ai(nobody, "ai-input", ""), "error:4301");
    assert_true(said(nobody, "is not subscribed to channel private-ai-1"));
}

static void same_message_id_is_published_once(void **state)
{
    struct fixture *f = *state;
    struct client *u = user(f, "u1");
    assert_string_equal(ai(u, "ai-input", ",\"message_id\":\"m1\""), "ai-input(private-ai-1)@1=\"x\"");
    assert_true(said(u, "\"message_id\":\"m1\""));
    assert_string_equal(ai(u, "ai-input", ",\"message_id\":\"m1\""), "");
    assert_string_equal(ai(u, "ai-cancel", ",\"message_id\":\"m1\""), "error(private-ai-1):4000");
}

static void too_much_text_and_too_many_streams_are_refused(void **state)
{
    struct fixture *f = *state;
    struct client *u = user(f, "u1");
    f->core->config->ai.max_accumulated_message_bytes = 1;
    f->core->config->ai.max_open_streaming_messages_per_channel = 1;
    assert_string_equal(ai(u, "ai-input", TRANSPORT("\"status\":\"streaming\"")), "ai-input(private-ai-1)@1=\"x\"");
    assert_string_equal(ai(u, "ai-input", TRANSPORT("\"status\":\"streaming\"")), "error(private-ai-1):40009");
    assert_true(said(u, "open streaming message count exceeds 1"));
    tell(u, "{\"event\":\"ai-input\",\"channel\":\"" CHANNEL "\",\"data\":\"xy\"}");
    assert_string_equal(answer(u), "error:40009");
    assert_true(said(u, "accumulated message content exceeds 1 bytes"));
}

static void client_event_limit_counts_ai_events(void **state)
{
    struct fixture *f = *state;
    app_config(f)->max_client_events_per_second = 2;
    struct client *u = user(f, "u1");
    ai(u, "ai-input", "");
    assert_string_equal(ai(u, "ai-output", ""), "error:104003");
    assert_string_equal(ai(u, "ai-input", ""), "error:4301");
    assert_true(said(u, "Client event rejected due to rate limit"));
    struct buf text = {0};
    metric_render(f->core->env.metrics->registry, STR(""), &text);
    assert_true(str_find(buf_view(&text), STR("rate_limit_checks_total{app_id=\"app-id\",port=\"9601\","
                                              "limiter_type=\"client_events\",request_context=\"unknown\"} 3\n")) > 0);
    assert_true(str_find(buf_view(&text), STR("rate_limit_triggered_total{app_id=\"app-id\",port=\"9601\","
                                              "limiter_type=\"client_events\",request_context=\"unknown\"} 1\n")) > 0);
    buf_free(&text);
}

static void ephemeral_input_is_delivered_and_not_stored(void **state)
{
    struct fixture *f = *state;
    struct client *u = user(f, "u1");
    assert_string_equal(ai(u, "ai-input", ",\"extras\":{\"ephemeral\":true}"), "ai-input(private-ai-1)=\"x\"");
    assert_string_equal(ai(u, "ai-input", ""), "ai-input(private-ai-1)@1=\"x\"");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(input_is_delivered_to_everybody_with_its_author),
        T(own_id_may_be_given_and_extras_pass_through),
        T(echo_is_the_connections_unless_the_event_says_otherwise),
        T(each_wrong_event_has_its_code_and_stores_nothing),
        T(channel_protocol_and_identity_are_checked_in_this_order),
        T(same_message_id_is_published_once),
        T(too_much_text_and_too_many_streams_are_refused),
        T(client_event_limit_counts_ai_events),
        T(ephemeral_input_is_delivered_and_not_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
