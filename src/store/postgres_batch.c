/* postgres_batch.c - many operations of many channels become the arrays of one call, and its arrays their answers.
 *
 *      queue   b:append  a:create  a:append  b:append          as they came
 *      arrays  channels [a b], by key: the order of locks       operations [a:create a:append | b:append b:append]
 *
 * Within a channel the order stays. Everything that must be decided together with others is decided in the database
 * (postgres_functions.sql); here are only forms, and the operations of this batch that share a receipt.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "store/postgres_internal.h"

_Static_assert(STORE_OK == 0 && STORE_DUPLICATE == 1 && STORE_RECEIPT_CONFLICT == 2 && STORE_NOT_FOUND == 3 && STORE_TERMINAL == 4 &&
                   STORE_NOT_STRING == 5 && STORE_APPENDS_MAX == 6 && STORE_BYTES_MAX == 7 && STORE_OPEN_MAX == 8 &&
                   STORE_CHANGED == 9 && STORE_UNHEALTHY == 10,
               "postgres_functions.sql numbers results so");
_Static_assert(ACTION_CREATE == 0 && ACTION_UPDATE == 1 && ACTION_DELETE == 2 && ACTION_APPEND == 3 && ACTION_ORDINARY == 4 &&
                   STREAM_NONE == 0 && STREAM_OPEN == 1 && STREAM_COMPLETE == 2 && STREAM_CANCELLED == 3,
               "and so actions and states");

enum { /* o_flags */
    HAS_DATA = 1, DATA_IS_STRING = 2, HAS_NAME = 4, HAS_EXTRAS = 8, CLEARS_NAME = 16, CLEARS_DATA = 32, CLEARS_EXTRAS = 64,
    REFUSES_AFTER_TERMINAL = 128, REFUSES_OPENING = 256, EXPECTS_BYTES = 512, FOLLOWS = 1024
};
enum { RESULT_NOT_MADE = 101, ROW_BYTES = 64, EVICT_MAX = 64 };

enum column { /* parameters of the call behind p_wait, in its order */
    C_APP, C_NAME, C_MAKE, C_LOCK, C_STREAM, C_STREAM8, C_PROMISED8, C_PROMISED, C_WINDOW, C_MESSAGES_MAX, C_BYTES_MAX, C_EVICT,
    M_CH, M_HISTORY,
    O_CH, O_ACTION, O_M, O_CREATED, O_STREAM8, O_FLAGS, O_STATUS, O_NOW, O_GIVEN, O_SIZE, O_TAG, O_PRINT, O_DUP, O_TTL, O_EXPECT,
    O_EXPECT_BYTES, O_WRITER, O_APPENDS_MAX, O_OPEN_MAX, O_BYTES_MAX, O_DATA, O_NAME, O_EXTRAS, O_REST, COLUMNS
};
enum answer { /* columns of its row */
    X_STREAM, X_STATE, X_FLOOR, X_OLDEST, X_OLDEST_MS, X_NEWEST_MS, X_MESSAGES, X_BYTES, X_EVICTED, X_EVICTED_BYTES,
    H_PUBLISHED, H_NAME, H_EXTRAS, H_REST,
    R_RESULT, R_DELIVERY, R_HISTORY, R_CREATED, R_AT, R_HISTORY_AT, R_OPEN, R_BYTES, R_APPENDS, R_WAS, R_STATUS, R_ACTION, R_STRING,
    R_TEXT, ANSWERS, X_NOW = ANSWERS
};

/* ---- the batch ---- */

struct target { /* a message that is mutated */
    struct batch_channel *channel;
    uint64_t history;
    int64_t number;            /* from 1 */
    struct str name, extras, rest; /* as the operations go on */
};
struct receipt_key { /* key of the map of receipts */
    int64_t tag;
    struct batch_channel *channel;
};
struct batch_op {
    struct batch_op *next;     /* of the channel */
    struct store_op *op;
    struct batch_channel *channel;
    struct target *target;     /* NULL: none */
    struct receipt_key receipt;
    struct batch_op *same;     /* the one before it with this receipt */
    int64_t number;            /* from 1, in the order of the arrays */
};
struct batch_channel {
    struct str key, app_id, name;
    struct batch_op *first, *last;
    const struct store_op *newest; /* write */
    int64_t number, creates, evict;
    char stream_id[STREAM_ID_SIZE + 1]; /* if it is new */
    bool makes, locks;
};

