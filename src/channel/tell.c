/* tell.c - what webhooks and meta channels are told of a channel (chapter 2, 2.19.3; chapter 1, 5.3).
 *
 *                        meta channel, at once            webhooks
 *   subscribed           channel_occupied (the first),    channel_occupied (the first, unless it was empty for less than 3 s),
 *                        subscription_count               subscription_count (not on presence channels)
 *   unsubscribed         channel_vacated (the last),      channel_vacated (3 s later, if still empty),
 *                        else subscription_count          subscription_count
 *   member added         member_added                     member_added, unless he was away for less than 3 s, at whatever node
 *   member removed       member_removed                   member_removed, 3 s later, if still away
 *   version committed                                     message_version_created
 *
 * Nothing is built that nobody wants. Users' own channels (#server-to-user-...) are the server's affair: nothing is said.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/internal.h"
#include "channel/leavers.h"
#include "channel/will.h"
#include "message/notice.h"

/* A node stops waiting for those who have left at another one so long before that one tells: what it says of them must get there. */
enum { AWAY_MARGIN_MS = 200 };

static const struct str the_channel = {"", 0}; /* among the leavers: the last subscriber */

static bool wanted(const struct channel *ch, enum notice_kind kind)
{
    return notice_wanted(ch->env, ch->app, kind) && !ch->kind.meta && !ch->kind.server_to_user && !ch->kind.internal;
}

static void notify(struct channel *ch, enum notice_kind kind, struct str fields)
{
    struct notice notice = {kind, ch->app, ch->name, fields};
    if (wanted(ch, kind))
        notice_send(ch->env, &notice);
}

/* user_info absent = without. */
static void notify_member(struct channel *ch, enum notice_kind kind, struct str user_id, struct str user_info)
{
    if (!wanted(ch, kind))
        return;
    struct buf fields = {0};
    buf_lit(&fields, "\"user_id\":");
    buf_json(&fields, user_id);
    if (user_info.p != NULL) {
        buf_lit(&fields, ",\"user_info\":");
        buf_str(&fields, user_info);
    }
    notify(ch, kind, buf_view(&fields));
    buf_free(&fields);
}

/* ---- meta channels ---- */

/* NULL = nobody listens. */
static struct channel *meta_of(struct channel *ch)
{
    if (ch->env->hub->metas == 0 || ch->kind.meta || ch->kind.server_to_user)
        return NULL;
    struct buf name = {0};
    buf_lit(&name, "[meta]");
    buf_str(&name, ch->name);
    struct channel *meta = owner_find(ch->env->hub, ch->app, buf_view(&name));
    buf_free(&name);
    return meta != NULL && meta->subscriptions > 0 ? meta : NULL;
}

bool tell_meta_listens(struct channel *ch)
{
    return meta_of(ch) != NULL;
}

void tell_meta_changed(struct channel *meta)
{
    struct channel *ch = owner_find(meta->env->hub, meta->app, without_meta(meta->name));
    if (meta->subscriptions > 0)
        counts_watch(meta->env, meta->app, without_meta(meta->name));
    else if (ch != NULL)
        owner_settle(ch);
}

/* {"channel":"orders",<more>} */
static void meta_says(struct channel *meta, struct channel *ch, const char *event, struct str more)
{
    struct wire_to to = {WIRE_V2, &ch->env->random};
    struct delivery d = {.lanes = ALL_LANES};
    struct buf data = {0};
    buf_lit(&data, "{\"channel\":");
    buf_json(&data, ch->name);
    buf_char(&data, ',');
    buf_str(&data, more);
    buf_char(&data, '}');
    d.frames[LANE_DELTA] = frame_internal_object(to, str_of(event), meta->name, buf_view(&data));
    d.frames[LANE_FULL] = frame_take(d.frames[LANE_DELTA]);
    channel_deliver(meta, &d);
    buf_free(&data);
}

/* ---- coming and going ---- */

