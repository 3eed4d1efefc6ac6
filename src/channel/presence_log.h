/* presence_log.h - the transitions of a presence channel, recorded by its owner in the order in which they were decided
 * (chapter 3, section 6).
 *
 *   transition --> unknown: the newest row is read --> 0 members: nobody is left from before
 *              |                                   `-> else: rows are read back until all of them are found; each is recorded
 *              |                                       as removed (orphan_cleanup), since he went with the process that had him
 *              `-> known: one row, behind those that wait
 *
 * Presence never waits for it. While the store cannot write, the rows wait, in their order, and are tried again (each has a receipt, so
 * one that was written all the same is not written twice); so long the channel is in doubt (degraded). A row that is given up leaves
 * a hole: the channel is in doubt until its log is reset. A reset begins the new log with the members who are there.
 *
 * Limits: LOG_WAITING_MAX transitions wait per channel and LOG_ROWS_MAX per shard: beyond, they are lost. DOUBTS_MAX channels are in
 * doubt per shard: beyond, all of them are.
 * Metrics: presence_history_*. Ownership: a log is its channel's. Threads: the owner's shard. Errors: nobody is answered; they are the
 * channel's doubt, and the log's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "channel/channel.h"
#include "message/presence_event.h"

enum { LOG_WAITING_MAX = 4096, LOG_ROWS_MAX = 1 << 16, DOUBTS_MAX = 10000 };

/* Does nothing where the policy says so. Texts are copied. socket: zero = none. dead_node: with which he went; absent = none. */
void presence_log_add(struct channel *ch, enum transition event, const char *cause, struct str user_id, struct str user_info,
                      struct socket_id socket, struct str dead_node);
/* He went with dead_node, and another node had to record it: recorded here if it has not. At least once if the store is in trouble just now. */
void presence_log_repair(struct channel *ch, struct str user_id, struct str dead_node);
/* The channel may not be freed yet. */
bool presence_log_busy(const struct channel *ch);
void presence_log_free(struct channel *ch);
/* ---- presence_doubt.c: on the channel's owner shard ---- */
/* The log has a hole, or may have; a worse state stays. */
void presence_doubt(struct channel *ch, enum stream_state state);
void presence_doubt_end(struct channel *ch);
enum stream_state presence_log_doubt(const struct hub *hub, const struct app *app, struct str channel);
/* How many channels of the app are in doubt, and how many of them need a reset. */
void presence_log_count_doubts(const struct hub *hub, const struct app *app, uint64_t *degraded, uint64_t *reset_required);
void presence_log_free_doubts(struct hub *hub);
