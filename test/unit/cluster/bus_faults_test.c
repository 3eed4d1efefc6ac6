/* bus_faults_test.c - what the bus does when the broker, a peer or a handler fails.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <hiredis/hiredis.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus_fixture.h"

static pid_t other, second; /* nodes in processes of their own; 0 = none */
static const char *own_path;

static int setup(void **state)
{
    other = second = 0;
    return broker_setup(state);
}

static void kill_process(pid_t *pid)
{
    if (*pid > 0) {
        kill(*pid, SIGKILL);
        waitpid(*pid, NULL, 0);
    }
    *pid = 0;
}

static int teardown(void **state)
{
    kill_process(&other);
    kill_process(&second);
    return broker_teardown(state);
}

/* ---- the broker ---- */

/* A Redis that comes back empty knows nobody: everybody must subscribe again, and look for what was lost meanwhile. */
static void a_restarted_redis_is_subscribed_again(void **state)
{
    nodes_open(3, server.port);
    listen_and_wait(&nodes[0], 3, 1);
    redis_server_kill(&server);
    wait_until(!bus_is_up(nodes[0].bus) && !bus_is_up(nodes[1].bus) && !bus_is_up(nodes[2].bus));
    assert_int_equal(bus_wanted(nodes[1].bus, 4), 0); /* who knows */
    publish_number(&nodes[1], 3, 1);                  /* waits */
    bus_listen(nodes[2].bus, 7, 1);
    redis_server_restart(&server);
    for (int i = 0; i < 3; i++)
        wait_until(bus_is_up(nodes[i].bus) && nodes[i].missed >= 1); /* a machine with other work to do may break it once more */
    wait_until(nodes[2].listening == 1);
    publish_number(&nodes[1], 3, 2);
    publish_number(&nodes[1], 7, 3);
    wait_until(nodes[0].last == 2 && nodes[2].last == 3);
    assert_int_equal(nodes[0].listening, 1);
    assert_int_equal(nodes[0].left_dead + nodes[0].left_clean, 0);
    wait_until(bus_wanted(nodes[1].bus, 4) == BUS_NOBODY);
    assert_int_equal(figure(&nodes[0], "horizontal_transport_reconnections_total"), nodes[0].missed);
}

/* Only what was waiting when all nodes are back can be counted on; it comes in order. */
static void what_waits_is_sent_after_the_break(void **state)
{
    nodes_open(2, server.port);
    listen_and_wait(&nodes[0], 3, 1);
    redis_server_kill(&server);
    wait_until(!bus_is_up(nodes[0].bus) && !bus_is_up(nodes[1].bus));
    for (int i = 0; i < 500; i++)
        publish_number(&nodes[1], 3, i);
    redis_server_restart(&server);
    wait_until(bus_is_up(nodes[0].bus) && bus_is_up(nodes[1].bus) && atomic_load(&nodes[1].bus->queued) == 0);
    publish_number(&nodes[1], 3, 500);
    wait_until(nodes[0].last == 500);
    assert_int_equal(nodes[0].out_of_order, 0);
    assert_int_equal(nodes[1].dropped, 0);
}

/* Chapter 5, edge case 22: a node that may do without its bus is not held up by it, and looks for what it has missed when it has one. */
static void a_node_that_may_goes_on_alone(void **state)
{
    redis_server_kill(&server);
    node_init(&nodes[0]);
    struct bus_options options = options_for(&nodes[0], server.port);
    options.alone = true;
    node_open_with(&nodes[0], &options, STR_NONE);
    bus_listen(nodes[0].bus, 3, 1);
    test_sleep_ms(BUS_ALONE_MS / 2);
    assert_int_equal(nodes[0].listening, 0); /* it may come */
    wait_until(nodes[0].listening == 1);
    bus_listen(nodes[0].bus, 4, 1);
    wait_until(nodes[0].listening == 2); /* at once */
    assert_int_equal(nodes[0].missed, 0);
    redis_server_restart(&server);
    wait_until(bus_is_up(nodes[0].bus) && nodes[0].missed == 1); /* though it is the first connection */
    node_open(&nodes[1], server.port);
    wait_until(bus_wanted(nodes[1].bus, 3) == 1 && bus_wanted(nodes[1].bus, 4) == 1);
    publish_number(&nodes[1], 3, 7);
    wait_until(nodes[0].last == 7);
    assert_int_equal(nodes[0].listening, 2);
}

