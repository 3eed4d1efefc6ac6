/* connection_test.c - the handshake, heartbeats, limits and the end of a connection (chapter 1, sections 1 to 3, 8, 10).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session_fixture.h"

static const char *params(struct fixture *f, const char *query, struct session_params *out)
{
    struct arena arena = {0};
    const char *wrong = session_params_read(f->core->config, str_of(query), &arena, out);
    arena_free(&arena);
    return wrong;
}

static bool is_refused(struct fixture *f, const char *query)
{
    struct session_params out;
    return params(f, query, &out) != NULL;
}

static void bad_parameters_are_refused_before_the_upgrade(void **state)
{
    struct fixture *f = *state;
    assert_true(is_refused(f, "protocol=abc"));
    assert_true(is_refused(f, "protocol=300"));
    assert_true(is_refused(f, "protocol=2&format=avro"));
    assert_true(is_refused(f, "protocol=2&append_mode=snapshot"));
    assert_true(is_refused(f, "protocol=2&append_mode=Full"));
    assert_true(is_refused(f, "protocol=2&append_rollup_window=60"));
    assert_true(is_refused(f, "protocol=2&append_rollup_window=x"));
    assert_true(is_refused(f, "protocol=7&append_rollup_window=x"));
    assert_true(is_refused(f, "protocol=2&echo_messages=yes"));
}

static void v1_ignores_what_is_for_v2(void **state)
{
    struct fixture *f = *state;
    struct session_params out;
    assert_null(params(f, "protocol=99&format=protobuf&append_mode=snapshot&append_rollup_window=30", &out));
    assert_int_equal(out.protocol, WIRE_V1);
    assert_int_equal(out.mode, LANE_V1);
    assert_null(params(f, "client=js&version=8.6.0&flash=false", &out));
    assert_int_equal(out.protocol, WIRE_V1);
}

static void v2_parameters_are_taken(void **state)
{
    struct fixture *f = *state;
    struct session_params out;
    assert_null(params(f, "protocol=2&format=%20JSON&append_mode=full&append_rollup_window=100&echo_messages=false", &out));
    assert_int_equal(out.protocol, WIRE_V2);
    assert_int_equal(out.mode, LANE_FULL);
    assert_int_equal(out.window_index, 3);
    assert_false(out.echo);
    assert_int_equal(out.format, FORMAT_JSON);
    assert_null(params(f, "protocol=2&format=msgpack", &out));
    assert_int_equal(out.format, FORMAT_MSGPACK);
    assert_null(params(f, "protocol=2&format=protobuf&client=csharp", &out));
    assert_int_equal(out.format, FORMAT_PROTOBUF_OLDER);
}

static void unknown_app_is_told_and_closed(void **state)
{
    struct fixture *f = *state;
    struct client *c = &f->clients[f->count++];
    struct session_params v1_params = {.protocol = WIRE_V1};
    c->sink.core = f->core;

    assert_null(session_new(f->sessions, c, NULL, STR_NONE, &v1_params));

    assert_string_equal(heard(c), "error:4001");
    assert_true(said(c, "Application does not exist"));
    assert_int_equal(c->close_code, 4001);
}

static void disabled_app_is_told_and_closed(void **state)
{
    struct fixture *f = *state;
    app_config(f)->enabled = false;
    struct client *c = connect_from(f, "protocol=7", NULL);
    assert_string_equal(heard(c), "error:4003");
    assert_int_equal(c->close_code, 4003);
}

static void foreign_origin_is_refused(void **state)
{
    struct fixture *f = *state;
    struct str allowed[] = {STR("*.example.com")};
    app_config(f)->allowed_origins = allowed;
    app_config(f)->allowed_origins_count = 1;
    assert_string_equal(heard(connect_from(f, "", "https://example.com")), "connection_established");
    assert_string_equal(heard(connect_from(f, "", "https://a.example.com")), "connection_established");
    assert_string_equal(heard(connect_from(f, "", "https://evilexample.com")), "error:4009");
    assert_string_equal(heard(connect_from(f, "", NULL)), "error:4009");
    app_config(f)->allowed_origins_count = 0;
}

static void quota_of_the_app_is_exact_and_given_back(void **state)
{
    struct fixture *f = *state;
    app_config(f)->max_connections = 1;
    struct client *first = connect_as(f, "");
    struct client *second = connect_from(f, "", NULL);
    assert_string_equal(heard(second), "error:4004");
    assert_int_equal(second->close_code, 4004);

    client_gone(first, END_GRACEFUL);

    assert_string_equal(heard(connect_from(f, "", NULL)), "connection_established");
}

static void full_node_says_over_capacity(void **state)
{
    struct fixture *f = *state;
    f->core->config->max_connections = 1;
    connect_as(f, "");
    struct client *c = connect_from(f, "", NULL);
    assert_string_equal(heard(c), "error:4100");
    assert_int_equal(c->close_code, 4100);
}

static void established_frame_has_string_data_and_a_message_id_on_v2(void **state)
{
    struct fixture *f = *state;
    struct client *one = connect_from(f, "protocol=7", NULL), *two = connect_from(f, "protocol=2", NULL);
    heard(one);
    heard(two);
    assert_true(said(one, "{\"event\":\"pusher:connection_established\",\"data\":\"{\\\"socket_id\\\":\\\""));
    assert_true(said(one, "\\\"activity_timeout\\\":120}\"}"));
    assert_false(said(one, "message_id"));
    assert_true(said(two, "{\"event\":\"sockudo:connection_established\",\"data\":\"{"));
    assert_true(said(two, "\"message_id\":\""));
}

static void ping_of_either_family_is_answered_in_the_connections_own(void **state)
{
    struct fixture *f = *state;
    struct client *one = v1(f), *two = v2(f);
    tell(one, "{\"event\":\"sockudo:ping\",\"data\":{}}");
    tell(two, "{\"event\":\"pusher:ping\"}");
    answer(one);
    answer(two);
    assert_true(said(one, "{\"event\":\"pusher:pong\"}\n"));
    assert_true(said(two, "{\"event\":\"sockudo:pong\"}\n"));
}

static void silent_v1_client_is_pinged_and_then_closed(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f);
    core_advance_ms(f->core, 119999);
    assert_string_equal(heard(c), "");
    core_advance_ms(f->core, 1);
    assert_string_equal(heard(c), "ping");
    core_advance_ms(f->core, 29999);
    assert_int_equal(c->close_code, 0);
    core_advance_ms(f->core, 1);
    assert_string_equal(heard(c), "error:4201");
    assert_int_equal(c->close_code, 4201);
}

static void any_frame_instead_of_the_pong_keeps_a_v1_client(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f);
    core_advance_ms(f->core, 125000);
    tell(c, "{\"event\":\"client-x\",\"channel\":\"nowhere\"}");
    heard(c);
    core_advance_ms(f->core, 119999);
    assert_string_equal(heard(c), "");
    core_advance_ms(f->core, 1);
    assert_string_equal(heard(c), "ping");
    assert_int_equal(c->close_code, 0);
}

static void v2_client_that_ignores_the_native_ping_is_closed(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    core_advance_ms(f->core, 60000);
    assert_int_equal(c->pings, 1);
    assert_string_equal(heard(c), "");
    core_advance_ms(f->core, 30000);
    assert_string_equal(heard(c), "error:4201");
    assert_int_equal(c->close_code, 4201);
}

static void v2_client_that_answers_pings_stays(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    for (unsigned i = 1; i <= 5; i++) {
        core_advance_ms(f->core, 60000);
        assert_int_equal(c->pings, i);
        session_native_pong(c->session);
    }
    assert_string_equal(heard(c), "");
    assert_int_equal(c->close_code, 0);
}

static void v2_client_without_pings_ends_by_inactivity(void **state)
{
    struct fixture *f = *state;
    f->core->config->websocket.auto_ping = false;
    struct client *c = v2(f);
    core_advance_ms(f->core, 119999);
    assert_int_equal(c->close_code, 0);
    core_advance_ms(f->core, 1);
    assert_int_equal(c->close_code, 4202);
    assert_int_equal(c->pings, 0);
}

static void nonsense_is_answered_and_the_connection_stays(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f);
    tell(c, "{\"event\":\"foo:bar\"}");
    tell(c, "{\"event\":\"pusher:unheard_of\"}");
    assert_string_equal(answer(c), "");
    tell(c, "{}");
    assert_string_equal(answer(c), "error:4000");
    assert_true(said(c, "Invalid event name: Event name is required"));
    tell(c, "{");
    assert_string_equal(answer(c), "error:4000");
    assert_true(said(c, "Invalid message format: Decode failed: "));
    assert_int_equal(c->close_code, 0);
}

/* Chapter 5, edge cases 39 and 40: as where deltas are switched off. */
static void deltas_are_declined_in_so_many_words(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f), *old = v1(f);
    tell(c, "{\"event\":\"sockudo:enable_delta_compression\",\"data\":{\"algorithms\":[\"fossil\"]}}");
    assert_string_equal(answer(c), "delta_compression_enabled");
    assert_true(said(c, "{\"event\":\"sockudo:delta_compression_enabled\",\"data\":{\"enabled\":false}"));
    tell(old, "{\"event\":\"pusher:enable_delta_compression\"}");
    assert_string_equal(answer(old), "delta_compression_enabled");
    assert_true(said(old, "\"pusher:delta_compression_enabled\",\"data\":{\"enabled\":false}"));
    tell(c, "{\"event\":\"sockudo:delta_sync_error\",\"data\":{\"channel\":\"news\"}}");
    assert_string_equal(answer(c), "");
}

