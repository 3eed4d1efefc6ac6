/* find_open.c - what an earlier process, or another node, has left open: page by page from the store, by mail to the owners.
 *
 * The owner may have seen the stream itself by then, or its end: what stands below the head that it knows is looked up once more.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "ai/streams_internal.h"
#include "base/log.h"
#include "base/mem.h"

struct finder {
    struct store_op op;
    struct env *env;
    struct timer again;
    struct buf after;      /* where the page at hand begins */
    unsigned tries;
    size_t found;
    bool shared;           /* asks for ever, for what is silent */
    bool warned;           /* of streams whose app is gone */
    bool once_more;        /* something may have been opened behind its back */
};

struct found_mail {
    struct task task;
    struct env *owner;
    struct app *app;
    struct message_id message;
    uint64_t delivery;
    int64_t age_ms;        /* since its create, by the store's clock */
    bool silent;           /* for so long that it is to be closed */
    size_t key_size;
    char key[];            /* app id, 0, channel */
};

static void ask(struct finder *f);

/* ---- at the owner ---- */

static void found_arrives(struct task *task)
{
    struct found_mail *mail = list_of(task, struct found_mail, task);
    struct env *env = mail->owner;
    struct streams *all = env->streams;
    struct str key = str_make(mail->key, mail->key_size);
    struct stream *s = stream_find(all, key, mail->message.history);
    bool known = s != NULL;
    if (!known && !all->stopped) {
        s = stream_add(all, mail->app, key, &mail->message);
        s->opened_ms = (int64_t)env_now_ms(env) - mail->age_ms;
    }
    if (s && mail->silent && mail->delivery >= s->delivery)
        stream_is_silent(all, s, mail->delivery);
    else if (s && !known)
        stream_touch(all, s, mail->delivery);
    if (s && !known && !mail->silent && hub_head_delivery(env->hub, key) > mail->delivery)
        janitor_checks(all, s);
    free(mail);
}

static void post_found(struct finder *f, struct app *app, struct str channel, const struct store_item *item, int64_t age_ms)
{
    struct env *env = f->env;
    struct found_mail *mail = mem_alloc(sizeof *mail + app->id.n + 1 + channel.n);
    unsigned owner = hub_owner(env, app, channel);
    *mail = (struct found_mail){.task = {found_arrives}, .owner = env->all[owner], .app = app, .message = item->message,
                                .delivery = item->delivery, .age_ms = age_ms > 0 ? age_ms : 0, .silent = f->shared,
                                .key_size = app->id.n + 1 + channel.n};
    memcpy(mail->key, app->id.p, app->id.n);
    mail->key[app->id.n] = '\0';
    memcpy(mail->key + app->id.n + 1, channel.p, channel.n);
    f->found++;
    env->post(env, owner, &mail->task);
}

/* ---- pages ---- */

static void take_stream(struct finder *f, struct str app_id, struct str channel, const struct store_item *item, int64_t now_ms)
{
    struct app *app = apps_by_id(f->env->apps, app_id);
    struct arena arena = {0};
    struct channel_name name;
    if (!app && !f->warned)
        log_warn("ai", "open streams of app '%.*s', which is not configured, stay open", STR_ARG(app_id));
    f->warned |= !app;
    if (app && !channel_name_check(app, channel, &name, &arena) && channel_policy(app, channel, &name).ai)
        post_found(f, app, channel, item, now_ms - item->published_at_ms);
    arena_free(&arena);
}

static void ends(struct finder *f)
{
    f->env->streams->finder = NULL;
    if (f->found > 0)
        log_info("ai", "%zu streams are open", f->found);
    buf_free(&f->after);
    free(f);
}

static void next_page(struct finder *f, struct str after)
{
    struct buf next = {0};
    buf_str(&next, after);
    buf_free(&f->after);
    f->after = next;
    f->tries = 0;
}

/* A stream that cannot be read must not hide the others. */
static void page_failed(struct finder *f, struct str culprit)
{
    log_warn("ai", "open streams cannot be listed: %s", store_result_text(f->op.result));
    if (++f->tries >= STREAM_PAGE_TRIES && culprit.p)
        next_page(f, culprit);
    wheel_set(f->env->wheel, &f->again, env_now_ms(f->env) + STREAM_RETRY_MS);
}

static void from_the_start(struct finder *f, uint64_t after_ms)
{
    f->once_more = false;
    f->found = 0;
    next_page(f, STR(""));
    wheel_set(f->env->wheel, &f->again, env_now_ms(f->env) + after_ms);
}

/* Nodes do not all ask at the same time. */
static void sweep_later(struct finder *f)
{
    from_the_start(f, STREAM_SWEEP_MS * 3 / 4 + random_below(&f->env->random, STREAM_SWEEP_MS / 2));
}

static void page_read(struct store_op *op)
{
    struct finder *f = list_of(op, struct finder, op);
    struct arena arena = op->arena;
    const struct store_found *found = &op->found;
    for (size_t i = 0; i < found->count; i++)
        take_stream(f, found->open_apps[i], found->open_channels[i], &found->items[i], found->now_ms);
    if (f->env->streams->stopped) {
        ends(f);
    } else if (op->result != STORE_OK) {
        page_failed(f, op->result == STORE_FAILED ? found->open_next : STR_NONE);
    } else if (found->more) {
        next_page(f, found->open_next);
        ask(f);
    } else if (f->shared) {
        sweep_later(f);
    } else if (f->once_more) {
        from_the_start(f, STREAM_DOUBT_MS);
    } else {
        ends(f);
    }
    arena_free(&arena);
}

static void ask(struct finder *f)
{
    f->op = (struct store_op){.kind = STORE_OPEN, .shard = f->env->shard, .done = page_read};
    f->op.read.limit = STREAM_PAGE;
    f->op.read.idle_ms = f->shared ? f->env->config->ai.rollup.orphan_ttl_ms : 0;
    f->op.read.open_after = f->after.n > 0 ? buf_view(&f->after) : STR_NONE;
    store_submit(f->env->store, &f->op);
}

static void asks_again(struct timer *again)
{
    ask(list_of(again, struct finder, again));
}

static struct finder *finder_new(struct env *env)
{
    struct finder *f = mem_new(struct finder);
    f->env = env;
    f->again.fire = asks_again;
    env->streams->finder = f;
    return f;
}

void streams_find_again(struct env *env)
{
    struct streams *all = env->streams;
    if (!all || all->stopped || all->shared)
        return; /* a shared store is swept anyway */
    if (all->finder)
        all->finder->once_more = true;
    else
        from_the_start(finder_new(env), STREAM_DOUBT_MS);
}

void streams_find(struct env *env, enum streams_store store)
{
    struct finder *f = finder_new(env);
    f->shared = store == STORE_SHARED;
    for (unsigned i = 0; i < env->shards; i++)
        env->all[i]->streams->shared = f->shared; /* nothing runs on them yet */
    ask(f);
}

void finder_stop(struct finder *f)
{
    bool waits = timer_is_set(&f->again); /* else the store has it, and page_read() ends it */
    wheel_cancel(f->env->wheel, &f->again);
    if (waits)
        ends(f);
}
