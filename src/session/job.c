/* job.c - getting the frames that one subscription has missed, and sending them at the pace of its socket.
 *
 *      waiting -> reading ----.
 *        ^          |          `--> slice --> ready --> sending --> sent()
 *      followers ---'         .-->
 *      asked (the owner's replay buffer)
 *
 * What a job reads from the store is bounded by JOB_BYTES_MAX and how many read by JOBS_AT_ONCE, so a thousand clients that come
 * back at once wait in line instead of filling the memory. Those that want the same stretch of the same channel follow one that
 * reads: while it waits for its turn, it reads on to where the last of them attached (an attach position is a border between
 * frames, for the owner flushes its rollups there). At most SENDS_AT_ONCE begin to send in one turn.
 *
 * What was read waits in memory until its socket takes it. A client that takes nothing for STALL_MS_MAX is closed as a slow consumer
 * (4100), and when those who wait hold more than STALLED_BYTES_MAX on a shard (replay_waiting_bytes), who has waited longest is:
 * connection_limits_reached_total{limit="replays"}. Either can resume.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"
#include "channel/filter.h"
#include "session/recovery.h"

enum { ROOM_WAIT_MS = 5, ROOM_WAIT_MAX_MS = 320 };

static void let_others(struct sessions *all)
{
    while (all->reading < JOBS_AT_ONCE && !list_empty(&all->waiting)) {
        struct job *job = list_of(list_take(&all->waiting), struct job, link);
        job->has_turn = true;
        all->reading++;
        job->begin(job);
    }
}

struct job *job_new(struct work *work)
{
    struct job *job = mem_new(struct job);
    struct sessions *all = work->sub->session->all;
    job->all = all;
    job->work = work;
    list_init(&job->link);
    list_init(&job->followers);
    job->channel = arena_copy(&job->arena, work->sub->channel);
    job->stream_id = arena_copy(&job->arena, str_of(work->head.stream_id));
    work->job = job;
    return job;
}

void job_start(struct job *job, void (*begin)(struct job *job))
{
    job->begin = begin;
    list_append(&job->all->waiting, &job->link);
    let_others(job->all);
}

/* ---- following another ---- */

struct str job_range_key(struct job *job)
{
    const struct session *s = job->work->sub->session;
    struct buf key = {0};
    buf_fmt(&key, "%.*s %.*s %llu %d ", STR_ARG(s->app->id), STR_ARG(job->stream_id), (unsigned long long)job->from, s->mode);
    buf_str(&key, job->channel);
    struct str copy = arena_copy(&job->arena, buf_view(&key));
    buf_free(&key);
    return copy;
}

static void unshare(struct job *job)
{
    if (job->shared_key.p != NULL && map_get(&job->all->shared, job->shared_key) == job)
        map_del(&job->all->shared, job->shared_key);
    job->shared_key = STR_NONE;
}

bool job_follow(struct job *job)
{
    struct str key = job_range_key(job);
    struct job *leader = map_get(&job->all->shared, key);
    if (leader != NULL && leader->to < job->to && !leader->has_turn)
        leader->to = job->to;
    if (leader != NULL && leader->to >= job->to) {
        list_append(&leader->followers, &job->link);
        return true;
    }
    if (leader != NULL)
        unshare(leader); /* the later one reads further */
    job->shared_key = key;
    map_put(&job->all->shared, key, job);
    return false;
}

/* The job goes on for its first follower, which it becomes. */
static bool promote(struct job *job)
{
    struct list *link = list_take(&job->followers);
    if (link == NULL)
        return false;
    struct job *follower = list_of(link, struct job, link);
    job->work = follower->work;
    job->work->job = job;
    follower->work = NULL;
    job_free(follower);
    return true;
}

