/* postgres_clock.c - the store's clock as this process knows it without asking: our monotonic clock, and how far that one is ahead.
 *
 * An answer bounds it: the server read its clock between our asking and our hearing.
 *
 *      asked 1000 ms    the server said 70500    heard 1008 ms    so it is 69492 to 69500 ms ahead
 *
 * What is known moves no further than into these bounds. So it is as good as the fastest answers, a slow commit does not shift it, and
 * a jump of the node's wall clock does not matter.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/postgres_internal.h"

void clock_hears(_Atomic int64_t *ahead_ms, const struct clock *own, int64_t stores_ms, uint64_t asked_ms)
{
    int64_t least = stores_ms - (int64_t)clock_mono_ms(own), most = stores_ms - (int64_t)asked_ms;
    int64_t known = atomic_load_explicit(ahead_ms, memory_order_relaxed);
    known = known < least ? least : known > most ? most : known;
    atomic_store_explicit(ahead_ms, known, memory_order_relaxed);
}

/* False: it could not be asked, and the connection is of no use. */
bool clock_ask(struct pg_conn *c)
{
    uint64_t asked_ms = clock_mono_ms(c->clock);
    pg_query(c, PG_NOW);
    if (pg_run(c, c->options->write_timeout_ms) != PG_FINE)
        return false;
    clock_hears(c->ahead_ms, c->clock, pg_number(c->queries[0].result, 0, 0), asked_ms);
    return true;
}
