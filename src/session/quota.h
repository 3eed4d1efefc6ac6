/* quota.h - how many connections the apps with a limit have at other nodes (chapter 1, section 2, step 7b).
 *
 * Every node tells the others the count of each app that has max_connections: when it has changed, at most every QUOTA_LOOK_MS, and
 * once in QUOTA_REPEAT_MS as long as there are any. The sum of what they said last stands in app->connections_elsewhere, where
 * admission_take() looks. So the limit is exact on one node and, over several, may be passed by what comes within that time.
 *
 * A node that has been silent for QUOTA_FORGET_MS has none. One that drains says so first: its clients are about to come here.
 *
 * Threads: shard 0. Limits: BUS_PEERS_MAX nodes; QUOTA_APPS_MAX apps in a payload, there may be several.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "message/env.h"

enum { QUOTA_LOOK_MS = 200, QUOTA_REPEAT_MS = 1000, QUOTA_FORGET_MS = 3500, QUOTA_APPS_MAX = 1000 };

struct quotas;
/* NULL: there are no other nodes. */
struct quotas *quotas_new(struct env *env);
/* From now on the node counts as empty. quotas may be NULL here and below. */
void quotas_drain(struct quotas *quotas);
void quotas_free(struct quotas *quotas);
