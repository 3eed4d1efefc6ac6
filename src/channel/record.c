/* record.c - see record.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/internal.h"
#include "channel/leavers.h"
#include "channel/presence_log.h"
#include "base/mem.h"
#include <stdlib.h>

struct channel *owner_find(struct hub *hub, const struct app *app, struct str name)
{
    char small[512];
    size_t n = app->id.n + 1 + name.n;
    char *key = n <= sizeof(small) ? small : mem_alloc(n);
    memcpy(key, app->id.p, app->id.n);
    key[app->id.n] = '\0';
    memcpy(key + app->id.n + 1, name.p, name.n);
    struct channel *ch = map_get(&hub->owned, str_make(key, n));
    if (key != small)
        free(key);
    return ch;
}

static struct channel *channel_new(struct env *env, struct app *app, struct str name, const struct channel_name *kind)
{
    size_t n = app->id.n + 1 + name.n;
    struct channel *ch = mem_zalloc(sizeof(*ch) + n);
    memcpy(ch->key_bytes, app->id.p, app->id.n);
    memcpy(ch->key_bytes + app->id.n + 1, name.p, name.n);
    ch->key = str_make(ch->key_bytes, n);
    ch->name = str_from(ch->key, app->id.n + 1);
    ch->env = env;
    ch->app = app;
    ch->kind = *kind;
    ch->kind.logical = str_from(ch->name, name.n - kind->logical.n);
    ch->kind.users = STR_NONE;
    ch->policy = channel_policy(app, ch->name, &ch->kind);
    list_init(&ch->idle_link);
    list_init(&ch->hot_link);
    list_init(&ch->cached_link);
    list_init(&ch->in_flight);
    list_init(&ch->attaching);
    list_init(&ch->topic_link);
    list_init(&ch->foreign);
    ch->topic = hub_topic(env, app, ch->name);
    ch->bus_window = BUS_NOBODY;
    map_put(&env->hub->owned, ch->key, ch);
    return ch;
}

struct channel *owner_channel(struct env *env, struct app *app, struct str name, const struct channel_name *kind)
{
    struct channel *ch = owner_find(env->hub, app, name);
    if (ch == NULL)
        return channel_new(env, app, name, kind);
    owner_wake(ch);
    return ch;
}

void owner_wake(struct channel *ch)
{
    if (list_empty(&ch->idle_link))
        return;
    list_remove(&ch->idle_link);
    ch->env->hub->idle_count--;
}

void owner_bypassed(struct channel *ch)
{
    const struct egress *egress = ch->env->hub->egress;
    if (egress->flush != NULL)
        egress->flush(ch);
    if (egress->bypassed != NULL)
        egress->bypassed(ch);
}

void owner_know_head(struct channel *ch, const struct store_head *head)
{
    ch->head = *head;
    ch->head_known = true;
    ch->head_partial = false;
}

void owner_free(struct channel *ch)
{
    struct hub *hub = ch->env->hub;
    topic_leave(ch);
    if (hub->egress->closed != NULL)
        hub->egress->closed(ch);
    owner_wake(ch);
    map_del(&hub->owned, ch->key);
    repair_free(ch);
    foreign_free(ch);
    presence_free(ch->presence);
    annotations_free(ch);
    leavers_free(ch->leavers);
    leavers_free(ch->away);
    leavers_free(ch->untold);
    presence_log_free(ch);
    last_event_drop(ch);
    hot_forget(ch);
    free(ch->interests);
    watchers_free(ch->watchers);
    free(ch);
}

static bool is_referred_to(struct channel *ch)
{
    return ch->subscriptions > 0 || ch->streams_here > 0 || ch->in_flight_count > 0 || ch->head_loading || ch->cached_asks || !list_empty(&ch->attaching) ||
           presence_count_here(ch->presence) > 0 || leavers_count(ch->leavers) > 0 || leavers_count(ch->untold) > 0 || presence_log_busy(ch) ||
           annotations_busy(ch) || counts_busy(ch) || hot_is_kept(ch) || ch->held ||
           ch->repair != NULL ||
           (ch->cached_json != NULL && ch->cached_until_ms > env_now_ms(ch->env));
}

/* What is pending is for those who watch it. */
static void retire(struct channel *ch)
{
    const struct egress *egress = ch->env->hub->egress;
    if (egress->flush != NULL)
        egress->flush(ch);
    owner_free(ch);
}

void owner_settle(struct channel *ch)
{
    struct hub *hub = ch->env->hub;
    if (!list_empty(&ch->idle_link) || is_referred_to(ch))
        return;
    channel_watchers_now(ch);
    if (ch->watchers == NULL) {
        foreign_free(ch);
        topic_leave(ch);
        ch->cached_known = false;
    }
    list_append(&hub->idle, &ch->idle_link);
    if (++hub->idle_count > CHANNELS_IDLE_MAX)
        retire(list_of(hub->idle.next, struct channel, idle_link));
}

bool channel_stream_opens(struct env *env, struct str key)
{
    struct channel *ch = env->bus != NULL ? map_get(&env->hub->owned, key) : NULL;
    if (ch == NULL)
        return false;
    owner_wake(ch);
    ch->streams_here++;
    if (!topic_join(ch, WINDOWS - 1) || !ch->head_known || ch->follows)
        return true;
    owner_bypassed(ch);
    ch->follows = true; /* it is being opened: the head is what has just been committed */
    return true;
}

void channel_stream_ends(struct env *env, struct str key)
{
    struct channel *ch = map_get(&env->hub->owned, key);
    ch->streams_here--;
    if (!ch->draining)
        owner_settle(ch);
}

/* ---- what a reset or purge has changed ---- */

/* The owner's head is only a cache of the store's: without it the next attach asks again. */
struct forget_mail {
    struct task task;
    struct env *at;
    struct app *app;
    struct str channel;
    char text[];
};

void owner_forget(struct env *env, struct app *app, struct str channel)
{
    struct channel *ch = owner_find(env->hub, app, channel);
    const struct egress *egress = env->hub->egress;
    struct buf key = {0};
    if (ch != NULL) {
        hot_forget(ch);
        annotations_forget(ch);
        if (ch->follows)
            repair_stream(ch);
        else
            ch->head_known = false;
        owner_settle(ch);
    }
    channel_key(&key, app, channel);
    if (egress->forgotten != NULL)
        egress->forgotten(env, buf_view(&key));
    buf_free(&key);
}

static void forget_arrives(struct task *task)
{
    struct forget_mail *mail = list_of(task, struct forget_mail, task);
    owner_forget(mail->at, mail->app, mail->channel);
    peers_tell_forget(mail->at, mail->app, mail->channel);
    free(mail);
}

void hub_forget(struct env *env, struct app *app, struct str channel)
{
    struct forget_mail *mail = mem_alloc(sizeof(*mail) + channel.n);
    unsigned owner = hub_owner(env, app, channel);
    memcpy(mail->text, channel.p, channel.n);
    *mail = (struct forget_mail){{forget_arrives}, env->all[owner], app, str_make(mail->text, channel.n)};
    env->post(env, owner, &mail->task);
}
