/* channel_name_test.c - names, kinds, namespaces and user limits (chapter 1, 5.1), and what a channel's
 * policy is.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app_fixture.h"

static struct channel_name name;

static const char *check(struct fixture *f, struct str channel)
{
    const char *wrong = channel_name_check(f->app, channel, &name, &f->arena);
    return wrong ? wrong : "ok";
}

static struct namespace_config namespaces[] = {
    {.name = STR("orders"),
     .channel_name_pattern = STR("^orders:\\d+$"),
     .annotations_enabled = -1,
     .history = {-1, 0, 60, -1, -1}},
    {.name = STR("room"),
     .allow_user_limited_channels = 1,
     .max_channel_name_length = 16,
     .annotations_enabled = 1,
     .history = {-1, -1, -1, -1, -1}},
};

static int with_namespaces(void **state)
{
    fixture_setup(state);
    struct fixture *f = *state;
    apps_free(f->apps);
    f->apps = NULL;
    f->app_configs[0].namespaces = namespaces;
    f->app_configs[0].namespaces_count = 2;
    fixture_build(f);
    return 0;
}

static void a_prefix_tells_the_kind_and_leaves_the_logical_name(void **state)
{
    static const struct {
        const char *channel, *word, *logical;
        bool cache;
    } cases[] = {
        {"a", "public", "a", false},
        {"cache-a", "public", "a", true},
        {"private-a", "private", "a", false},
        {"private-cache-a", "private", "a", true},
        {"presence-a", "presence", "a", false},
        {"presence-cache-a", "presence", "a", true},
        {"private-encrypted-a", "private-encrypted", "a", false},
        {"private-encrypted-cache-a", "private-encrypted", "a", true},
        {"private-mycache-1", "private", "mycache-1", false},
        {"my-cache-a", "public", "my-cache-a", false},
        {"private-", "private", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_string_equal(check(*state, str_of(cases[i].channel)), "ok");
        assert_string_equal(channel_kind_word(name.kind), cases[i].word);
        unit_assert_str(name.logical, str_of(cases[i].logical), __FILE__, __LINE__);
        assert_int_equal(name.cache, cases[i].cache);
    }
}

/* Chapter 1, 13.19. */
static void a_name_of_200_bytes_is_accepted_and_one_more_is_not(void **state)
{
    char text[201];
    memset(text, 'a', sizeof text);
    assert_string_equal(check(*state, str_make(text, 200)), "ok");
    assert_string_equal(check(*state, str_make(text, 201)), "Channel name too long. Max length is 200");
    assert_string_equal(check(*state, STR("")), "Channel name must not be empty");
}

static void the_length_limit_is_the_namespaces_or_the_apps(void **state)
{
    struct fixture *f = *state;
    f->app_configs[0].max_channel_name_length = 5;
    assert_string_equal(check(f, STR("abcdef")), "Channel name too long. Max length is 5");
    assert_string_equal(check(f, STR("room:1234567890")), "ok");
    assert_string_equal(check(f, STR("room:1234567890123")), "Channel name too long. Max length is 16");
}

static void characters_outside_the_alphabet_are_shown(void **state)
{
    assert_string_equal(check(*state, STR("a,b;c@d=e.f_g-h#")),
                        "Channel 'a,b;c@d=e.f_g-h#' uses user-limited syntax but the "
                        "namespace does not allow it");
    assert_string_equal(check(*state, STR("a,b;c@d=e.f_g-h")), "ok");
    assert_string_equal(
        check(*state, STR("a b! é")),
        "Channel name contains invalid characters: 'a b! é' (invalid chars: [' ', '!', 'é'])");
    assert_string_equal(check(*state, STR("*")),
                        "Channel name contains invalid characters: '*' (invalid chars: ['*'])");
    assert_non_null(strstr(check(*state, str_make("a\0b", 3)), "invalid characters"));
    assert_non_null(strstr(check(*state, str_make("\xff", 1)), "invalid characters"));
}

static void a_colon_needs_a_configured_namespace(void **state)
{
    assert_string_equal(check(*state, STR("market:btc")), "Unknown channel namespace 'market'");
    assert_string_equal(check(*state, STR(":x")), "Unknown channel namespace ''");
    assert_string_equal(check(*state, STR("private-orders:12")), "ok");
    assert_ptr_equal(name.ns, &namespaces[0]);
    assert_string_equal(check(*state, STR("orders")), "ok");
    assert_null(name.ns);
}

static void the_pattern_sees_the_name_without_prefix(void **state)
{
    assert_string_equal(check(*state, STR("presence-orders:x")),
                        "Channel 'presence-orders:x' does not match namespace 'orders' pattern");
}

static void user_limits_need_the_permission_of_the_namespace(void **state)
{
    assert_string_equal(check(*state, STR("orders:1#u")),
                        "Channel 'orders:1#u' uses user-limited syntax but the namespace does not allow it");
    assert_string_equal(check(*state, STR("room:1#u1,a@b.c")), "ok");
    assert_str(name.users, "u1,a@b.c");
    assert_string_equal(check(*state, STR("room:1")), "ok");
    assert_absent(name.users);
}

static void malformed_user_limits_are_told_apart(void **state)
{
    assert_non_null(strstr(check(*state, STR("room:1#a#b")), "multiple user limit separators"));
    assert_non_null(strstr(check(*state, STR("room:1#")), "empty user limit segment"));
    assert_non_null(strstr(check(*state, STR("room:1#a,")), "empty user id"));
    assert_non_null(strstr(check(*state, STR("room:1#,a")), "empty user id"));
    assert_non_null(strstr(check(*state, STR("room:1#a:b")), "invalid user id 'a:b'"));
}

