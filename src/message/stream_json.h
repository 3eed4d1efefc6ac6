/* stream_json.h - what answers say about a channel's stream (chapter 3, 2.5, 2.7, 2.8).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/json_put.h"
#include "config/config.h"
#include "store/store.h"

/* {"stream_id","durable_state","recovery_allowed",...} */
void stream_state_json(struct buf *out, const struct config *config, const struct store_head *head);
/* {"stream_id","next_serial","retained":{..},"state":{..}} */
void stream_json(struct buf *out, const struct config *config, const struct store_head *head);
/* The members oldest_available_serial .. newest_available_published_at_ms; null where nothing is retained. */
void put_available(struct buf *out, const struct store_head *head);
void put_stream_id(struct buf *out, const char *key, const char *stream_id); /* "" = null */
