/* engine_internal.h - what the files of the engine share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/list.h"
#include "base/map.h"
#include "store/engine.h"
#include "store/row.h"

/* Stored as numbers; the smaller, the worse. */
enum stream_fault { FAULT_NONE, FAULT_LOST, FAULT_LOAD, FAULT_ROWS };

struct receipts { /* op_ids of one message: open addressing, never shrinks */
    uint32_t *tags;    /* 0 = free */
    uint32_t *offsets; /* delivery - create of the row with that receipt */
    uint32_t count, mask;
    bool known;        /* false: to be rebuilt from the rows */
};

struct message {
    uint64_t history;          /* the key in channel->messages */
    struct stored_channel *channel;
    struct list lru;           /* engine->messages, newest last */
    struct head h;             /* texts owned */
    struct buf tail;           /* text of the rows since the last fold */
    uint64_t *rows;            /* their deliveries; room for FOLD_ROWS */
    uint32_t rows_count;
    bool tail_replaces, tail_is_string, tail_has_data;
    struct list dirty;         /* channel->dirty while it has rows that no segment holds, beyond an untouched create */
    struct list folding;       /* engine->folding while its newest segment is in the pending batch */
    uint64_t dirty_from;       /* delivery of the first such row */
    struct receipts receipts;
    size_t bytes;              /* of memory, as counted in engine->messages_bytes */
    uint64_t writer;           /* of the newest version; 0 = nobody in particular, or not known */
};

struct stored_channel {
    struct str key;            /* app id, 0, name; owned */
    struct list lru;           /* engine->channels_lru, newest last */
    struct list touched;       /* engine->touched while the pending batch has something of it */
    struct channel_record record;
    struct floor_record floor;
    uint32_t stream8;
    uint64_t delivery, history, bytes_ever;
    uint64_t shown_messages, shown_bytes; /* its share of the stats */
    uint64_t acknowledged;     /* delivery as of the last commit */
    enum stream_fault fault;
    int64_t oldest_ms, newest_ms;
    uint32_t open;
    struct list dirty;         /* its dirty messages, by dirty_from */
    size_t dirty_count;
    struct store_retention retention; /* of the newest write */
    int64_t written_ms;               /* its label */
    uint64_t collapse_at;             /* messages below it have one version each */
    uint64_t retain_at;               /* places below it were looked at: only open streams are left of them */
    int64_t retain_ms;                /* when that place was published; 0 = not known */
    struct store_op *newest_write;    /* in the pending batch */
    uint32_t batch_places;            /* places that the pending batch gives */
    struct map messages;       /* history (8 bytes) -> struct message */
};

struct pending_receipt {       /* of rows in the pending batch: the kv does not have them yet */
    struct hash128 key, fingerprint;
    uint64_t cid, delivery, history;
    bool mutation;
};

struct engine {
    struct kv *kv;
    struct store_stats *stats;
    struct random random;
    const struct clock *clock;
    struct map channels;
    struct list channels_lru, messages, touched, folding;
    size_t messages_count, messages_bytes, messages_bytes_max;
    uint64_t next_cid;
    bool cid_known;
    struct pending_receipt *pending;
    size_t pending_count, pending_cap;
    struct buf scratch, value;
    struct buf work_at;        /* where background retention goes on: a channel's key; empty = at the first */
    struct buf receipts_at;    /* likewise, for receipts */
    bool channels_done, receipts_done;
    bool failed;               /* a read of the operation at hand failed: what it loaded is not to be trusted */
    enum stream_fault fault;   /* or its channel's rows are damaged (failed is set too) */
    struct map unhealthy;      /* channel's key -> struct unhealthy */
    struct map promises;       /* channel's key -> struct promise */
    bool spoilt;               /* one failed when it had staged something already: the batch must not be committed */
};

/* load.c */
/* NULL: unknown, or e->failed. */
struct stored_channel *channel_get(struct engine *e, struct str app_id, struct str name);
/* The key of a channel, in e->scratch. */
struct str stored_key(struct engine *e, struct str app_id, struct str name);
/* The record alone, for a channel whose rows cannot be loaded. */
bool channel_record_get(struct engine *e, struct str app_id, struct str name, struct channel_record *record);
struct stored_channel *channel_make(struct engine *e, struct str app_id, struct str name);
void channel_drop(struct engine *e, struct stored_channel *ch);
void channel_touch(struct engine *e, struct stored_channel *ch);
struct message *message_get(struct engine *e, struct stored_channel *ch, uint64_t history);
struct message *message_add(struct engine *e, struct stored_channel *ch, uint64_t history);
void message_drop(struct engine *e, struct message *m);
void message_is_clean(struct message *m);
/* To be called when a message may have grown or shrunk. */
void message_weigh(struct engine *e, struct message *m);
/* Its share of the stats, as of now. */
void channel_show(struct engine *e, struct stored_channel *ch);
/* Moves m on by one row that is (or is about to be) stored at `delivery`; size = bytes of its value. */
void message_apply(struct message *m, uint64_t delivery, const struct row *row, uint64_t size);
void head_output(const struct stored_channel *ch, struct store_head *out);
bool load_place(struct engine *e, uint64_t cid, uint64_t history, struct place *place);

/* fold.c */
void message_fold(struct engine *e, struct message *m);
/* All of it, or a few messages once it is due: called for each write. */
void channel_checkpoint(struct engine *e, struct stored_channel *ch);
void channel_checkpoint_some(struct engine *e, struct stored_channel *ch);
void put_channel_record(struct engine *e, struct stored_channel *ch);
void engine_trim_before(struct engine *e);
void engine_trim_after(struct engine *e);

