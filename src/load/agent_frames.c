/* agent_frames.c - what subscribers read: every frame is parsed and every token of it compared.
 *
 * Frames of the session's channel that count: ai-output (a message begins), sockudo:message.append (a fragment, or its end) and
 * ai-cancel. A late joiner keeps live frames until its history is there.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/json.h"
#include "base/map.h"
#include "load/agent.h"

struct frame {
    struct str raw, event, channel, data, message_id, stream_id, extras;
    uint64_t serial; /* 0 = none */
};

static struct str text_of(struct str value)
{
    return value.n >= 2 && value.p[0] == '"' ? str_make(value.p + 1, value.n - 2) : STR_NONE;
}

static bool frame_read(struct frame *f, struct str payload)
{
    struct str key, value, whole;
    struct json_error error;
    *f = (struct frame){.raw = payload};
    if (!json_check(payload, &whole, &error) || !json_is(whole, JSON_OBJECT))
        return false;
    for (struct json_iter it = json_iter(whole); json_next_member(&it, &key, &value);) {
        if (str_eq(key, STR("event")))
            f->event = text_of(value);
        else if (str_eq(key, STR("channel")))
            f->channel = text_of(value);
        else if (str_eq(key, STR("data")))
            f->data = value;
        else if (str_eq(key, STR("message_id")))
            f->message_id = text_of(value);
        else if (str_eq(key, STR("stream_id")))
            f->stream_id = text_of(value);
        else if (str_eq(key, STR("extras")))
            f->extras = value;
        else if (str_eq(key, STR("serial")))
            json_u64(value, &f->serial);
    }
    return f->event.p != NULL;
}

/* ---- counting ---- */

static void note(struct agent_socket *s, enum transcript_verdict verdict, const struct frame *f)
{
    struct agent_counts *n = &s->agent->counts;
    if (verdict == TRANSCRIPT_FITS)
        return;
    n->mismatches++;
    switch (verdict) {
    case TRANSCRIPT_MISSING: n->missing++; break;
    case TRANSCRIPT_AGAIN: n->again++; break;
    case TRANSCRIPT_CUT: n->cut++; break;
    case TRANSCRIPT_ALTERED: n->altered++; break;
    default: n->stray++;
    }
    agent_fault(s->agent, "%s: session %llu message %u token %u, serial %llu, socket %u, node %u: %.*s", transcript_word(verdict),
                (unsigned long long)(s->agent->config.first_session + s->session), s->text.number, s->text.tokens,
                (unsigned long long)s->text.serial, (unsigned)(s - s->agent->sockets), s->node, STR_ARG(f ? str_first(f->data, 40) : STR("at the end")));
}

/* Latency of tokens [first, text.tokens) of the current message. */
static void record(struct agent_socket *s, uint32_t first, uint64_t now_ns)
{
    struct agent *a = s->agent;
    const struct agent_session *session = &a->sessions[s->session];
    const struct agent_message *m = &session->last[s->text.number % 2];
    bool same = session->node == s->node;
    if (s->away_ns != 0 || s->text.number + 1 < session->messages)
        return; /* it is catching up */
    struct hist *all = a->latency[s->rolled ? (same ? LATENCY_rolled_all_same : LATENCY_rolled_all_cross)
                                            : (same ? LATENCY_unrolled_same : LATENCY_unrolled_cross)];
    for (uint32_t token = first; token < s->text.tokens; token++) {
        uint64_t due_ns = agent_due_ns(a, m->slot, m->first_op + token);
        uint64_t took_ns = now_ns > due_ns ? now_ns - due_ns : 0;
        hist_record(all, took_ns);
        if (token == first && s->rolled)
            hist_record(a->latency[same ? LATENCY_rolled_first_same : LATENCY_rolled_first_cross], took_ns);
    }
}

/* ---- frames of a channel ---- */

