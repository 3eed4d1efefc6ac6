/* headers.h - the AI Transport events and their headers: what may be published (chapter 4, sections 2 and 3).
 *
 * Pure functions over what extras_read() has found. Limits come from the configuration.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "config/config.h"
#include "store/store.h"
#include "wire/envelope.h"

enum { AI_MESSAGE_ID_MAX = 64, AI_KEYS_MAX = 32, AI_KEY_SIZE_MAX = 64 };

struct ai_failure {
    int code; /* registry code: wire_code_name() is the `code` text over HTTP, it is `ai_code` there */
    unsigned http_status; /* 400, 403, 413 */
    char text[192];       /* cut at its end if keys are long */
};

/* One of the eleven names. */
bool is_ai_event(struct str event);
/* ai-input and ai-cancel: what clients may publish over WebSocket. */
bool is_ai_client_event(struct str event);

/* Section 2.3 and 2.4, transport before codec, keys in document order. Absent tiers are fine. */
bool ai_headers_check(const struct config *config, const struct extras_facts *extras,
                      struct ai_failure *failure);

/* Section 3.1, as far as it does not need the store; the first four rows also serve the WebSocket. */
struct ai_publish {
    struct str event;
    const struct extras_facts *extras;
    struct str message_id; /* as given by the publisher; absent = not given */
    uint64_t data_bytes;   /* of a string its decoded length, else of the JSON text */
    bool ai_channel;
};
bool ai_publish_check(const struct config *config, const struct ai_publish *p, struct ai_failure *failure);

/* Which limit of chapter 4, 5.3, is reached: 40009. */
enum ai_limit { AI_LIMIT_BYTES, AI_LIMIT_APPENDS, AI_LIMIT_OPEN, AI_LIMIT_APP_OPEN, AI_LIMIT_FRAGMENT, AI_LIMIT_DURATION };
void ai_limit_failure(const struct config *config, enum ai_limit limit, struct ai_failure *failure);

/* Text of a transport header; absent if there is none. A view of the extras, or in the arena if it has
 * escapes. */
struct str ai_header(const struct extras_facts *extras, struct str key, struct arena *arena);
/* Section 4.2: every *-client-id header equals user_id, empty ones included. False: the key is named. */
bool ai_identity_check(const struct extras_facts *extras, struct str user_id, struct ai_failure *failure);
