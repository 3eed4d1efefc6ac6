/* agent_events.c - what upsets a run: cancels, cut connections, late joins, storms.
 *
 *   cancel     the session's first subscriber sends ai-cancel; when its last one (who stands in for the agent's own
 *              subscription) has it, the slot ends the message as cancelled
 *   reconnect  a subscriber's connection is reset in the middle of a message; it comes back with its position
 *   late join  an idle socket subscribes in the middle of a message and reads the history until its attach position: that text,
 *              then what comes live, is checked like any other; when the message ends it leaves. Its window is 0: the page shows
 *              the text as of some position after the attach, and only of single fragments a client can tell which it repeats
 *   storms     a share of all sockets is reset within a second; a number of cancels at an even pace
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/json.h"
#include "base/map.h"
#include "load/agent.h"

enum { AWAY_MAX_MS = 1000, STORM_TURN_MS = 10, STORM_SPREAD_MS = 1000, CANCELS_OF_RUN_PERCENT = 90 };

bool agent_chance(struct agent *a, uint64_t ppm)
{
    return ppm > 0 && random_below(&a->random, 1000000) < ppm;
}

static uint32_t somewhere(struct agent_slot *slot, uint64_t ppm)
{
    struct agent *a = slot->agent;
    return agent_chance(a, ppm) ? (uint32_t)random_below(&a->random, slot->total) : AGENT_NONE;
}

void agent_plan_message(struct agent_slot *slot)
{
    const struct agent_config *c = &slot->agent->config;
    slot->cancel_at = c->cancel_count ? AGENT_NONE : somewhere(slot, c->cancel_ppm);
    slot->cut_at = somewhere(slot, c->reconnect_ppm);
    slot->join_at = somewhere(slot, c->join_ppm);
}

/* ---- cancel ---- */

static bool cancel(struct agent_slot *slot)
{
    struct agent *a = slot->agent;
    struct agent_session *session = &a->sessions[slot->session];
    struct agent_socket *s = &a->sockets[session->first_socket];
    if (session->sockets == 0 || s->stage != SOCKET_READY || slot->cancel_ns != 0)
        return false;
    slot->cancel_ns = agent_now();
    a->counts.cancels++;
    buf_clear(&a->frame);
    buf_lit(&a->frame, "{\"event\":\"ai-cancel\",\"channel\":\"");
    api_channel(&a->options, &a->frame, agent_channel(a, slot->session));
    buf_fmt(&a->frame, "\",\"data\":\"%u\",\"extras\":{\"ai\":{\"transport\":{\"run-id\":\"run-%u-%u\"}}}}", session->messages,
            slot->session, session->messages);
    wsc_send(&s->conn, buf_view(&a->frame));
    return true;
}

void agent_cancel_seen(struct agent_socket *s, uint32_t message)
{
    struct agent *a = s->agent;
    struct agent_session *session = &a->sessions[s->session];
    if (s != &a->sockets[session->first_socket + session->sockets - 1])
        return;
    if (session->slot == AGENT_NONE || message != session->messages)
        return; /* the message was over before */
    struct agent_slot *slot = &a->slots[session->slot];
    if (slot->cancelled || slot->cancel_ns == 0)
        return;
    slot->cancelled = true;
    a->counts.cancels_seen++;
    hist_record(a->latency[LATENCY_cancel], agent_now() - slot->cancel_ns);
}

/* ---- late join ---- */

static struct agent_socket *find_idle(struct agent *a)
{
    uint32_t idles = a->socket_count - a->subscribers;
    for (uint32_t tries = 0; tries < idles && tries < 64; tries++) {
        struct agent_socket *s = &a->sockets[a->next_idle];
        a->next_idle = a->next_idle + 1 < a->socket_count ? a->next_idle + 1 : a->subscribers;
        if (s->session == AGENT_NONE && s->stage == SOCKET_READY)
            return s;
    }
    return NULL;
}

