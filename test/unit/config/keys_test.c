/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "load_support.h"

static const struct key_table *const tables[] = {&keys_global,    &keys_app,       &keys_app_flat,
                                                 &keys_policy,    &keys_namespace, &keys_webhook,
                                                 &keys_push_rule, &keys_ably_key};
enum { TABLES = sizeof tables / sizeof *tables };

static void every_name_stands_in_its_table_once(void **state)
{
    for (size_t t = 0; t < TABLES; t++)
        for (size_t i = 0; i < tables[t]->count; i++) {
            struct str name = str_of(key_name(tables[t], &tables[t]->keys[i]));
            if (name.p && key_find(tables[t], name) != (ptrdiff_t)i)
                fail_msg("%s is there twice", name.p);
            if (name.p && key_is_section(tables[t], name))
                fail_msg("%s is a key and a section", name.p);
        }
}

/* A default is written like a value from the environment; stored, it must not trip an assertion. */
static void every_default_is_a_value_of_its_key(void **state)
{
    struct arena arena = {0};
    for (size_t t = 0; t < TABLES; t++)
        for (size_t i = 0; i < tables[t]->count; i++) {
            const struct config_key *key = &tables[t]->keys[i];
            struct str text, json = str_of(key->initial), checked;
            if (!key->initial)
                continue;
            const char *problem =
                key->type == KEY_STRINGS || key->type == KEY_OBJECTS || key->type == KEY_MAP
                    ? (json_check(json, &checked, NULL) ? value_from_json(key, checked, &arena, &text)
                                                        : "JSON")
                    : value_from_env(key, json, &arena, &text);
            if (problem)
                fail_msg("%s: default %s is not %s", key->path, key->initial, problem);
            if (!value_is_default(key, text))
                fail_msg("%s: default %s reads back as %.*s", key->path, key->initial, STR_ARG(text));
        }
    arena_free(&arena);
}

static void choices_have_words_and_stored_keys_have_a_type_for_it(void **state)
{
    for (size_t t = 0; t < TABLES; t++)
        for (size_t i = 0; i < tables[t]->count; i++) {
            const struct config_key *key = &tables[t]->keys[i];
            assert_true(key->type != KEY_CHOICE || key->words);
            assert_true(key->offset == 0 || (key->type != KEY_CHOICE && key->type != KEY_OBJECTS &&
                                             key->type != KEY_MAP && key->type != KEY_FLOAT));
        }
}

static void flat_names_are_the_leaves_of_three_groups(void **state)
{
    assert_true(key_find(&keys_app_flat, STR("max_connections")) > 0);
    assert_true(key_find(&keys_app_flat, STR("message_rate_limit.enabled")) > 0);
    assert_true(key_find(&keys_app_flat, STR("idempotency.enabled")) > 0);
    assert_int_equal(key_find(&keys_app_flat, STR("limits.max_connections")), -1);
    assert_int_equal(key_find(&keys_app_flat, STR("history.enabled")), -1);
    assert_int_equal(key_find(&keys_policy, STR("id")), -1);
}

static void a_similar_name_is_found_among_those_of_the_same_depth(void **state)
{
    assert_str(key_nearest(&keys_global, STR("prot")), "port");
    assert_str(key_nearest(&keys_global, STR("ai_transport.rollup.defualt_window_ms")),
               "ai_transport.rollup.default_window_ms");
    assert_str(key_nearest(&keys_global, STR("rate_limitter")), "rate_limiter");
    assert_absent(key_nearest(&keys_global, STR("nothing_like_any_other")));
}

static void an_alias_stands_for_its_word(void **state)
{
    const struct config_key *key = &keys_global.keys[key_find(&keys_global, STR("adapter.driver"))];
    bool built;
    assert_str(key_word(key, STR("gcp-pubsub"), &built), "google-pubsub");
    assert_false(built);
    assert_str(key_word(key, STR("local"), &built), "local");
    assert_true(built);
    assert_absent(key_word(key, STR("|"), &built));
    assert_absent(key_word(key, STR(""), &built));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_stands_in_its_table_once),
        cmocka_unit_test(every_default_is_a_value_of_its_key),
        cmocka_unit_test(choices_have_words_and_stored_keys_have_a_type_for_it),
        cmocka_unit_test(flat_names_are_the_leaves_of_three_groups),
        cmocka_unit_test(a_similar_name_is_found_among_those_of_the_same_depth),
        cmocka_unit_test(an_alias_stands_for_its_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
