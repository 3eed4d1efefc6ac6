/* sub.c - the channels of a connection: attaching, the acknowledgement, leaving.
 *
 *      subscribe -> hub_attach .......... attached -> acknowledgement -> work (rewind, resume) -> gate opens
 *                   `next`                `live`, gated
 *
 * Commands of one read are all handled before `attached` comes, so a resume behind a subscribe finds the gate closed. To
 * subscribe again, or to resume when live frames have gone out, is to attach once more: the answer closes a new gate at a
 * position up to which the old subscription has delivered everything, and then the old one is left.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"
#include "channel/filter.h"
#include "session/recovery.h"

enum { SUBS_FEW = 8, GATE_FRAMES_BY_BYTES = 10000 };

static const struct str user_prefix = {"#server-to-user-", 16};

/* ---- the table ---- */

struct sub *sub_find(const struct session *s, struct str channel)
{
    if (s->by_name != NULL)
        return map_get(s->by_name, channel);
    for (uint32_t i = 0; i < s->subs_count; i++)
        if (str_eq(s->subs[i]->channel, channel))
            return s->subs[i];
    return NULL;
}

static void index_by_name(struct session *s)
{
    s->by_name = mem_new(struct map);
    for (uint32_t i = 0; i < s->subs_count; i++)
        map_put(s->by_name, s->subs[i]->channel, s->subs[i]);
}

static void swap(struct session *s, uint32_t a, uint32_t b)
{
    struct sub *at_a = s->subs[a];
    s->subs[a] = s->subs[b];
    s->subs[b] = at_a;
    s->subs[a]->index = a;
    s->subs[b]->index = b;
}

static struct sub *sub_new(struct session *s, struct str channel, const struct channel_name *name)
{
    struct sub *sub = mem_zalloc(sizeof(*sub) + channel.n);
    memcpy(sub->text, channel.p, channel.n);
    sub->channel = str_make(sub->text, channel.n);
    sub->session = s;
    sub->kind = (uint8_t)name->kind;
    sub->cache = name->cache;
    sub->wildcard = name->wildcard;
    if (s->subs_count == s->subs_cap) {
        s->subs_cap = s->subs_cap ? s->subs_cap * 2 : 1;
        s->subs = mem_realloc(s->subs, s->subs_cap * sizeof(struct sub *));
    }
    sub->index = s->subs_count;
    s->subs[s->subs_count++] = sub;
    if (sub->wildcard)
        swap(s, s->wildcards++, sub->index);
    if (s->by_name != NULL)
        map_put(s->by_name, sub->channel, sub);
    else if (s->subs_count > SUBS_FEW)
        index_by_name(s);
    return sub;
}

static void remove_from_table(struct sub *sub)
{
    struct session *s = sub->session;
    if (sub->wildcard)
        swap(s, sub->index, --s->wildcards);
    swap(s, sub->index, --s->subs_count);
    if (s->by_name != NULL)
        map_del(s->by_name, sub->channel);
}

static void set_member(struct sub *sub, struct str user_id)
{
    if (str_eq(sub->member, user_id) && (sub->member.p != NULL) == (user_id.p != NULL))
        return;
    struct str old = sub->member;
    sub->member = user_id.p != NULL ? str_make(str_dup(user_id), user_id.n) : STR_NONE;
    if (user_id.p != NULL)
        sub_identify(sub->session, user_id);
    if (old.p != NULL)
        sub_forget_identity(sub->session, old);
    free((void *)old.p);
}

static void set_filter_json(struct sub *sub, struct str json)
{
    sub->session->filter_bytes -= sub->filter_json != NULL ? (uint32_t)strlen(sub->filter_json) : 0;
    free(sub->filter_json);
    sub->filter_json = json.p != NULL ? str_dup(json) : NULL;
    sub->session->filter_bytes += (uint32_t)json.n;
}

bool sub_has_room_for_filter(const struct session *s, const struct sub *sub, struct str json)
{
    size_t before = sub != NULL && sub->filter_json != NULL ? strlen(sub->filter_json) : 0;
    return s->filter_bytes - before + json.n <= SESSION_FILTER_BYTES_MAX;
}

