/* topics.c - what this shard hears of other nodes, and what they hear of it (design, "Cluster").
 *
 *      first attach -> topic_join -> bus: listen ... listening -> head from the store -> the channel follows, attaches go on
 *      last detach  -> topic_leave
 *
 * A channel that follows has delivered everything up to its head, and whatever another node commits above it comes over the
 * bus, or shows as a gap.
 *
 * While a pattern is watched, all topics of the shard are listened to (watch.c). A channel that a pattern matches follows from the
 * first operation on that is seen of it; its record is kept, among the idle ones, for where it stands.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/pack.h"
#include "channel/internal.h"
#include "cluster/bus.h"
#include "channel/remote.h"
#include "channel/will.h"

struct topic {
    uint32_t channels;   /* that are in it */
    uint8_t window;      /* told to the others */
    bool listens, on;
    struct list waiting; /* struct channel.topic_link */
};

static struct topic *topic_at(struct env *env, unsigned number)
{
    struct hub *hub = env->hub;
    if (hub->topics == NULL) {
        hub->topics = mem_zalloc(env->bus->topics * sizeof *hub->topics);
        for (unsigned i = 0; i < env->bus->topics; i++)
            list_init(&hub->topics[i].waiting);
    }
    return &hub->topics[number];
}

void topics_free(struct hub *hub)
{
    free(hub->topics);
}

static void listen(struct env *env, unsigned number, unsigned window)
{
    struct topic *t = topic_at(env, number);
    if (t->listens && window >= t->window)
        return;
    t->listens = true;
    t->window = (uint8_t)window;
    env->bus->listen(env, number, window);
}

static void leave_unless_needed(struct env *env, unsigned number)
{
    struct topic *t = topic_at(env, number);
    if (!t->listens || t->channels > 0 || env->hub->watching)
        return;
    t->listens = t->on = false;
    env->bus->leave(env, number);
}

bool topic_join(struct channel *ch, unsigned window)
{
    struct env *env = ch->env;
    if (env->bus == NULL)
        return true;
    struct topic *t = topic_at(env, ch->topic);
    if (!ch->in_topic)
        t->channels++;
    ch->in_topic = true;
    heads_watch(env);
    listen(env, ch->topic, window);
    if (!t->on && list_empty(&ch->topic_link))
        list_append(&t->waiting, &ch->topic_link);
    return t->on;
}

unsigned topic_window_ms(const struct channel *ch)
{
    return windows_ms[topic_at(ch->env, ch->topic)->window];
}

bool topic_is_heard(const struct channel *ch)
{
    return ch->env->bus == NULL || (ch->in_topic && topic_at(ch->env, ch->topic)->on);
}

void topic_leave(struct channel *ch)
{
    if (!ch->in_topic)
        return;
    struct topic *t = topic_at(ch->env, ch->topic);
    list_remove(&ch->topic_link);
    ch->in_topic = ch->follows = false;
    owner_bypassed(ch); /* nobody tells what other nodes append */
    counts_free(ch);
    annotations_unheard(ch);
    peers_forget(ch);
    t->channels--;
    leave_unless_needed(ch->env, ch->topic);
}

/* ---- all topics ---- */

void topics_watch(struct env *env, unsigned window)
{
    if (env->bus == NULL)
        return;
    env->hub->watching = true;
    for (unsigned i = env->shard; i < env->bus->topics; i += env->shards)
        listen(env, i, window);
}

void topics_unwatch(struct env *env)
{
    size_t at = 0;
    env->hub->watching = false;
    if (env->bus == NULL)
        return;
    for (struct channel *ch; (ch = map_next(&env->hub->owned, &at)) != NULL;)
        if (!list_empty(&ch->idle_link))
            topic_leave(ch);
    for (unsigned i = env->shard; i < env->bus->topics; i += env->shards)
        leave_unless_needed(env, i);
}

bool topics_are_heard(struct env *env)
{
    for (unsigned i = env->shard; env->bus != NULL && i < env->bus->topics; i += env->shards)
        if (!topic_at(env, i)->on)
            return false;
    return true;
}

