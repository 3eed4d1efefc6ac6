/* crowd.c - see crowd.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/crowd.h"

#include <stdlib.h>

#include "base/mem.h"

#define FNV_BASIS 14695981039346656037ull
#define FNV_PRIME 1099511628211ull

/* ---- what is sent ---- */

/* As SDKs do: the subscribe, and the resume right behind it. */
static void say_hello(struct follower *f)
{
    const struct options *o = f->crowd->options;
    struct buf text = {0}, resume = {0};
    f->crowd->peer->hello(o, &text, f->channel);
    if (!f->coming_back) {
        wsc_send(&f->conn, buf_view(&text));
    } else {
        wsc_prepare(&f->conn, buf_view(&text));
        buf_lit(&resume, "{\"event\":\"sockudo:resume\",\"data\":{\"channel_positions\":{\"");
        api_channel(o, &resume, f->channel);
        buf_fmt(&resume, "\":{\"stream_id\":\"%s\",\"serial\":%llu}}}}", f->stream_id, (unsigned long long)f->serial);
        wsc_send(&f->conn, buf_view(&resume));
    }
    buf_free(&text);
    buf_free(&resume);
}

/* ---- what comes ---- */

static void now_ready(struct follower *f)
{
    if (f->ready)
        return;
    f->ready = true;
    f->crowd->ready++;
    if (f->coming_back)
        hist_record(f->crowd->caught_up, f->crowd->wire->now_ns - f->opened_ns);
}

static void came_back(struct follower *f, struct str payload)
{
    struct crowd *c = f->crowd;
    ptrdiff_t at = str_find(payload, STR("\\\"replayed\\\":"));
    if (str_find(payload, STR("\\\"source\\\":\\\"hot\\\"")) >= 0)
        c->hot++;
    else if (str_find(payload, STR("\\\"source\\\":\\\"cold\\\"")) >= 0)
        c->cold++;
    else
        c->refused++;
    if (at >= 0)
        c->replayed += strtoull(payload.p + at + 13, NULL, 10);
    now_ready(f);
}

static void note_position(struct follower *f, struct str payload, bool grows)
{
    ptrdiff_t at = str_find(payload, STR(",\"serial\":")), stream = str_find(payload, STR("\"stream_id\":\""));
    if (at < 0 || stream < 0 || payload.n < (size_t)stream + 13 + 36)
        return;
    uint64_t serial = strtoull(payload.p + at + 10, NULL, 10);
    if (grows && serial <= f->serial)
        f->crowd->serial_errors++;
    f->serial = serial;
    memcpy(f->stream_id, payload.p + stream + 13, 36);
}

static void add_text(struct transcript *t, struct str payload)
{
    ptrdiff_t at = str_find(payload, STR("\"data\":\""));
    if (at < 0)
        return;
    for (size_t i = (size_t)at + 8; i < payload.n && payload.p[i] != '"'; i++, t->bytes++)
        t->hash = (t->hash ^ (unsigned char)payload.p[i]) * FNV_PRIME;
}

static void one_mark(struct follower *f, const struct mark *mark)
{
    struct crowd *c = f->crowd;
    if (mark->index != f->last + 1)
        c->order_errors++;
    f->last = mark->index;
    if (mark->at_ns >= c->from_ns && mark->at_ns < c->to_ns)
        hist_record(c->latency, c->wire->now_ns - mark->at_ns);
}

static void on_system(struct follower *f, struct str payload)
{
    switch (f->crowd->peer->said(payload)) {
    case SAID_ESTABLISHED:
        say_hello(f);
        return;
    case SAID_SUBSCRIBED:
        note_position(f, payload, false);
        if (!f->coming_back)
            now_ready(f);
        return;
    case SAID_PING:
        wsc_send(&f->conn, str_of(f->crowd->peer->pong));
        return;
    case SAID_SOMETHING:
        if (str_find(str_first(payload, 40), STR("resume_success")) >= 0)
            came_back(f, payload);
        return;
    }
}

static void on_text(struct wsc *conn, struct str payload)
{
    struct follower *f = list_of(conn, struct follower, conn);
    struct str rest = payload;
    struct mark mark;
    if (!mark_next(&rest, &mark)) {
        on_system(f, payload);
        return;
    }
    f->crowd->frames++;
    note_position(f, payload, true);
    add_text(&f->text, payload);
    do
        one_mark(f, &mark);
    while (mark_next(&rest, &mark));
}

static void on_open(struct wsc *conn)
{
    /* The server speaks first. */
}

static void on_closed(struct wsc *conn, const char *why)
{
    struct follower *f = list_of(conn, struct follower, conn);
    f->crowd->lost++;
    f->crowd->ready -= f->ready;
    f->ready = false;
}

static const struct wsc_events events = {.open = on_open, .text = on_text, .closed = on_closed};

/* ---- coming and going ---- */

static void connect_one(struct crowd *c)
{
    struct follower *f = &c->followers[c->begun++];
    struct buf path = {0};
    c->peer->path(c->options, &path, f->channel);
    f->conn = (struct wsc){0};
    f->opened_ns = clock_mono_ns(&clock_system);
    if (!wsc_open(&f->conn, c->wire, buf_view(&path), &events))
        c->lost++;
    buf_free(&path);
}

static uint32_t due(struct crowd *c)
{
    uint64_t now_ns = clock_mono_ns(&clock_system), per_s = c->options->ramp_per_s;
    if (c->begun == 0)
        c->begun_ns = now_ns;
    uint64_t may = per_s ? (now_ns - c->begun_ns) / 1000 * per_s / 1000000 + 1 : c->count;
    return (uint32_t)(may < c->count ? may : c->count);
}

void crowd_connect(struct crowd *c)
{
    uint32_t may = due(c);
    while (c->begun < may && c->begun - c->ready - c->lost < c->options->at_once)
        connect_one(c);
}

bool crowd_is_ready(const struct crowd *c)
{
    return c->ready + c->lost >= c->count;
}

void crowd_cut(struct crowd *c)
{
    for (uint32_t i = 0; i < c->begun; i++) {
        struct follower *f = &c->followers[i];
        wsc_reset(&f->conn);
        f->ready = false;
        f->coming_back = true;
    }
    c->begun = c->ready = 0;
}

void crowd_init(struct crowd *c, struct wire *wire, const struct options *options, const struct peer *peer, uint32_t count)
{
    *c = (struct crowd){.wire = wire, .options = options, .peer = peer, .count = count, .from_ns = UINT64_MAX};
    c->followers = mem_zalloc((count + 1) * sizeof *c->followers);
    c->latency = hist_new_default();
    c->caught_up = hist_new_default();
    for (uint32_t i = 0; i < count; i++) {
        c->followers[i].crowd = c;
        c->followers[i].channel = i % (unsigned)options->channels;
        c->followers[i].text.hash = FNV_BASIS;
    }
}

void crowd_free(struct crowd *c)
{
    for (uint32_t i = 0; i < c->begun; i++)
        wsc_reset(&c->followers[i].conn);
    free(c->followers);
    hist_free(c->latency);
    hist_free(c->caught_up);
}
