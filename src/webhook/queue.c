/* queue.c - which job runs when: per target a list of those that are ready, over all of them SLOTS requests at a time.
 *
 * A target that hangs must not delay others:
 *   - a request that takes longer than SLOW_AFTER_MS gives its slot back;
 *   - a target whose last request was not answered in time, or that has had none, is not trusted: all of them together get at
 *     most SLOTS_UNTRUSTED slots, and each that did not answer at all one request at a time;
 *   - the queue's room is shared out: what a full queue of one target refuses touches no other.
 * So of N targets that hang each holds a slot for one second of each of its time-outs, and never more than half of them.
 *
 * A target that keeps up gets one request at a time, so its events arrive in order. With a backlog, jobs that wait are merged
 * up to the size of a batch, and more requests run at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "webhook/internal.h"

#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"

enum { SAY_AGAIN_MS = 60000, JITTER_MAX_PERMILLE = 100 };

void job_key(struct buf *out, uint64_t seq)
{
    buf_lit(out, "webhook/");
    seq_put(out, seq);
}

/* ---- life of a job ---- */

static struct job *job_new(struct webhooks *w, uint64_t seq, int64_t time_ms, uint64_t events, bool single, size_t bytes)
{
    struct job *job = mem_new(struct job);
    job->hooks = w;
    job->seq = seq;
    job->time_ms = time_ms;
    job->events = (uint32_t)events;
    job->single = single;
    job->bytes = bytes;
    list_init(&job->link);
    list_append(&w->jobs, &job->all);
    atomic_fetch_add(&w->depth, 1);
    return job;
}

static void belongs_to(struct job *job, struct target *t)
{
    job->target = t;
    t->jobs++;
    t->bytes += job->bytes;
    metric_add(job->hooks->figures[t->app->index].depth, METRIC_SHARD_HOOK, 1);
}

static void keep_body(struct job *job, struct str body)
{
    job->body = body;
    job->hooks->bodies_bytes += body.n;
}

static void drop_body(struct job *job)
{
    if (job->body.p == NULL)
        return;
    job->hooks->bodies_bytes -= job->body.n;
    free((void *)(uintptr_t)job->body.p);
    job->body = STR_NONE;
}

/* Beyond the limit of memory, what the store has too; a merged body is only here. */
static void spare_body(struct job *job)
{
    const struct webhooks *w = job->hooks;
    if (job->stored && job->merged_count == 0 && w->bodies_bytes > w->bodies_bytes_max)
        drop_body(job);
}

static void job_free(struct job *job)
{
    struct webhooks *w = job->hooks;
    struct target *t = job->target;
    wheel_cancel(w->wheel, &job->timer);
    list_remove(&job->link);
    list_remove(&job->all);
    if (t != NULL) {
        t->jobs--;
        t->bytes -= job->bytes;
        metric_add(w->figures[t->app->index].depth, METRIC_SHARD_HOOK, -1);
    }
    drop_body(job);
    atomic_fetch_sub(&w->depth, 1);
    free(job->merged);
    free(job->lost_app);
    free(job->lost_origin);
    free(job->lost_target);
    free(job);
}

void queue_free(struct webhooks *w)
{
    while (!list_empty(&w->jobs))
        job_free(list_of(w->jobs.next, struct job, all));
}

/* ---- ready ---- */

static void make_ready(struct job *job)
{
    struct target *t = job->target;
    job->state = JOB_READY;
    spare_body(job);
    list_append(&t->ready, &job->link);
    t->ready_count++;
    if (list_empty(&t->link))
        list_append(&job->hooks->active, &t->link);
}

static void put_done(struct entry *entry, bool ok)
{
    assert(entry->job->state == JOB_PUTTING);
    entry->job->stored = ok;
    make_ready(entry->job);
}

static void store_job(struct job *job)
{
    struct target *t = job->target;
    struct entry *entry = entry_new(job->hooks, put_done);
    struct buf key = {0}, value = {0};
    record_put(&value, &(struct record){.app_id = t->app->id,
                                        .target_id = str_of(t->id),
                                        .origin = t->origin,
                                        .index = t->index,
                                        .events = job->events,
                                        .time_ms = job->time_ms,
                                        .single = job->single,
                                        .body = job->body});
    job_key(&key, job->seq);
    entry->job = job;
    entry_note(entry, buf_view(&key), buf_view(&value));
    journal_add(entry, ENTRY_ONCE);
    buf_free(&key);
    buf_free(&value);
}

