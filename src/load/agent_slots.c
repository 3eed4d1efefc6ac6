/* agent_slots.c - who speaks, and when.
 *
 *      schedule   op 0 of slots 0 1 2 .. S-1, op 1 of slots 0 1 2 ..          one every interval / S
 *      a slot     create t0 t1 .. tN-1 end | create t0 ..                     one operation under way at a time
 *
 * An operation that is due while the one before is not answered waits for it; its latency has begun. The lag of this program
 * itself is what passes between the moment when an operation could have gone and its send.
 *
 * A request that the server did not take (503, no answer, connection lost) is repeated as it was, same op_id, at the next node
 * unless the run is node-local; after RETRIES_MAX of them, or a refusal, the message is abandoned and counted.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "load/agent.h"

enum { AGAIN_MS = 50, RETRIES_MAX = 600, END_OP = UINT16_MAX };
#define SECOND_NS 1000000000ull
#define CANCEL_WAIT_NS (2 * SECOND_NS)

uint64_t agent_due_ns(const struct agent *a, uint32_t slot, uint64_t op)
{
    uint64_t interval_ns = a->config.interval_ns;
    return a->start_ns + op * interval_ns + interval_ns * slot / a->config.streams;
}

static struct agent_session *session_of(const struct agent_slot *slot)
{
    return &slot->agent->sessions[slot->session];
}

static struct agent_message *message_of(const struct agent_slot *slot)
{
    struct agent_session *session = session_of(slot);
    return &session->last[session->messages % 2];
}

/* ---- whose turn it is ---- */

static uint32_t take_silent(struct agent *a)
{
    uint32_t session = a->silent_first;
    a->silent_first = a->sessions[session].next;
    if (a->silent_first == AGENT_NONE)
        a->silent_last = AGENT_NONE;
    return session;
}

static void fall_silent(struct agent *a, uint32_t session)
{
    a->sessions[session].slot = AGENT_NONE;
    a->sessions[session].next = AGENT_NONE;
    if (a->silent_last == AGENT_NONE)
        a->silent_first = session;
    else
        a->sessions[a->silent_last].next = session;
    a->silent_last = session;
}

/* Geometric with the profile's mean, at least one. */
static uint32_t length_of_message(struct agent *a)
{
    double mean = (double)a->config.mean_tokens;
    if (mean <= 1)
        return 1;
    double u = (double)(random_u64(&a->random) >> 11) / (double)(1ull << 53);
    double tokens = 1 + floor(log1p(-u) / log1p(-1 / mean));
    return tokens < AGENT_TOKENS_MAX ? (uint32_t)tokens : AGENT_TOKENS_MAX;
}

/* ---- operations ---- */

static void at_node(struct agent_slot *slot, uint32_t node)
{
    if (slot->node == node && slot->http.wire)
        return;
    httpc_reset(&slot->http);
    slot->node = node;
    slot->http.wire = &slot->agent->wires[node];
}

static void transmit(struct agent_slot *slot)
{
    slot->sent_ns = agent_now();
    slot->agent->counts.request_bytes += slot->request.n;
    httpc_send(&slot->http, buf_view(&slot->request));
}

static void put_create(struct agent_slot *slot)
{
    struct agent *a = slot->agent;
    slot->session = take_silent(a);
    struct agent_session *session = session_of(slot);
    session->slot = slot->index;
    session->messages++;
    *message_of(slot) = (struct agent_message){.slot = slot->index, .first_op = slot->issued};
    slot->total = length_of_message(a);
    slot->cancelled = false;
    slot->cancel_ns = 0;
    slot->stage = SLOT_CREATING;
    at_node(slot, session->node);
    agent_plan_message(slot);
    api_create(&a->apis[slot->node], &slot->request, agent_channel(a, slot->session), agent_channel(a, slot->session), session->messages);
}

static void put_token(struct agent_slot *slot)
{
    struct agent *a = slot->agent;
    struct script_message m = {slot->session, session_of(slot)->messages};
    char token[SCRIPT_TOKEN_MAX];
    uint32_t number = message_of(slot)->tokens;
    script_token(&a->script, m, number, token);
    slot->stage = SLOT_TOKEN;
    api_append(&a->apis[slot->node], &slot->request, agent_channel(a, slot->session), str_of(slot->serial), number, str_make(token, a->script.token_bytes));
}

