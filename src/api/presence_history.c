/* presence_history.c - who came and went on a presence channel: a page, a snapshot, the state, a reset (chapter 2, 2.14).
 *
 * The store knows what was recorded; whether something could not be, the channel's owner knows. So it is asked first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"

#include "api/history_query.h"
#include "api/lookup.h"
#include "api/order.h"
#include "message/presence_page.h"
#include "message/stream_json.h"

enum { SNAPSHOT_PAGE = 1000 };

/* One request; in the call's arena. */
struct view {
    struct call *call;
    struct channel_name name;
    struct str channel;      /* the internal one */
    enum stream_state doubt;
    struct lookup *lookup;
    void (*next)(struct view *v);
    struct history_query query; /* page */
    struct order order;         /* reset */
    struct presence_fold *fold; /* snapshot, with the rest */
    struct number at_serial, at_ms;
    char stream_id[STREAM_ID_SIZE + 1];
    struct presence_snapshot snapshot;
    const char *impossible;
};

static struct failure check_channel(struct view *v)
{
    struct call *c = v->call;
    struct channel_policy policy;
    struct failure refused = channel_read(c, c->args[1], &v->name, &policy);
    if (refused.status)
        return refused;
    if (v->name.kind != CHANNEL_PRESENCE)
        return fail_input(STR("Only presence channels support this endpoint"));
    if (!presence_history_policy(c->app, &v->name).on)
        return fail_fmt(c, 422, "feature_disabled", "Presence history is disabled by policy for channel '%.*s'",
                        STR_ARG(c->args[1]));
    return NO_FAILURE;
}

static struct view *view_new(struct call *c, void (*next)(struct view *v))
{
    struct view *v = arena_zalloc(call_arena(c), sizeof *v);
    v->call = c;
    v->next = next;
    v->channel = presence_history_channel(call_arena(c), c->args[1]);
    return v;
}

static void owner_answers(struct query *q)
{
    struct view *v = q->user;
    v->doubt = q->presence_log;
    query_free(q);
    v->next(v);
}

static void ask_owner(struct view *v)
{
    struct call *c = v->call;
    struct query *q = query_new(c->env, QUERY_CHANNEL, c->app, owner_answers);
    q->user = v;
    q->channel = arena_copy(&q->arena, c->args[1]);
    hub_ask(c->env, q);
}

static void end(struct view *v, struct failure refused)
{
    struct call *c = v->call;
    if (v->lookup != NULL)
        lookup_end(v->lookup);
    presence_fold_free(v->fold);
    if (refused.status)
        call_refuse(c, refused);
    else
        call_ok(c);
}

static void start(struct view *v, struct failure refused)
{
    if (refused.status)
        call_refuse(v->call, refused);
    else
        ask_owner(v);
}

/* "History cursor ..." of messages is "Presence history cursor ..." here. */
static struct failure of_presence(struct view *v, struct failure refused)
{
    ptrdiff_t at = str_find(refused.text, STR("istory cursor"));
    if (!refused.status || at < 1)
        return refused;
    struct str before = str_first(refused.text, (size_t)at - 1), after = str_from(refused.text, (size_t)at);
    return fail_fmt(v->call, refused.status, refused.code, "%.*s%s%.*s", STR_ARG(before),
                    at == 1 ? "Presence h" : "presence h", STR_ARG(after));
}

/* ---- a page ---- */

static void page_found(struct lookup *lookup)
{
    struct view *v = lookup->user;
    struct call *c = v->call;
    const char *expired = history_cursor_refuses(&v->query, &lookup->op);
    struct failure refused = expired ? fail_input(str_of(expired)) : lookup_failure(lookup);
    presence_head_doubt(&lookup->op.head, v->doubt);
    if (!refused.status)
        presence_page_json(call_body(c), c->env->config, &v->query, &lookup->op);
    end(v, of_presence(v, refused));
}

