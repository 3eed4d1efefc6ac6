/* peer.h - the servers that the load program can talk to: how to subscribe, and how to publish.
 *
 * A peer is a table of functions without state, static: any thread, nothing to free. Each function appends to `out`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "load/api.h"

enum peer_said { SAID_SOMETHING, SAID_ESTABLISHED, SAID_SUBSCRIBED, SAID_PING };

struct peer {
    const char *name;
    bool raw;        /* subscribers send nothing, not even a handshake; a publish is the frame itself */
    bool subscribed; /* from the handshake on */
    void (*path)(const struct options *o, struct buf *out, unsigned channel);
    /* What a subscriber sends once the handshake is done, or once the server said ESTABLISHED; may be NULL.
     */
    void (*hello)(const struct options *o, struct buf *out, unsigned channel);
    bool hello_waits; /* for SAID_ESTABLISHED */
    enum peer_said (*said)(struct str frame);
    const char *pong; /* answer to SAID_PING */
    void (*publish)(struct api *api, struct buf *out, unsigned channel, struct str payload);
};

/* NULL if there is none of that name. */
const struct peer *peer_find(const char *name);
