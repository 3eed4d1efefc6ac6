/* dead.c - what could not be delivered: kept, bounded, listed, replayed.
 *
 *      deadletter/<app>/<id>    {"id":...,"reason":...,"status":410,...}     what is listed
 *      deadbody/<app>/<id>      the job's record                             what is replayed
 *
 * <app> is a hash of the app's id, <id> the job's sequence number, so a scan is in the order of their making. Beyond
 * queue.reliability.failed_retention letters or DEAD_BYTES_MAX bytes of an app its oldest go, and are counted.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "webhook/internal.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"

static uint64_t app_hash(struct str app_id)
{
    return hash128(app_id).hi;
}

static void prefix_of(struct buf *out, const char *family, uint64_t hash)
{
    buf_str(out, str_of(family));
    buf_fmt(out, "/%016llx/", (unsigned long long)hash);
}

void dead_letter_prefix(struct str app_id, struct buf *out)
{
    prefix_of(out, "deadletter", app_hash(app_id));
}

static struct graves *graves_of(struct webhooks *w, struct str app_id)
{
    const struct app *app = apps_by_id(w->options.apps, app_id);
    return &w->graves[app != NULL ? app->index : apps_count(w->options.apps)];
}

void dead_start(struct webhooks *w)
{
    size_t count = apps_count(w->options.apps);
    w->graves = mem_zalloc((count + 1) * sizeof *w->graves);
    for (size_t i = 0; i < count; i++)
        w->graves[i].app = apps_at(w->options.apps, i);
}

void dead_free(struct webhooks *w)
{
    for (size_t i = 0; i <= apps_count(w->options.apps); i++)
        free(w->graves[i].at);
    free(w->graves);
}

/* ---- the list in memory ---- */

static void show_count(struct webhooks *w, const struct graves *g)
{
    if (g->app != NULL)
        metric_set(w->figures[g->app->index].letters, METRIC_SHARD_HOOK, (int64_t)g->count);
}

static void add(struct webhooks *w, struct graves *g, struct grave grave)
{
    if (g->count == g->cap) {
        g->cap = g->cap ? g->cap * 2 : 16;
        g->at = mem_realloc(g->at, g->cap * sizeof *g->at);
    }
    g->at[g->count++] = grave;
    g->bytes += grave.bytes;
    show_count(w, g);
}

static void take_out(struct webhooks *w, struct graves *g, size_t index)
{
    g->bytes -= g->at[index].bytes;
    memmove(&g->at[index], &g->at[index + 1], (g->count - index - 1) * sizeof *g->at);
    g->count--;
    show_count(w, g);
}

/* ---- notes ---- */

static void letter_key(struct buf *out, const char *family, uint64_t hash, uint64_t seq)
{
    buf_clear(out);
    prefix_of(out, family, hash);
    seq_put(out, seq);
}

static void note_both(struct entry *entry, uint64_t hash, uint64_t seq, struct str letter, struct str body)
{
    struct buf key = {0};
    letter_key(&key, "deadletter", hash, seq);
    entry_note(entry, buf_view(&key), letter);
    letter_key(&key, "deadbody", hash, seq);
    entry_note(entry, buf_view(&key), body);
    buf_free(&key);
}

static void bound(struct webhooks *w, struct graves *g)
{
    while (g->count > w->options.config->queue.failed_retention || (g->bytes > DEAD_BYTES_MAX && g->count > 1)) {
        struct entry *entry = entry_new(w, NULL);
        note_both(entry, g->at[0].app_hash, g->at[0].seq, STR_NONE, STR_NONE);
        journal_add(entry, ENTRY_MUST_STAY);
        take_out(w, g, 0);
        if (g->app != NULL)
            hook_count(w, g->app, dead_dropped, 1);
    }
}

static void put_letter(struct buf *out, const struct job *job, struct str app_id, struct str origin, const char *reason)
{
    buf_lit(out, "{\"id\":\"");
    seq_put(out, job->seq);
    buf_lit(out, "\",\"app_id\":");
    buf_json(out, app_id);
    buf_lit(out, ",\"webhook\":");
    if (job->target != NULL)
        buf_u64(out, job->target->index);
    else
        buf_lit(out, "null");
    buf_lit(out, ",\"url\":");
    buf_json(out, origin);
    buf_fmt(out, ",\"reason\":\"%s\",\"error\":", reason);
    if (job->reason != NULL)
        buf_json(out, str_of(job->reason));
    else
        buf_lit(out, "null");
    buf_lit(out, ",\"last_status\":");
    if (job->status > 0)
        buf_i64(out, job->status);
    else
        buf_lit(out, "null");
    buf_fmt(out, ",\"attempts\":%u,\"events\":%u,\"bytes\":%zu,\"time_ms\":%lld,\"dead_at_ms\":%lld}", job->attempts, job->events,
            job->bytes, (long long)job->time_ms, (long long)clock_wall_ms(job->hooks->options.clock));
}

static void put_body(struct buf *out, const struct job *job, struct str app_id, struct str origin)
{
    const struct target *t = job->target;
    if (job->body.p == NULL)
        return;
    record_put(out, &(struct record){.app_id = app_id,
                                     .target_id = t != NULL ? str_of(t->id) : str_of(job->lost_target),
                                     .origin = origin,
                                     .index = t != NULL ? t->index : job->lost_index,
                                     .events = job->events,
                                     .time_ms = job->time_ms,
                                     .single = job->single,
                                     .body = job->body});
}

