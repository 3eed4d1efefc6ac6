/* local.c - the subscribers of this shard, and the fan-out to them.
 *
 *      listeners of a channel
 *      lanes[0]  V1            [sink a][sink b][sink c]...    one frame for all of them
 *      lanes[3]  delta, 40 ms  [sink d]...
 *      gated: in no lane; what is delivered meanwhile waits in the subscription's gate
 *
 * The walk over a lane touches 16 bytes a subscriber: where it sends to. What is rare (an excluded socket, a filter, a
 * subscriber that attached above the position) makes it look closer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/gate.h"
#include "channel/internal.h"
#include "base/mem.h"
#include "channel/filter.h"
#include <stdlib.h>

struct lane_entry {
    void *sink;
    struct subscription *s;
};

struct lane {
    struct lane_entry *entries;
    uint32_t count, cap;
};

struct binary_lanes {
    struct lane lanes[FORMATS][LANES]; /* none in FORMAT_JSON */
};

struct listeners {
    struct str key; /* owned */
    struct env *env;
    struct app *app;
    struct lane lanes[LANES];      /* who reads JSON */
    struct binary_lanes *binary;   /* NULL = nobody has asked for another format */
    uint32_t total;        /* subscriptions, gated ones included */
    uint32_t filters;      /* how many have a filter */
    uint64_t after_max;    /* largest `after` of those in lanes: above it nobody needs a closer look */
    struct list gated;     /* struct gate.link */
};

/* ---- lanes ---- */

static struct lane *lane_for(struct listeners *l, const struct subscription *s)
{
    if (s->format == FORMAT_JSON)
        return &l->lanes[s->lane];
    if (l->binary == NULL)
        l->binary = mem_new(struct binary_lanes);
    return &l->binary->lanes[s->format][s->lane];
}

static void lane_add(struct listeners *l, struct subscription *s)
{
    struct lane *lane = lane_for(l, s);
    if (lane->count == lane->cap) {
        lane->cap = lane->cap ? lane->cap * 2 : 4;
        lane->entries = mem_realloc(lane->entries, lane->cap * sizeof(*lane->entries));
    }
    s->index = lane->count;
    s->in_lane = true;
    lane->entries[lane->count++] = (struct lane_entry){s->sink, s};
    if (s->after > l->after_max)
        l->after_max = s->after;
}

static void lane_remove(struct listeners *l, struct subscription *s)
{
    if (!s->in_lane)
        return;
    struct lane *lane = lane_for(l, s);
    lane->entries[s->index] = lane->entries[--lane->count];
    lane->entries[s->index].s->index = s->index;
    s->in_lane = false;
}

static struct listeners *listeners_of(struct env *env, struct app *app, struct str channel)
{
    struct buf key = {0};
    channel_key(&key, app, channel);
    struct listeners *l = map_get(&env->hub->local, buf_view(&key));
    if (l != NULL) {
        buf_free(&key);
        return l;
    }
    l = mem_new(struct listeners);
    l->key = buf_view(&key);
    l->env = env;
    l->app = app;
    list_init(&l->gated);
    map_put(&env->hub->local, l->key, l);
    return l;
}

static void listeners_free(struct listeners *l)
{
    map_del(&l->env->hub->local, l->key);
    for (unsigned i = 0; i < LANES; i++)
        free(l->lanes[i].entries);
    for (unsigned i = 0; l->binary != NULL && i < FORMATS * LANES; i++)
        free(l->binary->lanes[i / LANES][i % LANES].entries);
    free(l->binary);
    free((void *)l->key.p);
    free(l);
}

uint32_t subscription_open(struct env *env, struct subscription *s, uint64_t above, uint64_t *last)
{
    if (s->gate == NULL)
        return 0;
    s->after = above;
    uint32_t delivered = gate_open(s->gate, above, last);
    gate_free(s->gate);
    s->gate = NULL;
    lane_add(s->listeners, s);
    return delivered;
}

/* ---- the fan-out ---- */

