/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>
#include <unistd.h>

#include "load_support.h"

static void without_a_file_the_demo_profile_runs(void **state)
{
    struct loaded l = load_demo(NO_ENV);
    struct config *c = must_load(&l);
    assert_int_equal(l.warnings.n, 0);
    assert_true(c->demo_profile);
    assert_str(c->host, "127.0.0.1");
    assert_int_equal(c->port, 6001);
    assert_int_equal(c->apps_count, 1);
    assert_str(c->apps[0].id, "app-id");
    assert_str(c->apps[0].key, "app-key");
    assert_str(c->apps[0].secret, "app-secret");
    assert_true(c->apps[0].enabled && c->apps[0].enable_client_messages &&
                c->apps[0].enable_user_authentication);
    assert_null(c->apps[0].allowed_origins);
    assert_true(c->history.enabled && c->versioned.enabled && c->recovery.enabled && c->ai.enabled);
    assert_int_equal(c->history.backend, BACKEND_ROCKSDB);
    assert_int_equal(c->versioned.driver, BACKEND_ROCKSDB);
    assert_int_equal(c->history.retention_window_seconds, 86400);
    assert_int_equal(c->versioned.retention_window_seconds, 86400);
    assert_int_equal(c->ai.prefixes_count, 2);
    assert_str(c->ai.prefixes[0], "private-ai-");
    assert_str(c->ai.prefixes[1], "ai-");
    assert_false(c->rate_limiter.enabled);
    assert_true(c->workers >= 1);
    assert_int_equal(c->process_id.n, 36);
    unload(&l);
}

static void the_environment_stands_above_the_demo_profile(void **state)
{
    struct loaded l = load_demo(ENV("PORT=7003", "HOST=::", "METRICS_PORT=9700", "SOCKUDO_DATA_DIR=/d",
                                    "SOCKUDO_WORKERS=3", "CONNECTION_RECOVERY_MAX_BUFFER_SIZE=7"));
    struct config *c = must_load(&l);
    assert_int_equal(c->port, 7003);
    assert_str(c->host, "::");
    assert_int_equal(c->metrics.port, 9700);
    assert_str(c->rocksdb.path, "/d");
    assert_int_equal(c->workers, 3);
    assert_int_equal(c->recovery.max_buffer_size, 7);
    unload(&l);
}

static void an_empty_file_gives_the_defaults_and_no_app(void **state)
{
    struct loaded l = load_toml("", NO_ENV);
    struct config *c = must_load(&l);
    assert_false(c->demo_profile);
    assert_int_equal(c->apps_count, 0);
    assert_str(c->host, "0.0.0.0");
    assert_int_equal(c->activity_timeout_seconds, 120);
    assert_int_equal(c->websocket.max_messages, 1000);
    assert_int_equal(c->websocket.max_bytes, 0);
    assert_int_equal(c->rate_limiter.api.max_requests, 100);
    assert_int_equal(c->rate_limiter.websocket.max_requests, 20);
    assert_int_equal(c->history.max_messages_per_channel, -1);
    assert_int_equal(c->ai.rollup.default_window_ms, 40);
    assert_str(c->cors.methods, "GET, POST, PUT, PATCH, DELETE, OPTIONS");
    assert_true(str_starts(c->cors.allowed_headers, STR("Authorization, Content-Type, ")));
    assert_int_equal(c->cors.origins_count, 1);
    assert_str(c->cors.origins[0], "*");
    assert_str(c->metrics.prefix, "sockudo_");
    assert_str(c->logging.filter, "info");
    unload(&l);
}

static void a_syntax_error_names_file_line_and_column(void **state)
{
    struct loaded l = load_toml("port = 1\nhost = = 2\n", NO_ENV);
    assert_null(l.config);
    assert_true(str_starts(buf_view(&l.error), STR("x.toml:2:")));
    unload(&l);
    l = load_toml("port = 1\n[=]\n", NO_ENV); /* toml++ 3.3 has an assertion in the way */
    assert_null(l.config);
    assert_true(str_starts(buf_view(&l.error), STR("x.toml:2:")));
    unload(&l);
    l = load_toml("port = 1\nhost = \xc4\x84\n", NO_ENV); /* a letter that it took for impossible */
    assert_null(l.config);
    assert_true(str_starts(buf_view(&l.error), STR("x.toml:2:")));
    unload(&l);
    l = load_json("{\n \"port\": 1,\n}", NO_ENV);
    assert_null(l.config);
    assert_true(str_starts(buf_view(&l.error), STR("x.json:3:1: ")));
    unload(&l);
}

