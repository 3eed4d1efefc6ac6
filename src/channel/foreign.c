/* foreign.c - operations that other nodes have committed, brought into the order of positions.
 *
 *      delivered up to 41     foreign [44][45]     own 43, completed
 *
 *      43 waits for 42: a few milliseconds for the bus to bring it, then it is read from the store (repair.c)
 *
 * At or below what has been delivered: dropped. Limits: FOREIGN_MAX operations wait per channel; the newest beyond are dropped,
 * and read from the store when their turn comes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/internal.h"

enum { FOREIGN_MAX = 4096 };

static uint64_t position(const struct publish *p)
{
    return p->op.written.delivery;
}

static struct publish *publish_at(struct list *link)
{
    return list_of(link, struct publish, link);
}

void foreign_take(struct channel *ch, struct publish *p)
{
    struct list *after = ch->foreign.prev;
    if ((p->stored && position(p) <= ch->head.delivery && str_eq(str_of(p->op.head.stream_id), str_of(ch->head.stream_id))) ||
        ch->foreign_count >= FOREIGN_MAX) {
        publish_free(p);
        return;
    }
    /* Mostly the newest. What has no position stays where it came. */
    while (p->stored && after != &ch->foreign && publish_at(after)->stored && position(publish_at(after)) > position(p))
        after = after->prev;
    if (p->stored && after != &ch->foreign && publish_at(after)->stored && position(publish_at(after)) == position(p)) {
        publish_free(p);
        return;
    }
    list_prepend(after, &p->link);
    ch->foreign_count++;
}

static void drop_front(struct channel *ch)
{
    struct publish *p = publish_at(ch->foreign.next);
    list_remove(&p->link);
    ch->foreign_count--;
    publish_free(p);
}

struct publish *foreign_next(struct channel *ch, uint64_t *gap_before)
{
    *gap_before = 0;
    while (!list_empty(&ch->foreign)) {
        struct publish *p = publish_at(ch->foreign.next);
        if (p->stored && ch->head.stream_id[0] == '\0')
            repair_adopt(ch, str_of(p->op.head.stream_id)); /* nothing was there before */
        if (p->stored && strcmp(p->op.head.stream_id, ch->head.stream_id) != 0) {
            *gap_before = FOREIGN_STREAM;
            return NULL;
        }
        if (!p->stored || position(p) == ch->head.delivery + 1)
            return p;
        if (position(p) > ch->head.delivery) {
            *gap_before = position(p);
            return NULL;
        }
        drop_front(ch);
    }
    return NULL;
}

void foreign_delivered(struct channel *ch, struct publish *p)
{
    list_remove(&p->link);
    ch->foreign_count--;
    if (!p->stored)
        return;
    ch->head.delivery = position(p);
    if (p->op.head.history > ch->head.history)
        ch->head.history = p->op.head.history;
    foreign_counts(ch, p->op.write.action, p->op.written.message.history);
}

void foreign_counts(struct channel *ch, enum store_action action, uint64_t history)
{
    if (action != ACTION_CREATE && action != ACTION_ORDINARY)
        return;
    if (ch->head.retained_messages++ == 0)
        ch->head.oldest_history = history;
}

void foreign_drop_others(struct channel *ch)
{
    list_each_safe(at, after, &ch->foreign)
    {
        struct publish *p = publish_at(at);
        if (!p->stored || strcmp(p->op.head.stream_id, ch->head.stream_id) == 0)
            continue;
        list_remove(&p->link);
        ch->foreign_count--;
        publish_free(p);
    }
}

void foreign_free(struct channel *ch)
{
    while (!list_empty(&ch->foreign))
        drop_front(ch);
}
