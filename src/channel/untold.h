/* untold.h - a user leaves several nodes at once: who tells the outside that he is gone.
 *
 *      node a   leaves, is at b still: untold ---.   .--> b was untold, too: gone, and a is the first of them: a tells
 *      node b   leaves, is at a still: untold -----X----> a was untold, too: gone, and a is the first of them: a does
 *
 * As a rule the node that he leaves last knows that it is the last, and tells. When two cross, neither does. So a node says with each
 * last place that has gone whether it tells; of those that have said in the last UNTOLD_MS that they do not, the one with the smallest
 * name does, once nobody has a place. A record is kept in its topic until then.
 *
 * Ownership: texts are copied. Threads: the owner's shard. Limit: LEAVERS_MAX per channel: beyond, nobody tells of such a crossing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "channel/channel.h"

enum { UNTOLD_MS = 3000 };

/* That node has let go of his last place there, and does not tell of it. */
void untold_keep(struct channel *ch, struct str user_id, struct str node);
/* He is gone everywhere: whether this node is the one that tells. */
bool untold_is_ours(const struct channel *ch, struct str user_id);
