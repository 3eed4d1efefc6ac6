/* watchlist.c - who of the users that a client watches is online (chapter 1, 4.3).
 *
 * A connection that is user u1 has the hub's own channel [online]u1, so the count of its subscriptions, over all nodes, says whether
 * u1 is online. Who watches u1 listens to [meta][online]u1, which tells each change of that count:
 *
 *      sign-in -> attach [online]u1
 *              -> for each id: attach [meta][online]id -> attached -> ask for the count -> answer    `waiting` - 1
 *      waiting == 0 -> watchlist_events with all states -> signin_success
 *      from then on: one watchlist_events per change
 *
 * What the meta channel has told beats the answer, which may have been on its way for longer. A change that is no change of the
 * state (a second tab, a count that was only learned now) says nothing.
 *
 * Limits: WATCHLIST_MAX ids, beyond it error 4302 and no watchlist. A node that does not answer counts as having nobody, after a second.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "channel/outlet.h"
#include "session/internal.h"

struct watched {
    struct outlet outlet; /* first: takes the frames of the meta channel */
    struct watchlist *list;
    struct subscription *sub; /* NULL = none, or it could not be made */
    struct str id;            /* owned */
    bool known, online;
};

struct watchlist {
    struct session *s;        /* NULL = over: answers come still, and are for nobody */
    struct subscription *self; /* to [online]<own id> */
    char *user_data;          /* of the sign-in to acknowledge when all is known; NULL = none */
    uint32_t refs;            /* the user's and those of questions under way */
    uint32_t waiting;         /* ids whose state is not known yet */
    uint32_t count;
    struct watched *all;
};

static void drop(struct watchlist *w)
{
    if (--w->refs > 0)
        return;
    for (uint32_t i = 0; i < w->count; i++)
        free((void *)w->all[i].id.p);
    free(w->all);
    free(w->user_data);
    free(w);
}

/* ---- what the client is told ---- */

static void say(struct watchlist *w, struct str events)
{
    struct session *s = w->s;
    struct buf data = {0};
    buf_lit(&data, "{\"events\":[");
    buf_str(&data, events);
    buf_lit(&data, "]}");
    session_say(s, frame_internal_object(wire_of(s), STR("watchlist_events"), STR_NONE, buf_view(&data)));
    buf_free(&data);
}

/* {"name":"online","user_ids":[...]} of those in [from, to) who are; nothing if there are none. */
static void put_group(struct buf *out, const struct watched *from, const struct watched *to, bool online)
{
    bool some = false;
    for (const struct watched *one = from; one < to; one++) {
        if (one->online != online)
            continue;
        if (some)
            buf_char(out, ',');
        else
            buf_fmt(out, "%s{\"name\":\"%s\",\"user_ids\":[", out->n > 0 ? "," : "", online ? "online" : "offline");
        buf_json(out, one->id);
        some = true;
    }
    if (some)
        buf_lit(out, "]}");
}

static void say_states(struct watchlist *w, const struct watched *from, const struct watched *to)
{
    struct buf events = {0};
    put_group(&events, from, to, true);
    put_group(&events, from, to, false);
    if (events.n > 0)
        say(w, buf_view(&events));
    buf_free(&events);
}

static void acknowledge(struct watchlist *w)
{
    char *user_data = w->user_data;
    w->user_data = NULL;
    if (user_data != NULL)
        signin_says_success(w->s, str_of(user_data));
    free(user_data);
}

/* ---- what is learned ---- */

static void learn(struct watched *one, bool online)
{
    struct watchlist *w = one->list;
    bool changes = one->known && one->online != online, last = !one->known && --w->waiting == 0;
    one->known = true;
    one->online = online;
    if (last) {
        say_states(w, w->all, w->all + w->count);
        acknowledge(w);
    } else if (changes && w->waiting == 0) {
        say_states(w, one, one + 1);
    }
}

/* One of channel_occupied, subscription_count and channel_vacated; each names the count. */
static void take_frame(struct outlet *outlet, struct frame *frame)
{
    struct watched *one = (struct watched *)outlet;
    uint64_t count;
    if (json_u64(json_get(json_get(frame_payload(frame), STR("data")), STR("subscription_count")), &count))
        learn(one, count > 0);
    frame_drop(frame);
}

static void take_control(struct outlet *outlet, int code, struct str reason)
{
    (void)outlet, (void)code, (void)reason; /* those are said to users, on another channel */
}

static const struct outlet_kind watched_kind = {take_frame, take_control};

static void counted(struct query *q)
{
    struct watched *one = q->user;
    struct watchlist *w = one->list;
    if (w->s != NULL && !one->known)
        learn(one, q->subscription_count > 0);
    query_free(q);
    drop(w);
}

/* ---- listening ---- */

static struct str channel_of(struct arena *arena, const char *prefix, struct str id)
{
    struct buf name = {0};
    buf_fmt(&name, "%s" CHANNEL_ONLINE_PREFIX, prefix);
    buf_str(&name, id);
    struct str channel = arena_copy(arena, buf_view(&name));
    buf_free(&name);
    return channel;
}

