/* recover.c - one channel of a resume: may the position be served, and the replay (chapter 3, 4.4 to 4.6).
 *
 *      serial ........ A ........ S     A  position from which on this connection has been served live
 *      `--- replay ---'`-- live --'     S  position at which the gate was closed; A = S unless the resume came late
 *
 * The range is read whole before the first frame is sent, since the window counts frames. When live frames have gone out
 * before, (A, S] is read too: messages that had one of those are shown whole, as of S, instead of by fragments.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/map.h"
#include "session/recovery.h"

enum why { /* the rows of 4.4 */
    WHY_NOT,
    MISMATCH, AHEAD, EMPTY, FLOOR, WINDOW, READ_FAILED, HOLE, SHORT, RESET_REQUIRED, DEGRADED, LEGACY, HISTORY_OFF,
    HOT_MISMATCH,
};

/* [versioned] */
static const struct resume_failure failures[][2] = {
    [MISMATCH] = {{"stream_reset", "durable_stream_id_mismatch"}, {"stream_reset", "version_stream_id_mismatch"}},
    [AHEAD] = {{"continuity_unverifiable", "position_ahead_of_durable_stream"},
               {"continuity_unverifiable", "position_ahead_of_version_stream"}},
    [EMPTY] = {{"position_expired", "durable_history_empty_after_prior_writes"},
               {"position_expired", "version_replay_empty_after_prior_writes"}},
    [FLOOR] = {{"position_expired", "retained_history_floor_is_ahead_of_requested_serial"},
               {"position_expired", "version_replay_floor_is_ahead_of_requested_serial"}},
    [WINDOW] = {{"position_expired", "recovery_window_exceeded"}, {"position_expired", "recovery_window_exceeded"}},
    [READ_FAILED] = {{"persistence_unavailable", "durable_history_read_failed"},
                     {"persistence_unavailable", "version_store_replay_failed"}},
    [HOLE] = {{"continuity_unverifiable", "durable_history_is_not_contiguous"},
              {"continuity_unverifiable", "version_replay_is_not_contiguous"}},
    [SHORT] = {{"continuity_unverifiable", "durable_history_ended_before_stream_head"},
               {"continuity_unverifiable", "version_replay_ended_before_stream_head"}},
    [RESET_REQUIRED] = {{"stream_reset", "durable_stream_reset_required"},
                        {"stream_reset", "durable_stream_reset_required"}},
    [DEGRADED] = {{"persistence_unavailable", "history_stream_degraded"},
                  {"persistence_unavailable", "history_stream_degraded"}},
    [LEGACY] = {{"continuity_unverifiable", "legacy_serial_only_position_cannot_use_cold_recovery"},
                {"continuity_unverifiable", "legacy_serial_only_position_cannot_use_cold_recovery"}},
    [HISTORY_OFF] = {{"position_expired", "hot_replay_expired_and_durable_history_disabled"},
                     {"position_expired", "hot_replay_expired_and_durable_history_disabled"}},
    [HOT_MISMATCH] = {{"stream_reset", "stream_id_mismatch"}, {"stream_reset", "stream_id_mismatch"}},
};

static void fail(struct work *work, enum why why)
{
    batch_failed(work, failures[why][work->policy.versioned]);
}

static void one_fails(struct job *job, const void *why)
{
    struct work *work = job->work;
    job_free(job);
    fail(work, *(const enum why *)why);
}

static void job_fails(struct job *job, enum why why)
{
    job_each(job, one_fails, &why);
}

/* ---- may it be served? ---- */

static enum why check_floor(const struct store_head *head, uint64_t serial)
{
    if (serial == head->delivery || serial + 1 >= head->replay_floor)
        return WHY_NOT;
    return head->replay_floor > head->delivery ? EMPTY : FLOOR;
}

static bool is_stream(const struct work *work)
{
    return str_eq(work->position->stream_id, str_of(work->head.stream_id));
}

static bool is_too_far(const struct work *work)
{
    uint64_t at = work->position->serial, first_at = work->sub->first_at;
    return first_at > at && first_at - at > work->sub->session->all->env->config->recovery.max_positions;
}

/* The rows of the cold tier, up to what only reading can tell. */
static enum why check(const struct work *work)
{
    const struct position *p = work->position;
    const struct store_head *head = &work->head;
    if (p->legacy)
        return LEGACY;
    if (!work->policy.history)
        return HISTORY_OFF;
    if (head->state != STATE_HEALTHY)
        return head->state == STATE_DEGRADED ? DEGRADED : RESET_REQUIRED;
    if (!is_stream(work))
        return MISMATCH;
    if (p->serial > head->delivery)
        return AHEAD;
    enum why why = check_floor(head, p->serial);
    return why == WHY_NOT && is_too_far(work) ? WINDOW : why;
}

/* ---- the replay ---- */

