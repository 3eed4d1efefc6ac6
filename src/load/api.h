/* api.h - signed requests of the HTTP API, as bytes (chapter 2, 2.3, 2.5, 2.11).
 *
 * Nothing is sent here: a request is appended to `out`, signed with the wall clock plus skew_ms. Ownership: options and host are borrowed;
 * answers are views. Threads: one per struct api. Limits: none of its own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"

struct options;

struct api {
    const struct options *options;
    struct str host;
    struct hmac_key *secret;
    int64_t skew_ms; /* how far the clock that signs is ahead */
    char run[17]; /* random, so that ids of two runs never collide */
    struct buf body, path, canonical;
};

void api_init(struct api *api, const struct options *options, struct str host, uint64_t random);
void api_free(struct api *api);

/* Name of channel number `channel`. */
void api_channel(const struct options *options, struct buf *out, unsigned channel);

/* Each appends one whole request to `out`. */
void api_publish(struct api *api, struct buf *out, unsigned channel, struct str payload);
/* A publish that answers with the serial of its message; empty data. */
void api_create(struct api *api, struct buf *out, unsigned channel, unsigned stream, uint32_t number);
/* serial: of the message. op: unique within it; the same for a repetition. */
void api_append(struct api *api, struct buf *out, unsigned channel, struct str serial, uint32_t op,
                struct str payload);
/* The empty append that ends a message. status: complete or cancelled. */
void api_end(struct api *api, struct buf *out, unsigned channel, struct str serial, uint32_t op, const char *status);
/* The head of a streaming append that creates a message: its body follows, chunked, as ndjson. */
void api_stream(struct api *api, struct buf *out, unsigned channel, unsigned stream, uint32_t number);
void api_get_message(struct api *api, struct buf *out, unsigned channel, struct str serial);
/* The message_serial of an answer; absent if there is none. */
struct str api_message_serial(struct str answer);
