/* verify.h - is what the server stored what was sent?
 *
 * Each message costs a request, one after the other, on a connection of its own: the loop is turned meanwhile. Threads: the loop's.
 * Ownership: all is borrowed for the call.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "load/feed.h"

/* Reads the open message of every stream back and compares: all bytes it was grown by, then each acknowledged
 * mark once, in order, and nothing else. Returns how many differ, or could not be read; each with a line on
 * stderr. The feed must be idle, and is of no further use. */
uint64_t verify_messages(struct feed *feed);

/* One message, as it should be. */
struct verify_text {
    unsigned channel;
    const char *serial;
    uint64_t grown_bytes;     /* dashes in front */
    uint32_t stream;          /* of its marks */
    uint32_t first, end;      /* indexes of its marks: [first, end) */
    uint64_t fragment_bytes;  /* of each */
};
/* False, with a line on stderr, if the server has another text. */
bool verify_message(struct wire *wire, struct api *api, const struct verify_text *expected);
