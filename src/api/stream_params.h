/* stream_params.h - what the query of a streaming append says (docs/streaming.md).
 *
 *      message_id       creates the message, or finds the one that an earlier try has created
 *      message_serial   ... or continues this one
 *      from             byte of the message's text at which the body begins; required with message_serial, else 0
 *      name, extras, tags, client_id   of the message, when it is created; client_id also of each append
 *      format           ndjson, text, sse; absent: by Content-Type
 *      end              text: complete (default) or open: whether a whole body ends the message
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "api/event.h"
#include "api/stream_parse.h"

struct stream_params {
    struct str message_id, message_serial;
    struct message_id target; /* of message_serial */
    struct str name, extras, tags, client_id;
    uint64_t from;
    enum stream_format format;
    bool leave_open;
};
/* Everything in the request's arena. */
struct failure stream_params_read(struct call *c, struct stream_params *out);
/* The event that creates the message: {"name":..,"channel":..,"data":"",..}, checked as one of POST /events. ai: without
 * extras of its own the message is an open stream. */
struct failure stream_event(struct call *c, struct stream_params *params, bool ai, struct event *e);
