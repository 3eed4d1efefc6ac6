/* webhook.h - tells the outside what notice_send() says: batches, a durable queue, signed POSTs (chapter 2, 2.19).
 *
 *      shard: notice -> copied into the inbox            never waits; full = dropped and counted
 *      webhook thread: batch per app -> job per webhook -> stored -> POST -> deleted, tried again, or a dead letter
 *
 * A job is in the store before its first attempt and until its end, so what kill -9 interrupts is delivered after the
 * restart: at least once. With the memory store it lives as long as the process.
 *
 * Threads: webhooks_notice(), webhooks_replay(), webhooks_is_healthy(), webhooks_depth(): any shard. The rest: the thread
 * that sets up. The store's completions pass through shard 0, which must run from webhooks_run() to webhooks_stop().
 * Limits: internal.h; each with a metric. Secrets: neither jobs, dead letters nor logs hold a secret, a header's value, or more
 * of a URL than its origin.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "message/metrics.h"
#include "message/notice.h"

struct webhooks;
struct webhooks_options {
    const struct config *config;
    struct apps *apps;
    struct store *store;
    struct metrics *metrics;
    const struct clock *clock;
    /* Runs task on that shard; called on the webhook thread. */
    void (*home)(void *user, unsigned shard, struct task *task);
    void *home_user;
};

/* Sets app->notices of every app: before the first shard runs. NULL: nobody wants to be told (no webhook is configured, or
 * queue.driver is none). */
struct webhooks *webhooks_new(const struct webhooks_options *options);
void webhooks_run(struct webhooks *w); /* its thread starts; jobs that an earlier process left are taken up */
/* Stores what is batched, gives requests under way a moment, ends the thread; not later than until_ms (monotonic). With the
 * memory store it first delivers what it can until then. */
void webhooks_stop(struct webhooks *w, uint64_t until_ms);
/* After the store is closed and its completions have run. */
void webhooks_free(struct webhooks *w);

/* For env->notice. */
void webhooks_notice(struct webhooks *w, struct env *env, const struct notice *notice);

/* False while the queue cannot be written, and for a minute after something had to be dropped (chapter 4, 8.3: DEGRADED). */
bool webhooks_is_healthy(const struct webhooks *w);
/* Jobs that are not delivered yet. */
uint64_t webhooks_depth(const struct webhooks *w);

/* ---- dead letters ---- */

enum { DEAD_ID_SIZE = 16, REPLAY_MAX = 1000 };

/* The key prefix of an app's dead letters as store notes; the rest of the key is the id, the value a JSON object. */
void dead_letter_prefix(struct str app_id, struct buf *out);

/* Dead letters back into the queue. A field of its user, who keeps it until done() runs, on the shard `from`. */
struct webhooks_replay {
    struct task task;       /* ours */
    struct webhooks *hooks; /* ours */
    struct env *from;
    struct app *app;
    struct str id;          /* 16 hex digits, one of them; absent = the oldest ones */
    uint32_t limit;         /* at most so many, 1..REPLAY_MAX */
    void (*done)(struct webhooks_replay *replay);
    /* outputs */
    uint32_t replayed;
    uint64_t left;          /* dead letters of the app that are left */
    bool failed;            /* stopped early: the store did not answer, or the queue is full; what was replayed is */
};
/* False: the queue takes nothing now; done() is not called. */
bool webhooks_replay(struct webhooks *w, struct webhooks_replay *replay);