struct batch {
    struct arena arena;
    struct random *random;
    struct map channels, targets, receipts;
    struct batch_channel **order;
    struct target **target;
    struct batch_op **op;
    size_t ops, notes;
    int64_t now_ms;            /* of the store, once it has answered; 0 = nothing was asked */
    struct buf column[COLUMNS];
};

static bool is_mutation(const struct store_write *w)
{
    return w->action != ACTION_CREATE && w->action != ACTION_ORDINARY;
}

static int64_t receipt_tag(const struct store_write *w)
{
    struct {
        struct hash128 key;
        uint64_t created, history;
    } named = {w->receipt_key, 0, 0};
    if (is_mutation(w)) {
        named.created = w->target.create_delivery;
        named.history = w->target.history;
    }
    return (int64_t)hash128(str_make(&named, sizeof(named))).lo;
}

static struct batch_channel *channel_of(struct batch *b, const struct store_op *op)
{
    char *bytes = arena_alloc(&b->arena, op->app_id.n + op->channel.n + 1);
    memcpy(bytes, op->app_id.p, op->app_id.n);
    bytes[op->app_id.n] = '\0';
    memcpy(bytes + op->app_id.n + 1, op->channel.p, op->channel.n);
    struct str key = str_make(bytes, op->app_id.n + op->channel.n + 1);
    struct batch_channel *ch = map_get(&b->channels, key);
    if (ch != NULL)
        return ch;
    ch = arena_zalloc(&b->arena, sizeof(*ch));
    ch->key = key;
    ch->app_id = str_first(key, op->app_id.n);
    ch->name = str_from(key, op->app_id.n + 1);
    ch->evict = EVICT_MAX;
    random_uuid(b->random, ch->stream_id);
    map_put(&b->channels, key, ch);
    return ch;
}

static struct target *target_of(struct batch *b, struct batch_channel *ch, uint64_t history)
{
    struct {
        struct batch_channel *channel;
        uint64_t history;
    } *key = arena_alloc(&b->arena, sizeof(*key));
    key->channel = ch;
    key->history = history;
    struct target *t = map_get(&b->targets, str_make(key, sizeof(*key)));
    if (t != NULL)
        return t;
    t = arena_zalloc(&b->arena, sizeof(*t));
    t->channel = ch;
    t->history = history;
    t->number = (int64_t)b->targets.count + 1;
    map_put(&b->targets, str_make(key, sizeof(*key)), t);
    return t;
}

static uint64_t given_bytes(const struct store_write *w)
{
    return w->data.p == NULL ? 0 : is_json_string(w->data) ? json_text_size(w->data) : w->data.n;
}

static bool opens(const struct store_write *w)
{
    return !(w->clear & CLEAR_EXTRAS) && w->extras.p != NULL && w->status == STREAM_OPEN;
}

/* What a create on a channel that is not there yet meets: a refusal must not make the channel. */
static enum store_result refusal_when_unknown(const struct store_write *w)
{
    if (w->bytes_max > 0 && given_bytes(w) > w->bytes_max)
        return STORE_BYTES_MAX;
    return opens(w) && w->refuse_opening ? STORE_OPEN_MAX : STORE_OK;
}

static void add_op(struct batch *b, struct store_op *op)
{
    struct batch_op *o = arena_zalloc(&b->arena, sizeof(*o));
    struct batch_channel *ch = channel_of(b, op);
    o->op = op;
    o->channel = ch;
    if (ch->last != NULL)
        ch->last->next = o;
    else
        ch->first = o;
    ch->last = o;
    b->ops++;
    if (op->kind == STORE_HEAD) {
        ch->makes |= op->read.materialise;
        return;
    }
    const struct store_write *w = &op->write;
    ch->locks = true;
    ch->newest = op;
    if (is_mutation(w)) {
        o->target = target_of(b, ch, w->target.history);
    } else {
        ch->evict += 2;
        ch->makes |= refusal_when_unknown(w) == STORE_OK;
    }
    if (hash128_is_zero(w->receipt_key))
        return;
    o->receipt = (struct receipt_key){receipt_tag(w), ch};
    o->same = map_put(&b->receipts, str_make(&o->receipt, sizeof(o->receipt)), o);
}

static int by_key(const void *a, const void *b)
{
    return str_cmp((*(struct batch_channel *const *)a)->key, (*(struct batch_channel *const *)b)->key);
}

