/* extras.h - writing transport headers into the extras of a message (chapter 4, 2.2, 4.2 and 5.4).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "wire/envelope.h"

struct ai_header_value {
    struct str key, text; /* key needs no escapes */
};

/* Appends `extras` (absent = none) with these transport headers set, behind the others; what had the same key is left out. All
 * else stays byte for byte, but for members of `ai` other than `transport` and `codec`, which are dropped. facts: what
 * extras_read() found in it. */
void ai_extras_put(struct buf *out, struct str extras, const struct extras_facts *facts, const struct ai_header_value *set,
                   size_t count);
