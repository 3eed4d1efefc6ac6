/* publisher.c - a backend that streams tokens, loses answers, and retries with the same id until it knows.
 *
 * Tokens are "<publisher>.<number> ", so that a text tells who said what in which order.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>

struct attempt {
    struct publisher *publisher;
    uint64_t number;
    bool create;
    enum publish_result result;
    struct message_id id;
};

static void next_step(struct world *w, void *what);

static void schedule_next(struct publisher *p, uint64_t delay_ms)
{
    world_after(p->world, MS(delay_ms), next_step, p, 0);
}

/* Now and then so long that the next token and the janitor arrive together. */
static uint64_t thinks_ms(struct world *w)
{
    bool long_pause = w->orphan_ttl_ms > 0 && world_chance(w, 12);
    return long_pause ? w->orphan_ttl_ms - 8 + world_pick(w, 0, 10) : world_pick(w, 0, 30);
}

static void answer_arrives(struct world *w, void *what)
{
    struct attempt *a = what;
    struct publisher *p = a->publisher;
    bool known = a->result == PUBLISH_OK || a->result == PUBLISH_DUPLICATE;
    if (a->number != p->attempt || !p->busy) {
        free(a);
        return;
    }
    p->busy = false;
    if (known && a->create) {
        struct message_model *m = &w->messages[p->message];
        m->created = true;
        m->id = a->id;
        serial_print(m->serial, a->id.create_delivery, a->id.stream8, a->id.history);
        p->creating = false;
    } else if (known) {
        w->acknowledged++;
        p->next++;
    } else if (a->result == PUBLISH_TERMINAL && w->orphan_ttl_ms > 0) {
        p->done = true; /* it was silent for too long: the janitor has closed its stream */
    } else if (a->result < PUBLISH_BUSY) {
        world_fail(w, "publisher %u: an operation was refused with result %d", p->index, a->result);
    }
    schedule_next(p, known ? thinks_ms(w) : world_pick(w, 20, 100));
    free(a);
}

static void publish_done(struct publish *p)
{
    struct attempt *a = p->user;
    struct world *w = a->publisher->world;
    a->result = p->result;
    a->id = p->op.written.message;
    if (!w->calm && world_chance(w, 25))
        free(a); /* the answer is lost */
    else
        world_after(w, world_pick(w, 100000, 3000000), answer_arrives, a, 0);
    publish_free(p);
}

static struct str copy_text(struct publish *p, const char *text)
{
    return arena_copy(&p->op.arena, str_of(text));
}

static void describe(struct publish *op, const struct publisher *p, bool create)
{
    struct store_write *write = &op->op.write;
    struct arena *arena = &op->op.arena;
    char text[160];
    op->op.channel = copy_text(op, p->world->channels[p->channel]);
    channel_name_check(op->app, op->op.channel, &op->name, arena);
    bool last = !create && p->next + 1 == p->tokens && p->world->messages_count == PUBLISHERS;
    snprintf(text, sizeof(text), "{\"ai\":{\"transport\":{\"status\":\"%s\"}}}", last ? "complete" : "streaming");
    write->extras = copy_text(op, text);
    extras_read(write->extras, arena, &op->extras);
    write->status = op->extras.status;
    write->action = create ? ACTION_CREATE : ACTION_APPEND;
    snprintf(text, sizeof(text), "%s-%u-%u", create ? "create" : "op", p->index, p->next);
    write->receipt_key = hash128(str_of(text));
    write->fingerprint = hash128(str_of("same"));
    write->receipt_ttl_ms = 120000;
    if (create) {
        op->ai_event = true;
        write->event_name = copy_text(op, "ai-output");
        write->message_id = copy_text(op, text);
        write->data = copy_text(op, "\"\"");
        return;
    }
    write->target = p->world->messages[p->message].id;
    snprintf(text, sizeof(text), "\"%u.%u \"", p->index, p->next);
    write->data = copy_text(op, text);
}

static void request_arrives(struct world *w, void *what)
{
    struct attempt *a = what;
    struct publisher *p = a->publisher;
    struct node *node = node_any(w);
    if (node == NULL || a->number != p->attempt) {
        free(a); /* connection refused: the time-out will notice */
        return;
    }
    struct env *env = node->envs[world_pick(w, 0, node->shards_count - 1)];
    struct publish *op = publish_new(env, w->app, publish_done);
    op->user = a;
    op->arrived_ns = w->now_ns;
    describe(op, p, a->create);
    hub_publish(env, op);
}

struct timeout {
    struct publisher *publisher;
    uint64_t number;
};

/* A backend that dies before it knows of its message: nobody else will ever speak of it, if it was stored. */
static bool gives_up(const struct publisher *p)
{
    struct world *w = p->world;
    for (unsigned i = 0; i < PUBLISHERS; i++)
        if (&w->publishers[i] != p && w->publishers[i].message == p->message)
            return false;
    return p->creating && w->orphan_ttl_ms > 0 && world_chance(w, 2);
}

static void times_out(struct world *w, void *what)
{
    struct timeout *t = what;
    struct publisher *p = t->publisher;
    if (p->busy && t->number == p->attempt) {
        p->busy = false;
        p->done = gives_up(p);
        schedule_next(p, 0);
    }
    free(t);
}

static void send(struct publisher *p)
{
    struct world *w = p->world;
    struct attempt *a = mem_new(struct attempt);
    struct timeout *t = mem_new(struct timeout);
    p->busy = true;
    *a = (struct attempt){.publisher = p, .number = ++p->attempt, .create = p->creating};
    *t = (struct timeout){p, a->number};
    world_after(w, world_pick(w, 100000, 3000000), request_arrives, a, 0);
    world_after(w, MS(world_pick(w, 60, 400)), times_out, t, 0);
}

static void next_step(struct world *w, void *what)
{
    struct publisher *p = what;
    if (p->busy || p->done)
        return;
    if (!p->creating && !w->messages[p->message].created) {
        schedule_next(p, 20); /* somebody else is creating it */
        return;
    }
    if (!p->creating && p->next == p->tokens) {
        p->done = true;
        return;
    }
    send(p);
}

void publisher_start(struct world *w, struct publisher *p)
{
    p->creating = p->index < w->messages_count;
    schedule_next(p, world_pick(w, 0, 500));
}

bool publishers_done(const struct world *w)
{
    for (unsigned i = 0; i < PUBLISHERS; i++)
        if (!w->publishers[i].done)
            return false;
    return true;
}
