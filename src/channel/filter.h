/* filter.h - which messages of a channel a V2 subscriber wants (chapter 5, section 9).
 *
 *   {"events":["tick","trade"],"tags":{"op":"and","nodes":[{"key":"sym","cmp":"eq","val":"BTC"}, ...]}}
 *
 * All given parts must match. Without any of the three keys the object is itself a tag node.
 *
 * Ownership: one block of memory, filter_free(). Immutable, so any thread may ask.
 * Limits: the enum below; events by the configuration too.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "config/config.h"

enum {
    FILTER_EVENTS_MAX = 64,
    FILTER_EVENT_SIZE_MAX = 256,
    FILTER_NODES_MAX = 128,
    FILTER_DEPTH_MAX = 16,
    FILTER_KEY_SIZE_MAX = 256,
    FILTER_VALUE_SIZE_MAX = 1024,
    FILTER_VALUES_MAX = 128, /* per node */
};

struct filter;
/* NULL and *out, or the reason for error 4000 (behind "Invalid message format: "), perhaps in arena. *out is
 * NULL when nothing is left to check: no restriction, or its switch is off in the configuration. value:
 * checked JSON; absent = none. */
const char *filter_read(const struct config *config, struct str value, struct arena *arena,
                        struct filter **out);
void filter_free(struct filter *f);
/* tags: JSON object text of strings; absent = none. */
bool filter_accepts(const struct filter *f, struct str event, struct str tags);
