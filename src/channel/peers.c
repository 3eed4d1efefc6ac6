/* peers.c - what nodes say to each other of a channel beside its operations: members, control words.
 *
 *      first attach to a presence channel -> ask all -> their members ... or PEERS_WAIT_MS -> the attach goes on
 *      a user's first place here, or the last one gone -> to the topic
 *
 * A node tells of its own places only; each keeps for each member at which nodes it has some. So nobody has to agree on
 * anything: a member is there while any node has a place for it. What a break of the bus has swallowed is asked for again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/pack.h"
#include "channel/departed.h"
#include "channel/internal.h"
#include "channel/leavers.h"
#include "channel/presence_log.h"
#include "channel/questions.h"
#include "channel/remote.h"
#include "channel/untold.h"
#include "channel/will.h"

enum { PEERS_WAIT_MS = 1000, MEMBERS_MAX = 100000 };

struct peers {
    struct channel *ch;
    struct timer timer; /* set = answers are waited for */
    size_t answers;     /* that have not come */
    bool known;
    bool restores;      /* this node tells the outside of members who are back with: */
    char back[NODE_NAME_MAX]; /* the node that was taken for dead; "" = none */
};

/* ---- saying ---- */

static void put_channel(struct buf *out, const struct app *app, struct str channel)
{
    pack_text(out, app->id);
    pack_text(out, channel);
}

static void publish(struct env *env, unsigned topic, struct buf *payload)
{
    env->bus->publish(env, topic, buf_view(payload));
    buf_free(payload);
}

void peers_tell_member(struct channel *ch, enum member_change what, struct str user_id, struct str user_info)
{
    struct buf payload = {0};
    if (ch->env->bus == NULL)
        return;
    remote_begin(&payload, REMOTE_MEMBER);
    put_channel(&payload, ch->app, ch->name);
    pack_u64(&payload, what);
    pack_text(&payload, user_id);
    pack_text(&payload, user_info);
    if (what == MEMBER_WENT) {
        bool tells = !presence_has(ch->presence, user_id); /* nobody has him any more, as far as is known here */
        if (!tells)
            untold_keep(ch, user_id, ch->env->bus->self(ch->env));
        pack_u64(&payload, tells);
    }
    publish(ch->env, ch->topic, &payload);
}

void peers_tell_control(struct env *env, const struct app *app, struct str channel, int code, struct str reason)
{
    struct buf payload = {0};
    if (env->bus == NULL)
        return;
    remote_begin(&payload, REMOTE_CONTROL);
    put_channel(&payload, app, channel);
    pack_u64(&payload, (uint64_t)code);
    pack_text(&payload, reason);
    publish(env, hub_topic(env, app, channel), &payload);
}

void peers_tell_forget(struct env *env, const struct app *app, struct str channel)
{
    struct buf payload = {0};
    if (env->bus == NULL)
        return;
    remote_begin(&payload, REMOTE_FORGET);
    pack_u64(&payload, hub_topic(env, app, channel));
    put_channel(&payload, app, channel);
    env->bus->send(env, STR_NONE, buf_view(&payload));
    buf_free(&payload);
}

void peers_tell_annotation(struct channel *ch, uint64_t serial, struct str json)
{
    struct buf payload = {0};
    if (ch->env->bus == NULL || ch->env->bus->wanted(ch->env, ch->topic) == BUS_NOBODY)
        return;
    remote_begin(&payload, REMOTE_ANNOTATION);
    put_channel(&payload, ch->app, ch->name);
    pack_u64(&payload, serial);
    pack_text(&payload, json);
    publish(ch->env, ch->topic, &payload);
}

/* ---- hearing ---- */

/* The channel's record on this node; NULL: none, or the payload names no channel. */
static struct channel *take_channel(struct env *env, struct str *payload)
{
    struct str app_id, name;
    if (!unpack_text(payload, &app_id) || !unpack_text(payload, &name))
        return NULL;
    struct app *app = apps_by_id(env->apps, app_id);
    return app != NULL ? owner_find(env->hub, app, name) : NULL;
}