/* Every channel and operation gets its number. */
static void set_order(struct batch *b)
{
    size_t at = 0, n = 0;
    b->order = arena_alloc(&b->arena, (b->channels.count + 1) * sizeof(*b->order));
    b->target = arena_alloc(&b->arena, (b->targets.count + 1) * sizeof(*b->target));
    b->op = arena_alloc(&b->arena, (b->ops + 1) * sizeof(*b->op));
    for (struct batch_channel *ch; (ch = map_next(&b->channels, &at)) != NULL;)
        b->order[n++] = ch;
    qsort(b->order, n, sizeof(*b->order), by_key);
    at = 0;
    for (struct target *t; (t = map_next(&b->targets, &at)) != NULL;)
        b->target[t->number - 1] = t;
    n = 0;
    for (size_t i = 0; i < b->channels.count; i++) {
        b->order[i]->number = (int64_t)i + 1;
        for (struct batch_op *o = b->order[i]->first; o != NULL; o = o->next) {
            b->op[n] = o;
            o->number = (int64_t)++n;
        }
    }
}

/* ---- arrays ---- */

static void put(struct batch *b, enum column column, int64_t value)
{
    pg_item_i64(&b->column[column], value);
}

static void put_channel(struct batch *b, const struct batch_channel *ch, const struct promises *promises)
{
    static const struct store_write nothing = {0};
    const struct store_write *w = ch->newest != NULL ? &ch->newest->write : &nothing;
    const struct promise *kept = promises_find(promises, ch->key);
    pg_item_bytes(&b->column[C_APP], ch->app_id);
    pg_item_bytes(&b->column[C_NAME], ch->name);
    pg_item_bool(&b->column[C_MAKE], ch->makes);
    pg_item_bool(&b->column[C_LOCK], ch->locks);
    pg_item_bytes(&b->column[C_STREAM], str_of(ch->stream_id));
    put(b, C_STREAM8, stream8_of(str_of(ch->stream_id)));
    put(b, C_PROMISED8, kept != NULL ? (int64_t)kept->stream8 : -1);
    put(b, C_PROMISED, kept != NULL ? (int64_t)kept->delivery : 0);
    put(b, C_WINDOW, (int64_t)w->retention.window_ms);
    put(b, C_MESSAGES_MAX, (int64_t)w->retention.messages_max);
    put(b, C_BYTES_MAX, (int64_t)w->retention.bytes_max);
    put(b, C_EVICT, ch->evict);
}

static int64_t flags_of(const struct store_write *w)
{
    return (w->data.p != NULL ? HAS_DATA : 0) | (is_json_string(w->data) ? DATA_IS_STRING : 0) |
           (w->event_name.p != NULL && w->action != ACTION_APPEND ? HAS_NAME : 0) | (w->extras.p != NULL ? HAS_EXTRAS : 0) |
           (w->clear & CLEAR_NAME ? CLEARS_NAME : 0) | (w->clear & CLEAR_DATA ? CLEARS_DATA : 0) |
           (w->clear & CLEAR_EXTRAS ? CLEARS_EXTRAS : 0) | (w->refuse_append_after_terminal ? REFUSES_AFTER_TERMINAL : 0) |
           (w->refuse_opening ? REFUSES_OPENING : 0) | (w->expects_bytes ? EXPECTS_BYTES : 0) | (w->follows ? FOLLOWS : 0);
}

static void put_texts(struct batch *b, const struct store_write *w)
{
    struct texts t = {w->message_id, w->client_id, w->user_id, w->description, w->metadata, w->tags};
    struct buf rest = {0};
    bool some = t.message_id.p || t.client_id.p || t.user_id.p || t.description.p || t.metadata.p || t.tags.p;
    if (some)
        texts_put(&rest, &t);
    pg_item_bytes(&b->column[O_DATA], is_json_string(w->data) ? string_body(w->data) : w->data);
    pg_item_bytes(&b->column[O_NAME], w->event_name);
    pg_item_bytes(&b->column[O_EXTRAS], w->extras);
    pg_item_bytes(&b->column[O_REST], some ? buf_view(&rest) : STR_NONE);
    put(b, O_SIZE, (int64_t)(ROW_BYTES + w->data.n + w->event_name.n + w->extras.n + rest.n));
    buf_free(&rest);
}

