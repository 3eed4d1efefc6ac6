/* bus_random_test.c - whatever happens to nodes and connections, in the end everybody knows what everybody wants.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <hiredis/hiredis.h>

#include "bus_fixture.h"

enum { NODES = 4, ROUNDS = 4, STEPS = 400 };

static int windows[NODES][TOPICS]; /* what each has asked for; BUS_NOBODY */
static unsigned listens[NODES];    /* bus_listen() that must be answered at least once since the node began */

static void begin(unsigned i)
{
    node_open(&nodes[i], server.port);
    listens[i] = 0;
    for (unsigned topic = 0; topic < TOPICS; topic++)
        windows[i][topic] = BUS_NOBODY;
}

/* Cuts the connections of one kind, of everybody or of a random one. */
static void cut(struct random *random)
{
    redisContext *c = redisConnect("127.0.0.1", server.port);
    redisReply *list = redisCommand(c, "CLIENT LIST TYPE %s", random_below(random, 2) ? "pubsub" : "normal");
    struct str lines = str_make(list->str, list->len), line;
    bool all = random_below(random, 4) == 0;
    while ((line = str_split(&lines, '\n')).n > 3) {
        struct str id = str_from(line, 3); /* id=12 addr=... */
        id = str_split(&id, ' ');
        if ((all || random_below(random, NODES) == 0) && str_find(line, STR("cmd=client")) < 0)
            freeReplyObject(redisCommand(c, "CLIENT KILL ID %b", id.p, id.n));
    }
    freeReplyObject(list);
    redisFree(c);
}

static void step(struct random *random)
{
    unsigned i = (unsigned)random_below(random, NODES), topic = (unsigned)random_below(random, TOPICS);
    switch (random_below(random, 100)) {
    case 0:
        cut(random);
        break;
    case 1:
        node_close(&nodes[i]);
        begin(i);
        break;
    default:
        if (random_below(random, 5) < 2) {
            bus_leave(nodes[i].bus, topic);
            windows[i][topic] = BUS_NOBODY;
        } else {
            listens[i] += windows[i][topic] == BUS_NOBODY;
            windows[i][topic] = (int)random_below(random, 5);
            bus_listen(nodes[i].bus, topic, windows[i][topic]);
        }
    }
    if (random_below(random, 8) == 0)
        test_sleep_ms((long)random_below(random, 20));
}

static int smallest_but(unsigned self, unsigned topic)
{
    int smallest = BUS_NOBODY;
    for (unsigned i = 0; i < NODES; i++)
        if (i != self && windows[i][topic] != BUS_NOBODY && (smallest == BUS_NOBODY || windows[i][topic] < smallest))
            smallest = windows[i][topic];
    return smallest;
}

static bool all_know(void)
{
    for (unsigned i = 0; i < NODES; i++) {
        if (!bus_is_up(nodes[i].bus) || bus_peers(nodes[i].bus) != NODES - 1)
            return false;
        for (unsigned topic = 0; topic < TOPICS; topic++)
            if (bus_wanted(nodes[i].bus, topic) != smallest_but(i, topic))
                return false;
    }
    return true;
}

/* One payload to each topic reaches exactly those who listen. */
static void everybody_hears_what_it_listens_to(void)
{
    unsigned before[NODES], expected[NODES] = {0};
    for (unsigned i = 0; i < NODES; i++)
        before[i] = nodes[i].published;
    for (unsigned topic = 0; topic < TOPICS; topic++) {
        unsigned from = topic % NODES;
        for (unsigned i = 0; i < NODES; i++)
            expected[i] += i != from && windows[i][topic] != BUS_NOBODY;
        publish_number(&nodes[from], topic, topic);
    }
    for (unsigned i = 0; i < NODES; i++)
        wait_until(nodes[i].published - before[i] == expected[i]);
}

static void in_the_end_everybody_knows(void **state)
{
    struct random random;
    random_from_kernel(&random);
    uint64_t seed = random_u64(&random);
    print_message("seed %llu\n", (unsigned long long)seed);
    random_from_seed(&random, seed);
    for (unsigned i = 0; i < NODES; i++)
        begin(i);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < STEPS; i++)
            step(&random);
        wait_until(all_know());
        everybody_hears_what_it_listens_to();
        for (unsigned i = 0; i < NODES; i++) {
            assert_true(nodes[i].listening <= listens[i]);
            wait_until(atomic_load(&nodes[i].bus->queued) == 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(in_the_end_everybody_knows, broker_setup, broker_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
