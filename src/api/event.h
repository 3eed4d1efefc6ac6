/* event.h - one event object of /events or /batch_events: read, checked, ready to be published (chapter
 * 2, 2.5).
 *
 * Everything that can be refused without publishing is refused here, so that a request with a bad part
 * publishes nothing. All in the request's arena or views of its body.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "api/body.h"

/* One channel of an event. */
struct target {
    struct str channel;
    struct channel_name name;
    struct channel_policy policy;
    struct str answer; /* JSON object for the response; absent while not published */
    bool duplicate;    /* it had been published before */
};

enum { INFO_SUBSCRIPTION_COUNT = 1, INFO_USER_COUNT = 2 };

struct event {
    /* as given; absent = not given */
    struct str name, data, channel, socket_id, info, tags, idempotency_key, message_id, extras, client_id;
    struct texts channels;
    bool delta;
    /* worked out */
    struct str json; /* what subscribers get as `data`: a JSON string */
    struct str text; /* what it says */
    struct extras_facts facts;
    struct socket_id except;
    struct str creator; /* identity of that socket, if it is one of V2 and has one */
    unsigned counts; /* INFO_*: wanted in the answer */
    bool ai_event;
    bool detailed;         /* the answer names the channels */
    struct str dedupe_key; /* per channel (2.7 B), absent = none */
    uint64_t receipt_ttl_min_ms; /* the store's receipt lives at least so long, whatever the policy says */
    struct str slot_key;   /* of the answer (2.7 A), absent = none */
    struct target *targets;
    size_t targets_count;
};

/* Reads `object` (checked JSON) into *e and checks it. request_key: X-Idempotency-Key, absent = none; index:
 * of the item in a batch, -1 = not in a batch. */
struct failure event_read(struct call *c, struct str object, struct str request_key, int index,
                          struct event *e);

/* Whether keys of this app mean anything, and how long its answers live. */
bool idempotency_is_on(const struct app *app);
uint64_t idempotency_ttl_ms(const struct app *app);
/* Key of 2.7 A: 400 when empty or too long. */
struct failure idempotency_check(struct call *c, struct str key);

/* Identity of what is published (2.7 B): equal for the same payload only. */
struct hash128 event_fingerprint(const struct event *e, struct buf *scratch);
