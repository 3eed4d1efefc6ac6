/* server.c - what a process has once, and the order in which things start and stop.
 *
 *   start   limits -> apps -> metrics -> store -> webhooks -> shards -> listeners -> threads
 *   stop    refuse upgrades -> every shard: flush, tell clients, finish requests -> webhooks -> threads -> store -> the rest
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server.h"

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ai/streams.h"
#include "api/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "server_internal.h"
#include "session/directory.h"
#include "session/quota.h"
#include "session/revocation.h"

/* SAME_SIGNAL_MS: Ctrl-C often arrives twice, from the terminal and from a script that passes it on.
 * WEBHOOKS_STORE_MS: what they get to store their queue even when the grace period is over.
 * LEAVE_SPARE_S: beyond the grace period, for closing the store. */
enum { LEAVE_SPARE_S = 1, SPREAD_PER_CLIENT_US = 500, LOOK_MS = 5, SAME_SIGNAL_MS = 250, WEBHOOKS_STORE_MS = 250 };

/* ---- starting ---- */

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
        log_info("server", "up to %llu open files", (unsigned long long)limit.rlim_cur);
}

/* Threads that come later inherit this, so only server_wait() and server_stop() see these signals. */
static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, set, NULL);
}

static struct store *open_postgres(const struct config *config, struct store_options *options, struct buf *error)
{
    struct store_postgres to = store_postgres_from(config);
    options->postgres = &to;
    struct store *store = store_open_postgres(options, error);
    store_postgres_free(&to);
    return store;
}

static struct store *open_store(struct server *server, struct buf *error)
{
    const struct config *config = server->config;
    char *path = str_dup(config->rocksdb.path);
    struct store_options options = {
        .path = path,
        .sync_always = config->rocksdb.sync == SYNC_ALWAYS,
        .sync_interval_ms = config->rocksdb.sync_interval_ms,
        .commit_max_ops = config->rocksdb.commit_max_ops,
        .commit_max_bytes = config->rocksdb.commit_max_bytes,
        .clock = &clock_system,
        .home = &server->home,
        .purge_interval_ms = config->history.purge_interval_seconds * 1000,
        .purge_batch = config->history.purge_batch_size,
        .purge_tick_max = config->history.max_purge_per_tick,
    };
    struct store *store = config->history.backend == BACKEND_POSTGRES  ? open_postgres(config, &options, error)
                          : config->history.backend == BACKEND_ROCKSDB ? store_open_rocksdb(&options, error)
                                                                       : store_open_memory(&options, error);
    free(path);
    return store;
}

static void open_webhooks(struct server *server)
{
    server->webhooks = webhooks_new(&(struct webhooks_options){.config = server->config,
                                                              .apps = server->apps,
                                                              .store = server->store,
                                                              .metrics = server->metrics,
                                                              .clock = &clock_system,
                                                              .home = shards_bring,
                                                              .home_user = server});
}

static void start_ops(struct server *server)
{
    struct ops *ops = &server->ops;
    ops->config = server->config;
    ops->apps = server->apps;
    ops->store = server->store;
    ops->metrics = server->metrics;
    ops->webhooks = server->webhooks;
    ops->cache = server->cache;
    ops->bus = server->bus;
    ops->limits_cache = server->limits;
    ops->shards_count = server->shards_count;
    ops->shards = mem_zalloc(server->shards_count * sizeof(struct ops_shard));
    for (unsigned i = 0; i < server->shards_count; i++) {
        struct shard *shard = &server->shards[i];
        ops->shards[i] = (struct ops_shard){shard->loop, shard->conns, &shard->env};
    }
    ops->api.directory = server->directory;
    ops->api.reader_limits = ws_send_limits(server->config);
    ops->api.revocations = server->revocations;
    ops->api.webhooks = server->webhooks;
    ops_start(ops);
}

static void start_connect_limit(struct server *server)
{
    const struct config *config = server->config;
    if (config->rate_limiter.enabled)
        server->connects = limits_new("websocket_connect", &config->rate_limiter.websocket, server->limits, server->metrics->registry);
}

