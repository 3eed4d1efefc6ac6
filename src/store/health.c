/* health.c - channels whose rows cannot be trusted (chapter 3, 2.8): which, why, and since when it is known: for good.
 *
 *      lost       positions that were acknowledged are gone     reset_required
 *      load       the rows above the checkpoint disagree        reset_required: the counters cannot be trusted
 *      rows       a message's rows are damaged                  degraded: writes go on
 *
 * Found by whoever reads, kept in memory and under 'U', cleared by a reset alone.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/engine_internal.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pack.h"
#include <stdatomic.h>
#include <stdlib.h>

enum { RECALLED_MAX = 20 }; /* named in the log at a start */

struct unhealthy {
    struct str key; /* app id, 0, channel; owned */
    enum stream_fault fault;
};

/* A channel that memory forgot, with what it had acknowledged: what is found later must not lie below. */
struct promise {
    struct str key; /* likewise */
    char stream_id[STREAM_ID_SIZE + 1];
    uint64_t delivery;
};

static void show_counts(struct engine *e)
{
    uint64_t reset_required = 0;
    size_t at = 0;
    for (const struct unhealthy *u; (u = map_next(&e->unhealthy, &at)) != NULL;)
        reset_required += u->fault != FAULT_ROWS;
    atomic_store_explicit(&e->stats->degraded_channels, e->unhealthy.count, memory_order_relaxed);
    atomic_store_explicit(&e->stats->reset_required_channels, reset_required, memory_order_relaxed);
}

static void forget_one(struct engine *e, struct unhealthy *u)
{
    map_del(&e->unhealthy, u->key);
    free((void *)u->key.p);
    free(u);
}

static void remember(struct engine *e, struct str key, enum stream_fault fault)
{
    struct unhealthy *u = map_get(&e->unhealthy, key);
    if (u == NULL) {
        u = mem_new(struct unhealthy);
        u->key = str_make(str_dup(key), key.n);
        map_put(&e->unhealthy, u->key, u);
    }
    u->fault = fault;
}

void health_free(struct engine *e)
{
    size_t at = 0;
    for (struct unhealthy *u; (u = map_next(&e->unhealthy, &at)) != NULL;)
        forget_one(e, u);
    map_free(&e->unhealthy);
    at = 0;
    for (struct promise *p; (p = map_next(&e->promises, &at)) != NULL;) {
        map_del(&e->promises, p->key);
        free((void *)p->key.p);
        free(p);
    }
    map_free(&e->promises);
}

static void say(struct str key, enum stream_fault fault)
{
    struct store_head head;
    struct str name = key, app_id = str_split(&name, '\0');
    health_output(fault, &head);
    log_error("store", "channel %.*s of app %.*s is %s: %.*s. It stays so until its history is reset (POST .../history/reset)",
              STR_ARG(name), STR_ARG(app_id), head.state == STATE_DEGRADED ? "degraded" : "refused", STR_ARG(head.state_reason));
}

/* An operator who reads the log of this start only must learn of them too. */
static void recall(const struct engine *e)
{
    size_t at = 0, named = 0;
    for (const struct unhealthy *u; named < RECALLED_MAX && (u = map_next(&e->unhealthy, &at)) != NULL; named++)
        say(u->key, u->fault);
    if (e->unhealthy.count > named)
        log_error("store", "and %zu more channels", e->unhealthy.count - named);
}

void health_load(struct engine *e)
{
    struct str key, value;
    size_t at = 0;
    for (struct unhealthy *u; (u = map_next(&e->unhealthy, &at)) != NULL;)
        forget_one(e, u);
    struct kv_cursor *cursor = kv_scan(e->kv, STR("U"), STR("V"), false);
    while (kv_next(e->kv, cursor, &key, &value)) {
        uint64_t format, fault;
        bool fine = unpack_u64(&value, &format) && unpack_u64(&value, &fault) && fault > FAULT_NONE && fault <= FAULT_ROWS;
        remember(e, str_from(key, 1), fine ? (enum stream_fault)fault : FAULT_LOAD);
    }
    kv_end(e->kv, cursor);
    show_counts(e);
    recall(e);
}

enum stream_fault health_of(const struct engine *e, struct str key)
{
    const struct unhealthy *u = e->unhealthy.count > 0 ? map_get(&e->unhealthy, key) : NULL;
    return u != NULL ? u->fault : FAULT_NONE;
}

static void health_key(struct buf *out, struct str key)
{
    buf_clear(out);
    buf_char(out, 'U');
    buf_str(out, key);
}

