/* bus_redis_test.c - which Redis, and how the bus introduces itself: Sentinels, TLS, users, databases.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <hiredis/hiredis.h>
#include <signal.h>

#include "bus_fixture.h"
#include "cluster/redis_link.h"
#include "config/load.h"

static struct redis_server replica, sentinel;

static int setup(void **state)
{
    memset(nodes, 0, sizeof nodes);
    server = replica = sentinel = (struct redis_server){0};
    return 0;
}

static int teardown(void **state)
{
    broker_teardown(state);
    redis_server_free(&sentinel);
    redis_server_free(&replica);
    return 0;
}

static void command_to(uint16_t port, const char *command)
{
    redisContext *c = redisConnect("127.0.0.1", port);
    redisReply *reply = redisCommand(c, command);
    assert_non_null(reply);
    assert_int_not_equal(reply->type, REDIS_REPLY_ERROR);
    freeReplyObject(reply);
    redisFree(c);
}

static void two_nodes_talk(void)
{
    wait_until(bus_is_up(nodes[0].bus) && bus_is_up(nodes[1].bus) && bus_peers(nodes[0].bus) == 1 && bus_peers(nodes[1].bus) == 1);
    unsigned before = nodes[1].received;
    bus_send(nodes[0].bus, STR_NONE, STR("hello"));
    wait_until(nodes[1].received == before + 1);
}

static void open_two(const struct redis_config *redis)
{
    for (int i = 0; i < 2; i++) {
        node_init(&nodes[i]);
        struct bus_options options = options_for(&nodes[i], server.port);
        options.redis = *redis;
        options.redis.port = redis->port ? redis->port : server.port;
        node_open_with(&nodes[i], &options, STR_NONE);
    }
}

static void stays_down(struct node *n)
{
    for (int i = 0; i < 120; i++) {
        assert_false(bus_is_up(n->bus));
        test_sleep_ms(10);
    }
}

static void open_one(struct node *n, const struct redis_config *redis)
{
    node_init(n);
    struct bus_options options = options_for(n, server.port);
    options.redis = *redis;
    options.redis.port = redis->port ? redis->port : server.port;
    node_open_with(n, &options, STR_NONE);
}

/* ---- who we are ---- */

static void a_password_opens(void **state)
{
    redis_server_start(&server, (const char *[]){"--requirepass", "sesame", NULL});
    open_two(&(struct redis_config){.host = STR("127.0.0.1"), .password = STR("sesame")});
    two_nodes_talk();
    open_one(&nodes[2], &(struct redis_config){.host = STR("127.0.0.1"), .password = STR("wrong")});
    open_one(&nodes[3], &(struct redis_config){.host = STR("127.0.0.1")});
    stays_down(&nodes[2]);
    assert_false(bus_is_up(nodes[3].bus));
}

/* The least that a user of the bus may have: its channels, and what it takes to use them. */
static void a_user_with_few_rights_is_enough(void **state)
{
    redis_server_start(&server, (const char *[]){"--user", "default", "off", "--user", "bus", "on", ">sesame", "resetchannels",
                                                 "&test::#*", "+publish", "+subscribe", "+unsubscribe", "+select", NULL});
    open_two(&(struct redis_config){.host = STR("127.0.0.1"), .username = STR("bus"), .password = STR("sesame"), .db = 2});
    two_nodes_talk();
}

static void a_database_that_is_not_there_is_refused(void **state)
{
    redis_server_start(&server, (const char *[]){"--databases", "2", NULL});
    open_one(&nodes[0], &(struct redis_config){.host = STR("127.0.0.1"), .db = 7});
    stays_down(&nodes[0]);
}

/* ---- TLS ---- */

static char ca[96], cert[96], key[96];

static void make_certificates(struct redis_server *s)
{
    redis_server_shell(s, "cd $DIR && exec >/dev/null 2>&1 && "
                          "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt && "
                          "openssl req -newkey rsa:2048 -nodes -subj /CN=redis -keyout a.key -out a.csr && "
                          "printf 'subjectAltName=DNS:localhost' > ext && "
                          "openssl x509 -req -days 2 -in a.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile ext -out a.crt && "
                          "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=other -keyout o.key -out other.crt");
    snprintf(ca, sizeof ca, "%s/ca.crt", s->folder);
    snprintf(cert, sizeof cert, "%s/a.crt", s->folder);
    snprintf(key, sizeof key, "%s/a.key", s->folder);
}

