/* claim.h - the right to answer for an idempotency key, kept by the shard that the key hashes to (chapter
 * 2, 2.7 A).
 *
 *      claim_start --post--> keeper: replay_claim --post--> done()      taken: ask again after wait_ms, tries
 * times claim_complete, claim_release --post--> keeper                   nobody waits for these
 *
 * With env->cache the keeper is Redis, for all nodes: a slot there is a marker with a lease of CLAIM_SHARED_LEASE_MS, renewed while the
 * work goes on, so that a retry can claim soon after its node has died; then the answer. A Redis that is not there: REPLAY_FULL.
 *
 *      offset  size  meaning
 *      0       1     'P' in progress, 'A' answered
 *      1             'P': 36 characters, unique to the claim; 'A': the answer
 *
 * Ownership: the claim and its key are the caller's until done(); then claim_end() frees what it holds.
 * Threads: the caller's shard; what happens at the keeper is in here.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "api/call.h"
#include "app/replay_cache.h"

struct claim {
    /* in */
    struct str key;
    uint64_t ttl_ms;  /* of the answer; the claim itself lasts as long or CLAIM_LEASE_MS */
    uint64_t wait_ms; /* between two tries */
    unsigned tries;   /* further ones */
    void (*done)(struct claim *claim);
    void *user;
    /* out */
    enum replay_result result;
    struct buf answer; /* REPLAY_ANSWER */
    /* its own */
    struct task task;
    struct timer timer;
    struct api *home, *keeper;
    uint64_t token;
    char marker[38]; /* with env->cache */
};
enum { CLAIM_LEASE_MS = 60000, CLAIM_SHARED_LEASE_MS = 10000 };

/* Zeroed but for the inputs. */
void claim_start(struct api *api, struct claim *claim);
/* After REPLAY_CLAIMED, one of the two. The body is copied. */
void claim_complete(struct claim *claim, struct str body);
void claim_release(struct claim *claim);
void claim_end(struct claim *claim);
