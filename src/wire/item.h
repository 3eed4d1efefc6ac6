/* item.h - one version of a message as it is stored and shown, and the text form of its identity (chapter 3, 1.2 to 1.4).
 *
 * A message is named by the place that the store gave its create; a version by its own delivery position. Both are printed as
 * serials: byte order of the text is commit order in the channel.
 *
 *      00000000000000000043:9f3c01ab:00000000000000000012
 *      delivery position    stream   place in history       20, 8 and 20 digits
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/str.h"

enum { STREAM_ID_SIZE = 36, SERIAL_SIZE = 50 }; /* SERIAL_SIZE: 20 ':' 8 ':' 20 */

enum store_action { ACTION_CREATE, ACTION_UPDATE, ACTION_DELETE, ACTION_APPEND, ACTION_ORDINARY };
/* Status of a message as the `status` header of its current extras says (chapter 4, 5.1). */
enum stream_status { STREAM_NONE, STREAM_OPEN, STREAM_COMPLETE, STREAM_CANCELLED };

/* Identity of a message within (app, channel); its text form is the message serial of chapter 3, 1.2. */
struct message_id {
    uint64_t create_delivery;
    uint64_t history;
    uint32_t stream8; /* the first eight hex digits of the stream id */
};
/* "00000000000000000043:9f3c01ab:00000000000000000012" and a NUL; also for version serials (delivery of that
 * version, same stream and history). */
void serial_print(char out[SERIAL_SIZE + 1], uint64_t delivery, uint32_t stream8, uint64_t history);
/* False if text is not of that form (it then names no message of ours). */
bool serial_parse(struct str text, uint64_t *delivery, uint32_t *stream8, uint64_t *history);

/* One stored version, or the newest aggregate of a message. */
struct store_item {
    struct message_id message;
    uint64_t delivery;           /* of this version (ordinary: its own) */
    enum store_action action;
    int64_t published_at_ms;     /* of the create */
    int64_t version_at_ms;
    uint64_t size_bytes;         /* what retention counts for it */
    struct str event_name;       /* current name; of the create for ACTION_CREATE and ORDINARY */
    struct str data;             /* whole data, or the fragment where said */
    struct str extras, message_id, client_id, user_id, description, metadata, tags;
    enum stream_status status;
    bool mutated;                /* the aggregate has versions beyond its create */
};