void job_each(struct job *job, void (*each)(struct job *job, const void *with), const void *with)
{
    unshare(job);
    for (struct list *link; (link = list_take(&job->followers)) != NULL;)
        each(list_of(link, struct job, link), with);
    each(job, with);
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

/* ---- asking the owner ---- */

static void owner_answers(void *user, struct slice *slice)
{
    struct job *job = user;
    job->in_flight = false;
    if (job->work != NULL) {
        job->answered(job, slice);
        return;
    }
    slice_drop(slice);
    job_free(job);
}

void job_ask_owner(struct job *job, enum hot_want want, void (*answered)(struct job *job, struct slice *slice))
{
    struct replay_wanted wanted = {.app = job->work->sub->session->app, .channel = job->channel, .stream_id = job->stream_id,
                                   .from = job->from, .to = job->to, .want = want, .done = owner_answers, .user = job};
    job->answered = answered;
    job->in_flight = true;
    hub_replay(job->all->env, &wanted);
}

/* ---- sending ---- */

static bool was_rewound(const struct sub *sub, const struct replay_frame *f)
{
    for (uint32_t i = 0; i < sub->rewound_count; i++)
        if (sub->rewound[i] == f->history)
            return true;
    return false;
}

static bool passes(const struct job *job, const struct replay_frame *f)
{
    const struct sub *sub = job->work->sub;
    const struct filter *filter = subscription_filter(sub->live);
    if (job->skip_rewound && was_rewound(sub, f))
        return false;
    if (sub->covered)
        return cover_accepts(sub, f->event_name, f->tags);
    return filter == NULL || filter_accepts(filter, f->event_name, f->tags);
}

static bool has_room(const struct session *s)
{
    return s->all->room == NULL || s->all->room(s->sink) > 0;
}

/* Goes on with the second slice when the first one is done. */
static bool has_more(struct job *job)
{
    if (job->frames_next == job->slice->count && job->then != NULL) {
        slice_drop(job->slice);
        job->slice = job->then;
        job->then = NULL;
        job->frames_next = 0;
    }
    return job->frames_next < job->slice->count;
}

static void count_stalled(struct job *job, int64_t change)
{
    const struct session *s = job->work->sub->session;
    job->all->stalled_bytes += (uint64_t)change;
    metrics_gauge(job->all->env, s->app, replay_waiting, change);
}

static void stall_ends(struct job *job)
{
    struct slice *slice = job->slice;
    if (!job->stalled)
        return;
    job->stalled = false;
    list_remove(&job->link);
    if (slice->cold && --slice->stalled == 0)
        count_stalled(job, -(int64_t)slice->bytes);
}

/* The client does not read, and the memory is needed. */
static void give_up(struct job *job)
{
    struct session *s = job->work->sub->session;
    stall_ends(job);
    wheel_cancel(job->all->env->wheel, &job->timer);
    metrics_limit_reached(job->all->env, s->app, "replays");
    metrics_count(job->all->env, s->app, slow_consumers, 1);
    session_doom(s, CODE_OVER_CAPACITY, STR("Slow consumer: what was asked for is not read"));
}

static void stall_begins(struct job *job, uint64_t now)
{
    struct sessions *all = job->all;
    job->stalled = true;
    job->stalled_ms = now;
    job->wait_ms = ROOM_WAIT_MS;
    list_append(&all->stalled, &job->link);
    if (job->slice->cold && job->slice->stalled++ == 0)
        count_stalled(job, (int64_t)job->slice->bytes);
    while (all->stalled_bytes > STALLED_BYTES_MAX)
        give_up(list_of(all->stalled.next, struct job, link));
}

static void wait_for_room(struct job *job)
{
    uint64_t now = env_now_ms(job->all->env);
    if (!job->stalled)
        stall_begins(job, now);
    else if (now - job->stalled_ms >= STALL_MS_MAX)
        give_up(job);
    if (!job->stalled)
        return;
    wheel_set(job->all->env->wheel, &job->timer, now + job->wait_ms);
    job->wait_ms = job->wait_ms * 2 < ROOM_WAIT_MAX_MS ? job->wait_ms * 2 : ROOM_WAIT_MAX_MS;
}

static void send_some(struct job *job)
{
    struct session *s = job->work->sub->session;
    if (has_room(s))
        stall_ends(job);
    while (has_more(job) && has_room(s)) {
        const struct replay_frame *f = &job->slice->frames[job->frames_next++];
        if (!passes(job, f))
            continue;
        session_say(s, frame_take(f->frame));
        job->delivered++;
    }
    if (job->frames_next == job->slice->count)
        job->sent(job);
    else
        wait_for_room(job);
}

static void look_again(struct timer *timer)
{
    send_some(list_of(timer, struct job, timer));
}

/* A turn has passed: as many again may begin. */
static void next_turn(struct timer *timer)
{
    struct sessions *all = list_of(timer, struct sessions, sends);
    for (all->sending = 0; all->sending < SENDS_AT_ONCE && !list_empty(&all->ready); all->sending++)
        send_some(list_of(list_take(&all->ready), struct job, link));
    if (all->sending > 0)
        wheel_set(all->env->wheel, timer, env_now_ms(all->env));
}

void job_send(struct job *job, struct slice *slice, void (*sent)(struct job *job))
{
    struct sessions *all = job->all;
    end_reading(job);
    job->slice = slice;
    job->sent = sent;
    job->timer.fire = look_again;
    if (all->sending >= SENDS_AT_ONCE) {
        list_append(&all->ready, &job->link);
        return;
    }
    all->sending++;
    all->sends.fire = next_turn;
    if (!timer_is_set(&all->sends))
        wheel_set(all->env->wheel, &all->sends, env_now_ms(all->env));
    send_some(job);
}

/* ---- the end ---- */

void job_free(struct job *job)
{
    assert(!job->in_flight && !job->stalled && list_empty(&job->followers));
    if (job->work != NULL)
        job->work->job = NULL;
    unshare(job);
    wheel_cancel(job->all->env->wheel, &job->timer);
    list_remove(&job->link);
    slice_drop(job->slice);
    slice_drop(job->then);
    end_reading(job);
    arena_free(&job->arena);
    free(job);
}

void job_abandon(struct job *job)
{
    stall_ends(job);
    job->work->job = NULL;
    job->work = NULL;
    if (promote(job))
        return;
    unshare(job); /* nobody may follow it any more */
    if (!job->in_flight)
        job_free(job);
}
