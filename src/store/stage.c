/* stage.c - one write: receipt, limits, position, row (chapter 3, 1.9, in its order).
 *
 * Everything that refuses is decided on the small head of the message; nothing here looks at the text so far, but for an update
 * or delete that keeps it and has to show it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/engine_internal.h"
#include "base/json.h"

struct staging {
    struct engine *e;
    struct store_op *op;
    struct store_write *w;
    struct stored_channel *ch;
    struct message *m; /* NULL for create and ordinary */
    int64_t now_ms;
    struct row row;
    struct str kept;   /* the text that an update or delete leaves as it is */
};

static bool is_mutation(const struct store_write *w)
{
    return w->action == ACTION_APPEND || w->action == ACTION_UPDATE || w->action == ACTION_DELETE;
}

static struct message_id id_of(const struct stored_channel *ch, uint64_t create, uint64_t history)
{
    return (struct message_id){create, history, ch->stream8};
}

/* ---- receipts ---- */

static bool duplicate(struct staging *s, uint64_t delivery, uint64_t history, uint64_t create, struct hash128 fingerprint)
{
    struct store_written *out = &s->op->written;
    bool same = hash128_eq(fingerprint, s->w->fingerprint);
    s->op->result = same ? STORE_DUPLICATE : STORE_RECEIPT_CONFLICT;
    out->delivery = delivery;
    out->history = history;
    out->message = id_of(s->ch, create, history);
    return true;
}

static bool answered_by_receipt(struct staging *s)
{
    struct receipt receipt;
    struct hash128 fingerprint;
    uint64_t delivery;
    if (hash128_is_zero(s->w->receipt_key))
        return false;
    if (s->m != NULL)
        return receipts_find(s->e, s->m, s->w->receipt_key, &delivery, &fingerprint) &&
               duplicate(s, delivery, s->m->history, s->m->h.create, fingerprint);
    return create_receipt_find(s->e, s->ch, s->w->receipt_key, s->now_ms, &receipt) &&
           duplicate(s, receipt.delivery, receipt.history, receipt.delivery, receipt.fingerprint);
}

/* ---- limits ---- */

static enum stream_status status_after(const struct staging *s)
{
    if (s->w->clear & CLEAR_EXTRAS)
        return STREAM_NONE;
    if (s->w->extras.p != NULL || s->m == NULL)
        return s->w->extras.p != NULL ? s->w->status : STREAM_NONE;
    return s->m->h.status;
}

static uint64_t bytes_after(const struct staging *s)
{
    const struct store_write *w = s->w;
    uint64_t given = w->data.p == NULL ? 0 : is_json_string(w->data) ? json_text_size(w->data) : w->data.n;
    if (w->action == ACTION_APPEND)
        return s->m->h.bytes + given;
    return w->data.p != NULL || s->m == NULL || (w->clear & CLEAR_DATA) ? given : s->m->h.bytes;
}

static enum store_result check_append(const struct staging *s)
{
    const struct head *h = &s->m->h;
    if (s->w->expects_bytes && h->bytes != s->w->expect_bytes)
        return STORE_CHANGED;
    if (s->w->follows && s->m->writer != s->w->writer)
        return STORE_CHANGED;
    if (s->w->refuse_append_after_terminal && (h->status == STREAM_COMPLETE || h->status == STREAM_CANCELLED))
        return STORE_TERMINAL;
    if (h->has_data && !h->is_string)
        return STORE_NOT_STRING;
    if (s->w->appends_max > 0 && h->appends >= s->w->appends_max)
        return STORE_APPENDS_MAX;
    return STORE_OK;
}

static bool was_open(const struct staging *s)
{
    return s->m != NULL && is_open(s->m->h.status, s->m->h.action);
}

static enum store_result check_limits(const struct staging *s)
{
    const struct store_write *w = s->w;
    if (w->expect_delivery != 0 && s->m != NULL && s->m->h.last != w->expect_delivery)
        return STORE_CHANGED;
    enum store_result result = w->action == ACTION_APPEND ? check_append(s) : STORE_OK;
    if (result != STORE_OK)
        return result;
    if (w->bytes_max > 0 && bytes_after(s) > w->bytes_max)
        return STORE_BYTES_MAX;
    bool opens = is_open(status_after(s), w->action) && !was_open(s);
    bool full = w->open_max > 0 && s->ch != NULL && s->ch->open >= w->open_max;
    return opens && (full || w->refuse_opening) ? STORE_OPEN_MAX : STORE_OK;
}

/* ---- the row ---- */