static void take_leaving(struct channel *ch, struct str node, struct str user_id, struct str payload)
{
    uint64_t tells = 1;
    unpack_u64(&payload, &tells);
    if (!tells)
        untold_keep(ch, user_id, node);
    if (!presence_leave_at(ch->presence, node, user_id))
        return;
    member_went(ch, user_id);
    if (!tells && untold_is_ours(ch, user_id))
        member_left_all(ch, user_id);
    else
        tell_member_away(ch, user_id, LEAVERS_WAIT_MS);
}

void peers_take_member(struct env *env, struct str node, struct str payload)
{
    struct channel *ch = take_channel(env, &payload);
    uint64_t what;
    struct str user_id, user_info;
    if (ch == NULL || !ch->in_topic || !unpack_u64(&payload, &what) || !unpack_text(&payload, &user_id) ||
        !unpack_text(&payload, &user_info) || user_id.n == 0)
        return;
    struct presence *presence = member_presence(ch);
    if (what == MEMBER_CAME && presence_join_at(presence, node, user_id, user_info))
        member_came(ch, user_id, user_info);
    else if (what == MEMBER_WENT)
        take_leaving(ch, node, user_id, payload);
    else if (what == MEMBER_CHANGED && presence_inform(presence, user_id, user_info))
        member_changed(ch, user_id, user_info);
}

void peers_take_control(struct env *env, struct str payload)
{
    struct channel *ch = take_channel(env, &payload);
    uint64_t code;
    struct str reason;
    if (ch != NULL && unpack_u64(&payload, &code) && unpack_text(&payload, &reason))
        channel_control(ch, (int)code, reason);
}

static void take_forget(struct env *env, struct str payload)
{
    struct str app_id, name;
    struct app *app = unpack_text(&payload, &app_id) && unpack_text(&payload, &name) ? apps_by_id(env->apps, app_id) : NULL;
    if (app != NULL)
        owner_forget(env, app, name);
}

/* ---- who is there already ---- */

static void settled(struct peers *p)
{
    p->known = true;
    wheel_cancel(p->ch->env->wheel, &p->timer);
    if (!list_empty(&p->ch->attaching))
        attach_topic_on(p->ch);
}

static void waited_enough(struct timer *timer)
{
    settled(list_of(timer, struct peers, timer));
}

static void ask(struct channel *ch)
{
    struct env *env = ch->env;
    struct buf payload = {0};
    struct peers *p = ch->peers;
    if (p == NULL) {
        p = ch->peers = mem_new(struct peers);
        p->ch = ch;
        p->timer.fire = waited_enough;
    }
    p->answers = env->bus->peers(env);
    remote_begin(&payload, REMOTE_ASK_MEMBERS);
    pack_u64(&payload, ch->topic);
    put_channel(&payload, ch->app, ch->name);
    env->bus->send(env, STR_NONE, buf_view(&payload));
    buf_free(&payload);
    if (p->answers > 0)
        wheel_set(env->wheel, &p->timer, env_now_ms(env) + PEERS_WAIT_MS);
    else
        p->known = true;
}

static bool is_asked_for(const struct channel *ch)
{
    return ch->env->bus != NULL && ch->kind.kind == CHANNEL_PRESENCE;
}

bool peers_known(struct channel *ch)
{
    if (!is_asked_for(ch))
        return true;
    if (ch->peers == NULL)
        ask(ch);
    return ch->peers->known;
}

void peers_ask_again(struct channel *ch)
{
    if (is_asked_for(ch))
        ask(ch);
}

void peers_forget(struct channel *ch)
{
    if (presence_count_here(ch->presence) == 0) {
        presence_free(ch->presence); /* whoever comes asks again */
        ch->presence = NULL;
    }
    if (ch->peers == NULL)
        return;
    wheel_cancel(ch->env->wheel, &ch->peers->timer);
    free(ch->peers);
    ch->peers = NULL;
}

/* Behind the members: those who have left here and may be back in a moment, with how long they are waited for. */
static void put_leavers(struct buf *out, const struct channel *ch)
{
    struct str who;
    uint64_t left_ms;
    size_t at = 0;
    while (ch != NULL && (who = leavers_next(ch->leavers, &at, &left_ms)).p != NULL)
        if (who.n > 0) {
            pack_text(out, who);
            pack_u64(out, left_ms);
        }
}