static void put_end(struct agent_slot *slot)
{
    struct agent *a = slot->agent;
    slot->stage = SLOT_ENDING;
    api_end(&a->apis[slot->node], &slot->request, agent_channel(a, slot->session), str_of(slot->serial), END_OP, slot->cancelled ? "cancelled" : "complete");
}

static bool is_open(const struct agent_slot *slot)
{
    return slot->stage == SLOT_TOKEN;
}

/* due_ns: when it should have left. */
static void send_next(struct agent_slot *slot, uint64_t due_ns)
{
    struct agent *a = slot->agent;
    bool ends = is_open(slot) && (slot->cancelled || message_of(slot)->tokens >= slot->total || a->phase == AGENT_ENDING);
    slot->due_ns = due_ns;
    buf_clear(&slot->request);
    if (ends)
        put_end(slot);
    else if (is_open(slot))
        put_token(slot);
    else
        put_create(slot);
    transmit(slot);
    uint64_t could_ns = due_ns > slot->free_ns ? due_ns : slot->free_ns;
    hist_record(a->latency[LATENCY_lag], slot->sent_ns > could_ns ? slot->sent_ns - could_ns : 0);
}

static bool is_busy(const struct agent_slot *slot)
{
    return slot->http.busy || timer_is_set(&slot->again);
}

/* The next step, if there is one now. */
static void go_on(struct agent_slot *slot)
{
    struct agent *a = slot->agent;
    if (is_busy(slot) || slot->stage == SLOT_DONE)
        return;
    if (a->phase == AGENT_RUNNING && slot->issued < slot->allowed) {
        send_next(slot, agent_due_ns(a, slot->index, slot->issued));
        slot->issued++;
    } else if (a->phase == AGENT_ENDING && is_open(slot)) {
        if (slot->cancel_ns == 0 || slot->cancelled || agent_now() - slot->cancel_ns > CANCEL_WAIT_NS)
            send_next(slot, agent_now());
    } else if (a->phase >= AGENT_ENDING) {
        slot->stage = SLOT_DONE;
        a->slots_done++;
    }
}

/* ---- answers ---- */

static void created(struct agent_slot *slot, struct str answer)
{
    struct str serial = api_message_serial(answer);
    if (!serial.p || serial.n > AGENT_SERIAL_MAX) {
        slot->agent->counts.request_failures++;
        agent_fault(slot->agent, "no message_serial in the answer to a create: %.*s", STR_ARG(str_first(answer, 120)));
        message_of(slot)->abandoned = true;
        fall_silent(slot->agent, slot->session);
        slot->stage = SLOT_SILENT;
        return;
    }
    memcpy(slot->serial, serial.p, serial.n);
    slot->serial[serial.n] = 0;
    slot->agent->counts.creates++;
    slot->stage = SLOT_TOKEN;
    message_of(slot)->first_op = slot->issued;
}

static void ended(struct agent_slot *slot)
{
    struct agent *a = slot->agent;
    struct agent_message *m = message_of(slot);
    m->ended = true;
    a->counts.ends++;
    a->counts.cancels_ended += slot->cancelled;
    a->counts.cancels_moot += slot->cancel_ns != 0 && !slot->cancelled; /* it had ended by itself meanwhile */
    agent_sample(a, (struct script_message){slot->session, session_of(slot)->messages}, m->tokens, slot->serial);
    fall_silent(a, slot->session);
    slot->stage = SLOT_SILENT;
}

static void answered(struct agent_slot *slot, struct str answer)
{
    struct agent *a = slot->agent;
    hist_record(a->latency[LATENCY_ack], agent_now() - slot->due_ns);
    if (slot->stage == SLOT_CREATING) {
        created(slot, answer);
    } else if (slot->stage == SLOT_TOKEN) {
        a->counts.appends++;
        agent_token_passed(slot, message_of(slot)->tokens++);
    } else {
        ended(slot);
    }
}

