/* health_test.c - a stream that is not healthy over HTTP (chapter 3, 2.7, 2.8).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api_fixture.h"

static void publish(struct fixture *f, const char *data)
{
    char body[128];
    snprintf(body, sizeof body, "{\"name\":\"n\",\"channel\":\"chat\",\"data\":\"%s\"}", data);
    assert_starts(post(f, "/events", body), "200 ");
}

/* Channel "chat" with 1, 2, 3, of which the store has lost the row of 2. */
static int setup_damaged(void **state)
{
    setup(state);
    struct fixture *f = *state;
    publish(f, "1");
    publish(f, "2");
    publish(f, "3");
    core_lose_row(f->core, 1, 2);
    return 0;
}

static const char *stats(struct fixture *f)
{
    return plain(f, "GET", "/stats");
}

static void page_is_refused_with_the_reason_and_the_state_says_why(void **state)
{
    struct fixture *f = *state;
    const char *got = get(f, "/channels/chat/history", "");
    assert_starts(got, "503 ");
    assert_contains(got, "store_rows_damaged");
    assert_contains(got, "\"code\":\"service_unavailable\"");
    got = get(f, "/channels/chat/history/state", "");
    assert_starts(got, "200 ");
    assert_contains(got, "\"durable_state\":\"degraded\",\"recovery_allowed\":false,\"reset_required\":false,"
                         "\"reason\":\"store_rows_damaged\"");
    assert_contains(stats(f), "\"degraded_channels\":1,\"reset_required_channels\":0");
}

/* A degraded channel takes what comes: only what was is in doubt. */
static void publishing_goes_on(void **state)
{
    struct fixture *f = *state;
    get(f, "/channels/chat/history", "");
    publish(f, "4");
    assert_starts(get(f, "/channels/chat/history", ""), "503 ");
    assert_starts(get(f, "/channels/other/history", ""), "200 ");
}

static void reset_makes_it_healthy_again(void **state)
{
    struct fixture *f = *state;
    get(f, "/channels/chat/history", "");
    const char *got = post(f, "/channels/chat/history/reset",
                           "{\"confirm_channel\":\"chat\",\"confirm_operation\":\"reset\",\"reason\":\"damaged\"}");
    assert_starts(got, "200 {\"ok\":true,\"operation\":\"reset\"");
    assert_contains(got, "\"durable_state\":\"healthy\"");
    publish(f, "5");
    got = get(f, "/channels/chat/history", "");
    assert_starts(got, "200 ");
    assert_contains(got, "\"serial\":1,");
    assert_contains(stats(f), "\"degraded_channels\":0,\"reset_required_channels\":0");
}

#define DAMAGED(name) cmocka_unit_test_setup_teardown(name, setup_damaged, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        DAMAGED(page_is_refused_with_the_reason_and_the_state_says_why),
        DAMAGED(publishing_goes_on),
        DAMAGED(reset_makes_it_healthy_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
