/* janitor.c - closing what nobody closes (chapter 4, 5.4).
 *
 *      due -> STORE_LATEST -> not open any more?        forgotten
 *                             another version?          its silence counts from now
 *                             the version seen idle:    update, only if that is still the newest -> forgotten
 *
 * The update takes the way of every publish through the channel's owner, so it is delivered in its place, behind what rollup held.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "ai/extras.h"
#include "ai/headers.h"
#include "ai/streams_internal.h"
#include "base/mem.h"
#include "message/notice.h"

struct check {
    struct store_op op;
    struct streams *all;
    struct stream *stream; /* NULL = closed or gone meanwhile */
    struct app *app;
    struct message_id message;
    struct str channel;    /* text[] */
    char text[];
};

static const struct str DESCRIPTION = {"AI stream orphan timeout", 24};
static const struct str METADATA = {"{\"system\":\"ai_transport_orphan_janitor\",\"reason\":\"orphan_timeout\"}", 66};

static bool is_due(const struct streams *all, const struct stream *s)
{
    return env_now_ms(all->env) >= s->seen_ms + all->env->config->ai.rollup.orphan_ttl_ms;
}

void check_abandon(struct check *c)
{
    c->stream->check = NULL;
    c->stream = NULL;
}

static void check_ends(struct check *c)
{
    struct streams *all = c->all;
    if (c->stream)
        check_abandon(c);
    free(c);
    all->checks--;
    janitor_looks(all);
}

/* What is still silent is looked at again in a second. */
static void try_later(struct check *c)
{
    struct streams *all = c->all;
    if (c->stream && is_due(all, c->stream)) {
        list_remove(&c->stream->link);
        list_append(&all->retried, &c->stream->link);
        if (!all->stopped && !timer_is_set(&all->retry))
            wheel_set(all->env->wheel, &all->retry, env_now_ms(all->env) + STREAM_RETRY_MS);
    }
    check_ends(c);
}

/* ---- closing ---- */

static void tell(const struct check *c)
{
    struct buf fields = {0};
    char serial[SERIAL_SIZE + 1];
    if (!notice_wanted(c->all->env, c->app, NOTICE_AI_STREAM_ORPHANED))
        return;
    serial_print(serial, c->message.create_delivery, c->message.stream8, c->message.history);
    buf_fmt(&fields, "\"message_serial\":\"%s\",\"reason\":\"orphan_timeout\"", serial);
    notice_send(c->all->env, &(struct notice){NOTICE_AI_STREAM_ORPHANED, c->app, c->channel, buf_view(&fields)});
    buf_free(&fields);
}

static void close_done(struct publish *p)
{
    struct check *c = p->user;
    struct streams *all = c->all;
    enum publish_result result = p->result;
    publish_free(p);
    switch (result) {
    case PUBLISH_OK:
        metrics_count(all->env, c->app, orphans_closed, 1);
        metrics_mutation(all->env, c->app, "message.update", "applied");
        tell(c);
        check_ends(c);
        break;
    case PUBLISH_NOT_FOUND:
        if (c->stream)
            stream_forget(all, c->stream);
        check_ends(c);
        break;
    default: /* changed: somebody was faster, and the next look knows; or the store is not well */
        try_later(c);
    }
}

static void put_extras(struct check *c, struct publish *p, struct str extras)
{
    static const struct ai_header_value closed[] = {
        {{"status", 6}, {"cancelled", 9}},
        {{"error-code", 10}, {"orphan_timeout", 14}},
        {{"error-message", 13}, {"stream cancelled after orphan timeout", 37}},
    };
    struct extras_facts before;
    struct ai_failure failure;
    struct buf text = {0};
    extras_read(extras, &p->op.arena, &before);
    if (!ai_headers_check(c->all->env->config, &before, &failure))
        metrics_count(c->all->env, c->app, unparseable, 1);
    ai_extras_put(&text, extras, &before, closed, sizeof closed / sizeof *closed);
    p->op.write.extras = arena_copy(&p->op.arena, buf_view(&text));
    buf_free(&text);
    extras_read(p->op.write.extras, &p->op.arena, &p->extras);
    p->extras.ephemeral = false;
}

