/* bus_wire_fuzz.c - whatever comes over the bus is refused, or says the same when it is written and read again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "cluster/bus_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static size_t take_interests(struct str packed, struct bus_interest *interests)
{
    struct bus_interests it;
    size_t count = 0;
    require(bus_interests_begin(&it, packed));
    while (bus_interest_next(&it, &interests[count])) {
        require(interests[count].topic < BUS_TOPICS_MAX && interests[count].window <= BUS_WINDOW_MAX);
        require(count == 0 || interests[count].topic > interests[count - 1].topic);
        count++;
    }
    return count;
}

static void write_interests_again(struct str packed)
{
    static struct bus_interest first[BUS_TOPICS_MAX + 1], second[BUS_TOPICS_MAX + 1];
    struct buf again = {0};
    size_t count = take_interests(packed, first);
    bus_put_interests(&again, first, count);
    require(again.n <= packed.n && take_interests(buf_view(&again), second) == count);
    for (size_t i = 0; i < count; i++)
        require(first[i].topic == second[i].topic && first[i].window == second[i].window);
    buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bus_message m, back;
    struct buf again = {0};
    if (!bus_read(str_make(data ? data : (const uint8_t *)"", size), &m))
        return 0;
    bus_put(&again, &m);
    buf_str(&again, m.payload);
    require(bus_read(buf_view(&again), &back));
    require(m.kind == back.kind && memcmp(m.node, back.node, BUS_ID_BYTES) == 0 && m.topics == back.topics);
    require(str_eq(m.name, back.name) && m.since == back.since && m.generation == back.generation && m.answers == back.answers);
    require(str_eq(m.payload, back.payload) && str_eq(m.interests, back.interests));
    if (m.interests.p != NULL)
        write_interests_again(m.interests);
    buf_free(&again);
    return 0;
}
