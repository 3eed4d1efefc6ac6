/* owner.c - publishing, as the channel's owner does it.
 *
 *   hub_publish --post--> publish_arrives -> store_submit ... publish_stored -> drain -> egress, answer --post--> done()
 *
 * The store completes a channel's writes in the order in which they were submitted, so the front of in_flight is what
 * completes first; what needs no store is complete at once, but waits there for its turn.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/internal.h"
#include "base/mem.h"
#include <stdlib.h>

struct publish *publish_new(struct env *env, struct app *app, void (*done)(struct publish *))
{
    struct publish *p = mem_new(struct publish);
    list_init(&p->link);
    p->op.kind = STORE_WRITE;
    p->app = app;
    p->reply_shard = env->shard;
    p->done = done;
    return p;
}

void publish_free(struct publish *p)
{
    arena_free(&p->op.arena);
    free(p);
}

static void publish_returns(struct task *task)
{
    struct publish *p = list_of(task, struct publish, task);
    p->done(p);
}

static void answer(struct env *env, struct publish *p)
{
    p->task.run = publish_returns;
    env->post(env, p->reply_shard, &p->task);
}

static enum publish_result result_of(enum store_result result)
{
    switch (result) {
    case STORE_OK:
        return PUBLISH_OK;
    case STORE_DUPLICATE:
        return PUBLISH_DUPLICATE;
    case STORE_RECEIPT_CONFLICT:
        return PUBLISH_CONFLICT;
    case STORE_NOT_FOUND:
    case STORE_WRONG_STREAM:
        return PUBLISH_NOT_FOUND;
    case STORE_TERMINAL:
        return PUBLISH_TERMINAL;
    case STORE_NOT_STRING:
        return PUBLISH_NOT_STRING;
    case STORE_CHANGED:
        return PUBLISH_CHANGED;
    case STORE_APPENDS_MAX:
        return PUBLISH_APPENDS_MAX;
    case STORE_BYTES_MAX:
        return PUBLISH_BYTES_MAX;
    case STORE_OPEN_MAX:
        return PUBLISH_OPEN_MAX;
    case STORE_BUSY:
        return PUBLISH_BUSY;
    case STORE_UNHEALTHY:
        return PUBLISH_UNHEALTHY;
    default:
        return PUBLISH_FAILED;
    }
}

static void count_stored(struct channel *ch, const struct publish *p)
{
    const struct store_written *w = &p->op.written;
    if (p->op.write.action == ACTION_CREATE || p->op.write.action == ACTION_ORDINARY)
        metrics_count(ch->env, ch->app, history_writes, 1);
    if (w->evicted_messages > 0) {
        metrics_count(ch->env, ch->app, history_evictions, w->evicted_messages);
        metrics_count(ch->env, ch->app, history_evicted_bytes, w->evicted_bytes);
    }
}

static void drop_frame(struct publish *p)
{
    if (p->frame != NULL)
        frame_drop(p->frame);
    p->frame = NULL;
}

/* The repair of a gap was faster, or the head was read when it was in the store already; or a reset was faster. */
static bool was_delivered(const struct channel *ch, const struct publish *p)
{
    bool same = strcmp(p->op.head.stream_id, ch->head.stream_id) == 0;
    return p->stored && ch->follows && (same ? p->op.written.delivery <= ch->head.delivery : p->stream_asked);
}

static void note(struct channel *ch, const struct publish *p)
{
    const struct egress *egress = ch->env->hub->egress;
    if (egress->noted != NULL)
        egress->noted(ch, p);
}

/* p, of another node, is next in order. */
static void finish_foreign(struct channel *ch, struct publish *p)
{
    foreign_delivered(ch, p);
    note(ch, p);
    hot_committed(ch, p);
    ch->env->hub->egress->committed(ch, p);
    if (p->cache_event.p != NULL)
        last_event_keep(ch, p);
    drop_frame(p);
    publish_free(p);
}

/* A repetition or refusal, of which the head was read before what other nodes have committed since, and what has left already. */
static bool is_outdated(const struct channel *ch, const struct store_head *head)
{
    return ch->follows && head->delivery < ch->head.delivery && strcmp(head->stream_id, ch->head.stream_id) == 0;
}