/* The number behind the last '-': api_create() writes run-session-number. */
static uint32_t number_of(struct str message_id)
{
    uint32_t number = 0;
    size_t at = message_id.n;
    while (at > 0 && message_id.p[at - 1] != '-')
        at--;
    for (size_t i = at; i < message_id.n && message_id.p[i] >= '0' && message_id.p[i] <= '9'; i++)
        number = number * 10 + (uint32_t)(message_id.p[i] - '0');
    return number;
}

static struct str transport_of(const struct frame *f, struct str name)
{
    return text_of(json_get(json_get(json_get(f->extras, STR("ai")), STR("transport")), name));
}

static uint64_t key_of(const struct frame *f)
{
    struct str serial = text_of(json_get(json_get(f->extras, STR("headers")), STR("sockudo_message_serial")));
    return serial.p ? map_hash(serial) | 1 : 0;
}

static void ends_perhaps(struct agent_socket *s, const struct frame *f, uint64_t key)
{
    struct str status = transport_of(f, STR("status"));
    if (!status.p || str_eq(status, STR("streaming")))
        return;
    note(s, transcript_end(&s->text, &s->agent->script, key), f);
    if (s->idle)
        agent_join_over(s, true);
}

/* A resume that came late shows a message as a whole (chapter 3, 4.6), perhaps one whose beginning was missed. */
static void on_update(struct agent_socket *s, const struct frame *f)
{
    uint64_t key = key_of(f);
    uint32_t first;
    if (key != s->text.key)
        note(s, transcript_begin(&s->text, s->agent->sessions[s->session].messages, key), f);
    note(s, transcript_whole(&s->text, &s->agent->script, key, text_of(f->data), &first), f);
    ends_perhaps(s, f, key);
}

static void on_append(struct agent_socket *s, const struct frame *f, uint64_t now_ns)
{
    struct agent *a = s->agent;
    struct str text = text_of(f->data);
    uint64_t key = key_of(f);
    uint32_t first = s->text.tokens;
    a->counts.append_frames++;
    a->counts.frames_unrolled += !s->rolled;
    a->counts.frames_full += s->full;
    if (text.n > 0) {
        enum transcript_verdict verdict = s->full ? transcript_whole(&s->text, &a->script, key, text, &first)
                                                  : transcript_add(&s->text, &a->script, key, text, &first);
        note(s, verdict, f);
        if (verdict == TRANSCRIPT_FITS) {
            a->counts.tokens_checked += s->text.tokens - first;
            record(s, first, now_ns);
        }
    }
    ends_perhaps(s, f, key);
}

static void on_channel(struct agent_socket *s, const struct frame *f, uint64_t now_ns)
{
    struct agent *a = s->agent;
    a->counts.frames++;
    a->counts.frame_bytes += f->raw.n;
    buf_clear(&a->channel);
    api_channel(&a->options, &a->channel, agent_channel(a, s->session));
    if (!str_eq(f->channel, buf_view(&a->channel))) {
        note(s, TRANSCRIPT_STRAY, f);
        return;
    }
    if (f->serial != 0 && !transcript_serial(&s->text, f->serial)) {
        a->counts.serial_steps_back++;
        agent_fault(a, "serial %llu does not grow: session %u socket %u", (unsigned long long)f->serial, s->session, (unsigned)(s - a->sockets));
    }
    if (f->stream_id.n == AGENT_STREAM_ID_SIZE)
        memcpy(s->stream_id, f->stream_id.p, AGENT_STREAM_ID_SIZE);
    if (str_eq(f->event, STR("sockudo:message.append")))
        on_append(s, f, now_ns);
    else if (str_eq(f->event, STR("sockudo:message.update")))
        on_update(s, f);
    else if (str_eq(f->event, STR("ai-output")))
        note(s, transcript_begin(&s->text, number_of(f->message_id), key_of(f)), f);
    else if (str_eq(f->event, STR("ai-cancel")))
        agent_cancel_seen(s, number_of(text_of(f->data)));
    else
        note(s, TRANSCRIPT_STRAY, f);
}

/* ---- frames of the connection ---- */

