/* rollup.h - many appends in, few frames out (chapter 4, 6.3 and 6.7).
 *
 * The egress of a shard: every committed operation comes by here. On AI channels appends are held back for the window
 * that a connection has asked for; everything else goes straight on, behind what was pending.
 *
 * Limits: pending text of a channel and window at most ai.rollup.max_pending_bytes, then it leaves early.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "channel/hub.h"

/* Makes rollup the egress of the hub. Call once, after hub_new(). */
void rollup_install(struct hub *hub);
