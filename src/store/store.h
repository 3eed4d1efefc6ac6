/* store.h - durable messages and their positions: the contract of every store (chapter 3, section 8).
 *
 * A *channel* has two counters. Every stored message or mutation takes the next `delivery` position; every create
 * and every ordinary message also takes the next `history` position. Both start at 1, have no holes, and are
 * given by the store alone, in the transaction that makes the operation durable.
 *
 *      delivery   1:create m1   2:append m1   3:create m2   4:append m1   5:update m2
 *      history    1 (m1)                      2 (m2)
 *
 * The channel's `stream id` says which life of the counters a position belongs to: made by the store, new after
 * a reset or a possible loss, never derived from names.
 *
 * Time is the store's: its clock labels what is written, and judges receipts, retention and idleness. So nodes that share a store
 * need not agree about the time. An embedded store has its process's clock.
 *
 * Operations are asynchronous: fill in a struct store_op, store_submit() it, and op->done(op) runs later on the
 * shard op->shard with `result` and the output fields set. A write is done only when it is durable as the sync
 * policy says. Operations of one channel that are submitted by one thread commit, and complete, in that order.
 * What a failed or refused operation would have taken (positions, receipts) it has not taken.
 *
 * Data is JSON text as it came (a slice of the request), never decoded and re-encoded: `"hel\nlo"` with its quotes.
 * An append's fragment is such a string too; its escaped body is what accumulates.
 *
 * Ownership: the op and everything it points to belong to the submitter, untouched until done() runs; outputs live in
 * op->arena. Threads: store_submit() any; done() on the op's shard.
 * Limits: at most STORE_QUEUE_OPS operations or STORE_QUEUE_BYTES bytes wait; beyond, STORE_BUSY at once (through done()).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/random.h"
#include "net/mailbox.h"
#include "wire/item.h"

enum { STORE_QUEUE_OPS = 65536 };
#define STORE_QUEUE_BYTES (256u << 20)

enum store_op_kind {
    STORE_WRITE,    /* create, ordinary message, update, delete, append */
    STORE_HEAD,     /* positions of one channel */
    STORE_HEADS,    /* stream id and newest positions of many channels */
    STORE_LATEST,   /* newest version of messages */
    STORE_VERSIONS, /* versions of one message, a page */
    STORE_PAGE,     /* history rows with the newest version of each, a page */
    STORE_REPLAY,   /* everything in a range of delivery positions, in order */
    STORE_OPEN,     /* open streams of all channels that have been idle for long */
    STORE_RESET,    /* forget a channel, new stream id */
    STORE_PURGE,    /* delete old rows of a channel with their messages */
    STORE_NOTE_PUT, /* write and delete notes, all or none */
    STORE_NOTE_SCAN,/* notes below a prefix, in byte order of their keys, a page */
};

enum store_result {
    STORE_OK = 0,
    STORE_DUPLICATE,        /* receipt found, same fingerprint: outputs name the first operation's positions */
    STORE_RECEIPT_CONFLICT, /* receipt found, other fingerprint */
    STORE_NOT_FOUND,        /* no such message */
    STORE_TERMINAL,         /* append to a closed stream */
    STORE_NOT_STRING,       /* append to data that is no string */
    STORE_APPENDS_MAX,
    STORE_BYTES_MAX,
    STORE_OPEN_MAX,
    STORE_CHANGED,          /* `expect_delivery` is not the message's newest version any more, its text is not `expect_bytes` long, or another writer's */
    STORE_UNHEALTHY,        /* see head.state: degraded: reads are refused; reset_required: writes too. STORE_RESET clears it */
    STORE_EXPIRED,          /* the range begins below the replay floor */
    STORE_WRONG_STREAM,     /* stream_id given and different */
    STORE_BUSY,             /* queue full: try again */
    STORE_FAILED,           /* could not be made durable, or read; nothing is known to be stored */
};

