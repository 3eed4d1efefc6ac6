/* heads.c - a lost tail shows no gap: so heads are compared with the store (design, "Cluster").
 *
 *      every HEAD_CHECK_MS     the channels that follow, have listeners and moved in the last minute or have an open stream,
 *                              STORE_HEADS_MAX per question, one question after the other
 *                              -> what lies above is waited for, then read from the store (repair.c)
 *      a node has left         it may have committed what it could not publish: quiet channels are compared, too, twice
 *      hub_dropped()           the bus could not take what this node had published: at the next of these moments the topic's
 *                              listeners are told, again and again until that is not dropped itself; their quiet channels count as moved
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/mem.h"
#include "channel/annotations.h"
#include "channel/internal.h"
#include "channel/remote.h"

static const struct str annotations_prefix = STR("[annotations]");

enum { HEAD_CHECK_MS = 1000, QUIET_MS = 60000, LATE_MS = 40, PER_CHANNEL = 2 };

struct heads {
    struct timer timer;
    struct env *env;
    struct store_op op;
    bool asking;
    size_t at;               /* in the map of channels: where this round goes on; 0 = it is over */
    size_t lost_count;
    bool lost[]; /* by topic: listeners must hear of it */
};

static bool is_worth_it(struct channel *ch, uint64_t now_ms)
{
    bool moves = now_ms - ch->moved_ms < QUIET_MS || ch->head.open_streams > 0;
    return ch->follows && ch->policy.history && moves && ch->repair == NULL && channel_has_listeners(ch);
}

static void again(struct heads *h)
{
    wheel_set(h->env->wheel, &h->timer, env_now_ms(h->env) + HEAD_CHECK_MS);
}

static void compare(struct channel *ch, const struct store_head *head)
{
    if (strcmp(head->stream_id, ch->head.stream_id) != 0)
        repair_stream(ch);
    else if (head->delivery > ch->head.delivery)
        repair_gap(ch, head->delivery + 1, topic_window_ms(ch) + LATE_MS); /* others may still be rolling it up */
}

static void ask(struct heads *h);

static void heads_read(struct store_op *op)
{
    struct heads *h = list_of(op, struct heads, op);
    struct hub *hub = h->env->hub;
    h->asking = false;
    if (hub == NULL) { /* closed meanwhile */
        arena_free(&op->arena);
        free(h);
        return;
    }
    for (size_t i = 0; op->result == STORE_OK && i < op->read.names_count; i++) {
        const struct store_name *name = &op->read.names[i];
        struct app *app = apps_by_id(h->env->apps, name->app_id);
        bool annotations = str_starts(name->channel, annotations_prefix);
        struct str of = annotations ? str_from(name->channel, annotations_prefix.n) : name->channel;
        struct channel *ch = app != NULL ? owner_find(hub, app, of) : NULL;
        if (ch != NULL && ch->follows && annotations)
            annotations_head(ch, op->found.heads[i].history);
        else if (ch != NULL && ch->follows && ch->repair == NULL)
            compare(ch, &op->found.heads[i]);
    }
    arena_free(&op->arena);
    if (h->at != 0)
        ask(h);
    else
        again(h);
}

/* The next of this round. A channel that comes meanwhile may be left to the next one. */
static void ask(struct heads *h)
{
    struct env *env = h->env;
    uint64_t now_ms = env_now_ms(env);
    struct store_name *names = arena_alloc(&h->op.arena, STORE_HEADS_MAX * sizeof *names);
    size_t count = 0;
    struct channel *ch = NULL;
    while (count + PER_CHANNEL <= STORE_HEADS_MAX && (ch = map_next(&env->hub->owned, &h->at)) != NULL)
        if (is_worth_it(ch, now_ms)) {
            names[count++] = (struct store_name){ch->app->id, arena_copy(&h->op.arena, ch->name)};
            if (annotations_held(ch))
                names[count++] = (struct store_name){ch->app->id, annotation_channel(&h->op.arena, ch->name)};
        }
    if (ch == NULL)
        h->at = 0;
    if (count == 0) {
        arena_free(&h->op.arena);
        again(h);
        return;
    }
    h->asking = true;
    h->op.kind = STORE_HEADS;
    h->op.shard = env->shard;
    h->op.done = heads_read;
    h->op.read = (struct store_read){.names = names, .names_count = count};
    store_submit(env->store, &h->op);
}

static void tell_lost(struct heads *h)
{
    struct env *env = h->env;
    struct buf payload = {0};
    remote_begin(&payload, REMOTE_LOST);
    for (unsigned topic = 0; h->lost_count > 0 && topic < env->bus->topics; topic++)
        if (h->lost[topic]) {
            h->lost[topic] = false;
            h->lost_count--;
            if (env->bus->wanted(env, topic) != BUS_NOBODY)
                env->bus->publish(env, topic, buf_view(&payload));
        }
    buf_free(&payload);
}

static void is_time(struct timer *timer)
{
    struct heads *h = list_of(timer, struct heads, timer);
    tell_lost(h);
    ask(h);
}

void hub_dropped(struct env *env, unsigned topic)
{
    heads_watch(env);
    struct heads *h = env->hub->heads;
    h->lost_count += !h->lost[topic];
    h->lost[topic] = true;
}

void heads_doubt(struct env *env, unsigned topic)
{
    size_t at = 0;
    for (struct channel *ch; (ch = map_next(&env->hub->owned, &at)) != NULL;)
        if (ch->topic == topic && ch->follows)
            ch->moved_ms = env_now_ms(env);
}

/* The next moments count it as one that moves: all heads are compared together, which one read per channel would not be. */
void heads_doubt_channel(struct channel *ch)
{
    uint64_t now_ms = env_now_ms(ch->env), soon_quiet_ms = QUIET_MS - 2 * HEAD_CHECK_MS;
    uint64_t moved_ms = now_ms > soon_quiet_ms ? now_ms - soon_quiet_ms : 0;
    if (ch->follows && ch->moved_ms < moved_ms)
        ch->moved_ms = moved_ms;
}

void heads_watch(struct env *env)
{
    struct hub *hub = env->hub;
    if (hub->heads != NULL)
        return;
    hub->heads = mem_zalloc(sizeof(struct heads) + env->bus->topics * sizeof(bool));
    hub->heads->env = env;
    hub->heads->timer.fire = is_time;
    again(hub->heads);
}

void heads_free(struct hub *hub)
{
    struct heads *h = hub->heads;
    if (h == NULL)
        return;
    wheel_cancel(hub->env->wheel, &h->timer);
    if (!h->asking)
        free(h);
}
