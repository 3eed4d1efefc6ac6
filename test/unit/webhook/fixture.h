/* fixture.h - the webhook thread's work without its thread: own clock, the engine over memory, an outlet that remembers.
 *
 * The configuration is TOML; its apps are "7" (key k1, secret s3cr3t) with the webhooks that a test asks for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdlib.h>

#include "base/mem.h"
#include "config/load.h"
#include "store/commit.h"
#include "unit.h"
#include "webhook/internal.h"

enum { REQUESTS_MAX = 4096, START_MS = 1000000 };

struct sent {
    struct job *job; /* NULL once it is answered */
    unsigned target;
    uint64_t at_ms;
    char *body;
};

struct fixture {
    struct clock clock;
    uint64_t now_ms;
    struct config *config;
    struct apps *apps;
    struct app *app;
    struct metrics *metrics;
    struct store *store;
    bool store_fails;
    struct store_home home;
    struct store_op *first, *last;
    struct env env;
    struct webhooks *w;
    struct outlet outlet;
    struct sent sent[REQUESTS_MAX];
    unsigned count; /* of sent */
    struct task *returned;
};

static struct fixture *fixture_of_clock(const struct clock *clock)
{
    return list_of((struct clock *)(uintptr_t)clock, struct fixture, clock);
}
static uint64_t fixture_mono(const struct clock *clock)
{
    return fixture_of_clock(clock)->now_ms * 1000000u;
}
static int64_t fixture_wall(const struct clock *clock)
{
    return 1700000000000 + (int64_t)(fixture_of_clock(clock)->now_ms - START_MS);
}

static void fixture_home(struct store_home *home, struct store_op *chain)
{
    struct fixture *f = list_of(home, struct fixture, home);
    if (f->last != NULL)
        f->last->next = chain;
    else
        f->first = chain;
    for (f->last = chain; f->last->next != NULL;)
        f->last = f->last->next;
}

static void fixture_send(struct outlet *outlet, struct job *job)
{
    struct fixture *f = list_of(outlet, struct fixture, outlet);
    assert_true(f->count < REQUESTS_MAX);
    f->sent[f->count++] = (struct sent){job, (unsigned)(job->target - f->w->targets), f->now_ms, str_dup(job->body)};
}

static void fixture_abort(struct outlet *outlet)
{
    (void)outlet;
}

static void fixture_returns(void *user, unsigned shard, struct task *task)
{
    (void)shard;
    task->run(task);
    (void)user;
}

static void fixture_notice(struct env *env, const struct notice *notice)
{
    webhooks_notice(((struct fixture *)env->world)->w, env, notice);
}

static inline void settle(struct fixture *f)
{
    for (int quiet = 0; quiet < 3; quiet++) {
        webhooks_turn(f->w);
        queue_check(f->w);
        store_step(f->store);
        struct store_op *op = f->first;
        f->first = f->last = NULL;
        quiet = op != NULL ? 0 : quiet;
        while (op != NULL) {
            struct store_op *next = op->next;
            op->result = f->store_fails ? STORE_FAILED : op->result;
            op->done(op);
            op = next;
        }
    }
}

static inline void advance_ms(struct fixture *f, uint64_t ms)
{
    for (; ms > 0; ms--) {
        f->now_ms++;
        settle(f);
    }
}

/* A process begins: on what the one before left in the store. */
static inline void begin(struct fixture *f)
{
    f->w = webhooks_new(&(struct webhooks_options){.config = f->config,
                                                  .apps = f->apps,
                                                  .store = f->store,
                                                  .metrics = f->metrics,
                                                  .clock = &f->clock,
                                                  .home = fixture_returns,
                                                  .home_user = f});
    assert_non_null(f->w);
    f->outlet = (struct outlet){fixture_send, fixture_abort};
    f->w->outlet = &f->outlet;
    random_from_seed(&f->w->random, 7);
    recover_start(f->w);
    settle(f);
}

/* kill -9: what was under way is gone. */
static inline void end(struct fixture *f)
{
    f->w->outlet = NULL;
    webhooks_free(f->w);
    for (; f->count > 0; f->count--)
        free(f->sent[f->count - 1].body);
}