static bool went_live(const struct job *job)
{
    return job->work->sub->live_at > job->work->sub->first_at;
}

static struct replay replay_of(struct job *job)
{
    bool full = job->work->sub->session->mode == LANE_FULL;
    return (struct replay){
        .channel = job->channel,
        .stream_id = job->stream_id,
        .shape = went_live(job) ? REPLAY_SNAPSHOT : full ? REPLAY_WHOLE : REPLAY_RUNS,
        .items = job->items,
        .count = job->items_count,
        .random = &job->all->env->random,
        .arena = &job->arena,
    };
}

static void replayed(struct job *job)
{
    struct work *work = job->work;
    const struct slice *slice = job->slice;
    const struct replay_frame *last = slice->count > 0 ? &slice->frames[slice->count - 1] : NULL;
    work->job = NULL;
    job->work = NULL;
    batch_recovered(work, job->source, job->delivered, true, last != NULL ? last->message_id : STR_NONE);
    job_free(job);
}

static void one_sends(struct job *job, const void *with)
{
    const struct slice *slice = with;
    struct sub *sub = job->work->sub;
    if (!went_live(job)) /* a follower has got as far as the one that read */
        sub->first_at = sub->live_at = slice->to;
    job_send(job, slice_take((struct slice *)slice), replayed);
}

static void have_frames(struct job *job, const struct replay *replay)
{
    size_t count;
    struct replay_frame *frames = replay_frames(replay, &count);
    struct slice *slice = slice_new(frames, count);
    slice->to = job->to;
    slice->cold = true;
    if (job->shared_key.p != NULL)
        kept_put(job->all, job->shared_key, slice);
    job_each(job, one_sends, slice);
    slice_drop(slice);
}

static void latest_read(struct job *job, struct store_op *op)
{
    struct replay replay = replay_of(job);
    size_t before = job->items_count;
    enum store_result result = op->result;
    enum stream_state state = op->head.state;
    job_keep(job, op);
    if (result != STORE_OK) {
        job_fails(job, result != STORE_UNHEALTHY ? READ_FAILED : state == STATE_DEGRADED ? DEGRADED : RESET_REQUIRED);
        return;
    }
    replay.items = job->items; /* may have moved */
    replay.latest = job->items + before;
    replay.latest_count = job->items_count - before;
    have_frames(job, &replay);
}

static void read_latest(struct job *job, const struct message_id *ids, size_t count)
{
    struct store_op *op = job_op(job, STORE_LATEST);
    op->read.ids = ids;
    op->read.ids_count = count;
    op->read.as_of_delivery = job->to;
    job_submit(job, op, latest_read);
}

static bool was_rewound(const struct sub *sub, const struct store_item *item)
{
    for (uint32_t i = 0; i < sub->rewound_count; i++)
        if (sub->rewound[i] == item->message.history)
            return true;
    return false;
}

/* Leaves out what this connection has: messages of a rewind, and what lies above A unless its message has something to
 * be replayed below. */
static void leave_out_known(struct job *job)
{
    const struct sub *sub = job->work->sub;
    struct map below = {0};
    size_t kept = 0;
    if (sub->rewound_count == 0 && !went_live(job))
        return;
    for (size_t i = 0; i < job->items_count; i++) {
        const struct store_item *item = &job->items[i];
        struct str key = str_make(arena_copy(&job->arena, str_make(&item->message.create_delivery, 8)).p, 8);
        bool old = item->delivery <= sub->first_at;
        if (was_rewound(sub, item) || (!old && map_get(&below, key) == NULL))
            continue;
        if (old)
            map_put(&below, key, job);
        job->items[kept++] = *item;
    }
    job->items_count = kept;
    map_free(&below);
}

static void build(struct job *job)
{
    leave_out_known(job);
    struct replay replay = replay_of(job);
    size_t count = 0;
    if (replay_count(&replay) > job->work->policy.recovery_frames_max) {
        job_fails(job, WINDOW);
        return;
    }
    if (replay.shape != REPLAY_RUNS) {
        struct message_id *ids = replay_mutated(&replay, &count);
        if (count > 0) {
            read_latest(job, ids, count);
            return;
        }
    }
    have_frames(job, &replay);
}

/* ---- reading the range ---- */

static enum why why_of(const struct store_op *op, uint64_t from)
{
    switch (op->result) {
    case STORE_OK:
        break;
    case STORE_EXPIRED:
        return op->head.replay_floor > op->head.delivery ? EMPTY : FLOOR;
    case STORE_WRONG_STREAM:
        return MISMATCH;
    case STORE_UNHEALTHY:
        return op->head.state == STATE_DEGRADED ? DEGRADED : RESET_REQUIRED;
    default:
        return READ_FAILED;
    }
    for (size_t i = 0; i < op->found.count; i++)
        if (op->found.items[i].delivery != from + 1 + i)
            return HOLE;
    return op->found.count == 0 ? SHORT : WHY_NOT;
}