/* A private channel needs the socket's id, which an idle one did not keep: it connects anew. */
static void join(struct agent_slot *slot)
{
    struct agent *a = slot->agent;
    struct agent_session *session = &a->sessions[slot->session];
    struct agent_socket *s = session->joiner == AGENT_NONE ? find_idle(a) : NULL;
    if (s == NULL) {
        a->counts.joins_no_socket++;
        return;
    }
    a->counts.joins++;
    session->joiner = (uint32_t)(s - a->sockets);
    s->text = (struct transcript){.session = slot->session};
    s->stream_id[0] = 0;
    agent_cut(s, 0);
    s->node = a->config.node_local ? session->node : s->node;
    s->session = slot->session;
}

void agent_join_ask(struct agent_socket *s, uint64_t now_ns)
{
    struct agent *a = s->agent;
    s->stage = SOCKET_HISTORY;
    s->away_ns = now_ns;
    buf_clear(&a->frame);
    buf_lit(&a->frame, "{\"event\":\"sockudo:channel_history\",\"data\":{\"channel\":\"");
    api_channel(&a->options, &a->frame, agent_channel(a, s->session));
    buf_lit(&a->frame, "\",\"limit\":5,\"direction\":\"newest_first\",\"until_attach\":true}}");
    wsc_send(&s->conn, buf_view(&a->frame));
}

static void play_held(struct agent_socket *s, uint64_t now_ns)
{
    struct buf held = s->held;
    s->held = (struct buf){0};
    for (size_t at = 0; at < held.n && s->session != AGENT_NONE;) {
        uint32_t size;
        memcpy(&size, held.p + at, sizeof size);
        agent_frame(s, str_make(held.p + at + sizeof size, size), now_ns);
        at += sizeof size + size;
    }
    buf_free(&held);
}

/* The item of the message that is under way, or absent. */
static struct str newest_item(struct str history)
{
    struct str items = json_get(history, STR("items")), item;
    struct json_iter it = json_iter(items);
    if (!json_is(items, JSON_ARRAY))
        return STR_NONE;
    while (json_next_item(&it, &item)) {
        struct str message = json_get(item, STR("message")), name = json_get(message, STR("name"));
        if (str_eq(name, STR("\"ai-output\"")))
            return item;
    }
    return STR_NONE;
}

static uint32_t number_behind_dash(struct str quoted)
{
    uint64_t number = 0;
    struct str text = str_make(quoted.p, quoted.n ? quoted.n - 1 : 0);
    while (text.p && str_index(text, '-') >= 0)
        text = str_from(text, (size_t)str_index(text, '-') + 1);
    return text.p && str_to_u64(text, &number) ? (uint32_t)number : 0;
}

static struct str status_of(struct str message)
{
    return json_get(json_get(json_get(json_get(message, STR("extras")), STR("ai")), STR("transport")), STR("status"));
}

void agent_join_history(struct agent_socket *s, struct str history, uint64_t now_ns)
{
    struct agent *a = s->agent;
    struct buf scratch = {0}, serial_text = {0};
    struct str item = newest_item(history), message = json_get(item, STR("message")), data, serial;
    uint32_t first;
    if (s->stage != SOCKET_HISTORY)
        return;
    hist_record(a->latency[LATENCY_join], now_ns - s->away_ns);
    s->away_ns = 0;
    data = json_text(json_get(message, STR("data")), &scratch);
    serial = json_text(json_get(message, STR("message_serial")), &serial_text);
    if (data.p && serial.p) {
        uint64_t key = map_hash(serial) | 1;
        transcript_begin(&s->text, number_behind_dash(json_get(item, STR("message_id"))), key);
        if (transcript_whole(&s->text, &a->script, key, data, &first) != TRANSCRIPT_FITS) {
            a->counts.joins_wrong++;
            a->counts.mismatches++;
            agent_fault(a, "history of a late join: session %u message %u is not its text: %.*s", s->session, s->text.number, STR_ARG(str_first(data, 40)));
        }
    }
    bool over = data.p && !str_eq(status_of(message), STR("\"streaming\""));
    buf_free(&scratch);
    buf_free(&serial_text);
    agent_socket_ready(s);
    if (over)
        agent_join_over(s, true); /* too late: it had ended, and all of it was there */
    else
        play_held(s, now_ns);
}

