/* streams.c - one question to the store at start.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ai/streams.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "message/metrics.h"
#include <stdlib.h>

struct count {
    struct store_op op;
    struct env *env;
};

static void counted(struct store_op *op)
{
    struct count *c = list_of(op, struct count, op);
    for (size_t i = 0; op->result == STORE_OK && i < op->found.count; i++) {
        struct app *app = apps_by_id(c->env->apps, op->found.open_apps[i]);
        if (app != NULL)
            metrics_gauge(c->env, app, active_streams, 1);
    }
    if (op->result != STORE_OK)
        log_warn("ai", "open streams could not be counted: %s", store_result_text(op->result));
    arena_free(&op->arena);
    free(c);
}

void streams_count_open(struct env *env)
{
    struct count *c = mem_new(struct count);
    c->env = env;
    c->op.kind = STORE_OPEN;
    c->op.shard = env->shard;
    c->op.done = counted;
    store_submit(env->store, &c->op);
}
