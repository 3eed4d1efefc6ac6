/* watch.c - wildcard subscriptions (chapter 1, 5.2).
 *
 *   hub_attach("a*b") --mail--> shard 0 -> shard 1 -> ... -> back: attached, live at once
 *        every shard notes what is watched, by which shards and lanes: `everywhere`
 *        the subscriber's shard keeps the subscriptions themselves: `here`
 *
 *   an owner asks `everywhere` when it next delivers on a channel, and keeps the answer until a pattern comes or goes
 *   (hub->watch_generation). Mail to a shard with watchers is marked; only then that shard asks `here`.
 *
 * One copy per socket: a socket's subscription of the channel itself goes first, then the first of its patterns whose filter
 * accepts. Never matched: private and presence channels, meta channels, channels of users, namespaces that nobody may subscribe to.
 * An app without patterns pays a comparison per publish.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/internal.h"
#include "base/mem.h"
#include "channel/wildcards.h"
#include <stdlib.h>

/* One socket with wildcard subscriptions. */
struct watcher {
    void *sink;        /* the key */
    uint32_t patterns;
    uint64_t stamp;    /* of the last message that it got, or shall not get */
};

/* A pattern on its subscribers' shard. */
struct watched_here {
    struct wildcard wildcard;
    struct list watches; /* struct watch.link */
    char text[];
};

/* A pattern as owners see it. */
struct watched {
    struct wildcard wildcard;
    struct interest *interests;
    uint32_t interests_count;
    char text[];
};

/* The part of a subscription that only those to wildcards have. */
struct watch {
    struct list link;
    struct subscription *s;
    struct watched_here *pattern;
    struct watcher *watcher;
    enum exact (*exact)(void *user, struct str channel, uint64_t first, struct subscription **live);
};

struct app_watches {
    struct wildcards here, everywhere;
};

struct watches {
    struct map watchers; /* by sink */
    uint64_t stamp;
    struct app_watches by_app[]; /* by app->index */
};

/* The way of a change through all shards. */
struct watch_mail {
    struct task task;
    struct list link;       /* in hub->watch_waiting */
    struct env *at, *home;
    struct subscription *s; /* NULL = one that ends */
    struct app *app;
    unsigned lane;
    struct str pattern;     /* text[] */
    char text[];
};

static struct app_watches *watches_of(struct hub *hub, const struct app *app)
{
    if (hub->watches == NULL)
        hub->watches = mem_zalloc(sizeof(*hub->watches) + apps_count(hub->env->apps) * sizeof(hub->watches->by_app[0]));
    return &hub->watches->by_app[app->index];
}

/* ---- what owners know ---- */

static struct watched *watched_of(struct app_watches *watches, struct str pattern)
{
    struct watched *w = (struct watched *)wildcards_find(&watches->everywhere, pattern);
    if (w != NULL)
        return w;
    w = mem_zalloc(sizeof(*w) + pattern.n);
    memcpy(w->text, pattern.p, pattern.n);
    w->wildcard.text = str_make(w->text, pattern.n);
    wildcards_add(&watches->everywhere, &w->wildcard);
    return w;
}

static void watched_free(struct app_watches *watches, struct watched *w)
{
    wildcards_remove(&watches->everywhere, &w->wildcard);
    free(w->interests);
    free(w);
}

static void note(const struct watch_mail *mail, int change)
{
    struct hub *hub = mail->at->hub;
    struct app_watches *watches = watches_of(hub, mail->app);
    struct watched *w = watched_of(watches, mail->pattern);
    interest_count(&w->interests, &w->interests_count, mail->home->shard, mail->lane, change);
    if (w->interests_count == 0)
        watched_free(watches, w);
    hub->watch_generation++;
    hub->watches_noted += (uint32_t)change;
}

static void add_watchers(void *user, struct wildcard *wildcard)
{
    struct watchers *all = user;
    const struct watched *w = (const struct watched *)wildcard;
    for (uint32_t i = 0; i < w->interests_count; i++)
        for (unsigned lane = 0; lane < LANES; lane++) {
            int n = (int)w->interests[i].lanes[lane];
            if (n == 0)
                continue;
            interest_count(&all->interests, &all->interests_count, w->interests[i].shard, lane, n);
            all->lanes[lane] += (uint32_t)n;
        }
}

static void look_up(struct channel *ch)
{
    struct hub *hub = ch->env->hub;
    struct watchers found = {0};
    ch->watch_generation = hub->watch_generation;
    watchers_free(ch->watchers);
    ch->watchers = NULL;
    if (wildcard_may_match(&ch->kind))
        wildcards_match(&watches_of(hub, ch->app)->everywhere, ch->name, add_watchers, &found);
    if (found.interests_count == 0)
        return;
    ch->watchers = mem_new(struct watchers);
    *ch->watchers = found;
}

