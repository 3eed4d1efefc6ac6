/* read_auth.h - who may read a channel without a WebSocket (docs/streaming.md): the same as may subscribe to it.
 *
 *      auth_signature   the app's own signature over the request (chapter 2, 2.3); with `expires`, a Unix time covered by it,
 *                       the link is good until then, READ_LINK_MAX_S after auth_timestamp at most, instead of for 600 s
 *      token            a capability token that may subscribe to the channel
 *      auth_key alone   public channels: whoever knows the app's key
 *
 * Threads: the call's shard.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "api/call.h"

enum { READ_LINK_MAX_S = 86400 };

struct read_right {
    struct str client_id, jti; /* of a token; absent = none; in the call's arena */
    int64_t until_s;           /* Unix time at which the token ends; 0 = none */
};
/* Sets c->app, checks the channel in the path and fills in *name and *policy. */
struct failure read_auth(struct call *c, struct channel_name *name, struct channel_policy *policy, struct read_right *right);
/* A right that has been good: NULL if it still is, or why not. */
const char *read_auth_again(struct call *c, const struct read_right *right);
