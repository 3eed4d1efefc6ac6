/* hot_tier.c - the replay buffers of the channels that this shard owns (message/hot.h; chapter 3, 4.7).
 *
 * Filled where an operation leaves the owner's list, in order of position; a frame that has to be encoded for the buffer is the
 * one that is delivered. Channels without durable history get their positions here, too: of a stream that lives as long as the
 * channel's record.
 *
 * Limits: HOT_CHANNEL_BYTES a channel; HOT_SHARD_BYTES a shard, records included, then the channels that were filled longest ago give first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/internal.h"
#include "base/mem.h"
#include <stdlib.h>

#define HOT_CHANNEL_BYTES (1u << 20)
#define HOT_SHARD_BYTES (64u << 20)
enum { SWEEPS_PER_TTL = 4, SWEEP_MIN_MS = 100 };
enum { CHANNEL_BYTES = 1024 }; /* what a channel's record costs, roughly, which a buffer keeps from being dropped */

static bool is_on(const struct channel *ch)
{
    return ch->policy.recovery && ch->policy.recovery_frames_max > 0 && ch->policy.recovery_ttl_ms > 0;
}

/* ---- bytes ---- */

static void count(struct channel *ch)
{
    struct hub *hub = ch->env->hub;
    size_t bytes = ch->hot != NULL && !hot_is_empty(ch->hot) ? hot_bytes(ch->hot) + CHANNEL_BYTES : 0;
    uint64_t evicted = ch->hot != NULL ? hot_evicted(ch->hot) : 0;
    if (bytes != ch->hot_counted)
        metrics_gauge(ch->env, ch->app, hot_bytes, (int64_t)bytes - (int64_t)ch->hot_counted);
    if (evicted > 0)
        metrics_count(ch->env, ch->app, hot_evictions, evicted);
    hub->hot_bytes += bytes - ch->hot_counted;
    ch->hot_counted = bytes;
}

static void drop(struct channel *ch)
{
    hot_clear(ch->hot);
    count(ch);
    hot_free(ch->hot);
    ch->hot = NULL;
    list_remove(&ch->hot_link);
}

/* What is kept is not empty: so an idle channel has no buffer. */
static void filled(struct channel *ch)
{
    count(ch);
    if (hot_is_empty(ch->hot))
        drop(ch);
}

static void keep_shard_limit(struct hub *hub)
{
    while (hub->hot_bytes > HOT_SHARD_BYTES && !list_empty(&hub->hots)) {
        struct channel *ch = list_of(hub->hots.next, struct channel, hot_link);
        hot_drop_oldest(ch->hot);
        filled(ch);
        owner_settle(ch);
    }
}

/* ---- age ---- */

static void sweep(struct timer *timer)
{
    struct hub *hub = list_of(timer, struct hub, hot_sweep);
    uint64_t now = env_now_ms(hub->env);
    list_each_safe(at, after, &hub->hots)
    {
        struct channel *ch = list_of(at, struct channel, hot_link);
        hot_expire(ch->hot, now);
        filled(ch);
        owner_settle(ch);
    }
    if (!list_empty(&hub->hots))
        wheel_set(hub->env->wheel, timer, now + hub->hot_sweep_ms);
}

static void arm(struct channel *ch)
{
    struct hub *hub = ch->env->hub;
    uint64_t every = ch->policy.recovery_ttl_ms / SWEEPS_PER_TTL;
    every = every > SWEEP_MIN_MS ? every : SWEEP_MIN_MS;
    if (timer_is_set(&hub->hot_sweep) && every >= hub->hot_sweep_ms)
        return;
    hub->hot_sweep_ms = every;
    hub->hot_sweep.fire = sweep;
    wheel_set(hub->env->wheel, &hub->hot_sweep, env_now_ms(ch->env) + every);
}

/* ---- filling ---- */

static struct hot *hot_of(struct channel *ch)
{
    if (ch->hot != NULL) {
        list_remove(&ch->hot_link);
    } else {
        ch->hot = hot_new(ch->name, (struct hot_limits){ch->policy.recovery_frames_max, HOT_CHANNEL_BYTES, ch->policy.recovery_ttl_ms});
        arm(ch);
    }
    list_append(&ch->env->hub->hots, &ch->hot_link);
    return ch->hot;
}

static struct str body_of(struct str data)
{
    return data.n >= 2 ? str_make(data.p + 1, data.n - 2) : STR("");
}

static void put_append(struct channel *ch, const struct publish *p)
{
    const struct store_written *w = &p->op.written;
    struct hot_append a = {.delivery = w->delivery, .message = w->message, .at_ms = w->at_ms, .body = body_of(p->op.write.data),
                           .name = w->name, .tags = w->tags, .extras = w->extras};
    a.user_id = p->op.write.client_id.p != NULL ? p->op.write.client_id : w->user_id;
    hot_put_append(hot_of(ch), str_of(p->op.head.stream_id), &a, env_now_ms(ch->env));
}

