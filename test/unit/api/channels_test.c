/* channels_test.c - questions about channels and users (chapter 2, 2.8, 2.9).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api_fixture.h"

static void ignore_attached(void *user, struct subscription *s, const struct attached *attached)
{
    struct core *core = user;
    assert_int_equal(attached->code, 0);
    subscription_open(&core->env, s, attached->head.delivery, &(uint64_t){0});
}

static struct subscription *subscribe(struct fixture *f, struct sink *sink, const char *channel,
                                      const char *user_id)
{
    struct channel_name name = {0};
    struct arena arena = {0};
    channel_name_check(f->core->app, str_of(channel), &name, &arena);
    struct subscription *s =
        hub_attach(&f->core->env, &(struct attach_request){.app = f->core->app,
                                                           .channel = str_of(channel),
                                                           .name = name,
                                                           .sink = sink,
                                                           .lane = lane_of(LANE_DELTA, 0),
                                                           .member = {str_of(user_id), STR("{}")},
                                                           .attached = ignore_attached,
                                                           .user = f->core});
    core_settle(f->core);
    arena_free(&arena);
    return s;
}

static void occupied_channels_are_listed(void **state)
{
    struct fixture *f = *state;
    struct sink *sink = sink_new(f->core);
    assert_string_equal(get(f, "/channels", ""), "200 {\"channels\":{}}");
    struct subscription *s = subscribe(f, sink, "a", NULL), *t = subscribe(f, sink, "presence-b", "u1");
    assert_string_equal(get(f, "/channels", "filter_by_prefix=a"), "200 {\"channels\":{\"a\":{}}}");
    assert_string_equal(get(f, "/channels", "filter_by_prefix=presence-&info=user_count,subscription_count"),
                        "200 {\"channels\":{\"presence-b\":{\"subscription_count\":1,\"user_count\":1}}}");
    assert_contains(get(f, "/channels", "info=user_count"),
                    "user_count is only available for presence channels. "
                    "Use filter_by_prefix=presence-");
    assert_string_equal(get(f, "/channels/a", "info=subscription_count"),
                        "200 {\"occupied\":true,\"subscription_count\":1}");
    assert_contains(get(f, "/channels/a", "info=user_count"),
                    "user_count is only available for presence channels");
    assert_string_equal(get(f, "/channels/presence-b/users", ""), "200 {\"users\":[{\"id\":\"u1\"}]}");
    hub_detach(&f->core->env, s, 0);
    hub_detach(&f->core->env, t, 0);
    core_settle(f->core);
    sink_free(sink);
}

static void an_unknown_channel_is_not_occupied(void **state)
{
    assert_string_equal(get(*state, "/channels/nobody", ""), "200 {\"occupied\":false}");
    assert_contains(get(*state, "/channels/bad%20name", ""), "\"code\":\"invalid_input\",\"status\":400}");
    assert_string_equal(get(*state, "/channels/presence-a/users", ""), "200 {\"users\":[]}");
    assert_contains(get(*state, "/channels/a/users", ""), "Only presence channels support this endpoint");
}

static size_t one_peer(struct env *env)
{
    return 1;
}

static void says_nothing(struct env *env, struct str node, struct str payload)
{
}

static void a_node_that_does_not_answer_makes_counts_incomplete(void **state)
{
    static const struct env_bus deaf = {.topics = 1, .peers = one_peer, .send = says_nothing};
    struct fixture *f = *state;
    f->core->env.bus = &deaf;
    assert_string_equal(get(f, "/channels/a", "info=subscription_count"), "");
    settle(f, 1001);
    assert_string_equal(short_form(f), "200 {\"occupied\":false,\"subscription_count\":0,\"subscription_count_complete\":false}");
    f->core->env.bus = NULL;
    assert_string_equal(get(f, "/channels/a", "info=subscription_count"), "200 {\"occupied\":false,\"subscription_count\":0}");
}

static void unknown_users_are_terminated_too(void **state)
{
    struct fixture *f = *state;
    f->headers = "Content-Type: text/plain\r\n";
    assert_string_equal(post(f, "/users/nobody/terminate_connections", "{}"), "200 {\"ok\":true}");
    assert_string_equal(post(f, "/users/nobody/force_reconnect", "x"), "200 {\"ok\":true}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(occupied_channels_are_listed),
        TEST(an_unknown_channel_is_not_occupied),
        TEST(a_node_that_does_not_answer_makes_counts_incomplete),
        TEST(unknown_users_are_terminated_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
