/* postgres_reads.c - one read: the channel's head and its rows in one round trip, out of one snapshot.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>

#include "store/postgres_internal.h"

enum { /* columns of what postgres_reads.sql calls a version */
    HISTORY, CREATED, DELIVERY, KIND, PUBLISHED_MS, AT_MS, NAME, EXTRAS, DATA, IS_STRING, REST, CREATE_REST
};
enum { KIND_ACTION = 7, KIND_STATUS_SHIFT = 3, KIND_STATUS = 3 };

void health_says(int64_t state, struct store_head *head)
{
    if (state == 1) {
        head->state = STATE_RESET_REQUIRED;
        head->state_reason = STR("store_lost_positions");
    } else if (state == 2) {
        head->state = STATE_DEGRADED;
        head->state_reason = STR("store_rows_damaged");
    }
}

static void take_stream_id(struct str text, struct store_head *head)
{
    if (text.n <= STREAM_ID_SIZE)
        memcpy(head->stream_id, text.p, text.n);
}

void head_from_row(const PGresult *r, int row, struct store_head *head)
{
    *head = (struct store_head){.delivery = (uint64_t)pg_number(r, row, 2),
                                .history = (uint64_t)pg_number(r, row, 3),
                                .replay_floor = (uint64_t)pg_number(r, row, 4),
                                .oldest_history = (uint64_t)pg_number(r, row, 5),
                                .oldest_ms = pg_number(r, row, 6),
                                .newest_ms = pg_number(r, row, 7),
                                .retained_messages = (uint64_t)pg_number(r, row, 8),
                                .messages = (uint32_t)pg_number(r, row, 8),
                                .retained_bytes = (uint64_t)pg_number(r, row, 9),
                                .open_streams = (uint32_t)pg_number(r, row, 10)};
    take_stream_id(pg_field(r, row, 0), head);
    health_says(pg_number(r, row, 1), head);
}

/* ---- questions ---- */

static void ask_latest(struct pg_conn *c, const struct store_op *op)
{
    struct buf places = {0};
    for (size_t i = 0; i < op->read.ids_count; i++)
        pg_item_i64(&places, (int64_t)op->read.ids[i].history);
    pg_query(c, PG_LATEST);
    pg_bytes(c, op->app_id);
    pg_bytes(c, op->channel);
    pg_array(c, PG_OID_INT8, op->read.ids_count, &places);
    pg_i64(c, (int64_t)op->read.as_of_delivery);
    buf_free(&places);
}

static void ask_versions(struct pg_conn *c, const struct store_op *op)
{
    pg_query(c, PG_VERSIONS);
    pg_bytes(c, op->app_id);
    pg_bytes(c, op->channel);
    pg_i64(c, op->read.ids_count > 0 ? (int64_t)op->read.ids[0].history : 0);
    pg_i64(c, (int64_t)op->read.after);
    pg_bool(c, op->read.direction == NEWEST_FIRST);
    pg_i64(c, op->read.limit);
}

/* Beyond every row is, to PostgreSQL, the last place that a bigint has. */
static int64_t place(uint64_t history)
{
    return history < INT64_MAX ? (int64_t)history : INT64_MAX;
}

static void ask_page(struct pg_conn *c, const struct store_op *op)
{
    const struct store_read *q = &op->read;
    uint64_t first = q->start_history ? q->start_history : 1, last = q->end_history ? q->end_history : INT64_MAX;
    if (q->after != 0 && q->direction == NEWEST_FIRST && last >= q->after)
        last = q->after - 1;
    if (q->after != 0 && q->direction == OLDEST_FIRST && first <= q->after)
        first = q->after + 1;
    pg_query(c, PG_PAGE);
    pg_bytes(c, op->app_id);
    pg_bytes(c, op->channel);
    pg_i64(c, place(first));
    pg_i64(c, place(last));
    pg_i64(c, q->start_ms);
    pg_i64(c, q->end_ms);
    pg_i64(c, (int64_t)q->age_max_ms);
    pg_i64(c, (int64_t)q->as_of_delivery);
    pg_bool(c, q->direction == NEWEST_FIRST);
    pg_i64(c, q->limit);
}

static void ask_replay(struct pg_conn *c, const struct store_op *op)
{
    pg_query(c, PG_REPLAY);
    pg_bytes(c, op->app_id);
    pg_bytes(c, op->channel);
    pg_i64(c, (int64_t)op->read.from_delivery);
    pg_i64(c, (int64_t)op->read.to_delivery);
    pg_i64(c, (int64_t)op->read.bytes_max);
}

