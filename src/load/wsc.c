/* wsc.c - handshake, frames in, frames out.
 *
 * All connections read into one buffer of the wire. Only when a frame is cut by the end of a read does a
 * connection keep bytes of its own, so that an idle one costs the struct and nothing else.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/wsc.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/digest.h"
#include "net/ws.h"

enum { OPCODE_TEXT = 1, OPCODE_BINARY = 2, OPCODE_CLOSE = 8, OPCODE_PING = 9, OPCODE_PONG = 10 };

static void shut(struct wsc *c)
{
    loop_remove(c->wire->loop, &c->io);
    sock_reset(c->io.fd);
    buf_free(&c->in);
    buf_free(&c->out);
    c->state = WSC_CLOSED;
}

static void fail(struct wsc *c, const char *why)
{
    if (c->state == WSC_CLOSED)
        return;
    shut(c);
    c->events->closed(c, why);
}

void wsc_reset(struct wsc *c)
{
    if (c->state != WSC_NONE && c->state != WSC_CLOSED)
        shut(c);
}

static void flush(struct wsc *c)
{
    bool had = c->out.n > 0;
    if (sock_flush(c->io.fd, &c->out) < 0) {
        fail(c, "send failed");
        return;
    }
    if (c->out.n > 0)
        loop_change(c->wire->loop, &c->io, EPOLLIN | EPOLLOUT);
    else if (had)
        buf_free(&c->out);
}

static void put(struct wsc *c, int opcode, struct str payload)
{
    if (c->state != WSC_READY)
        return;
    ws_put_masked(&c->out, opcode, payload, (uint32_t)random_u64(&c->wire->random));
    flush(c);
}

void wsc_send(struct wsc *c, struct str text)
{
    put(c, OPCODE_TEXT, text);
}

void wsc_prepare(struct wsc *c, struct str text)
{
    if (c->state == WSC_READY)
        ws_put_masked(&c->out, OPCODE_TEXT, text, (uint32_t)random_u64(&c->wire->random));
}

static void one_frame(struct wsc *c, int opcode, struct str payload)
{
    switch (opcode) {
    case OPCODE_TEXT:
    case OPCODE_BINARY:
        c->events->text(c, payload);
        return;
    case OPCODE_PING:
        put(c, OPCODE_PONG, payload);
        return;
    case OPCODE_CLOSE:
        put(c, OPCODE_CLOSE, str_first(payload, 2));
        fail(c, "closed by the server");
        return;
    default:
        return;
    }
}

/* Size of the frame that p starts with, its payload in *payload; 0 = not all of it is there. */
static size_t frame_size(const unsigned char *p, size_t n, struct str *payload)
{
    size_t head = 2;
    if (n < head)
        return 0;
    uint64_t size = p[1] & 127;
    unsigned more = size == 126 ? 2 : size == 127 ? 8 : 0;
    head += more;
    if (n < head)
        return 0;
    if (more)
        size = 0;
    for (unsigned i = 0; i < more; i++)
        size = size << 8 | p[2 + i];
    if (n - head < size)
        return 0;
    *payload = str_make(p + head, size);
    return head + size;
}

static size_t take_frames(struct wsc *c, struct str bytes)
{
    size_t used = 0, size = 0;
    struct str payload;
    while (c->state == WSC_READY &&
           (size = frame_size((const unsigned char *)bytes.p + used, bytes.n - used, &payload)) > 0) {
        int opcode = bytes.p[used] & 15;
        used += size;
        one_frame(c, opcode, payload);
    }
    return used;
}

/* Bytes of the response head, 0 while it is not complete. */
static size_t take_handshake(struct wsc *c, struct str bytes)
{
    ptrdiff_t end = str_find(bytes, STR("\r\n\r\n"));
    if (end < 0)
        return 0;
    if (!str_starts(bytes, STR("HTTP/1.1 101"))) {
        fail(c, "upgrade refused");
        return 0;
    }
    c->state = WSC_READY;
    c->events->open(c);
    return (size_t)end + 4;
}

static size_t take(struct wsc *c, struct str bytes)
{
    size_t used = 0;
    if (c->state == WSC_UPGRADING && (used = take_handshake(c, bytes)) == 0)
        return 0;
    return used + take_frames(c, str_from(bytes, used));
}

static void input(struct wsc *c)
{
    struct wire *wire = c->wire;
    ssize_t n = recv(c->io.fd, wire->input, sizeof wire->input, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        fail(c, n == 0 ? "connection ended" : "connection reset");
        return;
    }
    wire->now_ns = clock_mono_ns(&clock_system);
    struct str bytes = str_make(wire->input, (size_t)n);
    if (c->in.n > 0) {
        buf_str(&c->in, bytes);
        bytes = buf_view(&c->in);
    }
    size_t used = take(c, bytes);
    if (c->state == WSC_CLOSED)
        return;
    if (c->in.n > 0 && used < bytes.n)
        buf_consume(&c->in, used);
    else if (c->in.n > 0)
        buf_free(&c->in);
    else if (used < bytes.n)
        buf_str(&c->in, str_from(bytes, used));
}

static void connected(struct wsc *c)
{
    if (sock_error(c->io.fd) != 0) {
        fail(c, "connect failed");
        return;
    }
    loop_change(c->wire->loop, &c->io, EPOLLIN);
    c->state = c->raw ? WSC_READY : WSC_UPGRADING;
    if (c->raw)
        c->events->open(c);
    flush(c);
}

static void ready(struct io *io, uint32_t events)
{
    struct wsc *c = list_of(io, struct wsc, io);
    if (c->state == WSC_CONNECTING) {
        connected(c);
        return;
    }
    if (events & EPOLLOUT) {
        loop_change(c->wire->loop, &c->io, EPOLLIN);
        flush(c);
    }
    if (c->state != WSC_CLOSED && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        input(c);
}

static bool begin(struct wsc *c, struct wire *wire, const struct wsc_events *events)
{
    int fd = sock_connect(wire);
    if (fd < 0)
        return false;
    c->io = (struct io){fd, ready};
    c->wire = wire;
    c->events = events;
    c->state = WSC_CONNECTING;
    return loop_add(wire->loop, &c->io, EPOLLOUT) == 0;
}

bool wsc_open_raw(struct wsc *c, struct wire *wire, const struct wsc_events *events)
{
    c->raw = true;
    return begin(c, wire, events);
}

bool wsc_open(struct wsc *c, struct wire *wire, struct str path, const struct wsc_events *events)
{
    uint64_t key[2] = {random_u64(&wire->random), random_u64(&wire->random)};
    buf_fmt(&c->out, "GET %.*s HTTP/1.1\r\nHost: %.*s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
            STR_ARG(path), STR_ARG(wire->host));
    buf_lit(&c->out, "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ");
    base64_put(&c->out, str_make(key, sizeof key));
    buf_lit(&c->out, "\r\n\r\n");
    return begin(c, wire, events);
}
