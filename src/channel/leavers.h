/* leavers.h - who has left and may be back in a moment: the outside hears of it only after LEAVERS_WAIT_MS (chapter 2, 2.19.3).
 *
 * Ownership: names are copied. Threads: one shard.
 * Limit: LEAVERS_MAX names; one more is not waited for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/str.h"
#include "net/wheel.h"

enum { LEAVERS_WAIT_MS = 3000, LEAVERS_MAX = 10000 };

struct leavers;
/* gone(): he has not come back. */
struct leavers *leavers_new(struct wheel *wheel, void (*gone)(void *user, struct str who), void *user);
/* Those who are waited for are forgotten. NULL is fine. */
void leavers_free(struct leavers *l);
/* Waits for him, from now on. False: there are too many. */
bool leavers_add(struct leavers *l, struct str who);
bool leavers_add_for(struct leavers *l, struct str who, uint64_t wait_ms); /* no longer than that */
/* He is here again: true if he was waited for. l NULL: nobody is. */
bool leavers_back(struct leavers *l, struct str who);
bool leavers_waits(const struct leavers *l, struct str who); /* l NULL: false */
/* Walks them: *at starts as 0; absent at the end. *left_ms: how long he will be waited for. */
struct str leavers_next(const struct leavers *l, size_t *at, uint64_t *left_ms);
size_t leavers_count(const struct leavers *l); /* NULL: 0 */
