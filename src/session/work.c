/* work.c - what comes between the acknowledgement and the opening of the gate, in order: rewind, resume, open.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/mem.h"
#include "session/recovery.h"

struct work *work_of(struct sub *sub)
{
    if (sub->work == NULL) {
        sub->work = mem_new(struct work);
        sub->work->sub = sub;
        list_init(&sub->work->batch_link);
    }
    return sub->work;
}

void work_attached(struct work *work, const struct attached *attached)
{
    work->attached = true;
    work->head = attached->head;
    work->policy = attached->policy;
    work->hot_from = attached->hot_from;
}

void work_next(struct work *work)
{
    if (!work->attached || work->job != NULL)
        return;
    if (work->rewind.kind != REWIND_NONE)
        rewind_begin(work);
    else if (work->position != NULL)
        resume_begin(work);
    else if (work->batch == NULL)
        sub_open(work->sub);
    /* else the batch opens it */
}

void work_drop(struct work *work)
{
    static const struct resume_failure gone = {"continuity_unverifiable", "not_subscribed"};
    if (work->job != NULL)
        job_abandon(work->job);
    work->sub->work = NULL;
    if (work->batch != NULL)
        list_remove(&work->batch_link);
    if (work->position != NULL)
        batch_failed(work, gone);
    free(work);
}
