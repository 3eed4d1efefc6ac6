/* engine.h - the store as a state machine over a kv: positions, receipts, limits, retention (chapter 3, 1.9 and 2.4).
 *
 *      engine_stage(op) engine_stage(op) ...   heads in memory move on, rows go into the kv's pending batch
 *      engine_commit()                         the batch is written; only now may anybody be told
 *      engine_plan(op)   -> engine_read()      reads: what memory knows is copied, then only the kv is asked
 *
 * A failed commit forgets all that the batch had touched in memory; it is loaded again from the kv when needed, so memory never
 * holds what is not durable.
 *
 * Memory: channels and messages are loaded on first use and dropped, oldest first, beyond ENGINE_CHANNELS_MAX,
 * ENGINE_MESSAGES_MAX and store_options.messages_bytes_max, after each batch; a dirty message is folded first.
 *
 * Threads: one, but for engine_read(), which only uses the plan and the kv. No system calls of its own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "store/kv.h"
#include "store/store.h"

enum { ENGINE_CHANNELS_MAX = 100000, ENGINE_MESSAGES_MAX = 200000 };
#define ENGINE_MESSAGES_BYTES_MAX ((size_t)256 << 20)
enum { FOLD_ROWS = 64, FOLD_BYTES = 65536, CHECKPOINT_ROWS = 1024, CHECKPOINT_ROWS_MAX = 32768, FOLDS_PER_WRITE = 4,
       EVICT_PER_WRITE = 64, EVICT_ROWS = 16384 };

struct engine;
struct engine *engine_new(struct kv *kv, const struct store_options *options, struct store_stats *stats);
void engine_free(struct engine *e);

enum stage_result {
    STAGED,       /* outputs are set; they are true once the commit has succeeded */
    COMMIT_FIRST, /* needs what is pending to be committed: commit, then stage it again */
};
/* WRITE, HEAD, RESET, PURGE, NOTE_PUT. A refusal (op->result) is STAGED too, and leaves no trace. */
enum stage_result engine_stage(struct engine *e, struct store_op *op);
bool engine_commit(struct engine *e, bool sync, struct buf *error);
/* The batch did not become durable, or is not wanted. */
void engine_rollback(struct engine *e);
/* Forgets everything in memory: after the kv was opened anew it may hold more, or less, than memory knows of. */
void engine_forget(struct engine *e);

/* HEADS, LATEST, VERSIONS, PAGE, REPLAY, OPEN, NOTE_SCAN; nothing may be pending. The plan lives in op->arena. What is read must be as it
 * was then: from a snapshot, or before the next commit. */
struct read_plan;
struct read_plan *engine_plan(struct engine *e, struct store_op *op);
enum read_verdict {
    READ_FINE,
    READ_DAMAGED, /* rows contradict one another; the op says STORE_UNHEALTHY, and engine_suspect() should be told */
};
enum read_verdict engine_read(struct kv *kv, const struct read_plan *plan, struct store_op *op);

/* A read has found the rows of a channel damaged: it is degraded from the next commit on, if it still has that stream id. */
void engine_suspect(struct engine *e, struct str app_id, struct str channel, struct str stream_id);

enum work_result { WORK_GOES_ON, WORK_DONE };
/* A slice of background retention, into the pending batch; *dropped grows by what it removed. WORK_DONE: all channels and receipts
 * were looked at, the next slice begins anew. */
enum work_result engine_work(struct engine *e, int64_t now_ms, uint32_t messages_max, uint64_t *dropped);

/* Heads in memory equal heads rebuilt from the kv, for all channels loaded; nothing may be pending. For tests. */
bool engine_check(struct engine *e, struct buf *why);
