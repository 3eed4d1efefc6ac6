/* headers_test.c - the registry and the order of checks (chapter 4, sections 2 and 3, cases 6 to 15).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit.h"

#include "ai/headers.h"

static struct config config;
static struct arena arena;
static struct ai_failure failure;

static int setup(void **state)
{
    config = (struct config){0};
    config.ai.max_transport_value_bytes = 256;
    config.ai.max_steer_codec_message_ids_bytes = 2048;
    config.ai.max_accumulated_message_bytes = 1048576;
    config.ai.max_appends_per_message = 4096;
    config.ai.max_open_streaming_messages_per_channel = 1024;
    return 0;
}

static int teardown(void **state)
{
    arena_free(&arena);
    return 0;
}

static struct extras_facts read(struct str extras)
{
    struct extras_facts facts;
    assert_null(extras_read(extras, &arena, &facts));
    return facts;
}

static const char *shown(bool fine)
{
    static char text[256];
    snprintf(text, sizeof text, "%d/%u %s", failure.code, failure.http_status, failure.text);
    return fine ? "ok" : text;
}

static const char *check_extras(struct str extras)
{
    struct extras_facts facts = read(extras);
    return shown(ai_headers_check(&config, &facts, &failure));
}

/* One transport header. */
static const char *transport(const char *key, const char *value)
{
    struct buf b = {0};
    buf_fmt(&b, "{\"ai\":{\"transport\":{\"%s\":\"%s\"}}}", key, value);
    struct str extras = arena_copy(&arena, buf_view(&b));
    buf_free(&b);
    return check_extras(extras);
}

/* One header of a tier with `n` bytes of value. */
static const char *sized(const char *tier, const char *key, size_t n)
{
    struct buf b = {0};
    buf_fmt(&b, "{\"ai\":{\"%s\":{\"%s\":\"", tier, key);
    memset(buf_reserve(&b, n), 'v', n);
    b.n += n;
    buf_lit(&b, "\"}}}");
    struct str extras = arena_copy(&arena, buf_view(&b));
    buf_free(&b);
    return check_extras(extras);
}

/* `count` codec headers: codec keys are free. */
static const char *counted(const char *tier, int count)
{
    struct buf b = {0};
    buf_fmt(&b, "{\"ai\":{\"%s\":{", tier);
    for (int i = 0; i < count; i++)
        buf_fmt(&b, "%s\"k%d\":\"v\"", i ? "," : "", i);
    buf_lit(&b, "}}}");
    struct str extras = arena_copy(&arena, buf_view(&b));
    buf_free(&b);
    return check_extras(extras);
}

static void there_are_eleven_events(void **state)
{
    static const char *const events[] = {"ai-input",       "ai-cancel",     "ai-output",  "ai-run-start",
                                         "ai-run-suspend", "ai-run-resume", "ai-run-end", "ai-turn-start",
                                         "ai-turn-end",    "ai-step-start", "ai-step-end"};
    for (size_t i = 0; i < 11; i++)
        assert_true(is_ai_event(str_of(events[i])));
    assert_false(is_ai_event(STR("ai-")));
    assert_false(is_ai_event(STR("ai-Input")));
    assert_false(is_ai_event(STR("ai-run")));
    assert_true(is_ai_client_event(STR("ai-cancel")));
    assert_false(is_ai_client_event(STR("ai-output")));
}