/* Identity providers choose user ids. */
static void server_to_user_names_are_exempt_from_the_rules(void **state)
{
    assert_string_equal(check(*state, STR("#server-to-user-auth0|7")), "ok");
    assert_true(name.server_to_user);
    assert_string_equal(check(*state, STR("#server-to-user-a:b")), "ok");
    assert_string_equal(check(*state, STR("a")), "ok");
    assert_false(name.server_to_user);
}

static void a_pattern_that_would_mean_something_else_is_refused(void **state)
{
    static const char *const patterns[] = {"[\\d]", "(?:a)", "a+?", "\\bx", "a\\", "(a", "\\p{L}"};
    struct fixture *f = *state;
    struct namespace_config ns = {.name = STR("n")};
    f->app_configs[1].namespaces = &ns;
    f->app_configs[1].namespaces_count = 1;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        struct buf error = {0};
        ns.channel_name_pattern = str_of(patterns[i]);
        assert_null(apps_new(&f->config, 1, &error));
        assert_true(str_find(buf_view(&error), str_of(patterns[i])) > 0);
        assert_true(str_find(buf_view(&error), STR("app '8', namespace 'n'")) > 0);
        buf_free(&error);
    }
}

static void two_apps_with_one_key_are_refused(void **state)
{
    struct fixture *f = *state;
    struct buf error = {0};
    f->app_configs[1].key = STR("k1");
    assert_null(apps_new(&f->config, 1, &error));
    assert_str(buf_view(&error), "two apps have the key 'k1': give each its own");
    buf_free(&error);
}

/* ---- policy ---- */

static struct channel_policy policy(struct fixture *f, struct str channel)
{
    assert_string_equal(check(f, channel), "ok");
    return channel_policy(f->app, channel, &name);
}

static void global_values_hold_where_nothing_else_is_set(void **state)
{
    struct fixture *f = *state;
    f->config.history.enabled = f->config.history.rewind_enabled = true;
    f->config.history.retention_window_seconds = 86400;
    f->config.history.max_messages_per_channel = f->config.history.max_bytes_per_channel = -1;
    f->config.versioned.enabled = f->config.idempotency.enabled = true;
    f->config.idempotency.ttl_seconds = 120;
    f->config.recovery.enabled = true;
    f->config.recovery.max_buffer_size = 100;
    f->config.recovery.buffer_ttl_seconds = 120;
    struct channel_policy p = policy(f, STR("a"));
    assert_true(p.history && p.rewind && p.versioned && p.recovery && p.idempotency);
    assert_false(p.ai);
    assert_int_equal(p.window_ms, 86400000);
    assert_int_equal(p.messages_max, 0);
    assert_int_equal(p.bytes_max, 0);
    assert_int_equal(p.recovery_frames_max, 100);
    assert_int_equal(p.recovery_ttl_ms, 120000);
    assert_int_equal(p.idempotency_ttl_ms, 120000);
}

static void a_namespace_wins_over_the_app_and_the_app_over_the_globe(void **state)
{
    struct fixture *f = *state;
    f->app_configs[0].history = (struct history_policy){1, 1, 30, 5, -1};
    f->app_configs[0].recovery = (struct recovery_policy){1, 10, 0};
    f->app_configs[0].idempotency_ttl_seconds = 0;
    f->config.history.max_bytes_per_channel = 9;
    struct channel_policy p = policy(f, STR("orders:1"));
    assert_true(p.history);
    assert_false(p.rewind);
    assert_false(p.versioned);
    assert_int_equal(p.window_ms, 60000);
    assert_int_equal(p.messages_max, 5);
    assert_int_equal(p.bytes_max, 9);
    assert_true(p.recovery);
    assert_int_equal(p.recovery_frames_max, 0);
    assert_int_equal(p.idempotency_ttl_ms, 1000);
    assert_int_equal(policy(f, STR("a")).window_ms, 30000);
}

static void annotations_force_history_on(void **state)
{
    assert_false(policy(*state, STR("a")).history);
    assert_true(policy(*state, STR("room:1")).history);
}

/* Chapter 4, 1.1: the full name is compared, and an empty prefix never matches. */
static void an_ai_channel_starts_with_a_configured_prefix(void **state)
{
    struct fixture *f = *state;
    struct str prefixes[] = {STR(""), STR("ai-")};
    f->config.ai.prefixes = prefixes;
    f->config.ai.prefixes_count = 2;
    assert_false(policy(f, STR("ai-1")).ai);
    f->config.ai.enabled = true;
    assert_true(policy(f, STR("ai-1")).ai);
    assert_false(policy(f, STR("private-ai-1")).ai);
}

#define T(test) cmocka_unit_test_setup_teardown(test, with_namespaces, fixture_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_prefix_tells_the_kind_and_leaves_the_logical_name),
        T(a_name_of_200_bytes_is_accepted_and_one_more_is_not),
        T(the_length_limit_is_the_namespaces_or_the_apps),
        T(characters_outside_the_alphabet_are_shown),
        T(a_colon_needs_a_configured_namespace),
        T(the_pattern_sees_the_name_without_prefix),
        T(user_limits_need_the_permission_of_the_namespace),
        T(malformed_user_limits_are_told_apart),
        T(server_to_user_names_are_exempt_from_the_rules),
        T(a_pattern_that_would_mean_something_else_is_refused),
        T(two_apps_with_one_key_are_refused),
        T(global_values_hold_where_nothing_else_is_set),
        T(a_namespace_wins_over_the_app_and_the_app_over_the_globe),
        T(annotations_force_history_on),
        T(an_ai_channel_starts_with_a_configured_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