static bool is_new(const struct subscription *s, const struct delivery *d)
{
    if (d->last != 0 && d->last <= s->after)
        return false;
    if (d->annotation && !s->annotations)
        return false;
    return (d->except.a | d->except.b) == 0 || !socket_id_eq(s->socket, d->except);
}

static bool passes_filter(const struct subscription *s, const struct delivery *d)
{
    return s->filter == NULL || d->event_name.n == 0 || filter_accepts(s->filter, d->event_name, d->tags);
}

bool subscription_hides(struct subscription *s, const struct message_shared *m)
{
    return is_new(s, &m->d) && !passes_filter(s, &m->d);
}

bool subscription_takes(struct subscription *s, const struct message_shared *m)
{
    if (!is_new(s, &m->d))
        return false;
    if (passes_filter(s, &m->d))
        return true;
    metrics_count(s->env, s->app, filtered, 1);
    return false;
}

static uint32_t lane_send_checked(struct lane *lane, struct frame *frame, const struct message_shared *m)
{
    uint32_t sent = 0;
    for (uint32_t i = 0; i < lane->count; i++) {
        if (!subscription_takes(lane->entries[i].s, m))
            continue;
        lane->entries[i].s->env->deliver(lane->entries[i].sink, frame_take(frame));
        sent++;
    }
    return sent;
}

static uint32_t lane_send(struct env *env, struct lane *lane, struct frame *frame)
{
    uint32_t count = lane->count;
    frame_take_many(frame, count);
    for (uint32_t i = 0; i < count; i++)
        env->deliver(lane->entries[i].sink, frame);
    return count;
}

static void send_to_gates(struct listeners *l, const struct message_shared *m, struct formats *formats)
{
    list_each_safe(at, after, &l->gated)
    {
        struct gate *gate = list_of(at, struct gate, link);
        const struct subscription *s = gate->s;
        enum lane_mode mode = lane_mode_of(s->lane);
        if (m->d.frames[mode] != NULL && (m->d.lanes & 1u << s->lane) && subscription_takes(gate->s, m))
            gate_put(gate, formats_frame(formats, s->format, mode), m->d.first, m->d.last);
    }
}
static void lanes_send(struct listeners *l, enum wire_format format, const struct message_shared *m, struct formats *formats,
                       struct tally *tally)
{
    struct lane *lanes = format == FORMAT_JSON ? l->lanes : l->binary->lanes[format];
    bool checked = l->filters > 0 || m->d.annotation || (m->d.except.a | m->d.except.b) != 0 ||
                   (m->d.last != 0 && m->d.last <= l->after_max);
    for (unsigned i = 0; i < LANES; i++) {
        struct lane *lane = &lanes[i];
        if (lane->count == 0 || m->d.frames[lane_mode_of(i)] == NULL || !(m->d.lanes & 1u << i))
            continue;
        struct frame *frame = formats_frame(formats, format, lane_mode_of(i));
        uint32_t n = checked ? lane_send_checked(lane, frame, m) : lane_send(l->env, lane, frame);
        tally->sent += n;
        tally->bytes += n * frame_payload(frame).n;
    }
}

static void fan_out(struct listeners *l, const struct message_shared *m, struct formats *formats, struct tally *tally)
{
    lanes_send(l, FORMAT_JSON, m, formats, tally);
    for (unsigned format = FORMAT_JSON + 1; l->binary != NULL && format < FORMATS; format++)
        lanes_send(l, format, m, formats, tally);
    if (!list_empty(&l->gated))
        send_to_gates(l, m, formats);
}

static void count_sent(struct env *env, const struct message_shared *m, const struct tally *tally)
{
    metrics_count(env, m->app, messages_out, tally->sent);
    metrics_count(env, m->app, bytes_out, tally->bytes);
    if (m->d.arrived_ns != 0 && tally->sent > 0)
        latency_probe(env, m, tally->sent);
}

static void tell_lane(struct hub *hub, const struct lane *lane, const struct message_shared *m)
{
    for (uint32_t i = lane->count; i-- > 0;)
        hub->control(lane->entries[i].sink, m->control_code, m->control_reason);
}