static void opens(struct session *s, struct subscription *sub, const struct attached *a)
{
    uint64_t last = 0;
    subscription_open(env_of(s), sub, a->head.delivery, &last);
}

static struct subscription *attach(struct session *s, struct str channel, void *sink, void *user,
                                   void (*attached)(void *user, struct subscription *sub, const struct attached *a))
{
    struct attach_request request = {.app = s->app,
                                     .channel = channel,
                                     .name = {.internal = true, .meta = str_starts(channel, STR("[meta]"))},
                                     .sink = sink,
                                     .socket = s->id,
                                     .lane = lane_of(LANE_DELTA, 0),
                                     .attached = attached,
                                     .user = user};
    return hub_attach(env_of(s), &request);
}

static void watches(void *user, struct subscription *sub, const struct attached *a)
{
    struct watched *one = user;
    struct session *s = one->list->s;
    if (a->code != 0) {
        one->sub = NULL;
        learn(one, false);
        return;
    }
    opens(s, sub, a);
    struct query *q = query_new(env_of(s), QUERY_CHANNEL, s->app, counted);
    q->user = one;
    q->channel = channel_of(&q->arena, "", one->id);
    one->list->refs++;
    hub_ask(env_of(s), q);
}

static void is_online(void *user, struct subscription *sub, const struct attached *a)
{
    struct watchlist *w = user;
    if (a->code != 0)
        w->self = NULL;
    else
        opens(w->s, sub, a);
}

struct watchlist *watchlist_new(struct session *s, struct str own_id)
{
    struct arena arena = {0};
    struct watchlist *w = mem_new(struct watchlist);
    w->s = s;
    w->refs = 1;
    w->self = attach(s, channel_of(&arena, "", own_id), s->sink, w, is_online);
    arena_free(&arena);
    return w;
}

static bool has(const struct watchlist *w, struct str id)
{
    for (uint32_t i = 0; i < w->count; i++)
        if (str_eq(w->all[i].id, id))
            return true;
    return false;
}

/* False: too many. */
static bool read_ids(struct watchlist *w, struct str ids)
{
    struct arena arena = {0};
    struct str item;
    bool fits = true;
    w->all = mem_zalloc(WATCHLIST_MAX * sizeof *w->all);
    for (struct json_iter it = json_iter(ids); fits && json_next_item(&it, &item);) {
        struct str id = json_text_in(item, &arena);
        if (id.n == 0 || has(w, id))
            continue;
        fits = w->count < WATCHLIST_MAX;
        if (fits)
            w->all[w->count++] = (struct watched){.outlet = {&watched_kind}, .list = w, .id = str_make(str_dup(id), id.n)};
    }
    arena_free(&arena);
    return fits;
}

/* How many are to be watched; the client is told why it is nobody. */
static uint32_t admitted(struct watchlist *w, struct str ids)
{
    struct session *s = w->s;
    if (!json_is(ids, JSON_ARRAY))
        return 0;
    if (!read_ids(w, ids)) {
        metrics_limit_reached(env_of(s), s->app, "watchlist");
        session_error(s, CODE_LIMIT, STR_NONE, "Watchlist limit exceeded");
        return 0;
    }
    if (w->count > 0 && !hub_takes_subscriptions(env_of(s))) {
        metrics_limit_reached(env_of(s), s->app, "attaches");
        session_error(s, CODE_GENERIC, STR_NONE, "Too many subscriptions are under way, nobody is watched: sign in again");
        return 0;
    }
    return w->count;
}

void watchlist_begin(struct watchlist *w, struct str ids, struct str user_data)
{
    struct arena arena = {0};
    w->user_data = str_dup(user_data);
    w->waiting = admitted(w, ids);
    if (w->waiting == 0)
        acknowledge(w);
    for (uint32_t i = 0; i < w->waiting; i++) {
        struct watched *one = &w->all[i];
        one->sub = attach(w->s, channel_of(&arena, "[meta]", one->id), outlet_handle(&one->outlet), one, watches);
    }
    arena_free(&arena);
}

void watchlist_leave(struct watchlist *w)
{
    if (w == NULL || w->s == NULL)
        return;
    struct env *env = env_of(w->s);
    w->s = NULL;
    if (w->self != NULL)
        hub_detach(env, w->self, 0);
    for (uint32_t i = 0; i < w->count; i++)
        if (w->all[i].sub != NULL)
            hub_detach(env, w->all[i].sub, 0);
}

void watchlist_replaced(struct watchlist *w)
{
    if (w == NULL)
        return;
    if (w->s != NULL)
        acknowledge(w);
    watchlist_leave(w);
    drop(w);
}

void watchlist_free(struct watchlist *w)
{
    if (w == NULL)
        return;
    watchlist_leave(w);
    drop(w);
}