/* ---- answers ---- */

static bool read_item(const PGresult *r, int row, uint32_t stream8, struct arena *arena, struct store_item *item)
{
    struct texts own, created;
    struct str is_string = pg_field(r, row, IS_STRING);
    int64_t kind = pg_number(r, row, KIND);
    if (!texts_read(arena_copy(arena, pg_field(r, row, REST)), &own) ||
        !texts_read(arena_copy(arena, pg_field(r, row, CREATE_REST)), &created))
        return false;
    *item = (struct store_item){.delivery = (uint64_t)pg_number(r, row, DELIVERY),
                                .action = (enum store_action)(kind & KIND_ACTION),
                                .status = (enum stream_status)((kind >> KIND_STATUS_SHIFT) & KIND_STATUS),
                                .published_at_ms = pg_number(r, row, PUBLISHED_MS),
                                .version_at_ms = pg_number(r, row, AT_MS),
                                .event_name = arena_copy(arena, pg_field(r, row, NAME)),
                                .extras = arena_copy(arena, pg_field(r, row, EXTRAS)),
                                .data = stored_json(pg_field(r, row, DATA), is_string.n > 0 && is_string.p[0] != 0, arena),
                                .message_id = created.message_id,
                                .tags = created.tags};
    item->message = (struct message_id){(uint64_t)pg_number(r, row, CREATED), (uint64_t)pg_number(r, row, HISTORY), stream8};
    item->mutated = item->delivery != item->message.create_delivery;
    const struct texts *newest = item->mutated ? &own : &created;
    item->client_id = newest->client_id;
    item->description = newest->description;
    item->metadata = newest->metadata;
    item->user_id = created.user_id.p != NULL || !item->mutated ? created.user_id : created.client_id;
    item->size_bytes = item->data.n + item->extras.n;
    return true;
}

static enum store_result read_items(const PGresult *r, struct store_op *op)
{
    struct store_found *out = &op->found;
    uint32_t stream8 = stream8_of(str_of(op->head.stream_id));
    uint64_t bytes = 0, bytes_max = op->kind == STORE_PAGE && op->read.bytes_max > 0 ? op->read.bytes_max : UINT64_MAX;
    int rows = PQntuples(r);
    out->items = arena_alloc(&op->arena, ((size_t)rows + 1) * sizeof(*out->items));
    for (int row = 0; row < rows; row++) {
        if (pg_number(r, row, HISTORY) == 0 || bytes >= bytes_max)
            out->more = true;
        else if (read_item(r, row, stream8, &op->arena, &out->items[out->count]))
            bytes += out->items[out->count++].size_bytes;
        else
            return STORE_UNHEALTHY;
    }
    return STORE_OK;
}

/* Those asked for by a name that is not quite theirs are not found; nor are ordinary messages, by LATEST. */
static void keep_named(struct store_op *op)
{
    const struct store_read *q = &op->read;
    struct store_found *out = &op->found;
    size_t kept = 0;
    for (size_t i = 0, next = 0; i < out->count; i++) {
        const struct store_item *item = &out->items[i];
        while (next < q->ids_count && q->ids[next].history != item->message.history)
            next++;
        if (next == q->ids_count)
            break;
        const struct message_id *id = &q->ids[next++];
        if (id->stream8 == item->message.stream8 && id->create_delivery == item->message.create_delivery &&
            item->action != ACTION_ORDINARY)
            out->items[kept++] = *item;
    }
    out->count = kept;
}

static enum store_result versions_result(struct store_op *op)
{
    const struct store_read *q = &op->read;
    if (q->ids_count == 0 || q->ids[0].stream8 != stream8_of(str_of(op->head.stream_id)))
        return STORE_NOT_FOUND;
    if (op->found.count > 0 && op->found.items[0].message.create_delivery != q->ids[0].create_delivery)
        return STORE_NOT_FOUND;
    return op->found.count == 0 && q->after == 0 ? STORE_NOT_FOUND : STORE_OK;
}

