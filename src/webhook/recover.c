/* recover.c - what an earlier process left in the store is taken up before anything new becomes a job.
 *
 *      webhook/...   each a job, ready at once      then   deadletter/...   counted, listed
 *
 * New sequence numbers begin above all that are found. A store that does not answer is asked again each second.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "webhook/internal.h"

#include "base/log.h"

enum { ASK_AGAIN_MS = 1000 };

static const struct str jobs_prefix = STR("webhook/"), dead_prefix = STR("deadletter/");

static void ask(struct webhooks *w, struct str prefix, struct str after);

static void ask_again(struct timer *timer)
{
    struct webhooks *w = list_of(timer, struct webhooks, recover_retry);
    struct scan *failed = w->failed_page;
    w->failed_page = NULL;
    ask(w, failed->op.notes.prefix, failed->op.notes.after);
    scan_free(failed);
}

static void read_job(struct webhooks *w, const struct store_note *note)
{
    struct arena arena = {0};
    struct record r;
    uint64_t seq;
    if (seq_read(str_from(note->key, jobs_prefix.n), &seq) && record_read(note->value, &r, &arena)) {
        queue_ready(queue_restore(w, seq, &r));
        w->seq = seq >= w->seq ? seq + 1 : w->seq;
    } else {
        log_error("webhook", "the store holds a job that cannot be read; it is left there");
    }
    arena_free(&arena);
}

static void all_read(struct webhooks *w)
{
    w->recovered = true;
    if (w->depth > 0)
        log_info("webhook", "%llu jobs of an earlier run are delivered now", (unsigned long long)w->depth);
}

static void page_read(struct scan *scan)
{
    struct webhooks *w = scan->hooks;
    const struct store_notes *n = &scan->op.notes;
    bool jobs = str_eq(n->prefix, jobs_prefix);
    for (size_t i = 0; i < n->found_count; i++) {
        if (jobs)
            read_job(w, &n->found[i]);
        else
            dead_read(w, n->found[i].key, n->found[i].value);
    }
    if (n->more && n->found_count > 0)
        ask(w, n->prefix, n->found[n->found_count - 1].key);
    else if (jobs)
        ask(w, dead_prefix, STR_NONE);
    else
        all_read(w);
}

static void page_came(struct scan *scan)
{
    struct webhooks *w = scan->hooks;
    if (scan->op.result == STORE_OK) {
        page_read(scan);
        scan_free(scan);
        return;
    }
    log_error("webhook", "the webhook queue cannot be read, tried again: %s", store_result_text(scan->op.result));
    w->failed_page = scan;
    w->recover_retry.fire = ask_again;
    wheel_set(w->wheel, &w->recover_retry, hook_now_ms(w) + ASK_AGAIN_MS);
}

static void ask(struct webhooks *w, struct str prefix, struct str after)
{
    struct scan *scan = scan_new(w, prefix, after, SCAN_LIMIT);
    scan->done = page_came;
    scan_start(scan);
}

void recover_start(struct webhooks *w)
{
    ask(w, jobs_prefix, STR_NONE);
}
