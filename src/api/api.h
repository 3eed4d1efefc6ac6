/* api.h - the HTTP side of the main listener: signed endpoints, operational routes, CORS (chapter 2).
 *
 * One api per shard, driven by net/http.h:
 *
 *      api_head      route -> CORS preflight -> limit by address -> signature checks 1 to 5, 7, 8    may answer at once
 *      api_request   check 6, of the body -> path and body -> the family's file -> http_respond, now or later
 *
 * Upgrades to /app/<key> never come here. What all shards share is struct api_shared: it is made before the
 * first api and outlives the last; everything in it is read-only while requests are served, but for the
 * limits, which lock.
 *
 * Limits: API_CHANNELS_AT_ONCE publishes of one request are in flight at a time; REPLAY_KEYS_MAX idempotency
 * keys per shard (beyond, 503 and idempotency_refused_total). Threads: every call on env's shard.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "channel/hub.h"
#include "net/http.h"

enum { API_CHANNELS_AT_ONCE = 256, API_SHARDS_MAX = 64, REPLAY_KEYS_MAX = 1 << 18 };

struct api;
struct limits;
struct webhooks;
struct route; /* api/route.h */
struct directory; /* session/directory.h */
struct revocations; /* session/revocation.h */

struct api_shared {
    struct limits *limits; /* by client address, borrowed; NULL = off */
    /* Routes of the layer above (src/ops), served like our own; borrowed. */
    const struct route *routes;
    size_t routes_count;
    void *routes_user;
    struct directory *directory; /* the sockets of this process; NULL = none is known, every actor is refused with 401 */
    struct revocations *revocations; /* NULL = none can be made */
    struct webhooks *webhooks; /* NULL = none */
    struct conn_limits reader_limits; /* what a reader of events may leave unread; as for a WebSocket */
    struct api *all[API_SHARDS_MAX]; /* api's own, by shard */
};

struct api *api_new(struct env *env, struct api_shared *shared);
/* No request may be in flight (asserted). */
void api_free(struct api *api);
/* For struct http_handler; `api` is a struct api. */
bool api_head(void *api, struct http_request *request);
void api_request(void *api, struct http_request *request);
/* Requests whose answer goes on end now, with what they have (drain). */
void api_drain(struct api *api);
/* Requests that have not been answered yet; any thread. */
uint64_t api_in_flight(const struct api *api);