static void fill_row(struct staging *s, uint64_t delivery)
{
    const struct store_write *w = s->w;
    const struct head *h = s->m ? &s->m->h : NULL;
    bool named = w->event_name.p != NULL, extras = w->extras.p != NULL;
    s->row = (struct row){.action = w->action, .status = status_after(s), .history = s->m ? s->m->history : s->ch->history + 1,
                          .create = h ? h->create : delivery, .previous = h ? h->last : 0, .at_ms = s->now_ms,
                          .published_ms = h ? h->published_ms : s->now_ms, .receipt = w->receipt_key,
                          .fingerprint = w->fingerprint, .data = w->data, .extras = w->extras, .message_id = w->message_id,
                          .client_id = w->client_id, .user_id = w->user_id, .description = w->description,
                          .metadata = w->metadata, .tags = w->tags};
    s->row.event_name = w->action == ACTION_APPEND ? STR_NONE : w->event_name;
    s->row.name_at = named && w->action != ACTION_APPEND ? delivery : (w->clear & CLEAR_NAME) || !h ? 0 : h->name_at;
    s->row.extras_at = extras ? delivery : (w->clear & CLEAR_EXTRAS) || !h ? 0 : h->extras_at;
    s->row.replaces = w->action != ACTION_APPEND && (w->data.p != NULL || h == NULL || (w->clear & CLEAR_DATA));
}

static uint64_t put_row(struct staging *s, uint64_t delivery)
{
    struct engine *e = s->e;
    struct key key = key_of2('L', s->ch->record.cid, delivery);
    buf_clear(&e->scratch);
    row_put(&e->scratch, &s->row);
    kv_put(e->kv, key_str(&key), buf_view(&e->scratch));
    return e->scratch.n;
}

static void put_place(struct staging *s, uint64_t delivery, uint64_t size)
{
    struct engine *e = s->e;
    struct key key = key_of2('H', s->ch->record.cid, s->row.history);
    struct place place = {delivery, size, s->now_ms};
    buf_clear(&e->scratch);
    place_put(&e->scratch, &place);
    kv_put(e->kv, key_str(&key), buf_view(&e->scratch));
    s->ch->history = s->row.history;
    s->ch->newest_ms = s->now_ms;
    s->ch->batch_places++;
    if (s->ch->oldest_ms == 0 || s->ch->floor.oldest_history == s->row.history)
        s->ch->oldest_ms = s->now_ms;
}

static void put_receipt(struct staging *s, uint64_t delivery)
{
    struct engine *e = s->e;
    const struct store_write *w = s->w;
    if (hash128_is_zero(w->receipt_key))
        return;
    pending_add(e, (struct pending_receipt){w->receipt_key, w->fingerprint, s->ch->record.cid, delivery, s->row.history,
                                            s->m != NULL});
    if (s->m != NULL) {
        receipts_add(&s->m->receipts, w->receipt_key, delivery - s->m->h.create);
        return;
    }
    struct key key = key_receipt(s->ch->record.cid, w->receipt_key);
    struct receipt receipt = {w->fingerprint, delivery, s->row.history, s->now_ms + (int64_t)w->receipt_ttl_ms};
    buf_clear(&e->scratch);
    receipt_put(&e->scratch, &receipt);
    kv_put(e->kv, key_str(&key), buf_view(&e->scratch));
}

static void count_open(struct staging *s, bool was, bool is)
{
    struct key key = key_of2('O', s->ch->record.cid, s->row.history);
    if (was == is)
        return;
    s->ch->open += is ? 1 : (uint32_t)-1;
    if (!is && s->row.history < s->ch->retain_at) {
        s->ch->retain_at = s->row.history; /* retention passed it over while it was open */
        s->ch->retain_ms = 0;
    }
    if (is)
        kv_put(s->e->kv, key_str(&key), s->ch->key);
    else
        kv_del(s->e->kv, key_str(&key));
}

/* ---- outputs ---- */

/* What an update or delete has left, when it was not given anew: read, and so only when nothing of it is pending. False: nothing is
 * staged. */
static bool whole_text(struct staging *s, struct str *data)
{
    struct message *m = s->m;
    struct view v = {s->ch->record.cid, m->history, m->h.create, m->h.last, m->h.segments, NULL, 0, m->h.base};
    struct arena *arena = &s->op->arena;
    struct source src = {.kv = s->e->kv, .arena = arena};
    struct str before = STR_NONE;
    if (!m->tail_replaces && m->h.segments > 0 && !view_text(&src, &v, UINT64_MAX, &before)) {
        if (src.failed)
            s->e->failed = true;
        else
            fault_met(s->e, FAULT_ROWS);
        return false;
    }
    if (!m->h.has_data) {
        *data = STR_NONE;
    } else if (!m->h.is_string) {
        *data = m->tail_has_data ? arena_copy(arena, buf_view(&m->tail)) : before;
    } else {
        struct str head = is_json_string(before) ? string_body(before) : STR("");
        char *out = arena_alloc(arena, head.n + m->tail.n + 2);
        size_t n = 0;
        out[n++] = '"';
        memcpy(out + n, head.p, head.n);
        n += head.n;
        if (m->tail.n > 0)
            memcpy(out + n, m->tail.p, m->tail.n);
        n += m->tail.n;
        out[n++] = '"';
        *data = str_make(out, n);
    }
    return true;
}

