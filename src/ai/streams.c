/* streams.c - the table of open streams, and what each commit does to it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ai/streams_internal.h"

#include <assert.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"

enum { SMALL_KEY = 512 };

void streams_open(struct env *env)
{
    struct streams *all = mem_new(struct streams);
    all->env = env;
    list_init(&all->by_activity);
    list_init(&all->checked);
    list_init(&all->retried);
    all->due.fire = janitor_wakes;
    all->retry.fire = janitor_retries;
    env->streams = all;
}

void streams_stop(struct env *env)
{
    struct streams *all = env->streams;
    if (!all)
        return;
    all->stopped = true;
    wheel_cancel(env->wheel, &all->due);
    wheel_cancel(env->wheel, &all->retry);
    if (all->finder)
        finder_stop(all->finder);
}

static void free_list(struct list *streams)
{
    for (struct list *link; (link = list_take(streams)) != NULL;)
        free(list_of(link, struct stream, link));
}

void streams_close(struct env *env)
{
    struct streams *all = env->streams;
    if (!all)
        return;
    assert(all->checks == 0);
    streams_stop(env);
    free_list(&all->by_activity);
    free_list(&all->checked);
    free_list(&all->retried);
    map_free(&all->by_key);
    free(all);
    env->streams = NULL;
}

/* ---- the table ---- */

struct stream *stream_find(struct streams *all, struct str channel_key, uint64_t history)
{
    char small[SMALL_KEY];
    size_t n = channel_key.n + sizeof history;
    char *key = n <= sizeof small ? small : mem_alloc(n);
    memcpy(key, channel_key.p, channel_key.n);
    memcpy(key + channel_key.n, &history, sizeof history);
    struct stream *s = map_get(&all->by_key, str_make(key, n));
    if (key != small)
        free(key);
    return s;
}

struct stream *stream_add(struct streams *all, struct app *app, struct str channel_key, const struct message_id *message)
{
    size_t n = channel_key.n + sizeof message->history;
    struct stream *s = mem_alloc(sizeof *s + n);
    *s = (struct stream){.app = app, .message = *message, .key_size = (uint32_t)n};
    memcpy(s->key, channel_key.p, channel_key.n);
    memcpy(s->key + channel_key.n, &message->history, sizeof message->history);
    list_init(&s->link);
    map_put(&all->by_key, str_make(s->key, n), s);
    metrics_gauge(all->env, app, active_streams, 1);
    atomic_fetch_add(&app->open_streams, 1);
    s->opened_ms = (int64_t)env_now_ms(all->env);
    return s;
}

static struct str channel_key_of(const struct stream *s)
{
    return str_make(s->key, s->key_size - sizeof(uint64_t));
}

void stream_forget(struct streams *all, struct stream *s)
{
    if (s->check)
        check_abandon(s->check);
    if (s->followed && all->env->hub != NULL)
        channel_stream_ends(all->env, channel_key_of(s));
    map_del(&all->by_key, str_make(s->key, s->key_size));
    list_remove(&s->link);
    metrics_gauge(all->env, s->app, active_streams, -1);
    atomic_fetch_sub(&s->app->open_streams, 1);
    free(s);
}

void stream_touch(struct streams *all, struct stream *s, uint64_t delivery)
{
    s->delivery = delivery;
    s->seen_ms = env_now_ms(all->env);
    list_remove(&s->link);
    list_append(&all->by_activity, &s->link);
    if (!timer_is_set(&all->due))
        janitor_looks(all); /* sets it */
}

void stream_is_silent(struct streams *all, struct stream *s, uint64_t delivery)
{
    uint64_t now = env_now_ms(all->env), ttl = all->env->config->ai.rollup.orphan_ttl_ms;
    if (s->check)
        return;
    s->delivery = delivery;
    s->seen_ms = now > ttl ? now - ttl : 0;
    list_remove(&s->link);
    list_prepend(&all->by_activity, &s->link);
    janitor_looks(all);
}

/* ---- admission ---- */

static bool may_open(struct channel *ch, const struct publish *p)
{
    const struct store_write *w = &p->op.write;
    bool create = w->action == ACTION_CREATE || w->action == ACTION_ORDINARY;
    if (w->action == ACTION_DELETE || (w->extras.p && w->status != STREAM_OPEN) || (create && !w->extras.p))
        return false;
    return create || !stream_find(ch->env->streams, ch->key, w->target.history);
}

static void reserve(struct app *app, struct publish *p, uint32_t max)
{
    if (atomic_fetch_add(&app->open_streams, 1) < max) {
        p->reserves_stream = true;
    } else {
        atomic_fetch_sub(&app->open_streams, 1);
        p->op.write.refuse_opening = true;
    }
}