/* hooks: the inside of a TOML array, one inline table per webhook; more: other keys, before the app. */
static inline struct fixture *set_up(const char *hooks, const char *more)
{
    struct fixture *f = mem_new(struct fixture);
    struct buf text = {0}, warnings = {0}, error = {0};
    char *no_environment[] = {NULL};
    struct config_request request = {.environ_ = no_environment};
    buf_fmt(&text, "%s\nqueue.driver='memory'\n[[app_manager.array.apps]]\nid='7'\nkey='k1'\nsecret='s3cr3t'\nenabled=true\nwebhooks=[%s]\n",
            more, hooks);
    struct config_text source = {STR("x.toml"), buf_view(&text), CONFIG_TOML};
    f->now_ms = START_MS;
    f->clock = (struct clock){fixture_mono, fixture_wall};
    f->home.deliver = fixture_home;
    f->config = config_from_text(&source, &request, &warnings, &error);
    if (f->config == NULL)
        fail_msg("%.*s", STR_ARG(buf_view(&error)));
    f->apps = apps_new(f->config, 1, &error);
    f->app = apps_at(f->apps, 0);
    f->metrics = metrics_new(f->apps, 9601);
    f->store = store_open_inline(kv_memory_new(), &(struct store_options){.sync_always = true, .commit_max_ops = 4096,
                                                                         .commit_max_bytes = 64 << 20, .clock = &f->clock, .seed = 7,
                                                                         .home = &f->home});
    f->env = (struct env){.shards = 1, .clock = &f->clock, .notice = fixture_notice, .world = f};
    begin(f);
    buf_free(&text);
    buf_free(&warnings);
    buf_free(&error);
    return f;
}

static inline void tear_down(struct fixture *f)
{
    settle(f);
    end(f);
    store_close(f->store);
    metrics_free(f->metrics);
    apps_free(f->apps);
    config_free(f->config);
    free(f);
}

static inline void happens(struct fixture *f, enum notice_kind kind, const char *channel)
{
    notice_send(&f->env, &(struct notice){.kind = kind, .app = f->app, .channel = str_of(channel)});
}

/* The answer to the i-th request. */
static inline void answer(struct fixture *f, unsigned i, int status)
{
    assert_true(i < f->count && f->sent[i].job != NULL);
    struct job *job = f->sent[i].job;
    f->sent[i].job = NULL;
    queue_finished(job, status, status > 0 ? "http_status" : "timeout");
    settle(f);
}

/* The channels of the i-th request's events: "a b". */
static inline struct str channels_of(struct fixture *f, unsigned i)
{
    static char text[256];
    struct buf out = {0};
    assert_true(i < f->count);
    for (const char *at = f->sent[i].body; (at = strstr(at, "\"channel\":\"")) != NULL;) {
        at += 11;
        buf_str(&out, out.n > 0 ? STR(" ") : STR(""));
        buf_put(&out, at, strcspn(at, "\""));
    }
    buf_char(&out, 0);
    snprintf(text, sizeof text, "%s", out.p);
    buf_free(&out);
    return str_of(text);
}

/* The notes below a prefix, as "key=value" lines; the caller frees. */
static struct buf *notes_into;
static inline void fixture_scanned(struct store_op *op)
{
    for (size_t i = 0; i < op->notes.found_count; i++)
        buf_fmt(notes_into, "%.*s=%.*s\n", STR_ARG(op->notes.found[i].key), STR_ARG(op->notes.found[i].value));
    store_op_free(op);
}
static inline size_t notes(struct fixture *f, const char *prefix, struct buf *out)
{
    struct store_op *op = store_op_new(STORE_NOTE_SCAN, 0, fixture_scanned);
    size_t count = 0;
    bool fails = f->store_fails;
    notes_into = out;
    op->notes = (struct store_notes){.prefix = str_of(prefix), .limit = 10000};
    f->store_fails = false;
    store_submit(f->store, op);
    settle(f);
    f->store_fails = fails;
    for (size_t i = 0; i < out->n; i++)
        count += out->p[i] == '\n' && (i + 1 == out->n || strncmp(out->p + i + 1, prefix, strlen(prefix)) == 0);
    return count;
}
static inline size_t count_notes(struct fixture *f, const char *prefix)
{
    struct buf out = {0};
    size_t count = notes(f, prefix, &out);
    buf_free(&out);
    return count;
}
#define figure(f, field) metric_value((f)->w->figures[0].field)