static void set_mutation_outputs(struct staging *s, const struct head *before)
{
    struct store_written *out = &s->op->written;
    struct arena *arena = &s->op->arena;
    const struct head *h = &s->m->h;
    out->status_before = before->status;
    out->action_before = before->action;
    out->message_bytes = h->bytes;
    out->appends = h->appends;
    out->name = arena_copy(arena, h->name);
    out->extras = s->w->extras.p ? s->w->extras : arena_copy(arena, h->extras);
    out->user_id = arena_copy(arena, h->user_id);
    out->tags = arena_copy(arena, h->tags);
    out->data = keeps_text(&s->row) ? s->kept : s->w->data;
}

static void set_outputs(struct staging *s, uint64_t delivery)
{
    struct store_written *out = &s->op->written;
    out->delivery = delivery;
    out->history = s->row.history;
    out->message = id_of(s->ch, s->row.create, s->row.history);
    out->at_ms = s->row.at_ms;
    out->created_ms = s->row.published_ms;
    out->status = s->row.status;
    if (s->m != NULL)
        return;
    out->message_bytes = bytes_after(s);
    out->name = s->w->event_name;
    out->extras = s->w->extras;
    out->data = s->w->data;
    out->tags = s->w->tags;
    out->user_id = s->w->user_id;
}

/* ---- one write ---- */

static void write_row(struct staging *s)
{
    struct stored_channel *ch = s->ch;
    uint64_t delivery = ch->delivery + 1;
    bool was = was_open(s), is;
    struct head before = s->m ? s->m->h : (struct head){0};
    fill_row(s, delivery);
    is = is_open(s->row.status, s->row.action);
    put_receipt(s, delivery);
    uint64_t size = put_row(s, delivery);
    ch->delivery = delivery;
    ch->bytes_ever += size;
    channel_touch(s->e, ch);
    set_outputs(s, delivery);
    if (s->m == NULL)
        put_place(s, delivery, size);
    if (s->row.action == ACTION_CREATE) {
        struct message *m = message_add(s->e, ch, s->row.history);
        m->receipts.known = true;
        message_apply(m, delivery, &s->row, size);
        message_weigh(s->e, m);
    } else if (s->m != NULL) {
        message_apply(s->m, delivery, &s->row, size);
        message_weigh(s->e, s->m);
        s->m->writer = s->w->writer;
        set_mutation_outputs(s, &before);
    }
    count_open(s, was, is);
    /* Text that a row keeps is put beside it, so that the row can be read without what memory knows. */
    if (s->m != NULL && (s->m->rows_count >= FOLD_ROWS || s->m->tail.n >= FOLD_BYTES || keeps_text(&s->row)))
        message_fold(s->e, s->m);
    channel_checkpoint_some(s->e, ch);
}

static bool keeps(const struct staging *s)
{
    const struct store_write *w = s->w;
    return s->m != NULL && w->action != ACTION_APPEND && w->data.p == NULL && !(w->clear & CLEAR_DATA);
}

/* An update or delete that keeps text which is just being folded, or a message whose create row is not in the kv yet. */
static bool needs_commit(const struct staging *s)
{
    return s->m != NULL && is_folding(s->m) &&
           (keeps(s) || (!s->m->receipts.known && !hash128_is_zero(s->w->receipt_key)));
}

/* The message is gone, but not the memory of what was done to it. */
static bool answered_by_dropped_receipt(struct staging *s)
{
    const struct message_id *target = &s->w->target;
    struct hash128 fingerprint;
    uint64_t delivery;
    return s->op->result == STORE_NOT_FOUND && target->stream8 == s->ch->stream8 && !hash128_is_zero(s->w->receipt_key) &&
           dropped_receipt_find(s->e, s->ch->record.cid, target->history, s->w->receipt_key, &delivery, &fingerprint) &&
           duplicate(s, delivery, target->history, target->create_delivery, fingerprint);
}

static bool find_target(struct staging *s)
{
    if (!is_mutation(s->w))
        return true;
    if (s->w->target.stream8 == s->ch->stream8)
        s->m = message_get(s->e, s->ch, s->w->target.history);
    if (s->m != NULL && s->m->h.create == s->w->target.create_delivery)
        return true;
    s->op->result = STORE_NOT_FOUND;
    return false;
}