/* receipt.c */
void receipts_free(struct receipts *r);
void receipts_add(struct receipts *r, struct hash128 key, uint64_t offset);
/* Delivery of the message's row with that op key and its fingerprint; false if none. */
bool receipts_find(struct engine *e, struct message *m, struct hash128 key, uint64_t *delivery, struct hash128 *fingerprint);
bool create_receipt_find(struct engine *e, struct stored_channel *ch, struct hash128 key, int64_t now_ms, struct receipt *out);
void pending_add(struct engine *e, struct pending_receipt p);
struct view;
struct view_rows;
/* The receipts of these rows, which the pending batch removes, outlive them until they are 24 hours old (1.9). */
void receipts_drop(struct engine *e, const struct view *v, const struct view_rows *rows, int64_t now_ms);
bool dropped_receipt_find(struct engine *e, uint64_t cid, uint64_t history, struct hash128 key, uint64_t *delivery,
                          struct hash128 *fingerprint);

/* retain.c */
struct eviction {
    uint64_t messages, bytes, rows;
};
enum evict_open { KEEP_OPEN, DROP_OPEN };
/* By the retention that the newest write asked for, at most messages_max of them and about EVICT_ROWS rows; nothing may be pending.
 * True if something was dropped. */
bool retain(struct engine *e, struct stored_channel *ch, int64_t now_ms, uint32_t messages_max, struct eviction *done);
void put_floor(struct engine *e, struct stored_channel *ch);
void del_rows(struct engine *e, const struct view *v, const struct view_rows *rows);
void stage_reset(struct engine *e, struct store_op *op);
enum stage_result stage_purge(struct engine *e, struct store_op *op);

/* collapse.c: versions older than the channel's window, at most messages_max messages and about EVICT_ROWS rows; *done grows. False:
 * there is more to do. */
bool collapse_old(struct engine *e, struct stored_channel *ch, int64_t now_ms, uint32_t messages_max, struct eviction *done);

/* health.c */
void health_load(struct engine *e); /* anew, from the kv */
void health_free(struct engine *e);
enum stream_fault health_of(const struct engine *e, struct str key);
void health_mark(struct engine *e, struct str key, enum stream_fault found);
void health_clear(struct engine *e, struct str key);
void health_output(enum stream_fault fault, struct store_head *out);
/* STORE_UNHEALTHY, with as good a head as there is. */
void health_refuse(struct engine *e, struct store_op *op, struct str key);
/* The operation at hand has met a fault. */
void fault_met(struct engine *e, enum stream_fault found);
/* If so: its channel is marked, the operation refused, and true returned. */
bool health_settle(struct engine *e, struct store_op *op);
/* What was acknowledged is remembered when memory forgets the channel; is it all there? Asked once. */
void promise_keep(struct engine *e, const struct stored_channel *ch);
bool promise_holds(struct engine *e, const struct stored_channel *ch);

/* note.c */
void stage_notes(struct engine *e, struct store_op *op);
enum store_result read_notes(struct kv *kv, struct store_op *op);

/* view.c: a message as the kv and a copied head have it; used by reads, and by the engine where nothing is pending */
struct view {
    uint64_t cid, history, create, last;
    uint32_t segments;
    const uint64_t *rows;      /* deliveries behind the last segment */
    uint32_t rows_count;
    uint64_t base;             /* as in struct head */
};
struct view_rows {             /* all deliveries of a message, ascending */
    uint64_t *at;
    size_t count;
};
struct source {
    struct kv *kv;
    struct arena *arena;       /* for what is read */
    bool failed;               /* a read failed; when it is false and a view_ function was, the rows are damaged */
};
/* All return false on damage or a failed read. Damaged are rows that are missing, unreadable, or contradict one another: of
 * another message, out of order, twice (appendix A, S6 to S11). */
bool view_load(struct source *src, uint64_t cid, uint64_t history, struct view *v, bool *found);
bool view_rows(struct source *src, const struct view *v, struct view_rows *out);
/* Whole data as of a delivery: JSON text in the arena; absent if none. */
bool view_text(struct source *src, const struct view *v, uint64_t as_of, struct str *data);
/* A row of this message. */
bool view_row(struct source *src, const struct view *v, uint64_t delivery, struct row *row);
bool get_row(struct source *src, uint64_t cid, uint64_t delivery, struct row *row);

static inline struct str history_key(const uint64_t *history)
{
    return str_make(history, sizeof(*history));
}
static inline bool is_open(enum stream_status status, enum store_action action)
{
    return status == STREAM_OPEN && action != ACTION_DELETE;
}
static inline bool is_dirty(const struct message *m)
{
    return !list_empty(&m->dirty);
}
static inline bool is_folding(const struct message *m)
{
    return !list_empty(&m->folding);
}
/* An update or delete that leaves the text as it was. */
static inline bool keeps_text(const struct row *row)
{
    return (row->action == ACTION_UPDATE || row->action == ACTION_DELETE) && !row->replaces;
}
/* Escaped body of a JSON string, without its quotes. */
static inline struct str string_body(struct str json)
{
    return str_make(json.p + 1, json.n - 2);
}
static inline bool is_json_string(struct str json)
{
    return json.n >= 2 && json.p[0] == '"';
}
