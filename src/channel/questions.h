/* questions.h - questions about channels that every node is asked (hub.h, "questions"; chapter 5, 5.2).
 *
 *   hub_ask -> this node's answer -> to all nodes -> their answers added ... or requests_timeout_ms -> done()
 *
 * A user is counted once wherever he is: each node knows all members of the presence channels that it follows, so of two counts the
 * larger is the whole. Limits: QUESTIONS_MAX wait per shard; one more is answered with what this node knows.
 *
 * For src/channel only. Ownership: q is the hub's until done(). Threads: env's shard. Errors: a node that does not answer in time is left
 * out of the sum, and q->incomplete says so.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "channel/internal.h"

enum { QUESTIONS_MAX = 4096 };

/* On the shard that asked, with this node's own answer in q: asks the others. False: there are none; q is answered. */
bool questions_ask(struct env *env, struct query *q);
/* Another node asks. */
void questions_asked(struct env *env, struct str node, struct str payload);
void questions_answered(struct env *env, struct str payload);
void questions_free(struct hub *hub);