/* Those whose gate is closed are told too. */
static void tell_sinks(struct listeners *l, const struct message_shared *m)
{
    struct hub *hub = l->env->hub;
    for (unsigned i = 0; i < LANES; i++)
        if (m->d.lanes & 1u << i)
            tell_lane(hub, &l->lanes[i], m);
    for (unsigned i = 0; l->binary != NULL && i < FORMATS * LANES; i++)
        if (m->d.lanes & 1u << i % LANES)
            tell_lane(hub, &l->binary->lanes[i / LANES][i % LANES], m);
    list_each(at, &l->gated)
    {
        const struct subscription *s = list_of(at, struct gate, link)->s;
        if (m->d.lanes & 1u << s->lane)
            hub->control(s->sink, m->control_code, m->control_reason);
    }
}

void message_arrives(struct task *task)
{
    struct message_mail *mail = list_of(task, struct message_mail, task);
    struct listeners *l = map_get(&mail->to->hub->local, mail->shared->key);
    struct formats formats = {.d = &mail->shared->d};
    struct tally tally = {0};
    if (mail->shared->watched)
        tally = watch_fan_out(mail->to->hub, mail->shared, &formats);
    if (l != NULL && mail->shared->control_code != 0)
        tell_sinks(l, mail->shared);
    else if (l != NULL)
        fan_out(l, mail->shared, &formats, &tally);
    formats_drop(&formats);
    count_sent(mail->to, mail->shared, &tally);
    message_shared_drop(mail->shared);
    free(mail);
}

/* ---- subscriptions ---- */

void subscription_free(struct subscription *s)
{
    filter_free(s->filter);
    free(s);
}

static void mail_free(struct attach_mail *mail)
{
    if (mail->answer.cached_v1 != NULL)
        frame_drop(mail->answer.cached_v1);
    if (mail->answer.cached_v2 != NULL)
        frame_drop(mail->answer.cached_v2);
    for (size_t i = 0; i < mail->answer.summaries_count; i++)
        frame_drop(mail->answer.summaries[i]);
    arena_free(&mail->arena);
    free(mail);
}

static void become_gated(struct subscription *s, const struct attached *answer)
{
    s->listeners = listeners_of(s->env, s->app, s->channel);
    s->listeners->total++;
    s->listeners->filters += s->filter != NULL;
    s->after = answer->head.delivery;
    s->gate = gate_new(s, &s->listeners->gated);
}

static void post_detach(struct env *env, const struct subscription *s, uint64_t lease_ms)
{
    struct detach_mail *mail = mem_zalloc(sizeof(*mail) + s->channel.n + s->member_id.n);
    unsigned owner = hub_owner(env, s->app, s->channel);
    memcpy(mail->text, s->channel.p, s->channel.n);
    mail->channel = str_make(mail->text, s->channel.n);
    if (s->member_id.p != NULL) {
        memcpy(mail->text + s->channel.n, s->member_id.p, s->member_id.n);
        mail->member_id = str_make(mail->text + s->channel.n, s->member_id.n);
    }
    mail->task.run = detach_arrives;
    mail->owner = env->all[owner];
    mail->app = s->app;
    mail->home_shard = env->shard;
    mail->lane = s->lane;
    mail->silent = s->silent;
    mail->lease_ms = lease_ms;
    mail->socket = s->socket;
    env->post(env, owner, &mail->task);
}

void attach_returns(struct task *task)
{
    struct attach_mail *mail = list_of(task, struct attach_mail, task);
    struct subscription *s = mail->s;
    s->waiting = false;
    if (s->detached) {
        s->env->hub->abandoned--;
        if (mail->answer.code == 0)
            post_detach(s->env, s, s->lease_ms);
        subscription_free(s);
    } else if (mail->answer.code != 0) {
        s->attached(s->user, s, &mail->answer);
        subscription_free(s);
    } else {
        become_gated(s, &mail->answer);
        s->attached(s->user, s, &mail->answer);
    }
    mail_free(mail);
}