static void take_leavers(struct channel *ch, struct str payload)
{
    struct str who;
    uint64_t left_ms;
    while (unpack_text(&payload, &who) && unpack_u64(&payload, &left_ms))
        if (who.n > 0 && !presence_has(ch->presence, who))
            tell_member_away(ch, who, left_ms < LEAVERS_WAIT_MS ? left_ms : LEAVERS_WAIT_MS);
}

/* A node asks: every member that has a place here. */
static void answer_members(struct env *env, struct str node, uint64_t place, struct str payload)
{
    struct str app_id, name, id, info;
    struct str asked = payload;
    struct channel *ch = take_channel(env, &payload);
    struct buf answer = {0};
    size_t at = 0;
    if (!unpack_text(&asked, &app_id) || !unpack_text(&asked, &name))
        return;
    remote_begin(&answer, REMOTE_MEMBERS);
    pack_u64(&answer, place);
    pack_text(&answer, app_id);
    pack_text(&answer, name);
    pack_u64(&answer, ch != NULL ? presence_count_here(ch->presence) : 0);
    while (ch != NULL && (id = presence_next_info(ch->presence, &at, &info)).p != NULL)
        if (presence_has_here(ch->presence, id)) {
            pack_text(&answer, id);
            pack_text(&answer, info);
        }
    put_leavers(&answer, ch);
    env->bus->send(env, node, buf_view(&answer));
    buf_free(&answer);
}

static void place_changed(void *user, struct str user_id, struct str user_info, bool added)
{
    if (added)
        member_came(user, user_id, user_info);
    else
        member_went(user, user_id);
}

/* Whoever went with a node that was not dead is there again: the same node that told the outside of the one tells of the other. */
static void place_restored(void *user, struct str user_id, struct str user_info, bool added)
{
    struct channel *ch = user;
    if (added)
        tell_member_added(ch, user_id); /* first: if he is waited for, he was not away */
    place_changed(ch, user_id, user_info, added);
    if (added)
        presence_log_add(ch, MEMBER_ADDED_EVENT, "join", user_id, user_info, (struct socket_id){0}, STR_NONE);
}

static void take_members(struct env *env, struct str node, struct str payload)
{
    struct channel *ch = take_channel(env, &payload);
    uint64_t count;
    if (ch == NULL || ch->peers == NULL || !unpack_u64(&payload, &count) || count > MEMBERS_MAX)
        return;
    struct presence_place *places = mem_alloc((count + 1) * sizeof *places);
    size_t n = 0;
    while (n < count && unpack_text(&payload, &places[n].user_id) && unpack_text(&payload, &places[n].user_info))
        n++;
    bool is_back = str_eq(node, str_of(ch->peers->back));
    if (n == count)
        presence_set_at(member_presence(ch), node, places, n, is_back && ch->peers->restores ? place_restored : place_changed, ch);
    if (n == count)
        take_leavers(ch, payload);
    if (is_back)
        ch->peers->back[0] = '\0';
    free(places);
    if (!ch->peers->known && --ch->peers->answers == 0)
        settled(ch->peers);
}

/* ---- nodes ---- */

struct given_up_mail {
    struct task task;
    struct env *env;
};

static void given_up_arrives(struct task *task)
{
    struct given_up_mail *mail = list_of(task, struct given_up_mail, task);
    topics_given_up(mail->env);
    free(mail);
}

/* Another node took this one for dead until now, and did not publish for it. */
static void take_given_up(struct env *env)
{
    for (unsigned i = 0; i < env->shards; i++) {
        struct given_up_mail *mail = mem_new(struct given_up_mail);
        *mail = (struct given_up_mail){.task.run = given_up_arrives, .env = env->all[i]};
        env->post(env, i, &mail->task);
    }
}

static void tell_given_up(struct env *env, struct str node)
{
    struct buf payload = {0};
    remote_begin(&payload, REMOTE_GIVEN_UP);
    pack_u64(&payload, 0);
    env->bus->send(env, node, buf_view(&payload));
    buf_free(&payload);
}