void health_mark(struct engine *e, struct str key, enum stream_fault fault)
{
    struct stored_channel *ch = map_get(&e->channels, key);
    enum stream_fault before = health_of(e, key);
    if (before != FAULT_NONE && before <= fault)
        return; /* that is worse, or the same */
    remember(e, key, fault);
    say(key, fault);
    if (ch != NULL)
        ch->fault = fault;
    health_key(&e->scratch, key);
    buf_clear(&e->value);
    pack_u64(&e->value, ROW_FORMAT);
    pack_u64(&e->value, fault);
    kv_put(e->kv, buf_view(&e->scratch), buf_view(&e->value));
    show_counts(e);
}

void health_clear(struct engine *e, struct str key)
{
    struct unhealthy *u = map_get(&e->unhealthy, key);
    if (u == NULL)
        return;
    struct str name = key, app_id = str_split(&name, '\0');
    log_info("store", "channel %.*s of app %.*s is healthy again: its history begins anew", STR_ARG(name), STR_ARG(app_id));
    forget_one(e, u);
    health_key(&e->scratch, key);
    kv_del(e->kv, buf_view(&e->scratch));
    show_counts(e);
}

void health_output(enum stream_fault fault, struct store_head *out)
{
    static const struct {
        enum stream_state state;
        struct str reason;
    } what[] = {
        [FAULT_NONE] = {STATE_HEALTHY, STR_NONE},
        [FAULT_LOST] = {STATE_RESET_REQUIRED, STR("store_lost_positions")},
        [FAULT_LOAD] = {STATE_RESET_REQUIRED, STR("store_rows_disagree")},
        [FAULT_ROWS] = {STATE_DEGRADED, STR("store_rows_damaged")},
    };
    out->state = what[fault].state;
    out->state_reason = what[fault].reason;
}

void fault_met(struct engine *e, enum stream_fault found)
{
    e->failed = true;
    if (e->fault == FAULT_NONE || found < e->fault)
        e->fault = found;
}

bool health_settle(struct engine *e, struct store_op *op)
{
    if (e->fault == FAULT_NONE)
        return false;
    enum stream_fault found = e->fault;
    struct buf key = {0};
    e->fault = FAULT_NONE;
    e->failed = false;
    buf_str(&key, op->app_id);
    buf_char(&key, '\0');
    buf_str(&key, op->channel);
    health_mark(e, buf_view(&key), found);
    health_refuse(e, op, buf_view(&key));
    buf_free(&key);
    return true;
}

void health_refuse(struct engine *e, struct store_op *op, struct str key)
{
    enum stream_fault known = health_of(e, key);
    struct stored_channel *ch = map_get(&e->channels, key);
    struct channel_record record;
    op->result = STORE_UNHEALTHY;
    op->head = (struct store_head){0};
    if (ch != NULL) {
        head_output(ch, &op->head);
    } else if (channel_record_get(e, op->app_id, op->channel, &record)) {
        memcpy(op->head.stream_id, record.stream_id, sizeof(record.stream_id));
        op->head.delivery = record.delivery;
        op->head.history = record.history;
    }
    e->failed = false;
    e->fault = FAULT_NONE;
    health_output(known, &op->head);
}

void engine_suspect(struct engine *e, struct str app_id, struct str channel, struct str stream_id)
{
    struct channel_record record;
    struct buf key = {0};
    buf_str(&key, stored_key(e, app_id, channel));
    if (channel_record_get(e, app_id, channel, &record) && str_eq(stream_id, str_of(record.stream_id)))
        health_mark(e, buf_view(&key), FAULT_ROWS);
    e->failed = false;
    e->fault = FAULT_NONE;
    buf_free(&key);
}

/* ---- promises ---- */

void promise_keep(struct engine *e, const struct stored_channel *ch)
{
    if (ch->acknowledged == 0)
        return;
    struct promise *p = map_get(&e->promises, ch->key);
    if (p == NULL) {
        p = mem_new(struct promise);
        p->key = str_make(str_dup(ch->key), ch->key.n);
        map_put(&e->promises, p->key, p);
    }
    memcpy(p->stream_id, ch->record.stream_id, sizeof(p->stream_id));
    p->delivery = ch->acknowledged;
}

bool promise_holds(struct engine *e, const struct stored_channel *ch)
{
    struct promise *p = e->promises.count > 0 ? map_get(&e->promises, ch->key) : NULL;
    if (p == NULL)
        return true;
    bool holds = strcmp(p->stream_id, ch->record.stream_id) != 0 || ch->delivery >= p->delivery;
    map_del(&e->promises, p->key);
    free((void *)p->key.p);
    free(p);
    return holds;
}