/* ---- the metrics listener ---- */

static const struct http_handler metrics_handler = {NULL, ops_metrics_request};

static void on_metrics_accepted(void *user, int fd, const struct sockaddr_storage *peer)
{
    http_accept(((struct server *)user)->metrics_http, fd, peer);
}

static void listen_for_metrics(struct server *server)
{
    const struct config *config = server->config;
    struct shard *shard = &server->shards[0];
    struct http_server_options options = {.body_max = 1024};
    char error[256];
    if (!config->metrics.enabled)
        return;
    char *host = str_dup(config->metrics.host);
    server->metrics_http = http_server_new(shard->conns, &options, &metrics_handler, &server->ops);
    server->metrics_listener = listener_new(shard->loop, host, config->metrics.port, on_metrics_accepted, server, error);
    if (server->metrics_listener == NULL)
        log_warn("server", "no metrics: %s", error);
    free(host);
}

/* ---- the main listener ---- */

/* Our sockets share their port with any other of the same user, so another server would go unnoticed: a socket that does
 * not share finds it. */
static bool port_is_taken(const struct config *config)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    char *host = str_dup(config->host), port[8];
    snprintf(port, sizeof port, "%u", config->port);
    bool taken = false;
    if (getaddrinfo(host, port, &hints, &found) == 0) {
        int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
        taken = bind(fd, found->ai_addr, found->ai_addrlen) != 0 && errno == EADDRINUSE;
        close(fd);
        freeaddrinfo(found);
    }
    free(host);
    return taken;
}

static bool refuse_port(const char *why, struct buf *error)
{
    buf_fmt(error, "%s. Is another server running there? `port` in the configuration, or PORT in the environment, chooses "
                   "another one",
            why);
    return false;
}

/* Port 0 is any free one: the first shard draws it, the others share it. */
static bool listen_all(struct server *server, struct buf *error)
{
    const struct config *config = server->config;
    char why[256];
    server->port = config->port;
    snprintf(why, sizeof why, "cannot listen on %.*s:%u: Address already in use", STR_ARG(config->host), config->port);
    if (config->port != 0 && port_is_taken(config))
        return refuse_port(why, error);
    for (unsigned i = 0; i < server->shards_count; i++) {
        if (!shard_listen(&server->shards[i], server->port, why))
            return refuse_port(why, error);
        server->port = listener_port(server->shards[i].listener);
    }
    return true;
}

/* Where acknowledged data are: "rocksdb at ./data", "postgres at db:5432/sockudo, tables sockudo_history_*". */
static void name_store(const struct config *config, struct buf *out)
{
    switch (config->history.backend) {
    case BACKEND_POSTGRES:
        buf_fmt(out, "postgres at %.*s:%u/%.*s, tables %.*s_*", STR_ARG(config->postgres.host), config->postgres.port,
                STR_ARG(config->postgres.database), STR_ARG(config->postgres.table_prefix));
        break;
    case BACKEND_ROCKSDB:
        buf_fmt(out, "rocksdb at %.*s", STR_ARG(config->rocksdb.path));
        break;
    default:
        buf_lit(out, "memory: a restart forgets everything");
    }
}

static void say_hello(const struct server *server)
{
    const struct config *config = server->config;
    struct buf store = {0};
    name_store(config, &store);
    log_info("server", "listening on %.*s:%u, %u shards, %zu apps, bus %s, store %.*s", STR_ARG(config->host), server->port,
             server->shards_count, apps_count(server->apps), server->bus != NULL ? "redis" : "local", STR_ARG(buf_view(&store)));
    buf_free(&store);
    if (config->demo_profile)
        log_warn("server",
                 "demo profile: the credentials app-id, app-key and app-secret are public; open http://127.0.0.1:%u/",
                 server->port);
}

static void free_server(struct server *server);

/* Nobody may connect before it is known whose token has been revoked. */
static bool read_revocations(struct server *server, struct buf *error)
{
    revocations_load(server->revocations);
    while (revocations_state(server->revocations) == REVOCATIONS_LOADING)
        shard_turn(&server->shards[0], LOOK_MS);
    if (revocations_state(server->revocations) == REVOCATIONS_KNOWN)
        return true;
    buf_fmt(error, "cannot read the revocations of capability tokens from the store: revoked tokens would be accepted");
    return false;
}