/* What was on its way when the connection broke may or may not have arrived: the core must hear of it. */
static void a_break_tells_of_payloads_in_doubt(void **state)
{
    nodes_open(2, server.port);
    kill(server.pid, SIGSTOP);
    for (int i = 0; i < 100; i++)
        publish_number(&nodes[1], 3, i);
    wait_until(atomic_load(&nodes[1].bus->queued) == 100);
    test_sleep_ms(1000); /* they are written to the socket, whatever else this machine does */
    redis_server_kill(&server);
    wait_until(!bus_is_up(nodes[1].bus));
    wait_until(nodes[1].dropped + atomic_load(&nodes[1].bus->queued) == 100);
    assert_true(nodes[1].dropped > 0);
}

/* It takes no answer for TCP to believe in a connection; a heartbeat that does not come back says more. */
static void a_redis_that_hangs_is_left(void **state)
{
    nodes_open(2, server.port);
    kill(server.pid, SIGSTOP);
    wait_until(!bus_is_up(nodes[0].bus));
    kill(server.pid, SIGCONT);
    wait_until(bus_is_up(nodes[0].bus) && nodes[0].missed >= 1);
}

/* ---- limits ---- */

static void a_full_queue_says_what_it_drops(void **state)
{
    nodes_open(2, server.port);
    listen_and_wait(&nodes[0], 3, 1);
    redis_server_kill(&server);
    wait_until(!bus_is_up(nodes[1].bus));
    for (int i = 0; i < BUS_QUEUE_MAX + 100; i++) {
        publish_number(&nodes[1], 3, i);
        if (i % 1000 == 0)
            test_sleep_ms(5); /* shown by dropped(), one by one, only if the thread comes to it */
    }
    wait_until(nodes[1].dropped == 100);
    assert_int_equal(atomic_load(&nodes[1].bus->queued), BUS_QUEUE_MAX);
    assert_int_equal(figure(&nodes[1], "horizontal_transport_messages_dropped_total"), 100);
    redis_server_restart(&server);
    wait_until(atomic_load(&nodes[1].bus->queued) == 0);
}

static void a_queue_is_full_by_bytes_too(void **state)
{
    static char large[BUS_PAYLOAD_MAX + 1];
    node_open(&nodes[0], 1);
    for (int i = 0; i < 70; i++)
        bus_publish(nodes[0].bus, 3, str_make(large, BUS_PAYLOAD_MAX));
    wait_until(nodes[0].dropped >= 7);
    assert_true(atomic_load(&nodes[0].bus->queued_bytes) <= BUS_QUEUE_BYTES_MAX);
    unsigned before = nodes[0].dropped;
    bus_send(nodes[0].bus, STR_NONE, str_make(large, sizeof large)); /* larger than a payload may be */
    wait_until(nodes[0].dropped == before + 1);
}

/* However fast they come, and the bus's thread held up: the memory stays bounded, and nothing is dropped in silence. */
static void a_flood_is_dropped_in_the_open(void **state)
{
    node_open(&nodes[0], 1);
    for (int i = 0; i < 20 * BUS_QUEUE_MAX; i++)
        publish_number(&nodes[0], 3, i);
    wait_until(nodes[0].dropped + nodes[0].dropped_unseen > 0 && atomic_load(&nodes[0].bus->refused) == 0);
    assert_int_equal(atomic_load(&nodes[0].bus->queued), BUS_QUEUE_MAX);
    if (nodes[0].dropped < 19 * BUS_QUEUE_MAX)
        wait_until(nodes[0].dropped_unseen > 0);
}

/* Redis cuts off whoever does not read; then it is as after any break. */
static void a_slow_subscriber_misses_and_is_told(void **state)
{
    static char large[64 << 10];
    redisContext *c = redisConnect("127.0.0.1", server.port);
    freeReplyObject(redisCommand(c, "CONFIG SET client-output-buffer-limit %s", "pubsub 1mb 1mb 1"));
    redisFree(c);
    nodes_open(2, server.port);
    listen_and_wait(&nodes[0], 3, 1);
    nodes[0].slow_us = 20000;
    memset(large, ' ', sizeof large);
    for (int i = 0; i < 800; i++) {
        large[0] = '1';
        bus_publish(nodes[1].bus, 3, str_make(large, sizeof large));
        wait_until(atomic_load(&nodes[1].bus->queued) < 100);
    }
    nodes[0].slow_us = 0;
    wait_until(nodes[0].missed >= 1);
    unsigned told = 0;
    for (int i = 0; nodes[0].last != 77 && i < WAIT_MS; i += 10, test_sleep_ms(10))
        if (told != nodes[0].missed) { /* it may have been cut off once more since */
            told = nodes[0].missed;
            publish_number(&nodes[1], 3, 77);
        }
    assert_int_equal(nodes[0].last, 77);
    assert_int_equal(nodes[1].missed, 0);
}

