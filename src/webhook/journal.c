/* journal.c - the queue's notes on their way to the store, and back.
 *
 * One operation is under way; what comes meanwhile goes together into the next one: the queue costs the store one operation
 * per turn of its own, however many jobs come and go. When an operation fails, new jobs in it are delivered from memory;
 * what must stay (the end of a job, a dead letter) is tried again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "webhook/internal.h"

#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/mailbox.h"

enum { OP_NOTES_MAX = 1024, OP_BYTES_MAX = 8 << 20, STORE_RETRY_MS = 1000 };

struct journal_op {
    struct store_op op;
    struct task back;
    struct webhooks *hooks;
    struct list entries;
    struct store_note *notes;
};

/* ---- entries ---- */

struct entry *entry_new(struct webhooks *w, void (*done)(struct entry *entry, bool ok))
{
    struct entry *entry = mem_new(struct entry);
    entry->hooks = w;
    entry->done = done;
    return entry;
}

void entry_note(struct entry *entry, struct str key, struct str value)
{
    assert(entry->count < ENTRY_NOTES);
    unsigned at = entry->count++;
    buf_str(&entry->keys[at], key);
    buf_str(&entry->values[at], value);
    entry->deletes[at] = value.p == NULL;
    entry->bytes += key.n + value.n;
}

static void entry_free(struct entry *entry)
{
    for (unsigned i = 0; i < entry->count; i++) {
        buf_free(&entry->keys[i]);
        buf_free(&entry->values[i]);
    }
    free(entry);
}

void journal_add(struct entry *entry, enum entry_fate fate)
{
    struct webhooks *w = entry->hooks;
    entry->must_stay = fate == ENTRY_MUST_STAY;
    list_append(&w->pending, &entry->link);
    w->pending_bytes += entry->bytes;
}

/* ---- the way back: the store's thread -> shard 0 -> the inbox, where room is kept ---- */

static void post_back(struct webhooks *w, struct task *task)
{
    if (mailbox_post(w->inbox, task) != MAILBOX_OK) {
        log_error("webhook", "no room for a completion of the store");
        abort();
    }
}

static void op_stored(struct store_op *op)
{
    struct journal_op *j = list_of(op, struct journal_op, op);
    post_back(j->hooks, &j->back);
}

static void remember_health(struct webhooks *w, bool ok)
{
    bool failed = atomic_exchange(&w->store_failing, !ok);
    if (!ok)
        metric_add(w->store_failures, METRIC_SHARD_HOOK, 1);
    if (!ok && !failed)
        log_error("webhook", "the store does not take the webhook queue; jobs are delivered from memory");
    if (ok && failed)
        log_info("webhook", "the store takes the webhook queue again");
}

/* In their old order, before what came later. */
static void take_back(struct webhooks *w, struct list *entries)
{
    while (!list_empty(entries)) {
        struct entry *entry = list_of(entries->prev, struct entry, link);
        list_remove(&entry->link);
        list_prepend(&w->pending, &entry->link);
        w->pending_bytes += entry->bytes;
    }
}

static void try_again(struct timer *timer)
{
    journal_flush(list_of(timer, struct webhooks, journal_retry));
}

static void settle(struct webhooks *w, struct list *entries, bool ok)
{
    struct list again;
    list_init(&again);
    for (struct list *link; (link = list_take(entries)) != NULL;) {
        struct entry *entry = list_of(link, struct entry, link);
        if (!ok && entry->must_stay) {
            list_append(&again, &entry->link);
            continue;
        }
        if (entry->done != NULL)
            entry->done(entry, ok);
        entry_free(entry);
    }
    take_back(w, &again);
}

static void op_is_back(struct task *task)
{
    struct journal_op *j = list_of(task, struct journal_op, back);
    struct webhooks *w = j->hooks;
    bool ok = j->op.result == STORE_OK;
    w->under_way = NULL;
    remember_health(w, ok);
    settle(w, &j->entries, ok);
    arena_free(&j->op.arena);
    free(j->notes);
    free(j);
    w->journal_retry.fire = try_again;
    if (!ok)
        wheel_set(w->wheel, &w->journal_retry, hook_now_ms(w) + STORE_RETRY_MS);
}

/* ---- the way there ---- */

static size_t gather(struct webhooks *w, struct journal_op *j)
{
    size_t notes = 0, bytes = 0;
    while (!list_empty(&w->pending)) {
        struct entry *entry = list_of(w->pending.next, struct entry, link);
        if (notes > 0 && (notes + entry->count > OP_NOTES_MAX || bytes + entry->bytes > OP_BYTES_MAX))
            break;
        list_remove(&entry->link);
        list_append(&j->entries, &entry->link);
        w->pending_bytes -= entry->bytes;
        notes += entry->count;
        bytes += entry->bytes;
    }
    return notes;
}

static void lay_out(struct journal_op *j, size_t count)
{
    size_t n = 0;
    j->notes = mem_alloc(count * sizeof *j->notes);
    list_each(at, &j->entries) {
        const struct entry *entry = list_of(at, struct entry, link);
        for (unsigned i = 0; i < entry->count; i++)
            j->notes[n++] = (struct store_note){buf_view(&entry->keys[i]),
                                                entry->deletes[i] ? STR_NONE : buf_view(&entry->values[i])};
    }
    j->op.notes = (struct store_notes){.put = j->notes, .put_count = n};
}

void journal_flush(struct webhooks *w)
{
    if (w->under_way != NULL || list_empty(&w->pending) || timer_is_set(&w->journal_retry))
        return;
    struct journal_op *j = mem_new(struct journal_op);
    j->hooks = w;
    j->back.run = op_is_back;
    list_init(&j->entries);
    lay_out(j, gather(w, j));
    j->op.kind = STORE_NOTE_PUT;
    j->op.shard = 0;
    j->op.done = op_stored;
    w->under_way = j;
    store_submit(w->options.store, &j->op);
}

void journal_drop_all(struct webhooks *w)
{
    for (struct list *link; (link = list_take(&w->pending)) != NULL;)
        entry_free(list_of(link, struct entry, link));
    w->pending_bytes = 0;
}

/* ---- reading ---- */

static void scan_is_back(struct task *task)
{
    struct scan *scan = list_of(task, struct scan, back);
    scan->hooks->scans--;
    if (scan->hooks->closed)
        scan_free(scan);
    else
        scan->done(scan);
}

static void scan_found(struct store_op *op)
{
    struct scan *scan = list_of(op, struct scan, op);
    post_back(scan->hooks, &scan->back);
}

struct scan *scan_new(struct webhooks *w, struct str prefix, struct str after, uint32_t limit)
{
    struct scan *scan = mem_new(struct scan);
    scan->hooks = w;
    scan->back.run = scan_is_back;
    scan->op.kind = STORE_NOTE_SCAN;
    scan->op.shard = 0;
    scan->op.done = scan_found;
    scan->op.notes = (struct store_notes){.prefix = arena_copy(&scan->op.arena, prefix),
                                          .after = arena_copy(&scan->op.arena, after),
                                          .limit = limit};
    return scan;
}

void scan_start(struct scan *scan)
{
    scan->hooks->scans++;
    store_submit(scan->hooks->options.store, &scan->op);
}

void scan_free(struct scan *scan)
{
    arena_free(&scan->op.arena);
    free(scan);
}