static void put_frame(struct channel *ch, struct publish *p)
{
    struct envelope e;
    struct runtime_headers headers;
    char version[SERIAL_SIZE + 1];
    channel_frame_envelope(ch, p, &e, &headers, version);
    p->frame = envelope_frame(&e, WIRE_V2);
    struct hot_frame f = {.delivery = e.serial, .history = p->op.written.message.history, .versioned = p->versioned,
                          .frame = p->frame, .message_id = e.message_id, .event_name = e.event, .tags = e.tags};
    hot_put_frame(hot_of(ch), e.stream_id, &f, env_now_ms(ch->env));
}

void hot_begin_stream(struct channel *ch)
{
    if (ch->policy.history || !is_on(ch) || ch->head.stream_id[0] != '\0')
        return;
    random_uuid(&ch->env->random, ch->head.stream_id);
    ch->head_known = true;
}

void hot_committed(struct channel *ch, struct publish *p)
{
    if (!is_on(ch) || p->extras.ephemeral)
        return;
    if (!p->stored) {
        hot_begin_stream(ch);
        memcpy(p->op.head.stream_id, ch->head.stream_id, sizeof p->op.head.stream_id);
        p->op.written.delivery = ++ch->head.delivery;
        p->positioned = true;
    }
    if (p->op.write.action == ACTION_APPEND)
        put_append(ch, p);
    else
        put_frame(ch, p);
    filled(ch);
    keep_shard_limit(ch->env->hub);
}

void hot_repaired(struct channel *ch, const struct store_item *item, const struct envelope *e, struct frame *frame)
{
    struct str stream_id = str_of(ch->head.stream_id);
    if (!is_on(ch))
        return;
    if (item->action == ACTION_APPEND) {
        struct hot_append a = {.delivery = item->delivery, .message = item->message, .at_ms = item->version_at_ms,
                               .body = body_of(item->data), .name = e->name, .user_id = e->user_id, .tags = item->tags,
                               .extras = item->extras};
        hot_put_append(hot_of(ch), stream_id, &a, env_now_ms(ch->env));
    } else {
        struct hot_frame f = {.delivery = item->delivery, .history = item->message.history,
                              .versioned = item->action != ACTION_ORDINARY, .frame = frame, .message_id = e->message_id,
                              .event_name = e->event, .tags = item->tags};
        hot_put_frame(hot_of(ch), stream_id, &f, env_now_ms(ch->env));
    }
    filled(ch);
    keep_shard_limit(ch->env->hub);
}

/* ---- life ---- */

bool hot_is_kept(const struct channel *ch)
{
    return ch->hot != NULL && !hot_is_empty(ch->hot);
}

void hot_forget(struct channel *ch)
{
    if (ch->hot != NULL)
        drop(ch);
}

void hot_tier_init(struct hub *hub)
{
    list_init(&hub->hots);
}

void hot_tier_free(struct hub *hub)
{
    wheel_cancel(hub->env->wheel, &hub->hot_sweep);
}

/* ---- serving ---- */

uint64_t hot_from(const struct channel *ch)
{
    uint64_t floor, newest;
    bool covers = ch->hot != NULL && hot_covers(ch->hot, str_of(ch->head.stream_id), &floor, &newest);
    return covers && newest == ch->head.delivery ? floor : UINT64_MAX;
}

struct replay_mail {
    struct task task;
    struct env *home, *owner;
    struct app *app;
    struct str channel, stream_id; /* text[] */
    uint64_t from, to;
    enum hot_want want;
    struct slice *slice;
    void (*done)(void *user, struct slice *slice);
    void *user;
    char text[];
};

static void replay_returns(struct task *task)
{
    struct replay_mail *mail = list_of(task, struct replay_mail, task);
    mail->done(mail->user, mail->slice);
    free(mail);
}

static struct slice *slice_of(struct channel *ch, const struct replay_mail *mail)
{
    uint64_t floor, newest;
    hot_expire(ch->hot, env_now_ms(ch->env));
    struct slice *slice = NULL;
    if (hot_covers(ch->hot, mail->stream_id, &floor, &newest))
        slice = hot_slice(ch->hot, mail->from, mail->to, mail->want);
    filled(ch);
    keep_shard_limit(ch->env->hub);
    return slice;
}

static void replay_arrives(struct task *task)
{
    struct replay_mail *mail = list_of(task, struct replay_mail, task);
    struct channel *ch = owner_find(mail->owner->hub, mail->app, mail->channel);
    if (ch != NULL && ch->hot != NULL)
        mail->slice = slice_of(ch, mail);
    mail->task.run = replay_returns;
    mail->owner->post(mail->owner, mail->home->shard, &mail->task);
}

void hub_replay(struct env *env, const struct replay_wanted *r)
{
    struct replay_mail *mail = mem_zalloc(sizeof(*mail) + r->channel.n + r->stream_id.n);
    unsigned owner = hub_owner(env, r->app, r->channel);
    memcpy(mail->text, r->channel.p, r->channel.n);
    mail->channel = str_make(mail->text, r->channel.n);
    memcpy(mail->text + r->channel.n, r->stream_id.p, r->stream_id.n);
    mail->stream_id = str_make(mail->text + r->channel.n, r->stream_id.n);
    mail->task.run = replay_arrives;
    mail->home = env;
    mail->owner = env->all[owner];
    mail->app = r->app;
    mail->from = r->from;
    mail->to = r->to;
    mail->want = r->want;
    mail->done = r->done;
    mail->user = r->user;
    env->post(env, owner, &mail->task);
}
