/* streams.h - open streams that an earlier process has left (chapter 4, 5.4 and 5.5).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "message/env.h"

/* Asks the store once and adds what is open to ai_active_streams, so that the gauge is right after a restart. On one shard,
 * before it takes requests. */
void streams_count_open(struct env *env);
