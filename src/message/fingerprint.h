/* fingerprint.h - what makes two publishes with one key the same publish (chapter 3, 1.9).
 *
 * Origin, positions and times do not count, nor do the keys of idempotency themselves: a retry over HTTP matches a publish over
 * WebSocket.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/digest.h"

struct publish_content {
    struct str name, text, tags, client_id, extras; /* text: of a string what it says, else compact JSON; absent = not given */
};
struct hash128 publish_fingerprint(const struct publish_content *content, struct buf *scratch);
