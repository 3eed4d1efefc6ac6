/* presence.c - members by user id; a lease is a timer that gives one place back.
 *
 *      member u1   places 2 (two tabs)   leased 1 (a phone in a tunnel)
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/presence.h"
#include "app/limiter.h"
#include "base/mem.h"
#include <stdlib.h>

struct member {
    struct str id, info;
    uint32_t places; /* leased ones included */
    struct list leases;
    struct list elsewhere; /* struct elsewhere.link: one per node */
    struct window updates; /* how often the info has been replaced in this second */
};

struct lease {
    struct timer timer;
    struct list link;
    struct presence *presence;
    struct member *member;
    struct socket_id socket;
};

struct elsewhere {
    struct list link;
    struct str node; /* text[] */
    bool stays;      /* presence_set_at() has named it */
    char text[];
};

struct presence {
    struct map members;
    size_t here; /* members that hold a place at this node */
    struct wheel *wheel;
    void (*expired)(void *user, struct str user_id, struct socket_id socket, bool gone);
    void *user;
};

struct presence *presence_new(struct wheel *wheel,
                              void (*expired)(void *user, struct str user_id, struct socket_id socket, bool gone), void *user)
{
    struct presence *p = mem_new(struct presence);
    p->wheel = wheel;
    p->expired = expired;
    p->user = user;
    return p;
}

static void lease_free(struct lease *lease)
{
    wheel_cancel(lease->presence->wheel, &lease->timer);
    list_remove(&lease->link);
    free(lease);
}

static void elsewhere_free(struct elsewhere *e)
{
    list_remove(&e->link);
    free(e);
}

static void member_free(struct presence *p, struct member *m)
{
    map_del(&p->members, m->id);
    p->here -= m->places > 0;
    while (!list_empty(&m->elsewhere))
        elsewhere_free(list_of(m->elsewhere.next, struct elsewhere, link));
    while (!list_empty(&m->leases))
        lease_free(list_of(m->leases.next, struct lease, link));
    free((void *)m->id.p);
    free((void *)m->info.p);
    free(m);
}

void presence_free(struct presence *p)
{
    if (p == NULL)
        return;
    size_t at = 0;
    for (struct member *m; (m = map_next(&p->members, &at)) != NULL;)
        member_free(p, m);
    map_free(&p->members);
    free(p);
}

size_t presence_count(const struct presence *p)
{
    return p ? p->members.count : 0;
}

bool presence_has(const struct presence *p, struct str user_id)
{
    return p != NULL && map_get(&p->members, user_id) != NULL;
}

static struct member *member_new(struct presence *p, struct str user_id, struct str user_info)
{
    struct member *m = mem_new(struct member);
    m->id = str_make(str_dup(user_id), user_id.n);
    m->info = str_make(str_dup(user_info), user_info.n);
    list_init(&m->leases);
    list_init(&m->elsewhere);
    map_put(&p->members, m->id, m);
    return m;
}

static void take_place(struct presence *p, struct member *m)
{
    p->here += m->places++ == 0;
}

bool presence_join(struct presence *p, struct str user_id, struct str user_info)
{
    struct member *m = map_get(&p->members, user_id);
    if (m == NULL) {
        take_place(p, member_new(p, user_id, user_info));
        return true;
    }
    if (list_empty(&m->leases))
        take_place(p, m);
    else
        lease_free(list_of(m->leases.next, struct lease, link));
    return false;
}

bool presence_join_again(struct presence *p, struct str user_id)
{
    struct member *m = map_get(&p->members, user_id);
    if (m != NULL)
        take_place(p, m);
    return m != NULL;
}

static bool give_back(struct presence *p, struct member *m)
{
    if (--m->places > 0)
        return false;
    p->here--;
    if (!list_empty(&m->elsewhere))
        return false;
    member_free(p, m);
    return true;
}

static void lease_ends(struct timer *timer)
{
    struct lease *lease = list_of(timer, struct lease, timer);
    struct presence *p = lease->presence;
    struct member *m = lease->member;
    struct socket_id socket = lease->socket;
    char *id = str_dup(m->id);
    size_t n = m->id.n;
    lease_free(lease);
    bool last = m->places == 1;
    bool gone = give_back(p, m);
    if (last)
        p->expired(p->user, str_make(id, n), socket, gone);
    free(id);
}

bool presence_leave(struct presence *p, struct str user_id, struct socket_id socket, uint64_t lease_ms)
{
    struct member *m = map_get(&p->members, user_id);
    if (m == NULL)
        return false;
    if (lease_ms == 0)
        return give_back(p, m);
    struct lease *lease = mem_new(struct lease);
    lease->presence = p;
    lease->member = m;
    lease->socket = socket;
    lease->timer.fire = lease_ends;
    list_append(&m->leases, &lease->link);
    wheel_set(p->wheel, &lease->timer, wheel_now_ms(p->wheel) + lease_ms);
    return false;
}

enum presence_change presence_update(struct presence *p, struct str user_id, struct str user_info, uint32_t per_second_max,
                                     uint64_t now_ms)
{
    struct member *m = p != NULL ? map_get(&p->members, user_id) : NULL;
    if (m == NULL)
        return PRESENCE_UNKNOWN;
    if (!window_take(&m->updates, per_second_max, 1000, now_ms))
        return PRESENCE_TOO_OFTEN;
    free((void *)m->info.p);
    m->info = str_make(str_dup(user_info), user_info.n);
    return PRESENCE_CHANGED;
}

