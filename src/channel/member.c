/* member.c - the members of a presence channel come, change and go, and who is told, as the owner decides it.
 *
 *   joins, leaves   an edge of (channel, user): member_added, member_removed to all others of the channel
 *   update          the member's info is replaced: presence_update to all V2 subscribers, the sender included
 *
 * What is told leaves in the order in which it was decided (chapter 1, 5.8).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/internal.h"
#include "channel/presence_log.h"
#include "channel/will.h"
#include "base/mem.h"
#include <stdlib.h>

enum { V2_LANES = ALL_LANES & ~1 };
static const struct socket_id nobody;

/* ---- what is said ---- */

static struct frame *event_frame(struct channel *ch, enum wire_protocol protocol, const char *event, struct str data)
{
    struct wire_to to = {protocol, &ch->env->random};
    return frame_internal(to, str_of(event), ch->name, data);
}

static void announce(struct channel *ch, uint32_t lanes, const char *event, struct str data, struct socket_id except)
{
    struct delivery d = {.lanes = lanes, .except = except};
    if (channel_lanes_count(ch, lanes) == 0)
        return;
    if (lanes & 1u)
        d.frames[LANE_V1] = event_frame(ch, WIRE_V1, event, data);
    d.frames[LANE_DELTA] = event_frame(ch, WIRE_V2, event, data);
    d.frames[LANE_FULL] = frame_take(d.frames[LANE_DELTA]);
    channel_deliver(ch, &d);
}

/* {"user_id":..,"user_info":..}; info absent = without. */
static void member_json(struct buf *out, struct str user_id, struct str info)
{
    buf_lit(out, "{\"user_id\":");
    buf_json(out, user_id);
    if (info.p != NULL) {
        buf_lit(out, ",\"user_info\":");
        buf_str(out, info);
    }
    buf_char(out, '}');
}

static void announce_member(struct channel *ch, uint32_t lanes, const char *event, struct str user_id, struct str info,
                            struct socket_id except)
{
    struct buf data = {0};
    member_json(&data, user_id, info);
    announce(ch, lanes, event, buf_view(&data), except);
    buf_free(&data);
}

/* ---- edges ---- */

/* left: the connection that was the last one. except: it is not told, being there still; or nobody. */
static void removed(struct channel *ch, const char *cause, struct str user_id, struct socket_id left, struct socket_id except,
                    struct str dead_node)
{
    announce_member(ch, ALL_LANES, "member_removed", user_id, STR_NONE, except);
    presence_log_add(ch, MEMBER_REMOVED_EVENT, cause, user_id, STR_NONE, left, dead_node);
    if (dead_node.p != NULL)
        tell_member_lost(ch, user_id);
    else
        tell_member_removed(ch, user_id);
}

/* That was the user's last place at this node. */
static void gone_here(struct channel *ch, struct str user_id)
{
    peers_tell_member(ch, MEMBER_WENT, user_id, STR_NONE);
    will_sync(ch, user_id);
}

static void lease_expired(void *user, struct str user_id, struct socket_id socket, bool gone)
{
    struct channel *ch = user;
    if (gone)
        removed(ch, "timeout", user_id, socket, nobody, STR_NONE);
    gone_here(ch, user_id);
    owner_settle(ch);
}

/* ---- at other nodes ---- */

struct presence *member_presence(struct channel *ch)
{
    if (ch->presence == NULL)
        ch->presence = presence_new(ch->env->wheel, lease_expired, ch);
    return ch->presence;
}

void member_came(struct channel *ch, struct str user_id, struct str user_info)
{
    announce_member(ch, ALL_LANES, "member_added", user_id, user_info, nobody);
    tell_member_elsewhere(ch, user_id);
}

void member_went(struct channel *ch, struct str user_id)
{
    announce_member(ch, ALL_LANES, "member_removed", user_id, STR_NONE, nobody);
}

void member_changed(struct channel *ch, struct str user_id, struct str user_info)
{
    announce_member(ch, V2_LANES, "presence_update", user_id, user_info, nobody);
}

void member_lost(struct channel *ch, struct str user_id, struct str node)
{
    removed(ch, "orphan_cleanup", user_id, nobody, nobody, node);
}

void member_left_all(struct channel *ch, struct str user_id)
{
    presence_log_add(ch, MEMBER_REMOVED_EVENT, "disconnect", user_id, STR_NONE, nobody, STR_NONE);
    tell_member_removed(ch, user_id);
    will_sync(ch, user_id);
}

