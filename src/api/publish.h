/* publish.h - a checked event goes to its channels, and the answers of all of them come back (chapter
 * 2, 2.5, 2.7 B).
 *
 * At most API_CHANNELS_AT_ONCE are on their way at a time. The strings of the operations point into the
 * request, which lives until the call is answered.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "api/event.h"

/* Publishes e to its targets, then done(user, failure) on this shard, never before the caller has returned:
 * the first failure in the order of the targets, or NO_FAILURE; then each target has its answer, if e is
 * detailed. */
void event_publish(struct call *c, struct event *e, void (*done)(void *user, struct failure failure),
                   void *user);
/* Appends what /events answers: {"ok":true} or {"channels":{..}}. */
void event_answer(struct buf *out, const struct event *e);

/* What a refused operation is answered. mutation: conflicts carry their ai_code. */
struct failure publish_failure(struct call *c, enum publish_result result, bool mutation);
/* For versioned_message_mutations_total: "applied", "duplicate", ... */
const char *publish_result_word(enum publish_result result);