static void on_established(struct agent_socket *s, const struct frame *f)
{
    struct buf scratch = {0}, id = {0};
    struct str data = json_text(f->data, &scratch), value;
    struct json_error error;
    if (s->session == AGENT_NONE) {
        s->away_ns = 0;
        agent_socket_ready(s);
    } else if (json_check(data, &value, &error)) {
        agent_say_subscribe(s, json_text(json_get(value, STR("socket_id")), &id));
    }
    buf_free(&scratch);
    buf_free(&id);
}

static void on_subscribed(struct agent_socket *s, const struct frame *f, uint64_t now_ns)
{
    if (f->stream_id.n == AGENT_STREAM_ID_SIZE)
        memcpy(s->stream_id, f->stream_id.p, AGENT_STREAM_ID_SIZE);
    if (s->stage == SOCKET_RESUMING)
        return; /* the position is that of before; the answer to the resume follows */
    s->text.serial = f->serial;
    if (s->idle) {
        agent_join_ask(s, now_ns);
        return;
    }
    hist_record(s->agent->latency[LATENCY_connect], now_ns - s->agent->ramp_ns);
    s->away_ns = 0;
    agent_socket_ready(s);
}

static void on_resumed(struct agent_socket *s, bool whole, uint64_t now_ns)
{
    struct agent *a = s->agent;
    uint64_t took_ns = s->away_ns ? now_ns - s->away_ns : 0;
    if (s->stage != SOCKET_RESUMING)
        return;
    a->counts.resumes++;
    a->counts.resumes_refused += !whole;
    a->counts.resumes_late += took_ns > a->config.resume_within_ms * 1000000;
    if (!whole)
        agent_fault(a, "resume refused: session %u socket %u", s->session, (unsigned)(s - a->sockets));
    hist_record(a->latency[LATENCY_resume], took_ns);
    s->away_ns = 0;
    agent_socket_ready(s);
}

static bool is_system(struct agent_socket *s, const struct frame *f, uint64_t now_ns)
{
    if (str_ends(f->event, STR(":connection_established")))
        on_established(s, f);
    else if (str_ends(f->event, STR(":subscription_succeeded")))
        on_subscribed(s, f, now_ns);
    else if (str_eq(f->event, STR("sockudo:resume_success")) || str_eq(f->event, STR("sockudo:resume_failed")))
        on_resumed(s, str_ends(f->event, STR("success")), now_ns);
    else if (str_eq(f->event, STR("sockudo:channel_history")))
        agent_join_history(s, f->data, now_ns);
    else if (str_ends(f->event, STR(":ping")))
        wsc_send(&s->conn, STR("{\"event\":\"pusher:pong\",\"data\":{}}"));
    else if (str_ends(f->event, STR(":error")) || str_ends(f->event, STR(":subscription_error")))
        agent_fault(s->agent, "the server says %.*s", STR_ARG(str_first(f->raw, 150)));
    else
        return str_ends(f->event, STR(":signin_success")) || str_ends(f->event, STR(":pong"));
    return true;
}

void agent_frame(struct agent_socket *s, struct str payload, uint64_t now_ns)
{
    struct frame f;
    if (!frame_read(&f, payload)) {
        note(s, TRANSCRIPT_ALTERED, &f);
        return;
    }
    if (is_system(s, &f, now_ns))
        return;
    if (s->session == AGENT_NONE)
        return; /* of the channel that it has just left */
    if (s->stage == SOCKET_HISTORY) {
        uint32_t size = (uint32_t)payload.n;
        buf_put(&s->held, &size, sizeof size);
        buf_str(&s->held, payload);
        return;
    }
    on_channel(s, &f, now_ns);
}

void agent_close_transcripts(struct agent *a)
{
    for (uint32_t i = 0; i < a->subscribers; i++) {
        struct agent_socket *s = &a->sockets[i];
        const struct agent_session *session = &a->sessions[s->session];
        const struct agent_message *m = &session->last[session->messages % 2];
        a->counts.transcripts++;
        if (m->abandoned) {
            a->counts.transcripts_unfinished++;
            continue;
        }
        note(s, transcript_close(&s->text, session->messages, m->tokens), NULL);
    }
}
