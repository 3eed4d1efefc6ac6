/* executor.c - see will.h: carrying out the will of a node that has gone.
 *
 *      topic by topic: read a page of entries -> each: claimed, asked for, told unless somebody is there -> the next page or topic
 *
 * Whatever is done leaves the set, so a page is always "some of what is left", and a topic is done when a page was not full.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/pack.h"
#include "channel/internal.h"
#include "channel/will.h"
#include "cluster/bus.h"
#include "cluster/cache.h"

struct estate {
    struct list link; /* in hub->estates */
    struct env *env;
    char node[BUS_NODE_SIZE + 1];
    struct timer again;
    unsigned topic;
    uint32_t open;    /* reads and entries that are not done */
    bool more;        /* the topic is to be read again, once nothing is open */
    bool failed;      /* Redis: not at once */
};

/* One entry of it. */
struct bequest {
    struct estate *estate;
    struct app *app;
    struct str entry, channel, who; /* text; who: empty = the channel itself */
    char text[];
};

static void go_on(struct estate *e);

static struct cache_op *operation(struct estate *e, enum cache_verb verb, struct str entry, struct str to)
{
    struct buf key = {0};
    will_key(&key, str_of(e->node), e->topic);
    struct cache_op *op = cache_op_new(verb, buf_view(&key), entry, to);
    buf_free(&key);
    op->shard = e->env->shard;
    op->ttl_ms = WILL_TTL_MS;
    return op;
}

static void bequest_done(struct bequest *b)
{
    struct estate *e = b->estate;
    free(b);
    e->open--;
    go_on(e);
}

/* ---- an entry ---- */

static struct channel *channel_of(const struct bequest *b)
{
    struct channel_name kind;
    struct arena arena = {0};
    channel_name_check(b->app, b->channel, &kind, &arena); /* it was good when the entry was taken */
    struct channel *ch = owner_channel(b->estate->env, b->app, b->channel, &kind);
    arena_free(&arena);
    return ch;
}

/* By all nodes: each counts its own, so nobody counts the dead. */
static void counted(struct query *q)
{
    struct bequest *b = q->user;
    struct channel *ch = channel_of(b);
    if (b->who.n == 0 && q->subscription_count > 0)
        tell_no_vacated(ch);
    else if (b->who.n > 0 && q->user_count > 0)
        tell_member_elsewhere(ch, b->who);
    else if (b->who.n > 0 && q->subscription_count == 0)
        member_lost_before(ch, b->who, str_of(b->estate->node)); /* where the channel lives on, that is departed.c's */
    will_sync(ch, b->who);
    owner_settle(ch);
    query_free(q);
    bequest_done(b);
}

/* From here on whoever comes at another node hears that this one is about to tell, and this one hears of members who come: so the
 * answers miss nobody. */
static void ask(struct bequest *b)
{
    struct env *env = b->estate->env;
    struct channel *ch = channel_of(b);
    if (b->who.n == 0) {
        tell_node_lost(ch);
    } else if (!presence_has_here(ch->presence, b->who)) {
        topic_join(ch, WINDOWS - 1);
        tell_member_gone(ch, b->who);
    }
    owner_settle(ch);
    struct query *q = query_new(env, b->who.n == 0 ? QUERY_CHANNEL : QUERY_MEMBER, b->app, counted);
    q->channel = arena_copy(&q->arena, b->channel);
    q->member = arena_copy(&q->arena, b->who);
    q->user = b;
    hub_ask(env, q);
}

static void removed(struct cache_op *op)
{
    struct bequest *b = op->user;
    struct estate *e = b->estate;
    e->failed |= op->result == CACHE_FAILED;
    if (op->verb == CACHE_PASS_ON && op->result == CACHE_OK)
        ask(b);
    else
        bequest_done(b);
    cache_op_free(op);
}

/* False: it is none, or of an app that this node does not have. */
static bool understand(struct bequest *b)
{
    struct str rest = b->entry, app_id;
    struct channel_name kind;
    struct arena arena = {0};
    if (!unpack_text(&rest, &app_id) || !unpack_text(&rest, &b->channel) || !unpack_text(&rest, &b->who))
        return false;
    b->app = apps_by_id(b->estate->env->apps, app_id);
    bool good = b->app != NULL && channel_name_check(b->app, b->channel, &kind, &arena) == NULL;
    arena_free(&arena);
    return good;
}

/* Out of the will: into this node's own, or away if there is nobody to tell. */
static void take_entry(struct estate *e, struct str entry)
{
    struct bequest *b = mem_zalloc(sizeof *b + entry.n);
    struct buf own = {0};
    memcpy(b->text, entry.p, entry.n);
    b->estate = e;
    b->entry = str_make(b->text, entry.n);
    will_key(&own, e->env->bus->self(e->env), e->topic);
    struct cache_op *op = operation(e, understand(b) ? CACHE_PASS_ON : CACHE_EXCLUDE, b->entry, buf_view(&own));
    buf_free(&own);
    op->done = removed;
    op->user = b;
    e->open++;
    cache_submit(e->env->cache, op);
}

/* ---- page by page ---- */

static void read_page(struct cache_op *op)
{
    struct estate *e = op->user;
    struct str page = buf_view(&op->found), entry;
    size_t count = 0;
    e->failed |= op->result != CACHE_OK;
    for (; op->result == CACHE_OK && page.n > 0 && unpack_text(&page, &entry); count++)
        take_entry(e, entry);
    e->more |= count == ESTATE_OPEN_MAX;
    cache_op_free(op);
    e->open--;
    go_on(e);
}

static void estate_free(struct estate *e)
{
    wheel_cancel(e->env->wheel, &e->again);
    list_remove(&e->link);
    free(e);
}

static void go_on(struct estate *e)
{
    struct env *env = e->env;
    if (e->open > 0 || timer_is_set(&e->again))
        return;
    if (e->failed) {
        e->failed = false;
        e->more = true;
        wheel_set(env->wheel, &e->again, env_now_ms(env) + AGAIN_MS);
        return;
    }
    if (!e->more)
        e->topic += env->shards;
    if (e->topic >= env->bus->topics) {
        estate_free(e);
        return;
    }
    struct cache_op *op = operation(e, CACHE_SOME, STR_NONE, STR_NONE);
    e->more = false;
    e->open++;
    op->amount = ESTATE_OPEN_MAX;
    op->done = read_page;
    op->user = e;
    cache_submit(env->cache, op);
}

static void is_time_again(struct timer *timer)
{
    go_on(list_of(timer, struct estate, again));
}

void will_execute(struct env *env, struct str node)
{
    if (env->cache == NULL || node.n > BUS_NODE_SIZE)
        return;
    list_each(link, &env->hub->estates)
    {
        if (str_eq(str_of(list_of(link, struct estate, link)->node), node))
            return; /* told again */
    }
    struct estate *e = mem_new(struct estate);
    e->env = env;
    e->topic = env->shard;
    e->more = true;
    e->again.fire = is_time_again;
    memcpy(e->node, node.p, node.n);
    list_append(&env->hub->estates, &e->link);
    go_on(e);
}

void executor_free(struct hub *hub)
{
    while (!list_empty(&hub->estates))
        estate_free(list_of(hub->estates.next, struct estate, link));
}
