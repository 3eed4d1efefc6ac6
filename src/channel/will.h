/* will.h - what a node leaves untold when it dies, kept where others find it: in the shared cache (cluster/cache.h).
 *
 * Of a channel that has subscribers at one node only, no other node knows anything: no topic is listened to for it, no count kept. So
 * each node notes what webhooks are yet to be told of it in the end, while there are webhooks that want to know:
 *
 *      will:<node>:<topic>   set of (app id, channel, user id)      no user: channel_vacated; a user: member_removed
 *
 * An entry stands there from the first subscriber (the member's first place) at this node until the outside has been told, or
 * another node has taken that over. Of a node that has gone, with or without a good-bye, the one that leads (cluster/bus.h) is the
 * executor:
 *
 *      entry -> passed on into the executor's own will, in one step -> all nodes are asked
 *            -> nobody has subscribers; the member has no place at any: told as if the last had left here
 *
 * Passing on claims: of several executors one gets it. And it loses nothing: if the executor dies before it has told, it stands in its
 * will. So the outside is told once. Exceptions: a change that waits when the node dies (Redis away, queue full) is not in the will;
 * a node that has only been taken for dead finds its will read when it is back, and renews it then; if the last node of a
 * fleet dies, nobody executes.
 *
 * Of members of dead nodes webhooks are told by executors only; presence history and meta channels as departed.h says, and by the
 * executor where no node has the channel any more.
 *
 * Without a shared cache (cache.driver) there are no wills: then the leader tells of what it happens to know (it has a [meta] subscriber).
 *
 * Limits: WILL_WAITING_MAX changes wait per shard, of more will_entries_dropped_total; WILL_IN_FLIGHT_MAX are on their way to Redis.
 * A will that nobody executes goes after WILL_TTL_MS. ESTATE_OPEN_MAX entries of a dead node are asked for at a time.
 * Ownership: texts are copied. Threads: one shard; it has the topics that it owns. Errors: what Redis does not do is tried again.
 *
 * For src/channel only.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "channel/channel.h"

enum {
    WILL_WAITING_MAX = 1 << 16,
    WILL_IN_FLIGHT_MAX = 1024,
    WILL_TTL_MS = 24 * 3600 * 1000,
    RENEW_MS = 3600 * 1000,
    AGAIN_MS = 1000, /* after Redis has failed */
    ESTATE_OPEN_MAX = 256,
};

/* Where the will of a node has what belongs to a topic. */
void will_key(struct buf *out, struct str node, unsigned topic);
/* Who of the channel (empty = the channel itself) has come or gone, or has been told of: the will says what is true now. */
void will_sync(struct channel *ch, struct str who);
/* Everything is written again: Redis may have lost it. */
void will_renew(struct env *env);
void will_free(struct hub *hub);

/* ---- executor.c ---- */
/* Another node has gone, and this one leads. */
void will_execute(struct env *env, struct str node);
void executor_free(struct hub *hub);