static void a_value_of_the_wrong_type_is_named_with_what_was_expected(void **state)
{
    assert_refused("port = \"a\"", "x.toml: port: expected a whole number from 0 to 65535");
    assert_refused("port = 65536", "port: expected");
    assert_refused("port = -1", "port: expected");
    assert_refused("port = 1.5", "port: expected");
    assert_refused("[history]\nenabled = 1", "history.enabled: expected true or false");
    assert_refused("history = 1", "history: expected a table");
    assert_refused("host = \"a\\u0000b\"", "host: expected a string without NUL");
    assert_refused("cors.origin = [1]", "cors.origin: expected a list of strings");
    assert_refused("x = nan", "infinite and undefined");
}

static void an_unknown_key_is_a_warning_with_the_nearest_name(void **state)
{
    struct loaded l =
        load_toml("prot = 1\nzzzzzzzzzzzz = 1\n[histroy]\nenabled = true\n[history]\nbakend = 'memory'\n"
                  "\"a.b\" = 1",
                  NO_ENV);
    must_load(&l);
    assert_says(&l.warnings, "x.toml: unknown key prot, ignored (did you mean port?)\n");
    assert_says(&l.warnings, "unknown key zzzzzzzzzzzz, ignored\n");
    assert_says(&l.warnings, "unknown key histroy, ignored (did you mean history?)\n");
    assert_says(&l.warnings, "unknown key history.bakend, ignored (did you mean history.backend?)\n");
    unload(&l);
}

static void an_unquoted_placeholder_becomes_a_number(void **state)
{
    const char *text = "port = ${P:-7001}";
    struct loaded unset = load_toml(text, NO_ENV), empty = load_toml(text, ENV("P=")),
                  set = load_toml(text, ENV("P=7002"));
    assert_int_equal(must_load(&unset)->port, 7001);
    assert_int_equal(must_load(&empty)->port, 7001);
    assert_int_equal(must_load(&set)->port, 7002);
    unload(&unset);
    unload(&empty);
    unload(&set);
}

static void all_unresolved_placeholders_are_listed_at_once(void **state)
{
    assert_refused("# ${ALSO}\nhost = \"${NOPE}\"\nmode = '${ALSO}'",
                   "unresolved environment variables in config: ALSO, NOPE");
}

static void null_in_json_means_not_set(void **state)
{
    struct loaded l = load_json("{\"port\":null,\"history\":null,\"cors\":{\"origin\":null}}", NO_ENV);
    assert_int_equal(must_load(&l)->port, 6001);
    assert_int_equal(l.warnings.n, 0);
    unload(&l);
}

static void a_partly_given_rate_limit_has_other_defaults(void **state)
{
    struct loaded l = load_toml("[rate_limiter.api_rate_limit]\nwindow_seconds = 1", NO_ENV);
    struct config *c = must_load(&l);
    assert_int_equal(c->rate_limiter.api.max_requests, 60);
    assert_int_equal(c->rate_limiter.api.window_seconds, 1);
    assert_int_equal(c->rate_limiter.websocket.max_requests, 20);
    unload(&l);
}

static void the_old_place_of_cluster_health_yields_to_the_adapters(void **state)
{
    assert_refused("cluster_health.heartbeat_interval_ms = 20000", "at most a third");
    struct loaded l = load_toml("cluster_health.heartbeat_interval_ms = 20000\n"
                                "adapter.cluster_health.heartbeat_interval_ms = 5000",
                                NO_ENV);
    must_load(&l);
    unload(&l);
}

static void outbound_bounds_follow_from_which_of_them_is_set(void **state)
{
    struct loaded l = load_toml("[websocket]\nmax_bytes = 100000", NO_ENV);
    assert_int_equal(must_load(&l)->websocket.max_messages, 0);
    assert_int_equal(l.config->websocket.max_bytes, 100000);
    assert_int_equal(l.config->websocket_max_payload_kb, 98); /* inbound: the larger of both */
    unload(&l);
    l = load_toml("[websocket]\nmax_bytes = 1", ENV("WEBSOCKET_MAX_BYTES=none"));
    assert_int_equal(must_load(&l)->websocket.max_messages, 1000);
    assert_int_equal(l.config->websocket.max_bytes, 0);
    unload(&l);
}

static void an_absent_version_driver_follows_the_backend(void **state)
{
    struct loaded l =
        load_toml("history = {enabled=true, backend='memory'}\nversioned_messages.enabled=true", NO_ENV);
    assert_int_equal(must_load(&l)->history.backend, BACKEND_MEMORY);
    assert_int_equal(l.config->versioned.driver, BACKEND_MEMORY);
    unload(&l);
    l = load_toml("history.enabled = true", NO_ENV);
    assert_int_equal(must_load(&l)->history.backend, BACKEND_ROCKSDB);
    unload(&l);
}

/* ---- files ---- */

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static struct loaded load_file(const char *path)
{
    struct loaded l = {0};
    const struct config_request request = {.file = path, .environ_ = NO_ENV, .data_dir = "/dd"};
    l.config = config_load(&request, &l.warnings, &l.error);
    return l;
}

static int enter_directory(void **state)
{
    char name[] = "/tmp/config_test_XXXXXX";
    return mkdtemp(name) && chdir(name) == 0 && mkdir("config", 0700) == 0 ? 0 : -1;
}

