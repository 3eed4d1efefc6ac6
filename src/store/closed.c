/* closed.c - the store that is left when the real one has been closed: whatever is still submitted fails, and comes home.
 *
 * A stopping server runs what its shards still have to do; that may read on, or be a timer that is due just then.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/list.h"
#include "base/mem.h"
#include "store/internal.h"

struct closed {
    struct store store;
    const struct clock *clock;
    struct store_home *home;
};

static struct closed *closed_of(struct store *store)
{
    return list_of(store, struct closed, store);
}

static void closed_submit(struct store *store, struct store_op *op)
{
    struct store_home *home = closed_of(store)->home;
    op->result = STORE_FAILED;
    op->next = NULL;
    home->deliver(home, op);
}

static void closed_kick(struct store *store) {}

static bool closed_is_healthy(struct store *store)
{
    return false;
}

static int64_t closed_now_ms(struct store *store)
{
    return clock_wall_ms(closed_of(store)->clock);
}

static void closed_close(struct store *store)
{
    free(closed_of(store));
}

static const struct store_ops closed_ops = {closed_submit, closed_kick, closed_is_healthy, closed_now_ms, closed_close};

struct store *store_open_closed(const struct clock *clock, struct store_home *home)
{
    struct closed *closed = mem_new(struct closed);
    closed->store.ops = &closed_ops;
    closed->clock = clock;
    closed->home = home;
    return &closed->store;
}