/* ---- notes that are not needed any more ---- */

static void delete_note(struct webhooks *w, uint64_t seq)
{
    struct entry *entry = entry_new(w, NULL);
    struct buf key = {0};
    job_key(&key, seq);
    entry_note(entry, buf_view(&key), STR_NONE);
    journal_add(entry, ENTRY_MUST_STAY);
    buf_free(&key);
}

static void delete_merged(struct job *job)
{
    for (size_t i = 0; i < job->merged_count; i++)
        delete_note(job->hooks, job->merged[i]);
}

static void bury(struct job *job, const char *reason)
{
    if (job->target != NULL)
        hook_count(job->hooks, job->target->app, dead, 1);
    dead_bury(job, reason);
    delete_merged(job);
    job_free(job);
}

/* ---- new jobs ---- */

static bool has_room(const struct webhooks *w, const struct target *t, size_t bytes)
{
    return t->jobs < w->target_jobs_max && t->bytes + bytes <= w->target_bytes_max;
}

void queue_add(struct webhooks *w, struct target *t, const struct draft *d)
{
    bool room = has_room(w, t, d->body.n);
    struct job *job = job_new(w, w->seq++, d->time_ms, d->events, d->single, d->body.n);
    keep_body(job, d->body);
    belongs_to(job, t);
    if (!room) {
        hook_dropped(w);
        bury(job, "queue_full");
        return;
    }
    job->state = JOB_PUTTING;
    store_job(job);
}

/* ---- the end of a job ---- */

static void delivered(struct job *job)
{
    struct webhooks *w = job->hooks;
    struct target *t = job->target;
    int64_t took_ms = clock_wall_ms(w->options.clock) - job->time_ms;
    hook_count(w, t->app, delivered, 1);
    metric_observe(w->figures[t->app->index].latency_ms, METRIC_SHARD_HOOK, took_ms > 0 ? (double)took_ms : 0);
    if (t->said_ms != 0)
        log_info("webhook", "app %.*s: %.*s takes webhooks again", STR_ARG(t->app->id), STR_ARG(t->origin));
    t->said_ms = 0;
    if (job->stored)
        delete_note(w, job->seq);
    delete_merged(job);
    job_free(job);
}

/* Once a minute and target: what fails at all fails often. */
static void say_failed(struct job *job, const char *end)
{
    struct target *t = job->target;
    uint64_t now = hook_now_ms(job->hooks);
    if (t->said_ms != 0 && now < t->said_ms + SAY_AGAIN_MS)
        return;
    t->said_ms = now > 0 ? now : 1;
    log_warn("webhook", "app %.*s, webhooks[%u], %.*s: %s (status %d), %s", STR_ARG(t->app->id), t->index, STR_ARG(t->origin),
             job->reason, job->status, end);
}

/* ---- back-off ---- */

static void back_off_ends(struct timer *timer)
{
    make_ready(list_of(timer, struct job, timer));
}

static void wait(struct job *job, uint64_t delay_ms)
{
    struct webhooks *w = job->hooks;
    uint64_t jitter = random_below(&w->random, delay_ms * JITTER_MAX_PERMILLE / 1000 + 1);
    job->state = JOB_WAITING;
    job->timer.fire = back_off_ends;
    spare_body(job);
    wheel_set(w->wheel, &job->timer, hook_now_ms(w) + delay_ms + jitter);
}

static void failed(struct job *job)
{
    struct webhooks *w = job->hooks;
    struct target *t = job->target;
    enum verdict verdict = verdict_of(job->status);
    uint64_t delay = verdict == VERDICT_PERMANENT
                         ? RETRY_NEVER
                         : retry_delay_ms(&t->retry, job->attempts, hook_now_ms(w) - job->first_ms);
    say_failed(job, delay == RETRY_NEVER ? "given up" : "tried again later");
    if (delay == RETRY_NEVER) {
        bury(job, verdict == VERDICT_PERMANENT ? "permanent_status" : "retries_exhausted");
        return;
    }
    hook_count(w, t->app, retried, 1);
    wait(job, delay);
}

/* ---- requests ---- */

static void give_slot_back(struct job *job)
{
    struct webhooks *w = job->hooks;
    if (job->slow) {
        w->slow--;
        job->target->slow--;
    } else {
        w->running--;
        w->untrusted -= !job->target->trusted;
    }
    job->target->running--;
    job->slow = false;
    atomic_store(&w->in_flight, w->running + w->slow);
}