static uint32_t fleet_count(const struct channel *ch)
{
    return channel_subscriptions(ch) + counts_elsewhere(ch);
}

static void empty_for_long(struct channel *ch)
{
    if (fleet_count(ch) > 0)
        return; /* at other nodes */
    notify(ch, NOTICE_CHANNEL_VACATED, STR(""));
}

static void gone(void *user, struct str who)
{
    struct channel *ch = user;
    if (who.n == 0)
        empty_for_long(ch);
    else
        notify_member(ch, NOTICE_MEMBER_REMOVED, who, STR_NONE);
    will_sync(ch, who);
    owner_settle(ch);
}

/* Another node tells. */
static void not_ours(void *user, struct str who) {}

/* False: he is not waited for. */
static bool wait_for(struct channel *ch, struct str who)
{
    if (ch->leavers == NULL)
        ch->leavers = leavers_new(ch->env->wheel, gone, ch);
    return leavers_add(ch->leavers, who);
}

static void count_json(const struct channel *ch, struct buf *out)
{
    buf_lit(out, "\"subscription_count\":");
    buf_u64(out, fleet_count(ch));
}

/* edge: channel_occupied, channel_vacated; NULL = none. count: subscription_count goes out, too. */
static void tell_meta(struct channel *ch, const char *edge, bool count)
{
    struct channel *meta = meta_of(ch);
    if (meta == NULL)
        return;
    struct buf more = {0};
    count_json(ch, &more);
    if (edge != NULL)
        meta_says(meta, ch, edge, buf_view(&more));
    if (count)
        meta_says(meta, ch, "subscription_count", buf_view(&more));
    buf_free(&more);
}

static void notify_count(struct channel *ch)
{
    if (ch->kind.kind == CHANNEL_PRESENCE || !wanted(ch, NOTICE_SUBSCRIPTION_COUNT))
        return;
    struct buf fields = {0};
    count_json(ch, &fields);
    notify(ch, NOTICE_SUBSCRIPTION_COUNT, buf_view(&fields));
    buf_free(&fields);
}

static bool told_of_channel(const struct channel *ch)
{
    return wanted(ch, NOTICE_CHANNEL_VACATED) || wanted(ch, NOTICE_CHANNEL_OCCUPIED);
}

static bool is_private_affair(const struct channel *ch)
{
    return ch->kind.meta || ch->kind.server_to_user;
}

void tell_counted(struct channel *ch, bool first)
{
    if (!leavers_back(ch->leavers, the_channel) && first)
        notify(ch, NOTICE_CHANNEL_OCCUPIED, STR(""));
    notify_count(ch);
    tell_meta(ch, first ? "channel_occupied" : NULL, true);
}

void tell_subscribed(struct channel *ch)
{
    bool first = channel_subscriptions(ch) == 1;
    bool asked_for = told_of_channel(ch) || wanted(ch, NOTICE_SUBSCRIPTION_COUNT) || meta_of(ch) != NULL;
    if (is_private_affair(ch))
        return;
    if (first)
        will_sync(ch, the_channel);
    if (!asked_for || counts_ready(ch, first))
        tell_counted(ch, first && counts_elsewhere(ch) == 0);
    counts_changed(ch);
}

void tell_unsubscribed(struct channel *ch)
{
    bool last_here = channel_subscriptions(ch) == 0, last = fleet_count(ch) == 0;
    if (is_private_affair(ch))
        return;
    if (last_here && told_of_channel(ch) && !wait_for(ch, the_channel))
        empty_for_long(ch);
    if (last_here)
        will_sync(ch, the_channel);
    notify_count(ch);
    tell_meta(ch, last ? "channel_vacated" : NULL, !last);
    counts_changed(ch);
}

void tell_elsewhere(struct channel *ch, uint32_t before)
{
    bool last = fleet_count(ch) == 0, first = channel_subscriptions(ch) + before == 0;
    tell_meta(ch, last ? "channel_vacated" : first ? "channel_occupied" : NULL, !last);
}