/* ---- peers ---- */

/* id: "" = any. */
static pid_t start_process(const char *id)
{
    char port[8];
    snprintf(port, sizeof port, "%u", server.port);
    pid_t pid = fork();
    if (pid == 0) {
        execl(own_path, own_path, "--node", port, id, NULL);
        _exit(127);
    }
    return pid;
}

static void start_other(void)
{
    other = start_process("");
}

static void open_as(struct node *n, uint16_t port, const char *id)
{
    node_init(n);
    struct bus_options options = options_for(n, port);
    node_open_with(n, &options, str_of(id));
}

/* What main() does for --node: a node that lives until it is killed. */
static void be_a_node(uint16_t port, const char *id)
{
    static struct node n;
    open_as(&n, port, id);
    bus_listen(n.bus, 5, 2);
    for (;;)
        pause();
}

static void a_killed_node_is_declared_dead_and_one_leads(void **state)
{
    nodes_open(3, server.port);
    start_other();
    wait_until(bus_wanted(nodes[0].bus, 5) == 2 && bus_peers(nodes[1].bus) == 3 && bus_peers(nodes[2].bus) == 3);
    kill_process(&other);
    for (int i = 0; i < 3; i++)
        wait_until(nodes[i].left_dead == 1);
    assert_int_equal(nodes[0].led + nodes[1].led + nodes[2].led, 1);
    assert_int_equal(bus_wanted(nodes[0].bus, 5), BUS_NOBODY);
    assert_int_equal(bus_peers(nodes[0].bus), 2);
}

/* Whoever should have cleaned up after the first to die dies itself: its successor must hear of both. */
static void a_leader_that_dies_is_succeeded(void **state)
{
    open_as(&nodes[0], server.port, "88888888-6440-41bb-85bc-c858fa98bfcd");
    open_as(&nodes[1], server.port, "99999999-6440-41bb-85bc-c858fa98bfcd");
    other = start_process("00000000-6440-41bb-85bc-c858fa98bfcd");
    second = start_process("11111111-6440-41bb-85bc-c858fa98bfcd");
    wait_until(bus_peers(nodes[0].bus) == 3 && bus_peers(nodes[1].bus) == 3);
    kill_process(&second);
    test_sleep_ms(900);
    kill_process(&other);
    wait_until(nodes[0].left_dead == 3 && nodes[1].left_dead == 2);
    assert_int_equal(nodes[0].led, 2);
    assert_int_equal(nodes[1].led, 0);
}

static void a_node_that_slept_comes_back(void **state)
{
    nodes_open(1, server.port);
    start_other();
    wait_until(bus_wanted(nodes[0].bus, 5) == 2);
    kill(other, SIGSTOP);
    wait_until(nodes[0].left_dead == 1);
    kill(other, SIGCONT);
    wait_until(nodes[0].joined == 2 && bus_wanted(nodes[0].bus, 5) == 2);
    assert_int_equal(nodes[0].back, 1); /* the first time it was new */
}

static void a_good_bye_is_heard_at_once(void **state)
{
    nodes_open(3, server.port);
    bus_listen(nodes[2].bus, 5, 1);
    for (int i = 0; i < 300; i++)
        bus_send(nodes[2].bus, STR_NONE, STR("last words"));
    node_close(&nodes[2]);
    wait_until(nodes[0].left_clean == 1 && nodes[1].left_clean == 1);
    assert_int_equal(nodes[0].received, 300);
    assert_int_equal(nodes[0].led + nodes[1].led, 1);
    assert_int_equal(bus_wanted(nodes[0].bus, 5), BUS_NOBODY);
}

/* A copied container has our id. One of the two must go, or both would drop what the other says as their own. */
static void of_two_nodes_with_one_id_one_gives_up(void **state)
{
    struct str id = STR("9be4d619-6440-41bb-85bc-c858fa98bfcd");
    for (int i = 0; i < 2; i++) {
        node_init(&nodes[i]);
        struct bus_options options = options_for(&nodes[i], server.port);
        node_open_with(&nodes[i], &options, id);
        wait_until(bus_is_up(nodes[i].bus) || nodes[i].bus->refusing);
    }
    wait_until(bus_is_up(nodes[0].bus) != bus_is_up(nodes[1].bus));
    test_sleep_ms(1500);
    assert_true(bus_is_up(nodes[0].bus) != bus_is_up(nodes[1].bus));
    for (int i = 0; i < 2; i++) {
        assert_true(bus_gave_way(nodes[i].bus) == !bus_is_up(nodes[i].bus));
        assert_true(bus_is_up(nodes[i].bus) || figure(&nodes[i], "horizontal_node_conflicts_total") == 1);
    }
}

