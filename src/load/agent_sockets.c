/* agent_sockets.c - connections: the ramp, subscribing, coming back.
 *
 *      NONE -> CONNECTING -> SUBSCRIBING -> READY               the first time
 *      (cut, or lost) -> CONNECTING -> RESUMING -> READY        subscribe and resume in one write, as SDKs do
 *      READY idle -> SUBSCRIBING -> HISTORY -> READY            a late joiner; idle again when the message has ended
 *
 * Every message of a session comes by its subscribers, who stand in order of sessions; idle sockets come behind them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/digest.h"
#include "base/mem.h"
#include "load/agent.h"

enum { AT_A_TIME = 256, AGAIN_MS = 500 };

static struct wire *wire_of(const struct agent_socket *s)
{
    return &s->agent->wires[s->node];
}

static void put_auth(struct agent *a, struct buf *out, struct str text)
{
    char hex[2 * SHA256_SIZE + 1];
    hmac_sha256_hex(a->secret, text, hex);
    buf_fmt(out, "\"auth\":\"%s:%s\"", a->config.key, hex);
}

static void put_subscribe(struct agent_socket *s, struct buf *out, struct str socket_id)
{
    struct agent *a = s->agent;
    buf_clear(&a->scratch);
    buf_str(&a->scratch, socket_id);
    buf_char(&a->scratch, ':');
    api_channel(&a->options, &a->scratch, agent_channel(a, s->session));
    buf_lit(out, "{\"event\":\"pusher:subscribe\",\"data\":{");
    put_auth(a, out, buf_view(&a->scratch));
    buf_lit(out, ",\"channel\":\"");
    api_channel(&a->options, out, agent_channel(a, s->session));
    buf_lit(out, "\"}}");
}

/* Whoever may cancel has to be somebody. */
static void say_signin(struct agent_socket *s, struct str socket_id)
{
    struct agent *a = s->agent;
    struct buf text = {0};
    buf_clear(&a->scratch);
    buf_fmt(&a->scratch, "%.*s::user::{\"id\":\"user-%u\"}", STR_ARG(socket_id), s->session);
    buf_lit(&text, "{\"event\":\"pusher:signin\",\"data\":{");
    put_auth(a, &text, buf_view(&a->scratch));
    buf_fmt(&text, ",\"user_data\":\"{\\\"id\\\":\\\"user-%u\\\"}\"}}", s->session);
    wsc_prepare(&s->conn, buf_view(&text));
    buf_free(&text);
}

static void put_resume(struct agent_socket *s, struct buf *out)
{
    buf_lit(out, "{\"event\":\"sockudo:resume\",\"data\":{\"channel_positions\":{\"");
    api_channel(&s->agent->options, out, agent_channel(s->agent, s->session));
    buf_fmt(out, "\":{\"stream_id\":\"%s\",\"serial\":%llu}}}}", s->stream_id, (unsigned long long)s->text.serial);
}

void agent_say_subscribe(struct agent_socket *s, struct str socket_id)
{
    struct agent *a = s->agent;
    bool cancels = a->config.cancel_ppm > 0 || a->config.cancel_count > 0;
    bool resumes = s->away_ns != 0 && s->stream_id[0] != 0 && !s->idle;
    if (cancels && !s->idle && s == &a->sockets[a->sessions[s->session].first_socket])
        say_signin(s, socket_id);
    s->stage = resumes ? SOCKET_RESUMING : SOCKET_SUBSCRIBING;
    buf_clear(&a->frame);
    put_subscribe(s, &a->frame, socket_id);
    if (resumes) {
        wsc_prepare(&s->conn, buf_view(&a->frame));
        buf_clear(&a->frame);
        put_resume(s, &a->frame);
    }
    wsc_send(&s->conn, buf_view(&a->frame));
}

void agent_socket_ready(struct agent_socket *s)
{
    s->stage = SOCKET_READY;
    if (s->counted)
        return;
    s->counted = true;
    s->agent->ready++;
    s->agent->connecting--;
}

/* ---- what the connection tells ---- */

static void on_open(struct wsc *conn)
{
    /* The server speaks first. */
}

static void on_text(struct wsc *conn, struct str payload)
{
    struct agent_socket *s = list_of(conn, struct agent_socket, conn);
    if (s->agent->plant && agent_plant_takes(s->agent->plant, s, payload))
        return;
    agent_frame(s, payload, wire_of(s)->now_ns);
}

/* No longer among those that are there; it comes back after away_ms. */
static void gone(struct agent_socket *s, uint64_t away_ms)
{
    struct agent *a = s->agent;
    if (s->idle && s->session != AGENT_NONE)
        agent_join_over(s, false);
    if (s->counted)
        a->ready--;
    else
        a->connecting--;
    if (s->counted && s->away_ns == 0)
        s->away_ns = agent_now();
    s->counted = false;
    s->stage = SOCKET_NONE;
    a->connecting++; /* under way again from now on */
    wheel_set(loop_wheel(a->loop), &s->back, loop_now_ms(a->loop) + away_ms);
}

/* A load balancer knows no sessions: whoever comes back may find another node. */
static void elsewhere(struct agent_socket *s)
{
    const struct agent_config *c = &s->agent->config;
    if (!c->node_local)
        s->node = (s->node + 1) % c->node_count;
}

static void on_closed(struct wsc *conn, const char *why)
{
    struct agent_socket *s = list_of(conn, struct agent_socket, conn);
    struct agent *a = s->agent;
    if (a->phase >= AGENT_AUDIT)
        return;
    agent_cause(a, why);
    if (s->counted) {
        a->counts.lost++;
        elsewhere(s);
    } else {
        a->counts.connect_failures++;
    }
    gone(s, AGAIN_MS);
}

