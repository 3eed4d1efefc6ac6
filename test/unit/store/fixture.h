/* fixture.h - one store under test, and its state as short text.
 *
 * The same tests run over four of them: memory, rocksdb and postgres with their threads, and the stepped store of the simulation.
 * run() submits one operation and waits for it. Directories lie under TMPDIR or /tmp.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "../support/unit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "database.h"
#include "store/commit.h"
#include "store/store.h"

/* RocksDB is not built with ThreadSanitizer, which so cannot see its memory barriers; nor those around the strings that its own
 * threads handle, where a stack may show no frame but libstdc++'s. We have no C++ strings. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:librocksdb\nrace:std::__cxx11::basic_string\n";
}

enum backend { MEMORY, ROCKSDB, INLINE, POSTGRES };

struct fixture {
    enum backend backend;
    struct store *store;
    struct store_home home;
    struct store_options options;
    char dir[128];
    struct store_postgres postgres;
    pthread_mutex_t lock;
    pthread_cond_t came;
    size_t done;         /* operations that came home */
    struct store_write w; /* what the next write starts from; reset by each write */
    struct store_written last;
    struct store_head head;
    struct buf text;      /* what the show functions return a view of */
    struct buf names;
};

/* What a fixture gives an operation: where it counts. */
struct call {
    struct store_op op;
    struct fixture *f;
    bool done;
};

static inline void fixture_deliver(struct store_home *home, struct store_op *chain)
{
    struct fixture *f = (struct fixture *)(void *)((char *)home - offsetof(struct fixture, home));
    pthread_mutex_lock(&f->lock);
    for (struct store_op *op = chain, *next; op; op = next) {
        next = op->next;
        ((struct call *)(void *)op)->done = true;
        f->done++;
    }
    pthread_cond_broadcast(&f->came);
    pthread_mutex_unlock(&f->lock);
}

static inline void fixture_open(struct fixture *f)
{
    struct buf error = {0};
    if (f->backend == MEMORY)
        f->store = store_open_memory(&f->options, &error);
    else if (f->backend == ROCKSDB)
        f->store = store_open_rocksdb(&f->options, &error);
    else if (f->backend == POSTGRES)
        f->store = store_open_postgres(&f->options, &error);
    else
        f->store = store_open_inline(kv_memory_new(), &f->options);
    if (!f->store)
        fail_msg("%.*s", STR_ARG(buf_view(&error)));
    buf_free(&error);
}

static inline struct fixture *fixture_new(enum backend backend)
{
    struct fixture *f = mem_new(struct fixture);
    const char *tmp = getenv("TMPDIR");
    f->backend = backend;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->came, NULL);
    f->home.deliver = fixture_deliver;
    snprintf(f->dir, sizeof f->dir, "%s/store-test-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    f->options = (struct store_options){.path = f->dir, .sync_always = true, .clock = &clock_system, .home = &f->home};
    if (backend == POSTGRES) {
        f->postgres = database_for_one();
        f->options.postgres = &f->postgres;
    }
    return f;
}

static inline void fixture_free(struct fixture *f)
{
    char command[256];
    if (f->store)
        store_close(f->store);
    snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
    assert_int_equal(system(command), 0);
    free((void *)f->postgres.table_prefix);
    buf_free(&f->text);
    buf_free(&f->names);
    free(f);
}

static inline int fixture_setup(void **state)
{
    struct fixture *f = fixture_new(*(const enum backend *)*state);
    fixture_open(f);
    *state = f;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    fixture_free(*state);
    return 0;
}

static inline void fixture_reopen(struct fixture *f)
{
    store_close(f->store);
    fixture_open(f);
}

/* Whether what it holds outlives a reopening. */
static inline bool keeps(const struct fixture *f)
{
    return f->backend == ROCKSDB || f->backend == POSTGRES;
}

static inline struct call *call_new(struct fixture *f, enum store_op_kind kind)
{
    struct call *c = mem_new(struct call);
    c->f = f;
    c->op.kind = kind;
    c->op.app_id = STR("app");
    c->op.channel = STR("chat");
    if (kind != STORE_WRITE) {
        c->op.read.start_ms = INT64_MIN;
        c->op.read.end_ms = INT64_MAX;
        c->op.read.limit = 1000;
    }
    return c;
}

static inline void call_free(struct call *c)
{
    arena_free(&c->op.arena);
    free(c);
}

static inline void submit(struct call *c)
{
    store_submit(c->f->store, &c->op);
}

