/* attach.c - subscribing and leaving, as the channel's owner does it.
 *
 *   hub_attach --post--> attach_arrives -> (head from the store, if unknown) -> flush rollup -> join presence
 *              -> answer with the head --post--> attach_returns (local.c)
 *
 * The head is taken and the interest is counted in one step: what commits later is posted behind the answer, what was
 * committed before lies at or below the head.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/internal.h"
#include "base/mem.h"
#include "wire/codes.h"
#include <stdlib.h>

static struct interest *interest_of(struct interest **interests, uint32_t *count, unsigned shard)
{
    for (uint32_t i = 0; i < *count; i++)
        if ((*interests)[i].shard == shard)
            return &(*interests)[i];
    *interests = mem_realloc(*interests, (*count + 1) * sizeof(**interests));
    struct interest *interest = &(*interests)[(*count)++];
    *interest = (struct interest){.shard = shard};
    return interest;
}

void interest_count(struct interest **interests, uint32_t *count, unsigned shard, unsigned lane, int change)
{
    struct interest *interest = interest_of(interests, count, shard);
    interest->lanes[lane] += (uint32_t)change;
    interest->total += (uint32_t)change;
    if (interest->total == 0)
        *interest = (*interests)[--*count];
}

static void count_interest(struct channel *ch, unsigned shard, unsigned lane, bool silent, int change)
{
    interest_count(&ch->interests, &ch->interests_count, shard, lane, change);
    ch->lanes[lane] += (uint32_t)change;
    bool was = ch->subscriptions > 0;
    ch->subscriptions += (uint32_t)change;
    ch->silent += silent ? (uint32_t)change : 0;
    const char *type = channel_kind_word(ch->kind.kind);
    if (!ch->kind.internal)
        metrics_subscription(ch->env, ch->app, type, change);
    if (was != (ch->subscriptions > 0) && ch->kind.meta)
        ch->env->hub->metas += (size_t)change;
    if (was != (ch->subscriptions > 0) && ch->kind.meta)
        tell_meta_changed(ch);
    if (was != (ch->subscriptions > 0) && !ch->kind.internal)
        metrics_active_channel(ch->env, ch->app, type, change);
}

static void refuse(struct attach_mail *mail, int code, struct str message)
{
    mail->answer.code = code;
    mail->answer.message = message;
}

static void give_cached(struct channel *ch, struct attached *answer)
{
    if (ch->cached_json == NULL || ch->cached_until_ms <= env_now_ms(ch->env))
        return;
    answer->cached_v1 = frame_take(ch->cached[0]);
    answer->cached_v2 = frame_take(ch->cached[1]);
}

static void tell(struct channel *ch, const struct attach_mail *mail)
{
    if (mail->silent)
        return;
    tell_subscribed(ch);
    if (mail->added)
        tell_member_added(ch, mail->member_id);
    if (ch->kind.cache && mail->answer.cached_v2 == NULL)
        tell_cache_miss(ch);
}

static void attach_now(struct channel *ch, struct attach_mail *mail)
{
    const struct egress *egress = ch->env->hub->egress;
    if (egress->flush != NULL)
        egress->flush(ch);
    mail->answer.policy = ch->policy;
    hot_begin_stream(ch);
    mail->answer.head = ch->head;
    mail->answer.hot_from = hot_from(ch);
    if (!ch->policy.history) /* the buffer is all there is */
        mail->answer.head.replay_floor = (mail->answer.hot_from == UINT64_MAX ? ch->head.delivery : mail->answer.hot_from) + 1;
    if (!member_joins(ch, mail)) {
        refuse(mail, CODE_OVER_CAPACITY, STR("Over capacity"));
    } else {
        count_interest(ch, mail->home->shard, mail->lane, mail->silent, 1);
        give_cached(ch, &mail->answer);
        if (ch->policy.annotations && mail->lane != 0)
            annotations_show(ch, &mail->answer, &mail->arena);
        tell(ch, mail);
    }
    mail->task.run = attach_returns;
    ch->env->post(ch->env, mail->home->shard, &mail->task);
}

static void load_head(struct channel *ch);

/* Something to attach at: the head, as it is since the topic is heard. */
static bool is_ready(const struct channel *ch)
{
    if (!topic_is_heard(ch))
        return false;
    if (!ch->policy.history)
        return true;
    return ch->head_known && !ch->head_partial && (ch->head.stream_id[0] != '\0' || !ch->policy.recovery) && (ch->env->bus == NULL || ch->follows);
}