/* The slots of its requests are counted as what it is now. */
static void trust(struct webhooks *w, struct target *t, bool trusted)
{
    unsigned slots = t->running - t->slow;
    if (t->trusted != trusted)
        w->untrusted = trusted ? w->untrusted - slots : w->untrusted + slots;
    t->trusted = trusted;
}

static void becomes_slow(struct timer *timer)
{
    struct job *job = list_of(timer, struct job, timer);
    struct webhooks *w = job->hooks;
    trust(w, job->target, false);
    if (w->slow >= SLOW_MAX)
        return;
    job->slow = true;
    w->slow++;
    job->target->slow++;
    w->running--;
    w->untrusted--;
}

void queue_finished(struct job *job, int status, const char *reason)
{
    struct webhooks *w = job->hooks;
    assert(job->state == JOB_RUNNING);
    bool in_time = timer_is_set(&job->timer);
    wheel_cancel(w->wheel, &job->timer);
    give_slot_back(job);
    job->target->answers = status > 0;
    trust(w, job->target, status > 0 && in_time);
    job->status = status;
    job->reason = reason;
    if (verdict_of(status) == VERDICT_DELIVERED)
        delivered(job);
    else
        failed(job);
}

static void send(struct job *job)
{
    job->state = JOB_RUNNING;
    if (job->attempts++ == 0)
        job->first_ms = hook_now_ms(job->hooks);
    job->timer.fire = becomes_slow;
    wheel_set(job->hooks->wheel, &job->timer, hook_now_ms(job->hooks) + SLOW_AFTER_MS);
    job->hooks->outlet->send(job->hooks->outlet, job);
}

/* The body that was not kept; if the store cannot say it now, the job waits. */
static void body_read(struct scan *scan)
{
    struct job *job = scan->user;
    struct record r;
    struct arena arena = {0};
    bool found = scan->op.result == STORE_OK && scan->op.notes.found_count == 1 &&
                 record_read(scan->op.notes.found[0].value, &r, &arena);
    if (found) {
        keep_body(job, str_make(str_dup(r.body), r.body.n));
        send(job);
    } else {
        give_slot_back(job);
        if (scan->op.result == STORE_OK)
            bury(job, "body_lost");
        else
            wait(job, SLOW_AFTER_MS);
    }
    arena_free(&arena);
    scan_free(scan);
}

static void load(struct job *job)
{
    struct buf key = {0};
    job_key(&key, job->seq);
    struct scan *scan = scan_new(job->hooks, buf_view(&key), STR_NONE, 1);
    buf_free(&key);
    job->state = JOB_LOADING;
    scan->user = job;
    scan->done = body_read;
    scan_start(scan);
}

static bool may_start(const struct webhooks *w, const struct target *t)
{
    unsigned most = t->trusted ? TARGET_RUNNING_MAX : t->answers ? TARGET_SLOW_MAX : 1;
    uint64_t wanted = 1 + t->ready_count / BACKLOG_PER_REQUEST;
    return t->running < (wanted < most ? wanted : most) && (t->trusted || w->untrusted < SLOTS_UNTRUSTED);
}

/* ---- merging: what waits for a target travels together, up to webhooks.batching.size ---- */

static bool can_merge(const struct webhooks *w, const struct job *job, const struct job *next)
{
    return !job->single && !next->single && job->attempts == 0 && next->attempts == 0 && next->merged_count == 0 &&
           job->body.p != NULL && next->body.p != NULL && job->events + next->events <= w->options.config->webhooks.batching.size &&
           job->body.n + next->body.n <= BATCH_BYTES_MAX && w->bodies_bytes <= w->bodies_bytes_max;
}

/* Of a body, what is between the brackets of "events". */
static struct str events_of(struct str body)
{
    size_t from = (size_t)str_index(body, '[') + 1;
    return str_make(body.p + from, body.n - from - 2);
}