static void message_limit_refuses_and_then_closes_if_told_to(void **state)
{
    struct fixture *f = *state;
    app_config(f)->message_rate_limit.enabled = true;
    app_config(f)->message_rate_limit.max_attempts = 2;
    app_config(f)->message_rate_limit.decay_seconds = 1;
    struct client *c = v1(f);
    for (int i = 0; i < 3; i++)
        tell(c, "{\"event\":\"pusher:ping\"}");
    assert_string_equal(answer(c), "pong pong error:4301");
    core_advance_ms(f->core, 1000);
    app_config(f)->message_rate_limit.terminate_on_limit = true;
    for (int i = 0; i < 4; i++)
        tell(c, "{\"event\":\"pusher:ping\"}");
    assert_string_equal(answer(c), "pong pong error:4301");
    assert_int_equal(c->close_code, 4301);
}

static void slow_consumer_is_closed_in_the_next_turn(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    session_overflow(c->session);
    session_overflow(c->session);
    assert_int_equal(c->close_code, 0);
    core_advance_ms(f->core, 1);
    assert_string_equal(heard(c), "error:4100");
    assert_int_equal(c->close_code, 4100);
}

static void slow_consumer_only_loses_frames_if_configured_so(void **state)
{
    struct fixture *f = *state;
    f->core->config->websocket.disconnect_on_buffer_full = false;
    struct client *c = v2(f);
    session_overflow(c->session);
    core_advance_ms(f->core, 10);
    assert_int_equal(c->close_code, 0);
}

