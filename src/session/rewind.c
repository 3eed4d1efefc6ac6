/* rewind.c - the last rows of a channel for a new subscriber (chapter 3, section 3).
 *
 * All is read as of the attach position A: rows up to its history position, of each message its versions up to A. So the
 * gate continues exactly where the rows end.
 *
 *      count    newest first, page by page until enough rows have passed the filter, then sent in reverse
 *      seconds  oldest first from the moment on, one page
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/mem.h"
#include "channel/filter.h"
#include "session/recovery.h"

enum { SCANNED_PAGES_MAX = 16 };

static uint32_t page_max(const struct job *job)
{
    uint32_t max = job->all->env->config->history.max_page_size;
    return max > 0 ? max : 100;
}

static uint64_t wanted(const struct job *job)
{
    uint64_t n = job->work->rewind.kind == REWIND_COUNT ? job->work->rewind.n : UINT64_MAX;
    return n < page_max(job) ? n : page_max(job);
}

/* The event name of the frame that replay_row() makes. */
static struct str event_of_row(const struct store_item *item)
{
    if (!item->mutated)
        return item->event_name;
    return action_event(item->action == ACTION_DELETE ? ACTION_DELETE : ACTION_UPDATE);
}

static bool passes(const struct job *job, const struct store_item *item)
{
    const struct filter *filter = subscription_filter(job->work->sub->live);
    return filter == NULL || filter_accepts(filter, event_of_row(item), item->tags);
}

/* Drops from the items at [from, count) those that the filter hides. */
static void apply_filter(struct job *job, size_t from)
{
    size_t kept = from;
    for (size_t i = from; i < job->items_count; i++)
        if (passes(job, &job->items[i]))
            job->items[kept++] = job->items[i];
    job->items_count = kept;
}

static void read_rows(struct job *job, uint64_t after);

static void note_flags(struct job *job, const struct store_op *op, bool more)
{
    struct work *work = job->work;
    bool by_count = work->rewind.kind == REWIND_COUNT;
    int64_t start_ms = op->read.start_ms;
    work->by_limit = more || (by_count && work->rewind.n > page_max(job));
    if (op->head.oldest_history > 1)
        work->by_retention = by_count ? !more && job->items_count < work->rewind.n : op->head.oldest_ms > start_ms;
}

static void rows_sent(struct job *job)
{
    struct work *work = job->work;
    work->historical = (uint32_t)job->slice->count;
    work->rewound = true;
    work->rewind.kind = REWIND_NONE;
    job_free(job);
    work_next(work);
}

/* A resume that comes with this attach leaves these messages out. */
static void note_rewound(struct sub *sub, const struct store_item *items, size_t count)
{
    free(sub->rewound);
    sub->rewound = count > 0 ? mem_alloc(count * sizeof(uint64_t)) : NULL;
    sub->rewound_count = (uint32_t)count;
    for (size_t i = 0; i < count; i++)
        sub->rewound[i] = items[i].message.history;
}

static void send_rows(struct job *job)
{
    bool reverse = job->work->rewind.kind == REWIND_COUNT;
    size_t n = job->items_count;
    struct replay_frame *frames = arena_zalloc(&job->arena, (n + 1) * sizeof(*frames));
    for (size_t i = 0; i < n; i++) {
        const struct store_item *item = &job->items[reverse ? n - 1 - i : i];
        frames[i].frame = replay_row(item, job->channel, job->stream_id, &job->all->env->random, &job->arena);
        frames[i].event_name = event_of_row(item);
        frames[i].tags = item->tags;
        frames[i].history = item->message.history;
    }
    note_rewound(job->work->sub, job->items, n);
    struct slice *slice = slice_new(frames, n);
    slice->cold = true;
    job_send(job, slice, rows_sent);
}

static void read_failed(struct job *job)
{
    struct work *work = job->work;
    session_error(work->sub->session, CODE_GENERIC, work->sub->channel,
                  "Rewind failed: the history of the channel cannot be read");
    work->rewind_failed = true;
    job->items_count = 0;
    send_rows(job);
}

static void rows_read(struct job *job, struct store_op *op)
{
    size_t before = job->items_count;
    job_keep(job, op);
    if (op->result != STORE_OK) {
        read_failed(job);
        return;
    }
    size_t scanned = op->found.count;
    uint64_t last = scanned > 0 ? op->found.items[scanned - 1].message.history : 0;
    bool more = op->found.more;
    apply_filter(job, before);
    if (job->items_count > wanted(job)) {
        job->items_count = wanted(job);
        more = true;
    }
    bool enough = job->items_count == wanted(job) || job->bytes >= JOB_BYTES_MAX;
    bool may_scan = job->work->rewind.kind == REWIND_COUNT && job->ops_count < SCANNED_PAGES_MAX;
    if (more && scanned > 0 && !enough && may_scan) {
        read_rows(job, last);
        return;
    }
    note_flags(job, op, more);
    send_rows(job);
}

static void read_rows(struct job *job, uint64_t after)
{
    const struct work *work = job->work;
    struct store_op *op = job_op(job, STORE_PAGE);
    struct store_read *read = &op->read;
    bool filtered = subscription_filter(work->sub->live) != NULL;
    read->as_of_delivery = work->head.delivery;
    read->end_history = work->head.history;
    read->limit = filtered ? page_max(job) : (uint32_t)wanted(job);
    read->after = after;
    read->bytes_max = JOB_BYTES_MAX;
    read->start_ms = INT64_MIN;
    read->end_ms = INT64_MAX;
    read->direction = NEWEST_FIRST;
    if (work->rewind.kind == REWIND_SECONDS) {
        uint64_t ago_ms = work->rewind.n < INT64_MAX / 4000 ? work->rewind.n * 1000 : INT64_MAX / 4;
        read->direction = OLDEST_FIRST;
        read->age_max_ms = ago_ms;
    }
    job_submit(job, op, rows_read);
}

static void begin(struct job *job)
{
    if (job->work->head.history == 0)
        send_rows(job); /* nothing has been stored yet */
    else
        read_rows(job, 0);
}

void rewind_begin(struct work *work)
{
    job_start(job_new(work), begin);
}
