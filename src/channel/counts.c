/* counts.c - how many subscriptions a channel has at other nodes, as webhooks and meta channels need to know.
 *
 *      own count changes     -> to the topic, at most once per COUNT_EVERY_MS and channel
 *      first here            -> all are asked -> their counts ... or COUNTS_WAIT_MS -> only then it is told (tell.c)
 *
 * Who tells webhooks of an edge of the fleet's count: of channel_occupied the node whose question found nobody; of several that ask at
 * once the one with the smallest number, drawn for each question. Of channel_vacated the node that left last, as it knew itself; of
 * several that left at once the one with the smallest number. A node that does not answer counts as empty.
 *
 * Nobody keeps counts of channels that it has neither subscribers nor a [meta] subscriber of: what such a channel's only node left
 * untold when it died is in its will (will.h).
 *
 * Limit: BUS_PEERS_MAX counts per channel.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/pack.h"
#include "channel/internal.h"
#include "channel/remote.h"

enum { COUNT_EVERY_MS = 100, COUNTS_WAIT_MS = 1000 };

struct node_count {
    char node[NODE_NAME_MAX];
    uint32_t n;
};

struct counts {
    struct channel *ch;
    struct timer pace;            /* set = told less than COUNT_EVERY_MS ago */
    struct timer wait;            /* set = answers are waited for */
    size_t answers;               /* that have not come */
    uint64_t number;              /* of the question, or of the last leaving */
    bool known, changed;
    bool first, owes;             /* when the answers are there: it may be the fleet's first; its count is to be told */
    bool lost;                    /* another node has subscribers, or was first */
    struct node_count *nodes;
    size_t nodes_count;
    uint32_t elsewhere;           /* sum of nodes[] */
};

uint32_t counts_elsewhere(const struct channel *ch)
{
    return ch->counts != NULL ? ch->counts->elsewhere : 0;
}

bool counts_busy(struct channel *ch)
{
    struct counts *c = ch->counts;
    return c != NULL && (timer_is_set(&c->wait) || timer_is_set(&c->pace) || tell_meta_listens(ch));
}

void counts_free(struct channel *ch)
{
    struct counts *c = ch->counts;
    if (c == NULL)
        return;
    wheel_cancel(ch->env->wheel, &c->pace);
    wheel_cancel(ch->env->wheel, &c->wait);
    free(c->nodes);
    free(c);
    ch->counts = NULL;
}

/* ---- saying ---- */

static void begin(struct buf *out, enum remote_kind kind, const struct channel *ch)
{
    remote_begin(out, kind);
    if (kind != REMOTE_COUNT)
        pack_u64(out, ch->topic);
    pack_text(out, ch->app->id);
    pack_text(out, ch->name);
    pack_u64(out, channel_subscriptions(ch));
}

static void say(struct counts *c)
{
    struct channel *ch = c->ch;
    struct buf payload = {0};
    c->changed = false;
    wheel_set(ch->env->wheel, &c->pace, env_now_ms(ch->env) + COUNT_EVERY_MS);
    begin(&payload, REMOTE_COUNT, ch);
    pack_u64(&payload, c->elsewhere);
    pack_u64(&payload, c->number);
    ch->env->bus->publish(ch->env, ch->topic, buf_view(&payload));
    buf_free(&payload);
}

static void paces(struct timer *timer)
{
    struct counts *c = list_of(timer, struct counts, pace);
    if (c->changed)
        say(c);
    else
        owner_settle(c->ch);
}

static void settled(struct counts *c)
{
    struct channel *ch = c->ch;
    bool first = c->first && !c->lost, owes = c->owes;
    c->known = true;
    c->first = c->owes = c->lost = false;
    wheel_cancel(ch->env->wheel, &c->wait);
    if (owes || ch->kind.internal) /* who watches a user has asked before all nodes had answered */
        tell_counted(ch, first);
    owner_settle(ch);
}

static void waited_enough(struct timer *timer)
{
    settled(list_of(timer, struct counts, wait));
}

static struct counts *make(struct channel *ch)
{
    if (ch->counts == NULL) {
        ch->counts = mem_new(struct counts);
        ch->counts->ch = ch;
        ch->counts->pace.fire = paces;
        ch->counts->wait.fire = waited_enough;
    }
    return ch->counts;
}

static void ask(struct channel *ch)
{
    struct env *env = ch->env;
    struct counts *c = make(ch);
    struct buf payload = {0};
    c->answers = env->bus->peers(env);
    c->number = random_u64(&env->random) | 1;
    c->lost = false;
    c->known = c->answers == 0;
    if (c->known)
        return;
    wheel_set(env->wheel, &c->wait, env_now_ms(env) + COUNTS_WAIT_MS);
    begin(&payload, REMOTE_ASK_COUNT, ch);
    pack_u64(&payload, c->number);
    env->bus->send(env, STR_NONE, buf_view(&payload));
    buf_free(&payload);
}

bool counts_ready(struct channel *ch, bool first)
{
    if (ch->env->bus == NULL || !ch->in_topic)
        return true;
    if (ch->counts == NULL || (!ch->counts->known && !timer_is_set(&ch->counts->wait)))
        ask(ch);
    struct counts *c = ch->counts;
    c->first |= first && !c->known;
    c->owes |= !c->known;
    return c->known;
}

