/* lookup.h - a question to the store on behalf of a call.
 *
 * Lives in the call's arena; lookup_end() frees what the store has put into it, before the call is answered.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "api/call.h"

struct lookup {
    struct store_op op;
    struct call *call;
    void (*found)(struct lookup *lookup); /* on the call's shard, with op.result */
    void *user;
};

/* The channel is borrowed. Fill in op.read, then lookup_start(). */
struct lookup *lookup_new(struct call *c, enum store_op_kind kind, struct str channel,
                          void (*found)(struct lookup *lookup));
void lookup_start(struct lookup *lookup);
void lookup_end(struct lookup *lookup);
/* NO_FAILURE for STORE_OK; what is common to all reads for the rest. Copies what it needs. */
struct failure lookup_failure(struct lookup *lookup);

/* The channel of the path is well-formed and has these properties, or 400. */
struct failure channel_read(struct call *c, struct str channel, struct channel_name *name,
                            struct channel_policy *policy);
struct failure history_must_be_on(struct call *c, struct str channel, const struct channel_policy *policy);
/* 403 on AI channels, 422 elsewhere (chapter 2, 2.11). */
struct failure versions_must_be_on(struct call *c, struct str channel, const struct channel_policy *policy);
