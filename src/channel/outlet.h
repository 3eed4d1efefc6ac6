/* outlet.h - where a subscription's frames go, when that is no WebSocket connection.
 *
 * env->deliver() and what hub_on_control() sets take a handle. That of a connection is the connection itself, so that a
 * fan-out touches nothing else; anything else is a struct outlet, told apart by the handle's lowest bit:
 *
 *      handle   ....000   the provider's own (server_ws.c: a conn)
 *               ....001   a struct outlet, one byte further on
 *
 * Threads: the shard of the subscription. Neither call may detach a subscription: that is for the next turn.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdint.h>

#include "base/str.h"

struct frame;
struct outlet;

struct outlet_kind {
    void (*frame)(struct outlet *outlet, struct frame *frame); /* with one reference */
    void (*control)(struct outlet *outlet, int code, struct str reason);
};
struct outlet { /* first in, or part of, what the kind knows */
    const struct outlet_kind *kind;
};

static inline void *outlet_handle(struct outlet *outlet)
{
    return (void *)((uintptr_t)outlet | 1);
}
/* NULL: the handle is the provider's own. */
static inline struct outlet *outlet_of(void *handle)
{
    return (uintptr_t)handle & 1 ? (struct outlet *)((uintptr_t)handle - 1) : NULL;
}
