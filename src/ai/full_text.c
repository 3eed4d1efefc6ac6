/* full_text.c - texts by history position; a read that is under way outlives the table.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ai/full_text.h"
#include "ai/rollup.h"
#include "base/mem.h"
#include "wire/codes.h"
#include <stdlib.h>

struct text {
    uint64_t history;  /* the key */
    uint64_t upto;     /* newest delivery position in it */
    struct buf body;   /* escaped, without quotes */
};

struct full_texts {
    struct channel *ch;
    struct map texts;
    uint64_t seen;     /* newest position of the channel that has passed by; 0 = not known */
    bool reading;      /* the channel is held for it */
    bool stale;        /* what is being read is not up to date any more */
    bool failed;       /* the last read failed: let the append through without */
};

struct text_read {
    struct store_op op;
    struct channel *ch;
    struct message_id message;
};

struct full_texts *full_texts_new(struct channel *ch)
{
    struct full_texts *all = mem_new(struct full_texts);
    all->ch = ch;
    return all;
}

static struct str key_of(const uint64_t *history)
{
    return str_make(history, sizeof(*history));
}

static void count_bytes(const struct full_texts *all, int64_t change)
{
    all->ch->env->full_text_bytes += (uint64_t)change;
    metrics_gauge(all->ch->env, all->ch->app, full_text_bytes, change);
}

static void text_free(struct full_texts *all, struct text *t)
{
    count_bytes(all, -(int64_t)t->body.n);
    map_del(&all->texts, key_of(&t->history));
    buf_free(&t->body);
    free(t);
}

static void drop_all(struct full_texts *all)
{
    size_t at = 0;
    for (struct text *t; (t = map_next(&all->texts, &at)) != NULL;)
        text_free(all, t);
}

void full_texts_free(struct full_texts *all)
{
    if (all == NULL)
        return;
    drop_all(all);
    map_free(&all->texts);
    free(all);
}

void full_texts_bypassed(struct full_texts *all)
{
    if (all == NULL)
        return;
    drop_all(all);
    all->stale = all->reading;
    all->seen = 0;
}

bool full_texts_miss(const struct full_texts *all, uint64_t delivery)
{
    return all != NULL && all->seen != 0 && delivery > all->seen + 1;
}

void full_texts_see(struct full_texts *all, uint64_t delivery)
{
    if (all != NULL)
        all->seen = delivery;
}

static struct text *find(const struct full_texts *all, const struct message_id *message)
{
    return all ? map_get(&all->texts, key_of(&message->history)) : NULL;
}

static struct text *text_new(struct full_texts *all, const struct message_id *message)
{
    const struct env *env = all->ch->env;
    if (all->texts.count >= FULL_TEXTS_MAX || env->full_text_bytes >= env->config->ai.rollup.max_full_text_bytes) {
        rollup_flush(all->ch); /* what waits there shows parts of them */
        drop_all(all);
    }
    struct text *t = mem_new(struct text);
    t->history = message->history;
    map_put(&all->texts, key_of(&t->history), t);
    return t;
}

static void read_done(struct store_op *op);

static void read_text(struct full_texts *all, const struct publish *p)
{
    struct channel *ch = all->ch;
    struct text_read *read = mem_new(struct text_read);
    read->ch = ch;
    read->message = p->op.written.message;
    read->op.kind = STORE_LATEST;
    read->op.shard = ch->env->shard;
    read->op.done = read_done;
    read->op.app_id = ch->app->id;
    read->op.channel = ch->name;
    read->op.read.ids = &read->message;
    read->op.read.ids_count = 1;
    read->op.read.as_of_delivery = p->op.written.delivery;
    if (all->seen == 0)
        all->seen = p->op.written.delivery - 1; /* what is read holds all until p, which may be dropped while it waits */
    all->reading = true;
    channel_hold(ch);
    store_submit(ch->env->store, &read->op);
}

static void read_done(struct store_op *op)
{
    struct text_read *read = list_of(op, struct text_read, op);
    struct channel *ch = read->ch;
    struct full_texts *all = ch->texts;
    if (all == NULL) {
        /* A repair has delivered past it meanwhile, and dropped the table: who still needs the text reads it anew. */
    } else if (all->stale) {
        all->stale = false; /* the same, while it was being read */
    } else if (op->result == STORE_OK && op->found.count == 1 && op->found.items[0].data.n >= 2) {
        struct text *t = text_new(all, &read->message);
        struct str data = op->found.items[0].data;
        buf_put(&t->body, data.p + 1, data.n - 2);
        count_bytes(all, (int64_t)t->body.n);
        t->upto = op->found.items[0].delivery;
    } else {
        all->failed = true;
    }
    arena_free(&op->arena);
    free(read);
    if (all != NULL)
        all->reading = false;
    channel_release(ch);
}

bool full_text_ready(struct full_texts *all, struct publish *p)
{
    if (all->reading)
        return false;
    if (find(all, &p->op.written.message) != NULL)
        return true;
    if (all->failed) {
        all->failed = false;
        channel_cut(all->ch, lanes_of_mode(LANE_FULL));
        return true;
    }
    read_text(all, p);
    return false;
}

void full_text_append(struct full_texts *all, const struct publish *p)
{
    struct text *t = find(all, &p->op.written.message);
    struct str fragment = p->op.write.data;
    if (t == NULL || t->upto >= p->op.written.delivery)
        return;
    if (fragment.n > 2) {
        buf_put(&t->body, fragment.p + 1, fragment.n - 2);
        count_bytes(all, (int64_t)fragment.n - 2);
    }
    t->upto = p->op.written.delivery;
}

size_t full_text_size(const struct full_texts *all, const struct message_id *message)
{
    struct text *t = find(all, message);
    return t ? t->body.n : SIZE_MAX;
}

struct str full_text(const struct full_texts *all, const struct message_id *message, size_t size)
{
    struct text *t = find(all, message);
    return t ? str_first(buf_view(&t->body), size) : STR("");
}

void full_text_drop(struct full_texts *all, const struct message_id *message)
{
    struct text *t = find(all, message);
    if (t != NULL)
        text_free(all, t);
}