static void one_matches(void *user, struct wildcard *wildcard)
{
    *(bool *)user = true;
}

struct channel *watch_channel(struct env *env, struct app *app, struct str name)
{
    struct channel_name kind;
    struct arena arena = {0};
    struct channel *ch = NULL;
    bool matches = false;
    if (channel_name_check(app, name, &kind, &arena) == NULL && wildcard_may_match(&kind))
        wildcards_match(&watches_of(env->hub, app)->everywhere, name, one_matches, &matches);
    if (matches)
        ch = owner_channel(env, app, name, &kind);
    arena_free(&arena);
    return ch;
}

void channel_watchers_now(struct channel *ch)
{
    if (ch->watch_generation != ch->env->hub->watch_generation)
        look_up(ch);
}

bool channel_has_listeners(struct channel *ch)
{
    channel_watchers_now(ch);
    channel_look_at_bus(ch);
    return ch->subscriptions > 0 || ch->watchers != NULL || ch->bus_window != BUS_NOBODY;
}

void watchers_free(struct watchers *w)
{
    if (w != NULL)
        free(w->interests);
    free(w);
}

/* ---- what the subscribers' shard knows ---- */

static struct str sink_key(const struct watcher *w)
{
    return str_make(&w->sink, sizeof(w->sink));
}

static struct watcher *watcher_of(struct hub *hub, void *sink)
{
    struct watcher key = {.sink = sink}, *w = map_get(&hub->watches->watchers, sink_key(&key));
    if (w == NULL) {
        w = mem_new(struct watcher);
        w->sink = sink;
        map_put(&hub->watches->watchers, sink_key(w), w);
    }
    w->patterns++;
    return w;
}

static void watcher_drop(struct hub *hub, struct watcher *w)
{
    if (--w->patterns > 0)
        return;
    map_del(&hub->watches->watchers, sink_key(w));
    free(w);
}

static struct watched_here *here_of(struct app_watches *watches, struct str pattern)
{
    struct watched_here *here = (struct watched_here *)wildcards_find(&watches->here, pattern);
    if (here != NULL)
        return here;
    here = mem_zalloc(sizeof(*here) + pattern.n);
    memcpy(here->text, pattern.p, pattern.n);
    here->wildcard.text = str_make(here->text, pattern.n);
    list_init(&here->watches);
    wildcards_add(&watches->here, &here->wildcard);
    return here;
}

static void begin(struct subscription *s)
{
    struct hub *hub = s->env->hub;
    struct watch *watch = s->watch;
    watch->pattern = here_of(watches_of(hub, s->app), s->channel);
    watch->watcher = watcher_of(hub, s->sink);
    list_append(&watch->pattern->watches, &watch->link);
    metrics_gauge(s->env, s->app, wildcards, 1);
}

static void end(struct subscription *s)
{
    struct hub *hub = s->env->hub;
    struct watch *watch = s->watch;
    metrics_gauge(s->env, s->app, wildcards, -1);
    list_remove(&watch->link);
    watcher_drop(hub, watch->watcher);
    if (!list_empty(&watch->pattern->watches))
        return;
    wildcards_remove(&watches_of(hub, s->app)->here, &watch->pattern->wildcard);
    free(watch->pattern);
}

/* ---- fan-out ---- */

struct round {
    const struct message_shared *m;
    struct formats *formats;
    struct tally tally;
    uint64_t stamp;
};

/* The socket's own subscription of the channel takes it, or has had it, or will replay it. */
static bool has_it_otherwise(const struct watch *watch, const struct message_shared *m)
{
    struct subscription *live = NULL;
    switch (watch->exact(watch->s->user, m->channel, m->d.first, &live)) {
    case EXACT_LIVE:
        return !subscription_hides(live, m);
    case EXACT_WILL_REPLAY:
        return m->d.last != 0;
    default:
        return false;
    }
}

static void give(struct round *round, struct watch *watch)
{
    struct subscription *s = watch->s;
    enum lane_mode mode = lane_mode_of(s->lane);
    if (watch->watcher->stamp == round->stamp || round->m->d.frames[mode] == NULL ||
        !(round->m->d.lanes & 1u << s->lane) || !subscription_takes(s, round->m))
        return;
    watch->watcher->stamp = round->stamp;
    if (has_it_otherwise(watch, round->m))
        return;
    struct frame *frame = formats_frame(round->formats, s->format, mode);
    s->env->deliver(s->sink, frame_take(frame));
    round->tally.sent++;
    round->tally.bytes += frame_payload(frame).n;
}

