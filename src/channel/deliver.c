/* deliver.c - from a committed operation to mail for the shards that have subscribers.
 *
 * Each mode that somebody needs is encoded once; what travels is a reference. The message is shared by all shards it goes
 * to and freed by the last.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/internal.h"
#include "wire/codes.h"
#include "base/mem.h"
#include <stdlib.h>

static bool is_mutation(enum store_action action)
{
    return action == ACTION_UPDATE || action == ACTION_DELETE || action == ACTION_APPEND;
}

static void envelope_of_mutation(const struct publish *p, struct envelope *e)
{
    const struct store_write *w = &p->op.write;
    const struct store_written *done = &p->op.written;
    e->event = action_event(w->action);
    e->name = done->name;
    e->data = done->data;
    e->extras = done->extras;
    e->tags = done->tags;
    e->user_id = w->client_id.p != NULL ? w->client_id : done->user_id;
}

static void envelope_of_publish(const struct publish *p, struct envelope *e)
{
    const struct store_write *w = &p->op.write;
    e->event = w->event_name;
    e->data = w->data;
    e->extras = w->extras;
    e->tags = w->tags;
    e->message_id = w->message_id;
    e->user_id = w->user_id.p != NULL ? w->user_id : w->client_id;
}

void channel_envelope(const struct channel *ch, const struct publish *p, struct envelope *e, struct runtime_headers *headers)
{
    const struct store_written *done = &p->op.written;
    *e = (struct envelope){.channel = ch->name};
    if (is_mutation(p->op.write.action))
        envelope_of_mutation(p, e);
    else
        envelope_of_publish(p, e);
    if (!p->stored && !p->positioned)
        return;
    e->stream_id = str_of(p->op.head.stream_id);
    e->serial = done->delivery;
    if (!p->versioned)
        return;
    *headers = (struct runtime_headers){p->op.write.action, done->message, done->delivery, done->at_ms};
    e->headers = headers;
}

uint32_t channel_lanes_count(const struct channel *ch, uint32_t lanes)
{
    uint32_t n = 0;
    for (unsigned lane = 0; lane < LANES; lane++)
        if (lanes & 1u << lane)
            n += ch->lanes[lane] + (ch->watchers != NULL ? ch->watchers->lanes[lane] : 0);
    return n;
}

void channel_frame_envelope(const struct channel *ch, const struct publish *p, struct envelope *e, struct runtime_headers *headers,
                            char version[SERIAL_SIZE + 1])
{
    channel_envelope(ch, p, e, headers);
    if (!is_mutation(p->op.write.action))
        return;
    /* Each version has an id of its own, or SDKs would drop it as seen (chapter 3, 1.4). */
    serial_print(version, headers->delivery, headers->message.stream8, headers->message.history);
    e->message_id = str_make(version, SERIAL_SIZE);
}

void channel_deliver_publish(struct channel *ch, const struct publish *p, uint32_t lanes)
{
    if (!channel_has_listeners(ch))
        return;
    struct envelope e;
    struct runtime_headers headers;
    struct delivery d = {.lanes = lanes, .except = p->except, .arrived_ns = p->arrived_ns};
    char version[SERIAL_SIZE + 1];
    channel_frame_envelope(ch, p, &e, &headers, version);
    if (is_mutation(p->op.write.action))
        d.lanes &= ~lanes_of_mode(LANE_V1);
    d.first = d.last = e.serial;
    d.event_name = e.event;
    d.tags = e.tags;
    d.append = p->op.write.action == ACTION_APPEND;
    d.form = p->form;
    if (!p->foreign && channel_bus_wants(ch, lanes))
        channel_send_publish(ch, p);
    if (channel_lanes_count(ch, d.lanes & lanes_of_mode(LANE_V1)) > 0)
        d.frames[LANE_V1] = envelope_frame(&e, WIRE_V1);
    if (channel_lanes_count(ch, d.lanes & ~lanes_of_mode(LANE_V1)) > 0) {
        d.frames[LANE_DELTA] = p->frame != NULL ? frame_take(p->frame) : envelope_frame(&e, WIRE_V2);
        d.frames[LANE_FULL] = frame_take(d.frames[LANE_DELTA]);
    }
    channel_deliver(ch, &d);
}

