/* streams.h - the open streams of the channels that a shard owns: since when they are silent, and how they end when nobody else
 * ends them (chapter 4, 5.4 and 5.5).
 *
 *      by_activity   [s7 12.0 s] [s2 12.4 s] [s9 71.3 s]      last commit, monotonic; the front is due first
 *
 * A stream is open while the newest version of its message says `streaming` and is no delete. A commit moves its stream to the
 * end of the list; one timer per shard waits for the front. What has been silent for `orphan_ttl_ms` is read from the store and
 * closed by an update that applies only to the version that was read: a commit in between wins, and only one node can.
 *
 * After a start the store names what is open, page by page; its silence counts from then. A store that other nodes write to is asked
 * once a second (jittered) instead, for what has been silent for so long by its own clock: whatever node opened it, and is gone.
 *
 * Cost: a look-up per commit, nothing per tick; about 200 bytes a stream.
 * Limits: STREAM_CHECKS_MAX streams are being closed at a time, the others wait for their turn.
 * Figures: ai_active_streams, ai_stream_duration_seconds, ai_stream_bytes_total, ai_orphans_closed_total.
 * Threads: the shard of `env`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "channel/channel.h"

enum { STREAM_CHECKS_MAX = 64, STREAM_RETRY_MS = 1000, STREAM_SWEEP_MS = 1000, STREAM_DOUBT_MS = 2000, STREAM_PAGE = 64, STREAM_PAGE_TRIES = 5 };

struct streams;
/* Sets env->streams. */
void streams_open(struct env *env);
/* Begins nothing new; what is under way ends. May be said twice. */
void streams_stop(struct env *env);
/* Nothing may be under way in the store any more. NULL env->streams is fine. */
void streams_close(struct env *env);

/* p is about to go to the store: whether `max_append_bytes` and `max_open_streams_per_app` let it. A stream that it may open is
 * counted for the app until p is completed; without room the store is told to refuse it, behind the receipts, so that a retry
 * of what is open is still a duplicate. */
enum publish_result streams_admit(struct channel *ch, struct publish *p);
/* p, a versioned operation on an AI channel, is committed. */
void streams_committed(struct channel *ch, const struct publish *p);
/* The same, by another node: what was opened here goes on or has ended there. */
void streams_heard(struct channel *ch, const struct publish *p);
enum streams_store { STORE_OF_THIS_NODE, STORE_SHARED };
/* Asks the store for what an earlier process, or another node, has left open, and tells the owners. On one shard, when all have
 * been opened. */
void streams_find(struct env *env, enum streams_store store);

/* A write of this shard failed and may have opened a stream all the same, of which nobody will speak again: the store is asked once
 * more, a little later. Many such calls are one question. */
void streams_find_again(struct env *env);
/* A reset or purge has changed the channel: its streams are looked up once more. */
void streams_doubt(struct env *env, struct str channel_key);

size_t streams_count(const struct streams *all);
void streams_check(const struct streams *all); /* walks the invariants */
