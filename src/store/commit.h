/* commit.h - the two ways to run the engine behind store.h: stepped by the caller, or by threads of its own.
 *
 * Both keep the contract of store.h, its limits and its threads too; a stepped one is called by one thread. Ownership: the options' texts,
 * clock and home are borrowed until store_close(), which also closes the kv. Errors: a commit that fails fails its operations, then the
 * kv is opened anew, at first after 100 ms, with pauses that double up to 5 s.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "store/kv.h"
#include "store/store.h"

/* For simulation and unit tests: nothing happens between two store_step()s. Takes over the kv. */
struct store *store_open_inline(struct kv *kv, const struct store_options *options);
/* One cycle: what is queued is committed in one batch (bounded by the options), reads are done, completions go home. */
void store_step(struct store *store);

/* One commit thread and one reader. Takes over the kv. */
struct store *store_open_threads(struct kv *kv, const struct store_options *options);
