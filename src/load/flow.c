/* flow.c - see flow.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/flow.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "load/options.h"
#include "load/verify.h"

enum { FAILURES_SHOWN = 3 };

static uint64_t now(void)
{
    return clock_mono_ns(&clock_system);
}

static void fail(struct flow_stream *s, const char *what, struct str text)
{
    if (++s->flow->failed <= FAILURES_SHOWN)
        fprintf(stderr, "stream %u: %s: %.*s\n", s->mark.stream, what, STR_ARG(str_first(text, 300)));
    if (s->io.fd >= 0) {
        loop_remove(s->flow->wire->loop, &s->io);
        sock_reset(s->io.fd);
    }
    s->io.fd = -1;
    s->idle = true;
}

static void flush(struct flow_stream *s)
{
    if (s->io.fd >= 0 && sock_flush(s->io.fd, &s->out) < 0)
        fail(s, "lost", STR(""));
    else if (s->io.fd >= 0)
        loop_change(s->flow->wire->loop, &s->io, s->out.n ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* ---- the body ---- */

static void put_chunk(struct buf *out, struct str bytes)
{
    buf_fmt(out, "%zx\r\n", bytes.n);
    buf_str(out, bytes);
    buf_lit(out, "\r\n");
}

static void put_record(struct flow_stream *s)
{
    struct flow *f = s->flow;
    struct buf *p = &f->payload;
    s->mark.index++;
    s->mark.at_ns = s->sent_ns[s->sent % f->ahead] = now();
    s->sent++;
    buf_clear(p);
    buf_lit(p, "{\"data\":\"");
    mark_put(p, &s->mark, f->options->size_bytes);
    buf_lit(p, "\"}\n");
    put_chunk(&s->out, buf_view(p));
}

static bool is_full(const struct flow_stream *s)
{
    uint64_t max = s->flow->options->appends_per_message;
    return !s->flow->running || (max && s->sent >= max);
}

static void pump(struct flow_stream *s)
{
    while (!s->ending && !is_full(s) && s->sent - s->acked < s->flow->ahead)
        put_record(s);
    if (!s->ending && is_full(s)) {
        s->ending = true;
        put_chunk(&s->out, STR("{\"status\":\"complete\"}\n"));
        buf_lit(&s->out, "0\r\n\r\n");
    }
    flush(s);
}

static void begin(struct flow_stream *s)
{
    struct flow *f = s->flow;
    s->sent = s->acked = s->head_bytes = 0;
    s->ending = s->idle = false;
    s->serial[0] = 0;
    s->first_index = s->mark.index + 1;
    api_stream(&f->api, &s->out, s->mark.stream % (unsigned)f->options->channels, s->mark.stream, ++s->message);
    pump(s);
}

/* ---- the answer ---- */

static void acknowledged(struct flow_stream *s, uint64_t seq)
{
    struct flow *f = s->flow;
    uint64_t at = now();
    for (; s->acked < seq && s->acked < s->sent; s->acked++) {
        uint64_t sent_ns = s->sent_ns[s->acked % f->ahead];
        f->acked++;
        if (sent_ns >= f->from_ns)
            hist_record(f->ack, at - sent_ns);
    }
}

/* {"seq":9,..} or {"first_seq":2,"seq":9,..} or {"end":"complete",..} or what the server has against it. */
static void take_line(struct flow_stream *s, struct str line)
{
    struct str key = STR("\"seq\":");
    ptrdiff_t at = str_find(line, key);
    struct str serial = s->serial[0] ? STR_NONE : api_message_serial(line);
    if (serial.n && serial.n <= FLOW_SERIAL_MAX)
        snprintf(s->serial, sizeof s->serial, "%.*s", STR_ARG(serial));
    else if (str_starts(line, STR("{\"end\":\"complete\"")))
        s->flow->messages++;
    else if (str_starts(line, STR("{\"error\"")) || str_starts(line, STR("{\"end\"")))
        fail(s, "refused", line);
    else if (at >= 0)
        acknowledged(s, strtoull(line.p + at + key.n, NULL, 10));
}

/* Chunks that are whole, each one or more whole lines (the server cuts only there). True: that was the last. */
static bool take_chunks(struct flow_stream *s, struct str in, size_t *used)
{
    for (*used = 0;;) {
        struct str rest = str_from(in, *used);
        ptrdiff_t end = str_find(rest, STR("\r\n"));
        if (end < 0)
            return false;
        size_t size = strtoul(rest.p, NULL, 16), all = (size_t)end + 2 + size + 2;
        if (rest.n < all)
            return false;
        *used += all;
        if (size == 0)
            return true;
        struct str lines = str_make(rest.p + end + 2, size);
        while (lines.n > 1)
            take_line(s, str_split(&lines, '\n'));
    }
}

