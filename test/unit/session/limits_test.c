/* limits_test.c - what one connection may not have more of.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/internal.h"
#include "session/internal.h"
#include "session_fixture.h"

static void channels_are_counted_and_come_back(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    char name[16];
    f->core->config->websocket.max_channels = 40;
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "c%d", i);
        tell_subscribe(f, c, name, "");
    }
    answer(c);
    assert_string_equal(subscribe(f, c, "more"), "error(more):4300 subscription_error(more)");
    assert_true(said(c, "Too many channels on this connection, the limit is 40"));
    assert_int_equal(limits_reached(f, "channels"), 1);
    assert_string_equal(subscribe(f, c, "c7"), "subscription_succeeded(c7)@0");
    unsubscribe(c, "c7");
    assert_string_equal(subscribe(f, c, "more"), "subscription_succeeded(more)@0");
}

static void a_node_has_so_many_channels(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    f->core->env.hub->channels_max = 2;
    assert_string_equal(subscribe(f, c, "a"), "subscription_succeeded(a)@0");
    assert_string_equal(subscribe(f, c, "b"), "subscription_succeeded(b)@0");
    assert_string_equal(subscribe(f, c, "c"), "error(c):4100 subscription_error(c)");
    assert_string_equal(subscribe(f, v2(f), "a"), "subscription_succeeded(a)@0");
    assert_int_equal(limits_reached(f, "channels_of_node"), 1);
    assert_int_equal(c->close_code, 0);
    publish(f, "d", "1");
}

/* A filter may be padded with blanks: what is kept of it is what counts. */
static void filters_of_a_connection_have_so_many_bytes(void **state)
{
    enum { SIZE = 60000, FIT = SESSION_FILTER_BYTES_MAX / SIZE };
    struct fixture *f = *state;
    struct client *c = v2(f);
    char more[SIZE + 64], name[16];
    int n = snprintf(more, sizeof more, ",\"filter\":{\"events\":[\"e\"]%*s}", SIZE - 16, "");
    assert_int_equal(n - (int)strlen(",\"filter\":"), SIZE);
    for (int i = 0; i < FIT; i++) {
        snprintf(name, sizeof name, "c%d", i);
        assert_non_null(strstr(subscribe_with(f, c, name, more), "subscription_succeeded"));
    }
    assert_string_equal(subscribe_with(f, c, "more", more), "error(more):4300 subscription_error(more)");
    assert_int_equal(limits_reached(f, "filters"), 1);
    assert_non_null(strstr(subscribe_with(f, c, "c1", more), "subscription_succeeded")); /* in the place of its first one */
    unsubscribe(c, "c0");
    assert_non_null(strstr(subscribe_with(f, c, "more", more), "subscription_succeeded"));
}

/* Each is answered with all members of the channel. */
static void unanswered_subscribes_of_a_channel_are_few(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    for (int i = 0; i < SESSION_SUBSCRIBES_MAX + 1; i++)
        tell_subscribe(f, c, "news", "");
    const char *said_to_it = answer(c);
    unsigned answers = 0;
    for (const char *at = said_to_it; (at = strstr(at, "subscription_succeeded")) != NULL; at++)
        answers++;
    assert_non_null(strstr(said_to_it, "error(news):4300"));
    assert_int_equal(answers, SESSION_SUBSCRIBES_MAX);
    assert_int_equal(limits_reached(f, "subscribes"), 1);
}

/* Each holds memory until its channel's owner has answered, which takes as long as the store is down. */
static void subscriptions_that_were_given_up_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    for (int i = 0; i < HUB_ABANDONED_MAX; i++) {
        tell_subscribe(f, c, i % 2 ? "a" : "a*", "");
        tell(c, "{\"event\":\"pusher:unsubscribe\",\"data\":{\"channel\":\"%s\"}}", i % 2 ? "a" : "a*");
    }
    tell_subscribe(f, c, "b", "");
    assert_string_equal(heard(c), "error(b):4000 subscription_error(b)");
    assert_int_equal(limits_reached(f, "attaches"), 1);
    assert_string_equal(answer(c), "");
    assert_string_equal(subscribe(f, c, "b"), "subscription_succeeded(b)@0");
}

static void what_cannot_be_a_channel_does_not_wait_for_its_subscription(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    tell(c, "{\"event\":\"sockudo:resume\",\"data\":{\"channel_positions\":{\"%0*d\":{\"stream_id\":\"s\",\"serial\":1}}}}",
         SESSION_POSITION_SIZE_MAX, 7);
    assert_non_null(strstr(answer(c), "resume_failed("));
    assert_int_equal(limits_reached(f, "positions"), 1);
}

static void check_table(const struct session *s)
{
    for (uint32_t i = 0; i < s->subs_count; i++) {
        assert_int_equal(s->subs[i]->index, i);
        assert_int_equal(s->subs[i]->wildcard, i < s->wildcards);
        assert_ptr_equal(sub_find(s, s->subs[i]->channel), s->subs[i]);
    }
}

/* Resuming looks at each of them for each position. */
static void patterns_stand_first_whatever_comes_and_goes(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    struct random random;
    random_from_seed(&random, 7);
    for (int round = 0; round < 500; round++) {
        char name[16];
        uint64_t n = random_below(&random, 30);
        snprintf(name, sizeof name, n % 3 == 0 ? "w%d-*" : "c%d", (int)n);
        if (sub_find(c->session, str_of(name)) == NULL)
            subscribe(f, c, name);
        else
            unsubscribe(c, name);
        check_table(c->session);
    }
}

int main(void)
{
#define LIMIT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        LIMIT(channels_are_counted_and_come_back),
        LIMIT(a_node_has_so_many_channels),
        LIMIT(filters_of_a_connection_have_so_many_bytes),
        LIMIT(unanswered_subscribes_of_a_channel_are_few),
        LIMIT(subscriptions_that_were_given_up_are_bounded),
        LIMIT(what_cannot_be_a_channel_does_not_wait_for_its_subscription),
        LIMIT(patterns_stand_first_whatever_comes_and_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
