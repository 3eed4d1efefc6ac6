/* mode_agent.c - a load agent's life, by orders of the coordinator (test/load/ai-scale-runner.mjs).
 *
 *      coordinator                agent
 *      {"type":"start", ..}  ->   connects             {"type":"progress"} each second
 *                            <-   {"type":"ready"}     every socket is there
 *      {"type":"go","at_ms"} ->   speaks from then on, for duration_ms; all agents at the same moment of the wall clock
 *                            <-   {"type":"result"}    messages ended, frames drained, transcripts closed, store read back
 *
 * A line each. What it cannot understand it answers with {"type":"error"}, and ends. When the coordinator is gone it ends, too.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/json.h"
#include "base/mem.h"
#include "load/agent.h"
#include "load/proc.h"
#include "load/rig.h"

enum { TURN_MS = 10, ORDER_BYTES_MAX = 1 << 20, END_WAIT_MS = 40000 };
#define MS_NS 1000000ull

/* ---- from the order to an agent that is ready to connect ---- */

static bool wires_init(struct agent *a)
{
    struct agent_config *c = &a->config;
    uint64_t random = random_u64(&a->random);
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct wire *w = &a->wires[i];
        if (!(i == 0 ? wire_init(w, c->nodes[i].host, c->nodes[i].port) : wire_init_beside(w, a->loop, c->nodes[i].host, c->nodes[i].port))) {
            agent_say_error("nodes: \"%s\" is no IPv4 address", c->nodes[i].host);
            return false;
        }
        a->loop = a->wires[0].loop;
        if (c->source[0] != 0 && inet_pton(AF_INET, c->source, &w->from) != 1) {
            agent_say_error("source: \"%s\" is no IPv4 address", c->source);
            return false;
        }
        api_init(&a->apis[i], &a->options, w->host, random);
        a->apis[i].skew_ms = (c->clock_behind ? -1 : 1) * (int64_t)c->clock_skew_ms;
    }
    return true;
}

static struct agent *agent_new(struct str order)
{
    struct agent *a = mem_new(struct agent);
    struct buf why = {0};
    if (!agent_config_read(&a->config, order, &why)) {
        agent_say_error("%.*s", STR_ARG(buf_view(&why)));
        buf_free(&why);
        agent_config_free(&a->config);
        free(a);
        return NULL;
    }
    struct agent_config *c = &a->config;
    a->options = (struct options){.app = c->app, .key = c->key, .secret = c->secret, .channel = c->channel, .channels = UINT32_MAX,
                                  .event = "ai-output", .extras = "{\"ai\":{\"transport\":{\"status\":\"streaming\"}}}"};
    random_from_seed(&a->random, c->seed + c->agent);
    a->script = (struct script){c->seed * 31 + c->agent, (uint32_t)c->token_bytes};
    a->secret = hmac_key_new(str_of(c->secret));
    a->wires = mem_zalloc(c->node_count * sizeof *a->wires);
    a->apis = mem_zalloc(c->node_count * sizeof *a->apis);
    a->samples = mem_zalloc((c->samples + 1) * sizeof *a->samples);
    for (unsigned i = 0; i < LATENCIES; i++)
        a->latency[i] = hist_new_default();
    if (!wires_init(a))
        return NULL;
    agent_sockets_init(a);
    agent_slots_init(a);
    a->plant = agent_plant_new(a);
    return a;
}

static void agent_free(struct agent *a)
{
    agent_plant_free(a->plant);
    agent_slots_free(a);
    agent_sockets_free(a);
    wheel_cancel(loop_wheel(a->loop), &a->storm);
    loop_remove(a->loop, &a->orders);
    for (uint32_t i = a->config.node_count; i-- > 0;) {
        api_free(&a->apis[i]);
        wire_free(&a->wires[i]);
    }
    for (unsigned i = 0; i < LATENCIES; i++)
        hist_free(a->latency[i]);
    free(a->wires);
    free(a->apis);
    free(a->samples);
    hmac_key_free(a->secret);
    buf_free(&a->scratch);
    buf_free(&a->frame);
    buf_free(&a->channel);
    buf_free(&a->order);
    agent_config_free(&a->config);
    free(a);
}

/* ---- orders ---- */

static void enter(struct agent *a, enum agent_phase phase)
{
    a->phase = phase;
    a->phase_ns = agent_now();
}

