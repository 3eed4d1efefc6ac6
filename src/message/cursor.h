/* cursor.h - where a history page goes on (chapter 3, 2.6).
 *
 * Unpadded URL-safe base64 of
 *
 *   {"version":1,"app_id":"7","channel":"chat","stream_id":"S","serial":12,"direction":"newest_first",
 *    "bounds":{"start_serial":null,"end_serial":null,"start_time_ms":null,"end_time_ms":null}}
 *
 * It names the last row returned and is exclusive. A pager repeats direction and bounds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "store/store.h"

enum { CURSOR_SIZE_MAX = 16384 };

struct history_bounds { /* inclusive; a value counts only where its `has_` is set and is 0 elsewhere */
    bool has_start_serial, has_end_serial, has_start_time, has_end_time;
    uint64_t start_serial, end_serial;
    int64_t start_time_ms, end_time_ms;
};

struct cursor {
    struct str app_id, channel, stream_id;
    uint64_t serial; /* history serial */
    enum store_direction direction;
    struct history_bounds bounds;
};

void cursor_put(struct buf *out, const struct cursor *c);
/* NULL, or the text of the 400. `request`: app_id, channel, direction and bounds must be the cursor's. Texts
 * in arena. */
const char *cursor_read(struct str text, const struct cursor *request, struct arena *arena,
                        struct cursor *out);
/* The same, for what only the channel's head can tell. */
const char *cursor_check(const struct cursor *c, const struct store_head *head);

/* "newest_first", "oldest_first". */
struct str direction_word(enum store_direction direction);
/* {"start_serial":…,"end_serial":…,"start_time_ms":…,"end_time_ms":…}; null where not set. */
void bounds_json(struct buf *out, const struct history_bounds *bounds);
