/* server_shard.c - one shard: its thread, its loop and what runs on it; the mail between shards.
 *
 *      post to itself     loop_defer
 *      to another shard   its mailbox; when that is full, the outbox for that shard, which is emptied first from then on. While more
 *                         than ENV_BACKLOG_MAX wait there, nothing new is begun (env_is_behind()): mailbox_backlog
 *      from the store     its mailbox; when that is full, the store's thread waits
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ai/rollup.h"
#include "ai/streams.h"
#include "base/log.h"
#include "base/mem.h"
#include "server_internal.h"
#include "session/quota.h"
#include "session/revocation.h"

enum { SPARE_FDS = 500 }; /* for store, bus, webhooks, log */
enum { MAILBOX_TASKS = 65536, OUTBOX_KEPT = 1024, RETRY_MS = 1, DRAIN_LOOK_MS = 5, STORE_WAIT_US = 100, SETTLE_ROUNDS = 1000, SETTLE_MS = 3 };

/* The shard whose thread this is; NULL elsewhere. */
static _Thread_local struct shard *here;

/* ---- mail ---- */

static void outbox_put(struct outbox *box, struct task *task)
{
    if (box->count == box->cap) {
        size_t cap = box->cap ? box->cap * 2 : OUTBOX_KEPT;
        struct task **tasks = mem_alloc(cap * sizeof(struct task *));
        for (size_t i = 0; i < box->count; i++)
            tasks[i] = box->tasks[(box->first + i) % box->cap];
        free(box->tasks);
        *box = (struct outbox){tasks, 0, box->count, cap};
    }
    box->tasks[(box->first + box->count++) % box->cap] = task;
}

/* Posts what fits. */
static void outbox_empty(struct shard *shard, struct outbox *box, struct mailbox *to)
{
    size_t before = box->count;
    while (box->count > 0 && mailbox_post(to, box->tasks[box->first]) == MAILBOX_OK) {
        box->first = (box->first + 1) % box->cap;
        box->count--;
    }
    atomic_fetch_sub(&shard->env.backlog, before - box->count);
    if (box->count == 0 && box->cap > OUTBOX_KEPT) {
        free(box->tasks);
        *box = (struct outbox){0};
    }
}

static void retry(struct timer *timer)
{
    struct shard *shard = list_of(timer, struct shard, retry);
    size_t waiting = 0;
    for (unsigned i = 0; i < shard->server->shards_count; i++) {
        outbox_empty(shard, &shard->outboxes[i], loop_mailbox(shard->server->shards[i].loop));
        waiting += shard->outboxes[i].count;
    }
    if (waiting > 0)
        wheel_set(shard->env.wheel, &shard->retry, env_now_ms(&shard->env) + RETRY_MS);
}

static void wait_in_outbox(struct shard *shard, unsigned to, struct task *task)
{
    if (atomic_fetch_add(&shard->deferred, 1) == 0)
        log_warn("server", "shard %u cannot keep up with its mail; it waits at shard %u", to, shard->env.shard);
    outbox_put(&shard->outboxes[to], task);
    atomic_fetch_add(&shard->env.backlog, 1);
    if (!timer_is_set(&shard->retry))
        wheel_set(shard->env.wheel, &shard->retry, env_now_ms(&shard->env) + RETRY_MS);
}

static void post(struct env *env, unsigned to, struct task *task)
{
    struct shard *shard = env->world;
    if (to == env->shard) {
        loop_defer(shard->loop, task);
        return;
    }
    struct mailbox *box = loop_mailbox(shard->server->shards[to].loop);
    if (shard->outboxes[to].count > 0 || mailbox_post(box, task) != MAILBOX_OK)
        wait_in_outbox(shard, to, task);
}

static void op_is_home(struct task *task)
{
    struct store_op *op = list_of(task, struct store_op, task);
    op->done(op);
}

/* Not yet woken: mailbox_wake() is to follow. */
static void leave_for(struct server *server, unsigned to, struct task *task)
{
    struct mailbox *box = loop_mailbox(server->shards[to].loop);
    if (here != NULL) {
        post(&here->env, to, task);
        return;
    }
    while (mailbox_put(box, task) != MAILBOX_OK) {
        mailbox_wake(box);
        usleep(STORE_WAIT_US); /* the shard never waits for other threads, so this ends */
    }
}

