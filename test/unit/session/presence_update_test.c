/* presence_update_test.c - a member changes its info: who hears of it, and what is refused (chapter 1, 5.8; chapter 4, 7.1).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session_fixture.h"

static void update(struct client *c, const char *channel, const char *info)
{
    tell(c, "{\"event\":\"sockudo:presence_update\",\"data\":{\"channel\":\"%s\",\"data\":%s}}", channel, info);
}

static void assert_refused(struct client *c, const char *code, const char *text)
{
    char expected[32];
    snprintf(expected, sizeof expected, "error:%s", code);
    assert_string_equal(answer(c), expected);
    assert_true(said(c, text));
}

/* The status of an agent must not look like leaving and joining. */
static void update_reaches_all_v2_subscribers_and_no_v1(void **state)
{
    struct fixture *f = *state;
    struct client *old = v1(f), *agent = v2(f), *viewer = v2(f);
    join(f, old, "presence-a", "{\"user_id\":\"old\"}");
    join(f, agent, "presence-a", "{\"user_id\":\"agent\",\"user_info\":{\"status\":\"idle\"}}");
    join(f, viewer, "presence-a", "{\"user_id\":\"viewer\"}");
    heard(old);
    heard(agent);

    update(agent, "presence-a", "{\"status\":\"thinking\"}");

    assert_string_equal(answer(agent), "presence_update(presence-a)");
    assert_true(said(agent, "\"event\":\"sockudo_internal:presence_update\""));
    assert_true(said(agent, "\"data\":\"{\\\"user_id\\\":\\\"agent\\\",\\\"user_info\\\":{\\\"status\\\":\\\"thinking\\\"}}\""));
    assert_string_equal(heard(viewer), "presence_update(presence-a)");
    assert_string_equal(heard(old), "");
    struct client *late = v1(f);
    join(f, late, "presence-a", "{\"user_id\":\"late\"}");
    assert_true(said(late, "\\\"agent\\\":{\\\"status\\\":\\\"thinking\\\"}"));
}

static void update_may_come_as_text_and_in_the_other_family(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    join(f, c, "presence-a", "{\"user_id\":\"u\"}");
    tell(c, "{\"event\":\"pusher:presence_update\",\"data\":\"{\\\"channel\\\":\\\"presence-a\\\",\\\"data\\\":7}\"}");
    assert_string_equal(answer(c), "presence_update(presence-a)");
    assert_true(said(c, "\\\"user_info\\\":7}"));
    tell(c, "{\"event\":\"sockudo_internal:presence_update\",\"data\":{\"channel\":\"presence-a\",\"data\":8}}");
    assert_string_equal(answer(c), "");
}

static void malformed_update_is_told_what_is_wrong(void **state)
{
    static const struct {
        const char *data, *text;
    } cases[] = {
        {"null", "presence_update data is required"},
        {"[1]", "presence_update data must be a JSON object"},
        {"\"x\"", "presence_update data must be a JSON object"},
        {"{\"data\":1}", "presence_update channel is required"},
        {"{\"channel\":\"presence-a\"}", "presence_update data field is required"},
        {"{\"channel\":\"private-a\",\"data\":1}", "presence_update requires a presence channel"},
        {"{\"channel\":\"presence-b\",\"data\":1}", "presence_update requires active membership"},
    };
    struct fixture *f = *state;
    struct client *c = v2(f);
    join(f, c, "presence-a", "{\"user_id\":\"u\"}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tell(c, "{\"event\":\"sockudo:presence_update\",\"data\":%s}", cases[i].data);
        assert_refused(c, "104009", cases[i].text);
        assert_true(said(c, "\"name\":\"ai_presence_update_invalid\""));
    }
    tell(c, "{\"event\":\"sockudo:presence_update\"}");
    assert_refused(c, "104009", "presence_update data is required");
}

static void v1_may_not_update(void **state)
{
    struct fixture *f = *state;
    struct client *c = v1(f);
    join(f, c, "presence-a", "{\"user_id\":\"u\"}");
    update(c, "presence-a", "1");
    assert_refused(c, "104009", "presence_update requires protocol V2");
}

static void update_has_at_most_1024_bytes(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    char info[1100];
    join(f, c, "presence-a", "{\"user_id\":\"u\"}");
    snprintf(info, sizeof info, "\"%01022d\"", 0);
    update(c, "presence-a", info);
    assert_string_equal(answer(c), "presence_update(presence-a)");
    snprintf(info, sizeof info, "\"%01023d\"", 0);
    update(c, "presence-a", info);
    assert_refused(c, "40009", "presence_update data exceeds 1024 bytes");
    assert_true(said(c, "\"name\":\"payload_too_large\""));
}

/* The limit belongs to the member: a second tab has no budget of its own. */
static void eleventh_update_in_a_second_is_refused(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f), *tab = v2(f), *watcher = v2(f);
    join(f, c, "presence-a", "{\"user_id\":\"u\"}");
    join(f, tab, "presence-a", "{\"user_id\":\"u\"}");
    join(f, watcher, "presence-a", "{\"user_id\":\"w\"}");
    for (int i = 0; i < 10; i++)
        update(i % 2 ? c : tab, "presence-a", "1");
    core_settle(f->core);
    heard(c);
    heard(watcher);

    update(c, "presence-a", "2");
    assert_refused(c, "4301", "presence_update rejected due to rate limit");
    assert_string_equal(heard(watcher), "");

    struct buf figures = {0};
    metric_render(f->core->env.metrics->registry, STR(""), &figures);
    assert_true(str_find(buf_view(&figures), STR("rate_limit_checks_total{app_id=\"app-id\",port=\"9601\",limiter_type="
                                                 "\"presence_update\",request_context=\"unknown\"} 11")) >= 0);
    assert_true(str_find(buf_view(&figures), STR("rate_limit_triggered_total{app_id=\"app-id\",port=\"9601\",limiter_type="
                                                 "\"presence_update\",request_context=\"unknown\"} 1")) >= 0);
    buf_free(&figures);

    core_advance_ms(f->core, 1000);
    update(c, "presence-a", "3");
    assert_string_equal(answer(c), "presence_update(presence-a)");
    assert_string_equal(heard(watcher), "presence_update(presence-a)");
}

static void update_needs_an_acknowledged_membership(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    join(f, c, "presence-a", "{\"user_id\":\"u\"}");
    unsubscribe(c, "presence-a");
    update(c, "presence-a", "1");
    assert_refused(c, "104009", "presence_update requires active membership");
}

static void capabilities_may_withhold_presence(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    join(f, c, "presence-a", "{\"user_id\":\"u\"}");
    sign_in(f, c, "{\"id\":\"u\",\"capabilities\":{\"presence\":[\"presence-b\"]}}");
    update(c, "presence-a", "1");
    assert_refused(c, "4009", "Connection is not allowed to presence channel 'presence-a'");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(update_reaches_all_v2_subscribers_and_no_v1),
        T(update_may_come_as_text_and_in_the_other_family),
        T(malformed_update_is_told_what_is_wrong),
        T(v1_may_not_update),
        T(update_has_at_most_1024_bytes),
        T(eleventh_update_in_a_second_is_refused),
        T(update_needs_an_acknowledged_membership),
        T(capabilities_may_withhold_presence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