static void members_back(struct channel *ch, struct str node, bool leads)
{
    if (!is_asked_for(ch))
        return;
    struct str teller = ch->presence != NULL ? departed_teller(ch, node) : STR_NONE;
    peers_ask_again(ch);
    ch->peers->restores = teller.p != NULL ? str_eq(teller, ch->env->bus->self(ch->env)) : leads;
    snprintf(ch->peers->back, sizeof ch->peers->back, "%.*s", STR_ARG(node));
}

void hub_peer_back(struct env *env, struct str node, bool leads)
{
    size_t at = 0;
    if (env->shard == 0)
        tell_given_up(env, node);
    for (struct channel *ch; (ch = map_next(&env->hub->owned, &at)) != NULL;) {
        if (ch->in_topic)
            members_back(ch, node, leads);
        counts_ask_again(ch);
    }
}

unsigned hub_place(struct str payload)
{
    uint64_t place = 0;
    return remote_kind_take(&payload) != REMOTE_KINDS && unpack_u64(&payload, &place) ? (unsigned)place : 0;
}

void hub_received(struct env *env, struct str node, struct str payload)
{
    enum remote_kind kind = remote_kind_take(&payload);
    uint64_t place;
    if (!unpack_u64(&payload, &place))
        return;
    if (kind == REMOTE_ASK_MEMBERS)
        answer_members(env, node, place, payload);
    else if (kind == REMOTE_MEMBERS)
        take_members(env, node, payload);
    else if (kind == REMOTE_QUESTION)
        questions_asked(env, node, payload);
    else if (kind == REMOTE_ANSWER)
        questions_answered(env, payload);
    else if (kind == REMOTE_ASK_COUNT)
        counts_asked(env, node, place, payload);
    else if (kind == REMOTE_COUNT_IS)
        counts_answered(env, node, payload);
    else if (kind == REMOTE_FORGET)
        take_forget(env, payload);
    else if (kind == REMOTE_GIVEN_UP)
        take_given_up(env);
    else if (kind >= REMOTE_UPPER && kind < REMOTE_KINDS && env->hub->uppers[kind - REMOTE_UPPER].take != NULL)
        env->hub->uppers[kind - REMOTE_UPPER].take(env->hub->uppers[kind - REMOTE_UPPER].user, env, node, payload);
}

void hub_on_remote(struct hub *hub, unsigned kind, void (*take)(void *user, struct env *env, struct str node, struct str payload), void *user)
{
    hub->uppers[kind - REMOTE_UPPER] = (struct upper){take, user};
}

void *hub_remote_user(const struct hub *hub, unsigned kind)
{
    return hub->uppers[kind - REMOTE_UPPER].user;
}

void hub_on_missed(struct hub *hub, void (*missed)(void *user), void *user)
{
    hub->missed = missed;
    hub->missed_user = user;
}

struct departure {
    struct channel *ch;
    struct str node, teller;
    bool tells; /* this node is it */
};

static void left_with_node(void *user, struct str user_id, struct str user_info, bool added)
{
    const struct departure *d = user;
    if (d->tells) {
        member_lost(d->ch, user_id, d->node);
        return;
    }
    member_went(d->ch, user_id);
    departed_keep(d->ch, user_id, d->node, d->teller);
}

/* leads counts where no node holds a member any more, and there are no wills. */
static void members_left(struct channel *ch, struct str node, bool leads)
{
    struct str teller = departed_teller(ch, node);
    struct departure d = {.ch = ch, .node = node, .teller = str_make(str_dup(teller), teller.n)};
    d.tells = teller.p != NULL ? str_eq(teller, ch->env->bus->self(ch->env)) : leads && ch->env->cache == NULL;
    presence_set_at(ch->presence, node, NULL, 0, left_with_node, &d);
    free((void *)d.teller.p);
}

void hub_peer_left(struct env *env, struct str node, bool leads)
{
    size_t at = 0;
    departed_teller_left(env, node); /* before others are recorded: see presence_log_repair() */
    for (struct channel *ch; (ch = map_next(&env->hub->owned, &at)) != NULL;) {
        if (ch->presence != NULL)
            members_left(ch, node, leads);
        counts_node_left(ch, node, leads);
        heads_doubt_channel(ch);
    }
    if (leads)
        will_execute(env, node);
}