void presence_json(const struct presence *p, struct buf *out)
{
    struct buf hash = {0};
    size_t at = 0, n = 0;
    buf_lit(out, "{\"ids\":[");
    for (struct member *m; p != NULL && (m = map_next(&p->members, &at)) != NULL; n++) {
        if (n > 0) {
            buf_char(out, ',');
            buf_char(&hash, ',');
        }
        buf_json(out, m->id);
        buf_json(&hash, m->id);
        buf_char(&hash, ':');
        buf_str(&hash, m->info);
    }
    buf_lit(out, "],\"hash\":{");
    buf_str(out, buf_view(&hash));
    buf_lit(out, "},\"count\":");
    buf_u64(out, n);
    buf_char(out, '}');
    buf_free(&hash);
}

struct str presence_next_info(const struct presence *p, size_t *at, struct str *user_info)
{
    struct member *m = p ? map_next(&p->members, at) : NULL;
    *user_info = m ? m->info : STR_NONE;
    return m ? m->id : STR_NONE;
}

struct str presence_next(const struct presence *p, size_t *at)
{
    struct str info;
    return presence_next_info(p, at, &info);
}

/* ---- places at other nodes ---- */

bool presence_has_here(const struct presence *p, struct str user_id)
{
    const struct member *m = p != NULL ? map_get(&p->members, user_id) : NULL;
    return m != NULL && m->places > 0;
}

bool presence_has_elsewhere(const struct presence *p, struct str user_id)
{
    const struct member *m = p != NULL ? map_get(&p->members, user_id) : NULL;
    return m != NULL && !list_empty(&m->elsewhere);
}

size_t presence_count_here(const struct presence *p)
{
    return p != NULL ? p->here : 0;
}

static struct elsewhere *place_at(const struct member *m, struct str node)
{
    list_each(link, (struct list *)&m->elsewhere)
    {
        struct elsewhere *e = list_of(link, struct elsewhere, link);
        if (str_eq(e->node, node))
            return e;
    }
    return NULL;
}

static struct elsewhere *take_place_at(struct member *m, struct str node)
{
    struct elsewhere *e = place_at(m, node);
    if (e != NULL)
        return e;
    e = mem_zalloc(sizeof *e + node.n);
    memcpy(e->text, node.p, node.n);
    e->node = str_make(e->text, node.n);
    list_append(&m->elsewhere, &e->link);
    return e;
}

bool presence_join_at(struct presence *p, struct str node, struct str user_id, struct str user_info)
{
    struct member *m = map_get(&p->members, user_id);
    bool added = m == NULL;
    if (added)
        m = member_new(p, user_id, user_info);
    take_place_at(m, node);
    return added;
}

/* True if nothing is left of the member. */
static bool leave_at(struct presence *p, struct member *m, struct elsewhere *e)
{
    elsewhere_free(e);
    if (m->places > 0 || !list_empty(&m->elsewhere))
        return false;
    member_free(p, m);
    return true;
}

bool presence_leave_at(struct presence *p, struct str node, struct str user_id)
{
    struct member *m = p != NULL ? map_get(&p->members, user_id) : NULL;
    struct elsewhere *e = m != NULL ? place_at(m, node) : NULL;
    return e != NULL && leave_at(p, m, e);
}

static void drop_unnamed(struct presence *p, struct str node,
                         void (*changed)(void *user, struct str user_id, struct str user_info, bool added), void *user)
{
    size_t at = 0;
    for (struct member *m; (m = map_next(&p->members, &at)) != NULL;) {
        struct elsewhere *e = place_at(m, node);
        if (e == NULL || e->stays)
            continue;
        char *id = str_dup(m->id);
        size_t n = m->id.n;
        if (leave_at(p, m, e))
            changed(user, str_make(id, n), STR_NONE, false);
        free(id);
    }
}

void presence_set_at(struct presence *p, struct str node, const struct presence_place *places, size_t count,
                     void (*changed)(void *user, struct str user_id, struct str user_info, bool added), void *user)
{
    for (size_t i = 0; i < count; i++) {
        bool added = presence_join_at(p, node, places[i].user_id, places[i].user_info);
        take_place_at(map_get(&p->members, places[i].user_id), node)->stays = true;
        if (added)
            changed(user, places[i].user_id, places[i].user_info, true);
    }
    drop_unnamed(p, node, changed, user);
    for (size_t i = 0; i < count; i++)
        take_place_at(map_get(&p->members, places[i].user_id), node)->stays = false;
}

struct str presence_first_node(const struct presence *p, struct str but)
{
    struct str first = STR_NONE;
    size_t at = 0;
    for (const struct member *m; p != NULL && (m = map_next(&p->members, &at)) != NULL;)
        list_each(link, (struct list *)&m->elsewhere)
        {
            struct str node = list_of(link, struct elsewhere, link)->node;
            if (!str_eq(node, but) && (first.p == NULL || str_cmp(node, first) < 0))
                first = node;
        }
    return first;
}

bool presence_inform(struct presence *p, struct str user_id, struct str user_info)
{
    struct member *m = p != NULL ? map_get(&p->members, user_id) : NULL;
    if (m == NULL)
        return false;
    free((void *)m->info.p);
    m->info = str_make(str_dup(user_info), user_info.n);
    return true;
}