/* p is at the front and completed: it leaves. */
static void finish(struct channel *ch, struct publish *p)
{
    bool delivered = false;
    if (p->stored) {
        metrics_gauge(ch->env, ch->app, history_queue, -1);
        metrics_observe(ch->env, ch->app, history_write_latency, (double)(clock_mono_ns(ch->env->clock) - p->submitted_ns) / 1e6);
        /* What a failed commit had staged says nothing. */
        delivered = p->result == PUBLISH_OK && was_delivered(ch, p);
        if (p->result < PUBLISH_BUSY && p->op.head.stream_id[0] != '\0' && !delivered && !is_outdated(ch, &p->op.head))
            owner_know_head(ch, &p->op.head);
        if (p->result == PUBLISH_UNHEALTHY && ch->head_known) {
            ch->head.state = p->op.head.state;
            ch->head.state_reason = p->op.head.state_reason;
        }
    }
    if (p->result == PUBLISH_OK) {
        if (p->stored)
            count_stored(ch, p);
        if (p->versioned)
            tell_version_created(ch, p);
        note(ch, p);
    }
    if (delivered) {
        if (channel_bus_wants(ch, ALL_LANES))
            channel_send_publish(ch, p);
    } else if (p->result == PUBLISH_OK) {
        hot_committed(ch, p);
        ch->env->hub->egress->committed(ch, p);
        if (p->cache_event.p != NULL)
            last_event_keep(ch, p);
        drop_frame(p);
    } else if (p->result == PUBLISH_DUPLICATE && p->stored && p->op.head.stream_id[0] != '\0') {
        /* Whoever committed it may have died before anybody heard of it (chapter 3, 1.10). */
        channel_send_head(ch, str_of(p->op.head.stream_id), p->op.head.delivery);
    } else if (p->stored && p->result >= PUBLISH_BUSY) {
        metrics_count(ch->env, ch->app, history_write_failures, 1);
        if (p->result == PUBLISH_FAILED) {
            const struct egress *egress = ch->env->hub->egress;
            repair_doubt(ch);
            if (egress->doubted != NULL)
                egress->doubted(ch);
        }
    }
    if (p->reserves_stream)
        atomic_fetch_sub(&ch->app->open_streams, 1);
    answer(ch->env, p);
}

/* Of our own: the front, if it is completed. */
static struct publish *own_next(const struct channel *ch)
{
    struct publish *p = list_empty(&ch->in_flight) ? NULL : list_of(ch->in_flight.next, struct publish, link);
    return p != NULL && p->completed ? p : NULL;
}

/* It is watched, and nothing has been seen of it before. */
static bool begins_to_follow(struct channel *ch)
{
    return ch->env->hub->watching && !ch->follows && ch->watchers != NULL && topic_join(ch, WINDOWS - 1);
}

/* Not of the stream that is known. Positions of an unknown one begin with it; else the store tells which is the newer: true. */
static bool changes_stream(struct channel *ch, struct publish *p)
{
    if (!ch->follows || !p->stored || p->result != PUBLISH_OK || strcmp(p->op.head.stream_id, ch->head.stream_id) == 0)
        return false;
    if (ch->head.stream_id[0] == '\0') {
        repair_adopt(ch, str_of(p->op.head.stream_id));
        return false;
    }
    bool ask = !p->stream_asked;
    p->stream_asked = true;
    if (ask)
        repair_stream(ch);
    return ask;
}

/* What leaves next; NULL: nothing for now. */
static struct publish *next(struct channel *ch)
{
    uint64_t gap_before;
    struct publish *own = own_next(ch), *foreign;
    if (own != NULL && changes_stream(ch, own))
        return NULL;
    foreign = foreign_next(ch, &gap_before);
    if (own != NULL && own->stored && own->result == PUBLISH_OK && begins_to_follow(ch)) {
        repair_first(ch, str_of(own->op.head.stream_id), own->op.written.delivery);
        return ch->held ? NULL : own;
    }
    if (foreign != NULL)
        return foreign;
    if (own != NULL)
        return repair_begins(ch, own) ? NULL : own;
    if (gap_before == FOREIGN_STREAM)
        repair_stream(ch);
    else if (gap_before != 0)
        repair_gap(ch, gap_before, 0);
    return NULL;
}

static void leave(struct channel *ch, struct publish *p)
{
    if (ch->env->bus != NULL)
        ch->moved_ms = env_now_ms(ch->env);
    if (p->foreign) {
        finish_foreign(ch, p);
        return;
    }
    list_remove(&p->link);
    ch->in_flight_count--;
    ch->env->hub->publishes--;
    finish(ch, p);
}

