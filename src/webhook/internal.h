/* internal.h - what the files of webhook share: targets, jobs, and the one struct of the webhook thread.
 *
 *      event     what a shard said, until it is in a job
 *      target    one webhook of one app, as configured; has a queue of its own
 *      job       one request that a target shall get: a batch of its events
 *
 *      PUTTING --stored--> READY --slot--> LOADING -> RUNNING --2xx--> gone
 *                            ^------- WAITING <-- back-off -'--else--> dead letter
 *
 * Threads: all of it is the webhook thread's, but for the fields said to be atomic.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <pthread.h>

#include "base/list.h"
#include "net/wheel.h"
#include "webhook/webhook.h"

enum {
    INBOX_TASKS = 1 << 16,
    INBOX_EVENTS_MAX = INBOX_TASKS - 4096, /* events that are in no job yet; the rest is for completions */
    APP_EVENTS_MIN = 1024,                 /* they are shared out among the apps, but at least so many each */
    EVENT_MAX = 900 << 10,                 /* bytes of one event; with its envelope it fits into a note */
    BATCH_BYTES_MAX = EVENT_MAX,
    SLOTS = 20,            /* requests in flight (2.19.2), those that hang not counted */
    SLOTS_UNTRUSTED = 10,  /* of them, for targets that have not answered in time lately */
    SLOW_MAX = 64,         /* requests that take longer than SLOW_AFTER_MS: they give their slot back */
    SLOW_AFTER_MS = 1000,
    TARGET_RUNNING_MAX = 8, /* requests in flight to one target; one while it keeps up, so that order holds */
    TARGET_SLOW_MAX = 4,    /* the same, of a target that answers, but not in time */
    BACKLOG_PER_REQUEST = 8,
    SCAN_LIMIT = 256,
    REPLAYS_MAX = 16,       /* asked for at a time; more are refused */
};
#define INBOX_BYTES_MAX (64u << 20)     /* of events that are in no job yet */
#define APP_BYTES_MIN (4u << 20)        /* shared out too */
#define BODIES_KEPT_MAX (64u << 20)     /* of bodies in memory; beyond, they are read from the store again */
#define JOURNAL_BYTES_MAX (64u << 20)   /* waiting for the store; beyond, batches wait */
#define QUEUE_BYTES_MAX (1ull << 30)    /* of all jobs, shared out among the targets */
#define QUEUE_BYTES_MIN (8ull << 20)    /* ... but at least so much each */
#define DEAD_BYTES_MAX (64u << 20)      /* of one app's dead letters */

struct retry {
    bool enabled;
    uint32_t attempts_max; /* 0 = no limit */
    uint64_t elapsed_max_ms, initial_ms, max_ms;
};
#define RETRY_NEVER UINT64_MAX
/* Until the next attempt, after `attempts` of them, the first of which began elapsed_ms ago. */
uint64_t retry_delay_ms(const struct retry *r, uint32_t attempts, uint64_t elapsed_ms);

enum verdict { VERDICT_DELIVERED, VERDICT_RETRY, VERDICT_PERMANENT };
/* status 0 = no response at all. */
enum verdict verdict_of(int status);

struct event {
    struct task task;
    struct webhooks *hooks;
    struct list link; /* in the batch */
    struct app *app;
    enum notice_kind kind;
    int64_t time_ms;
    struct str channel, json; /* in text */
    char text[];
};

struct target {
    struct app *app;
    const struct webhook_config *config;
    unsigned index; /* in the app's list */
    uint32_t kinds; /* bit set of enum notice_kind */
    void *pattern;
    bool wants_nothing; /* its pattern is no pattern */
    struct retry retry;
    uint64_t timeout_ms;
    char id[33];        /* of its URL, as jobs name it */
    struct str origin;  /* "https://host:port": all of the URL that is shown */
    struct hmac_key *hmac;
    /* queue.c's */
    struct list link;   /* among those that have ready jobs */
    struct list ready;
    uint64_t ready_count, jobs, bytes;
    unsigned running, slow;
    bool answers;       /* its last request was answered */
    bool trusted;       /* ... and in time */
    uint64_t said_ms;   /* when a failure was last logged; 0 = it works */
};
bool target_init(struct target *t, struct app *app, unsigned index);
void target_free(struct target *t);
bool target_wants(const struct target *t, enum notice_kind kind, struct str channel);

