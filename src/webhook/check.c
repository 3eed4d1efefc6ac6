/* check.c - the invariants of the queue, walked; for tests.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>

#include "webhook/internal.h"

static bool is_under_way(const struct job *job)
{
    return job->state == JOB_RUNNING || job->state == JOB_LOADING;
}

static void check_target(const struct webhooks *w, const struct target *t)
{
    uint64_t ready = 0, jobs = 0, bytes = 0;
    unsigned running = 0, slow = 0;
    list_each(at, &t->ready) {
        assert(list_of(at, struct job, link)->state == JOB_READY);
        ready++;
    }
    list_each(at, &w->jobs) {
        const struct job *job = list_of(at, struct job, all);
        if (job->target != t)
            continue;
        jobs++;
        bytes += job->bytes;
        running += is_under_way(job);
        slow += job->slow;
    }
    assert(ready == t->ready_count && jobs == t->jobs && bytes == t->bytes);
    assert(running == t->running && slow == t->slow);
    assert(list_empty(&t->link) == (ready == 0));
    assert(!t->trusted || t->answers);
}

void queue_check(const struct webhooks *w)
{
    uint64_t jobs = 0, bodies = 0;
    unsigned running = 0, slow = 0, untrusted = 0;
    list_each(at, &w->jobs) {
        const struct job *job = list_of(at, struct job, all);
        jobs++;
        bodies += job->body.n;
        assert(!job->slow || job->state == JOB_RUNNING);
        assert(job->body.p != NULL || (job->stored && job->merged_count == 0));
        slow += job->slow;
        running += is_under_way(job) && !job->slow;
        untrusted += is_under_way(job) && !job->slow && !job->target->trusted;
    }
    assert(jobs == w->depth && bodies == w->bodies_bytes);
    assert(running == w->running && slow == w->slow && untrusted == w->untrusted);
    assert(w->running <= SLOTS && w->slow <= SLOW_MAX && w->in_flight == w->running + w->slow);
    for (size_t i = 0; i < w->targets_count; i++)
        check_target(w, &w->targets[i]);
}