static void read_range(struct job *job, uint64_t from);

static void range_read(struct job *job, struct store_op *op)
{
    uint64_t from = op->read.from_delivery;
    enum why why = why_of(op, from);
    if (op->result != STORE_OK && op->head.stream_id[0] != '\0')
        job->work->head = op->head; /* what the failure tells must be what the store said */
    uint64_t upto = why == WHY_NOT ? from + op->found.count : from;
    job_keep(job, op);
    if (why != WHY_NOT)
        job_fails(job, why);
    else if (job->bytes > JOB_BYTES_MAX)
        job_fails(job, WINDOW);
    else if (upto < job->to)
        read_range(job, upto);
    else
        build(job);
}

static void read_range(struct job *job, uint64_t from)
{
    struct store_op *op = job_op(job, STORE_REPLAY);
    op->read.from_delivery = from;
    op->read.to_delivery = job->to;
    op->read.bytes_max = JOB_PAGE_BYTES;
    job_submit(job, op, range_read);
}

static void begin(struct job *job)
{
    read_range(job, job->from);
}

/* ---- the two tiers ---- */

static void follow_or_read(struct job *job)
{
    if (!job_follow(job))
        job_start(job, begin);
}

/* What the owner's buffer has above the kept slice. */
static void rest_comes(struct job *job, struct slice *rest)
{
    uint64_t upto = job->from;
    job->from = job->work->position->serial;
    struct slice *kept = kept_find(job->all, job_range_key(job));
    bool fits = rest != NULL && kept != NULL && kept->to == upto;
    if (!fits || kept->count + rest->count > job->work->policy.recovery_frames_max) {
        slice_drop(rest);
        follow_or_read(job);
        return;
    }
    job->then = rest;
    job_send(job, slice_take(kept), replayed);
}

/* True: what was read a moment ago is all, or all but what the owner's buffer has. */
static bool serve_kept(struct job *job)
{
    const struct work *work = job->work;
    struct slice *kept = kept_find(job->all, job_range_key(job));
    if (kept == NULL || kept->count > work->policy.recovery_frames_max)
        return false;
    if (kept->to >= job->to) {
        one_sends(job, kept);
        return true;
    }
    if (kept->to < work->hot_from || work->sub->session->mode == LANE_FULL)
        return false;
    job->from = kept->to;
    job_ask_owner(job, HOT_ANY, rest_comes);
    return true;
}

static void read_cold(struct job *job)
{
    const struct work *work = job->work;
    enum why why = check(work);
    if (why != WHY_NOT) {
        job_fails(job, why);
        return;
    }
    job->source = "cold";
    job->from = work->position->serial;
    job->to = work->sub->live_at;
    if (went_live(job) || work->sub->rewound_count > 0)
        job_start(job, begin); /* what it reads is good for nobody else */
    else if (!serve_kept(job))
        follow_or_read(job);
}

static void owner_has(struct job *job, struct slice *slice)
{
    if (slice == NULL) {
        read_cold(job);
    } else if (slice->count > job->work->policy.recovery_frames_max) {
        slice_drop(slice);
        job_fails(job, WINDOW);
    } else {
        job->source = "hot";
        job->skip_rewound = true;
        job_send(job, slice, replayed);
    }
}

static enum hot_want wanted(const struct job *job)
{
    if (went_live(job))
        return HOT_ORDINARY; /* the others are shown whole, as of what has been sent */
    return job->work->sub->session->mode == LANE_FULL ? HOT_WHOLE : HOT_ANY;
}

static void begin_hot(struct work *work)
{
    struct job *job = job_new(work);
    job->from = work->position->serial;
    job->to = work->sub->first_at;
    job_ask_owner(job, wanted(job), owner_has);
}

static void begin_cold(struct work *work)
{
    struct job *job = job_new(work);
    job->from = work->position->serial;
    read_cold(job);
}

void resume_begin(struct work *work)
{
    const struct position *p = work->position;
    bool same = is_stream(work) || (p->stream_id.p == NULL && (p->legacy || !work->policy.history));
    bool hot = same && work->head.stream_id[0] != '\0' && p->serial >= work->hot_from && !is_too_far(work);
    bool reached = same && p->serial >= work->sub->first_at && p->serial <= work->head.delivery;
    enum why why = check(work);
    if (!work->policy.history && !same)
        fail(work, HOT_MISMATCH);
    else if (reached && (hot || !work->policy.history))
        batch_recovered(work, "hot", 0, false, STR_NONE);
    else if (hot && p->serial < work->sub->first_at)
        begin_hot(work);
    else if (why != WHY_NOT)
        fail(work, why);
    else if (p->serial >= work->sub->first_at)
        batch_recovered(work, "cold", 0, false, STR_NONE);
    else
        begin_cold(work);
}