struct message_shared *message_shared_new(const struct channel *ch, const struct delivery *d)
{
    size_t n = ch->key.n + d->event_name.n + d->tags.n;
    struct message_shared *shared = mem_alloc(sizeof(*shared) + n);
    char *text = shared->text;
    *shared = (struct message_shared){.refs = 1, .app = ch->app, .d = *d, .channel_type = channel_kind_word(ch->kind.kind)};
    memcpy(text, ch->key.p, ch->key.n);
    shared->key = str_make(text, ch->key.n);
    shared->channel = str_from(shared->key, ch->app->id.n + 1);
    text += ch->key.n;
    if (d->event_name.n > 0)
        memcpy(text, d->event_name.p, d->event_name.n);
    shared->d.event_name = str_make(text, d->event_name.n);
    text += d->event_name.n;
    if (d->tags.n > 0)
        memcpy(text, d->tags.p, d->tags.n);
    shared->d.tags = d->tags.p != NULL ? str_make(text, d->tags.n) : STR_NONE;
    return shared;
}

static bool wants(const struct interest *interest, uint32_t lanes)
{
    for (unsigned lane = 0; lane < LANES; lane++)
        if ((lanes & 1u << lane) && interest->lanes[lane] > 0)
            return true;
    return false;
}

void message_shared_drop(struct message_shared *shared)
{
    if (atomic_fetch_sub_explicit(&shared->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < 3; i++)
        if (shared->d.frames[i] != NULL)
            frame_drop(shared->d.frames[i]);
    free((void *)shared->control_reason.p);
    free(shared);
}

static void post(struct env *env, unsigned shard, struct message_shared *shared)
{
    struct message_mail *mail = mem_alloc(sizeof(*mail));
    mail->task.run = message_arrives;
    mail->to = env->all[shard];
    mail->shared = shared;
    atomic_fetch_add_explicit(&shared->refs, 1, memory_order_relaxed);
    env->post(env, shard, &mail->task);
}

static bool goes_to(const struct channel *ch, unsigned shard, uint32_t lanes)
{
    for (uint32_t i = 0; i < ch->interests_count; i++)
        if (ch->interests[i].shard == shard)
            return wants(&ch->interests[i], lanes);
    return false;
}

void channel_post_shared(struct channel *ch, struct message_shared *shared)
{
    const struct watchers *watchers = ch->watchers;
    shared->watched = watchers != NULL;
    for (uint32_t i = 0; i < ch->interests_count; i++)
        if (wants(&ch->interests[i], shared->d.lanes))
            post(ch->env, ch->interests[i].shard, shared);
    for (uint32_t i = 0; watchers != NULL && i < watchers->interests_count; i++) {
        const struct interest *interest = &watchers->interests[i];
        if (wants(interest, shared->d.lanes) && !goes_to(ch, interest->shard, shared->d.lanes))
            post(ch->env, interest->shard, shared);
    }
    message_shared_drop(shared);
}

void channel_deliver(struct channel *ch, struct delivery *d)
{
    channel_watchers_now(ch);
    channel_post_shared(ch, message_shared_new(ch, d));
}

void channel_cut(struct channel *ch, uint32_t lanes)
{
    static const struct str reason = {"Stream cannot be continued, reconnect", 37};
    struct delivery d = {.lanes = lanes};
    struct message_shared *shared = message_shared_new(ch, &d);
    shared->control_code = CODE_RECONNECT;
    shared->control_reason = str_make(str_dup(reason), reason.n);
    channel_post_shared(ch, shared);
}
