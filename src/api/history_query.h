/* history_query.h - which page of a channel's history is asked for (chapter 3, 2.5, 2.6).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "api/serials.h"
#include "message/cursor.h"

struct history_query {
    uint32_t limit;
    bool continued;       /* by a cursor */
    struct cursor cursor; /* app, channel, direction, bounds; with `continued` stream and serial too */
};

struct failure history_query_read(struct call *c, struct str channel, struct history_query *q);
/* As the store wants it. */
void history_query_fill(const struct history_query *q, struct store_read *read);
/* Something that the bounds ask for is not retained any more. */
bool history_is_truncated(const struct history_bounds *bounds, const struct store_head *head);