static void put_op(struct batch *b, const struct batch_op *o)
{
    static const struct store_write nothing = {0};
    const struct store_write *w = o->op->kind == STORE_WRITE ? &o->op->write : &nothing;
    put(b, O_CH, o->channel->number);
    put(b, O_ACTION, o->op->kind == STORE_WRITE ? (int64_t)w->action : -1);
    put(b, O_M, o->target != NULL ? o->target->number : 0);
    put(b, O_CREATED, (int64_t)w->target.create_delivery);
    put(b, O_STREAM8, w->target.stream8);
    put(b, O_FLAGS, flags_of(w));
    put(b, O_STATUS, (int64_t)w->status);
    put(b, O_NOW, w->now_ms);
    put(b, O_GIVEN, (int64_t)given_bytes(w));
    if (o->receipt.channel != NULL) {
        put(b, O_TAG, o->receipt.tag);
        put(b, O_PRINT, (int64_t)(w->fingerprint.lo ^ w->fingerprint.hi * 0x9e3779b97f4a7c15u));
    } else {
        pg_item_null(&b->column[O_TAG]);
        pg_item_null(&b->column[O_PRINT]);
    }
    put(b, O_DUP, o->same != NULL ? o->same->number : 0);
    put(b, O_TTL, (int64_t)w->receipt_ttl_ms);
    put(b, O_EXPECT, (int64_t)w->expect_delivery);
    put(b, O_EXPECT_BYTES, (int64_t)w->expect_bytes);
    put(b, O_WRITER, (int64_t)w->writer);
    put(b, O_APPENDS_MAX, w->appends_max);
    put(b, O_OPEN_MAX, w->open_max);
    put(b, O_BYTES_MAX, (int64_t)w->bytes_max);
    put_texts(b, w);
}

static int type_of(enum column column)
{
    if (column == C_APP || column == C_NAME || column == C_STREAM)
        return PG_OID_TEXT;
    if (column == C_MAKE || column == C_LOCK)
        return PG_OID_BOOL;
    return column >= O_DATA ? PG_OID_BYTEA : PG_OID_INT8;
}

static void put_all(struct batch *b, struct pg_conn *c, enum batch_wait wait, const struct promises *promises)
{
    for (size_t i = 0; i < b->channels.count; i++)
        put_channel(b, b->order[i], promises);
    for (size_t i = 0; i < b->targets.count; i++) {
        put(b, M_CH, b->target[i]->channel->number);
        put(b, M_HISTORY, (int64_t)b->target[i]->history);
    }
    for (size_t i = 0; i < b->ops; i++)
        put_op(b, b->op[i]);
    pg_query(c, PG_WRITE);
    pg_bool(c, wait == BATCH_WAITS);
    for (enum column column = 0; column < COLUMNS; column++)
        pg_array(c, type_of(column), column < M_CH ? b->channels.count : column < O_CH ? b->targets.count : b->ops,
                 &b->column[column]);
}

/* ---- notes ---- */

/* Of several entries with one key the last one holds, over the whole batch. */
static void put_notes(struct batch *b, struct pg_conn *c, const struct queue *ops)
{
    struct map last = {0};
    struct buf keys = {0}, values = {0}, gone = {0};
    size_t at = 0, puts = 0, dels = 0;
    for (const struct store_op *op = ops->first; op != NULL; op = op->next)
        for (size_t i = 0; op->kind == STORE_NOTE_PUT && op->result == STORE_OK && i < op->notes.put_count; i++) {
            const struct store_note *note = &op->notes.put[i];
            map_put(&last, note->key, (void *)note);
        }
    for (const struct store_note *note; (note = map_next(&last, &at)) != NULL;) {
        pg_item_bytes(note->value.p != NULL ? &keys : &gone, note->key);
        puts += note->value.p != NULL;
        dels += note->value.p == NULL;
        if (note->value.p != NULL)
            pg_item_bytes(&values, note->value);
    }
    if (puts > 0) {
        pg_query(c, PG_NOTES_PUT);
        pg_array(c, PG_OID_BYTEA, puts, &keys);
        pg_array(c, PG_OID_BYTEA, puts, &values);
    }
    if (dels > 0) {
        pg_query(c, PG_NOTES_DELETE);
        pg_array(c, PG_OID_BYTEA, dels, &gone);
    }
    b->notes = puts + dels;
    buf_free(&keys);
    buf_free(&values);
    buf_free(&gone);
    map_free(&last);
}

/* ---- answers ---- */

struct answers {
    struct str *of[ANSWERS]; /* elements */
    int64_t now_ms;          /* by the store's clock */
};

static int64_t answer(const struct answers *a, enum answer column, int64_t number)
{
    return pg_to_i64(a->of[column][number - 1]);
}

