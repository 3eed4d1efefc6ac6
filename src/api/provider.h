/* provider.h - what the events of model providers say, as far as a transcript needs it.
 *
 * Told apart event by event, by their members alone:
 *
 *      OpenAI chat completions   {"choices":[{"delta":{"content":"Hi"},"finish_reason":null}]} ... [DONE]
 *      OpenAI responses          {"type":"response.output_text.delta","delta":"Hi"} ... response.completed
 *      Anthropic messages        {"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}} ... message_stop
 *
 * Everything else (roles, tool calls, thinking, usage, pings) says nothing here.
 *
 * Threads: pure. Ownership: slices of the event.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/str.h"

enum provider_says {
    PROVIDER_NOTHING,
    PROVIDER_TEXT,      /* text: a JSON string, not empty */
    PROVIDER_STOPS,     /* the text is whole; figures may follow, then PROVIDER_DONE or the end */
    PROVIDER_DONE,      /* the answer is whole */
    PROVIDER_CANCELLED,
    PROVIDER_FAILED,    /* text: a JSON string that says why, or absent */
    PROVIDER_MALFORMED, /* neither JSON nor [DONE] */
};
struct provider_event {
    enum provider_says says;
    struct str text;
    bool stops; /* with PROVIDER_TEXT: and stops with it */
};
/* data: the event's data field. */
struct provider_event provider_read(struct str data);