static bool open_all(struct server *server, struct buf *error)
{
    const struct config *config = server->config;
    server->apps = apps_new(config, server->shards_count, error);
    if (server->apps == NULL)
        return false;
    server->metrics = metrics_new(server->apps, config->metrics.port);
    server->store = open_store(server, error);
    if (server->store == NULL)
        return false;
    open_webhooks(server);
    if (!server_open_bus(server, error) || !server_open_caches(server, error))
        return false;
    for (unsigned i = 0; i < server->shards_count; i++)
        shard_open(server, i);
    atomic_store(&server->bus_is_deaf, false);
    start_ops(server);
    start_connect_limit(server);
    if (!read_revocations(server, error))
        return false;
    if (config->ai.enabled)
        streams_find(server->envs[0], config->history.backend == BACKEND_POSTGRES ? STORE_SHARED : STORE_OF_THIS_NODE);
    return listen_all(server, error);
}

struct server *server_start(const struct config *config, struct buf *error)
{
    sigset_t stop;
    struct server *server = mem_new(struct server);
    signal(SIGPIPE, SIG_IGN);
    block_signals(&stop);
    raise_file_limit();
    server->config = config;
    server->home = (struct store_home){shards_deliver_home, shards_submitted};
    server->shards_count = config->workers > 0 ? config->workers : 1;
    server->shards = mem_zalloc(server->shards_count * sizeof(struct shard));
    server->envs = mem_zalloc(server->shards_count * sizeof(struct env *));
    server->directory = directory_new();
    if (!open_all(server, error)) {
        free_server(server);
        return NULL;
    }
    listen_for_metrics(server);
    for (unsigned i = 0; i < server->shards_count; i++)
        shard_run(&server->shards[i]);
    if (server->webhooks != NULL)
        webhooks_run(server->webhooks);
    say_hello(server);
    return server;
}

uint16_t server_port(const struct server *server)
{
    return server->port;
}

/* ---- stopping ---- */

void server_wait(struct server *server)
{
    const bool has_terminal = isatty(STDIN_FILENO) || isatty(STDERR_FILENO); /* its end is ours */
    sigset_t stop;
    int number = 0;
    block_signals(&stop);
    while (sigwait(&stop, &number) != 0 || (number == SIGHUP && !has_terminal))
        if (number == SIGHUP)
            log_warn("server", "SIGHUP: the configuration is read at the start only; restart the node to change it");
    log_info("server", "%s: shutting down", number == SIGINT ? "interrupted" : number == SIGHUP ? "the terminal is gone" : "terminated");
}

static uint64_t spread_ms(const struct server *server)
{
    uint64_t clients = 0, max = server->config->shutdown_grace_period_seconds * 1000 / 2;
    for (size_t i = 0; i < apps_count(server->apps); i++)
        clients += atomic_load(&apps_at(server->apps, i)->connections);
    uint64_t wanted = clients * SPREAD_PER_CLIENT_US / 1000;
    return wanted < max ? wanted : max;
}

static bool all_are(struct server *server, enum shard_phase phase)
{
    for (unsigned i = 0; i < server->shards_count; i++)
        if (atomic_load(&server->shards[i].phase) != (int)phase)
            return false;
    return true;
}

/* False when the grace period is over. */
static bool wait_until_all_are(struct server *server, enum shard_phase phase, uint64_t begun_ms)
{
    sigset_t stop;
    struct timespec look = {.tv_nsec = LOOK_MS * 1000000};
    uint64_t until_ms = begun_ms + server->config->shutdown_grace_period_seconds * 1000;
    block_signals(&stop);
    while (!all_are(server, phase)) {
        if (clock_mono_ms(&clock_system) >= until_ms)
            return false;
        int number = sigtimedwait(&stop, NULL, &look);
        if (number > 0 && number != SIGHUP && clock_mono_ms(&clock_system) > begun_ms + SAME_SIGNAL_MS) {
            log_warn("server", "second signal: leaving at once");
            _exit(1);
        }
    }
    return true;
}

