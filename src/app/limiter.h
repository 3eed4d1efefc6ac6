/* limiter.h - fixed-window rate limits by client address, shared by all shards (chapter 2, 2.17; chapter
 * 5, 6.3).
 *
 * Striped locks: a check costs one uncontended lock. Bounded: at most entries_max addresses; beyond, expired
 * ones go first, then the check is made against a shared overflow bucket.
 *
 * Threads: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/str.h"

struct limiter;
struct limiter_verdict {
    bool allowed;
    uint64_t limit, remaining, reset_s;
    bool crowded; /* too many addresses: judged by the shared bucket */
};
struct limiter *limiter_new(uint64_t max_requests, uint64_t window_ms, size_t entries_max);
void limiter_free(struct limiter *l);
struct limiter_verdict limiter_check(struct limiter *l, struct str key, uint64_t now_ms);

/* A fixed window for one connection. Zeroed = empty. */
struct window {
    uint64_t started_ms;
    uint32_t used;
};
/* True if one more fits into max per window_ms. */
bool window_take(struct window *w, uint32_t max, uint64_t window_ms, uint64_t now_ms);

/* The client's address by the rule of chapter 5, 6.3. peer: the socket's; headers absent if missing. */
struct str client_address(struct str peer, struct str forwarded_for, struct str real_ip, uint32_t trust_hops);
