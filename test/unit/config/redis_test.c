/* redis_test.c - where Redis is (chapter 5, 2.2 and 2.3).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load_support.h"

static void the_defaults_are_a_redis_next_door(void **state)
{
    struct loaded l = load_toml("", NO_ENV);
    const struct config *c = must_load(&l);
    assert_str(c->adapter.redis.host, "127.0.0.1");
    assert_int_equal(c->adapter.redis.port, 6379);
    assert_int_equal(c->adapter.redis.db, 0);
    assert_absent(c->adapter.redis.password);
    assert_false(c->adapter.redis.master_tls.enabled);
    assert_str(c->adapter.redis.name, "mymaster");
    assert_str(c->adapter.redis_prefix, "sockudo_adapter:");
    assert_int_equal(c->adapter.topics, 1024);
    assert_int_equal(c->adapter.heartbeat_interval_ms, 10000);
    assert_int_equal(c->adapter.node_timeout_ms, 30000);
    unload(&l);
}

static void parts_come_from_the_file_and_the_environment(void **state)
{
    struct loaded l = load_toml("[database.redis]\nhost='r.example'\nport=7000\ndb=3\nusername='u'\npassword='p'\nname='main'\n"
                                "sentinels=[{host='s1', port=1}, {port=2}, {}]\nsentinel_password='sp'\n"
                                "master_tls={enabled=true, ca_path='/ca', acceptInvalidCerts=true}\nsentinel_tls.enabled=true",
                                ENV("DATABASE_REDIS_PORT=7001", "DATABASE_REDIS_MASTER_TLS_CLIENT_CERT_PATH=/c",
                                    "CLUSTER_HEALTH_HEARTBEAT_INTERVAL=1000", "CLUSTER_HEALTH_NODE_TIMEOUT=4000",
                                    "CLUSTER_HEALTH_CLEANUP_INTERVAL=4000"));
    const struct config *c = must_load(&l);
    const struct redis_config *r = &c->adapter.redis;
    assert_str(r->host, "r.example");
    assert_int_equal(r->port, 7001);
    assert_int_equal(r->db, 3);
    assert_str(r->username, "u");
    assert_str(r->password, "p");
    assert_int_equal(r->sentinels_count, 3);
    assert_str(r->sentinels[0].host, "s1");
    assert_int_equal(r->sentinels[1].port, 2);
    assert_str(r->sentinels[2].host, "localhost");
    assert_int_equal(r->sentinels[2].port, 26379);
    assert_str(r->sentinel_password, "sp");
    assert_true(r->master_tls.enabled && r->master_tls.accept_invalid_certs && r->sentinel_tls.enabled);
    assert_str(r->master_tls.ca_path, "/ca");
    assert_str(r->master_tls.client_cert_path, "/c");
    assert_int_equal(c->adapter.heartbeat_interval_ms, 1000);
    unload(&l);
}

static void cache_and_limits_may_be_elsewhere(void **state)
{
    struct loaded l = load_toml("[cache]\ndriver='redis'\n[cache.redis]\nprefix='c:'\nurl_override='redis://:pw@cache.example:7001/2'\n"
                                "[rate_limiter]\ndriver='redis'\n[database.redis]\nhost='r.example'",
                                ENV("RATE_LIMITER_REDIS_PREFIX=l:"));
    const struct config *c = must_load(&l);
    assert_true(c->cache.redis_driver && c->rate_limiter.redis_driver && !c->adapter.redis_driver);
    assert_str(c->cache.redis_prefix, "c:");
    assert_str(c->cache.redis.host, "cache.example");
    assert_int_equal(c->cache.redis.port, 7001);
    assert_int_equal(c->cache.redis.db, 2);
    assert_str(c->cache.redis.password, "pw");
    assert_str(c->rate_limiter.redis_prefix, "l:");
    assert_str(c->rate_limiter.redis.host, "r.example");
    unload(&l);
}

static void a_bad_url_of_the_cache_is_refused_by_name(void **state)
{
    struct loaded l = load_toml("[cache]\ndriver='redis'\n[cache.redis]\nurl_override='http://secret@x'", NO_ENV);
    assert_null(l.config);
    assert_says(&l.error, "cache.redis.url_override does not begin with redis://");
    unload(&l);
}

static void a_host_may_be_a_url(void **state)
{
    struct loaded l = load_toml("database.redis.port=7000\ndatabase.redis.password='kept'",
                                ENV("DATABASE_REDIS_HOST=rediss://r.example/5"));
    const struct redis_config *r = &must_load(&l)->redis;
    assert_str(r->host, "r.example");
    assert_int_equal(r->port, 7000);
    assert_int_equal(r->db, 5);
    assert_str(r->password, "kept");
    assert_true(r->master_tls.enabled);
    unload(&l);
}

static void the_url_of_the_adapter_wins_over_everything(void **state)
{
    struct loaded l = load_toml("[database.redis]\nhost='other'\npassword='x'\nsentinels=[{}]",
                                ENV("REDIS_URL=redis://me:p%40ss%3Aw@[::1]:6380"));
    const struct config *c = must_load(&l);
    assert_str(c->adapter.redis.host, "::1");
    assert_int_equal(c->adapter.redis.port, 6380);
    assert_str(c->adapter.redis.username, "me");
    assert_str(c->adapter.redis.password, "p@ss:w");
    assert_int_equal(c->adapter.redis.sentinels_count, 0);
    assert_str(c->redis.host, "other");
    assert_int_equal(c->redis.sentinels_count, 1);
    unload(&l);
    l = load_toml("adapter.redis.redis_sub_options.url='redis://:only@h'", NO_ENV);
    assert_absent(must_load(&l)->adapter.redis.username);
    assert_str(l.config->adapter.redis.password, "only");
    unload(&l);
}

#define REDIS "idempotency.enabled=false\nadapter.driver='redis'\n"

static void what_cannot_work_is_named(void **state)
{
    assert_refused(REDIS "adapter.topics=0", "adapter.topics must be from 1 to 4096");
    assert_refused(REDIS "adapter.topics=4097", "adapter.topics must be from 1 to 4096");
    assert_refused(REDIS "adapter.cluster_health.enabled=false", "adapter.cluster_health.enabled must be true");
    assert_refused(REDIS "database.redis.port=0", "database.redis.port not 0");
    assert_refused(REDIS "database.redis.host=''", "database.redis.host must not be empty");
    assert_refused(REDIS "database.redis.username='u'", "database.redis.username needs database.redis.password");
    assert_refused(REDIS "database.redis={name='', sentinels=[{}]}", "database.redis.sentinels need database.redis.name");
    assert_refused(REDIS "database.redis.sentinels=[{}, {port=70000}]", "database.redis.sentinels[1].port");
    assert_refused(REDIS "database.redis.sentinels=[{host=''}]", "database.redis.sentinels[0].host");
    assert_refused(REDIS "database.redis.master_tls={enabled=true, client_cert_path='/c'}",
                   "database.redis.master_tls.client_cert_path and client_key_path");
    assert_refused(REDIS "database.redis.sentinel_tls={enabled=true, client_key_path='/c'}",
                   "database.redis.sentinel_tls.client_cert_path and client_key_path");
    assert_refused(REDIS "adapter.redis={redis_pub_options={url='redis://a'}, redis_sub_options={url='redis://b'}}", "must be equal");
    assert_refused(REDIS "adapter.redis.redis_pub_options.url='http://h'", "redis_pub_options.url does not begin with redis://");
    assert_refused(REDIS "database.redis.host='redis://h:99999'", "database.redis.host has a port");
    assert_refused(REDIS "database.redis.host='redis://h/x'", "database.redis.host has a database");
    assert_refused(REDIS "database.redis.host='redis://u:%4@h'", "database.redis.host has a malformed password");
    assert_refused(REDIS "database.redis.host='redis://[::1'", "[ without its ]");
    assert_refused(REDIS "database.redis.host='redis://:6379'", "names no host");
}

/* One node may hold the settings of a cluster. */
static void without_the_driver_nobody_minds(void **state)
{
    struct loaded l = load_toml("database.redis={port=0, username='u'}\nadapter={topics=0, cluster_health={enabled=false}}", NO_ENV);
    must_load(&l);
    unload(&l);
}

static void a_url_with_a_password_is_not_shown(void **state)
{
    struct loaded l = load_toml("database.redis.host='redis://u:geheim@h'", ENV("REDIS_URL=redis://u:geheim@h"));
    struct buf out = {0};
    config_print(must_load(&l), &out);
    assert_int_equal(str_find(buf_view(&out), STR("geheim")), -1);
    unload(&l);
    buf_clear(&out);
    l = load_toml("database.redis.host='r.example'", NO_ENV);
    config_print(must_load(&l), &out);
    assert_says(&out, "host = \"r.example\"");
    unload(&l);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_defaults_are_a_redis_next_door),
        cmocka_unit_test(parts_come_from_the_file_and_the_environment),
        cmocka_unit_test(cache_and_limits_may_be_elsewhere),
        cmocka_unit_test(a_bad_url_of_the_cache_is_refused_by_name),
        cmocka_unit_test(a_host_may_be_a_url),
        cmocka_unit_test(the_url_of_the_adapter_wins_over_everything),
        cmocka_unit_test(what_cannot_work_is_named),
        cmocka_unit_test(without_the_driver_nobody_minds),
        cmocka_unit_test(a_url_with_a_password_is_not_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
