/* history_page.h - a page of a channel's history, each message as its newest version (chapter 3, 2.5): what is asked of the
 * store, and what the answer looks like. The HTTP API and channel_history over WebSocket differ only in how they read the
 * question.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "message/cursor.h"
#include "message/env.h"

/* A page ends behind the row with which its data has so many bytes, whatever its limit: the cursor goes on from there. */
enum { HISTORY_SOCKET_BYTES_MAX = 4 << 20, HISTORY_BYTES_MAX = 16 << 20 };

struct history_query {
    uint32_t limit;
    bool continued;        /* by a cursor */
    struct cursor cursor;  /* app, channel, direction, bounds; with `continued` stream and serial too */
    /* WebSocket only: */
    bool over_socket;      /* operation_kind is the short word, and `bounds` have two members more: */
    bool until_attach;
    bool has_attach;
    uint64_t attach_serial;
    struct str request_id; /* JSON text to echo; absent = none */
};

/* The direction that a word names; false: none. */
bool history_direction(struct str word, bool (*equal)(struct str a, struct str b), enum store_direction *out);
/* NULL, or why the bounds contradict each other. */
const char *history_bounds_check(const struct history_bounds *bounds);
/* As the store wants it. */
void history_query_fill(const struct history_query *q, struct store_read *read);
/* Something that the bounds ask for is not retained any more. */
bool history_is_truncated(const struct history_bounds *bounds, const struct store_head *head);
/* NULL, or why the cursor of the query is not good for what the store has found. */
const char *history_cursor_refuses(const struct history_query *q, const struct store_op *op);
/* The members direction, limit, has_more, next_cursor and bounds of an answer. */
void history_put_place(struct buf *out, const struct history_query *q, const struct store_op *op);
/* The answer's object, for a STORE_PAGE that succeeded. */
void history_page_json(struct buf *out, const struct env *env, const struct app *app, const struct history_query *q,
                       const struct store_op *op);
