/* streams_fixture.h - open streams on one shard of the real core, and what webhooks are told of them.
 *
 * Time-outs are those of the demo profile: orphan_ttl_ms 60000. Notices are shown as text, "name(channel) fields".
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "../support/core.h"
#include "base/json.h"
#include "base/mem.h"
#include "message/notice.h"
#include <stdio.h>
#include <stdlib.h>

enum { TTL_MS = 60000, MESSAGES = 200 };

struct fixture {
    struct core *core;
    struct sink *sink;
    struct subscription *sub;
    struct message_id messages[MESSAGES];
    uint64_t delivery; /* of the last publish */
    enum publish_result result;
    struct message_id id;
    struct store_item item; /* of latest(), without its texts */
    struct buf item_text;
    struct buf notices;
};

static struct fixture *listening; /* env->notice has no user */

static inline void hears(struct env *env, const struct notice *n)
{
    (void)env;
    buf_fmt(&listening->notices, "%s%s(%.*s) %.*s", listening->notices.n > 0 ? "\n" : "", notice_name(n->kind),
            STR_ARG(n->channel), STR_ARG(n->fields));
}

static inline int setup(void **state)
{
    struct fixture *f = listening = mem_new(struct fixture);
    f->core = core_new();
    f->core->env.notice = hears;
    f->core->app->notices = UINT32_MAX & ~(1u << NOTICE_MESSAGE_VERSION_CREATED) & ~(1u << NOTICE_CHANNEL_OCCUPIED) &
                            ~(1u << NOTICE_SUBSCRIPTION_COUNT);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->sub != NULL)
        hub_detach(&f->core->env, f->sub, 0);
    core_free(f->core);
    if (f->sink != NULL)
        sink_free(f->sink);
    buf_free(&f->notices);
    buf_free(&f->item_text);
    free(f);
    return 0;
}

static inline void opens_at_once(void *user, struct subscription *s, const struct attached *attached)
{
    uint64_t last = 0;
    subscription_open(user, s, attached->head.delivery, &last);
}

static inline void subscribe(struct fixture *f, const char *channel)
{
    struct attach_request r = {.app = f->core->app, .channel = str_of(channel), .attached = opens_at_once,
                               .user = &f->core->env, .socket = {1, 1}, .lane = lane_of(LANE_DELTA, 2)};
    struct arena arena = {0};
    channel_name_check(f->core->app, r.channel, &r.name, &arena);
    r.sink = f->sink = sink_new(f->core);
    f->sub = hub_attach(&f->core->env, &r);
    core_settle(f->core);
    arena_free(&arena);
}

static inline void published(struct publish *p)
{
    struct fixture *f = p->user;
    f->result = p->result;
    f->id = p->op.written.message;
    f->delivery = p->op.written.delivery;
    publish_free(p);
}

static inline struct publish *publish_make(struct fixture *f, const char *channel, enum store_action action, const char *event,
                                    const char *extras)
{
    struct publish *p = publish_new(&f->core->env, f->core->app, published);
    struct store_write *w = &p->op.write;
    p->user = f;
    p->op.channel = arena_copy(&p->op.arena, str_of(channel));
    channel_name_check(f->core->app, p->op.channel, &p->name, &p->op.arena);
    w->action = action;
    w->event_name = action == ACTION_CREATE ? arena_copy(&p->op.arena, str_of(event)) : STR_NONE;
    w->extras = arena_copy(&p->op.arena, str_of(extras));
    extras_read(w->extras, &p->op.arena, &p->extras);
    w->status = p->extras.status;
    p->ai_event = action == ACTION_CREATE;
    return p;
}

#define STATUS(s) "{\"ai\":{\"transport\":{\"run-id\":\"r1\",\"status\":\"" s "\"}}}"

static inline void create_in(struct fixture *f, const char *channel, unsigned message)
{
    struct publish *p = publish_make(f, channel, ACTION_CREATE, "ai-output", STATUS("streaming"));
    p->op.write.data = STR("\"\"");
    hub_publish(&f->core->env, p);
    core_settle(f->core);
    assert_int_equal(f->result, PUBLISH_OK);
    f->messages[message] = f->id;
    streams_check(f->core->env.streams);
}

static inline struct publish *mutation(struct fixture *f, enum store_action action, unsigned message, const char *data,
                                const char *extras)
{
    struct publish *p = publish_make(f, "ai-chat", action, NULL, extras);
    p->op.write.target = f->messages[message];
    p->op.write.data = data != NULL ? arena_copy(&p->op.arena, str_of(data)) : STR_NONE;
    return p;
}

static inline enum publish_result mutate(struct fixture *f, enum store_action action, unsigned message, const char *data,
                                  const char *extras)
{
    hub_publish(&f->core->env, mutation(f, action, message, data, extras));
    core_settle(f->core);
    streams_check(f->core->env.streams);
    return f->result;
}

static inline void create(struct fixture *f, unsigned message)
{
    create_in(f, "ai-chat", message);
}

static inline enum publish_result append(struct fixture *f, unsigned message, const char *status_extras)
{
    return mutate(f, ACTION_APPEND, message, "\"abc\"", status_extras);
}

static inline void advance(struct fixture *f, unsigned ms)
{
    core_advance_ms(f->core, ms);
    streams_check(f->core->env.streams);
}

#define figure(f, field) metric_value(metrics_of(&(f)->core->env, (f)->core->app)->field)

static inline unsigned long open_now(struct fixture *f)
{
    assert_int_equal(streams_count(f->core->env.streams), figure(f, active_streams));
    return streams_count(f->core->env.streams);
}

static inline void latest_read(struct store_op *op)
{
    struct fixture *f = op->channel.p != NULL ? listening : NULL;
    assert_int_equal(op->result, STORE_OK);
    assert_int_equal(op->found.count, 1);
    f->item = op->found.items[0];
    buf_clear(&f->item_text);
    buf_fmt(&f->item_text, "%.*s %.*s %.*s %.*s", STR_ARG(f->item.data), STR_ARG(f->item.extras), STR_ARG(f->item.description),
            STR_ARG(f->item.metadata));
    buf_char(&f->item_text, '\0');
    store_op_free(op);
}

/* data, extras, description, metadata */
static inline const char *latest(struct fixture *f, unsigned message)
{
    struct store_op *op = store_op_new(STORE_LATEST, 0, latest_read);
    op->app_id = f->core->app->id;
    op->channel = STR("ai-chat");
    op->read.ids = &f->messages[message];
    op->read.ids_count = 1;
    store_submit(f->core->env.store, op);
    core_settle(f->core);
    return f->item_text.p;
}

static inline const char *told(struct fixture *f)
{
    buf_char(&f->notices, '\0');
    f->notices.n = 0;
    return f->notices.p;
}

static inline void event(struct fixture *f, const char *name, const char *extras)
{
    struct publish *p = publish_make(f, "ai-chat", ACTION_CREATE, name, extras);
    p->op.write.data = STR("\"\"");
    hub_publish(&f->core->env, p);
    core_settle(f->core);
    assert_int_equal(f->result, PUBLISH_OK);
}
