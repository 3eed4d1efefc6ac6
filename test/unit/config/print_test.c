/* SPDX-License-Identifier: Apache-2.0 */
#include "load_support.h"

static struct buf printed(const struct config *config)
{
    struct buf out = {0};
    config_print(config, &out);
    buf_char(&out, 0);
    out.n--;
    return out;
}

static void each_value_says_where_it_came_from(void **state)
{
    struct loaded l = load_toml("host = '::1'\n[history]\nmax_page_size = 7", ENV("PORT=7001"));
    struct buf out = printed(must_load(&l));
    assert_says(&out, "host = \"::1\" # from file\n");
    assert_says(&out, "port = 7001 # from environment\n");
    assert_says(&out, "mode = \"production\" # from default\n");
    assert_says(&out, "\n[history]\nenabled = false # from default\n");
    assert_says(&out, "max_page_size = 7 # from file\n");
    buf_free(&out);
    unload(&l);
    l = load_demo(NO_ENV);
    out = printed(must_load(&l));
    assert_says(&out, "host = \"127.0.0.1\" # from demo profile\n");
    assert_says(
        &out,
        "channels = [{ \"prefix\" = \"private-ai-\" }, { \"prefix\" = \"ai-\" }] # from demo profile\n");
    buf_free(&out);
    unload(&l);
}

static void secrets_are_masked(void **state)
{
    struct loaded l = load_demo(NO_ENV);
    struct buf out = printed(must_load(&l));
    assert_says(&out, "secret = \"********\" # from demo profile\n");
    assert_int_equal(str_find(buf_view(&out), STR("app-secret")), -1);
    buf_free(&out);
    unload(&l);
}

/* A webhook's address and headers may hold credentials; that it is there, and what it wants, is no secret. */
static void a_webhook_is_shown_without_its_address_and_headers(void **state)
{
    struct loaded l = load_toml("[[app_manager.array.apps]]\nid='a'\nkey='k'\nsecret='s'\nenabled=true\n"
                                "webhooks=[{url='http://u:pw@h/t0ken', event_types=['cache_miss'], headers={X='hidden'}}]",
                                NO_ENV);
    struct buf out = printed(must_load(&l));
    assert_says(&out, "webhooks = [{ \"event_types\" = [\"cache_miss\"], \"headers\" = {\"X\" = \"********\"}, "
                      "\"url\" = \"https://********\" }]");
    assert_int_equal(str_find(buf_view(&out), STR("t0ken")), -1);
    assert_int_equal(str_find(buf_view(&out), STR("hidden")), -1);
    struct loaded again = load_toml(out.p, NO_ENV);
    assert_int_equal(must_load(&again)->apps[0].webhooks_count, 1);
    unload(&again);
    unload(&l);
    buf_free(&out);
}

static void assert_same(struct config *a, struct config *b)
{
    for (size_t i = 0; i < keys_global.count; i++) {
        const struct config_key *key = &keys_global.keys[i];
        if (key->status == KEY_ACTS && strcmp(key->path, "app_manager.array.apps") != 0 &&
            !str_eq(a->values[i].text, b->values[i].text))
            fail_msg("%s: %.*s became %.*s", key->path, STR_ARG(a->values[i].text),
                     STR_ARG(b->values[i].text));
    }
    assert_int_equal(a->apps_count, b->apps_count);
    for (size_t app = 0; app < a->apps_count; app++)
        for (size_t i = 0; i < keys_app_flat.count; i++)
            if (!(keys_app_flat.keys[i].flags & KEY_SECRET) &&
                strcmp(keys_app_flat.keys[i].path, "policy") != 0)
                assert_true(str_eq(a->apps[app].values[i].text, b->apps[app].values[i].text));
}

static void what_is_printed_loads_as_the_same(void **state)
{
    struct loaded l =
        load_toml("host = \"a\\u007f\\n\\\"ü\"\nhistory.max_bytes_per_channel = 5\ncors.origin = ['a.org']\n"
                  "[[app_manager.array.apps]]\nid='a'\nkey='k'\nsecret='s'\nenabled=true\n"
                  "max_connections=3\nallowed_origins=['*.x']\n"
                  "channel_namespaces=[{name='n',history={max_messages_per_channel=4}}]\n"
                  "[[app_manager.array.apps]]\nid='b'\nkey='l'\n[app_manager.array.apps.policy.history]\n"
                  "enabled=true",
                  NO_ENV);
    struct buf out = printed(must_load(&l));
    struct loaded again = load_toml(out.p, NO_ENV);
    assert_same(l.config, must_load(&again));
    unload(&again);
    unload(&l);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_value_says_where_it_came_from),
        cmocka_unit_test(secrets_are_masked),
        cmocka_unit_test(a_webhook_is_shown_without_its_address_and_headers),
        cmocka_unit_test(what_is_printed_loads_as_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
