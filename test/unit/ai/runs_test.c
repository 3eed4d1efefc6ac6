/* runs_test.c - what AI events say to figures and webhooks (chapter 4, 7.2 and 8.2).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "streams_fixture.h"

#define T_(members) "{\"ai\":{\"transport\":{" members "}}}"
static const struct {
    const char *event, *extras, *told;
} events[] = {
    {"ai-run-start", T_("\"run-id\":\"r1\",\"run-client-id\":\"u1\""),
     "ai_run_started(ai-chat) \"run_id\":\"r1\",\"client_id\":\"u1\"\nai_turn_started(ai-chat) \"turn_id\":\"r1\",\"client_id\":\"u1\""},
    {"ai-turn-start", T_("\"turn-id\":\"t1\",\"run-client-id\":\"\""), /* [4.9] */
     "ai_run_started(ai-chat) \"run_id\":\"t1\",\"client_id\":null\nai_turn_started(ai-chat) \"turn_id\":\"t1\",\"client_id\":null"},
    {"ai-run-end", T_("\"run-id\":\"r1\",\"run-reason\":\"error\",\"error-code\":\"e\""),
     "ai_run_ended(ai-chat) \"run_id\":\"r1\",\"reason\":\"error\",\"error_code\":\"e\"\n"
     "ai_turn_ended(ai-chat) \"turn_id\":\"r1\",\"reason\":\"error\",\"error_code\":\"e\""},
    {"ai-turn-end", T_("\"turn-id\":\"t1\",\"turn-reason\":\"suspended\""), ""}, /* [4.44] */
    {"ai-turn-end", NULL,
     "ai_run_ended(ai-chat) \"run_id\":null,\"reason\":\"unknown\",\"error_code\":null\n"
     "ai_turn_ended(ai-chat) \"turn_id\":null,\"reason\":\"unknown\",\"error_code\":null"},
    {"ai-cancel", T_("\"run-id\":\"r1\",\"run-client-id\":\"u2\""),
     "ai_cancel_requested(ai-chat) \"run_id\":\"r1\",\"turn_id\":\"r1\",\"client_id\":\"u2\""},
    {"ai-run-suspend", T_("\"run-id\":\"r1\""), ""},
    {"ai-step-start", T_("\"run-id\":\"r1\""), ""},
    {"ai-output", T_("\"run-id\":\"r1\""), ""},
};

static void runs_are_told_to_webhooks_and_counted(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        event(f, events[i].event, events[i].extras);
        assert_string_equal(told(f), events[i].told);
    }
    assert_int_equal(figure(f, runs_started), 2);
    assert_int_equal(figure(f, turns_started), 2);
    assert_int_equal(figure(f, cancels), 1);
    assert_int_equal(figure(f, unparseable), 0);
    event(f, "ai-run-end", T_("\"run-id\":\"r1\",\"run-reason\":\"odd\"")); /* [4.44] */
    assert_true(str_find(str_of(told(f)), STR("\"reason\":\"unknown\"")) >= 0);
    assert_int_equal(figure(f, unparseable), 1);
}

static void events_that_were_refused_are_told_to_nobody(void **state)
{
    struct fixture *f = *state;
    f->core->config->ai.max_accumulated_message_bytes = 1;
    struct publish *p = publish_make(f, "ai-chat", ACTION_CREATE, "ai-run-start", NULL);
    p->op.write.data = STR("\"too long\"");
    hub_publish(&f->core->env, p);
    core_settle(f->core);
    assert_int_equal(f->result, PUBLISH_BYTES_MAX);
    assert_string_equal(told(f), "");
    assert_int_equal(figure(f, runs_started), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(runs_are_told_to_webhooks_and_counted),
        T(events_that_were_refused_are_told_to_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