/* After it has left the hub. */
static void sub_free(struct sub *sub)
{
    if (sub->work != NULL)
        work_drop(sub->work);
    remove_from_table(sub);
    set_member(sub, STR_NONE);
    set_filter_json(sub, STR_NONE);
    free(sub->rewound);
    free(sub);
}

static void leave(struct sub *sub, uint64_t lease_ms)
{
    struct env *env = env_of(sub->session);
    /* A member that attaches anew holds two places; one of them is given back at once. */
    if (sub->next != NULL)
        hub_detach(env, sub->next, sub->live != NULL ? 0 : lease_ms);
    if (sub->live != NULL)
        hub_detach(env, sub->live, lease_ms);
    sub->next = sub->live = NULL;
}

/* ---- attaching ---- */

static void attached(void *user, struct subscription *live, const struct attached *attached);
static void gate_is_full(void *user, struct subscription *subscription);

static enum exact exact_of(void *user, struct str channel, uint64_t first, struct subscription **live)
{
    struct sub *sub = sub_find(((struct sub *)user)->session, channel);
    if (sub == NULL)
        return EXACT_NONE;
    if (sub->live != NULL) {
        *live = sub->live;
        return EXACT_LIVE;
    }
    if (sub->covered || (sub->work != NULL && sub->work->position != NULL))
        return EXACT_WILL_REPLAY;
    if (sub->wild_from == 0)
        sub->wild_from = first;
    return EXACT_NONE;
}

static uint64_t gate_frames_max(const struct config *config)
{
    if (config->websocket.max_messages > 0)
        return config->websocket.max_messages;
    return config->websocket.max_bytes > 0 ? GATE_FRAMES_BY_BYTES : 0;
}

static void attach(struct sub *sub, const struct channel_name *name, struct filter *filter, struct str user_info)
{
    struct session *s = sub->session;
    const struct config *config = env_of(s)->config;
    struct attach_request request = {
        .app = s->app,
        .channel = sub->channel,
        .name = *name,
        .sink = s->sink,
        .socket = s->id,
        .lane = lane_of(s->mode, s->window_index),
        .format = s->format,
        .filter = filter,
        .annotations = sub->annotations,
        .member = {sub->member, user_info},
        .silent = sub->covered || (sub->live != NULL && !subscription_is_silent(sub->live)),
        .attached = attached,
        .exact = exact_of,
        .user = sub,
        .fresh = sub->work != NULL && sub->work->fresh,
        .overflow = gate_is_full,
        .gate_frames_max = gate_frames_max(config),
        .gate_bytes_max = config_send_bytes_max(config),
    };
    sub->next = hub_attach(env_of(s), &request);
}

static void gate_is_full(void *user, struct subscription *subscription)
{
    struct session *s = ((struct sub *)user)->session;
    metrics_count(env_of(s), s->app, slow_consumers, 1);
    session_doom(s, CODE_OVER_CAPACITY, STR("Too many messages came while the subscription was being prepared"));
}

void sub_attach_again(struct sub *sub)
{
    struct arena arena = {0};
    struct channel_name name;
    struct filter *filter = NULL;
    const struct config *config = env_of(sub->session)->config;
    subscription_name_check(sub->session->app, sub->channel, &name, &arena); /* it was good before */
    if (sub->filter_json != NULL)
        filter_read(config, str_of(sub->filter_json), &arena, &filter);
    attach(sub, &name, filter, STR("{}"));
    arena_free(&arena);
}

/* ---- the answer ---- */

static bool same_stream(const struct sub *sub, const struct attached *a)
{
    return strcmp(sub->stream_id, a->head.stream_id) == 0;
}

static void note_position(struct sub *sub, const struct attached *a, bool served_before)
{
    bool same = same_stream(sub, a);
    sub->live_at = a->head.delivery;
    if (!served_before || !same) {
        bool wild = sub->wild_from > 0 && sub->wild_from <= sub->live_at;
        sub->first_at = wild ? sub->wild_from - 1 : sub->live_at;
    }
    sub->has_attach &= same;
    memcpy(sub->stream_id, a->head.stream_id, sizeof sub->stream_id);
}