enum job_state { JOB_PUTTING, JOB_READY, JOB_LOADING, JOB_RUNNING, JOB_WAITING, JOB_LOST };
struct job {
    struct list link;   /* in target->ready */
    struct list all;    /* in webhooks.jobs */
    struct timer timer; /* back-off; while it runs: becoming slow */
    struct webhooks *hooks;
    struct target *target; /* NULL: none is configured (any more) */
    enum job_state state;
    uint64_t seq;
    int64_t time_ms;
    uint32_t events, attempts;
    uint64_t first_ms;  /* when the first attempt began */
    struct str body;    /* malloc'd; absent = in the store only */
    size_t bytes;       /* of the body */
    bool stored, slow;
    bool single;        /* nothing is merged with it */
    uint64_t *merged;   /* malloc'd: sequence numbers of the jobs whose events are in the body too */
    size_t merged_count;
    int status;         /* of the last attempt; 0 = no response */
    const char *reason; /* of its failure; static */
    /* of a job without a target: malloc'd */
    char *lost_app, *lost_origin, *lost_target;
    uint64_t lost_index;
};

/* ---- record.c: a job as a note ---- */
struct record {
    struct str app_id, target_id, origin; /* decoded, in the arena */
    uint64_t index, events;
    int64_t time_ms;
    bool single;
    struct str body;                      /* a view */
};
void record_put(struct buf *out, const struct record *r);
/* False: it is none of ours. */
bool record_read(struct str value, struct record *r, struct arena *arena);
void seq_put(struct buf *out, uint64_t seq); /* 16 hex digits */
bool seq_read(struct str digits, uint64_t *seq);

/* ---- batch.c ---- */
struct bucket {
    struct webhooks *hooks;
    struct app *app;
    struct target *targets; /* the app's */
    size_t targets_count;
    struct list events;
    size_t count, bytes;
    struct timer timer;
    _Atomic uint64_t inbox_events, inbox_bytes; /* of the app, in no job yet */
};
void batch_add(struct webhooks *w, struct event *e);
void batch_flush(struct webhooks *w); /* all that waits becomes jobs */

/* ---- journal.c: notes on their way to the store, in order, one operation at a time ---- */
struct entry;
struct entry *entry_new(struct webhooks *w, void (*done)(struct entry *entry, bool ok));
/* value absent = delete; both are copied. At most ENTRY_NOTES of them: they are stored all or none. */
void entry_note(struct entry *entry, struct str key, struct str value);
enum entry_fate {
    ENTRY_ONCE,      /* not stored: given up */
    ENTRY_MUST_STAY, /* not stored: tried again, before what came later */
};
void journal_add(struct entry *entry, enum entry_fate fate);
void journal_flush(struct webhooks *w);
void journal_drop_all(struct webhooks *w);
enum { ENTRY_NOTES = 4 };
struct entry {
    struct list link;
    struct webhooks *hooks;
    struct job *job;
    void *user;
    /* ok: stored; always so for ENTRY_MUST_STAY. NULL = nobody asks. */
    void (*done)(struct entry *entry, bool ok);
    struct buf keys[ENTRY_NOTES], values[ENTRY_NOTES];
    bool deletes[ENTRY_NOTES];
    unsigned count;
    size_t bytes;
    bool must_stay;
};
/* One page of notes. done() runs on the webhook thread and ends with scan_free(). */
struct scan {
    struct store_op op;
    struct task back;
    struct webhooks *hooks;
    void *user;
    void (*done)(struct scan *scan);
};
struct scan *scan_new(struct webhooks *w, struct str prefix, struct str after, uint32_t limit);
void scan_start(struct scan *scan);
void scan_free(struct scan *scan);

/* ---- queue.c ---- */
/* What a job is made of. */
struct draft {
    struct str body; /* malloc'd, given away */
    int64_t time_ms;
    uint32_t events;
    bool single;
};
/* A job of the target's, or, for its queue is full, a dead letter. */
void queue_add(struct webhooks *w, struct target *t, const struct draft *draft);
/* Whether there is room for what the record says. */
bool queue_takes(const struct webhooks *w, const struct record *r);
/* A job from its record, which is borrowed. It begins with queue_ready(), once it is in the store. */
struct job *queue_restore(struct webhooks *w, uint64_t seq, const struct record *r);
void queue_ready(struct job *job);
void job_key(struct buf *out, uint64_t seq); /* of its note */
void queue_start(struct webhooks *w); /* as many requests as there are slots */
/* status 0: no response, `reason` says why. */
void queue_finished(struct job *job, int status, const char *reason);
void queue_free(struct webhooks *w);
void queue_check(const struct webhooks *w); /* check.c: walks the invariants */