static void set_head(const struct answers *a, const struct batch_op *o)
{
    struct store_head *head = &o->op->head;
    int64_t c = o->channel->number, i = o->number;
    struct str stream_id = a->of[X_STREAM][c - 1];
    *head = (struct store_head){0};
    if (stream_id.p == NULL || stream_id.n > STREAM_ID_SIZE)
        return;
    memcpy(head->stream_id, stream_id.p, stream_id.n);
    head->delivery = (uint64_t)answer(a, R_AT, i);
    head->history = (uint64_t)answer(a, R_HISTORY_AT, i);
    head->open_streams = (uint32_t)answer(a, R_OPEN, i);
    head->replay_floor = (uint64_t)answer(a, X_FLOOR, c);
    head->oldest_history = (uint64_t)answer(a, X_OLDEST, c);
    head->oldest_ms = answer(a, X_OLDEST_MS, c);
    head->newest_ms = answer(a, X_NEWEST_MS, c);
    head->retained_messages = (uint64_t)answer(a, X_MESSAGES, c);
    head->messages = (uint32_t)head->retained_messages;
    head->retained_bytes = (uint64_t)answer(a, X_BYTES, c);
    health_says(answer(a, X_STATE, c), head);
}

static void set_create(const struct store_write *w, struct store_written *out)
{
    out->created_ms = out->at_ms;
    out->name = w->event_name;
    out->extras = w->extras;
    out->data = w->data;
    out->tags = w->tags;
    out->user_id = w->user_id;
}

static void set_mutation(const struct answers *a, const struct batch_op *o)
{
    const struct store_write *w = &o->op->write;
    struct store_written *out = &o->op->written;
    struct arena *arena = &o->op->arena;
    struct target *t = o->target;
    struct texts created;
    if ((w->event_name.p != NULL || (w->clear & CLEAR_NAME)) && w->action != ACTION_APPEND)
        t->name = w->event_name;
    if (w->extras.p != NULL || (w->clear & CLEAR_EXTRAS))
        t->extras = w->extras;
    texts_read(t->rest, &created);
    out->created_ms = answer(a, H_PUBLISHED, t->number);
    out->status_before = (enum stream_status)answer(a, R_WAS, o->number);
    out->action_before = (enum store_action)answer(a, R_ACTION, o->number);
    out->appends = (uint32_t)answer(a, R_APPENDS, o->number);
    out->name = arena_copy(arena, t->name);
    out->extras = arena_copy(arena, t->extras);
    out->user_id = arena_copy(arena, created.user_id.p != NULL ? created.user_id : created.client_id);
    out->tags = arena_copy(arena, created.tags);
    if (w->action == ACTION_APPEND || w->data.p != NULL)
        out->data = w->data;
    else
        out->data = stored_json(a->of[R_TEXT][o->number - 1], a->of[R_STRING][o->number - 1].p[0] != 0, arena);
}

static void set_write(const struct answers *a, const struct batch_op *o)
{
    struct store_op *op = o->op;
    const struct store_write *w = &op->write;
    struct store_written *out = &op->written;
    *out = (struct store_written){0};
    if (op->result == (enum store_result)RESULT_NOT_MADE) {
        enum store_result why = refusal_when_unknown(w);
        op->result = why != STORE_OK ? why : STORE_FAILED;
    }
    if (op->result > STORE_RECEIPT_CONFLICT)
        return;
    out->delivery = (uint64_t)answer(a, R_DELIVERY, o->number);
    out->history = (uint64_t)answer(a, R_HISTORY, o->number);
    out->message = (struct message_id){(uint64_t)answer(a, R_CREATED, o->number), out->history, stream8_of(str_of(op->head.stream_id))};
    if (op->result != STORE_OK)
        return;
    out->at_ms = w->now_ms != 0 ? w->now_ms : a->now_ms;
    out->message_bytes = (uint64_t)answer(a, R_BYTES, o->number);
    out->status = (enum stream_status)answer(a, R_STATUS, o->number);
    if (o->target == NULL)
        set_create(w, out);
    else
        set_mutation(a, o);
}

static void set_head_op(struct store_op *op)
{
    op->found = (struct store_found){0};
    if (op->result == STORE_OK && op->head.stream_id[0] != '\0' && op->read.stream_id.p != NULL &&
        !str_eq(op->read.stream_id, str_of(op->head.stream_id)))
        op->result = STORE_WRONG_STREAM;
}

