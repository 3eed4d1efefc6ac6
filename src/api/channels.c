/* channels.c - who is there: GET /channels, /channels/{c}, /channels/{c}/users (chapter 2, 2.8).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"
#include "api/lookup.h"

enum { WANT_SUBSCRIPTIONS = 1, WANT_USERS = 2, WANT_CACHE = 4 };

static unsigned read_wanted(struct call *c)
{
    unsigned wanted = 0;
    struct str rest = query_get(c->request->query, STR("info"), call_arena(c));
    while (rest.p) {
        struct str word = str_trim(str_split(&rest, ','));
        if (str_eq(word, STR("subscription_count")))
            wanted |= WANT_SUBSCRIPTIONS;
        else if (str_eq(word, STR("user_count")))
            wanted |= WANT_USERS;
        else if (str_eq(word, STR("cache")))
            wanted |= WANT_CACHE;
    }
    return wanted;
}

/* Ends the question, then refuses. */
static void refuse(struct query *q, struct failure failure)
{
    struct call *c = q->user;
    query_free(q);
    call_refuse(c, failure);
}

static void ask(struct call *c, enum query_kind kind, struct str channel, void (*done)(struct query *q))
{
    struct query *q = query_new(c->env, kind, c->app, done);
    q->user = c;
    q->channel = arena_copy(&q->arena, channel);
    hub_ask(c->env, q);
}

/* ---- /channels ---- */

static bool is_listed(struct str name)
{
    return !str_starts(name, STR("[meta]")) && !str_starts(name, STR("#server-to-user-")) &&
           str_index(name, '*') < 0;
}

static bool is_presence(struct str name)
{
    return str_starts(name, STR("presence-"));
}

static void put_entry(struct buf *out, const struct query_channel *channel, unsigned wanted)
{
    if (out->p[out->n - 1] != '{')
        buf_char(out, ',');
    buf_json(out, channel->name);
    buf_lit(out, ":{");
    if (wanted & WANT_SUBSCRIPTIONS)
        put_u64(out, "subscription_count", channel->subscription_count);
    if ((wanted & WANT_USERS) && is_presence(channel->name))
        put_u64(out, "user_count", channel->user_count);
    buf_char(out, '}');
}

static void channels_listed(struct query *q)
{
    struct call *c = q->user;
    unsigned wanted = read_wanted(c) & (WANT_SUBSCRIPTIONS | WANT_USERS);
    struct buf *body = call_body(c);
    buf_lit(body, "{\"channels\":{");
    for (size_t i = 0; i < q->channels_count; i++) {
        const struct query_channel *channel = &q->channels[i];
        if (!is_listed(channel->name))
            continue;
        if ((wanted & WANT_USERS) && !is_presence(channel->name)) {
            refuse(q, fail_input(STR("user_count is only available for presence channels. "
                                     "Use filter_by_prefix=presence-")));
            return;
        }
        put_entry(body, channel, wanted);
    }
    buf_lit(body, "}}");
    query_free(q);
    call_ok(c);
}

void serve_channels(struct call *c)
{
    struct str prefix = query_get(c->request->query, STR("filter_by_prefix"), call_arena(c));
    ask(c, QUERY_CHANNELS, prefix.p ? prefix : STR(""), channels_listed);
}

/* ---- /channels/{c} ---- */

static void put_cache(struct buf *out, const struct query *q)
{
    put_key(out, "cache");
    buf_char(out, '{');
    put_text(out, "data", q->cached);
    put_u64(out, "ttl", q->cached_ttl_s);
    buf_char(out, '}');
}

static void put_channel(struct buf *out, const struct query *q, unsigned wanted)
{
    buf_char(out, '{');
    put_bool(out, "occupied", q->subscription_count > 0);
    if (wanted & WANT_SUBSCRIPTIONS)
        put_u64(out, "subscription_count", q->subscription_count);
    if ((wanted & WANT_SUBSCRIPTIONS) && q->incomplete)
        put_bool(out, "subscription_count_complete", false);
    if (wanted & WANT_USERS)
        put_u64(out, "user_count", q->user_count);
    if ((wanted & WANT_CACHE) && q->cached.p)
        put_cache(out, q);
}

static void streams_found(struct lookup *lookup)
{
    struct query *q = lookup->user;
    struct call *c = lookup->call;
    const struct store_head *head = &lookup->op.head;
    struct buf *body = call_body(c);
    put_channel(body, q, read_wanted(c));
    if (lookup->op.result == STORE_OK) {
        put_key(body, "ai");
        buf_char(body, '{');
        put_u64(body, "active_streams", head->open_streams);
        if (head->history > 0)
            put_u64(body, "last_history_serial", head->history);
        else
            put_null(body, "last_history_serial");
        put_u64(body, "message_count", head->messages);
        buf_char(body, '}');
    }
    buf_char(body, '}');
    lookup_end(lookup);
    query_free(q);
    call_ok(c);
}

static void channel_described(struct query *q)
{
    struct call *c = q->user;
    struct channel_name name;
    struct channel_policy policy;
    if (channel_read(c, c->args[1], &name, &policy).status == 0 && policy.ai) {
        struct lookup *lookup = lookup_new(c, STORE_HEAD, c->args[1], streams_found);
        lookup->user = q;
        lookup_start(lookup);
        return;
    }
    struct buf *body = call_body(c);
    put_channel(body, q, read_wanted(c));
    buf_char(body, '}');
    query_free(q);
    call_ok(c);
}

void serve_channel(struct call *c)
{
    struct channel_name name;
    struct channel_policy policy;
    struct failure refused = channel_read(c, c->args[1], &name, &policy);
    if (!refused.status && (read_wanted(c) & WANT_USERS) && name.kind != CHANNEL_PRESENCE)
        refused = fail_input(STR("user_count is only available for presence channels"));
    if (refused.status)
        call_refuse(c, refused);
    else
        ask(c, QUERY_CHANNEL, c->args[1], channel_described);
}

/* ---- /channels/{c}/users ---- */

static void users_listed(struct query *q)
{
    struct call *c = q->user;
    struct buf *body = call_body(c);
    buf_lit(body, "{\"users\":[");
    for (size_t i = 0; i < q->users_count; i++) {
        buf_str(body, i > 0 ? STR(",{") : STR("{"));
        put_text(body, "id", q->users[i]);
        buf_char(body, '}');
    }
    buf_lit(body, "]}");
    query_free(q);
    call_ok(c);
}

void serve_channel_users(struct call *c)
{
    struct channel_name name;
    struct channel_policy policy;
    struct failure refused = channel_read(c, c->args[1], &name, &policy);
    if (!refused.status && name.kind != CHANNEL_PRESENCE)
        refused = fail_input(STR("Only presence channels support this endpoint"));
    if (refused.status)
        call_refuse(c, refused);
    else
        ask(c, QUERY_USERS, c->args[1], users_listed);
}