void hub_listening(struct env *env, unsigned number)
{
    struct topic *t = topic_at(env, number);
    struct list waiting;
    if (!t->listens)
        return; /* left meanwhile */
    t->on = true;
    list_init(&waiting);
    list_splice(&waiting, &t->waiting);
    for (struct list *link; (link = list_take(&waiting)) != NULL;)
        attach_topic_on(list_of(link, struct channel, topic_link));
    if (env->hub->watching)
        watch_topic_on(env);
}

/* Operations and annotations of other nodes may be missing. */
static void channel_missed(struct channel *ch)
{
    if (ch->follows)
        repair_doubt(ch);
    annotations_unheard(ch);
    if (annotations_held(ch) && channel_has_listeners(ch))
        annotations_ready(ch);
}

/* Every channel that follows looks for what it may have missed. */
void hub_missed(struct env *env)
{
    size_t at = 0;
    if (env->hub->missed != NULL)
        env->hub->missed(env->hub->missed_user);
    will_renew(env);
    for (struct channel *ch; (ch = map_next(&env->hub->owned, &at)) != NULL;) {
        channel_missed(ch);
        if (ch->in_topic)
            peers_ask_again(ch);
        counts_ask_again(ch);
    }
}

void topics_given_up(struct env *env)
{
    size_t at = 0;
    uint64_t now_ms = env_now_ms(env);
    /* Several tell of the same silence; of the next one nobody can before it has lasted that long. */
    if (env->hub->given_up_ms == 0 || now_ms >= env->hub->given_up_ms + env->config->adapter.node_timeout_ms)
        will_renew(env);
    env->hub->given_up_ms = now_ms;
    for (struct channel *ch; (ch = map_next(&env->hub->owned, &at)) != NULL;)
        channel_missed(ch);
}

void channel_look_at_bus(struct channel *ch)
{
    int wanted = ch->env->bus != NULL ? ch->env->bus->wanted(ch->env, ch->topic) : BUS_NOBODY;
    if (wanted == ch->bus_window)
        return;
    if (ch->env->hub->egress->flush != NULL)
        ch->env->hub->egress->flush(ch); /* what is pending was noted down for the others, or not */
    if (ch->bus_window != BUS_NOBODY)
        ch->lanes[lane_of(LANE_DELTA, (unsigned)ch->bus_window)]--;
    if (wanted != BUS_NOBODY)
        ch->lanes[lane_of(LANE_DELTA, (unsigned)wanted)]++;
    ch->bus_window = wanted;
}

bool channel_bus_wants(const struct channel *ch, uint32_t lanes)
{
    return ch->bus_window != BUS_NOBODY && (lanes & 1u << lane_of(LANE_DELTA, (unsigned)ch->bus_window)) != 0;
}

static void put_head(struct buf *out, const struct channel *ch, struct str stream_id, uint64_t delivery)
{
    remote_begin(out, REMOTE_HEAD);
    pack_text(out, ch->app->id);
    pack_text(out, ch->name);
    pack_text(out, stream_id);
    pack_u64(out, delivery);
}

void channel_send_head(struct channel *ch, struct str stream_id, uint64_t delivery)
{
    struct buf payload = {0};
    if (ch->env->bus == NULL || ch->env->bus->wanted(ch->env, ch->topic) == BUS_NOBODY)
        return;
    put_head(&payload, ch, stream_id, delivery);
    ch->env->bus->publish(ch->env, ch->topic, buf_view(&payload));
    buf_free(&payload);
}

void channel_send_remote(struct channel *ch, const struct remote *r)
{
    struct buf payload = {0};
    remote_put(&payload, r);
    if (payload.n > BUS_PAYLOAD_MAX && r->stored) { /* too large for the bus: they read it from the store */
        buf_clear(&payload);
        put_head(&payload, ch, r->stream_id, r->first + r->count - 1);
    }
    ch->env->bus->publish(ch->env, ch->topic, buf_view(&payload));
    buf_free(&payload);
}