/* instance.process_id in a configuration that was copied: nothing breaks, both say it, once. */
static void nodes_with_one_name_both_say_so(void **state)
{
    for (int i = 0; i < 3; i++) {
        node_init(&nodes[i]);
        struct bus_options options = options_for(&nodes[i], server.port);
        options.name = i < 2 ? STR("node-1") : STR("node-3");
        node_open_with(&nodes[i], &options, STR_NONE);
    }
    wait_until(bus_peers(nodes[0].bus) == 2 && bus_peers(nodes[1].bus) == 2 && bus_peers(nodes[2].bus) == 2);
    wait_until(figure(&nodes[0], "horizontal_node_conflicts_total") == 1 && figure(&nodes[1], "horizontal_node_conflicts_total") == 1);
    test_sleep_ms(1200); /* some heartbeats */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(figure(&nodes[i], "horizontal_node_conflicts_total"), i < 2);
        assert_true(bus_is_up(nodes[i].bus) && !bus_gave_way(nodes[i].bus));
    }
}

static void another_number_of_topics_is_complained_about(void **state)
{
    node_init(&nodes[0]);
    struct bus_options options = options_for(&nodes[0], server.port);
    options.topics = TOPICS / 2;
    node_open_with(&nodes[0], &options, STR_NONE);
    node_open(&nodes[1], server.port);
    wait_until(bus_peers(nodes[0].bus) == 1 && bus_peers(nodes[1].bus) == 1);
    wait_until(bus_is_up(nodes[0].bus) && bus_is_up(nodes[1].bus));
    assert_int_equal(bus_wanted(nodes[0].bus, 1), 0); /* whatever it listens to, it gets all: nobody knows better */
    assert_int_equal(bus_wanted(nodes[1].bus, 1), 0);
    publish_number(&nodes[1], TOPICS - 1, 1);
}

/* ---- a peer that we play ourselves ---- */

static redisContext *stage;

static void say(const struct bus_message *m)
{
    struct buf bytes = {0};
    bus_put(&bytes, m);
    freeReplyObject(redisCommand(stage, "PUBLISH test::#requests %b", bytes.p, bytes.n));
    buf_free(&bytes);
}

static struct str interest_in(struct buf *packed, unsigned topic, int window)
{
    buf_clear(packed);
    bus_put_interests(packed, &(struct bus_interest){topic, window}, 1);
    return buf_view(packed);
}

/* An announcement that was lost shows by the generation of the next heartbeat, and until it is made up for the peer gets everything. */
static void a_lost_announcement_is_noticed(void **state)
{
    struct buf packed = {0};
    nodes_open(1, server.port);
    stage = redisConnect("127.0.0.1", server.port);
    struct bus_message m = {.kind = BUS_HELLO, .node = "0123456789abcdef", .nonce = "nonce678", .topics = TOPICS, .generation = 4};
    m.interests = interest_in(&packed, 7, 3);
    say(&m);
    wait_until(bus_wanted(nodes[0].bus, 7) == 3 && bus_wanted(nodes[0].bus, 8) == BUS_NOBODY);
    m.kind = BUS_ANNOUNCE;
    m.since = 4;
    m.generation = 5;
    m.interests = interest_in(&packed, 8, 1);
    say(&m);
    wait_until(bus_wanted(nodes[0].bus, 8) == 1);
    m.kind = BUS_HEARTBEAT;
    say(&m);
    m.generation = 6; /* whose announcement never came */
    say(&m);
    wait_until(bus_wanted(nodes[0].bus, 9) == 0);
    m.kind = BUS_STATE;
    m.interests = interest_in(&packed, 9, 2);
    say(&m);
    wait_until(bus_wanted(nodes[0].bus, 9) == 2 && bus_wanted(nodes[0].bus, 7) == BUS_NOBODY);
    m.kind = BUS_ANNOUNCE; /* the same, seen at the next announcement */
    m.since = 7;
    m.generation = 8;
    m.interests = interest_in(&packed, 10, 1);
    say(&m);
    wait_until(bus_wanted(nodes[0].bus, 11) == 0);
    redisFree(stage);
    buf_free(&packed);
}

