/* history_admin.c - the state of a channel's stream, forgetting it, and deleting its old rows (chapter
 * 3, 2.7).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"

#include "api/lookup.h"
#include "api/order.h"
#include "base/log.h"
#include "channel/annotations.h"
#include "message/stream_json.h"

static struct failure check_channel(struct call *c)
{
    struct channel_name name;
    struct channel_policy policy;
    struct failure refused = channel_read(c, c->args[1], &name, &policy);
    return refused.status ? refused : history_must_be_on(c, c->args[1], &policy);
}

static void end(struct lookup *lookup, struct failure refused)
{
    struct call *c = lookup->call;
    lookup_end(lookup);
    if (refused.status)
        call_refuse(c, refused);
    else
        call_ok(c);
}

/* ---- state ---- */

static void state_found(struct lookup *lookup)
{
    struct call *c = lookup->call;
    /* That it is not healthy is what is asked for here. */
    struct failure refused = lookup->op.result == STORE_UNHEALTHY ? NO_FAILURE : lookup_failure(lookup);
    if (!refused.status) {
        struct buf *body = call_body(c);
        buf_char(body, '{');
        put_text(body, "channel", c->args[1]);
        put_key(body, "stream");
        stream_json(body, c->env->config, &stream_words_history, &lookup->op.head);
        buf_char(body, '}');
    }
    end(lookup, refused);
}

void serve_history_state(struct call *c)
{
    struct failure refused = check_channel(c);
    if (refused.status)
        call_refuse(c, refused);
    else
        lookup_start(lookup_new(c, STORE_HEAD, c->args[1], state_found));
}

/* ---- orders ---- */

static struct failure check_mode(struct call *c, const struct order *o)
{
    bool serial = o->before_serial.given, time = o->before_time_ms.given;
    if (str_eq(o->mode, STR("all")))
        return serial || time ? fail_input(STR("Purge mode 'all' does not accept bounds")) : NO_FAILURE;
    if (str_eq(o->mode, STR("before_serial")))
        return serial && !time ? NO_FAILURE
                               : fail_input(STR("Purge mode 'before_serial' requires before_serial only"));
    if (str_eq(o->mode, STR("before_time_ms")))
        return time && !serial ? NO_FAILURE
                               : fail_input(STR("Purge mode 'before_time_ms' requires before_time_ms only"));
    return fail_fmt(c, 422, "unprocessable_body",
                    "Field 'mode' must be 'all', 'before_serial' or 'before_time_ms'");
}

static struct failure read_order(struct call *c, enum order_kind kind, struct order *o)
{
    struct failure refused = order_read(c, kind, o);
    return refused.status ? refused : check_channel(c);
}

static void put_head(struct buf *out, const struct call *c, struct str operation)
{
    buf_char(out, '{');
    put_bool(out, "ok", true);
    put_text(out, "operation", operation);
    put_text(out, "channel", c->args[1]);
}

static void put_tail(struct buf *out, const struct lookup *lookup)
{
    const struct order *o = lookup->user;
    put_text(out, "reason", o->reason);
    put_text(out, "requested_by", o->requested_by);
    put_u64(out, "purged_messages", lookup->op.found.purged_messages);
    put_u64(out, "purged_bytes", lookup->op.found.purged_bytes);
    put_key(out, "stream");
    stream_json(out, lookup->call->env->config, &stream_words_history, &lookup->op.head);
    buf_char(out, '}');
}

/* What was lost, by whose will. */
static void log_reset(const struct lookup *lookup)
{
    const struct order *o = lookup->user;
    log_warn("api", "history of channel %.*s of app %.*s was reset by %.*s: %.*s; %llu messages are gone",
             STR_ARG(lookup->call->args[1]), STR_ARG(lookup->call->app->id), STR_ARG(o->requested_by.n > 0 ? o->requested_by : STR("somebody")), STR_ARG(o->reason),
             (unsigned long long)lookup->op.found.purged_messages);
}

static void reset_done(struct lookup *lookup)
{
    struct call *c = lookup->call;
    struct failure refused = lookup_failure(lookup);
    if (!refused.status) {
        struct buf *body = call_body(c);
        put_head(body, c, STR("reset"));
        put_stream_id(body, "previous_stream_id", lookup->op.found.previous_stream_id);
        put_stream_id(body, "new_stream_id", lookup->op.head.stream_id);
        put_tail(body, lookup);
        hub_forget(c->env, c->app, c->args[1]);
        log_reset(lookup);
    }
    end(lookup, refused);
}

/* The annotations go first: history positions are given anew afterwards, and old ones would stand on other messages. */
static void annotations_reset(struct lookup *lookup)
{
    struct call *c = lookup->call;
    struct order *o = lookup->user;
    struct failure refused = lookup_failure(lookup);
    lookup_end(lookup);
    if (refused.status) {
        call_refuse(c, refused);
        return;
    }
    lookup = lookup_new(c, STORE_RESET, c->args[1], reset_done);
    lookup->user = o;
    lookup_start(lookup);
}

void serve_history_reset(struct call *c)
{
    struct order *o = arena_zalloc(call_arena(c), sizeof *o);
    struct failure refused = read_order(c, ORDER_RESET, o);
    if (!refused.status)
        refused = order_check(c, o, STR("reset"));
    if (refused.status) {
        call_refuse(c, refused);
        return;
    }
    struct lookup *lookup = lookup_new(c, STORE_RESET, annotation_channel(call_arena(c), c->args[1]), annotations_reset);
    lookup->user = o;
    lookup_start(lookup);
}

static void purge_done(struct lookup *lookup)
{
    const struct order *o = lookup->user;
    struct call *c = lookup->call;
    struct failure refused = lookup_failure(lookup);
    if (!refused.status) {
        struct buf *body = call_body(c);
        put_head(body, c, STR("purge"));
        put_text(body, "mode", o->mode);
        if (o->before_serial.given)
            put_u64(body, "before_serial", o->before_serial.u);
        else
            put_null(body, "before_serial");
        if (o->before_time_ms.given)
            put_i64(body, "before_time_ms", o->before_time_ms.i);
        else
            put_null(body, "before_time_ms");
        put_tail(body, lookup);
        hub_forget(c->env, c->app, c->args[1]);
    }
    end(lookup, refused);
}

static void purge(struct call *c, struct order *o)
{
    struct lookup *lookup = lookup_new(c, STORE_PURGE, c->args[1], purge_done);
    struct store_read *read = &lookup->op.read;
    lookup->user = o;
    read->purge_all = str_eq(o->mode, STR("all"));
    read->before_history = o->before_serial.u;
    read->before_ms = o->before_time_ms.i;
    lookup_start(lookup);
}

void serve_history_purge(struct call *c)
{
    struct order *o = arena_zalloc(call_arena(c), sizeof *o);
    struct failure refused = read_order(c, ORDER_PURGE, o);
    if (!refused.status)
        refused = order_check(c, o, STR("purge"));
    if (!refused.status)
        refused = check_mode(c, o);
    if (refused.status)
        call_refuse(c, refused);
    else
        purge(c, o);
}
