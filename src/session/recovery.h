/* recovery.h - getting back what was missed: rewind and resume (chapter 3, sections 3 and 4).
 *
 *   command_resume -> position -+- channel unknown here    -> pending, 30 s at most
 *                               `- subscribed or attaching -> work --+
 *   subscribe with rewind ------------------------------------> work --+-> gate closed at A
 *        rewind_begin   rows as of A            -> frames
 *        resume_begin   (serial, A] from the owner's replay buffer, or as versions from the store, or why not
 *        batch          all channels of one resume: its last one sends resume_success
 *        sub_open       what is above A, then live
 *
 * Reading is done by jobs, a few at a time per shard; a job whose work has gone ends when the store gives its op back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "message/slice.h"
#include "session/internal.h"

struct position { /* where a client says it was */
    struct list link;      /* in pending->positions */
    uint64_t serial;
    uint64_t due_ms;       /* pending: when it is given up */
    bool legacy;           /* without stream id: channel_serials */
    struct str stream_id;  /* absent = not given; text[], as the next one */
    struct str channel;
    char text[];
};

/* The channels of one resume request. */
struct batch {
    struct session *session;
    struct list works;      /* struct work.batch_link */
    uint32_t undecided;     /* channels, and 1 while the request is being read */
    struct buf recovered, failed; /* JSON items with commas between */
};

/* What is to be done between the acknowledgement of a subscription and the opening of its gate. */
struct work {
    struct sub *sub;
    struct rewind rewind;        /* kind is REWIND_NONE once it is done */
    struct position *position;   /* NULL = no resume, or decided */
    struct batch *batch;         /* NULL = none */
    struct list batch_link;
    struct job *job;             /* under way; NULL = none */
    bool fresh;                  /* attached, or attaching, at the head that the store had afterwards */
    bool attached;               /* the gate is closed and the next two are known */
    struct store_head head;
    uint64_t hot_from;           /* as in struct attached */
    struct channel_policy policy;
    bool again;                  /* it was subscribed to once more meanwhile: attach anew afterwards */
    struct rewind later;         /* with that */
    bool rewound;                /* rewind_complete is to be said */
    bool by_retention, by_limit, rewind_failed;
    uint32_t historical;         /* rows sent by the rewind */
};

/* ---- work.c ---- */
struct work *work_of(struct sub *sub); /* made if there is none */
/* The gate is closed. Does what there is to do and opens it, now or later. */
void work_attached(struct work *work, const struct attached *attached);
void work_next(struct work *work);
/* Nothing of it is wanted any more: the subscription ends. */
void work_drop(struct work *work);

/* ---- rewind.c: ends in work_next() ---- */
void rewind_begin(struct work *work);

/* ---- recover.c: ends in batch_recovered() or batch_failed() ---- */
void resume_begin(struct work *work);
struct resume_failure {
    const char *code, *reason;
};

/* ---- resume.c ---- */
struct position *pending_take(struct session *s, struct str channel);
uint64_t pending_due_ms(const struct session *s); /* 0 = nothing pending */
void pending_expire(struct session *s, uint64_t now_ms);
void pending_free(struct session *s);
/* A batch of this one channel, for a position that was pending. */
void batch_of_one(struct work *work, struct position *position);
/* How the channel's position came out; if it is the last of its batch, the gates open and the work is freed. replayed frames were
 * sent; last_id: message_id of the last one; examined: whether anything lay between. Frees the position. */
void batch_recovered(struct work *work, const char *source, uint32_t replayed, bool examined, struct str last_id);
/* Says resume_failed, too. */
void batch_failed(struct work *work, struct resume_failure why);

/* ---- job.c ---- */
struct job {
    struct list link;            /* in all->waiting, all->ready, all->stalled, or another job's followers */
    struct sessions *all;
    struct work *work;           /* NULL = nobody waits for it any more */
    uint64_t from, to;           /* a resume: delivery positions (from, to] */
    struct list followers;       /* struct job.link: get what this one reads */
    struct str shared_key;       /* in all->shared under it; absent = not to be followed */
    void (*begin)(struct job *job);
    void (*read)(struct job *job, struct store_op *op); /* an op has come back; the job owns it */
    void (*answered)(struct job *job, struct slice *slice); /* the owner has; NULL = it cannot serve it */
    void (*sent)(struct job *job);                      /* all frames have been sent */
    struct store_op **ops;       /* whose items are in use */
    size_t ops_count;
    struct store_item *items;    /* of all ops, in the order in which they came */
    size_t items_count, items_cap;
    uint64_t bytes;              /* what they hold, roughly */
    struct arena arena;          /* as long as the job */
    struct str channel;          /* in the arena, as the next one */
    struct str stream_id;
    struct slice *slice;         /* what is sent */
    struct slice *then;          /* and behind it; NULL = nothing */
    size_t frames_next;
    uint32_t delivered;          /* frames that the filter let through */
    struct timer timer;          /* waits for the socket */
    uint64_t stalled_ms;         /* since then without room for a frame */
    uint32_t wait_ms;            /* until it looks again */
    bool stalled;                /* in all->stalled */
    const char *source;          /* "hot", "cold" */
    bool skip_rewound;           /* messages that a rewind has shown are left out */
    bool has_turn, in_flight;
};
enum { JOBS_AT_ONCE = 16, SENDS_AT_ONCE = 64, STALL_MS_MAX = 30000 };
#define JOB_BYTES_MAX (16u << 20)
#define STALLED_BYTES_MAX (128u << 20)
#define JOB_PAGE_BYTES (1u << 20)
struct job *job_new(struct work *work);
/* begin() is called when it is its turn to read. */
void job_start(struct job *job, void (*begin)(struct job *job));
/* What jobs with the same key read is the same, but for how far it goes: channel, stream, mode and `from`. In the arena. */
struct str job_range_key(struct job *job);
/* True: another job, with the same channel, stream, mode and `from`, reads for this one, which gets its slice (up to the reader's
 * `to`) by job_each(). False: the caller starts it, and others may follow it. */
bool job_follow(struct job *job);
/* The job and all that follow it; none does afterwards. */
void job_each(struct job *job, void (*each)(struct job *job, const void *with), const void *with);
struct store_op *job_op(struct job *job, enum store_op_kind kind);
/* Its result comes to job->read, unless the work has gone. */
void job_submit(struct job *job, struct store_op *op, void (*read)(struct job *job, struct store_op *op));
/* What the owner's replay buffer has of the job's range; needs no turn. */
void job_ask_owner(struct job *job, enum hot_want want, void (*answered)(struct job *job, struct slice *slice));
/* Keeps the op, and copies its items behind the others. */
void job_keep(struct job *job, struct store_op *op);
/* Nothing is read any more, what was kept is dropped. Sends the slice (a reference is taken over), then calls sent(). */
void job_send(struct job *job, struct slice *slice, void (*sent)(struct job *job));
void job_free(struct job *job);
/* Nobody waits for it any more. */
void job_abandon(struct job *job);

/* ---- kept.c ---- */
void kept_init(struct sessions *all);
void kept_free(struct sessions *all);
/* slice: of jobs with that key; a reference is taken. */
void kept_put(struct sessions *all, struct str key, struct slice *slice);
struct slice *kept_find(const struct sessions *all, struct str key); /* borrowed; NULL = none */