static bool take_head(struct flow_stream *s)
{
    struct str in = buf_view(&s->in);
    ptrdiff_t end = str_find(in, STR("\r\n\r\n"));
    if (s->head_bytes || end < 0)
        return s->head_bytes > 0;
    if (!str_starts(in, STR("HTTP/1.1 200 "))) {
        fail(s, "refused", in);
        return false;
    }
    s->head_bytes = (size_t)end + 4;
    buf_consume(&s->in, s->head_bytes);
    return true;
}

static void take_answer(struct flow_stream *s)
{
    size_t used;
    if (!take_head(s))
        return;
    bool last = take_chunks(s, buf_view(&s->in), &used);
    buf_consume(&s->in, used);
    if (s->io.fd < 0)
        return;
    if (!last) {
        pump(s);
        return;
    }
    s->idle = true;
    if (s->acked != s->sent)
        s->flow->wrong++;
    if (s->flow->running)
        begin(s);
}

static void ready(struct io *io, uint32_t events)
{
    struct flow_stream *s = list_of(io, struct flow_stream, io);
    struct wire *wire = s->flow->wire;
    if (events & EPOLLOUT)
        flush(s);
    if (s->io.fd < 0 || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    ssize_t n = recv(io->fd, wire->input, SOCK_INPUT_SIZE, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        fail(s, "lost", STR(""));
        return;
    }
    buf_put(&s->in, wire->input, (size_t)n);
    buf_char(&s->in, 0); /* for strtoul() */
    s->in.n--;
    take_answer(s);
}

/* ---- all streams ---- */

void flow_init(struct flow *f, struct wire *wire, const struct options *options)
{
    *f = (struct flow){.wire = wire, .options = options, .count = options->connections, .ahead = options->ahead};
    f->streams = mem_zalloc(f->count * sizeof *f->streams);
    f->ack = hist_new_default();
    api_init(&f->api, options, wire->host, random_u64(&wire->random));
    for (uint64_t i = 0; i < f->count; i++) {
        struct flow_stream *s = &f->streams[i];
        s->flow = f;
        s->mark.stream = (uint32_t)i;
        s->sent_ns = mem_zalloc(f->ahead * sizeof *s->sent_ns);
        s->io = (struct io){sock_connect(wire), ready};
        if (s->io.fd >= 0)
            loop_add(wire->loop, &s->io, EPOLLIN | EPOLLOUT);
        else
            fail(s, "cannot connect", STR(""));
    }
}

void flow_start(struct flow *f)
{
    f->running = true;
    for (uint64_t i = 0; i < f->count; i++)
        if (f->streams[i].io.fd >= 0)
            begin(&f->streams[i]);
}

static bool all_idle(const struct flow *f)
{
    for (uint64_t i = 0; i < f->count; i++)
        if (!f->streams[i].idle)
            return false;
    return true;
}

bool flow_end(struct flow *f, uint64_t seconds)
{
    uint64_t until_ns = now() + seconds * 1000000000ull;
    f->running = false;
    for (uint64_t i = 0; i < f->count; i++)
        if (!f->streams[i].idle)
            pump(&f->streams[i]);
    while (!all_idle(f) && now() < until_ns)
        loop_turn(f->wire->loop, 5);
    return all_idle(f);
}

uint64_t flow_verify(struct flow *f)
{
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < f->count; i++) {
        const struct flow_stream *s = &f->streams[i];
        struct verify_text expected = {s->mark.stream % (unsigned)f->options->channels,
                                       s->serial,
                                       0,
                                       s->mark.stream,
                                       s->first_index,
                                       s->mark.index + 1,
                                       f->options->size_bytes};
        wrong += !verify_message(f->wire, &f->api, &expected);
    }
    return wrong;
}

void flow_free(struct flow *f)
{
    for (uint64_t i = 0; i < f->count; i++) {
        struct flow_stream *s = &f->streams[i];
        if (s->io.fd >= 0) {
            loop_remove(f->wire->loop, &s->io);
            sock_reset(s->io.fd);
        }
        buf_free(&s->in);
        buf_free(&s->out);
        free(s->sent_ns);
    }
    free(f->streams);
    hist_free(f->ack);
    api_free(&f->api);
    buf_free(&f->payload);
}