/* Every position up to the last one asked for, or it stopped early at its bytes; else rows are missing. */
static enum store_result replay_result(struct store_op *op)
{
    struct store_read *q = &op->read;
    struct store_found *out = &op->found;
    if (q->to_delivery == 0 || q->to_delivery > op->head.delivery)
        q->to_delivery = op->head.delivery;
    if (q->from_delivery < q->to_delivery && q->from_delivery + 1 < op->head.replay_floor)
        return STORE_EXPIRED;
    for (size_t i = 0; i < out->count; i++)
        if (out->items[i].delivery != q->from_delivery + 1 + i)
            return STORE_UNHEALTHY;
    if (q->from_delivery >= q->to_delivery)
        return STORE_OK;
    out->more = q->from_delivery + out->count < q->to_delivery;
    return out->more && (q->bytes_max == 0 || out->count == 0) ? STORE_UNHEALTHY : STORE_OK;
}

static enum store_result channel_result(const PGresult *head, const PGresult *rows, struct store_op *op)
{
    bool known = PQntuples(head) > 0;
    if (!known)
        return op->kind == STORE_VERSIONS ? STORE_NOT_FOUND : STORE_OK;
    head_from_row(head, 0, &op->head);
    if (op->head.state != STATE_HEALTHY)
        return STORE_UNHEALTHY;
    if (op->kind != STORE_LATEST && op->kind != STORE_VERSIONS && op->read.stream_id.p != NULL &&
        !str_eq(op->read.stream_id, str_of(op->head.stream_id)))
        return STORE_WRONG_STREAM;
    enum store_result result = read_items(rows, op);
    if (result == STORE_OK && op->kind == STORE_LATEST)
        keep_named(op);
    else if (result == STORE_OK && op->kind == STORE_VERSIONS)
        result = versions_result(op);
    else if (result == STORE_OK && op->kind == STORE_REPLAY)
        result = replay_result(op);
    if (result != STORE_OK)
        op->found.count = 0;
    return result;
}

static bool read_channel(struct pg_conn *c, struct store_op *op)
{
    pg_query(c, PG_HEAD);
    pg_bytes(c, op->app_id);
    pg_bytes(c, op->channel);
    if (op->kind == STORE_LATEST)
        ask_latest(c, op);
    else if (op->kind == STORE_VERSIONS)
        ask_versions(c, op);
    else if (op->kind == STORE_PAGE)
        ask_page(c, op);
    else
        ask_replay(c, op);
    op->result = STORE_FAILED;
    if (pg_run(c, c->options->write_timeout_ms + 2000) != PG_FINE)
        return false;
    op->result = channel_result(c->queries[0].result, c->queries[1].result, op);
    if (op->result != STORE_UNHEALTHY || op->head.state != STATE_HEALTHY)
        return false;
    health_says(2, &op->head); /* known from now on */
    return true;
}

/* ---- of many channels ---- */

static void read_heads(struct pg_conn *c, struct store_op *op)
{
    struct buf apps = {0}, names = {0};
    size_t count = op->read.names_count;
    for (size_t i = 0; i < count; i++) {
        pg_item_bytes(&apps, op->read.names[i].app_id);
        pg_item_bytes(&names, op->read.names[i].channel);
    }
    pg_query(c, PG_HEADS);
    pg_array(c, PG_OID_TEXT, count, &apps);
    pg_array(c, PG_OID_TEXT, count, &names);
    buf_free(&apps);
    buf_free(&names);
    op->found.heads = arena_zalloc(&op->arena, (count + 1) * sizeof(*op->found.heads));
    op->result = pg_run(c, c->options->write_timeout_ms + 2000) == PG_FINE ? STORE_OK : STORE_FAILED;
    const PGresult *r = c->queries[0].result;
    for (int row = 0; op->result == STORE_OK && row < PQntuples(r); row++) {
        struct store_head *head = &op->found.heads[pg_number(r, row, 0) - 1];
        take_stream_id(pg_field(r, row, 1), head);
        health_says(pg_number(r, row, 2), head);
        head->delivery = (uint64_t)pg_number(r, row, 3);
        head->history = (uint64_t)pg_number(r, row, 4);
    }
}

static void open_item(const PGresult *r, int row, struct store_op *op)
{
    struct store_found *found = &op->found;
    found->open_apps[found->count] = arena_copy(&op->arena, pg_field(r, row, 2));
    found->open_channels[found->count] = arena_copy(&op->arena, pg_field(r, row, 3));
    found->items[found->count++] = (struct store_item){
        .message = {(uint64_t)pg_number(r, row, 5), (uint64_t)pg_number(r, row, 1), (uint32_t)pg_number(r, row, 4)},
        .delivery = (uint64_t)pg_number(r, row, 6),
        .published_at_ms = pg_number(r, row, 7),
        .version_at_ms = pg_number(r, row, 8),
        .size_bytes = (uint64_t)pg_number(r, row, 9),
        .action = (enum store_action)pg_number(r, row, 10),
        .status = STREAM_OPEN,
        .mutated = pg_number(r, row, 6) != pg_number(r, row, 5)};
}