static void start_with_tls(void)
{
    redis_server_place(&server);
    make_certificates(&server);
    const char *arguments[] = {"--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca, "--requirepass", "sesame"};
    memcpy(server.arguments, arguments, sizeof arguments);
    redis_server_restart(&server);
}

static void tls_with_a_client_certificate_and_a_password(void **state)
{
    static char large[300000];
    start_with_tls();
    struct redis_config redis = {.host = STR("localhost"), .password = STR("sesame"), .master_tls = {.enabled = true, .ca_path = str_of(ca)}};
    open_one(&nodes[2], &redis); /* the server wants a certificate of its clients */
    redis.master_tls.client_cert_path = str_of(cert);
    redis.master_tls.client_key_path = str_of(key);
    open_two(&redis);
    two_nodes_talk();
    listen_and_wait(&nodes[0], 3, 1);
    for (int i = 0; i < 60; i++) { /* more than one turn may read, in records that epoll does not know of */
        large[0] = '1';
        bus_publish(nodes[1].bus, 3, str_make(large, sizeof large));
    }
    publish_number(&nodes[1], 3, 7);
    wait_until(nodes[0].last == 7);
    assert_int_equal(nodes[0].published, 61);
    assert_false(bus_is_up(nodes[2].bus));
}

static void a_certificate_must_be_for_the_host_and_from_the_authority(void **state)
{
    char other[96];
    start_with_tls();
    snprintf(other, sizeof other, "%s/other.crt", server.folder);
    struct redis_config redis = {.host = STR("127.0.0.1"), .password = STR("sesame"), /* it is for localhost */
                              .master_tls = {.enabled = true, .ca_path = str_of(ca), .client_cert_path = str_of(cert), .client_key_path = str_of(key)}};
    open_one(&nodes[0], &redis);
    redis.host = STR("localhost");
    redis.master_tls.ca_path = str_of(other);
    open_one(&nodes[1], &redis);
    stays_down(&nodes[0]);
    assert_false(bus_is_up(nodes[1].bus));
    redis.master_tls.accept_invalid_certs = true;
    open_one(&nodes[2], &redis);
    wait_until(bus_is_up(nodes[2].bus));
}

/* ---- which server ---- */

static void start_replica(void)
{
    static char port[8];
    redis_server_start(&server, NULL);
    snprintf(port, sizeof port, "%u", server.port);
    redis_server_start(&replica, (const char *[]){"--replicaof", "127.0.0.1", port, "--repl-diskless-sync-delay", "0", NULL});
}

/* What is published at a replica reaches nobody but its own subscribers. */
static void a_replica_is_no_bus(void **state)
{
    start_replica();
    node_open(&nodes[0], replica.port);
    stays_down(&nodes[0]);
    command_to(replica.port, "REPLICAOF NO ONE");
    wait_until(bus_is_up(nodes[0].bus));
}

static void sentinels_tell_who_the_master_is(void **state)
{
    start_replica();
    redis_sentinel_start(&sentinel, server.port);
    struct redis_address asked[] = {{STR("127.0.0.1"), 1}, {STR("127.0.0.1"), sentinel.port}};
    struct redis_config redis = {.host = STR("unused.invalid"), .sentinels = asked, .sentinels_count = 2, .name = STR("mymaster")};
    open_two(&redis);
    two_nodes_talk();
    listen_and_wait(&nodes[0], 3, 1);
    test_sleep_ms(1500); /* the Sentinel finds the replica by INFO; it asks often once it is there */
    command_to(sentinel.port, "SENTINEL CKQUORUM mymaster");
    redis_server_kill(&server);
    wait_until(nodes[0].missed == 1 && nodes[1].missed == 1);
    two_nodes_talk();
    publish_number(&nodes[1], 3, 5);
    wait_until(nodes[0].last == 5);
    assert_int_equal(nodes[0].left_dead + nodes[1].left_dead, 0);
}

static void a_sentinel_that_knows_no_such_master_is_no_help(void **state)
{
    redis_server_start(&server, NULL);
    redis_sentinel_start(&sentinel, server.port);
    struct redis_address asked[] = {{STR("127.0.0.1"), sentinel.port}};
    open_two(&(struct redis_config){.host = STR("127.0.0.1"), .sentinels = asked, .sentinels_count = 1, .name = STR("another")});
    stays_down(&nodes[0]);
}

static void a_name_that_is_not_known_holds_nobody_up(void **state)
{
    open_one(&nodes[0], &(struct redis_config){.host = STR("unused.invalid"), .port = 6379});
    publish_number(&nodes[0], 3, 1);
    wait_until(atomic_load(&nodes[0].bus->queued) == 1);
    uint64_t started_ms = clock_mono_ms(&clock_system);
    node_close(&nodes[0]);
    assert_true(clock_mono_ms(&clock_system) - started_ms < 1000);
}

/* The kernel takes the connection, and Redis never says a word. */
static void a_server_that_says_nothing_is_tried_again(void **state)
{
    redis_server_start(&server, NULL);
    kill(server.pid, SIGSTOP);
    node_open(&nodes[0], server.port);
    test_sleep_ms(LINK_CONNECT_MS + 500);
    assert_false(bus_is_up(nodes[0].bus));
    redis_server_kill(&server);
    redis_server_restart(&server);
    wait_until(bus_is_up(nodes[0].bus));
}

/* ---- options ---- */

static void refused_with(struct bus_options *options, const char *reason)
{
    struct buf error = {0};
    struct bus *bus = bus_open_redis(options, &error);
    assert_null(bus);
    if (str_find(buf_view(&error), str_of(reason)) < 0)
        fail_msg("'%.*s' does not say '%s'", STR_ARG(buf_view(&error)), reason);
    buf_free(&error);
}

static void options_that_cannot_work_are_refused_by_name(void **state)
{
    struct bus_options good = options_for(&nodes[0], 6379), bad;
    struct redis_address one = {STR("h"), 1};
    refused_with((bad = good, bad.topics = 0, &bad), "adapter.topics");
    refused_with((bad = good, bad.topics = BUS_TOPICS_MAX + 1, &bad), "adapter.topics");
    refused_with((bad = good, bad.heartbeat_ms = 0, &bad), "heartbeat_interval_ms");
    refused_with((bad = good, bad.redis.host = STR(""), &bad), "database.redis.host");
    refused_with((bad = good, bad.redis.username = STR("u"), &bad), "database.redis.password");
    refused_with((bad = good, bad.redis.sentinels = &one, bad.redis.sentinels_count = 1, &bad), "database.redis.name");
    refused_with((bad = good, bad.redis.master_tls = (struct tls_options){.enabled = true, .ca_path = STR("/none.crt")}, &bad), "/none.crt");
    refused_with((bad = good, bad.redis.master_tls = (struct tls_options){.enabled = true, .client_cert_path = STR("/none.crt")}, &bad),
                 "client_key_path");
}

static void a_configuration_makes_a_bus(void **state)
{
    char url[64];
    struct buf warnings = {0}, error = {0};
    redis_server_start(&server, (const char *[]){"--requirepass", "s@me", NULL});
    snprintf(url, sizeof url, "REDIS_URL=redis://:s%%40me@localhost:%u/1", server.port);
    const struct config_text text = {STR("x.toml"), STR("adapter.topics=8\nadapter.redis.prefix='mine:'"), CONFIG_TOML};
    const struct config_request request = {.environ_ = (char *const[]){url, "CLUSTER_HEALTH_HEARTBEAT_INTERVAL=700", NULL}};
    struct config *config = config_from_text(&text, &request, &warnings, &error);
    assert_non_null(config);
    node_init(&nodes[0]);
    struct bus_options options = options_for(&nodes[0], 1);
    bus_options_from_config(&options, config);
    assert_int_equal(options.heartbeat_ms, 700);
    assert_int_equal(options.node_timeout_ms, 30000);
    assert_int_equal(options.topics, 8);
    node_open_with(&nodes[0], &options, STR_NONE);
    config_free(config); /* the bus has its own copies */
    wait_until(bus_is_up(nodes[0].bus));
    redisContext *c = redisConnect("127.0.0.1", server.port);
    freeReplyObject(redisCommand(c, "AUTH s@me"));
    redisReply *reply = redisCommand(c, "PUBSUB NUMSUB mine::#requests");
    assert_int_equal(reply->element[1]->integer, 1);
    freeReplyObject(reply);
    redisFree(c);
    buf_free(&warnings);
    buf_free(&error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_password_opens, setup, teardown),
        cmocka_unit_test_setup_teardown(a_user_with_few_rights_is_enough, setup, teardown),
        cmocka_unit_test_setup_teardown(a_database_that_is_not_there_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(tls_with_a_client_certificate_and_a_password, setup, teardown),
        cmocka_unit_test_setup_teardown(a_certificate_must_be_for_the_host_and_from_the_authority, setup, teardown),
        cmocka_unit_test_setup_teardown(a_replica_is_no_bus, setup, teardown),
        cmocka_unit_test_setup_teardown(sentinels_tell_who_the_master_is, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sentinel_that_knows_no_such_master_is_no_help, setup, teardown),
        cmocka_unit_test_setup_teardown(a_name_that_is_not_known_holds_nobody_up, setup, teardown),
        cmocka_unit_test_setup_teardown(a_server_that_says_nothing_is_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_configuration_makes_a_bus, setup, teardown),
        cmocka_unit_test_setup_teardown(options_that_cannot_work_are_refused_by_name, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