void member_lost_before(struct channel *ch, struct str user_id, struct str node)
{
    presence_log_repair(ch, user_id, node);
    tell_member_lost(ch, user_id);
}

/* ---- here ---- */

bool member_joins(struct channel *ch, struct attach_mail *mail)
{
    uint32_t max = ch->app->config->max_presence_members_per_channel;
    if (mail->member_id.p == NULL)
        return true;
    if (max > 0 && presence_count(ch->presence) >= max && !presence_has(ch->presence, mail->member_id))
        return false;
    member_presence(ch);
    bool first_here = !presence_has_here(ch->presence, mail->member_id);
    if (first_here)
        peers_tell_member(ch, MEMBER_CAME, mail->member_id, mail->member_info);
    if (!mail->silent || !presence_join_again(ch->presence, mail->member_id))
        mail->added = presence_join(ch->presence, mail->member_id, mail->member_info);
    if (first_here)
        will_sync(ch, mail->member_id);
    if (mail->added) {
        announce_member(ch, ALL_LANES, "member_added", mail->member_id, mail->member_info, mail->socket);
        presence_log_add(ch, MEMBER_ADDED_EVENT, "join", mail->member_id, mail->member_info, mail->socket, STR_NONE);
    }
    struct buf json = {0};
    presence_json(ch->presence, &json);
    mail->answer.presence = arena_copy(&mail->arena, buf_view(&json));
    buf_free(&json);
    return true;
}

void member_leaves(struct channel *ch, struct str user_id, struct socket_id socket, uint64_t lease_ms)
{
    if (presence_leave(ch->presence, user_id, socket, lease_ms))
        removed(ch, "disconnect", user_id, socket, socket, STR_NONE);
    if (!presence_has_here(ch->presence, user_id))
        gone_here(ch, user_id);
}

/* ---- updates: subscriber's shard -> owner -> back ---- */

struct update_mail {
    struct task task;
    struct env *owner;
    unsigned home_shard;
    struct member_update update; /* strings point into text[] */
    enum member_result result;
    char text[];
};

static void update_returns(struct task *task)
{
    struct update_mail *mail = list_of(task, struct update_mail, task);
    mail->update.done(mail->update.user, mail->result);
    free(mail);
}

static enum member_result update(struct env *env, const struct member_update *u)
{
    struct channel *ch = owner_find(env->hub, u->app, u->channel);
    uint32_t max = env->config->presence.update_rate_limit_per_member_per_second;
    switch (presence_update(ch ? ch->presence : NULL, u->user_id, u->user_info, max, env_now_ms(env))) {
    case PRESENCE_UNKNOWN:
        return MEMBER_UNKNOWN;
    case PRESENCE_TOO_OFTEN:
        return MEMBER_TOO_OFTEN;
    case PRESENCE_CHANGED:
        break;
    }
    announce_member(ch, V2_LANES, "presence_update", u->user_id, u->user_info, nobody);
    presence_log_add(ch, MEMBER_UPDATED_EVENT, "join", u->user_id, u->user_info, u->socket, STR_NONE);
    tell_member_updated(ch, u->user_id, u->user_info);
    peers_tell_member(ch, MEMBER_CHANGED, u->user_id, u->user_info);
    return MEMBER_UPDATED;
}

static void update_arrives(struct task *task)
{
    struct update_mail *mail = list_of(task, struct update_mail, task);
    mail->result = update(mail->owner, &mail->update);
    mail->task.run = update_returns;
    mail->owner->post(mail->owner, mail->home_shard, &mail->task);
}

static struct str put(char **at, struct str text)
{
    struct str copy = str_make(*at, text.n);
    memcpy(*at, text.p, text.n);
    *at += text.n;
    return copy;
}

void hub_update_member(struct env *env, const struct member_update *u)
{
    struct update_mail *mail = mem_zalloc(sizeof(*mail) + u->channel.n + u->user_id.n + u->user_info.n);
    unsigned owner = hub_owner(env, u->app, u->channel);
    char *at = mail->text;
    mail->task.run = update_arrives;
    mail->owner = env->all[owner];
    mail->home_shard = env->shard;
    mail->update = *u;
    mail->update.channel = put(&at, u->channel);
    mail->update.user_id = put(&at, u->user_id);
    mail->update.user_info = put(&at, u->user_info);
    env->post(env, owner, &mail->task);
}
