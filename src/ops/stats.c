/* stats.c - /usage and /stats: numbers for people (chapter 2, 2.15).
 *
 * /stats asks the channels of one app after the other, each question going round the shards, then adds up.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ops/internal.h"

#include <stdlib.h>

static void put_memory(struct buf *out)
{
    struct memory m = memory_read();
    put_key(out, "memory");
    buf_char(out, '{');
    put_u64(out, "free", m.free);
    put_u64(out, "used", m.used);
    put_u64(out, "total", m.total);
    put_key(out, "percent");
    buf_fmt(out, "%.2f", m.percent);
    buf_char(out, '}');
}

void serve_usage(struct call *c)
{
    struct buf *body = call_body(c);
    buf_char(body, '{');
    put_memory(body);
    buf_char(body, '}');
    call_ok(c);
}

struct totals {
    uint64_t connections, authenticated, users, with_meta;
    uint64_t channels, subscriptions, presence_channels, presence_subscriptions, presence_members;
    uint64_t logs_degraded, logs_reset_required;
};

struct survey {
    struct call *call;
    struct totals *of_app; /* by app->index */
    size_t at;
};

static void put_totals(struct buf *out, const struct totals *t)
{
    put_u64(out, "connections", t->connections);
    put_u64(out, "authenticated_connections", t->authenticated);
    put_u64(out, "users", t->users);
    put_u64(out, "connections_with_meta", t->with_meta);
    put_key(out, "occupancy");
    buf_char(out, '{');
    put_u64(out, "channels", t->channels);
    put_u64(out, "subscriptions", t->subscriptions);
    put_u64(out, "presence_channels", t->presence_channels);
    put_u64(out, "presence_subscriptions", t->presence_subscriptions);
    put_u64(out, "presence_members", t->presence_members);
    buf_lit(out, "}}");
}

static struct totals sum_of(const struct survey *s)
{
    struct totals sum = {0};
    for (size_t i = 0; i < s->at; i++) {
        const struct totals *t = &s->of_app[i];
        sum.connections += t->connections;
        sum.authenticated += t->authenticated;
        sum.users += t->users;
        sum.with_meta += t->with_meta;
        sum.channels += t->channels;
        sum.subscriptions += t->subscriptions;
        sum.presence_channels += t->presence_channels;
        sum.presence_subscriptions += t->presence_subscriptions;
        sum.presence_members += t->presence_members;
        sum.logs_degraded += t->logs_degraded;
        sum.logs_reset_required += t->logs_reset_required;
    }
    return sum;
}

static void put_store(struct buf *out, const struct ops *ops, bool on)
{
    static const struct str backends[] = {[BACKEND_MEMORY] = STR("memory"), [BACKEND_ROCKSDB] = STR("rocksdb"), [BACKEND_POSTGRES] = STR("postgres")};
    put_bool(out, "enabled", on);
    put_text(out, "backend", on ? backends[ops->config->history.backend] : STR("disabled"));
    put_text(out, "state_authority",
             !on         ? STR("disabled")
             : ops->config->history.backend == BACKEND_MEMORY ? STR("in_memory")
                         : STR("durable_store"));
}

static void put_history(struct buf *out, const struct ops *ops)
{
    const struct store_stats *stats = ops->store ? store_stats(ops->store) : NULL;
    put_key(out, "history");
    buf_char(out, '{');
    put_store(out, ops, ops->config->history.enabled && ops->store);
    put_u64(out, "degraded_channels", stats ? stats->degraded_channels : 0);
    put_u64(out, "reset_required_channels", stats ? stats->reset_required_channels : 0);
    put_u64(out, "queue_depth", stats ? stats->queue_ops : 0);
    buf_char(out, '}');
}

static void put_presence_history(struct buf *out, const struct ops *ops, const struct totals *sum)
{
    bool on = ops->config->presence_history.enabled && ops->store;
    put_key(out, "presence_history");
    buf_char(out, '{');
    put_store(out, ops, on);
    put_u64(out, "degraded_channels", sum->logs_degraded);
    put_u64(out, "reset_required_channels", sum->logs_reset_required);
    put_u64(out, "queue_depth", on ? store_stats(ops->store)->queue_ops : 0);
    buf_char(out, '}');
}

static int by_id(const void *a, const void *b)
{
    return str_cmp((*(struct app *const *)a)->id, (*(struct app *const *)b)->id);
}

static void put_apps(struct buf *out, const struct survey *s)
{
    const struct apps *apps = ops_of(s->call)->apps;
    struct app **sorted = arena_alloc(call_arena(s->call), (s->at + 1) * sizeof *sorted);
    for (size_t i = 0; i < s->at; i++)
        sorted[i] = apps_at(apps, i);
    qsort(sorted, s->at, sizeof *sorted, by_id);
    put_key(out, "apps");
    buf_char(out, '[');
    for (size_t i = 0; i < s->at; i++) {
        buf_str(out, i > 0 ? STR(",{") : STR("{"));
        put_text(out, "app_id", sorted[i]->id);
        put_totals(out, &s->of_app[sorted[i]->index]);
    }
    buf_char(out, ']');
}

static void answer(const struct survey *s)
{
    struct totals sum = sum_of(s);
    struct buf *body = call_body(s->call);
    buf_char(body, '{');
    put_memory(body);
    put_history(body, ops_of(s->call));
    put_presence_history(body, ops_of(s->call), &sum);
    put_key(body, "totals");
    buf_char(body, '{');
    put_u64(body, "apps", s->at);
    put_totals(body, &sum);
    put_apps(body, s);
    buf_char(body, '}');
    call_ok(s->call);
}

static void ask_next(struct survey *s);

static void counted(struct query *q)
{
    struct survey *s = q->user;
    s->of_app[q->app->index] = (struct totals){.connections = atomic_load(&q->app->connections),
                                               .authenticated = atomic_load(&q->app->authenticated),
                                               .users = q->users_here,
                                               .with_meta = atomic_load(&q->app->with_meta),
                                               .channels = q->occupied,
                                               .subscriptions = q->subscriptions,
                                               .presence_channels = q->presence_channels,
                                               .presence_subscriptions = q->presence_subscriptions,
                                               .presence_members = q->presence_members,
                                               .logs_degraded = q->logs_degraded,
                                               .logs_reset_required = q->logs_reset_required};
    query_free(q);
    s->at++;
    ask_next(s);
}

static void ask_next(struct survey *s)
{
    struct ops *ops = ops_of(s->call);
    if (s->at == apps_count(ops->apps)) {
        answer(s);
        return;
    }
    struct query *q = query_new(s->call->env, QUERY_TOTALS, apps_at(ops->apps, s->at), counted);
    q->user = s;
    hub_ask(s->call->env, q);
}

void serve_stats(struct call *c)
{
    struct survey *s = arena_zalloc(call_arena(c), sizeof *s);
    s->call = c;
    s->of_app = arena_zalloc(call_arena(c), (apps_count(ops_of(c)->apps) + 1) * sizeof *s->of_app);
    ask_next(s);
}