enum { CLEAR_NAME = 1, CLEAR_DATA = 2, CLEAR_EXTRAS = 4 };
enum stream_state { STATE_HEALTHY, STATE_DEGRADED, STATE_RESET_REQUIRED };
enum store_direction { NEWEST_FIRST, OLDEST_FIRST };

/* What a channel's stream looks like at one instant. */
struct store_head {
    char stream_id[STREAM_ID_SIZE + 1]; /* "" = the channel is unknown */
    uint64_t delivery, history;         /* newest given; 0 = none */
    uint64_t replay_floor;              /* smallest delivery position from which everything up to the head is there */
    uint64_t oldest_history;            /* oldest retained row; 0 = none retained */
    int64_t oldest_ms, newest_ms;       /* their published_at_ms */
    uint64_t retained_messages, retained_bytes;
    uint32_t open_streams, messages;    /* open; logical messages retained */
    enum stream_state state;
    struct str state_reason; /* static text; absent when healthy */
};

/* Retention that the channel's policy asks for at this write; 0 = no limit. */
struct store_retention {
    uint64_t window_ms;
    uint64_t messages_max, bytes_max;
    uint64_t versions_window_ms; /* since its last update; then a message keeps its latest version alone (not while it is open) */
};

struct store_write {
    enum store_action action;
    struct message_id target;  /* of a mutation; ignored for create and ordinary */
    uint64_t expect_delivery;  /* 0, or: apply only if this is the newest version */
    bool expects_bytes;        /* append: apply only if the text so far has exactly this many bytes */
    uint64_t expect_bytes;
    uint64_t writer;           /* who writes, a number drawn for one stream of appends; 0 = nobody in particular */
    bool follows;              /* apply only if the newest version is this writer's: he sends on before he has been answered,
                                * and what was refused must not be passed over. A store that has forgotten who it was refuses. */
    int64_t now_ms;            /* 0: the time is what the store's clock says at the commit. Else this is the time, see store_now_ms() */
    /* content; absent = not given */
    struct str event_name;     /* create, ordinary: the published event; update: the new name */
    struct str data;           /* JSON value text; append: a JSON string */
    struct str extras;         /* JSON object text */
    struct str client_id, description, user_id;
    struct str metadata;       /* JSON value text */
    struct str message_id;     /* create, ordinary: the publisher's or generated */
    struct str tags;           /* JSON object text */
    unsigned clear;            /* CLEAR_* */
    enum stream_status status; /* what `extras` says, if given */
    /* receipt: zero = none. Create and ordinary: key within the channel, lives receipt_ttl_ms. Mutation: key within
     * the message (the op_id), lives with the version. */
    struct hash128 receipt_key, fingerprint;
    uint64_t receipt_ttl_ms;
    /* limits; 0 = none. bytes: decoded length of a string, else length of the JSON text. */
    uint32_t appends_max, open_max;
    uint64_t bytes_max;
    bool refuse_opening;       /* a limit that the store does not know is reached: STORE_OPEN_MAX if it would open a stream */
    bool refuse_append_after_terminal;
    struct store_retention retention;
};

struct store_written {
    struct message_id message;
    uint64_t delivery, history;  /* of this operation (or of the first one, if duplicate) */
    int64_t at_ms;               /* its label */
    int64_t created_ms;          /* label of the message's create */
    uint64_t message_bytes;      /* accumulated bytes of data after it */
    uint32_t appends;            /* number of appends so far */
    enum stream_status status_before, status;
    enum store_action action_before; /* latest action before (mutations) */
    uint64_t evicted_messages, evicted_bytes; /* by retention in the same transaction */
    struct str name;             /* current event name (mutations) */
    struct str extras;           /* current extras; absent if none */
    struct str data;             /* update, delete: the whole data afterwards; append: the fragment; absent = none */
    struct str user_id;          /* creator */
    struct str tags;
};

enum { STORE_HEADS_MAX = 4096 };
#define STORE_NO_HISTORY UINT64_MAX /* start_history: beyond every row, so a page of none */
struct store_name {
    struct str app_id, channel;
};