void agent_join_over(struct agent_socket *s, bool whole)
{
    struct agent *a = s->agent;
    struct agent_session *session = &a->sessions[s->session];
    a->counts.joins_whole += whole;
    buf_clear(&a->frame);
    buf_lit(&a->frame, "{\"event\":\"pusher:unsubscribe\",\"data\":{\"channel\":\"");
    api_channel(&a->options, &a->frame, agent_channel(a, s->session));
    buf_lit(&a->frame, "\"}}");
    session->joiner = AGENT_NONE;
    s->session = AGENT_NONE;
    buf_free(&s->held);
    wsc_send(&s->conn, buf_view(&a->frame));
}

/* ---- in the middle of a message ---- */

static void cut_one(struct agent_slot *slot)
{
    struct agent *a = slot->agent;
    const struct agent_session *session = &a->sessions[slot->session];
    if (session->sockets == 0)
        return;
    struct agent_socket *s = &a->sockets[session->first_socket + random_below(&a->random, session->sockets)];
    if (s->stage != SOCKET_READY)
        return;
    a->counts.drops++;
    agent_cut(s, random_below(&a->random, AWAY_MAX_MS));
}

void agent_token_passed(struct agent_slot *slot, uint32_t token)
{
    if (token == slot->cancel_at)
        cancel(slot);
    if (token == slot->cut_at)
        cut_one(slot);
    if (token == slot->join_at)
        join(slot);
}

/* ---- storms ---- */

static void drop_some(struct agent *a, uint64_t since_ns)
{
    uint64_t at_ns = a->config.drop_at_ms * 1000000;
    if (a->config.drop_ppm == 0 || since_ns < at_ns)
        return;
    uint64_t part = (since_ns - at_ns) / 1000 * a->socket_count / (STORM_SPREAD_MS * 1000ull);
    for (; a->storm_next < a->socket_count && a->storm_next < part; a->storm_next++) {
        struct agent_socket *s = &a->sockets[a->storm_next];
        if (s->stage != SOCKET_READY || !agent_chance(a, a->config.drop_ppm))
            continue;
        a->counts.drops++;
        agent_cut(s, random_below(&a->random, AWAY_MAX_MS + a->config.resume_within_ms / 10));
    }
}

static void cancel_some(struct agent *a, uint64_t since_ns)
{
    uint64_t due = (uint64_t)((double)a->config.cancel_count * (double)since_ns / 1e6 / (double)a->config.duration_ms * 100 / CANCELS_OF_RUN_PERCENT);
    if (due > a->config.cancel_count)
        due = a->config.cancel_count;
    for (uint64_t tries = 0; a->storm_cancels < due && tries < a->config.streams; tries++) {
        struct agent_slot *slot = &a->slots[a->storm_slot++ % a->config.streams];
        if (slot->stage == SLOT_TOKEN && cancel(slot))
            a->storm_cancels++;
    }
}

static void on_storm(struct timer *timer)
{
    struct agent *a = list_of(timer, struct agent, storm);
    if (a->phase != AGENT_RUNNING)
        return;
    uint64_t since_ns = agent_now() > a->start_ns ? agent_now() - a->start_ns : 0;
    drop_some(a, since_ns);
    if (a->config.streams > 0)
        cancel_some(a, since_ns);
    wheel_set(loop_wheel(a->loop), timer, loop_now_ms(a->loop) + STORM_TURN_MS);
}

void agent_storm_start(struct agent *a)
{
    a->storm.fire = on_storm;
    if (a->config.drop_ppm > 0 || a->config.cancel_count > 0)
        wheel_set(loop_wheel(a->loop), &a->storm, loop_now_ms(a->loop));
}
