/* lookup.c - see lookup.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/lookup.h"

#include "wire/codes.h"

static void comes_home(struct store_op *op)
{
    struct lookup *lookup = list_of(op, struct lookup, op);
    lookup->found(lookup);
}

struct lookup *lookup_new(struct call *c, enum store_op_kind kind, struct str channel,
                          void (*found)(struct lookup *lookup))
{
    struct lookup *lookup = arena_zalloc(call_arena(c), sizeof *lookup);
    lookup->call = c;
    lookup->found = found;
    lookup->op.kind = kind;
    lookup->op.shard = c->env->shard;
    lookup->op.done = comes_home;
    lookup->op.app_id = c->app->id;
    lookup->op.channel = channel;
    return lookup;
}

void lookup_start(struct lookup *lookup)
{
    store_submit(lookup->call->env->store, &lookup->op);
}

void lookup_end(struct lookup *lookup)
{
    arena_free(&lookup->op.arena);
}

struct failure lookup_failure(struct lookup *lookup)
{
    const struct store_head *head = &lookup->op.head;
    switch (lookup->op.result) {
    case STORE_OK:
        return NO_FAILURE;
    case STORE_UNHEALTHY:
        return fail_fmt(lookup->call, 503, "service_unavailable",
                        "The channel's history stream is not healthy: %.*s",
                        STR_ARG(head->state_reason.p ? head->state_reason : STR("reset_required")));
    case STORE_BUSY:
        return fail_busy(STR("The store is at its limit, try again"));
    default:
        return fail_busy(STR("The store failed to answer, try again"));
    }
}

struct failure channel_read(struct call *c, struct str channel, struct channel_name *name,
                            struct channel_policy *policy)
{
    const char *wrong = channel_name_check(c->app, channel, name, call_arena(c));
    if (wrong)
        return fail_input(str_of(wrong));
    *policy = channel_policy(c->app, channel, name);
    return NO_FAILURE;
}

struct failure history_must_be_on(struct call *c, struct str channel, const struct channel_policy *policy)
{
    if (policy->history)
        return NO_FAILURE;
    return fail_fmt(c, 422, "feature_disabled", "Durable history is disabled by policy for channel '%.*s'",
                    STR_ARG(channel));
}

struct failure versions_must_be_on(struct call *c, struct str channel, const struct channel_policy *policy)
{
    if (c->env->config->versioned.enabled)
        return NO_FAILURE;
    if (policy->ai)
        return fail_ai(403, CODE_MUTABLE_NOT_PERMITTED, STR("mutations not permitted on this channel"));
    return fail_fmt(c, 422, "feature_disabled", "Versioned messages are disabled for channel '%.*s'",
                    STR_ARG(channel));
}
