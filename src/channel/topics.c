/* topics.c - what this shard hears of other nodes, and what they hear of it (design, "Cluster").
 *
 *      first attach -> topic_join -> bus: listen ... listening -> head from the store -> the channel follows, attaches go on
 *      last detach  -> topic_leave
 *
 * A channel that follows has delivered everything up to its head, and whatever another node commits above it comes over the
 * bus, or shows as a gap.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/mem.h"
#include "channel/internal.h"
#include "channel/remote.h"

struct topic {
    uint32_t channels;   /* that are in it */
    uint8_t window;      /* told to the others */
    bool on;
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

bool topic_join(struct channel *ch, unsigned window)
{
    struct env *env = ch->env;
    if (env->bus == NULL)
        return true;
    struct topic *t = topic_at(env, ch->topic);
    bool first = t->channels == 0;
    if (!ch->in_topic)
        t->channels++;
    ch->in_topic = true;
    heads_watch(env);
    if (first || window < t->window) {
        t->window = (uint8_t)window;
        env->bus->listen(env, ch->topic, window);
    }
    if (!t->on && list_empty(&ch->topic_link))
        list_append(&t->waiting, &ch->topic_link);
    return t->on;
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
    peers_forget(ch);
    if (--t->channels > 0)
        return;
    t->on = false;
    ch->env->bus->leave(ch->env, ch->topic);
}

void hub_listening(struct env *env, unsigned number)
{
    struct topic *t = topic_at(env, number);
    struct list waiting;
    if (t->channels == 0)
        return; /* left meanwhile */
    t->on = true;
    list_init(&waiting);
    list_splice(&waiting, &t->waiting);
    for (struct list *link; (link = list_take(&waiting)) != NULL;)
        attach_topic_on(list_of(link, struct channel, topic_link));
}

/* Every channel that follows looks for what it may have missed. */
void hub_missed(struct env *env)
{
    size_t at = 0;
    for (struct channel *ch; (ch = map_next(&env->hub->owned, &at)) != NULL;) {
        if (ch->follows)
            repair_doubt(ch);
        if (ch->in_topic)
            peers_ask_again(ch);
    }
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

void channel_send_remote(struct channel *ch, const struct remote *r)
{
    struct buf payload = {0};
    remote_put(&payload, r);
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

static struct channel *channel_of(struct env *env, const struct remote *r)
{
    struct app *app = apps_by_id(env->apps, r->app_id);
    return app != NULL ? owner_find(env->hub, app, r->channel) : NULL;
}

static void take_operations(struct env *env, struct str payload)
{
    struct remote r;
    if (!remote_read(payload, &r))
        return;
    struct channel *ch = channel_of(env, &r);
    if (ch == NULL || (r.stored && !ch->follows) || !ch->in_topic)
        return; /* nobody here needs it; whoever comes reads the head */
    struct str lengths = r.lengths, data = r.data, fragment;
    for (uint32_t i = 0; i < r.count && remote_fragment(&r, &lengths, &data, &fragment); i++) {
        struct publish *p = remote_publish(env, ch->app, &r, i, fragment);
        p->channel = ch;
        p->name = ch->kind;
        foreign_take(ch, p);
    }
    owner_drain(ch);
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
    case REMOTE_CONTROL:
        peers_take_control(env, payload);
        break;
    default:
        break; /* of a version that we do not speak */
    }
}
