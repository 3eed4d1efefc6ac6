/* hub.c - the hub of one shard: making it, finding owners, and what does not belong to one channel.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/departed.h"
#include "channel/internal.h"
#include "channel/questions.h"
#include "channel/presence_log.h"
#include "channel/will.h"
#include "base/mem.h"
#include <stdlib.h>

static void committed_directly(struct channel *ch, struct publish *p)
{
    channel_deliver_publish(ch, p, ALL_LANES);
}

static const struct egress egress_direct = {.committed = committed_directly};

struct hub *hub_new(struct env *env)
{
    struct hub *hub = mem_new(struct hub);
    hub->env = env;
    hub->egress = &egress_direct;
    hub->channels_max = HUB_CHANNELS_MAX;
    list_init(&hub->idle);
    list_init(&hub->watch_waiting);
    list_init(&hub->estates);
    hot_tier_init(hub);
    last_events_init(hub);
    env->hub = hub;
    return hub;
}

void hub_free(struct hub *hub)
{
    size_t at = 0;
    for (struct channel *ch; (ch = map_next(&hub->owned, &at)) != NULL;)
        owner_free(ch);
    map_free(&hub->owned);
    hot_tier_free(hub);
    last_events_free(hub);
    heads_free(hub);
    topics_free(hub);
    questions_free(hub);
    departed_free(hub);
    executor_free(hub);
    will_free(hub);
    local_free(hub);
    watches_free(hub);
    presence_log_free_doubts(hub);
    map_free(&hub->local);
    hub->env->hub = NULL;
    free(hub);
}

void hub_set_egress(struct hub *hub, const struct egress *egress)
{
    hub->egress = egress;
}

uint64_t hub_head_delivery(const struct hub *hub, struct str key)
{
    const struct channel *ch = map_get(&hub->owned, key);
    return ch != NULL && ch->head_known ? ch->head.delivery : 0;
}

void hub_on_control(struct hub *hub, void (*control)(void *sink, int code, struct str reason))
{
    hub->control = control;
}

void channel_key(struct buf *out, const struct app *app, struct str channel)
{
    buf_str(out, app->id);
    buf_char(out, '\0');
    buf_str(out, channel);
}

static uint64_t place_of(const struct app *app, struct str channel)
{
    return map_hash(without_meta(channel)) ^ map_hash(app->id);
}

unsigned hub_topic(const struct env *env, const struct app *app, struct str channel)
{
    return env->bus != NULL ? (unsigned)(place_of(app, channel) % env->bus->topics) : 0;
}

/* All channels of a topic have one owner. */
unsigned hub_owner(const struct env *env, const struct app *app, struct str channel)
{
    if (env->shards == 1)
        return 0;
    return env->bus != NULL ? hub_topic(env, app, channel) % env->shards : (unsigned)(place_of(app, channel) % env->shards);
}

unsigned lane_of(enum lane_mode mode, unsigned window)
{
    if (mode == LANE_V1)
        return 0;
    return 1 + window + (mode == LANE_FULL ? WINDOWS : 0);
}

const uint16_t windows_ms[WINDOWS] = {0, 20, 40, 100, 500};

int window_index(uint64_t window_ms)
{
    for (int i = 0; i < WINDOWS; i++)
        if (windows_ms[i] == window_ms)
            return i;
    return -1;
}

void hub_flush(struct env *env)
{
    struct hub *hub = env->hub;
    size_t at = 0;
    for (struct channel *ch; (ch = map_next(&hub->owned, &at)) != NULL;)
        if (hub->egress->flush != NULL)
            hub->egress->flush(ch);
}

bool hub_is_idle(const struct env *env)
{
    return env->hub->publishes == 0;
}

/* ---- user control ---- */

struct control_mail {
    struct task task;
    struct env *at;
    struct app *app;
    int code;
    struct str channel, reason;
    char text[];
};

void channel_control(struct channel *ch, int code, struct str reason)
{
    struct delivery d = {.lanes = ALL_LANES};
    struct message_shared *shared = message_shared_new(ch, &d);
    shared->control_code = code;
    shared->control_reason = str_make(str_dup(reason), reason.n);
    channel_post_shared(ch, shared);
}

static void control_arrives(struct task *task)
{
    struct control_mail *mail = list_of(task, struct control_mail, task);
    struct channel *ch = owner_find(mail->at->hub, mail->app, mail->channel);
    if (ch != NULL)
        channel_control(ch, mail->code, mail->reason);
    peers_tell_control(mail->at, mail->app, mail->channel, mail->code, mail->reason);
    free(mail);
}

void hub_terminate_user(struct env *env, struct app *app, struct str user_id, int code, struct str reason)
{
    static const struct str prefix = {"#server-to-user-", 16};
    struct control_mail *mail = mem_alloc(sizeof(*mail) + prefix.n + user_id.n + reason.n);
    char *text = mail->text;
    memcpy(text, prefix.p, prefix.n);
    memcpy(text + prefix.n, user_id.p, user_id.n);
    memcpy(text + prefix.n + user_id.n, reason.p, reason.n);
    mail->task.run = control_arrives;
    mail->app = app;
    mail->code = code;
    mail->channel = str_make(text, prefix.n + user_id.n);
    mail->reason = str_make(text + mail->channel.n, reason.n);
    unsigned owner = hub_owner(env, app, mail->channel);
    mail->at = env->all[owner];
    env->post(env, owner, &mail->task);
}
