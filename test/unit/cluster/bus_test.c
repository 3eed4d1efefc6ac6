/* bus_test.c - buses of several nodes over a real Redis.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bus_fixture.h"

/* ---- payloads ---- */

static void payloads_arrive_in_order_and_not_at_home(void **state)
{
    nodes_open(2, server.port);
    listen_and_wait(&nodes[0], 3, 1);
    listen_and_wait(&nodes[1], 3, 1);
    for (int i = 0; i < 3000; i++)
        publish_number(&nodes[1], 3, i);
    wait_until(nodes[0].last == 2999);
    assert_int_equal(nodes[0].published, 3000);
    assert_int_equal(nodes[0].out_of_order, 0);
    assert_int_equal(nodes[1].published, 0);
    assert_int_equal(figure(&nodes[0], "horizontal_broadcast_received_total"), 3000);
    wait_until(figure(&nodes[1], "horizontal_broadcast_published_total") == 3000);
}

static void only_listeners_hear_a_topic(void **state)
{
    nodes_open(2, server.port);
    listen_and_wait(&nodes[0], 3, 1);
    publish_number(&nodes[1], 4, 1);
    publish_number(&nodes[1], 3, 2);
    wait_until(nodes[0].last == 2);
    assert_int_equal(nodes[0].published, 1);
}

static void a_payload_goes_to_one_node_or_to_all(void **state)
{
    nodes_open(3, server.port);
    bus_send(nodes[0].bus, bus_node(nodes[1].bus), STR("for one"));
    bus_send(nodes[0].bus, STR_NONE, STR("for all"));
    wait_until(was_told(&nodes[1], "received for all") && was_told(&nodes[2], "received for all"));
    assert_true(was_told(&nodes[1], "received for one\nreceived for all"));
    assert_int_equal(nodes[2].received, 1);
    assert_int_equal(nodes[0].received, 0);
}

static void bytes_pass_as_they_are(void **state)
{
    static char large[BUS_PAYLOAD_MAX];
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (char)(i * 7 + i / 256);
    nodes_open(2, server.port);
    bus_send(nodes[0].bus, STR_NONE, str_make(large, sizeof large));
    wait_until(nodes[1].received == 1);
    assert_true(nodes[1].received_hash == map_hash(str_make(large, sizeof large)));
}

/* ---- interest ---- */

static void the_smallest_window_of_the_peers_is_wanted(void **state)
{
    nodes_open(3, server.port);
    assert_int_equal(bus_wanted(nodes[0].bus, 5), BUS_NOBODY);
    listen_and_wait(&nodes[1], 5, 4);
    assert_int_equal(bus_wanted(nodes[0].bus, 5), 4);
    listen_and_wait(&nodes[2], 5, 2);
    assert_int_equal(bus_wanted(nodes[0].bus, 5), 2);
    assert_int_equal(bus_wanted(nodes[2].bus, 5), 4);
    bus_listen(nodes[1].bus, 5, 0); /* a new window, no new listening() */
    wait_until(bus_wanted(nodes[0].bus, 5) == 0);
    bus_leave(nodes[1].bus, 5);
    wait_until(bus_wanted(nodes[0].bus, 5) == 2);
    bus_leave(nodes[2].bus, 5);
    wait_until(bus_wanted(nodes[0].bus, 5) == BUS_NOBODY);
    assert_int_equal(nodes[1].listening, 1);
}

static void nobody_known_counts_as_everybody_listening(void **state)
{
    redis_server_kill(&server);
    node_open(&nodes[0], server.port);
    assert_int_equal(bus_wanted(nodes[0].bus, 5), 0);
    redis_server_restart(&server);
    wait_until(bus_wanted(nodes[0].bus, 5) == BUS_NOBODY);
}

static void each_listen_after_a_leave_is_answered_once(void **state)
{
    nodes_open(2, server.port);
    for (unsigned i = 0; i < 20; i++) {
        bus_listen(nodes[0].bus, 9, 1);
        bus_listen(nodes[0].bus, 9, 2);
        wait_until(nodes[0].listening == i + 1);
        bus_leave(nodes[0].bus, 9);
    }
    for (unsigned i = 0; i < 200; i++) { /* faster than Redis answers: the last one counts */
        bus_listen(nodes[0].bus, 9, 1);
        bus_leave(nodes[0].bus, 9);
    }
    bus_listen(nodes[0].bus, 9, 1);
    wait_until(bus_wanted(nodes[1].bus, 9) == 1 && nodes[0].listening > 20);
    publish_number(&nodes[1], 9, 7);
    wait_until(nodes[0].last == 7);
}

/* What the core does: commit, look whether somebody wants it, publish. */
static struct {
    _Atomic int64_t committed;
    _Atomic bool stop;
    unsigned topic;
} hammer;

static void *hammer_runs(void *arg)
{
    struct node *n = arg;
    for (int64_t number = 1; !hammer.stop; number++) {
        hammer.committed = number;
        if (bus_wanted(n->bus, hammer.topic) != BUS_NOBODY)
            publish_number(n, hammer.topic, number);
        if (number % 8 == 0)
            test_sleep_ms(0);
        while (!hammer.stop && atomic_load(&n->bus->queued) > 4000)
            test_sleep_ms(1);
    }
    return NULL;
}

/* A subscriber that attaches while a peer publishes must not lose what comes after the head it reads. */
static void nothing_falls_between_listening_and_the_head(void **state)
{
    pthread_t thread;
    nodes_open(2, server.port);
    hammer.topic = 11;
    hammer.stop = false;
    hammer.committed = 0;
    pthread_create(&thread, NULL, hammer_runs, &nodes[1]);
    for (int round = 0; round < 40; round++) {
        listen_and_wait(&nodes[0], 11, 1);
        int64_t head = hammer.committed;
        unsigned before = nodes[0].published;
        wait_until(nodes[0].last > head + 50);
        assert_true(nodes[0].published > before);
        assert_int_equal(nodes[0].out_of_order, 0);
        nodes[0].last = -1;
        bus_leave(nodes[0].bus, 11);
        wait_until(bus_wanted(nodes[1].bus, 11) == BUS_NOBODY);
    }
    hammer.stop = true;
    pthread_join(thread, NULL);
    assert_int_equal(nodes[1].dropped, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(payloads_arrive_in_order_and_not_at_home, broker_setup, broker_teardown),
        cmocka_unit_test_setup_teardown(only_listeners_hear_a_topic, broker_setup, broker_teardown),
        cmocka_unit_test_setup_teardown(a_payload_goes_to_one_node_or_to_all, broker_setup, broker_teardown),
        cmocka_unit_test_setup_teardown(bytes_pass_as_they_are, broker_setup, broker_teardown),
        cmocka_unit_test_setup_teardown(the_smallest_window_of_the_peers_is_wanted, broker_setup, broker_teardown),
        cmocka_unit_test_setup_teardown(nobody_known_counts_as_everybody_listening, broker_setup, broker_teardown),
        cmocka_unit_test_setup_teardown(each_listen_after_a_leave_is_answered_once, broker_setup, broker_teardown),
        cmocka_unit_test_setup_teardown(nothing_falls_between_listening_and_the_head, broker_setup, broker_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
