/* presence.h - who is in a presence channel, kept by the channel's owner (chapter 1, 5.8).
 *
 * A member is a user; it holds a place per connection, and leased places for connections that were lost. Edges are what
 * matters: the first place adds the member, the last one that goes removes it.
 *
 * Units: ms of the wheel. Ownership: ids and infos are copied; what is handed out are views until the next change. Threads: one shard.
 * Limit: none of its own: who lets members in (member.c) counts them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "net/wheel.h"
#include "wire/system.h"

struct presence;
/* expired: the last of the user's leases here ran out, and he has no other place here; socket: the connection that it was for;
 * gone: nor at any other node. */
struct presence *presence_new(struct wheel *wheel,
                              void (*expired)(void *user, struct str user_id, struct socket_id socket, bool gone), void *user);
void presence_free(struct presence *p);
size_t presence_count(const struct presence *p);
bool presence_has(const struct presence *p, struct str user_id);
/* True if the user was not there: announce it. A leased place of the same user is taken up first. */
bool presence_join(struct presence *p, struct str user_id, struct str user_info);
/* One place more for a connection that has one already, for a moment: takes up no lease. False: the user is not there. */
bool presence_join_again(struct presence *p, struct str user_id);
/* True if the user is gone now: announce it. With lease_ms > 0 the place is kept that long and expired() is called in the
 * end if the user has not come back. */
bool presence_leave(struct presence *p, struct str user_id, struct socket_id socket, uint64_t lease_ms);
enum presence_change { PRESENCE_CHANGED, PRESENCE_UNKNOWN, PRESENCE_TOO_OFTEN };
/* ---- places at other nodes: a member holds one at each node where it has connections or leases ---- */
struct presence_place {
    struct str user_id, user_info;
};
/* Whether the user holds a place here. */
bool presence_has_here(const struct presence *p, struct str user_id);
/* Whether he holds one at another node. */
bool presence_has_elsewhere(const struct presence *p, struct str user_id);
size_t presence_count_here(const struct presence *p);
/* True if the user was not there at all. */
bool presence_join_at(struct presence *p, struct str node, struct str user_id, struct str user_info);
/* True if the user is gone now. */
bool presence_leave_at(struct presence *p, struct str node, struct str user_id);
/* These, and no others, are at that node: says who is new and who is gone. */
void presence_set_at(struct presence *p, struct str node, const struct presence_place *places, size_t count,
                     void (*changed)(void *user, struct str user_id, struct str user_info, bool added), void *user);
/* Of the other nodes that have a place, but for this one: the one whose name is the smallest; a view. Absent: there is none. */
struct str presence_first_node(const struct presence *p, struct str but);
/* Replaces the info of a member of another node. False: there is no such member. */
bool presence_inform(struct presence *p, struct str user_id, struct str user_info);

/* Replaces the member's info, at most per_second_max times in a second. */
enum presence_change presence_update(struct presence *p, struct str user_id, struct str user_info, uint32_t per_second_max,
                                     uint64_t now_ms);
/* {"ids":[..],"hash":{..},"count":n} */
void presence_json(const struct presence *p, struct buf *out);
/* Walks the ids: *at starts as 0; absent at the end. */
struct str presence_next(const struct presence *p, size_t *at);
/* The same, with what is known of them. */
struct str presence_next_info(const struct presence *p, size_t *at, struct str *user_info);