void counts_changed(struct channel *ch)
{
    struct env *env = ch->env;
    if (env->bus == NULL || !ch->in_topic || env->bus->wanted(env, ch->topic) == BUS_NOBODY)
        return;
    struct counts *c = make(ch);
    if (channel_subscriptions(ch) == 0)
        c->number = random_u64(&env->random) | 1;
    c->changed = true;
    if (!timer_is_set(&c->pace))
        say(c);
}

void counts_watch(struct env *env, struct app *app, struct str name)
{
    struct channel_name kind;
    struct arena arena = {0};
    struct channel *ch = NULL;
    if (env->bus != NULL && (channel_name_internal(name, &kind) || channel_name_check(app, name, &kind, &arena) == NULL))
        ch = owner_channel(env, app, name, &kind);
    arena_free(&arena);
    if (ch == NULL)
        return;
    topic_join(ch, WINDOWS - 1);
    ask(ch);
    owner_settle(ch);
}

void counts_ask_again(struct channel *ch)
{
    if (ch->counts != NULL && !timer_is_set(&ch->counts->wait))
        ask(ch);
}

/* ---- hearing ---- */

static struct node_count *count_at(struct counts *c, struct str node)
{
    for (size_t i = 0; i < c->nodes_count; i++)
        if (str_eq(str_of(c->nodes[i].node), node))
            return &c->nodes[i];
    c->nodes = mem_realloc(c->nodes, (c->nodes_count + 1) * sizeof *c->nodes);
    struct node_count *at = &c->nodes[c->nodes_count++];
    *at = (struct node_count){.n = 0};
    memcpy(at->node, node.p, node.n < NODE_NAME_MAX ? node.n : NODE_NAME_MAX - 1);
    return at;
}

/* Returns what it was. */
static uint32_t set(struct counts *c, struct str node, uint32_t n)
{
    struct node_count *at = count_at(c, node);
    uint32_t was = at->n, before = c->elsewhere;
    c->elsewhere += n - was;
    at->n = n;
    if (c->known && before != c->elsewhere)
        tell_elsewhere(c->ch, before);
    return was;
}

static struct channel *take_channel(struct env *env, struct str *payload, uint32_t *n)
{
    struct str app_id, name;
    if (!unpack_text(payload, &app_id) || !unpack_text(payload, &name) || !unpack_u32(payload, n))
        return NULL;
    struct app *app = apps_by_id(env->apps, app_id);
    return app != NULL ? owner_find(env->hub, app, name) : NULL;
}

void counts_take(struct env *env, struct str node, struct str payload)
{
    uint32_t n, there;
    uint64_t number;
    struct channel *ch = take_channel(env, &payload, &n);
    if (ch == NULL || ch->counts == NULL || !unpack_u32(&payload, &there) || !unpack_u64(&payload, &number))
        return;
    uint32_t was = set(ch->counts, node, n);
    /* Somebody is there; or has left after us, or at once with us and tells it. */
    if (n > 0 || (was > 0 && (there == 0 || number < ch->counts->number)))
        tell_no_vacated(ch);
    owner_settle(ch);
}

void counts_asked(struct env *env, struct str node, uint64_t place, struct str payload)
{
    uint32_t n;
    uint64_t number = 0;
    struct str rest = payload, app_id, name;
    struct channel *ch = take_channel(env, &payload, &n);
    struct buf answer = {0};
    if (!unpack_text(&rest, &app_id) || !unpack_text(&rest, &name) || !unpack_u32(&rest, &n) || !unpack_u64(&rest, &number))
        return;
    bool waits = ch != NULL && n > 0 && tell_no_vacated(ch);
    bool asks = ch != NULL && ch->counts != NULL && timer_is_set(&ch->counts->wait) && ch->counts->first;
    remote_begin(&answer, REMOTE_COUNT_IS);
    pack_u64(&answer, place);
    pack_text(&answer, app_id);
    pack_text(&answer, name);
    pack_u64(&answer, ch != NULL ? channel_subscriptions(ch) : 0);
    pack_u64(&answer, number);
    pack_u64(&answer, waits ? 1 : 0);
    pack_u64(&answer, asks ? ch->counts->number : 0);
    env->bus->send(env, node, buf_view(&answer));
    buf_free(&answer);
    if (ch != NULL && ch->counts != NULL)
        set(ch->counts, node, n);
}

void counts_answered(struct env *env, struct str node, struct str payload)
{
    uint32_t n;
    uint64_t number, waits, asks;
    struct channel *ch = take_channel(env, &payload, &n);
    if (ch == NULL || ch->counts == NULL || !unpack_u64(&payload, &number) || !unpack_u64(&payload, &waits) ||
        !unpack_u64(&payload, &asks) || number != ch->counts->number || !timer_is_set(&ch->counts->wait))
        return;
    struct counts *c = ch->counts;
    bool behind = asks != 0 && c->number < asks;
    c->lost |= waits != 0 || (n > 0 && !behind);
    set(c, node, n);
    if (--c->answers == 0)
        settled(c);
}

void counts_node_left(struct channel *ch, struct str node, bool leads)
{
    if (ch->counts != NULL && set(ch->counts, node, 0) > 0 && leads && ch->env->cache == NULL)
        tell_node_lost(ch);
}