void tell_node_lost(struct channel *ch)
{
    if (fleet_count(ch) == 0 && !is_private_affair(ch) && told_of_channel(ch) && !wait_for(ch, the_channel))
        empty_for_long(ch);
}

bool tell_no_vacated(struct channel *ch)
{
    if (!leavers_back(ch->leavers, the_channel))
        return false;
    will_sync(ch, the_channel);
    return true;
}

void tell_cache_miss(struct channel *ch)
{
    notify(ch, NOTICE_CACHE_MISS, STR("\"data\":\"{}\""));
}

/* Best effort: a version that a failed commit had hidden and channel/repair.c delivers late is not told of. */
void tell_version_created(struct channel *ch, const struct publish *p)
{
    const struct store_written *w = &p->op.written;
    char serial[SERIAL_SIZE + 1];
    if (!wanted(ch, NOTICE_MESSAGE_VERSION_CREATED))
        return;
    struct buf fields = {0};
    serial_print(serial, w->message.create_delivery, w->message.stream8, w->message.history);
    buf_fmt(&fields, "\"message_serial\":\"%s\"", serial);
    serial_print(serial, w->delivery, w->message.stream8, w->message.history);
    buf_fmt(&fields, ",\"version_serial\":\"%s\",\"action\":\"%.*s\"", serial, STR_ARG(action_operation(p->op.write.action)));
    notify(ch, NOTICE_MESSAGE_VERSION_CREATED, buf_view(&fields));
    buf_free(&fields);
}

/* ---- members ---- */

static void tell_meta_member(struct channel *ch, const char *event, struct str user_id)
{
    struct channel *meta = meta_of(ch);
    if (meta == NULL)
        return;
    struct buf more = {0};
    buf_lit(&more, "\"user_id\":");
    buf_json(&more, user_id);
    meta_says(meta, ch, event, buf_view(&more));
    buf_free(&more);
}

void tell_member_added(struct channel *ch, struct str user_id)
{
    bool here = leavers_back(ch->leavers, user_id), elsewhere = leavers_back(ch->away, user_id);
    if (!here && !elsewhere)
        notify_member(ch, NOTICE_MEMBER_ADDED, user_id, STR_NONE);
    tell_meta_member(ch, "member_added", user_id);
}

void tell_member_updated(struct channel *ch, struct str user_id, struct str user_info)
{
    notify_member(ch, NOTICE_MEMBER_UPDATED, user_id, user_info);
    tell_meta_member(ch, "presence_update", user_id);
}

static bool members_are_told_of(const struct channel *ch)
{
    return wanted(ch, NOTICE_MEMBER_REMOVED) || wanted(ch, NOTICE_MEMBER_ADDED);
}

void tell_member_away(struct channel *ch, struct str user_id, uint64_t wait_ms)
{
    if (!members_are_told_of(ch) || wait_ms <= AWAY_MARGIN_MS)
        return;
    if (ch->away == NULL)
        ch->away = leavers_new(ch->env->wheel, not_ours, ch);
    leavers_add_for(ch->away, user_id, wait_ms - AWAY_MARGIN_MS);
}

void tell_member_elsewhere(struct channel *ch, struct str user_id)
{
    leavers_back(ch->away, user_id);
    if (leavers_back(ch->leavers, user_id))
        will_sync(ch, user_id);
}

void tell_member_gone(struct channel *ch, struct str user_id)
{
    if (members_are_told_of(ch) && !wait_for(ch, user_id))
        notify_member(ch, NOTICE_MEMBER_REMOVED, user_id, STR_NONE);
}

void tell_member_removed(struct channel *ch, struct str user_id)
{
    tell_member_gone(ch, user_id);
    tell_meta_member(ch, "member_removed", user_id);
}

void tell_member_lost(struct channel *ch, struct str user_id)
{
    if (ch->env->cache == NULL)
        tell_member_gone(ch, user_id);
    tell_meta_member(ch, "member_removed", user_id);
}