/* What has been delivered asks for nothing: a text as of then would lack what has been delivered since. */
static bool is_ready(struct channel *ch, struct publish *p)
{
    const struct egress *egress = ch->env->hub->egress;
    return p->result != PUBLISH_OK || egress->ready == NULL || was_delivered(ch, p) || egress->ready(ch, p);
}

static void drain(struct channel *ch)
{
    channel_watchers_now(ch);
    channel_look_at_bus(ch);
    ch->draining = true;
    for (struct publish *p; !ch->held && (p = next(ch)) != NULL;) {
        if (!is_ready(ch, p))
            break; /* it is held now */
        leave(ch, p);
    }
    ch->draining = false;
    if (ch->head_known && !ch->held && !list_empty(&ch->attaching))
        attach_head_known(ch);
    owner_settle(ch);
}

void owner_drain(struct channel *ch)
{
    drain(ch);
}

void channel_hold(struct channel *ch)
{
    ch->held++;
}

void channel_release(struct channel *ch)
{
    ch->held--;
    drain(ch);
}

static void publish_stored(struct store_op *op)
{
    struct publish *p = list_of(op, struct publish, op);
    p->result = result_of(op->result);
    if (p->result == PUBLISH_OPEN_MAX && op->write.refuse_opening)
        p->result = PUBLISH_APP_OPEN_MAX;
    if (p->result == PUBLISH_APPENDS_MAX && p->too_old)
        p->result = PUBLISH_TOO_OLD;
    p->completed = true;
    drain(p->channel);
}

static void set_limits(struct channel *ch, struct publish *p)
{
    const struct config *config = ch->app->global;
    struct store_write *w = &p->op.write;
    w->retention = (struct store_retention){ch->policy.window_ms, ch->policy.messages_max, ch->policy.bytes_max,
                                            ch->policy.versions_window_ms};
    if (!ch->policy.ai || p->by_server)
        return;
    bool create = w->action == ACTION_CREATE || w->action == ACTION_ORDINARY;
    if (create && !p->ai_event && !p->extras.has_ai)
        return;
    w->bytes_max = config->ai.max_accumulated_message_bytes;
    w->appends_max = p->too_old ? 1 : config->ai.max_appends_per_message; /* receipts come first in the store */
    w->open_max = config->ai.max_open_streaming_messages_per_channel;
    w->refuse_append_after_terminal = true;
}

static void submit(struct channel *ch, struct publish *p)
{
    struct store_write *w = &p->op.write;
    if (w->action == ACTION_CREATE && !ch->policy.versioned)
        w->action = ACTION_ORDINARY;
    p->versioned = w->action != ACTION_ORDINARY;
    set_limits(ch, p);
    p->op.app_id = ch->app->id;
    p->op.channel = ch->name;
    p->op.shard = ch->env->shard;
    p->op.done = publish_stored;
    p->submitted_ns = clock_mono_ns(ch->env->clock);
    metrics_gauge(ch->env, ch->app, history_queue, 1);
    store_submit(ch->env->store, &p->op);
}

static enum publish_result admit(struct channel *ch, struct publish *p)
{
    const struct egress *egress = ch->env->hub->egress;
    if (ch->in_flight_count >= CHANNEL_WAITING_MAX || env_is_behind(ch->env))
        return PUBLISH_BUSY;
    p->stored = ch->policy.history && !p->extras.ephemeral;
    return p->stored && egress->admit != NULL ? egress->admit(ch, p) : PUBLISH_OK;
}

static void publish_arrives(struct task *task)
{
    struct publish *p = list_of(task, struct publish, task);
    struct env *env = p->at;
    struct channel *ch = owner_channel(env, p->app, p->op.channel, &p->name);
    p->channel = ch;
    p->result = admit(ch, p);
    if (p->result != PUBLISH_OK) {
        p->stored = false;
        answer(env, p);
        owner_settle(ch);
        return;
    }
    list_append(&ch->in_flight, &p->link);
    ch->in_flight_count++;
    env->hub->publishes++;
    if (p->stored) {
        submit(ch, p);
        return;
    }
    p->completed = true;
    drain(ch);
}

void hub_publish(struct env *env, struct publish *p)
{
    unsigned owner = hub_owner(env, p->app, p->op.channel);
    if (env_is_behind(env)) {
        p->result = PUBLISH_BUSY;
        answer(env, p);
        return;
    }
    p->at = env->all[owner];
    p->task.run = publish_arrives;
    env->post(env, owner, &p->task);
}