static void set_evicted(const struct answers *a, const struct batch_channel *ch)
{
    struct batch_op *newest = NULL;
    for (struct batch_op *o = ch->first; o != NULL; o = o->next)
        if (o->op->kind == STORE_WRITE && o->op->result == STORE_OK)
            newest = o;
    if (newest == NULL)
        return;
    newest->op->written.evicted_messages = (uint64_t)answer(a, X_EVICTED, ch->number);
    newest->op->written.evicted_bytes = (uint64_t)answer(a, X_EVICTED_BYTES, ch->number);
}

static void set_answers(struct batch *b, const PGresult *r, struct promises *promises)
{
    struct answers a;
    size_t count;
    for (int i = 0; i < ANSWERS; i++)
        a.of[i] = pg_elements(pg_field(r, 0, i), &b->arena, &count);
    a.now_ms = b->now_ms = pg_number(r, 0, X_NOW);
    for (size_t i = 0; i < b->targets.count; i++) {
        b->target[i]->name = a.of[H_NAME][i];
        b->target[i]->extras = a.of[H_EXTRAS][i];
        b->target[i]->rest = a.of[H_REST][i];
    }
    for (size_t i = 0; i < b->ops; i++) {
        struct batch_op *o = b->op[i];
        o->op->result = (enum store_result)answer(&a, R_RESULT, o->number);
        set_head(&a, o);
        if (o->op->result == (enum store_result)BATCH_LOCKED)
            continue;
        if (o->op->kind == STORE_WRITE)
            set_write(&a, o);
        else
            set_head_op(o->op);
        if (o->op->result != STORE_UNHEALTHY && o->op->head.stream_id[0] != '\0')
            promises_keep(promises, o->channel->key, &o->op->head);
    }
    for (size_t i = 0; i < b->channels.count; i++)
        set_evicted(&a, b->order[i]);
}

static bool notes_fit(const struct store_notes *n)
{
    for (size_t i = 0; i < n->put_count; i++)
        if (n->put[i].key.n == 0 || n->put[i].key.n > NOTE_KEY_MAX || n->put[i].value.n > NOTE_VALUE_MAX)
            return false;
    return true;
}

static bool is_storable(struct str name)
{
    return str_is_utf8(name) && str_index(name, '\0') < 0;
}

static void batch_free(struct batch *b)
{
    for (int i = 0; i < COLUMNS; i++)
        buf_free(&b->column[i]);
    map_free(&b->channels);
    map_free(&b->targets);
    map_free(&b->receipts);
    arena_free(&b->arena);
}

static enum batch_result batch_exchange(struct batch *b, struct pg_conn *c, struct queue *ops, enum batch_wait wait,
                                        struct promises *promises)
{
    struct pg_query *write = NULL;
    pg_query(c, PG_BEGIN);
    if (b->ops > 0) {
        put_all(b, c, wait, promises);
        write = &c->queries[c->queries_count - 1];
    }
    put_notes(b, c, ops);
    pg_query(c, PG_COMMIT);
    if (b->ops == 0 && b->notes == 0) {
        pg_forget(c);
        return BATCH_DONE;
    }
    uint64_t asked_ms = clock_mono_ms(c->clock);
    enum pg_verdict verdict = pg_run(c, c->options->write_timeout_ms + 2000);
    if (verdict == PG_FINE && strcmp(PQcmdStatus(c->queries[c->queries_count - 1].result), "COMMIT") != 0)
        verdict = PG_REFUSED;
    if (verdict == PG_FINE && write != NULL)
        set_answers(b, write->result, promises);
    if (b->now_ms != 0)
        clock_hears(c->ahead_ms, c->clock, b->now_ms, asked_ms);
    return verdict == PG_FINE ? BATCH_DONE : verdict == PG_REFUSED ? BATCH_AGAIN : BATCH_FAILED;
}

enum batch_result batch_run(struct pg_conn *c, struct queue *ops, enum batch_wait wait, struct random *random,
                            struct promises *promises)
{
    struct batch b = {.random = random};
    for (struct store_op *op = ops->first; op != NULL; op = op->next) {
        op->result = STORE_OK;
        if (op->kind == STORE_NOTE_PUT)
            op->result = notes_fit(&op->notes) ? STORE_OK : STORE_BYTES_MAX;
        else if (is_storable(op->app_id) && is_storable(op->channel))
            add_op(&b, op);
        else
            op->result = STORE_FAILED;
    }
    set_order(&b);
    enum batch_result result = batch_exchange(&b, c, ops, wait, promises);
    if (result == BATCH_FAILED)
        for (struct store_op *op = ops->first; op != NULL; op = op->next)
            op->result = STORE_FAILED;
    batch_free(&b);
    return result;
}
