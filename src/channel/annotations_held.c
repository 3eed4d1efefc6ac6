/* annotations_held.c - the fold of a channel's annotations, in memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/annotations_held.h"

#include <stdlib.h>

#include "base/mem.h"

static struct str key_of(const uint64_t *serial)
{
    return str_make((const char *)serial, sizeof *serial);
}

struct annotations *annotations_of(struct channel *ch)
{
    if (ch->annotations == NULL) {
        ch->annotations = mem_new(struct annotations);
        list_init(&ch->annotations->waiting);
        list_init(&ch->annotations->unfolded);
    }
    return ch->annotations;
}

/* Index of the first message at or above that history position. */
static size_t place_of(const struct annotations *all, uint64_t history)
{
    size_t low = 0, high = all->messages_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (all->messages[middle]->id.history < history)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct annotated *annotations_find(const struct annotations *all, uint64_t history)
{
    size_t at = place_of(all, history);
    return at < all->messages_count && all->messages[at]->id.history == history ? all->messages[at] : NULL;
}

struct event *annotations_event(const struct annotations *all, uint64_t serial)
{
    return map_get(&all->by_serial, key_of(&serial));
}

static struct annotated *message_of(struct annotations *all, const struct message_id *id)
{
    struct annotated *m = annotations_find(all, id->history);
    if (m != NULL)
        return m;
    if (all->messages_count == all->messages_cap) {
        all->messages_cap = all->messages_cap ? 2 * all->messages_cap : 8;
        all->messages = mem_realloc(all->messages, all->messages_cap * sizeof *all->messages);
    }
    size_t at = place_of(all, id->history);
    memmove(all->messages + at + 1, all->messages + at, (all->messages_count++ - at) * sizeof *all->messages);
    m = all->messages[at] = mem_new(struct annotated);
    m->id = *id;
    return m;
}

static struct reaction *reaction_of(struct annotated *m, struct str type)
{
    enum summarizer kind = SUMMARIZE_TOTAL;
    for (struct reaction *r = m->reactions; r != NULL; r = r->next)
        if (str_eq(r->type, type))
            return r;
    struct reaction *r = mem_zalloc(sizeof *r + type.n);
    memcpy(r->text, type.p, type.n);
    r->type = str_make(r->text, type.n);
    annotation_type_read(type, &kind);
    r->summary = summary_new(kind);
    r->next = m->reactions;
    return m->reactions = r;
}

static void forget_frame(struct reaction *r)
{
    if (r->frame != NULL)
        frame_drop(r->frame);
    r->frame = NULL;
}

static void count_bytes(struct channel *ch, int64_t change)
{
    ch->annotations->bytes += (uint64_t)change;
    metrics_gauge(ch->env, ch->app, annotation_bytes, change);
}

static void message_free(struct channel *ch, struct annotated *m)
{
    for (size_t i = 0; i < m->count; i++) {
        map_del(&ch->annotations->by_serial, key_of(&m->events[i]->serial));
        count_bytes(ch, -(int64_t)m->events[i]->json.n);
        free(m->events[i]);
    }
    for (struct reaction *r = m->reactions, *next; r != NULL; r = next) {
        next = r->next;
        forget_frame(r);
        summary_free(r->summary);
        free(r);
    }
    free(m->events);
    free(m);
}

void annotations_forget_all(struct channel *ch)
{
    struct annotations *all = ch->annotations;
    for (size_t i = 0; i < all->messages_count; i++)
        message_free(ch, all->messages[i]);
    all->messages_count = 0;
    all->loaded = all->stale = all->current = false;
    all->last = 0;
}

void annotations_forget_gone(struct channel *ch)
{
    struct annotations *all = ch->annotations;
    size_t gone = ch->head.retained_messages == 0 ? all->messages_count : place_of(all, ch->head.oldest_history);
    if (!ch->head_known || ch->head_partial || gone == 0 || (ch->env->bus != NULL && !ch->follows))
        return;
    for (size_t i = 0; i < gone; i++)
        message_free(ch, all->messages[i]);
    all->messages_count -= gone;
    memmove(all->messages, all->messages + gone, all->messages_count * sizeof *all->messages);
}

void annotations_free(struct channel *ch)
{
    struct annotations *all = ch->annotations;
    if (all == NULL)
        return;
    annotations_forget_all(ch);
    map_free(&all->by_serial);
    free(all->messages);
    free(all);
    ch->annotations = NULL;
}

bool annotations_busy(const struct channel *ch)
{
    const struct annotations *all = ch->annotations;
    return all != NULL && (all->loading || all->in_flight > 0);
}

void annotations_forget(struct channel *ch)
{
    if (ch->annotations != NULL && annotations_busy(ch))
        ch->annotations->stale = true;
    else if (ch->annotations != NULL)
        annotations_forget_all(ch);
}

/* ---- folding ---- */

struct reaction *annotations_fold(struct channel *ch, const struct annotation *a, struct str json)
{
    struct annotations *all = ch->annotations;
    struct event *target = a->deletes ? annotations_event(all, a->target) : NULL;
    bool changes = !a->deletes || (target != NULL && !target->deleted);
    if (a->serial > all->last)
        all->last = a->serial;
    struct annotated *m = message_of(all, &a->message);
    struct event *e = mem_zalloc(sizeof *e + json.n);
    memcpy(e->text, json.p, json.n);
    *e = (struct event){.serial = a->serial, .deletes = a->deletes, .changed = changes, .json = str_make(e->text, json.n)};
    e->reaction = reaction_of(m, a->type);
    if (m->count == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 4;
        m->events = mem_realloc(m->events, m->cap * sizeof(struct event *));
    }
    m->events[m->count++] = e;
    map_put(&all->by_serial, key_of(&e->serial), e);
    count_bytes(ch, (int64_t)json.n);
    if (!changes)
        return NULL;
    if (target != NULL)
        target->deleted = true;
    summary_add(e->reaction->summary, a);
    forget_frame(e->reaction);
    return e->reaction;
}