void channel_send_publish(struct channel *ch, const struct publish *p)
{
    struct remote r;
    remote_of_publish(ch, p, &r);
    channel_send_remote(ch, &r);
}

/* ---- arrivals ---- */

/* Its record, made if patterns match it. */
static struct channel *channel_of(struct env *env, struct str app_id, struct str name)
{
    struct app *app = apps_by_id(env->apps, app_id);
    struct channel *ch = app != NULL ? owner_find(env->hub, app, name) : NULL;
    if (ch == NULL && app != NULL && env->hub->watching)
        ch = watch_channel(env, app, name);
    if (ch != NULL)
        channel_watchers_now(ch);
    return ch;
}

/* NULL: nobody here needs it; whoever comes reads the head. */
static struct channel *channel_for(struct env *env, const struct remote *r)
{
    struct channel *ch = channel_of(env, r->app_id, r->channel);
    if (ch == NULL)
        return NULL;
    if (ch->watchers == NULL)
        return ch->in_topic && (!r->stored || ch->follows) ? ch : NULL;
    owner_wake(ch);
    topic_join(ch, WINDOWS - 1);
    if (r->stored && !ch->follows)
        repair_first(ch, r->stream_id, r->first);
    return ch;
}

static void take_operations(struct env *env, struct str payload)
{
    struct remote r;
    if (!remote_read(payload, &r))
        return;
    struct channel *ch = channel_for(env, &r);
    if (ch == NULL)
        return;
    struct str lengths = r.lengths, data = r.data, fragment;
    for (uint32_t i = 0; i < r.count && remote_fragment(&r, &lengths, &data, &fragment); i++) {
        struct publish *p = remote_publish(env, ch->app, &r, i, fragment);
        p->channel = ch;
        p->name = ch->kind;
        foreign_take(ch, p);
    }
    owner_drain(ch);
}

/* Somebody has committed up to there. */
static void take_head(struct env *env, struct str payload)
{
    struct remote r = {.stored = true};
    if (!unpack_text(&payload, &r.app_id) || !unpack_text(&payload, &r.channel) || !unpack_text(&payload, &r.stream_id) ||
        !unpack_u64(&payload, &r.first) || r.stream_id.n != STREAM_ID_SIZE || r.first == 0)
        return;
    struct channel *ch = channel_for(env, &r);
    if (ch == NULL)
        return;
    if (!str_eq(r.stream_id, str_of(ch->head.stream_id)))
        repair_stream(ch);
    else if (r.first > ch->head.delivery)
        repair_gap(ch, r.first + 1, 0);
    owner_settle(ch);
}

static void take_annotation(struct env *env, struct str payload)
{
    struct str app_id, name, json;
    uint64_t serial;
    if (!unpack_text(&payload, &app_id) || !unpack_text(&payload, &name) || !unpack_u64(&payload, &serial) || !unpack_text(&payload, &json))
        return;
    struct channel *ch = channel_of(env, app_id, name);
    if (ch != NULL && (ch->watchers != NULL || ch->in_topic)) {
        owner_wake(ch);
        topic_join(ch, WINDOWS - 1);
        annotations_heard(ch, serial, json);
        owner_settle(ch);
    }
}

void hub_published(struct env *env, struct str node, unsigned topic, struct str payload)
{
    switch (remote_kind_take(&payload)) {
    case REMOTE_OPERATION:
        take_operations(env, payload);
        break;
    case REMOTE_MEMBER:
        peers_take_member(env, node, payload);
        break;
    case REMOTE_ANNOTATION:
        take_annotation(env, payload);
        break;
    case REMOTE_HEAD:
        take_head(env, payload);
        break;
    case REMOTE_COUNT:
        counts_take(env, node, payload);
        break;
    case REMOTE_CONTROL:
        peers_take_control(env, payload);
        break;
    case REMOTE_LOST:
        heads_doubt(env, topic);
        break;
    default:
        break; /* of a version that we do not speak */
    }
}
