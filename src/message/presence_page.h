/* presence_page.h - answers about the presence history of a channel (chapter 2, 2.14; chapter 3, section 6).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "message/history_page.h"
#include "message/presence_event.h"

/* What the store does not know: the channel's owner could not record something. Changes head to say so. */
void presence_head_doubt(struct store_head *head, enum stream_state doubt);
/* The answer's object, for a STORE_PAGE that succeeded; op->head as presence_head_doubt() left it. */
void presence_page_json(struct buf *out, const struct config *config, const struct history_query *q, const struct store_op *op);

struct presence_snapshot {
    struct str channel;
    const struct folded *members;
    size_t members_count;
    uint64_t replayed;         /* events; 0 = the next two are null */
    uint64_t serial;           /* of the last one */
    int64_t time_ms;
    bool truncated;
};
void presence_snapshot_json(struct buf *out, const struct presence_snapshot *s, const struct store_head *head);