static void close_stream(struct check *c, const struct store_item *item)
{
    struct env *env = c->all->env;
    struct publish *p = publish_new(env, c->app, close_done);
    struct store_write *w = &p->op.write;
    list_remove(&c->stream->link);
    list_append(&c->all->checked, &c->stream->link);
    p->user = c;
    p->by_server = true;
    p->op.app_id = c->app->id;
    p->op.channel = arena_copy(&p->op.arena, c->channel);
    channel_name_check(c->app, p->op.channel, &p->name, &p->op.arena);
    p->arrived_ns = clock_mono_ns(env->clock);
    w->action = ACTION_UPDATE;
    w->target = c->message;
    w->expect_delivery = item->delivery;
    w->description = DESCRIPTION;
    w->metadata = METADATA;
    put_extras(c, p, item->extras);
    w->status = STREAM_CANCELLED;
    hub_publish(env, p);
}

/* ---- looking ---- */

static bool is_open(const struct store_item *item)
{
    return item->status == STREAM_OPEN && item->action != ACTION_DELETE;
}

static void decide(struct check *c, const struct store_item *item)
{
    struct streams *all = c->all;
    struct stream *s = c->stream;
    if (!item || !is_open(item)) {
        stream_forget(all, s);
        check_ends(c);
    } else if (item->delivery != s->delivery) {
        stream_touch(all, s, item->delivery > s->delivery ? item->delivery : s->delivery);
        check_ends(c);
    } else if (is_due(all, s)) {
        close_stream(c, item);
    } else {
        check_ends(c);
    }
}

static void latest_read(struct store_op *op)
{
    struct check *c = list_of(op, struct check, op);
    enum store_result result = op->result;
    bool gone = result == STORE_NOT_FOUND || result == STORE_WRONG_STREAM || (result == STORE_OK && op->found.count == 0);
    struct arena arena = op->arena;
    if (!c->stream || c->all->stopped)
        check_ends(c);
    else if (gone)
        decide(c, NULL);
    else if (result == STORE_OK)
        decide(c, &op->found.items[0]);
    else
        try_later(c);
    arena_free(&arena);
}

void janitor_checks(struct streams *all, struct stream *s)
{
    struct str channel = stream_channel(s);
    if (s->check || all->stopped)
        return;
    struct check *c = mem_alloc(sizeof *c + channel.n);
    *c = (struct check){.all = all, .stream = s, .app = s->app, .message = s->message};
    memcpy(c->text, channel.p, channel.n);
    c->channel = str_make(c->text, channel.n);
    s->check = c;
    all->checks++;
    c->op.kind = STORE_LATEST;
    c->op.shard = all->env->shard;
    c->op.done = latest_read;
    c->op.app_id = c->app->id;
    c->op.channel = c->channel;
    c->op.read.ids = &c->message;
    c->op.read.ids_count = 1;
    store_submit(all->env->store, &c->op);
}

void janitor_looks(struct streams *all)
{
    struct list *ordered = &all->by_activity;
    if (all->stopped)
        return;
    while (!list_empty(ordered) && all->checks < STREAM_CHECKS_MAX) {
        struct stream *front = list_of(ordered->next, struct stream, link);
        if (!is_due(all, front)) {
            wheel_set(all->env->wheel, &all->due, front->seen_ms + all->env->config->ai.rollup.orphan_ttl_ms);
            return;
        }
        list_remove(&front->link);
        list_append(&all->checked, &front->link);
        janitor_checks(all, front);
    }
}

void janitor_wakes(struct timer *due)
{
    janitor_looks(list_of(due, struct streams, due));
}

void janitor_retries(struct timer *retry)
{
    struct streams *all = list_of(retry, struct streams, retry);
    list_splice(&all->retried, &all->by_activity); /* they are due: in front of the others */
    list_splice(&all->by_activity, &all->retried);
    janitor_looks(all);
}