/* While a position is pending, the acknowledgement names it, or a client whose connection breaks now would lose the gap. */
static uint64_t serial_to_tell(const struct sub *sub, const struct attached *a)
{
    const struct position *p = sub->work != NULL ? sub->work->position : NULL;
    bool servable = p != NULL && str_eq(p->stream_id, str_of(a->head.stream_id)) && p->serial < a->head.delivery;
    return servable ? p->serial : a->head.delivery;
}

static void acknowledge(struct sub *sub, const struct attached *a)
{
    struct session *s = sub->session;
    struct subscribed said = {.channel = sub->channel, .presence = a->presence};
    if (s->protocol == WIRE_V2) {
        sub->has_attach = said.has_attach_serial = a->policy.history;
        sub->attach_serial = said.attach_serial = a->head.history;
        /* Of a stream that is not healthy only what the replay buffer has can be resumed. */
        bool resumable = a->head.state == STATE_HEALTHY || a->hot_from != UINT64_MAX;
        if (a->policy.recovery && a->head.stream_id[0] != '\0' && resumable)
            said.stream_id = str_of(a->head.stream_id);
        said.serial = serial_to_tell(sub, a);
    }
    session_say(s, frame_subscribed(wire_of(s), &said));
}

static void say_cached(struct sub *sub, const struct attached *a)
{
    struct session *s = sub->session;
    struct frame *cached = s->protocol == WIRE_V1 ? a->cached_v1 : a->cached_v2;
    bool rewinds = sub->work != NULL && sub->work->rewind.kind != REWIND_NONE;
    if (cached == NULL)
        session_say(s, frame_own_string(wire_of(s), STR("cache_miss"), sub->channel, STR("{}")));
    else if (!rewinds)
        session_say(s, frame_take(cached));
}

static void refused(struct sub *sub, const struct attached *a)
{
    static const struct resume_failure unavailable = {"persistence_unavailable", "version_store_state_unavailable"};
    struct session *s = sub->session;
    for (; sub->acks > 0; sub->acks--) {
        session_error(s, a->code, sub->channel, "%.*s", STR_ARG(a->message));
        session_say(s, frame_subscription_error(wire_of(s), sub->channel, a->code, a->message));
    }
    if (sub->work != NULL && sub->work->position != NULL)
        batch_failed(sub->work, unavailable);
    if (sub->live == NULL)
        sub_free(sub);
    else if (sub->work != NULL)
        work_drop(sub->work);
}

/* What the client asked for has come. */
static void answer(struct sub *sub, const struct attached *a)
{
    struct session *s = sub->session;
    if (sub->kind != CHANNEL_PUBLIC)
        s->auth_due_ms = 0;
    for (bool first = true; sub->acks > 0; sub->acks--, first = false) {
        acknowledge(sub, a);
        if (sub->cache && first)
            say_cached(sub, a);
        for (size_t i = 0; first && i < a->summaries_count; i++)
            session_say(s, frame_take(a->summaries[i]));
    }
}

static void take_pending(struct sub *sub)
{
    struct position *position = sub->work == NULL || sub->work->batch == NULL ? pending_take(sub->session, sub->channel) : NULL;
    if (position != NULL)
        batch_of_one(work_of(sub), position);
}

/* The client was served by a node that had heard more: true, and this is asked for, too. Once; then the position is wrong. */
static bool catches_up(struct sub *sub, const struct attached *a)
{
    const struct position *p = sub->work != NULL ? sub->work->position : NULL;
    bool other = p != NULL && p->stream_id.p != NULL && !str_eq(p->stream_id, str_of(a->head.stream_id));
    bool behind = other || (p != NULL && p->serial > a->head.delivery);
    if (!behind || sub->work->fresh || !a->policy.history || env_of(sub->session)->bus == NULL)
        return false;
    sub->work->fresh = true;
    sub->work->attached = false;
    sub_attach_again(sub);
    return true;
}

