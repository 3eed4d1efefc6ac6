/* core.h - one shard of the real core for unit tests: own clock, the engine over memory, sinks that remember as text.
 *
 * Nothing happens by itself: core_settle() runs mail and the store until there is nothing left to do, core_advance_ms() moves
 * the clock a millisecond at a time and settles after each.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "ai/rollup.h"
#include "ai/streams.h"
#include "channel/hub.h"
#include "message/metrics.h"
#include "store/commit.h"
#include "unit.h"

struct core {
    struct env env;
    struct env *envs[1];
    struct clock clock, wrong;
    int64_t ahead_ms;          /* of `wrong` */
    uint64_t now_ns;
    struct config *config;
    struct app *app;
    struct store_home home;
    struct kv *kv;             /* the store's */
    struct store_op *home_first, *home_last; /* completions not run yet */
    struct task **mail;
    size_t mail_count, mail_cap;
    bool shares_store;
    bool stalls;               /* the store does nothing meanwhile */
};

/* The demo profile's configuration (app-id, history, versions, AI channels "ai-" and "private-ai-"), memory store. */
struct core *core_new(void);
/* Another node on the store of that one, which has to be freed last. */
struct core *core_beside(struct core *first);
void core_free(struct core *c);
void core_settle(struct core *c);
/* One round of mail or, if there is none, one of the store. */
void core_step(struct core *c);
/* Damages what is stored of the channel that was the channel-th to be written to: the row at that position is gone. */
void core_lose_row(struct core *c, uint64_t channel, uint64_t delivery);
void core_advance_ms(struct core *c, unsigned ms);
/* From now on the node's wall clock is so far ahead of the store's. */
void core_wall_is_ahead(struct core *c, int64_t ms);

/* What env.deliver takes in these tests. */
struct sink {
    struct core *core;
    struct buf got; /* payloads, one a line */
    size_t frames;
};
struct sink *sink_new(struct core *c);
void sink_free(struct sink *s);
void sink_forget(struct sink *s);