static void give_all(void *user, struct wildcard *wildcard)
{
    struct watched_here *here = (struct watched_here *)wildcard;
    list_each(at, &here->watches)
        give(user, list_of(at, struct watch, link));
}

static void tell_all(void *user, struct wildcard *wildcard)
{
    const struct message_shared *m = ((struct round *)user)->m;
    struct watched_here *here = (struct watched_here *)wildcard;
    list_each(at, &here->watches)
    {
        const struct subscription *s = list_of(at, struct watch, link)->s;
        if (m->d.lanes & 1u << s->lane)
            s->env->hub->control(s->sink, m->control_code, m->control_reason);
    }
}

struct tally watch_fan_out(struct hub *hub, const struct message_shared *m, struct formats *formats)
{
    struct round round = {.m = m, .formats = formats};
    if (hub->watches == NULL)
        return round.tally;
    round.stamp = ++hub->watches->stamp;
    wildcards_match(&watches_of(hub, m->app)->here, m->channel, m->control_code != 0 ? tell_all : give_all, &round);
    return round.tally;
}

/* ---- coming and going ---- */

static void watch_returns(struct task *task);
static void goes_on(struct task *task);

static void post_change(struct env *env, const struct subscription *s, struct subscription *begins)
{
    struct watch_mail *mail = mem_zalloc(sizeof(*mail) + s->channel.n);
    memcpy(mail->text, s->channel.p, s->channel.n);
    mail->pattern = str_make(mail->text, s->channel.n);
    mail->task.run = goes_on;
    list_init(&mail->link);
    mail->home = env;
    mail->at = env->all[0];
    mail->s = begins;
    mail->app = s->app;
    mail->lane = s->lane;
    env->post(env, 0, &mail->task);
}

static void to_next_shard(struct watch_mail *mail)
{
    struct env *env = mail->at;
    unsigned next = env->shard + 1;
    if (next == env->shards && mail->s == NULL) {
        free(mail);
        return;
    }
    if (next == env->shards) {
        mail->task.run = watch_returns;
        next = mail->home->shard;
    } else {
        mail->at = env->all[next];
    }
    env->post(env, next, &mail->task);
}

/* On each shard in turn, so that changes keep their order everywhere. It is live when all topics are heard. */
static void goes_on(struct task *task)
{
    struct watch_mail *mail = list_of(task, struct watch_mail, task);
    struct env *env = mail->at;
    note(mail, mail->s != NULL ? 1 : -1);
    if (env->hub->watches_noted == 0)
        topics_unwatch(env);
    else if (mail->s != NULL)
        topics_watch(env, window_of_lane(mail->lane));
    if (mail->s == NULL || topics_are_heard(env))
        to_next_shard(mail);
    else
        list_append(&env->hub->watch_waiting, &mail->link);
}

void watch_topic_on(struct env *env)
{
    if (list_empty(&env->hub->watch_waiting) || !topics_are_heard(env))
        return;
    for (struct list *link; (link = list_take(&env->hub->watch_waiting)) != NULL;)
        to_next_shard(list_of(link, struct watch_mail, link));
}

static void watch_free(struct subscription *s)
{
    free(s->watch);
    subscription_free(s);
}

static void watch_returns(struct task *task)
{
    struct watch_mail *mail = list_of(task, struct watch_mail, task);
    struct subscription *s = mail->s;
    struct attached answer = {.policy = {0}};
    free(mail);
    s->waiting = false;
    if (s->detached) {
        s->env->hub->abandoned--;
        post_change(s->env, s, NULL);
        watch_free(s);
        return;
    }
    begin(s);
    s->attached(s->user, s, &answer);
}

void watch_attach(struct subscription *s, enum exact (*exact)(void *user, struct str channel, uint64_t first, struct subscription **live))
{
    s->watch = mem_new(struct watch);
    s->watch->s = s;
    s->watch->exact = exact;
    post_change(s->env, s, s);
}

void watch_detach(struct subscription *s)
{
    end(s);
    post_change(s->env, s, NULL);
    watch_free(s);
}

void watches_free(struct hub *hub)
{
    if (hub->watches == NULL)
        return;
    for (size_t i = 0; i < apps_count(hub->env->apps); i++) {
        struct app_watches *watches = &hub->watches->by_app[i];
        for (struct wildcard *w; (w = wildcards_any(&watches->everywhere)) != NULL;)
            watched_free(watches, (struct watched *)w);
    }
    for (struct list *link; (link = list_take(&hub->watch_waiting)) != NULL;)
        free(list_of(link, struct watch_mail, link));
    map_free(&hub->watches->watchers);
    free(hub->watches);
}