void shards_bring(void *user, unsigned to, struct task *task)
{
    struct server *server = user;
    leave_for(server, to, task);
    mailbox_wake(loop_mailbox(server->shards[to].loop));
}

/* All of them first, then one wake-up per shard: it takes the batch in one turn. */
void shards_deliver_home(struct store_home *home, struct store_op *chain)
{
    struct server *server = list_of(home, struct server, home);
    for (struct store_op *next; chain != NULL; chain = next) {
        next = chain->next;
        chain->task.run = op_is_home;
        leave_for(server, chain->shard, &chain->task);
    }
    for (unsigned i = 0; here == NULL && i < server->shards_count; i++)
        mailbox_wake(loop_mailbox(server->shards[i].loop));
}

static void turn_is_over(struct turn_hook *hook)
{
    store_kick(list_of(hook, struct shard, kick)->server->store);
}

void shards_submitted(struct store_home *home)
{
    struct server *server = list_of(home, struct server, home);
    if (here != NULL)
        loop_at_end(here->loop, &here->kick);
    else
        store_kick(server->store);
}

/* ---- opening ---- */

static void on_notice(struct env *env, const struct notice *notice)
{
    webhooks_notice(((struct shard *)env->world)->server->webhooks, env, notice);
}

static bool on_head(void *user, struct http_request *request)
{
    struct shard *shard = user;
    if (!ws_is_path(request->path))
        return api_head(shard->api, request);
    return ws_request(shard, request);
}

static void on_request(void *user, struct http_request *request)
{
    api_request(((struct shard *)user)->api, request);
}

static const struct http_handler handler = {on_head, on_request};

static void fill_env(struct shard *shard, unsigned index)
{
    struct server *server = shard->server;
    shard->env = (struct env){
        .shard = index,
        .shards = server->shards_count,
        .all = server->envs,
        .clock = &clock_system,
        .wheel = loop_wheel(shard->loop),
        .config = server->config,
        .apps = server->apps,
        .store = server->store,
        .metrics = server->metrics,
        .post = post,
        .deliver = ws_deliver,
        .notice = server->webhooks != NULL ? on_notice : NULL,
        .cache = server->cache,
        .bus = server->bus != NULL ? &server->env_bus : NULL,
        .world = shard,
    };
    random_from_kernel(&shard->env.random);
}

void shard_open(struct server *server, unsigned index)
{
    struct shard *shard = &server->shards[index];
    shard->server = server;
    shard->loop = loop_new(&clock_system, MAILBOX_TASKS);
    shard->conns = conn_pool_new(shard->loop);
    shard->outboxes = mem_zalloc(server->shards_count * sizeof(struct outbox));
    shard->retry.fire = retry;
    shard->kick.run = turn_is_over;
    server->envs[index] = &shard->env;
    fill_env(shard, index);
    rollup_install(hub_new(&shard->env));
    streams_open(&shard->env);
    hub_on_control(shard->env.hub, ws_control);
    shard->sessions = sessions_new(&shard->env, &ws_link);
    sessions_use(shard->sessions, server->directory, ws_room);
    if (index == 0)
        server->revocations = revocations_new(&shard->env);
    if (index == 0)
        server->quotas = quotas_new(&shard->env);
    revocations_reach(server->revocations, index, shard->sessions);
    sessions_settle(shard->sessions, SETTLE_MS);
}

static void on_accepted(void *user, int fd, const struct sockaddr_storage *peer)
{
    http_accept(((struct shard *)user)->http, fd, peer);
}

static void on_full(void *user)
{
    struct shard *shard = user;
    metric_add(shard->turned_away, shard->env.shard, 1);
}

bool shard_listen(struct shard *shard, uint16_t port, char error[256])
{
    const struct config *config = shard->server->config;
    struct http_server_options options = {.body_max = (size_t)config->http_api.request_limit_in_mb << 20,
                                          .stream_timeout_ms = config->http_api.stream_idle_timeout_seconds * 1000};
    char *host = str_dup(config->host);
    shard->api = api_new(&shard->env, &shard->server->ops.api);
    shard->http = http_server_new(shard->conns, &options, &handler, shard);
    struct metric_family *turned_away = metric_counter(shard->env.metrics->registry, "connections_turned_away_total",
                                                       "Sockets closed at once, since the last open files are the store's", NULL);
    shard->turned_away = metric_series(turned_away, NULL);
    shard->listener = listener_new(shard->loop, host, port, on_accepted, shard, error);
    free(host);
    if (shard->listener != NULL)
        listener_spare(shard->listener, SPARE_FDS, on_full);
    return shard->listener != NULL;
}