static bool is_too_old(struct channel *ch, const struct publish *p, uint64_t max_ms)
{
    const struct store_write *w = &p->op.write;
    if (max_ms == 0 || w->action != ACTION_APPEND || w->status == STREAM_COMPLETE || w->status == STREAM_CANCELLED)
        return false;
    const struct stream *s = stream_find(ch->env->streams, ch->key, w->target.history);
    return s != NULL && (int64_t)env_now_ms(ch->env) - s->opened_ms > (int64_t)max_ms;
}

enum publish_result streams_admit(struct channel *ch, struct publish *p)
{
    const struct config *config = ch->env->config;
    if (!ch->policy.ai || !ch->policy.versioned || p->by_server || !ch->env->streams)
        return PUBLISH_OK;
    if (config->ai.max_append_bytes > 0 && p->op.write.action == ACTION_APPEND &&
        json_text_size(p->op.write.data) > config->ai.max_append_bytes)
        return PUBLISH_FRAGMENT_MAX;
    p->too_old = is_too_old(ch, p, config->ai.max_stream_duration_ms);
    if (config->ai.max_open_streams_per_app > 0 && may_open(ch, p))
        reserve(ch->app, p, config->ai.max_open_streams_per_app);
    return PUBLISH_OK;
}

/* ---- commits ---- */

static void count_bytes(struct channel *ch, struct str data)
{
    uint64_t size = json_is(data, JSON_STRING) ? json_text_size(data) : data.n;
    metrics_count(ch->env, ch->app, stream_bytes, size);
}

static void ended(struct channel *ch, struct stream *s, const struct store_written *w)
{
    int64_t ms = w->at_ms - w->created_ms;
    if (s) {
        ms = (int64_t)env_now_ms(ch->env) - s->opened_ms;
        stream_forget(ch->env->streams, s);
    }
    metrics_observe(ch->env, ch->app, stream_duration, ms > 0 ? (double)ms / 1000 : 0);
}

void streams_committed(struct channel *ch, const struct publish *p)
{
    struct streams *all = ch->env->streams;
    const struct store_written *w = &p->op.written;
    enum store_action action = p->op.write.action;
    bool was = action != ACTION_CREATE && w->status_before == STREAM_OPEN && w->action_before != ACTION_DELETE;
    bool is = w->status == STREAM_OPEN && action != ACTION_DELETE;
    if (was || w->status != STREAM_NONE)
        count_bytes(ch, p->op.write.data);
    if (!all || (!was && !is))
        return;
    struct stream *s = stream_find(all, ch->key, w->message.history);
    if (s && s->message.stream8 != w->message.stream8) {
        stream_forget(all, s); /* of before a reset: its position was given anew */
        s = NULL;
    }
    if (is && was && !s && all->shared)
        return; /* of another node, which watches it */
    if (is) {
        if (s == NULL) {
            s = stream_add(all, ch->app, ch->key, &w->message);
            s->followed = channel_stream_opens(ch->env, ch->key);
        }
        stream_touch(all, s, w->delivery);
    } else {
        ended(ch, s, w);
    }
}

void streams_heard(struct channel *ch, const struct publish *p)
{
    struct streams *all = ch->env->streams;
    const struct store_written *w = &p->op.written;
    struct stream *s = all ? stream_find(all, ch->key, w->message.history) : NULL;
    if (!s || s->message.stream8 != w->message.stream8)
        return;
    if (w->status == STREAM_OPEN && p->op.write.action != ACTION_DELETE)
        stream_touch(all, s, w->delivery);
    else
        stream_forget(all, s);
}

void streams_doubt(struct env *env, struct str channel_key)
{
    struct streams *all = env->streams;
    size_t at = 0;
    if (!all)
        return;
    for (struct stream *s; (s = map_next(&all->by_key, &at)) != NULL;)
        if (str_eq(channel_key_of(s), channel_key))
            janitor_checks(all, s);
}

size_t streams_count(const struct streams *all)
{
    return all->by_key.count;
}

/* What is due stands in front, in any order; the rest by age. */
static size_t check_order(const struct streams *all)
{
    uint64_t due_ms = env_now_ms(all->env) - all->env->config->ai.rollup.orphan_ttl_ms, before = 0;
    size_t n = 0;
    list_each(at, &all->by_activity)
    {
        const struct stream *s = list_of(at, struct stream, link);
        uint64_t age = s->seen_ms <= due_ms ? 0 : s->seen_ms;
        assert(age >= before);
        before = age;
        n++;
    }
    return n;
}

static size_t list_size(const struct list *streams)
{
    size_t n = 0;
    list_each(at, streams) n++;
    return n;
}

void streams_check(const struct streams *all)
{
    size_t listed = check_order(all) + list_size(&all->checked) + list_size(&all->retried);
    assert(listed == all->by_key.count);
    assert(list_empty(&all->by_activity) || all->stopped || all->checks >= STREAM_CHECKS_MAX || timer_is_set(&all->due));
}