/* next's events go behind job's; next's note stays until job ends, so that a crash loses nothing. */
static void merge(struct job *job, struct job *next)
{
    struct target *t = job->target;
    struct buf body = {0};
    job->time_ms = next->time_ms < job->time_ms ? next->time_ms : job->time_ms;
    buf_reserve(&body, job->body.n + next->body.n);
    buf_fmt(&body, "{\"time_ms\":%lld,\"events\":[", (long long)job->time_ms);
    buf_str(&body, events_of(job->body));
    buf_char(&body, ',');
    buf_str(&body, events_of(next->body));
    buf_lit(&body, "]}");
    drop_body(job);
    keep_body(job, buf_view(&body));
    t->bytes += job->body.n - job->bytes;
    job->bytes = job->body.n;
    job->events += next->events;
    job->merged = mem_realloc(job->merged, (job->merged_count + 1) * sizeof *job->merged);
    if (next->stored)
        job->merged[job->merged_count++] = next->seq;
    t->ready_count--;
    job_free(next);
}

static void merge_what_waits(struct job *job)
{
    struct list *ready = &job->target->ready;
    while (!list_empty(ready) && can_merge(job->hooks, job, list_of(ready->next, struct job, link)))
        merge(job, list_of(ready->next, struct job, link));
}

static void start(struct webhooks *w, struct target *t)
{
    struct job *job = list_of(list_take(&t->ready), struct job, link);
    t->ready_count--;
    t->running++;
    w->running++;
    w->untrusted += !t->trusted;
    atomic_store(&w->in_flight, w->running + w->slow);
    merge_what_waits(job);
    list_remove(&t->link);
    if (t->ready_count > 0)
        list_append(&w->active, &t->link); /* behind the others */
    if (job->body.p != NULL)
        send(job);
    else
        load(job);
}

static struct target *next_target(const struct webhooks *w)
{
    list_each(at, &w->active) {
        struct target *t = list_of(at, struct target, link);
        if (may_start(w, t))
            return t;
    }
    return NULL;
}

void queue_start(struct webhooks *w)
{
    for (struct target *t; w->running < SLOTS && (t = next_target(w)) != NULL;)
        start(w, t);
}

/* ---- jobs of an earlier process ---- */

static struct target *target_of(const struct webhooks *w, const struct record *r)
{
    struct target *same_url = NULL;
    for (size_t i = 0; i < w->targets_count; i++) {
        struct target *t = &w->targets[i];
        if (!str_eq(t->app->id, r->app_id) || !str_eq(str_of(t->id), r->target_id))
            continue;
        if (t->index == r->index)
            return t;
        same_url = t;
    }
    return same_url;
}

bool queue_takes(const struct webhooks *w, const struct record *r)
{
    const struct target *t = target_of(w, r);
    return t == NULL || has_room(w, t, r->body.n);
}

/* queue.reliability: symmetric jitter, no limit of time (2.19.2, last row). */
static void wait_for_app(struct job *job);

static void look_for_app(struct timer *timer)
{
    struct job *job = list_of(timer, struct job, timer);
    const struct config *config = job->hooks->options.config;
    if (apps_by_id(job->hooks->options.apps, str_of(job->lost_app)) != NULL)
        bury(job, "webhook_not_configured");
    else if (++job->attempts >= config->queue.max_attempts)
        bury(job, "app_unknown");
    else
        wait_for_app(job);
}

static void wait_for_app(struct job *job)
{
    struct webhooks *w = job->hooks;
    const struct config *config = w->options.config;
    struct retry retry = {true, 0, UINT64_MAX, config->queue.retry_base_delay_ms, config->queue.retry_max_delay_ms};
    uint64_t delay = retry_delay_ms(&retry, job->attempts, 0), jitter = delay * config->queue.retry_jitter_permille / 1000;
    job->state = JOB_LOST;
    job->timer.fire = look_for_app;
    wheel_set(w->wheel, &job->timer, hook_now_ms(w) + delay - jitter + random_below(&w->random, 2 * jitter + 1));
}

void queue_ready(struct job *job)
{
    job->stored = true;
    if (job->target != NULL) {
        make_ready(job);
        return;
    }
    job->attempts = 1;
    wait_for_app(job);
}

struct job *queue_restore(struct webhooks *w, uint64_t seq, const struct record *r)
{
    struct target *t = target_of(w, r);
    struct job *job = job_new(w, seq, r->time_ms, r->events, r->single, r->body.n);
    if (w->bodies_bytes + r->body.n <= w->bodies_bytes_max)
        keep_body(job, str_make(str_dup(r->body), r->body.n));
    if (t != NULL) {
        belongs_to(job, t);
        return job;
    }
    job->lost_app = str_dup(r->app_id);
    job->lost_origin = str_dup(r->origin);
    job->lost_target = str_dup(r->target_id);
    job->lost_index = r->index;
    return job;
}