/* ---- dead.c ---- */
struct graves { /* the dead letters of one app; the array is sorted by seq, but for what a replay brings back */
    struct app *app; /* NULL: of apps that are not configured */
    struct grave {
        uint64_t seq, app_hash;
        uint32_t bytes;
    } *at;
    size_t count, cap;
    uint64_t bytes;
};
void dead_start(struct webhooks *w);
void dead_free(struct webhooks *w);
/* The job ends as a dead letter, with its body if it has it. */
void dead_bury(struct job *job, const char *reason);
void dead_read(struct webhooks *w, struct str key, struct str value); /* a note, at the start */
void dead_replay(struct webhooks *w, struct webhooks_replay *replay);

/* ---- figures.c ---- */
struct app_figures {
    struct metric_series *events, *dropped_full, *dropped_large, *delivered, *retried, *dead, *dead_dropped;
    struct metric_series *letters, *depth, *latency_ms;
};
void figures_of_webhooks(struct webhooks *w);
/* The same series, at 0 for ever: nobody has a webhook. */
void figures_of_none(const struct webhooks_options *o);
#define hook_count(w, app_, field, n) metric_add((w)->figures[(app_)->index].field, METRIC_SHARD_HOOK, n)

/* Makes requests; http.c in production. */
struct outlet {
    void (*send)(struct outlet *outlet, struct job *job);
    void (*abort_all)(struct outlet *outlet); /* forgets them; queue_finished() is not called */
};

struct webhooks {
    struct webhooks_options options; /* as given */
    struct outlet *outlet;
    bool in_memory; /* the store is: nothing survives the process */

    struct mailbox *inbox;
    _Atomic uint64_t inbox_events, inbox_bytes;
    _Atomic uint64_t dropped_ms;   /* when something was last dropped; 0 = never */
    _Atomic bool store_failing, said_full;
    _Atomic unsigned replays;      /* asked for and not answered */
    _Atomic uint64_t depth;        /* jobs */
    _Atomic uint64_t in_flight;    /* running + slow ones, for whoever looks */
    struct wheel *wheel;
    struct random random;

    struct target *targets;
    size_t targets_count;
    struct bucket *buckets;        /* by app->index */
    struct graves *graves;         /* by app->index; the last one is of apps that are not configured */

    struct list jobs;
    struct list active;            /* targets with ready jobs, the next one first */
    uint64_t app_events_max, app_bytes_max;
    uint64_t target_jobs_max, target_bytes_max;
    uint64_t bodies_bytes, bodies_bytes_max;
    unsigned running, slow, untrusted; /* requests in flight; of them slow; of those that are not slow, to untrusted targets */
    uint64_t seq;                  /* next */

    struct list pending;           /* entries */
    size_t pending_bytes;
    struct journal_op *under_way;
    struct timer journal_retry, recover_retry;
    unsigned scans;                /* under way */
    struct scan *failed_page;      /* of the recovery; asked for again */
    bool recovered;
    bool closed;                   /* nothing may be asked of the store any more */

    struct app_figures *figures;   /* by app->index */
    struct metric_series *store_failures;
    pthread_t thread;
    bool running_thread;
    _Atomic bool stopping;
    _Atomic uint64_t stop_ms;
};

static inline uint64_t hook_now_ms(const struct webhooks *w)
{
    return clock_mono_ms(w->options.clock);
}
/* Something was lost: /up is DEGRADED for a while. */
void hook_dropped(struct webhooks *w);

/* ---- recover.c: what an earlier process left ---- */
void recover_start(struct webhooks *w);

/* ---- webhook.c ---- */
/* Everything but the thread and the outlet's own work: mail, timers, store, requests that can start. */
void webhooks_turn(struct webhooks *w);
void event_free(struct event *e); /* gives its share of the inbox back */

/* ---- address.c ---- */
struct sockaddr;
bool address_is_public(const struct sockaddr *address);

/* ---- http.c ---- */
struct outlet *http_outlet_new(struct webhooks *w);
void http_outlet_free(struct outlet *outlet);
/* Moves bytes; waits until something happens, for at most wait_ms. */
void http_outlet_wait(struct outlet *outlet, int wait_ms);