static void note_retention(struct staging *s)
{
    struct stored_channel *ch = s->ch;
    ch->retention = s->w->retention;
    ch->written_ms = s->now_ms;
    ch->newest_write = s->op;
    if (ch->record.window_ms == s->w->retention.window_ms &&
        ch->record.versions_window_ms == s->w->retention.versions_window_ms)
        return;
    ch->record.window_ms = s->w->retention.window_ms; /* for the background worker, also of a later process */
    ch->record.versions_window_ms = s->w->retention.versions_window_ms;
    put_channel_record(s->e, ch);
    channel_touch(s->e, ch);
}

/* What could not be read concerns this operation alone: the rest of the batch goes on. */
static enum stage_result nothing_staged(struct staging *s)
{
    health_settle(s->e, s->op);
    s->e->failed = false;
    return STAGED;
}

static enum stage_result stage_write(struct engine *e, struct store_op *op)
{
    struct staging s = {.e = e, .op = op, .w = &op->write};
    op->written = (struct store_written){0};
    s.now_ms = op->write.now_ms != 0 ? op->write.now_ms : clock_wall_ms(e->clock);
    s.ch = channel_get(e, op->app_id, op->channel);
    if (s.ch == NULL) {
        op->result = e->failed ? STORE_FAILED : is_mutation(s.w) ? STORE_NOT_FOUND : check_limits(&s);
        if (op->result != STORE_OK)
            return nothing_staged(&s);
        s.ch = channel_make(e, op->app_id, op->channel);
    }
    if (find_target(&s) && needs_commit(&s))
        return COMMIT_FIRST;
    if (!answered_by_dropped_receipt(&s) && op->result == STORE_OK && !answered_by_receipt(&s))
        op->result = check_limits(&s);
    if (op->result == STORE_OK && !e->failed && keeps(&s))
        whole_text(&s, &s.kept);
    if (e->failed)
        op->result = STORE_FAILED;
    if (op->result != STORE_OK) {
        head_output(s.ch, &op->head);
        return nothing_staged(&s);
    }
    write_row(&s);
    note_retention(&s);
    head_output(s.ch, &op->head);
    return STAGED;
}

static void stage_head(struct engine *e, struct store_op *op)
{
    struct stored_channel *ch = channel_get(e, op->app_id, op->channel);
    if (health_settle(e, op))
        return;
    if (e->failed) {
        op->result = STORE_FAILED;
        e->failed = false;
        return;
    }
    if (ch == NULL && op->read.materialise)
        ch = channel_make(e, op->app_id, op->channel);
    if (ch != NULL)
        head_output(ch, &op->head);
    if (ch != NULL && op->read.stream_id.p != NULL && !str_eq(op->read.stream_id, str_of(ch->record.stream_id)))
        op->result = STORE_WRONG_STREAM;
}

/* A channel that needs a reset takes nothing; a degraded one takes writes. */
static bool is_refused(struct engine *e, struct store_op *op)
{
    struct str key = stored_key(e, op->app_id, op->channel);
    enum stream_fault known = health_of(e, key);
    bool refused = op->kind == STORE_WRITE ? known == FAULT_LOST || known == FAULT_LOAD : known != FAULT_NONE;
    if (!refused)
        return false;
    if (known == FAULT_ROWS)
        channel_get(e, op->app_id, op->channel); /* for its head */
    struct buf copy = {0};
    buf_str(&copy, stored_key(e, op->app_id, op->channel));
    health_refuse(e, op, buf_view(&copy));
    buf_free(&copy);
    return true;
}

enum stage_result engine_stage(struct engine *e, struct store_op *op)
{
    op->result = STORE_OK;
    op->head = (struct store_head){0};
    if (e->unhealthy.count > 0 && op->kind != STORE_RESET && op->kind != STORE_NOTE_PUT && is_refused(e, op))
        return STAGED;
    if (op->kind == STORE_WRITE) {
        if (stage_write(e, op) == COMMIT_FIRST)
            return COMMIT_FIRST;
    } else if (op->kind == STORE_NOTE_PUT) {
        stage_notes(e, op);
    } else {
        op->found = (struct store_found){0};
        if (op->kind == STORE_HEAD)
            stage_head(e, op);
        else if (op->kind == STORE_RESET)
            stage_reset(e, op);
        else if (stage_purge(e, op) == COMMIT_FIRST)
            return COMMIT_FIRST;
    }
    if (!health_settle(e, op) && e->failed) {
        op->result = STORE_FAILED;
        e->spoilt = true;
        e->failed = false;
    }
    return STAGED;
}
