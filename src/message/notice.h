/* notice.h - what happens in the core that somebody outside may want to hear of: the events of the webhooks
 * (chapter 2, 2.19.3; chapter 4, 7.2).
 *
 * The core says it once, when it has happened (a message: when it is committed), and goes on: whoever listens copies
 * what it needs and never makes the core wait. Producers ask notice_wanted() before they build anything.
 *
 * Threads: the shard of `env`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "message/env.h"

enum notice_kind {
    NOTICE_CHANNEL_OCCUPIED, NOTICE_CHANNEL_VACATED, NOTICE_SUBSCRIPTION_COUNT,
    NOTICE_MEMBER_ADDED, NOTICE_MEMBER_UPDATED, NOTICE_MEMBER_REMOVED,
    NOTICE_CLIENT_EVENT, NOTICE_CACHE_MISS, NOTICE_MESSAGE_VERSION_CREATED,
    NOTICE_ANNOTATION_CREATED, NOTICE_ANNOTATION_DELETED,
    NOTICE_AI_RUN_STARTED, NOTICE_AI_TURN_STARTED, NOTICE_AI_RUN_ENDED, NOTICE_AI_TURN_ENDED,
    NOTICE_AI_CANCEL_REQUESTED, NOTICE_AI_STREAM_ORPHANED, NOTICE_AI_STREAM_CANCELLED,
    NOTICE_KINDS
};
struct notice {
    enum notice_kind kind;
    struct app *app;
    struct str channel;
    struct str fields; /* what follows "channel" in the event: JSON members without braces, e.g. "user_id":"u1"; may be empty */
};

/* The `name` of the event, "channel_occupied" and so on. */
const char *notice_name(enum notice_kind kind);
/* The kind of that name; NOTICE_KINDS = none. */
enum notice_kind notice_kind_of(struct str name);
static inline bool notice_wanted(const struct env *env, const struct app *app, enum notice_kind kind)
{
    return env->notice != NULL && (app->notices >> kind & 1u);
}
/* To whoever listens; everything is borrowed for the call. Meta channels say nothing. */
void notice_send(struct env *env, const struct notice *notice);