/* The server will not go on with this message. */
static void refused(struct agent_slot *slot, unsigned status, struct str answer)
{
    struct agent *a = slot->agent;
    a->counts.request_failures++;
    a->counts.abandoned++;
    agent_fault(a, "answer %u at node %u, session %u: %.*s", status, slot->node, slot->session, STR_ARG(str_first(answer, 120)));
    message_of(slot)->abandoned = true;
    if (slot->stage == SLOT_CREATING)
        session_of(slot)->messages--; /* nobody has heard of it */
    fall_silent(a, slot->session);
    slot->stage = SLOT_SILENT;
}

static void on_again(struct timer *timer)
{
    struct agent_slot *slot = list_of(timer, struct agent_slot, again);
    struct agent *a = slot->agent;
    if (!a->config.node_local)
        at_node(slot, (slot->node + 1) % a->config.node_count);
    transmit(slot);
}

static void on_done(struct httpc *http, unsigned status, struct str answer)
{
    struct agent_slot *slot = list_of(http, struct agent_slot, http);
    struct agent *a = slot->agent;
    if ((status == 0 || status == 503) && slot->tries++ < RETRIES_MAX) {
        a->counts.retries++;
        if (a->phase <= AGENT_ENDING)
            wheel_set(loop_wheel(a->loop), &slot->again, loop_now_ms(a->loop) + AGAIN_MS);
        return;
    }
    slot->tries = 0;
    a->counts.answer_bytes += http->answer_bytes;
    slot->free_ns = agent_now();
    if (status < 200 || status > 299)
        refused(slot, status, answer);
    else
        answered(slot, answer);
    go_on(slot);
}

/* ---- the schedule ---- */

static void arm(struct agent *a, uint64_t at_ns)
{
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(at_ns / SECOND_NS), .tv_nsec = (long)(at_ns % SECOND_NS)}};
    timerfd_settime(a->timer.fd, TFD_TIMER_ABSTIME, &at, NULL);
}

void agent_pump(struct agent *a)
{
    while (a->phase == AGENT_RUNNING && a->config.streams > 0) {
        uint32_t index = (uint32_t)(a->scheduled % a->config.streams);
        uint64_t due_ns = agent_due_ns(a, index, a->scheduled / a->config.streams);
        if (due_ns >= a->end_ns)
            return;
        if (due_ns > agent_now()) {
            arm(a, due_ns);
            return;
        }
        a->scheduled++;
        a->counts.tokens_due++;
        a->slots[index].allowed++;
        go_on(&a->slots[index]);
    }
}

static void on_timer(struct io *io, uint32_t events)
{
    uint64_t expired;
    if (read(io->fd, &expired, sizeof expired) > 0)
        agent_pump(list_of(io, struct agent, timer));
}

void agent_slots_watch(struct agent *a)
{
    uint64_t now_ns = agent_now(), limit_ns = a->config.request_timeout_ms * 1000000;
    for (uint32_t i = 0; i < a->config.streams; i++) {
        struct agent_slot *slot = &a->slots[i];
        if (!slot->http.busy || now_ns - slot->sent_ns < limit_ns)
            continue;
        a->counts.request_timeouts++;
        httpc_reset(&slot->http);
        on_done(&slot->http, 0, STR(""));
    }
}

void agent_slots_start(struct agent *a)
{
    agent_pump(a);
}

void agent_slots_end(struct agent *a)
{
    for (uint32_t i = 0; i < a->config.streams; i++)
        go_on(&a->slots[i]);
}

void agent_slots_init(struct agent *a)
{
    a->slots = mem_zalloc((a->config.streams + 1) * sizeof *a->slots);
    for (uint32_t i = 0; i < a->config.streams; i++) {
        struct agent_slot *slot = &a->slots[i];
        httpc_init(&slot->http, NULL, on_done);
        slot->agent = a;
        slot->index = i;
        slot->session = AGENT_NONE;
        slot->again.fire = on_again;
    }
    a->timer = (struct io){timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), on_timer};
    loop_add(a->loop, &a->timer, EPOLLIN);
}

void agent_slots_free(struct agent *a)
{
    for (uint32_t i = 0; i < a->config.streams; i++) {
        wheel_cancel(loop_wheel(a->loop), &a->slots[i].again);
        if (a->slots[i].http.wire)
            httpc_reset(&a->slots[i].http);
        buf_free(&a->slots[i].request);
    }
    loop_remove(a->loop, &a->timer);
    close(a->timer.fd);
    free(a->slots);
}
