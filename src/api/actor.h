/* actor.h - a socket on whose behalf a call is made, and the refusals common to all such calls (chapter 3, 1.8).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "api/call.h"
#include "session/actor.h"

/* Who the call is made for, and as whom; lives in the call's arena. */
struct call_actor {
    struct actor actor;
    struct call *call;
    struct str socket_id; /* as the request spells it */
    struct str client_id; /* as the request claims; absent = not */
    void (*known)(struct call_actor *a, struct failure refused); /* once; refused: it is not connected, not V2, not that client */
    void *user;
};
/* Fill in socket_id, client_id, known and user. `known` may run before this returns. The channel is c->args[1]. After it ran,
 * a->actor's answer stays as long as the call. */
void call_actor_ask(struct call *c, struct call_actor *a);
