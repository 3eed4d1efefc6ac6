/* departed.h - members who went with a node, until it is sure that somebody has told the outside (presence history, webhooks, meta
 * channels).
 *
 * Subscribers hear of it from their own node. The outside hears of it from one: of the nodes that hold members of the channel still, the
 * one with the smallest name. (Where there are wills, webhooks hear of it from their executor alone: will.h.) All others keep who has gone
 * for DEPARTED_TIMEOUTS node timeouts: if the teller leaves in that time, perhaps before it has told, the next one tells. So the outside
 * hears of it at least once; presence history is read first, so there it stands once.
 *
 * Threads: one shard. Limit: DEPARTED_MAX are kept per shard; of one more only the first teller tells, and presence_departed_dropped_total.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "channel/channel.h"

enum { DEPARTED_MAX = 1 << 16, DEPARTED_TIMEOUTS = 2 };

struct departed;
/* Which node tells, when `dead` has gone: a view, absent = no node holds a member. */
struct str departed_teller(const struct channel *ch, struct str dead);
/* The member went with `node`, and `teller` is to tell. Texts are copied. */
void departed_keep(struct channel *ch, struct str user_id, struct str node, struct str teller);
/* That node does not tell any more: whoever it had to tell of is told of by this one, or kept for the next. */
void departed_teller_left(struct env *env, struct str node);
size_t departed_count(const struct hub *hub);
void departed_free(struct hub *hub);