static void look_up_page(struct view *v)
{
    v->lookup = lookup_new(v->call, STORE_PAGE, v->channel, page_found);
    v->lookup->user = v;
    history_query_fill(&v->query, &v->lookup->op.read);
    lookup_start(v->lookup);
}

void serve_presence_history(struct call *c)
{
    struct view *v = view_new(c, look_up_page);
    uint32_t page_max = c->env->config->presence_history.max_page_size;
    struct failure refused = check_channel(v);
    if (!refused.status)
        refused = of_presence(v, history_query_read(c, v->channel, "Presence history", page_max, &v->query));
    start(v, refused);
}

/* ---- the state ---- */

static void state_found(struct lookup *lookup)
{
    struct view *v = lookup->user;
    struct call *c = v->call;
    /* That it is not healthy is what is asked for here. */
    struct failure refused = lookup->op.result == STORE_UNHEALTHY ? NO_FAILURE : lookup_failure(lookup);
    presence_head_doubt(&lookup->op.head, v->doubt);
    if (!refused.status) {
        struct buf *body = call_body(c);
        buf_char(body, '{');
        put_text(body, "channel", c->args[1]);
        put_key(body, "stream");
        stream_json(body, c->env->config, &stream_words_presence, &lookup->op.head);
        buf_char(body, '}');
    }
    end(v, refused);
}

static void look_up_state(struct view *v)
{
    v->lookup = lookup_new(v->call, STORE_HEAD, v->channel, state_found);
    v->lookup->user = v;
    lookup_start(v->lookup);
}

void serve_presence_state(struct call *c)
{
    struct view *v = view_new(c, look_up_state);
    start(v, check_channel(v));
}

/* ---- a reset ---- */

static void put_reset(struct buf *out, const struct view *v, const struct store_op *op)
{
    buf_char(out, '{');
    put_bool(out, "ok", true);
    put_text(out, "operation", STR("reset"));
    put_text(out, "channel", v->call->args[1]);
    put_text(out, "reason", v->order.reason);
    put_text(out, "requested_by", v->order.requested_by);
    put_stream_id(out, "previous_stream_id", op->found.previous_stream_id);
    put_stream_id(out, "new_stream_id", op->head.stream_id);
    put_u64(out, "purged_events", op->found.purged_messages);
    put_u64(out, "purged_bytes", op->found.purged_bytes);
    put_key(out, "stream");
    stream_json(out, v->call->env->config, &stream_words_presence, &op->head);
    buf_char(out, '}');
}

static void reset_done(struct presence_reset *reset)
{
    struct view *v = reset->user;
    struct failure refused = NO_FAILURE;
    if (reset->op.result == STORE_OK)
        put_reset(call_body(v->call), v, &reset->op);
    else
        refused = fail_busy(reset->op.result == STORE_BUSY ? STR("The store is at its limit, try again")
                                                           : STR("The store failed to answer, try again"));
    arena_free(&reset->op.arena);
    end(v, refused);
}

static void reset(struct view *v)
{
    struct call *c = v->call;
    struct presence_reset *r = arena_zalloc(call_arena(c), sizeof *r);
    r->app = c->app;
    r->channel = c->args[1];
    r->name = v->name;
    r->done = reset_done;
    r->user = v;
    hub_reset_presence_history(c->env, r);
}

void serve_presence_reset(struct call *c)
{
    struct view *v = view_new(c, NULL);
    struct failure refused = order_read(c, ORDER_RESET, &v->order);
    if (!refused.status)
        refused = check_channel(v);
    if (!refused.status)
        refused = order_check(c, &v->order, STR("reset"));
    if (refused.status)
        call_refuse(c, refused);
    else
        reset(v);
}

/* ---- a snapshot ---- */

static void look_up_rows(struct view *v);

static struct failure broken(struct view *v, const char *why)
{
    return fail_fmt(v->call, 400, "invalid_input", "Presence history cannot be replayed: %s", why);
}