struct store_read {
    /* LATEST */
    const struct message_id *ids;
    size_t ids_count;
    /* LATEST, PAGE: versions above this are not looked at; 0 = newest */
    uint64_t as_of_delivery;
    /* VERSIONS, PAGE */
    enum store_direction direction;
    uint32_t limit;              /* items */
    uint64_t after;              /* cursor, exclusive: delivery (VERSIONS) or history (PAGE); 0 = from the end it starts at */
    uint64_t start_history, end_history; /* inclusive; 0 = none */
    int64_t start_ms, end_ms;    /* inclusive; INT64_MIN, INT64_MAX = none */
    uint64_t age_max_ms;         /* PAGE, in place of start_ms: rows at most so old by the store's clock; 0 = start_ms holds */
    /* REPLAY: (from, to] */
    uint64_t from_delivery, to_delivery;
    /* REPLAY, PAGE: stops early behind the item that brings it to so many bytes: `more`; 0 = none */
    uint64_t bytes_max;
    /* OPEN: `limit` looks at so many open streams (0 = all), behind `open_after`, the `open_next` of the page before */
    uint64_t idle_ms;
    struct str open_after;
    /* HEAD, REPLAY, PAGE: refuse if the channel has another one; absent = any */
    struct str stream_id;
    /* HEAD: give an unknown channel its stream id (durably) */
    bool materialise;
    /* HEADS: at most STORE_HEADS_MAX, each (app id, channel); op->app_id and op->channel are not used */
    const struct store_name *names;
    size_t names_count;
    /* PURGE: rows strictly below, exactly one of the three */
    bool purge_all;
    uint64_t before_history;
    int64_t before_ms;
};

struct store_found {
    struct store_item *items; /* in the order asked for; VERSIONS and REPLAY: appends carry their fragment */
    size_t count;
    bool more;
    uint64_t purged_messages, purged_bytes;
    char previous_stream_id[STREAM_ID_SIZE + 1]; /* RESET */
    struct store_head *heads;    /* HEADS: of names[i]; stream_id "" = unknown; only stream_id, delivery, history and state are set */
    struct str *open_apps, *open_channels;       /* OPEN: app id and channel of items[i], which have no texts */
    int64_t now_ms;              /* OPEN: by the store's clock */
    struct str open_next; /* OPEN: where the next page begins, if there are more; when it failed: the stream that could not be
                           * read, absent if that is not known */
};

/* Notes: small durable records of the server itself (webhook queue, dead letters, revocations) which belong to no
 * channel and take no position. Keys are bytes, 1 to NOTE_KEY_MAX; by convention "<family>/...". A put with any other key, or a
 * larger value, stores nothing: STORE_BYTES_MAX. Of two entries with one key the later one holds. A scan sees every put submitted
 * before it; it stops at limit, or once it has NOTE_SCAN_BYTES_MAX of keys and values, with `more`; then ask again after the last. */
enum { NOTE_KEY_MAX = 512, NOTE_VALUE_MAX = 1 << 20, NOTE_SCAN_BYTES_MAX = 16 << 20 };
struct store_note {
    struct str key, value;       /* PUT: value absent = delete */
};
struct store_notes {
    const struct store_note *put;   /* PUT */
    size_t put_count;
    struct str prefix, after;    /* SCAN: keys that begin with prefix and are greater than after (absent = all) */
    uint32_t limit;
    struct store_note *found;    /* output of SCAN, in the op's arena */
    size_t found_count;
    bool more;
};

struct store_op {
    struct task task;         /* the store's, to bring the op home */
    struct store_op *next;    /* the store's */
    enum store_op_kind kind;
    unsigned shard;           /* where done() runs */
    void (*done)(struct store_op *op);
    struct arena arena;       /* outputs; the submitter frees it with the op */
    struct str app_id, channel;
    union {
        struct store_write write;
        struct store_read read;
        struct store_notes notes; /* app_id and channel are not used */
    };
    /* outputs */
    enum store_result result;
    struct store_head head;   /* after the operation; every kind but HEADS, OPEN and the notes */
    union {
        struct store_written written;
        struct store_found found;
    };
};