static struct subscription *subscription_new(struct env *env, const struct attach_request *r)
{
    struct subscription *s = mem_zalloc(sizeof(*s) + r->channel.n + r->member.user_id.n);
    memcpy(s->text, r->channel.p, r->channel.n);
    s->channel = str_make(s->text, r->channel.n);
    if (r->member.user_id.p != NULL) {
        memcpy(s->text + r->channel.n, r->member.user_id.p, r->member.user_id.n);
        s->member_id = str_make(s->text + r->channel.n, r->member.user_id.n);
    }
    s->env = env;
    s->app = r->app;
    s->sink = r->sink;
    s->user = r->user;
    s->attached = r->attached;
    s->overflow = r->overflow;
    s->socket = r->socket;
    s->filter = r->filter;
    s->annotations = r->annotations;
    s->lane = (uint8_t)r->lane;
    s->format = (uint8_t)r->format;
    s->silent = r->silent;
    s->gate_frames_max = r->gate_frames_max;
    s->gate_bytes_max = r->gate_bytes_max;
    return s;
}

struct subscription *hub_attach(struct env *env, const struct attach_request *r)
{
    struct subscription *s = subscription_new(env, r);
    if (r->name.wildcard) {
        s->waiting = true;
        watch_attach(s, r->exact);
        return s;
    }
    struct attach_mail *mail = mem_new(struct attach_mail);
    unsigned owner = hub_owner(env, r->app, r->channel);
    s->waiting = true;
    mail->task.run = attach_arrives;
    mail->home = env;
    mail->owner = env->all[owner];
    mail->s = s;
    mail->lane = r->lane;
    mail->silent = r->silent;
    mail->fresh = r->fresh;
    mail->app = r->app;
    mail->kind = r->name;
    mail->channel = arena_copy(&mail->arena, r->channel);
    mail->kind.logical = str_from(mail->channel, r->channel.n - r->name.logical.n);
    mail->member_id = arena_copy(&mail->arena, r->member.user_id);
    mail->member_info = arena_copy(&mail->arena, r->member.user_info);
    mail->socket = r->socket;
    env->post(env, owner, &mail->task);
    return s;
}

bool hub_takes_subscriptions(const struct env *env)
{
    return env->hub->abandoned < HUB_ABANDONED_MAX && !env_is_behind(env);
}

void hub_detach(struct env *env, struct subscription *s, uint64_t lease_ms)
{
    s->lease_ms = lease_ms;
    if (s->waiting) {
        /* The answer is still under way: only then it is known whether there is something to leave. */
        s->detached = true;
        env->hub->abandoned++;
        return;
    }
    if (s->watch != NULL) {
        watch_detach(s);
        return;
    }
    struct listeners *l = s->listeners;
    lane_remove(l, s);
    if (s->gate != NULL)
        gate_free(s->gate);
    l->filters -= s->filter != NULL;
    if (--l->total == 0)
        listeners_free(l);
    post_detach(env, s, lease_ms);
    subscription_free(s);
}

void hub_replace(struct env *env, struct subscription *old, struct subscription *fresh)
{
    if (fresh->silent) {
        fresh->silent = old->silent;
        old->silent = true;
    }
    hub_detach(env, old, 0);
}

bool subscription_is_silent(const struct subscription *s)
{
    return s->silent;
}

struct str subscription_channel(const struct subscription *s)
{
    return s->channel;
}

const struct filter *subscription_filter(const struct subscription *s)
{
    return s->filter;
}

void subscription_set_filter(struct subscription *s, struct filter *filter)
{
    if (s->listeners != NULL)
        s->listeners->filters += (filter != NULL) - (s->filter != NULL);
    filter_free(s->filter);
    s->filter = filter;
}

void subscription_set_annotations(struct subscription *s, bool wanted)
{
    s->annotations = wanted;
}

void local_free(struct hub *hub)
{
    size_t at = 0;
    for (struct listeners *l; (l = map_next(&hub->local, &at)) != NULL;)
        listeners_free(l);
    free(hub->probes);
}
