/* leavers.c - a timer per name.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/leavers.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include <stdlib.h>

struct leaver {
    struct timer timer;
    struct leavers *all;
    struct str who; /* text[] */
    char text[];
};

struct leavers {
    struct map by_name;
    struct wheel *wheel;
    void (*gone)(void *user, struct str who);
    void *user;
};

struct leavers *leavers_new(struct wheel *wheel, void (*gone)(void *user, struct str who), void *user)
{
    struct leavers *l = mem_new(struct leavers);
    l->wheel = wheel;
    l->gone = gone;
    l->user = user;
    return l;
}

static void leaver_free(struct leaver *leaver)
{
    wheel_cancel(leaver->all->wheel, &leaver->timer);
    map_del(&leaver->all->by_name, leaver->who);
    free(leaver);
}

void leavers_free(struct leavers *l)
{
    if (l == NULL)
        return;
    size_t at = 0;
    for (struct leaver *leaver; (leaver = map_next(&l->by_name, &at)) != NULL;)
        leaver_free(leaver);
    map_free(&l->by_name);
    free(l);
}

/* Out of the table first: gone() may free the table. */
static void time_is_up(struct timer *timer)
{
    struct leaver *leaver = list_of(timer, struct leaver, timer);
    struct leavers *l = leaver->all;
    map_del(&l->by_name, leaver->who);
    l->gone(l->user, leaver->who);
    free(leaver);
}

bool leavers_add(struct leavers *l, struct str who)
{
    return leavers_add_for(l, who, LEAVERS_WAIT_MS);
}

bool leavers_add_for(struct leavers *l, struct str who, uint64_t wait_ms)
{
    leavers_back(l, who);
    if (l->by_name.count >= LEAVERS_MAX)
        return false;
    struct leaver *leaver = mem_zalloc(sizeof(*leaver) + who.n);
    memcpy(leaver->text, who.p, who.n);
    leaver->who = str_make(leaver->text, who.n);
    leaver->all = l;
    leaver->timer.fire = time_is_up;
    map_put(&l->by_name, leaver->who, leaver);
    wheel_set(l->wheel, &leaver->timer, wheel_now_ms(l->wheel) + wait_ms);
    return true;
}

bool leavers_back(struct leavers *l, struct str who)
{
    struct leaver *leaver = l != NULL ? map_get(&l->by_name, who) : NULL;
    if (leaver == NULL)
        return false;
    leaver_free(leaver);
    return true;
}

bool leavers_waits(const struct leavers *l, struct str who)
{
    return l != NULL && map_get(&l->by_name, who) != NULL;
}

struct str leavers_next(const struct leavers *l, size_t *at, uint64_t *left_ms)
{
    const struct leaver *leaver = l != NULL ? map_next(&l->by_name, at) : NULL;
    if (leaver == NULL)
        return STR_NONE;
    uint64_t now_ms = wheel_now_ms(l->wheel);
    *left_ms = leaver->timer.at_ms > now_ms ? leaver->timer.at_ms - now_ms : 0;
    return leaver->who;
}

size_t leavers_count(const struct leavers *l)
{
    return l != NULL ? l->by_name.count : 0;
}
