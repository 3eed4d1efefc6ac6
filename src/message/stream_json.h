/* stream_json.h - what answers say about a channel's stream (chapter 3, 2.5, 2.7, 2.8).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/json_put.h"
#include "config/config.h"
#include "store/store.h"

/* What differs between the log of messages and that of presence. */
struct stream_words {
    const char *retained;  /* "retained_messages", "retained_events" */
    const char *allowed;   /* "recovery_allowed", "continuity_proven" */
};
extern const struct stream_words stream_words_history, stream_words_presence;
/* {"stream_id","durable_state","recovery_allowed",...} */
void stream_state_json(struct buf *out, const struct config *config, const struct stream_words *words,
                       const struct store_head *head);
/* {"stream_id","next_serial","retained":{..},"state":{..}} */
void stream_json(struct buf *out, const struct config *config, const struct stream_words *words,
                 const struct store_head *head);
/* The members oldest_available_serial .. newest_available_published_at_ms; null where nothing is retained. */
void put_available(struct buf *out, const struct store_head *head);
void put_stream_id(struct buf *out, const char *key, const char *stream_id); /* "" = null */