/* open_next: "<cid> <history>" of the newest stream that was looked at. */
static void read_open(struct pg_conn *c, struct store_op *op)
{
    struct str after = op->read.open_after, first = after.p != NULL ? str_split(&after, ' ') : STR_NONE;
    struct store_found *found = &op->found;
    uint64_t cid = 0, history = 0;
    str_to_u64(first, &cid);
    str_to_u64(after, &history);
    pg_query(c, PG_OPEN);
    pg_i64(c, (int64_t)cid);
    pg_i64(c, (int64_t)history);
    pg_i64(c, op->read.limit > 0 ? (int64_t)op->read.limit + 1 : INT64_MAX);
    op->result = pg_run(c, c->options->write_timeout_ms + 2000) == PG_FINE ? STORE_OK : STORE_FAILED;
    if (op->result != STORE_OK)
        return;
    const PGresult *r = c->queries[0].result;
    int rows = PQntuples(r);
    found->more = op->read.limit > 0 && (uint32_t)rows > op->read.limit;
    found->open_next = op->read.open_after;
    found->items = arena_alloc(&op->arena, ((size_t)rows + 1) * sizeof(*found->items));
    found->open_apps = arena_alloc(&op->arena, ((size_t)rows + 1) * sizeof(struct str));
    found->open_channels = arena_alloc(&op->arena, ((size_t)rows + 1) * sizeof(struct str));
    rows -= found->more;
    found->now_ms = rows > 0 ? pg_number(r, 0, 11) : 0;
    for (int row = 0; row < rows; row++)
        if (pg_number(r, row, 8) <= found->now_ms - (int64_t)op->read.idle_ms)
            open_item(r, row, op);
    if (rows > 0) {
        char *text = arena_alloc(&op->arena, 48);
        int n = snprintf(text, 48, "%lld %lld", (long long)pg_number(r, rows - 1, 0), (long long)pg_number(r, rows - 1, 1));
        found->open_next = str_make(text, (size_t)n);
    }
}

/* ---- notes ---- */

/* The first key behind all that begin with these bytes; absent if there is none. */
static struct str behind_prefix(struct str prefix, struct buf *scratch)
{
    buf_str(scratch, prefix);
    while (scratch->n > 0 && (unsigned char)scratch->p[scratch->n - 1] == 0xff)
        scratch->n--;
    if (scratch->n == 0)
        return STR_NONE;
    scratch->p[scratch->n - 1]++;
    return buf_view(scratch);
}

static void read_notes(struct pg_conn *c, struct store_op *op)
{
    struct store_notes *n = &op->notes;
    struct buf end = {0};
    bool resumes = n->after.p != NULL && str_cmp(n->after, n->prefix) >= 0;
    struct str from = resumes ? n->after : n->prefix;
    pg_query(c, PG_NOTES_SCAN);
    pg_bytes(c, from.p != NULL ? from : STR(""));
    pg_bool(c, !resumes);
    pg_bytes(c, behind_prefix(n->prefix, &end));
    pg_i64(c, n->limit);
    pg_i64(c, NOTE_SCAN_BYTES_MAX);
    buf_free(&end);
    n->found_count = 0;
    n->more = false;
    op->result = pg_run(c, c->options->write_timeout_ms + 2000) == PG_FINE ? STORE_OK : STORE_FAILED;
    if (op->result != STORE_OK)
        return;
    const PGresult *r = c->queries[0].result;
    int rows = PQntuples(r);
    n->found = arena_alloc(&op->arena, ((size_t)rows + 1) * sizeof(*n->found));
    n->more = rows > 0 && pg_field(r, rows - 1, 2).p[0] != 0;
    for (int row = 0; row < rows - n->more; row++)
        n->found[n->found_count++] =
            (struct store_note){arena_copy(&op->arena, pg_field(r, row, 0)), arena_copy(&op->arena, pg_field(r, row, 1))};
}

bool read_run(struct pg_conn *c, struct store_op *op)
{
    op->head = (struct store_head){0};
    op->found = (struct store_found){0};
    if (op->kind == STORE_NOTE_SCAN)
        read_notes(c, op);
    else if (op->kind == STORE_OPEN)
        read_open(c, op);
    else if (op->kind == STORE_HEADS)
        read_heads(c, op);
    else
        return read_channel(c, op);
    return false;
}
