/* job.c - reading from the store for one subscription, a few at a time, and sending at the pace of its socket.
 *
 * What a job holds in memory is bounded by JOB_BYTES_MAX and how many hold it by JOBS_AT_ONCE, so a thousand clients that
 * come back at once wait in line instead of filling the memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "channel/filter.h"
#include "session/recovery.h"

enum { ROOM_MIN = 64, ROOM_WAIT_MS = 5 };

static void let_others(struct sessions *all)
{
    while (all->reading < JOBS_AT_ONCE && !list_empty(&all->waiting)) {
        struct job *job = list_of(list_take(&all->waiting), struct job, link);
        job->has_turn = true;
        all->reading++;
        job->begin(job);
    }
}

struct job *job_new(struct work *work, void (*begin)(struct job *job))
{
    struct job *job = mem_new(struct job);
    struct sessions *all = work->sub->session->all;
    job->all = all;
    job->work = work;
    job->begin = begin;
    job->channel = arena_copy(&job->arena, work->sub->channel);
    job->stream_id = arena_copy(&job->arena, str_of(work->head.stream_id));
    work->job = job;
    list_append(&all->waiting, &job->link);
    let_others(all);
    return job;
}

/* ---- reading ---- */

static void op_is_back(struct store_op *op);

struct job_op {
    struct store_op op;
    struct job *job;
};

struct store_op *job_op(struct job *job, enum store_op_kind kind)
{
    struct job_op *own = mem_new(struct job_op);
    own->job = job;
    own->op.kind = kind;
    own->op.shard = job->all->env->shard;
    own->op.done = op_is_back;
    own->op.app_id = job->work->sub->session->app->id;
    own->op.channel = job->channel;
    own->op.read.stream_id = job->stream_id;
    return &own->op;
}

static void op_free(struct store_op *op)
{
    arena_free(&op->arena);
    free(list_of(op, struct job_op, op));
}

void job_submit(struct job *job, struct store_op *op, void (*read)(struct job *job, struct store_op *op))
{
    job->read = read;
    job->in_flight = true;
    store_submit(job->all->env->store, op);
}

static void op_is_back(struct store_op *op)
{
    struct job *job = list_of(op, struct job_op, op)->job;
    job->in_flight = false;
    if (job->work != NULL) {
        job->read(job, op);
        return;
    }
    op_free(op);
    job_free(job);
}

static uint64_t bytes_of(const struct store_item *item)
{
    return sizeof(*item) + item->data.n + item->extras.n;
}

void job_keep(struct job *job, struct store_op *op)
{
    job->ops = mem_realloc(job->ops, (job->ops_count + 1) * sizeof(struct store_op *));
    job->ops[job->ops_count++] = op;
    size_t count = op->result == STORE_OK ? op->found.count : 0;
    if (job->items_count + count > job->items_cap) {
        job->items_cap = (job->items_count + count) * 2;
        job->items = mem_realloc(job->items, job->items_cap * sizeof(struct store_item));
    }
    for (size_t i = 0; i < count; i++) {
        job->items[job->items_count++] = op->found.items[i];
        job->bytes += bytes_of(&op->found.items[i]);
    }
}

/* Drops what was kept, lets the next job have its turn. */
static void end_reading(struct job *job)
{
    for (size_t i = 0; i < job->ops_count; i++)
        op_free(job->ops[i]);
    free(job->ops);
    free(job->items);
    job->ops = NULL;
    job->items = NULL;
    job->ops_count = job->items_count = job->items_cap = 0;
    if (!job->has_turn)
        return;
    job->has_turn = false;
    job->all->reading--;
    let_others(job->all);
}

/* ---- sending ---- */

static bool passes(const struct job *job, const struct replay_frame *f)
{
    const struct filter *filter = subscription_filter(job->work->sub->live);
    return filter == NULL || filter_accepts(filter, f->event_name, f->tags);
}

static bool has_room(const struct session *s)
{
    return s->all->room == NULL || s->all->room(s->sink) >= ROOM_MIN;
}

static void send_some(struct job *job)
{
    struct session *s = job->work->sub->session;
    while (job->frames_next < job->frames_count && has_room(s)) {
        struct replay_frame *f = &job->frames[job->frames_next++];
        if (passes(job, f)) {
            session_say(s, f->frame);
            job->delivered++;
        } else {
            frame_drop(f->frame);
        }
        f->frame = NULL;
    }
    if (job->frames_next == job->frames_count)
        job->sent(job);
    else
        wheel_set(job->all->env->wheel, &job->timer, env_now_ms(job->all->env) + ROOM_WAIT_MS);
}

static void look_again(struct timer *timer)
{
    send_some(list_of(timer, struct job, timer));
}

/* What the frames' texts point to goes with the items. */
static void own_texts(struct job *job, struct replay_frame *frames, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        frames[i].message_id = arena_copy(&job->arena, frames[i].message_id);
        frames[i].event_name = arena_copy(&job->arena, frames[i].event_name);
        frames[i].tags = arena_copy(&job->arena, frames[i].tags);
    }
}

void job_send(struct job *job, struct replay_frame *frames, size_t count, void (*sent)(struct job *job))
{
    own_texts(job, frames, count);
    end_reading(job);
    job->frames = frames;
    job->frames_count = count;
    job->sent = sent;
    job->timer.fire = look_again;
    send_some(job);
}

/* ---- the end ---- */

void job_free(struct job *job)
{
    assert(!job->in_flight);
    if (job->work != NULL)
        job->work->job = NULL;
    wheel_cancel(job->all->env->wheel, &job->timer);
    if (job->link.next != NULL)
        list_remove(&job->link);
    for (size_t i = job->frames_next; i < job->frames_count; i++)
        frame_drop(job->frames[i].frame);
    job->frames_count = job->frames_next = 0;
    end_reading(job);
    arena_free(&job->arena);
    free(job);
}

void job_abandon(struct job *job)
{
    job->work->job = NULL;
    job->work = NULL;
    if (!job->in_flight)
        job_free(job);
}
