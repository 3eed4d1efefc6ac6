/* notice.c - the names of what webhooks are told.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "message/notice.h"

static const char *const names[NOTICE_KINDS] = {
    [NOTICE_CHANNEL_OCCUPIED] = "channel_occupied",
    [NOTICE_CHANNEL_VACATED] = "channel_vacated",
    [NOTICE_SUBSCRIPTION_COUNT] = "subscription_count",
    [NOTICE_MEMBER_ADDED] = "member_added",
    [NOTICE_MEMBER_UPDATED] = "member_updated",
    [NOTICE_MEMBER_REMOVED] = "member_removed",
    [NOTICE_CLIENT_EVENT] = "client_event",
    [NOTICE_CACHE_MISS] = "cache_miss",
    [NOTICE_MESSAGE_VERSION_CREATED] = "message_version_created",
    [NOTICE_ANNOTATION_CREATED] = "annotation_created",
    [NOTICE_ANNOTATION_DELETED] = "annotation_deleted",
    [NOTICE_AI_RUN_STARTED] = "ai_run_started",
    [NOTICE_AI_TURN_STARTED] = "ai_turn_started",
    [NOTICE_AI_RUN_ENDED] = "ai_run_ended",
    [NOTICE_AI_TURN_ENDED] = "ai_turn_ended",
    [NOTICE_AI_CANCEL_REQUESTED] = "ai_cancel_requested",
    [NOTICE_AI_STREAM_ORPHANED] = "ai_stream_orphaned",
    [NOTICE_AI_STREAM_CANCELLED] = "ai_stream_cancelled",
};

const char *notice_name(enum notice_kind kind)
{
    return names[kind];
}

enum notice_kind notice_kind_of(struct str name)
{
    unsigned kind = 0;
    while (kind < NOTICE_KINDS && !str_eq(name, str_of(names[kind])))
        kind++;
    return kind;
}

void notice_send(struct env *env, const struct notice *notice)
{
    if (notice_wanted(env, notice->app, notice->kind) && !str_starts(notice->channel, STR("[meta]")))
        env->notice(env, notice);
}
