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

struct presence;
struct presence *presence_new(struct wheel *wheel, void (*expired)(void *user, struct str user_id), void *user);
void presence_free(struct presence *p);
size_t presence_count(const struct presence *p);
bool presence_has(const struct presence *p, struct str user_id);
/* True if the user was not there: announce it. A leased place of the same user is taken up first. */
bool presence_join(struct presence *p, struct str user_id, struct str user_info);
/* True if the user is gone now: announce it. With lease_ms > 0 the place is kept that long and expired() is called in the
 * end if the user has not come back. */
bool presence_leave(struct presence *p, struct str user_id, uint64_t lease_ms);
/* {"ids":[..],"hash":{..},"count":n} */
void presence_json(const struct presence *p, struct buf *out);
/* Walks the ids: *at starts as 0; absent at the end. */
struct str presence_next(const struct presence *p, size_t *at);
