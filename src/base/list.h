/* list.h - doubly linked, intrusive, circular.
 *
 *      head <-> a <-> b <-> head        an empty head points at itself
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define list_of(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))
#define list_each(at, head) for (struct list *at = (head)->next; at != (head); at = at->next)
/* `at` may be removed in the body. */
#define list_each_safe(at, after, head)                                                                      \
    for (struct list *at = (head)->next, *after = at->next; at != (head); at = after, after = at->next)

static inline void list_init(struct list *head)
{
    head->next = head->prev = head;
}
static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}
static inline void list_append(struct list *head, struct list *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}
static inline void list_prepend(struct list *head, struct list *link)
{
    list_append(head->next, link);
}
/* Leaves the link initialised, so that removing twice is harmless. */
static inline void list_remove(struct list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_init(link);
}
/* Takes the first link out, or NULL. */
static inline struct list *list_take(struct list *head)
{
    if (list_empty(head))
        return NULL;
    struct list *first = head->next;
    list_remove(first);
    return first;
}
/* Moves all of `from` behind `to`; `from` is empty afterwards. */
static inline void list_splice(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}