static void attached(void *user, struct subscription *live, const struct attached *a)
{
    struct sub *sub = user;
    struct subscription *old = sub->live;
    bool served = old != NULL && (sub->work == NULL || !sub->work->fresh); /* the gate has not opened in between */
    sub->next = NULL;
    if (a->code != 0) {
        refused(sub, a);
        return;
    }
    sub->live = live;
    if (old != NULL)
        hub_replace(env_of(sub->session), old, live);
    note_position(sub, a, served);
    if (sub->acks > 0)
        take_pending(sub);
    if (catches_up(sub, a))
        return;
    if (sub->acks > 0)
        answer(sub, a);
    if (sub->wildcard)
        cover_ends(sub->session);
    if (sub->work == NULL) {
        sub_open(sub);
        return;
    }
    work_attached(sub->work, a);
    work_next(sub->work);
}

/* ---- the gate opens ---- */

static void say_rewound(struct sub *sub, const struct work *work, uint32_t live_count, uint64_t serial)
{
    struct session *s = sub->session;
    struct buf data = {0};
    bool complete = !work->by_limit && !work->by_retention && !work->rewind_failed;
    static const char *const words[] = {"false", "true"};
    buf_fmt(&data, "{\"historical_count\":%u,\"live_count\":%u,\"complete\":%s", work->historical, live_count,
            words[complete]);
    buf_fmt(&data, ",\"truncated_by_retention\":%s,\"truncated_by_limit\":%s}", words[work->by_retention],
            words[work->by_limit]);
    session_say(s, frame_own(wire_of(s), STR("rewind_complete"), sub->channel, buf_view(&data), str_of(sub->stream_id),
                             serial));
    buf_free(&data);
}

/* Behind what the subscription brings (chapter 1, 5.8). */
static void decline_delta(struct sub *sub)
{
    struct buf data = {0};
    if (!sub->delta)
        return;
    sub->delta = false;
    buf_lit(&data, "{\"enabled\":false,\"channel\":");
    buf_json(&data, sub->channel);
    buf_char(&data, '}');
    session_say(sub->session, frame_own(wire_of(sub->session), STR("delta_compression_enabled"), sub->channel, buf_view(&data), STR_NONE, 0));
    buf_free(&data);
}

void sub_open(struct sub *sub)
{
    struct work *work = sub->work;
    uint64_t last = sub->live_at;
    sub->work = NULL;
    uint32_t count = subscription_open(env_of(sub->session), sub->live, sub->live_at, &last);
    if (work != NULL && work->rewound)
        say_rewound(sub, work, count, last);
    decline_delta(sub);
    if (work == NULL)
        return;
    struct rewind later = work->later;
    bool again = work->again;
    free(work);
    if (!again) {
        if (sub->covered)
            cover_done(sub);
        return;
    }
    if (later.kind != REWIND_NONE)
        work_of(sub)->rewind = later;
    sub_attach_again(sub);
}

/* ---- commands ---- */

/* True: the attach of a new connection's channel waits a moment, since a resume may follow. */
static bool settles(struct sub *sub, const struct sub_ask *ask)
{
    struct session *s = sub->session;
    if (sub->unsettled)
        return true;
    if (s->settled || !ask->recovers || s->protocol == WIRE_V1 || s->all->settle_ms == 0 || sub->live != NULL ||
        ask->member.user_id.p != NULL)
        return false;
    if (s->settle_due_ms == 0) {
        s->settle_due_ms = now_of(s) + s->all->settle_ms;
        session_arm(s);
    }
    return sub->unsettled = true;
}

void sub_settled(struct session *s)
{
    bool waiting = s->settle_due_ms != 0;
    s->settled = true;
    s->settle_due_ms = 0;
    for (uint32_t i = 0; waiting && i < s->subs_count; i++)
        if (s->subs[i]->unsettled) {
            s->subs[i]->unsettled = false;
            sub_attach_again(s->subs[i]);
        }
}