static const struct wsc_events events = {.open = on_open, .text = on_text, .closed = on_closed};

/* ---- opening ---- */

static void open_socket(struct agent_socket *s)
{
    struct agent *a = s->agent;
    uint64_t window_ms = s->rolled ? a->config.window_ms : 0;
    buf_clear(&a->scratch);
    buf_fmt(&a->scratch, "/app/%s?protocol=2&client=load&version=1&append_mode=%s&append_rollup_window=%llu", a->config.key,
            s->full ? "full" : "delta", (unsigned long long)window_ms);
    s->conn = (struct wsc){0};
    s->stage = SOCKET_CONNECTING;
    a->counts.connect_attempts++;
    if (wsc_open(&s->conn, wire_of(s), buf_view(&a->scratch), &events))
        return;
    a->counts.connect_failures++;
    agent_cause(a, "no socket or no port left");
    buf_free(&s->conn.out);
    s->conn.state = WSC_CLOSED;
    wheel_set(loop_wheel(a->loop), &s->back, loop_now_ms(a->loop) + AGAIN_MS);
}

static void on_back(struct timer *timer)
{
    open_socket(list_of(timer, struct agent_socket, back));
}

void agent_cut(struct agent_socket *s, uint64_t away_ms)
{
    wsc_reset(&s->conn);
    elsewhere(s);
    gone(s, away_ms);
}

void agent_connect(struct agent *a)
{
    uint64_t now_ns = agent_now(), per_s = a->config.ramp_per_s;
    if (a->ramp_ns == 0)
        a->ramp_ns = now_ns;
    uint64_t may = per_s ? (now_ns - a->ramp_ns) / 1000 * per_s / 1000000 + 1 : a->socket_count;
    while (a->begun < a->socket_count && a->begun < may && a->connecting < AT_A_TIME) {
        a->connecting++;
        open_socket(&a->sockets[a->begun++]);
    }
}

bool agent_all_ready(const struct agent *a)
{
    return a->ready == a->socket_count;
}

/* ---- who there is ---- */

/* Uniform in [min, max], the same for a session in each run of a seed. */
static uint32_t subscribers_of(const struct agent_config *c, uint64_t session)
{
    struct random r;
    random_from_seed(&r, c->seed ^ (session + 1) * 0x9e3779b97f4a7c15ull);
    return (uint32_t)(c->subscribers_min + random_below(&r, c->subscribers_max - c->subscribers_min + 1));
}

/* The same, but no more than leaves the minimum to the sessions behind it. */
static uint32_t subscribers_that_fit(const struct agent *a, uint32_t session)
{
    const struct agent_config *c = &a->config;
    uint64_t kept = (c->sessions - session - 1) * c->subscribers_min + a->subscribers;
    uint64_t room = c->connections > kept ? c->connections - kept : 0;
    uint32_t drawn = subscribers_of(c, c->first_session + session);
    if (room < c->subscribers_min)
        room = c->subscribers_min;
    return drawn < room ? drawn : (uint32_t)room;
}

static void one_socket(struct agent *a, uint32_t index, uint32_t session, uint32_t node)
{
    struct agent_socket *s = &a->sockets[index];
    *s = (struct agent_socket){.agent = a, .session = session, .node = node, .idle = session == AGENT_NONE, .back.fire = on_back};
    s->rolled = !agent_chance(a, a->config.unrolled_ppm);
    s->full = agent_chance(a, a->config.full_ppm);
    s->text.session = session;
}

static void sessions_init(struct agent *a)
{
    struct agent_config *c = &a->config;
    a->sessions = mem_zalloc(c->sessions * sizeof *a->sessions);
    for (uint32_t i = 0; i < c->sessions; i++) {
        a->sessions[i] = (struct agent_session){.slot = AGENT_NONE, .joiner = AGENT_NONE, .first_socket = a->subscribers};
        a->sessions[i].sockets = subscribers_that_fit(a, i);
        a->sessions[i].node = (uint32_t)((c->first_session + i) % c->node_count);
        a->sessions[i].next = i + 1 < c->sessions ? i + 1 : AGENT_NONE;
        a->subscribers += a->sessions[i].sockets;
    }
    a->silent_first = 0;
    a->silent_last = (uint32_t)c->sessions - 1;
}

void agent_sockets_init(struct agent *a)
{
    const struct agent_config *c = &a->config;
    sessions_init(a);
    a->socket_count = a->subscribers > c->connections ? a->subscribers : (uint32_t)c->connections;
    a->sockets = mem_zalloc((a->socket_count + 1) * sizeof *a->sockets);
    for (uint32_t i = 0; i < c->sessions; i++) {
        struct agent_session *session = &a->sessions[i];
        for (uint32_t j = 0; j < session->sockets; j++)
            one_socket(a, session->first_socket + j, i, c->node_local ? session->node : (session->node + j) % c->node_count);
    }
    for (uint32_t i = a->subscribers; i < a->socket_count; i++)
        one_socket(a, i, AGENT_NONE, (uint32_t)((i + c->agent) % c->node_count));
    a->next_idle = a->subscribers;
}

void agent_sockets_free(struct agent *a)
{
    for (uint32_t i = 0; i < a->socket_count; i++) {
        wheel_cancel(loop_wheel(a->loop), &a->sockets[i].back);
        wsc_reset(&a->sockets[i].conn);
        buf_free(&a->sockets[i].held);
    }
    free(a->sockets);
    free(a->sessions);
}