static void shutdown_tells_everybody_within_its_time(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 4; i++)
        v2(f);
    sessions_drain(f->sessions, 40);
    assert_int_equal(f->clients[3].close_code, 0);
    core_advance_ms(f->core, 60);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(heard(&f->clients[i]), "error:4200");
        assert_int_equal(f->clients[i].close_code, 4200);
    }
}

static void directory_knows_who_is_connected(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    struct socket_id id;
    struct directory_entry found;
    assert_true(socket_id_parse(str_of(c->id), &id));
    assert_true(directory_find(f->directory, id, &found));
    assert_int_equal(found.protocol, WIRE_V2);
    client_gone(c, END_GRACEFUL);
    assert_false(directory_find(f->directory, id, &found));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(bad_parameters_are_refused_before_the_upgrade),
        T(v1_ignores_what_is_for_v2),
        T(v2_parameters_are_taken),
        T(unknown_app_is_told_and_closed),
        T(disabled_app_is_told_and_closed),
        T(foreign_origin_is_refused),
        T(quota_of_the_app_is_exact_and_given_back),
        T(full_node_says_over_capacity),
        T(established_frame_has_string_data_and_a_message_id_on_v2),
        T(ping_of_either_family_is_answered_in_the_connections_own),
        T(silent_v1_client_is_pinged_and_then_closed),
        T(any_frame_instead_of_the_pong_keeps_a_v1_client),
        T(v2_client_that_ignores_the_native_ping_is_closed),
        T(v2_client_that_answers_pings_stays),
        T(v2_client_without_pings_ends_by_inactivity),
        T(nonsense_is_answered_and_the_connection_stays),
        T(deltas_are_declined_in_so_many_words),
        T(message_limit_refuses_and_then_closes_if_told_to),
        T(slow_consumer_is_closed_in_the_next_turn),
        T(slow_consumer_only_loses_frames_if_configured_so),
        T(shutdown_tells_everybody_within_its_time),
        T(directory_knows_who_is_connected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
