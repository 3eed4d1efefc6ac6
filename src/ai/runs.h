/* runs.h - what AI events say about runs: figures and notices (chapter 4, 7.2 and 8.2).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "channel/hub.h"

/* p, an AI event on an AI channel, is committed (or needs no store). On the channel's owner, once per event, before fan-out. */
void ai_event_committed(struct env *env, const struct publish *p);