static inline void await(struct call *c)
{
    struct fixture *f = c->f;
    for (int i = 0; f->backend == INLINE && !c->done && i < 100; i++)
        store_step(f->store);
    pthread_mutex_lock(&f->lock);
    while (!c->done)
        pthread_cond_wait(&f->came, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

static inline void run(struct call *c)
{
    submit(c);
    await(c);
}

/* Hands over f->w, which is the default again afterwards. */
static inline struct call *write_call(struct fixture *f, enum store_action action)
{
    struct call *c = call_new(f, STORE_WRITE);
    c->op.write = f->w;
    c->op.write.action = action;
    if (c->op.write.now_ms == 0)
        c->op.write.now_ms = 1000;
    f->w = (struct store_write){0};
    return c;
}

/* A write of a JSON text ("" as C text = no data). The result; outputs in f->last and f->head (their texts die). */
static inline enum store_result write_of(struct fixture *f, enum store_action action, const char *data)
{
    if (*data)
        f->w.data = str_of(data);
    struct call *c = write_call(f, action);
    run(c);
    f->last = c->op.written;
    f->head = c->op.head;
    enum store_result result = c->op.result;
    call_free(c);
    return result;
}

static inline struct message_id create(struct fixture *f, const char *data)
{
    if (!f->w.event_name.p)
        f->w.event_name = STR("ai-output");
    assert_int_equal(write_of(f, ACTION_CREATE, data), STORE_OK);
    return f->last.message;
}

static inline void ordinary(struct fixture *f, const char *data)
{
    f->w.event_name = STR("note");
    assert_int_equal(write_of(f, ACTION_ORDINARY, data), STORE_OK);
}

static inline enum store_result mutate(struct fixture *f, struct message_id m, enum store_action action, const char *data)
{
    f->w.target = m;
    return write_of(f, action, data);
}

static inline void append(struct fixture *f, struct message_id m, const char *data)
{
    assert_int_equal(mutate(f, m, ACTION_APPEND, data), STORE_OK);
}

static inline struct store_head head(struct fixture *f)
{
    struct call *c = call_new(f, STORE_HEAD);
    run(c);
    assert_int_equal(c->op.result, STORE_OK);
    struct store_head h = c->op.head;
    call_free(c);
    return h;
}

static inline const char *action_name(enum store_action action)
{
    static const char *const names[] = {"create", "update", "delete", "append", "ordinary"};
    return names[action];
}

/* Runs a read and shows it: "3:append"x" 2:append"y" ... more"; by history where it is a page. */
static inline struct str show(struct fixture *f, struct call *c)
{
    run(c);
    buf_clear(&f->text);
    if (c->op.result != STORE_OK)
        buf_fmt(&f->text, "%s ", store_result_text(c->op.result));
    for (size_t i = 0; c->op.result == STORE_OK && i < c->op.found.count; i++) {
        const struct store_item *item = &c->op.found.items[i];
        uint64_t at = c->op.kind == STORE_PAGE ? item->message.history : item->delivery;
        buf_fmt(&f->text, "%llu:%s", (unsigned long long)at, action_name(item->action));
        buf_str(&f->text, item->data.p ? item->data : STR("-"));
        buf_char(&f->text, ' ');
    }
    if (c->op.result == STORE_OK && c->op.found.more)
        buf_lit(&f->text, "more ");
    f->head = c->op.head;
    call_free(c);
    return str_first(buf_view(&f->text), f->text.n ? f->text.n - 1 : 0);
}

static inline struct str latest_as_of(struct fixture *f, struct message_id m, uint64_t as_of)
{
    struct call *c = call_new(f, STORE_LATEST);
    c->op.read.ids = &m;
    c->op.read.ids_count = 1;
    c->op.read.as_of_delivery = as_of;
    return show(f, c);
}

static inline struct str latest(struct fixture *f, struct message_id m)
{
    return latest_as_of(f, m, 0);
}

static inline struct str versions(struct fixture *f, struct message_id m, enum store_direction direction, uint64_t after,
                                  uint32_t limit)
{
    struct call *c = call_new(f, STORE_VERSIONS);
    c->op.read.ids = &m;
    c->op.read.ids_count = 1;
    c->op.read.direction = direction;
    c->op.read.after = after;
    c->op.read.limit = limit;
    return show(f, c);
}

static inline struct str page(struct fixture *f, enum store_direction direction, uint64_t after, uint32_t limit)
{
    struct call *c = call_new(f, STORE_PAGE);
    c->op.read.direction = direction;
    c->op.read.after = after;
    c->op.read.limit = limit;
    return show(f, c);
}

static inline struct str replay(struct fixture *f, uint64_t from, uint64_t to)
{
    struct call *c = call_new(f, STORE_REPLAY);
    c->op.read.from_delivery = from;
    c->op.read.to_delivery = to;
    return show(f, c);
}

/* PURGE or RESET; how many messages went. */
static inline uint64_t admin(struct call *c)
{
    run(c);
    assert_int_equal(c->op.result, STORE_OK);
    uint64_t messages = c->op.found.purged_messages;
    c->f->head = c->op.head;
    call_free(c);
    return messages;
}

static inline uint64_t purge_below(struct fixture *f, uint64_t history)
{
    struct call *c = call_new(f, STORE_PURGE);
    c->op.read.purge_all = history == 0;
    c->op.read.before_history = history;
    return admin(c);
}

static inline uint64_t reset(struct fixture *f)
{
    return admin(call_new(f, STORE_RESET));
}

static inline struct hash128 key_for(uint64_t n)
{
    return (struct hash128){n * 0x9e3779b97f4a7c15u, n};
}

static const enum backend backend_memory = MEMORY, backend_rocksdb = ROCKSDB, backend_inline = INLINE, backend_postgres = POSTGRES;
#define OVER(test, backend)                                                                                  \
    {#test "_over_" #backend, test, fixture_setup, fixture_teardown, (void *)&backend_##backend},
#define OVER_ALL(test) OVER(test, memory) OVER(test, rocksdb) OVER(test, inline) OVER(test, postgres)