/* The first agent's clock says at_ms when all begin. */
static void go(struct agent *a, uint64_t at_ms)
{
    int64_t ahead_ms = (int64_t)at_ms - clock_wall_ms(&clock_system);
    a->start_ns = agent_now() + (ahead_ms > 0 ? (uint64_t)ahead_ms * MS_NS : 0);
    a->end_ns = a->start_ns + a->config.duration_ms * MS_NS;
    a->cpu_start_ns = proc_cpu_ns((uint64_t)getpid());
    enter(a, AGENT_RUNNING);
    agent_storm_start(a);
    agent_slots_start(a);
}

static void obey(struct agent *a, struct str line)
{
    struct str value;
    struct json_error error;
    uint64_t at_ms;
    if (a->phase == AGENT_WAITING && json_check(line, &value, &error) && str_eq(json_get(value, STR("type")), STR("\"go\"")) &&
        json_u64(json_get(value, STR("at_ms")), &at_ms)) {
        go(a, at_ms);
        return;
    }
    agent_say_error("not an order for now: %.*s", STR_ARG(str_first(line, 100)));
    exit(1);
}

static void on_orders(struct io *io, uint32_t events)
{
    struct agent *a = list_of(io, struct agent, orders);
    char bytes[4096];
    ssize_t n = read(io->fd, bytes, sizeof bytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        exit(1); /* the coordinator is gone */
    buf_put(&a->order, bytes, (size_t)n);
    for (ptrdiff_t at; (at = str_index(buf_view(&a->order), '\n')) >= 0; buf_consume(&a->order, (size_t)at + 1))
        obey(a, str_first(buf_view(&a->order), (size_t)at));
}

/* The first line, waited for. */
static bool first_order(struct buf *line)
{
    char c;
    while (line->n < ORDER_BYTES_MAX && read(0, &c, 1) == 1) {
        if (c == '\n')
            return true;
        buf_char(line, c);
    }
    return false;
}

/* ---- phases ---- */

static void step(struct agent *a)
{
    uint64_t since_ms = (agent_now() - a->phase_ns) / MS_NS;
    switch (a->phase) {
    case AGENT_CONNECTING:
        agent_connect(a);
        if (!agent_all_ready(a))
            return;
        agent_say_ready(a);
        enter(a, AGENT_WAITING);
        return;
    case AGENT_RUNNING:
        agent_pump(a);
        if (agent_now() < a->end_ns)
            return;
        a->cpu_end_ns = proc_cpu_ns((uint64_t)getpid());
        enter(a, AGENT_ENDING);
        return;
    case AGENT_ENDING:
        agent_slots_end(a);
        if (a->slots_done < a->config.streams && since_ms < END_WAIT_MS)
            return;
        enter(a, AGENT_DRAINING);
        return;
    case AGENT_DRAINING:
        if (since_ms < a->config.drain_ms || (!agent_all_ready(a) && since_ms < a->config.drain_ms + a->config.resume_within_ms))
            return;
        enter(a, AGENT_AUDIT);
        agent_close_transcripts(a);
        agent_audit(a);
        enter(a, AGENT_OVER);
        return;
    default:
        return;
    }
}

static void live(struct agent *a)
{
    a->orders = (struct io){0, on_orders};
    fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_NONBLOCK);
    loop_add(a->loop, &a->orders, EPOLLIN);
    a->said_ns = a->phase_ns = agent_now();
    while (a->phase != AGENT_OVER) {
        loop_turn(a->loop, TURN_MS);
        step(a);
        if (agent_now() - a->said_ns < 1000 * MS_NS)
            continue;
        agent_slots_watch(a);
        agent_say_progress(a);
    }
    agent_say_result(a);
}

/* Standard input and output become the connection of the first who comes. */
static bool wait_for_coordinator(const char *host, uint64_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (inet_pton(AF_INET, host, &at.sin_addr) != 1 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 1) < 0 ||
        (one = accept(fd, NULL, NULL)) < 0) {
        perror(host);
        return false;
    }
    close(fd);
    dup2(one, 0);
    dup2(one, 1);
    close(one);
    return true;
}

int mode_agent(const struct options *o)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (o->listen_port != 0 && !wait_for_coordinator(o->listen_host, o->listen_port))
        return 1;
    struct buf line = {0};
    if (!first_order(&line)) {
        fprintf(stderr, "agent: no start line on standard input\n");
        buf_free(&line);
        return 2;
    }
    struct agent *a = agent_new(buf_view(&line));
    buf_free(&line);
    if (!a)
        return 2;
    live(a);
    agent_free(a);
    return 0;
}