static void every_registered_key_is_known(void **state)
{
    static const char *const keys[] = {"run-id",
                                       "turn-id",
                                       "codec-message-id",
                                       "input-codec-message-id",
                                       "parent",
                                       "fork-of",
                                       "msg-regenerate",
                                       "supersedes",
                                       "stream-id",
                                       "invocation-id",
                                       "event-id",
                                       "step-id",
                                       "step-start-serial",
                                       "steer-codec-message-ids",
                                       "error-code",
                                       "model",
                                       "input-client-id",
                                       "turn-client-id",
                                       "run-client-id",
                                       "step-client-id",
                                       "error-message"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_string_equal(transport(keys[i], "x"), "ok");
    assert_string_equal(transport("nope", "x"), "104000/400 unknown extras.ai.transport key 'nope'");
}

static void empty_values_are_for_those_that_may_be_unknown(void **state)
{
    assert_string_equal(transport("model", ""), "104000/400 extras.ai.transport.model must not be empty");
    assert_string_equal(transport("input-client-id", ""),
                        "104000/400 extras.ai.transport.input-client-id must not be empty");
    assert_string_equal(transport("run-client-id", ""), "ok");
    assert_string_equal(transport("step-client-id", ""), "ok");
    assert_string_equal(transport("error-message", ""), "ok");
}

/* Case 8. */
static void reasons_have_domains_of_their_own(void **state)
{
    assert_string_equal(transport("run-reason", "error"), "ok");
    assert_string_equal(transport("run-reason", "suspended"),
                        "104000/400 extras.ai.transport.run-reason has invalid value");
    assert_string_equal(transport("turn-reason", "suspended"), "ok");
    assert_string_equal(transport("step-reason", "failed"), "ok");
    assert_string_equal(transport("step-reason", "error"),
                        "104000/400 extras.ai.transport.step-reason has invalid value");
    assert_string_equal(transport("status", "done"),
                        "104000/400 extras.ai.transport.status has invalid value");
    assert_string_equal(transport("status", "cancelled"), "ok");
    assert_string_equal(transport("role", "agent"), "ok");
    assert_string_equal(transport("role", ""), "104000/400 extras.ai.transport.role has invalid value");
    assert_string_equal(transport("stream", "True"),
                        "104000/400 extras.ai.transport.stream must be true or false");
    assert_string_equal(transport("turn-continue", "false"), "ok");
}

/* Case 6 and 7: each limit, and one beyond. */
static void limits_hold_to_the_byte(void **state)
{
    assert_string_equal(counted("codec", 32), "ok");
    assert_string_equal(counted("codec", 33), "104001/413 extras.ai.codec exceeds 32 keys");
    assert_string_equal(counted("transport", 33), "104001/413 extras.ai.transport exceeds 32 keys");
    assert_string_equal(sized("transport", "model", 256), "ok");
    assert_string_equal(sized("transport", "model", 257),
                        "104001/413 extras.ai.transport.model exceeds 256 bytes");
    assert_string_equal(sized("transport", "steer-codec-message-ids", 2048), "ok");
    assert_string_equal(sized("transport", "steer-codec-message-ids", 2049),
                        "104001/413 extras.ai.transport.steer-codec-message-ids exceeds 2048 bytes");
    assert_string_equal(sized("codec", "x", 257), "104001/413 extras.ai.codec.x exceeds 256 bytes");
    assert_string_equal(sized("codec", "providerMetadata", 8192), "ok");
    assert_string_equal(sized("codec", "providerMetadata", 8193),
                        "104001/413 extras.ai.codec.providerMetadata exceeds 8192 bytes");
}

static void keys_have_a_length_and_an_alphabet(void **state)
{
    char key[66];
    memset(key, 'k', 65);
    key[65] = 0;
    assert_string_equal(transport(key, "x"), "104001/413 extras.ai.transport key exceeds 64 bytes");
    assert_string_equal(transport("Run-Id", "x"),
                        "104000/400 extras.ai.transport key 'Run-Id' must match [a-z0-9-]+");
    assert_string_equal(transport("", "x"), "104000/400 extras.ai.transport key '' must match [a-z0-9-]+");
    assert_string_equal(sized("codec", "provider.meta", 1),
                        "104000/400 extras.ai.codec key 'provider.meta' must match [A-Za-z0-9_-]+");
    assert_string_equal(sized("codec", "provider_Meta-1", 1), "ok");
}

/* The order is part of the contract: the first failure wins. */
static void transport_is_checked_before_codec_and_keys_in_document_order(void **state)
{
    assert_string_equal(
        check_extras(STR("{\"ai\":{\"codec\":{\"a.b\":\"\"},\"transport\":{\"model\":\"\",\"nope\":\"\"}}}")),
        "104000/400 extras.ai.transport.model must not be empty");
}

static void the_last_of_two_equal_keys_counts(void **state)
{
    assert_string_equal(
        check_extras(STR("{\"ai\":{\"transport\":{\"status\":\"x\",\"status\":\"complete\"}}}")), "ok");
}

static void lengths_are_those_of_the_decoded_text(void **state)
{
    assert_string_equal(transport("mod\\u0065l", "\\u0041"), "ok");
    config.ai.max_transport_value_bytes = 3;
    assert_string_equal(transport("model", "\\u00e9\\n"), "ok");
    assert_string_equal(transport("model", "\\u00e9\\n\\n"),
                        "104001/413 extras.ai.transport.model exceeds 3 bytes");
}

/* ---- publishes ---- */

static const char *publish(bool ai_channel, struct str event, struct str extras, struct str message_id,
                           uint64_t bytes)
{
    struct extras_facts facts = read(extras);
    struct ai_publish p = {event, &facts, message_id, bytes, ai_channel};
    return shown(ai_publish_check(&config, &p, &failure));
}

#define AI_EXTRAS STR("{\"ai\":{}}")

static void ai_messages_need_an_ai_channel(void **state)
{
    const char *refused = "104003/403 AI Transport is not enabled for this channel";
    assert_string_equal(publish(false, STR("ai-output"), STR_NONE, STR_NONE, 0), refused);
    assert_string_equal(publish(false, STR("x"), AI_EXTRAS, STR(""), 0), refused);
    assert_string_equal(publish(false, STR("x"), STR_NONE, STR(""), UINT64_MAX), "ok");
}

/* Case 14. */
static void message_ids_of_ai_channels_have_1_to_64_bytes(void **state)
{
    char id[65];
    memset(id, 'm', sizeof id);
    assert_string_equal(publish(true, STR("x"), STR_NONE, str_make(id, 64), 0), "ok");
    assert_string_equal(publish(true, STR("x"), STR_NONE, str_make(id, 65), 0),
                        "104001/400 message_id exceeds 64 bytes");
    assert_string_equal(publish(true, STR("x"), STR_NONE, STR(""), 0),
                        "104000/400 message_id must not be empty");
}

static void data_of_an_ai_create_is_bounded(void **state)
{
    assert_string_equal(publish(true, STR("ai-output"), STR_NONE, STR_NONE, 1048576), "ok");
    assert_string_equal(publish(true, STR("ai-output"), STR_NONE, STR_NONE, 1048577),
                        "40009/413 accumulated message content exceeds 1048576 bytes");
    assert_string_equal(publish(true, STR("x"), STR_NONE, STR_NONE, 1048577), "ok");
}

static void limits_of_the_store_have_their_texts(void **state)
{
    ai_limit_failure(&config, AI_LIMIT_APPENDS, &failure);
    assert_string_equal(shown(false), "40009/413 message append count exceeds 4096");
    ai_limit_failure(&config, AI_LIMIT_OPEN, &failure);
    assert_string_equal(shown(false), "40009/413 open streaming message count exceeds 1024");
    ai_limit_failure(&config, AI_LIMIT_BYTES, &failure);
    assert_string_equal(shown(false), "40009/413 accumulated message content exceeds 1048576 bytes");
}

/* Case 10. */
static void client_ids_must_be_the_verified_one(void **state)
{
    struct extras_facts empty = read(STR("{\"ai\":{\"transport\":{\"run-client-id\":\"\"}}}"));
    assert_string_equal(shown(ai_identity_check(&empty, STR("u1"), &failure)),
                        "104002/400 extras.ai.transport.run-client-id does not match verified identity");
    struct extras_facts own =
        read(STR("{\"ai\":{\"transport\":{\"run-id\":\"r\",\"run-client-id\":\"\\u00751\"}}}"));
    assert_true(ai_identity_check(&own, STR("u1"), &failure));
    struct extras_facts none = read(STR_NONE);
    assert_true(ai_identity_check(&none, STR("u1"), &failure));
    assert_str(ai_header(&own, STR("run-client-id"), &arena), "u1");
    assert_str(ai_header(&own, STR("run-id"), &arena), "r");
    assert_absent(ai_header(&none, STR("run-id"), &arena));
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(there_are_eleven_events),
        T(every_registered_key_is_known),
        T(empty_values_are_for_those_that_may_be_unknown),
        T(reasons_have_domains_of_their_own),
        T(limits_hold_to_the_byte),
        T(keys_have_a_length_and_an_alphabet),
        T(transport_is_checked_before_codec_and_keys_in_document_order),
        T(the_last_of_two_equal_keys_counts),
        T(lengths_are_those_of_the_decoded_text),
        T(ai_messages_need_an_ai_channel),
        T(message_ids_of_ai_channels_have_1_to_64_bytes),
        T(data_of_an_ai_create_is_bounded),
        T(limits_of_the_store_have_their_texts),
        T(client_ids_must_be_the_verified_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