static struct failure check_stream(struct view *v, const struct store_head *head)
{
    if (v->snapshot.replayed > 0 && strcmp(v->stream_id, head->stream_id) != 0)
        return broken(v, "the stream has changed");
    memcpy(v->stream_id, head->stream_id, sizeof v->stream_id);
    return NO_FAILURE;
}

static struct failure add_row(struct view *v, const struct store_item *row)
{
    struct presence_snapshot *s = &v->snapshot;
    uint64_t serial = row->message.history;
    if (!v->at_ms.given && s->replayed > 0 && serial != s->serial + 1)
        return fail_fmt(v->call, 400, "invalid_input",
                        "Presence history cannot be replayed: serial %llu follows %llu", (unsigned long long)serial,
                        (unsigned long long)s->serial);
    const char *wrong = presence_fold_add(v->fold, row);
    if (wrong == presence_fold_full)
        return fail_fmt(v->call, 422, "snapshot_too_large", "Presence history has more than %d users", FOLD_USERS_MAX);
    if (wrong != NULL && v->impossible == NULL)
        v->impossible = wrong;
    s->replayed++;
    s->serial = serial;
    s->time_ms = row->published_at_ms;
    return NO_FAILURE;
}

static struct failure add_rows(struct view *v, const struct store_op *op)
{
    struct failure refused = check_stream(v, &op->head);
    if (op->head.oldest_history > 1)
        v->snapshot.truncated = true;
    if (v->snapshot.replayed == 0 && op->found.count > 0 && !v->snapshot.truncated && op->found.items[0].message.history != 1)
        refused = broken(v, "it does not begin with serial 1");
    for (size_t i = 0; i < op->found.count && !refused.status; i++)
        refused = add_row(v, &op->found.items[i]);
    return refused;
}

static struct failure whole(struct view *v, const struct store_head *head)
{
    bool complete = !v->snapshot.truncated && head->state == STATE_HEALTHY;
    return complete && !v->at_ms.given && v->impossible != NULL ? broken(v, v->impossible) : NO_FAILURE;
}

static void rows_found(struct lookup *lookup)
{
    struct view *v = lookup->user;
    struct presence_snapshot *s = &v->snapshot;
    struct failure refused = lookup_failure(lookup);
    presence_head_doubt(&lookup->op.head, v->doubt);
    if (!refused.status)
        refused = add_rows(v, &lookup->op);
    if (!refused.status && lookup->op.found.more) {
        lookup_end(lookup);
        look_up_rows(v);
        return;
    }
    if (!refused.status)
        refused = whole(v, &lookup->op.head);
    if (!refused.status) {
        s->channel = v->call->args[1];
        s->members = presence_fold_members(v->fold, call_arena(v->call), &s->members_count);
        presence_snapshot_json(call_body(v->call), s, &lookup->op.head);
    }
    end(v, refused);
}

static void look_up_rows(struct view *v)
{
    struct history_query q = {.limit = SNAPSHOT_PAGE, .cursor = {.direction = OLDEST_FIRST}};
    struct history_bounds *b = &q.cursor.bounds;
    b->has_end_serial = v->at_serial.given;
    b->end_serial = v->at_serial.u;
    b->has_end_time = v->at_ms.given;
    b->end_time_ms = v->at_ms.i;
    v->lookup = lookup_new(v->call, STORE_PAGE, v->channel, rows_found);
    v->lookup->user = v;
    history_query_fill(&q, &v->lookup->op.read);
    v->lookup->op.read.after = v->snapshot.serial;
    lookup_start(v->lookup);
}

static void begin_snapshot(struct view *v)
{
    v->fold = presence_fold_new();
    look_up_rows(v);
}

void serve_presence_snapshot(struct call *c)
{
    struct view *v = view_new(c, begin_snapshot);
    struct failure refused = check_channel(v);
    if (!refused.status)
        refused = query_u64(c, "at_serial", &v->at_serial);
    if (!refused.status)
        refused = query_i64(c, "at_time_ms", &v->at_ms);
    if (!refused.status && !v->at_ms.given)
        refused = query_i64(c, "at", &v->at_ms);
    start(v, refused);
}
