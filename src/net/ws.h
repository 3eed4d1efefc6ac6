/* ws.h - the server side of WebSocket framing (RFC 6455): bytes in, messages out.
 *
 * The parser keeps only what an unfinished message needs. Control frames may interleave with fragments;
 * unmasked frames, reserved bits and opcodes, long or fragmented control frames: 1002; invalid UTF-8 in text
 * or in a close reason: 1007 (incrementally, also across fragments); too large: 1009 as soon as the declared
 * length is known.
 *
 * Threads: the connection's shard. Ownership: the message is a view that lives for the call.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"

enum ws_kind { WS_TEXT, WS_BINARY, WS_PING, WS_PONG, WS_CLOSE };

struct ws_limits {
    size_t message_max; /* bytes of payload after reassembly */
};

/* Zeroed = ready. 16 bytes while no message is unfinished. */
struct ws_parser {
    struct buf *partial;    /* fragments of an unfinished message; NULL if none */
    uint32_t utf8_state;    /* of the unfinished text */
    uint8_t partial_opcode; /* 0 = none */
};

enum ws_status {
    WS_MORE = 0,    /* used up what it could; feed again with the rest in front */
    WS_STOPPED = 1, /* on_message returned false: stop, the parser's owner is gone */
    /* otherwise: a close code to fail the connection with, 1002, 1007 or 1009 */
};

/* Parses frames in bytes[0, n), which it unmasks in place; *used is how much it has consumed, and what is
 * behind it is untouched. on_message gets each whole message and each control frame (close: payload as
 * received, code and reason checked); returns false to stop, and may free the parser then. */
unsigned ws_parse(struct ws_parser *parser, const struct ws_limits *limits, char *bytes, size_t n,
                  size_t *used, bool (*on_message)(void *user, enum ws_kind kind, struct str payload),
                  void *user);
void ws_parser_free(struct ws_parser *parser);

/* Sec-WebSocket-Accept for a Sec-WebSocket-Key: 28 characters and a NUL. */
void ws_accept_key(struct str key, char out[29]);

/* The client's side, for the load agent and tests: a masked frame. */
void ws_put_masked(struct buf *out, int opcode, struct str payload, uint32_t mask);
