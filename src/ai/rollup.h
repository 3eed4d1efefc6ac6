/* rollup.h - many appends in, few frames out (chapter 4, 6.3 and 6.7).
 *
 * The egress of a shard: every committed operation comes by here. On AI channels appends are held back for the window
 * that a connection has asked for; everything else goes straight on, behind what was pending.
 *
 * Limits: of a channel and window at most ai.rollup.max_pending_bytes of text and ROLLUP_RUNS_MAX runs wait, then they leave early.
 * All that waits on a shard costs at most ai.rollup.max_shard_pending_bytes of memory (rollup_pending_bytes says how much): beyond,
 * appends go straight on, behind what was pending on their channel, until there is room again (rollup_bypassed_total).
 *
 * Figures: an append counts in appends_received once for each window class that holds it back, and once for all in which it leaves at
 * once; appends_delivered counts what leaves likewise, whatever the number of subscribers; rollup_ratio is the appends of one that
 * leaves; active_streams is how many windows of channels are running. So received = sum of the ratios + what is pending. flush_latency: oldest fragment at the owner until it leaves;
 * flush_late: what took more than FLUSH_LATE_MS longer than its window, a figure that holds for all windows alike.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "channel/hub.h"

struct channel;

enum { ROLLUP_RUNS_MAX = 256, FLUSH_LATE_MS = 5 };

/* What is pending on the channel leaves now. */
void rollup_flush(struct channel *ch);
/* Makes rollup the egress of the hub. Call once, after hub_new(). */
void rollup_install(struct hub *hub);