/* A peer that does not acknowledge holds listening() up for a second, no longer. */
static void a_silent_peer_does_not_hold_up_listening(void **state)
{
    nodes_open(1, server.port);
    stage = redisConnect("127.0.0.1", server.port);
    redisContext *ear = redisConnect("127.0.0.1", server.port);
    freeReplyObject(redisCommand(ear, "SUBSCRIBE test::#requests"));
    struct bus_message m = {.kind = BUS_HELLO, .node = "0123456789abcdef", .nonce = "nonce678", .topics = TOPICS, .interests = STR("\0")};
    say(&m);
    wait_until(bus_peers(nodes[0].bus) == 1);
    bus_listen(nodes[0].bus, 3, 1);
    test_sleep_ms(300);
    assert_int_equal(nodes[0].listening, 0);
    wait_until(nodes[0].listening == 1);
    redisFree(stage);
    redisFree(ear);
}

static long long subscribers_of_all(redisContext *c)
{
    redisReply *reply = redisCommand(c, "PUBSUB NUMSUB test::#requests");
    long long count = reply->element[1]->integer;
    freeReplyObject(reply);
    return count;
}

/* The broker knows at once that a process is gone: nobody waits for its answer, or for its members. */
static void a_killed_peer_is_not_waited_for(void **state)
{
    node_init(&nodes[0]);
    struct bus_options options = options_for(&nodes[0], server.port);
    options.node_timeout_ms = 10 * WAIT_MS;
    node_open_with(&nodes[0], &options, STR_NONE);
    wait_until(bus_is_up(nodes[0].bus));
    start_other();
    wait_until(bus_wanted(nodes[0].bus, 5) == 2);
    nodes[0].bus->answer_wait_ms = 10 * WAIT_MS; /* of its own thread, that has no use for it now */
    kill_process(&other);
    stage = redisConnect("127.0.0.1", server.port);
    wait_until(subscribers_of_all(stage) == 1);
    redisFree(stage);
    bus_listen(nodes[0].bus, 3, 1);
    wait_until(nodes[0].listening == 1);
    assert_int_equal(bus_peers(nodes[0].bus), 1);
    assert_int_equal(bus_peers_reached(nodes[0].bus), 0);
}

static void garbage_is_counted_and_dropped(void **state)
{
    nodes_open(1, server.port);
    listen_and_wait(&nodes[0], 3, 1);
    stage = redisConnect("127.0.0.1", server.port);
    freeReplyObject(redisCommand(stage, "PUBLISH test::#requests %s", "garbage"));
    freeReplyObject(redisCommand(stage, "PUBLISH test::#broadcast:3 %s", ""));
    freeReplyObject(redisCommand(stage, "PUBLISH test::#broadcast:3 %b", "\1\2""0123456789abcdef", (size_t)18)); /* sent, to a topic */
    wait_until(figure(&nodes[0], "horizontal_transport_messages_undecodable_total") == 3);
    assert_int_equal(nodes[0].published, 0);
    assert_true(bus_is_up(nodes[0].bus));
    redisFree(stage);
}

int main(int argc, char **argv)
{
    own_path = argv[0];
    if (argc == 4)
        be_a_node((uint16_t)strtoul(argv[2], NULL, 10), argv[3]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_restarted_redis_is_subscribed_again, setup, teardown),
        cmocka_unit_test_setup_teardown(what_waits_is_sent_after_the_break, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_that_may_goes_on_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_break_tells_of_payloads_in_doubt, setup, teardown),
        cmocka_unit_test_setup_teardown(a_redis_that_hangs_is_left, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_queue_says_what_it_drops, setup, teardown),
        cmocka_unit_test_setup_teardown(a_queue_is_full_by_bytes_too, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flood_is_dropped_in_the_open, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slow_subscriber_misses_and_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_killed_node_is_declared_dead_and_one_leads, setup, teardown),
        cmocka_unit_test_setup_teardown(a_leader_that_dies_is_succeeded, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_that_slept_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_good_bye_is_heard_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(of_two_nodes_with_one_id_one_gives_up, setup, teardown),
        cmocka_unit_test_setup_teardown(nodes_with_one_name_both_say_so, setup, teardown),
        cmocka_unit_test_setup_teardown(another_number_of_topics_is_complained_about, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_announcement_is_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_killed_peer_is_not_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(a_silent_peer_does_not_hold_up_listening, setup, teardown),
        cmocka_unit_test_setup_teardown(garbage_is_counted_and_dropped, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