static int leave_directory(void **state)
{
    char name[256];
    unlink("config/config.toml");
    unlink("config/config.json");
    unlink("other.toml");
    return rmdir("config") == 0 && getcwd(name, sizeof name) && chdir("/") == 0 ? rmdir(name) : -1;
}

static void a_named_file_that_is_missing_is_an_error(void **state)
{
    struct loaded l = load_file("missing.toml");
    assert_null(l.config);
    assert_says(&l.error, "missing.toml: No such file");
    unload(&l);
}

static void a_bad_implicit_toml_is_an_error_even_beside_good_json(void **state)
{
    write_file("config/config.toml", "port = 1\n\nport == 2\n");
    write_file("config/config.json", "{}");
    struct loaded l = load_file(NULL);
    assert_null(l.config);
    assert_says(&l.error, "config/config.toml:3:");
    unload(&l);
}

static void implicit_json_is_read_when_there_is_no_toml(void **state)
{
    write_file("config/config.json", "{\"port\":7100}");
    struct loaded l = load_file(NULL);
    assert_int_equal(must_load(&l)->port, 7100);
    assert_false(l.config->demo_profile);
    unload(&l);
}

static void the_connections_of_postgres_follow_the_most_special_key(void **state)
{
    struct loaded l = load_toml("history.backend = 'postgres'\ndatabase.postgres.host = 'db'", NO_ENV);
    struct config *c = must_load(&l);
    assert_int_equal(c->history.backend, BACKEND_POSTGRES);
    assert_str(c->postgres.host, "db");
    assert_int_equal(c->postgres.port, 5432);
    assert_str(c->postgres.table_prefix, "sockudo_history");
    assert_int_equal(c->postgres.write_timeout_ms, 5000);
    assert_int_equal(c->postgres.connections_max, 10);
    unload(&l);
    l = load_toml("database_pooling = { max = 7 }\ndatabase.postgres.connection_pool_size = 5", NO_ENV);
    assert_int_equal(must_load(&l)->postgres.connections_max, 7);
    unload(&l);
    l = load_toml("database_pooling = { enabled = false }\ndatabase.postgres.connection_pool_size = 5", NO_ENV);
    assert_int_equal(must_load(&l)->postgres.connections_max, 5);
    unload(&l);
    l = load_toml("database_pooling = { max = 7 }", ENV("DATABASE_POSTGRES_POOL_MAX=3", "HISTORY_POSTGRES_TABLE_PREFIX=p"));
    assert_int_equal(must_load(&l)->postgres.connections_max, 3);
    assert_str(l.config->postgres.table_prefix, "p");
    unload(&l);
}

static void a_named_file_replaces_the_implicit_one_whole(void **state)
{
    write_file("config/config.toml", "host = '10.0.0.1'\nport = 1\n");
    write_file("other.toml", "port = 7200\n");
    struct loaded l = load_file("other.toml");
    assert_int_equal(must_load(&l)->port, 7200);
    assert_str(l.config->host, "0.0.0.0");
    assert_str(l.config->rocksdb.path, "/dd");
    unload(&l);
}

static void a_directory_is_no_configuration_file(void **state)
{
    struct loaded l = load_file("config");
    assert_null(l.config);
    assert_says(&l.error, "config: Is a directory");
    unload(&l);
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, enter_directory, leave_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_file_the_demo_profile_runs),
        cmocka_unit_test(the_environment_stands_above_the_demo_profile),
        cmocka_unit_test(an_empty_file_gives_the_defaults_and_no_app),
        cmocka_unit_test(a_syntax_error_names_file_line_and_column),
        cmocka_unit_test(a_value_of_the_wrong_type_is_named_with_what_was_expected),
        cmocka_unit_test(an_unknown_key_is_a_warning_with_the_nearest_name),
        cmocka_unit_test(an_unquoted_placeholder_becomes_a_number),
        cmocka_unit_test(all_unresolved_placeholders_are_listed_at_once),
        cmocka_unit_test(null_in_json_means_not_set),
        cmocka_unit_test(a_partly_given_rate_limit_has_other_defaults),
        cmocka_unit_test(the_old_place_of_cluster_health_yields_to_the_adapters),
        cmocka_unit_test(outbound_bounds_follow_from_which_of_them_is_set),
        cmocka_unit_test(an_absent_version_driver_follows_the_backend),
        IN_DIRECTORY(a_named_file_that_is_missing_is_an_error),
        IN_DIRECTORY(a_bad_implicit_toml_is_an_error_even_beside_good_json),
        IN_DIRECTORY(implicit_json_is_read_when_there_is_no_toml),
        cmocka_unit_test(the_connections_of_postgres_follow_the_most_special_key),
        IN_DIRECTORY(a_named_file_replaces_the_implicit_one_whole),
        IN_DIRECTORY(a_directory_is_no_configuration_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