/* What the shards still do must not reach it. */
static void close_store(struct server *server)
{
    store_close(server->store);
    server->store = store_open_closed(&clock_system, &server->home);
    for (unsigned i = 0; i < server->shards_count; i++)
        server->shards[i].env.store = server->store;
}

static void free_server(struct server *server)
{
    server_close_bus(server);
    server_stop_caches(server);
    if (server->metrics_listener != NULL)
        listener_close(server->metrics_listener);
    if (server->metrics_http != NULL)
        http_server_free(server->metrics_http);
    for (unsigned i = 0; i < server->shards_count && server->shards[i].loop != NULL; i++)
        if (server->shards[i].listener != NULL) {
            listener_close(server->shards[i].listener);
            server->shards[i].listener = NULL;
        }
    for (unsigned i = 0; i < server->shards_count && server->shards[i].loop != NULL; i++)
        streams_stop(&server->shards[i].env);
    if (server->store != NULL)
        close_store(server);
    if (server->shards[0].loop != NULL)
        shards_settle(server);
    revocations_free(server->revocations);
    quotas_free(server->quotas);
    webhooks_free(server->webhooks);
    for (unsigned i = 0; i < server->shards_count && server->shards[i].loop != NULL; i++)
        shard_close(&server->shards[i]);
    if (server->ops.shards != NULL)
        ops_stop(&server->ops);
    free(server->ops.shards);
    limits_free(server->connects);
    server_free_caches(server);
    if (server->store != NULL)
        store_close(server->store);
    directory_free(server->directory);
    metrics_free(server->metrics);
    apps_free(server->apps);
    free(server->envs);
    free(server->shards);
    free(server);
}

/* After the shards have said everything, while they still bring home what the store answers. */
static void stop_webhooks(struct server *server, uint64_t begun_ms)
{
    uint64_t grace_ends_ms = begun_ms + server->config->shutdown_grace_period_seconds * 1000;
    uint64_t at_least_ms = clock_mono_ms(&clock_system) + WEBHOOKS_STORE_MS;
    webhooks_stop(server->webhooks, grace_ends_ms > at_least_ms ? grace_ends_ms : at_least_ms);
}

static void leave_at_once(int number)
{
    static const char why[] = "sockudo: something does not end, and the grace period is over: leaving; what was acknowledged is stored\n";
    (void)number;
    (void)!write(STDERR_FILENO, why, sizeof why - 1);
    _exit(0);
}

/* A database or a disk that hangs keeps nobody here: whatever is still being waited for then. */
static void leave_in_any_case(const struct server *server)
{
    struct sigaction action = {.sa_handler = leave_at_once};
    sigaction(SIGALRM, &action, NULL);
    alarm((unsigned)server->config->shutdown_grace_period_seconds + LEAVE_SPARE_S);
}

void server_stop(struct server *server)
{
    uint64_t spread = spread_ms(server), begun_ms = clock_mono_ms(&clock_system);
    leave_in_any_case(server);
    atomic_store(&server->ops.draining, true);
    for (unsigned i = 0; i < server->shards_count; i++)
        shard_flush(&server->shards[i]);
    bool in_time = wait_until_all_are(server, SHARD_FLUSHED, begun_ms);
    for (unsigned i = 0; i < server->shards_count; i++)
        shard_drain(&server->shards[i], spread);
    in_time = wait_until_all_are(server, SHARD_DONE, begun_ms) && in_time;
    if (server->webhooks != NULL)
        stop_webhooks(server, begun_ms);
    atomic_store(&server->bus_is_deaf, true);
    for (unsigned i = 0; i < server->shards_count; i++)
        shard_join(&server->shards[i]);
    server_close_bus(server);
    server_stop_caches(server);
    if (!in_time) {
        log_warn("server", "the grace period is over: what is still open is cut");
        store_close(server->store);
        _exit(0);
    }
    free_server(server);
    log_info("server", "stopped");
}