void sub_subscribe(struct session *s, const struct sub_ask *ask)
{
    struct sub *sub = sub_find(s, ask->channel);
    if (sub == NULL)
        sub = sub_new(s, ask->channel, &ask->name);
    bool busy = sub->work != NULL && (sub->work->attached || sub->covered);
    sub->shown = true;
    sub->covered = false;
    sub->acks++;
    set_filter_json(sub, ask->filter_json);
    sub->annotations = ask->annotations;
    sub->delta = ask->delta;
    set_member(sub, ask->member.user_id);
    if (ask->rewind.kind != REWIND_NONE && !busy)
        work_of(sub)->rewind = ask->rewind;
    if (busy) {
        sub->work->later = ask->rewind;
        sub->work->again = true;
        filter_free(ask->filter);
    } else if (sub->next != NULL) {
        subscription_set_filter(sub->next, ask->filter);
        subscription_set_annotations(sub->next, ask->annotations);
    } else if (settles(sub, ask)) {
        filter_free(ask->filter); /* filter_json will make another */
    } else {
        attach(sub, &ask->name, ask->filter, ask->member.user_info);
    }
    if (sub->wildcard && sub->live == NULL)
        cover_pending(s);
}

void sub_end(struct sub *sub)
{
    leave(sub, 0);
    sub_free(sub);
}

void sub_unsubscribe(struct sub *sub)
{
    struct session *s = sub->session;
    bool wildcard = sub->wildcard;
    sub->shown = false;
    sub->acks = 0;
    if (sub->identities > 0)
        return; /* still the user's own channel */
    cover_takes_over(sub);
    sub_end(sub);
    if (wildcard)
        cover_ends(s);
}

struct sub *sub_cover(struct session *s, struct str channel, struct str filter_json)
{
    struct arena arena = {0};
    struct channel_name name;
    struct sub *sub = NULL;
    bool room = s->subs_count < env_of(s)->config->websocket.max_channels && sub_has_room_for_filter(s, NULL, filter_json);
    if (room && channel_name_check(s->app, channel, &name, &arena) == NULL) {
        sub = sub_new(s, channel, &name);
        sub->covered = true;
        set_filter_json(sub, filter_json);
    }
    arena_free(&arena);
    return sub;
}

void sub_leave_all(struct session *s, uint64_t lease_ms)
{
    s->over = true;
    while (s->subs_count > 0) {
        struct sub *sub = s->subs[s->subs_count - 1];
        leave(sub, lease_ms);
        sub_free(sub);
    }
    free(s->subs);
    s->subs = NULL;
    s->subs_cap = 0;
    if (s->by_name != NULL)
        map_free(s->by_name);
    free(s->by_name);
    s->by_name = NULL;
    pending_free(s);
    if (s->user != NULL)
        watchlist_leave(s->user->watch);
}

/* ---- whom this connection is ---- */

void sub_identify(struct session *s, struct str user_id)
{
    struct arena arena = {0};
    struct channel_name name;
    struct str channel = arena_join(&arena, user_prefix, user_id);
    struct sub *sub = sub_find(s, channel);
    /* An id that makes too long a name cannot be addressed by anybody. */
    if (sub == NULL && channel_name_check(s->app, channel, &name, &arena) == NULL) {
        sub = sub_new(s, channel, &name);
        attach(sub, &name, NULL, STR_NONE);
    }
    if (sub != NULL)
        sub->identities++;
    arena_free(&arena);
}

void sub_forget_identity(struct session *s, struct str user_id)
{
    struct arena arena = {0};
    struct sub *sub = sub_find(s, arena_join(&arena, user_prefix, user_id));
    arena_free(&arena);
    if (sub != NULL && sub->identities > 0 && --sub->identities == 0)
        sub_unsubscribe(sub);
}

bool sub_is_user(const struct session *s, struct str user_id)
{
    struct arena arena = {0};
    const struct sub *sub = sub_find(s, arena_join(&arena, user_prefix, user_id));
    arena_free(&arena);
    return sub != NULL && sub->identities > 0;
}