struct store_home {
    /* How completed operations get home: called by the store with a chain (op->next) of ops; any thread. Production
     * posts each to the mailbox of op->shard; the simulation puts them into its schedule. */
    void (*deliver)(struct store_home *home, struct store_op *chain);
    /* Optional: called by store_submit() in place of waking the store. store_kick() must follow, on any thread and soon: at the
     * end of a loop's turn, so that what one turn submits becomes one batch. */
    void (*submitted)(struct store_home *home);
};

struct store_postgres {         /* C strings, borrowed by the call that opens it */
    const char *host;           /* names or addresses, comma separated: the first that takes writes; or a socket's directory */
    uint16_t port;
    const char *username, *password, *database, *table_prefix;
    uint32_t write_timeout_ms;  /* of a statement; a little later the connection is given up */
    uint32_t lock_timeout_ms;   /* how long others wait for a channel that somebody holds */
    uint32_t connections_max;   /* one writes, the others read; at least 2 */
};
struct config;
/* What database.postgres and history.postgres say, copied; store_postgres_free() it when whoever borrows it is done. */
struct store_postgres store_postgres_from(const struct config *config);
void store_postgres_free(struct store_postgres *to);

struct store_options {
    const char *path;          /* directory of an embedded store; unused by memory */
    bool sync_always;
    uint32_t sync_interval_ms;
    uint32_t commit_max_ops;
    uint64_t commit_max_bytes;
    const struct clock *clock;
    uint64_t seed;             /* for stream ids; 0 = from the kernel */
    struct store_home *home;
    const struct store_postgres *postgres; /* of that store alone */
    uint64_t purge_interval_ms; /* retention worker; 0 = off */
    uint32_t purge_batch, purge_tick_max;
    uint64_t messages_bytes_max; /* of messages held in memory by an embedded store; 0 = 256 MiB */
};

/* Figures for metrics; any thread (relaxed). */
struct store_stats {
    _Atomic uint64_t writes, write_failures, batches, batch_ops, evicted_messages, evicted_bytes;
    _Atomic uint64_t queue_ops, queue_bytes;
    _Atomic uint64_t retained_messages, retained_bytes; /* of the channels in memory */
    _Atomic uint64_t memory_channels, memory_messages, memory_messages_bytes; /* what an embedded store holds in memory */
    _Atomic uint64_t degraded_channels, reset_required_channels;
    /* Called on the commit thread after each batch; optional; set before the first submit. */
    void (*on_batch)(void *user, uint32_t ops, uint64_t bytes, uint64_t commit_ns);
    void *on_batch_user;
};

struct store;
/* NULL on failure with a readable message that says how to proceed. */
struct store *store_open_memory(const struct store_options *options, struct buf *error);
struct store *store_open_rocksdb(const struct store_options *options, struct buf *error);
struct store *store_open_postgres(const struct store_options *options, struct buf *error);
/* Nothing is stored: every operation comes home as STORE_FAILED. In place of one that has been closed. */
struct store *store_open_closed(const struct clock *clock, struct store_home *home);
void store_submit(struct store *store, struct store_op *op);
/* Any thread; see store_home.submitted. */
void store_kick(struct store *store);
/* Healthy: the last commit went well. Any thread. */
bool store_is_healthy(struct store *store);
/* Unix time by the store's clock, as this process knows it without asking: for what nodes compare. Any thread. */
int64_t store_now_ms(struct store *store);
struct store_stats *store_stats(struct store *store);
/* Finishes what was submitted, makes it durable, closes. */
void store_close(struct store *store);

/* ops as a free list is the caller's business; these two are for convenience. */
struct store_op *store_op_new(enum store_op_kind kind, unsigned shard, void (*done)(struct store_op *));
void store_op_free(struct store_op *op); /* with its arena */
const char *store_result_text(enum store_result result);
