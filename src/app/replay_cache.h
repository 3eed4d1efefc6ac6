/* replay_cache.h - answers kept by idempotency key (chapter 2, 2.7 A).
 *
 * A key is claimed before the work, completed with the answer's body, or released when the work failed.
 * Whoever meets a claim that is not completed (REPLAY_PENDING) asks again later: a claim runs out with its
 * lease, so that nobody waits for the dead. One cache per shard; the shard that a key hashes to keeps it.
 *
 * Limits: capacity entries, and REPLAY_BYTES_MAX of keys and answers (an answer to what was claimed is always taken); an unexpired claim
 * or answer is never evicted for a newer one: then REPLAY_FULL. Whoever is refused for that counts it.
 * Threads: its shard's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"

enum { REPLAY_BYTES_MAX = 64 << 20 };
enum replay_result { REPLAY_CLAIMED, REPLAY_ANSWER, REPLAY_PENDING, REPLAY_FULL };

struct replay_cache;
struct replay_cache *replay_cache_new(size_t capacity);
void replay_cache_free(struct replay_cache *c);
/* CLAIMED: the caller works, with *token. ANSWER: *body is the stored answer (a view until the next call).
 * PENDING: somebody works on it. */
enum replay_result replay_claim(struct replay_cache *c, struct str key, uint64_t now_ms, uint64_t lease_ms,
                                uint64_t *token, struct str *body);
/* Prolongs the lease of work that takes long. */
void replay_renew(struct replay_cache *c, struct str key, uint64_t token, uint64_t now_ms, uint64_t lease_ms);
/* Both do nothing if the token does not own the entry any more. */
void replay_complete(struct replay_cache *c, struct str key, uint64_t token, struct str body, uint64_t now_ms,
                     uint64_t ttl_ms);
void replay_release(struct replay_cache *c, struct str key, uint64_t token);
size_t replay_cache_count(const struct replay_cache *c);
/* Walks the invariants; for tests. */
void replay_check(const struct replay_cache *c);
