/* presence.h - who is in a presence channel, kept by the channel's owner (chapter 1, 5.8).
 *
 * A member is a user; it holds a place per connection, and leased places for connections that were lost. Edges are what
 * matters: the first place adds the member, the last one that goes removes it.
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
/* expired: the user is gone since the last of his leases ran out; socket: the connection that it was for. */
struct presence *presence_new(struct wheel *wheel,
                              void (*expired)(void *user, struct str user_id, struct socket_id socket), void *user);
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
/* Replaces the member's info, at most per_second_max times in a second. */
enum presence_change presence_update(struct presence *p, struct str user_id, struct str user_info, uint32_t per_second_max,
                                     uint64_t now_ms);
/* {"ids":[..],"hash":{..},"count":n} */
void presence_json(const struct presence *p, struct buf *out);
/* Walks the ids: *at starts as 0; absent at the end. */
struct str presence_next(const struct presence *p, size_t *at);
/* The same, with what is known of them. */
struct str presence_next_info(const struct presence *p, size_t *at, struct str *user_info);