void attach_head_known(struct channel *ch)
{
    if (list_empty(&ch->attaching))
        return;
    if (ch->head_partial && topic_is_heard(ch))
        load_head(ch);
    if (!is_ready(ch) || !peers_known(ch) || !last_event_known(ch) || (ch->policy.annotations && !annotations_ready(ch)))
        return;
    for (struct list *link; !ch->held && (link = list_take(&ch->attaching)) != NULL;)
        attach_now(ch, list_of(link, struct attach_mail, link));
}

struct head_read {
    struct store_op op;
    struct channel *channel;
};

void attach_store_failed(struct channel *ch)
{
    for (struct list *link; (link = list_take(&ch->attaching)) != NULL;) {
        struct attach_mail *mail = list_of(link, struct attach_mail, link);
        refuse(mail, CODE_GENERIC, STR("The message store is not available, try again"));
        mail->task.run = attach_returns;
        ch->env->post(ch->env, mail->home->shard, &mail->task);
    }
}

static void head_read_done(struct store_op *op)
{
    struct head_read *read = list_of(op, struct head_read, op);
    struct channel *ch = read->channel;
    ch->head_loading = false;
    /* A write that completed meanwhile knows better. */
    bool read_well = op->result == STORE_OK || op->result == STORE_UNHEALTHY;
    if (read_well && (ch->head_partial || ch->follows) && strcmp(op->head.stream_id, ch->head.stream_id) == 0)
        repair_head_read(ch, &op->head);
    else if (read_well && (!ch->head_known || ch->head_partial || op->head.delivery > ch->head.delivery))
        owner_know_head(ch, &op->head);
    if (!ch->follows && ch->in_topic)
        owner_bypassed(ch); /* by what others did before */
    ch->follows |= read_well && ch->in_topic;
    arena_free(&op->arena);
    free(read);
    if (is_ready(ch))
        attach_head_known(ch);
    else
        attach_store_failed(ch);
    owner_settle(ch);
}

static void load_head(struct channel *ch)
{
    if (ch->head_loading)
        return;
    ch->head_loading = true;
    struct head_read *read = mem_new(struct head_read);
    read->channel = ch;
    read->op.kind = STORE_HEAD;
    read->op.shard = ch->env->shard;
    read->op.done = head_read_done;
    read->op.app_id = ch->app->id;
    read->op.channel = ch->name;
    read->op.read.materialise = ch->policy.recovery;
    store_submit(ch->env->store, &read->op);
}

void attach_topic_on(struct channel *ch)
{
    if (is_ready(ch))
        attach_head_known(ch);
    else if (topic_is_heard(ch))
        load_head(ch);
}

/* Channels cost memory, and whoever may subscribe to any name could make any number of them. */
static bool is_one_too_many(const struct attach_mail *mail)
{
    struct hub *hub = mail->owner->hub;
    return hub->owned.count >= hub->channels_max && owner_find(hub, mail->app, mail->channel) == NULL;
}

void attach_arrives(struct task *task)
{
    struct attach_mail *mail = list_of(task, struct attach_mail, task);
    if (is_one_too_many(mail)) {
        metrics_limit_reached(mail->owner, mail->app, "channels_of_node");
        refuse(mail, CODE_OVER_CAPACITY, STR("Over capacity"));
        mail->task.run = attach_returns;
        mail->owner->post(mail->owner, mail->home->shard, &mail->task);
        return;
    }
    struct channel *ch = owner_channel(mail->owner, mail->app, mail->channel, &mail->kind);
    list_append(&ch->attaching, &mail->link);
    if (mail->fresh && ch->follows)
        repair_stream(ch); /* attaches wait for its end */
    if (topic_join(ch, window_of_lane(mail->lane)))
        attach_topic_on(ch);
}

void detach_arrives(struct task *task)
{
    struct detach_mail *mail = list_of(task, struct detach_mail, task);
    struct channel *ch = owner_find(mail->owner->hub, mail->app, mail->channel);
    if (ch != NULL) {
        count_interest(ch, mail->home_shard, mail->lane, mail->silent, -1);
        if (!mail->silent)
            tell_unsubscribed(ch);
        if (mail->member_id.p != NULL)
            member_leaves(ch, mail->member_id, mail->socket, mail->lease_ms);
        owner_settle(ch);
    }
    free(mail);
}