void dead_bury(struct job *job, const char *reason)
{
    struct webhooks *w = job->hooks;
    const struct target *t = job->target;
    struct str app_id = t != NULL ? t->app->id : str_of(job->lost_app);
    struct str origin = t != NULL ? t->origin : str_of(job->lost_origin);
    struct graves *g = graves_of(w, app_id);
    struct entry *entry = entry_new(w, NULL);
    struct buf letter = {0}, body = {0}, key = {0};
    put_letter(&letter, job, app_id, origin, reason);
    put_body(&body, job, app_id, origin);
    note_both(entry, app_hash(app_id), job->seq, buf_view(&letter), body.n > 0 ? buf_view(&body) : STR_NONE);
    job_key(&key, job->seq);
    if (job->stored)
        entry_note(entry, buf_view(&key), STR_NONE);
    journal_add(entry, ENTRY_MUST_STAY);
    add(w, g, (struct grave){job->seq, app_hash(app_id), (uint32_t)job->bytes});
    bound(w, g);
    if (t == NULL)
        log_warn("webhook", "app %.*s, %.*s: %s, a dead letter", STR_ARG(app_id), STR_ARG(origin), reason);
    buf_free(&letter);
    buf_free(&body);
    buf_free(&key);
}

void dead_read(struct webhooks *w, struct str key, struct str value)
{
    struct str letter;
    struct buf scratch = {0};
    uint64_t seq, bytes;
    bool ok = key.n > DEAD_ID_SIZE && seq_read(str_from(key, key.n - DEAD_ID_SIZE), &seq) && json_check(value, &letter, NULL) &&
              json_u64(json_get(letter, STR("bytes")), &bytes);
    struct str app_id = ok ? json_text(json_get(letter, STR("app_id")), &scratch) : STR_NONE;
    if (app_id.p != NULL) {
        add(w, graves_of(w, app_id), (struct grave){seq, app_hash(app_id), (uint32_t)bytes});
        w->seq = seq >= w->seq ? seq + 1 : w->seq;
    }
    buf_free(&scratch);
}

/* ---- replay ---- */

static void answer(struct webhooks *w, struct webhooks_replay *r)
{
    atomic_fetch_sub(&w->replays, 1);
    r->left = w->graves[r->app->index].count;
    w->options.home(w->options.home_user, r->from->shard, &r->task);
}

static size_t find(const struct graves *g, uint64_t seq)
{
    size_t i = 0;
    while (i < g->count && g->at[i].seq != seq)
        i++;
    return i;
}

static void replayed(struct entry *entry, bool ok)
{
    (void)ok;
    queue_ready(entry->job);
}

static void back_into_queue(struct webhooks *w, struct webhooks_replay *r, const struct store_note *note, uint64_t seq,
                            const struct record *record)
{
    struct graves *g = &w->graves[r->app->index];
    struct entry *entry = entry_new(w, replayed);
    struct buf key = {0};
    entry->job = queue_restore(w, seq, record);
    entry->job->state = JOB_PUTTING;
    job_key(&key, seq);
    entry_note(entry, buf_view(&key), note->value);
    note_both(entry, app_hash(r->app->id), seq, STR_NONE, STR_NONE);
    journal_add(entry, ENTRY_MUST_STAY);
    take_out(w, g, find(g, seq));
    r->replayed++;
    buf_free(&key);
}

/* False: the queue takes no more. */
static bool replay_one(struct webhooks *w, struct webhooks_replay *r, const struct store_note *note)
{
    const struct graves *g = &w->graves[r->app->index];
    struct arena arena = {0};
    struct record record;
    uint64_t seq;
    bool known = seq_read(str_from(note->key, note->key.n - DEAD_ID_SIZE), &seq) && record_read(note->value, &record, &arena) &&
                 find(g, seq) < g->count;
    bool room = !known || (queue_takes(w, &record) && w->pending_bytes < JOURNAL_BYTES_MAX);
    if (known && room)
        back_into_queue(w, r, note, seq, &record);
    arena_free(&arena);
    return room;
}

static void ask_bodies(struct webhooks *w, struct webhooks_replay *r, struct str after);

static void bodies_read(struct scan *scan)
{
    struct webhooks *w = scan->hooks;
    struct webhooks_replay *r = scan->user;
    const struct store_notes *notes = &scan->op.notes;
    bool room = true;
    r->failed = scan->op.result != STORE_OK;
    for (size_t i = 0; !r->failed && room && i < notes->found_count; i++)
        room = replay_one(w, r, &notes->found[i]);
    r->failed |= !room;
    if (!r->failed && notes->more && notes->found_count > 0 && r->replayed < r->limit)
        ask_bodies(w, r, notes->found[notes->found_count - 1].key);
    else
        answer(w, r);
    scan_free(scan);
}

static void ask_bodies(struct webhooks *w, struct webhooks_replay *r, struct str after)
{
    struct buf prefix = {0};
    prefix_of(&prefix, "deadbody", app_hash(r->app->id));
    buf_str(&prefix, r->id);
    uint32_t want = r->limit - r->replayed;
    struct scan *scan = scan_new(w, buf_view(&prefix), after, want < SCAN_LIMIT ? want : SCAN_LIMIT);
    buf_free(&prefix);
    scan->user = r;
    scan->done = bodies_read;
    scan_start(scan);
}

void dead_replay(struct webhooks *w, struct webhooks_replay *r)
{
    if (w->recovered && w->pending_bytes < JOURNAL_BYTES_MAX) {
        ask_bodies(w, r, STR_NONE);
        return;
    }
    r->failed = true;
    answer(w, r);
}