static void *run(void *user)
{
    struct shard *shard = user;
    char name[16];
    snprintf(name, sizeof name, "shard-%u", shard->env.shard);
    pthread_setname_np(pthread_self(), name);
    here = shard;
    loop_run(shard->loop);
    return NULL;
}

void shard_run(struct shard *shard)
{
    if (pthread_create(&shard->thread, NULL, run, shard) != 0) {
        log_error("server", "cannot start a thread");
        abort();
    }
}

/* ---- closing ---- */

static bool has_work(const struct shard *shard)
{
    return api_in_flight(shard->api) > 0 || !hub_is_idle(&shard->env);
}

/* First the sockets, then what is in flight, then the connections that are left. */
static void look_how_far(struct timer *timer)
{
    struct shard *shard = list_of(timer, struct shard, drain);
    if (sessions_count(shard->sessions) == 0 && shard->listener != NULL) {
        listener_close(shard->listener);
        shard->listener = NULL;
        http_server_drain(shard->http);
    }
    bool done = shard->listener == NULL && !has_work(shard);
    atomic_store(&shard->phase, done ? SHARD_DONE : SHARD_DRAINING);
    wheel_set(shard->env.wheel, &shard->drain, env_now_ms(&shard->env) + DRAIN_LOOK_MS);
}

static void post_surely(struct shard *shard, struct task *task)
{
    while (mailbox_post(loop_mailbox(shard->loop), task) != MAILBOX_OK)
        usleep(STORE_WAIT_US);
}

static void flush_begins(struct task *task)
{
    struct shard *shard = list_of(task, struct shard, flush_task);
    hub_flush(&shard->env);
    atomic_store(&shard->phase, SHARD_FLUSHED);
}

void shard_flush(struct shard *shard)
{
    shard->flush_task.run = flush_begins;
    post_surely(shard, &shard->flush_task);
}

static void drain_begins(struct task *task)
{
    struct shard *shard = list_of(task, struct shard, drain_task);
    streams_stop(&shard->env);
    if (shard->env.shard == 0)
        quotas_drain(shard->server->quotas); /* before its clients come to other nodes */
    sessions_drain(shard->sessions, shard->drain_spread_ms);
    api_drain(shard->api);
    shard->drain.fire = look_how_far;
    wheel_set(shard->env.wheel, &shard->drain, env_now_ms(&shard->env) + DRAIN_LOOK_MS);
}

void shard_drain(struct shard *shard, uint64_t spread_ms)
{
    shard->drain_spread_ms = spread_ms;
    shard->drain_task.run = drain_begins;
    post_surely(shard, &shard->drain_task);
}

void shard_join(struct shard *shard)
{
    loop_stop(shard->loop);
    pthread_join(shard->thread, NULL);
    wheel_cancel(shard->env.wheel, &shard->drain);
}

void shard_turn(struct shard *shard, int wait_ms)
{
    here = shard;
    loop_turn(shard->loop, wait_ms);
    here = NULL;
}

/* Each in the role of its thread, which is gone. */
static size_t turn_once(struct shard *shard)
{
    shard_turn(shard, 0);
    size_t waiting = mailbox_depth(loop_mailbox(shard->loop));
    for (unsigned i = 0; i < shard->server->shards_count; i++)
        waiting += shard->outboxes[i].count;
    return waiting;
}

void shards_settle(struct server *server)
{
    for (int quiet = 0, round = 0; quiet < 3 && round < SETTLE_ROUNDS; round++) {
        size_t waiting = 0;
        for (unsigned i = 0; i < server->shards_count; i++)
            waiting += turn_once(&server->shards[i]);
        quiet = waiting == 0 ? quiet + 1 : 0;
    }
}

void shard_close(struct shard *shard)
{
    if (shard->listener != NULL)
        listener_close(shard->listener);
    if (shard->api != NULL)
        api_free(shard->api);
    if (shard->http != NULL)
        http_server_free(shard->http);
    conn_pool_free(shard->conns);
    sessions_free(shard->sessions);
    hub_free(shard->env.hub);
    streams_close(&shard->env);
    for (unsigned i = 0; i < shard->server->shards_count; i++)
        free(shard->outboxes[i].tasks);
    free(shard->outboxes);
    loop_free(shard->loop);
}
