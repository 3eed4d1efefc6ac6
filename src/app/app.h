/* app.h - the applications of this server while it runs, and what their keys prove.
 *
 * Built once from the configuration; found by id or key. Signing keys are per shard, since a keyed HMAC
 * context may only be used by one thread at a time.
 *
 * Threads: lookups and configuration any; functions with a `shard` argument on that shard.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/digest.h"
#include "config/config.h"
#include <stdatomic.h>

/* What the log has been told of an application: once is enough. */
enum app_warning { WARNED_AI_FILTER = 1, WARNED_TAG_FILTER = 2 };

struct app {
    const struct app_config *config;
    const struct config *global;
    struct str id, key;
    unsigned index;               /* 0.. in the order of the configuration */
    _Atomic uint32_t connections; /* open WebSockets of all shards */
    _Atomic uint32_t connections_elsewhere; /* at other nodes, as far as known; 0 without max_connections */
    _Atomic uint32_t authenticated, with_meta; /* of these: with a user, by sign-in or token; whose sign-in had `meta` */
    _Atomic uint32_t open_streams; /* of all shards, with those that are about to open */
    _Atomic uint32_t warned;      /* set of enum app_warning */
    struct hmac_key **hmac;       /* one per shard */
    uint32_t notices;             /* bit set of enum notice_kind (message/notice.h) that a webhook asks for */
    void **patterns;              /* compiled namespace patterns, one per namespace (NULL = any) */
};

struct apps;
struct apps *apps_new(const struct config *config, unsigned shards, struct buf *error);
void apps_free(struct apps *apps);
struct app *apps_by_key(const struct apps *apps, struct str key);
struct app *apps_by_id(const struct apps *apps, struct str id);
size_t apps_count(const struct apps *apps);
struct app *apps_at(const struct apps *apps, size_t index);

/* ---- request signatures: chapter 2, 2.3 ---- */

struct signed_request {
    struct str method, path, query; /* raw, as on the request line; query absent = no '?' */
    struct str body;
    int64_t now_s; /* Unix time */
};
struct signature_failure {
    unsigned status;  /* 400, 401, 403, 404 */
    const char *code; /* "auth_failed", ... */
    char text[160];
};
/* Checks 1-5: call it from the request's head, to refuse early. The app, or NULL and *failure. */
struct app *signature_check_head(const struct apps *apps, const struct signed_request *request,
                                 struct str app_id, struct signature_failure *failure);
/* Checks 7 and 8 need none either: the signature covers the digest of the body, not the body. True if all is well; *body_md5 is then
 * what signature_check_body() compares, in the arena, absent = not given. */
bool signature_check_mac(struct app *app, unsigned shard, const struct signed_request *request, struct arena *arena,
                         struct str *body_md5, struct signature_failure *failure);
/* Check 6, once the body is there. */
bool signature_check_body(const struct signed_request *request, struct str body_md5, struct signature_failure *failure);
/* Subscription `auth` (chapter 1, 5.5): channel_data absent for private channels. Constant time. */
bool channel_auth_ok(struct app *app, unsigned shard, struct str auth, struct str socket_id,
                     struct str channel, struct str channel_data);
/* Sign-in `auth` (chapter 1, 4.1). */
bool signin_auth_ok(struct app *app, unsigned shard, struct str auth, struct str socket_id,
                    struct str user_data);

/* The parameters of a query string, decoded as form-urlencoded; last value wins. Absent if there is none. */
struct str query_get(struct str query, struct str key, struct arena *arena);
/* Percent-decodes a path segment; absent if it is malformed or no UTF-8. */
struct str path_decode(struct str segment, struct arena *arena);

/* ---- origins: chapter 1, 2.1; chapter 5, 7.4 ---- */
bool origin_allowed(const struct str *patterns, size_t count, struct str origin);

/* ---- channel names and policy: chapter 1, 5.1; chapter 2, 2.20; chapter 3, 2.2 ---- */

enum channel_kind { CHANNEL_PUBLIC, CHANNEL_PRIVATE, CHANNEL_PRESENCE, CHANNEL_ENCRYPTED };
struct channel_name {
    enum channel_kind kind;
    bool cache;                        /* cache- variant of it */
    struct str logical;                /* without the kind's prefix */
    const struct namespace_config *ns; /* NULL = none */
    struct str users;                  /* "u1,u2" of base#u1,u2; absent if not user-limited */
    bool server_to_user;               /* #server-to-user-<id> */
    bool meta;                         /* [meta]<channel>; the others are those of <channel>, without its cache */
    bool internal;                     /* the server's own, [online]<user id> or its [meta]: nothing else is said of it */
    bool wildcard;                     /* a*b: no channel, but what is told of all that match; public, no namespace */
};
/* NULL, or the failure text of chapter 1, 5.1 (without "Channel error: "), in `arena`. */
const char *channel_name_check(const struct app *app, struct str channel, struct channel_name *out,
                               struct arena *arena);
/* The same for what may be subscribed to: also [meta]<channel> and a*b (chapter 1, 5.2, 5.3). */
const char *subscription_name_check(const struct app *app, struct str name, struct channel_name *out,
                                    struct arena *arena);
/* The subscriptions of this channel are the connections that are signed in as that user (chapter 1, 4.3). No client and no request can
 * name one, since '[' is no character of a name. */
#define CHANNEL_ONLINE_PREFIX "[online]"
bool channel_name_internal(struct str channel, struct channel_name *out);
/* Whether wildcards may match channels like this one: public ones that are for everybody. */
bool wildcard_may_match(const struct channel_name *name);
/* Whether a pattern with one '*' and a name agree. */
bool wildcard_matches(struct str pattern, struct str channel);
/* <channel> of [meta]<channel>; any other name as it is. */
static inline struct str without_meta(struct str name)
{
    bool meta = name.n > 6 && name.p[0] == '[' && memcmp(name.p, "[meta]", 6) == 0;
    return meta ? str_make(name.p + 6, name.n - 6) : name;
}
const char *channel_kind_word(enum channel_kind kind); /* "public", ... for metrics */

struct channel_policy {
    bool history, rewind, versioned, recovery, ai, annotations;
    uint64_t window_ms;               /* history retention; 0 = keep */
    uint64_t messages_max, bytes_max; /* 0 = no limit */
    uint64_t versions_window_ms;      /* 0 = keep */
    uint64_t recovery_frames_max;     /* max_buffer_size; 0 = no hot tier */
    uint64_t recovery_ttl_ms;         /* buffer_ttl_seconds */
    bool idempotency;
    uint64_t idempotency_ttl_ms;
};
struct channel_policy channel_policy(const struct app *app, struct str channel,
                                     const struct channel_name *name);

/* What is recorded of the comings and goings on a presence channel (chapter 3, section 6). */
struct presence_history {
    bool on;
    uint64_t window_ms;
    uint64_t events_max, bytes_max; /* 0 = no limit */
};
struct presence_history presence_history_policy(const struct app *app, const struct channel_name *name);
