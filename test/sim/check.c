/* check.c - the judge: what the store holds, against every acknowledgement and every subscriber.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim.h"
#include "base/json.h"
#include "base/mem.h"
#include <stdlib.h>

struct verdict_read {
    struct store_op op;
    struct world *world;
    struct message_model *message;
};

/* Tokens of each publisher stand in the text 0, 1, 2, ... without hole, double or swap; acknowledged ones are all there. */
static void judge_tokens(struct world *w, const struct message_model *m, struct str text)
{
    unsigned next[PUBLISHERS] = {0};
    struct str rest = text;
    while (rest.n > 0) {
        struct str token = str_split(&rest, ' ');
        struct str tail = token;
        struct str who = str_split(&tail, '.');
        uint64_t publisher, number;
        if (token.n == 0)
            continue;
        if (!str_to_u64(who, &publisher) || !str_to_u64(tail, &number) || publisher >= PUBLISHERS) {
            world_fail(w, "message %s holds a torn token '%.*s'", m->serial, STR_ARG(token));
            return;
        }
        if (number != next[publisher]) {
            world_fail(w, "message %s: publisher %llu's token %llu stands where %u belongs", m->serial,
                       (unsigned long long)publisher, (unsigned long long)number, next[publisher]);
            return;
        }
        next[publisher]++;
    }
    for (unsigned i = 0; i < PUBLISHERS; i++) {
        const struct publisher *p = &w->publishers[i];
        if (&w->messages[p->message] == m && next[i] < p->next)
            world_fail(w, "message %s: publisher %u had %u tokens acknowledged, %u are stored", m->serial, i, p->next, next[i]);
    }
}

static size_t common_prefix(struct str a, struct str b)
{
    size_t n = 0;
    while (n < a.n && n < b.n && a.p[n] == b.p[n])
        n++;
    return n;
}

static void judge_subscribers(struct world *w, const struct message_model *m, struct str text)
{
    for (unsigned i = 0; i < SUBSCRIBERS; i++) {
        if (subscriber_channel(w->subscribers[i]) != m->channel)
            continue;
        struct str shown = subscriber_text(w->subscribers[i], str_of(m->serial));
        if (str_eq(shown, text))
            continue;
        size_t at = common_prefix(shown, text);
        size_t from = at > 20 ? at - 20 : 0;
        world_fail(w, "subscriber %u shows %zu bytes of message %s, the store %zu; they part at %zu: '...%.*s' and '...%.*s'", i,
                   shown.n, m->serial, text.n, at, STR_ARG(str_first(str_from(shown, shown.p ? from : 0), 40)),
                   STR_ARG(str_first(str_from(text, from), 40)));
    }
}

static bool judged;

static void text_read(struct store_op *op)
{
    struct verdict_read *read = list_of(op, struct verdict_read, op);
    struct buf scratch = {0};
    judged = true;
    if (op->result != STORE_OK || op->found.count != 1) {
        world_fail(read->world, "message %s cannot be read: %s", read->message->serial, store_result_text(op->result));
    } else {
        struct str text = json_text(op->found.items[0].data, &scratch);
        judge_tokens(read->world, read->message, text);
        judge_subscribers(read->world, read->message, text);
    }
    buf_free(&scratch);
    arena_free(&op->arena);
}

/* ---- the janitor (chapter 4, 5.4) ---- */

/* A silent stream is closed once, by its last version, and not sooner after the version before than it may be: what was
 * acknowledged a moment ago is not cancelled. */
static void versions_read(struct store_op *op)
{
    struct verdict_read *read = list_of(op, struct verdict_read, op);
    struct world *w = read->world;
    const struct store_found *found = &op->found;
    unsigned closings = 0;
    judged = true;
    if (op->result != STORE_OK || found->count == 0) {
        world_fail(w, "versions of message %s cannot be read: %s", read->message->serial, store_result_text(op->result));
        return;
    }
    for (size_t i = 0; i < found->count; i++) {
        if (!str_eq(found->items[i].description, STR("AI stream orphan timeout")))
            continue;
        int64_t silent_ms = found->items[i].version_at_ms - found->items[i > 0 ? i - 1 : 0].version_at_ms;
        if (silent_ms < (int64_t)w->orphan_ttl_ms)
            world_fail(w, "message %s was closed after %lld ms of silence", read->message->serial, (long long)silent_ms);
        if (i + 1 < found->count)
            world_fail(w, "message %s has versions behind its end", read->message->serial);
        closings++;
    }
    if (closings > 1)
        world_fail(w, "message %s was closed %u times", read->message->serial, closings);
    if (found->items[found->count - 1].status == STREAM_OPEN)
        world_fail(w, "message %s is silent and open", read->message->serial);
    w->orphans += closings;
    arena_free(&op->arena);
}

static void open_read(struct store_op *op)
{
    struct verdict_read *read = list_of(op, struct verdict_read, op);
    judged = true;
    for (size_t i = 0; op->result == STORE_OK && i < op->found.count; i++)
        if (str_eq(op->found.open_channels[i], str_of(read->world->channels[0]))) /* the other is no AI channel */
            world_fail(read->world, "a stream of create %llu is open, and nobody watches it",
                       (unsigned long long)op->found.items[i].message.create_delivery);
    arena_free(&op->arena);
}

static void judge_streams(struct world *w)
{
    size_t open = 0;
    for (unsigned n = 0; n < w->nodes_count; n++)
        for (unsigned i = 0; i < w->nodes[n].shards_count; i++) {
            streams_check(w->nodes[n].envs[i]->streams);
            open += streams_count(w->nodes[n].envs[i]->streams);
        }
    if (open > 0)
        world_fail(w, "%zu streams are counted as open and are closed", open);
}

/* ---- all ---- */

static void deliver_at_once(struct store_home *home, struct store_op *chain)
{
    while (chain != NULL) {
        struct store_op *next = chain->next;
        chain->done(chain);
        chain = next;
    }
}

static void ask(struct verdict_read *read, enum store_op_kind kind, void (*done)(struct store_op *))
{
    struct world *w = read->world;
    read->op = (struct store_op){.kind = kind, .done = done, .app_id = w->app->id,
                                 .channel = str_of(w->channels[read->message->channel])};
    read->op.read.ids = &read->message->id;
    read->op.read.ids_count = 1;
    read->op.read.direction = OLDEST_FIRST;
    read->op.read.limit = PUBLISHERS * TOKENS_MAX + 16;
    judged = false;
    store_submit(w->store, &read->op);
    for (int steps = 0; !judged && steps < 1000; steps++)
        store_step(w->store);
    if (!judged)
        world_fail(w, "the store does not answer");
}

void check(struct world *w)
{
    w->home.deliver = deliver_at_once;
    if (w->orphan_ttl_ms > 0) {
        struct verdict_read read = {.world = w, .message = &w->messages[0]};
        judge_streams(w);
        ask(&read, STORE_OPEN, open_read);
    }
    for (unsigned i = 0; i < w->messages_count && w->failure.n == 0; i++) {
        struct verdict_read read = {.world = w, .message = &w->messages[i]};
        if (!read.message->created)
            continue; /* its publisher gave up */
        ask(&read, STORE_LATEST, text_read);
        if (w->orphan_ttl_ms > 0 && read.message->channel == 0) /* the other is no AI channel */
            ask(&read, STORE_VERSIONS, versions_read);
    }
}
