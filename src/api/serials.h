/* serials.h - message and version serials as requests name them (chapter 3, 1.2), and pages of things.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "api/body.h"

/* 400 if `text` cannot be a serial of anybody's. field: "message_serial". */
struct failure serial_check(struct call *c, const char *field, struct str text);
/* The message that a serial names; false: none of ours. */
bool serial_names(struct str text, struct message_id *message);
/* The exclusive delivery position that stands for the cursor `text` among the versions of `message`: those
 * above it (oldest first) or below it (newest first) are the ones whose serials are greater, or smaller, than
 * text. 0 only for oldest first: all of them. */
uint64_t serial_bound(struct str text, const struct message_id *message, enum store_direction direction);
/* 404 "Message 'S' was not found in channel 'C'" for the call's path. */
struct failure message_not_found(struct call *c);

/* A number of the query string; 400 invalid_query if it is there and is none. */
struct failure query_u64(struct call *c, const char *key, struct number *out);
struct failure query_i64(struct call *c, const char *key, struct number *out);
/* `limit`: absent or above max = max, 0 = 400 "<what> limit must be greater than 0". */
struct failure query_limit(struct call *c, const char *what, uint32_t max, uint32_t *limit);
