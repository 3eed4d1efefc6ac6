/* departed.c - see departed.h: a list, the oldest first, and a timer for its front.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/departed.h"

#include <stdlib.h>

#include "base/mem.h"
#include "channel/internal.h"

struct gone {
    struct list link;
    struct app *app;
    struct str channel, user_id, node, teller; /* text; teller: owned, since it changes */
    uint64_t until_ms;
    char text[];
};

struct departed {
    struct env *env;
    struct list all;
    size_t count;
    struct timer timer;
};

struct str departed_teller(const struct channel *ch, struct str dead)
{
    struct str first = presence_first_node(ch->presence, dead);
    struct str self = presence_count_here(ch->presence) > 0 ? ch->env->bus->self(ch->env) : STR_NONE;
    return first.p == NULL || (self.p != NULL && str_cmp(self, first) < 0) ? self : first;
}

static void gone_free(struct departed *d, struct gone *g)
{
    list_remove(&g->link);
    d->count--;
    free((void *)g->teller.p);
    free(g);
}

static void watch_front(struct departed *d)
{
    if (list_empty(&d->all))
        wheel_cancel(d->env->wheel, &d->timer);
    else
        wheel_set(d->env->wheel, &d->timer, list_of(d->all.next, struct gone, link)->until_ms);
}

static void is_time(struct timer *timer)
{
    struct departed *d = list_of(timer, struct departed, timer);
    while (!list_empty(&d->all) && list_of(d->all.next, struct gone, link)->until_ms <= env_now_ms(d->env))
        gone_free(d, list_of(d->all.next, struct gone, link));
    watch_front(d);
}

static struct departed *departed_of(struct env *env)
{
    struct departed *d = env->hub->departed;
    if (d == NULL) {
        d = env->hub->departed = mem_new(struct departed);
        d->env = env;
        d->timer.fire = is_time;
        list_init(&d->all);
    }
    return d;
}

static struct str put(struct gone *g, size_t *at, struct str text)
{
    memcpy(g->text + *at, text.p, text.n);
    *at += text.n;
    return str_make(g->text + *at - text.n, text.n);
}

void departed_keep(struct channel *ch, struct str user_id, struct str node, struct str teller)
{
    struct departed *d = departed_of(ch->env);
    size_t at = 0;
    if (d->count >= DEPARTED_MAX) {
        metrics_count(ch->env, ch->app, presence_departed_dropped, 1);
        return;
    }
    struct gone *g = mem_zalloc(sizeof *g + ch->name.n + user_id.n + node.n);
    g->app = ch->app;
    g->channel = put(g, &at, ch->name);
    g->user_id = put(g, &at, user_id);
    g->node = put(g, &at, node);
    g->teller = str_make(str_dup(teller), teller.n);
    g->until_ms = env_now_ms(ch->env) + DEPARTED_TIMEOUTS * ch->env->config->adapter.node_timeout_ms;
    list_append(&d->all, &g->link);
    d->count++;
    watch_front(d);
}

/* Who tells of a channel's members now: asked once for all of them, they stand together. */
struct heir {
    const struct channel *ch;
    struct str teller;
};

/* True if it is settled: he is back, nobody here knows the channel any more, or it is told now. */
static bool tell_or_pass_on(struct env *env, struct gone *g, struct heir *heir)
{
    struct channel *ch = owner_find(env->hub, g->app, g->channel);
    if (ch == NULL || ch->presence == NULL || presence_has(ch->presence, g->user_id))
        return true;
    if (heir->ch != ch)
        *heir = (struct heir){ch, departed_teller(ch, g->teller)};
    if (heir->teller.p == NULL)
        return true;
    if (str_eq(heir->teller, env->bus->self(env))) {
        member_lost_before(ch, g->user_id, g->node);
        return true;
    }
    free((void *)g->teller.p);
    g->teller = str_make(str_dup(heir->teller), heir->teller.n);
    return false;
}

void departed_teller_left(struct env *env, struct str node)
{
    struct departed *d = env->hub->departed;
    struct heir heir = {0};
    if (d == NULL)
        return;
    for (struct list *link = d->all.next, *next; link != &d->all; link = next) {
        struct gone *g = list_of(link, struct gone, link);
        next = link->next;
        if (str_eq(g->teller, node) && tell_or_pass_on(env, g, &heir))
            gone_free(d, g);
    }
    watch_front(d);
}

size_t departed_count(const struct hub *hub)
{
    return hub->departed != NULL ? hub->departed->count : 0;
}

void departed_free(struct hub *hub)
{
    struct departed *d = hub->departed;
    if (d == NULL)
        return;
    while (!list_empty(&d->all))
        gone_free(d, list_of(d->all.next, struct gone, link));
    wheel_cancel(d->env->wheel, &d->timer);
    free(d);
    hub->departed = NULL;
}
