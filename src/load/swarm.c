/* swarm.c - ramp, and what is done with each frame.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/swarm.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

enum { CONNECTING_MAX = 256, STALL_S = 30 };
#define SECOND_NS 1000000000ull

static uint32_t groups(const struct swarm *w)
{
    return (uint32_t)(w->options->groups ? w->options->groups : w->options->channels);
}

static uint32_t channels_of_group(const struct swarm *w)
{
    return (uint32_t)w->options->channels / groups(w);
}

static void say_hello(struct subscriber *s)
{
    const struct swarm *w = s->swarm;
    struct buf text = {0};
    for (uint32_t i = 0; i < channels_of_group(w); i++) {
        buf_clear(&text);
        w->peer->hello(w->options, &text, s->index % groups(w) + i * groups(w));
        wsc_send(&s->conn, buf_view(&text));
    }
    buf_free(&text);
}

static void now_ready(struct subscriber *s)
{
    if (s->ready)
        return;
    s->ready = true;
    s->swarm->ready++;
}

static void on_open(struct wsc *c)
{
    struct subscriber *s = list_of(c, struct subscriber, conn);
    const struct peer *peer = s->swarm->peer;
    if (peer->subscribed)
        now_ready(s);
    else if (!peer->hello_waits)
        say_hello(s);
}

static void on_closed(struct wsc *c, const char *why)
{
    struct subscriber *s = list_of(c, struct subscriber, conn);
    if (s->ready)
        s->swarm->lost++;
    else
        s->swarm->failed++;
    snprintf(s->swarm->why, sizeof s->swarm->why, "%s", why);
}

static void on_system(struct subscriber *s, struct str payload)
{
    const struct peer *peer = s->swarm->peer;
    switch (peer->said(payload)) {
    case SAID_ESTABLISHED:
        if (s->swarm->idle)
            now_ready(s);
        else
            say_hello(s);
        return;
    case SAID_SUBSCRIBED:
        if (++s->subscribed >= channels_of_group(s->swarm))
            now_ready(s);
        return;
    case SAID_PING:
        wsc_send(&s->conn, str_of(peer->pong));
        return;
    case SAID_SOMETHING:
        return;
    }
}

static struct last *slot_of(struct subscriber *s, const struct mark *mark)
{
    uint32_t slot = mark->stream / groups(s->swarm);
    if (slot >= s->slots) {
        s->last = mem_realloc(s->last, (slot + 1) * sizeof *s->last);
        memset(s->last + s->slots, 0, (slot + 1 - s->slots) * sizeof *s->last);
        s->slots = slot + 1;
    }
    return &s->last[slot];
}

static void one_mark(struct subscriber *s, const struct mark *mark)
{
    struct swarm *w = s->swarm;
    struct last *last = slot_of(s, mark);
    bool full = w->options->append_mode && str_eq(str_of(w->options->append_mode), STR("full"));
    if (full && mark->index <= last->index)
        return;
    if (last->index != 0 && mark->index != last->index + 1)
        w->order_errors++;
    last->index = mark->index;
    w->deliveries++;
    if (mark->at_ns >= w->from_ns && mark->at_ns < w->to_ns)
        hist_record(w->latency, w->wire->now_ns - mark->at_ns);
}

/* A connection with one channel counts in one place, whatever the stream. */
static void check_serial(struct subscriber *s, const struct mark *mark, struct str payload)
{
    struct mark one = {.stream = channels_of_group(s->swarm) > 1 ? mark->stream : 0};
    ptrdiff_t at = str_find(payload, STR(",\"serial\":"));
    if (at < 0)
        return;
    uint64_t serial = strtoull(payload.p + at + 10, NULL, 10);
    struct last *last = slot_of(s, &one);
    if (serial <= last->serial)
        s->swarm->serial_errors++;
    last->serial = serial;
}

static void on_text(struct wsc *c, struct str payload)
{
    struct subscriber *s = list_of(c, struct subscriber, conn);
    struct str rest = payload;
    struct mark mark;
    if (!mark_next(&rest, &mark)) {
        on_system(s, payload);
        return;
    }
    s->swarm->frames++;
    s->swarm->bytes += payload.n;
    if (s->swarm->options->protocol == 2)
        check_serial(s, &mark, payload);
    do
        one_mark(s, &mark);
    while (mark_next(&rest, &mark));
}

static const struct wsc_events events = {.open = on_open, .text = on_text, .closed = on_closed};

static void open_one(struct swarm *w)
{
    struct subscriber *s = &w->subscribers[w->begun];
    *s = (struct subscriber){.swarm = w, .index = w->begun};
    w->begun++;
    struct buf path = {0};
    if (w->peer->path)
        w->peer->path(w->options, &path, s->index % (unsigned)w->options->channels);
    bool begun = w->peer->raw ? wsc_open_raw(&s->conn, w->wire, &events)
                              : wsc_open(&s->conn, w->wire, buf_view(&path), &events);
    buf_free(&path);
    if (!begun) {
        w->failed++;
        snprintf(w->why, sizeof w->why, "no socket");
    }
}

static void ramp(struct swarm *w)
{
    uint64_t may = w->options->subscribers;
    if (w->options->ramp_per_s) {
        uint64_t elapsed_ns = clock_mono_ns(&clock_system) - w->begun_ns;
        uint64_t due = elapsed_ns / 1000000 * w->options->ramp_per_s / 1000 + 1;
        may = due < may ? due : may;
    }
    while (w->begun < may && w->begun - w->ready - w->failed < CONNECTING_MAX)
        open_one(w);
}

void swarm_init(struct swarm *swarm, struct wire *wire, const struct options *options,
                const struct peer *peer)
{
    *swarm = (struct swarm){.wire = wire, .options = options, .peer = peer};
    swarm->subscribers = mem_zalloc((options->subscribers + 1) * sizeof *swarm->subscribers);
    swarm->latency = hist_new_default();
}

bool swarm_start(struct swarm *w)
{
    w->begun_ns = clock_mono_ns(&clock_system);
    uint64_t moved_ns = w->begun_ns;
    uint32_t moved = 0;
    while (w->ready + w->failed < w->options->subscribers) {
        ramp(w);
        loop_turn(w->wire->loop, 5);
        uint64_t now_ns = clock_mono_ns(&clock_system);
        if (w->ready + w->begun + w->failed != moved) {
            moved = w->ready + w->begun + w->failed;
            moved_ns = now_ns;
        }
        if (now_ns - moved_ns > STALL_S * SECOND_NS)
            break;
    }
    if (w->ready == w->options->subscribers)
        return true;
    fprintf(stderr, "only %u of %llu subscribers are ready, %u failed: %s\n", w->ready,
            (unsigned long long)w->options->subscribers, w->failed, w->why[0] ? w->why : "no answer");
    return false;
}

void swarm_free(struct swarm *w)
{
    for (uint64_t i = 0; i < w->begun; i++) {
        wsc_reset(&w->subscribers[i].conn);
        free(w->subscribers[i].last);
    }
    free(w->subscribers);
    hist_free(w->latency);
}
