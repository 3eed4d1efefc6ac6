/* httpc.c - request out, response in.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/httpc.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

void httpc_init(struct httpc *c, struct wire *wire,
                void (*done)(struct httpc *c, unsigned status, struct str body))
{
    *c = (struct httpc){.io.fd = -1, .wire = wire, .done = done};
}

void httpc_reset(struct httpc *c)
{
    if (c->io.fd >= 0) {
        loop_remove(c->wire->loop, &c->io);
        sock_reset(c->io.fd);
    }
    c->io.fd = -1;
    c->connecting = c->busy = false;
    buf_free(&c->in);
    buf_free(&c->out);
}

static void lost(struct httpc *c)
{
    bool busy = c->busy;
    httpc_reset(c);
    if (busy)
        c->done(c, 0, STR(""));
}

static void flush(struct httpc *c)
{
    if (sock_flush(c->io.fd, &c->out) < 0)
        lost(c);
    else if (c->out.n > 0)
        loop_change(c->wire->loop, &c->io, EPOLLIN | EPOLLOUT);
}

/* The value of a header in a response head; absent if it is not there. */
static struct str header(struct str head, struct str name)
{
    while (head.p) {
        struct str line = str_split(&head, '\n');
        struct str value = line;
        if (str_eq_nocase(str_split(&value, ':'), name) && value.p)
            return str_trim(value);
    }
    return STR_NONE;
}

/* Size of a chunked body at p including its end; 0 = not complete. The data of its chunks goes to *body. */
static size_t chunked(struct str in, struct buf *body)
{
    size_t at = 0;
    for (;;) {
        struct str rest = str_from(in, at);
        ptrdiff_t line = str_find(rest, STR("\r\n"));
        if (line < 0)
            return 0;
        size_t size = strtoul(rest.p, NULL, 16);
        at += (size_t)line + 2;
        if (in.n < at + size + 2)
            return 0;
        if (size == 0)
            return at + 2;
        buf_put(body, in.p + at, size);
        at += size + 2;
    }
}

/* Size of the whole response, 0 while it is not complete; its body, perhaps in scratch, in *body. */
static size_t response_size(struct str in, struct buf *scratch, struct str *body)
{
    ptrdiff_t end = str_find(in, STR("\r\n\r\n"));
    if (end < 0)
        return 0;
    struct str head = str_first(in, (size_t)end + 2), rest = str_from(in, (size_t)end + 4);
    if (str_eq_nocase(header(head, STR("transfer-encoding")), STR("chunked"))) {
        size_t size = chunked(rest, scratch);
        *body = buf_view(scratch);
        return size ? head.n + 2 + size : 0;
    }
    uint64_t size = 0;
    str_to_u64(header(head, STR("content-length")), &size);
    *body = str_first(rest, size);
    return rest.n < size ? 0 : head.n + 2 + size;
}

static void response(struct httpc *c, size_t size, struct str body)
{
    unsigned status = (unsigned)strtoul(c->in.p + 9, NULL, 10);
    struct buf kept = c->in;
    c->in = (struct buf){0};
    c->busy = false;
    c->answer_bytes = size;
    c->done(c, status, body);
    if (c->in.n == 0 && c->io.fd >= 0 && kept.n == size) {
        buf_free(&c->in);
        c->in = kept;
        buf_clear(&c->in);
        return;
    }
    buf_free(&kept); /* what comes behind a response that nobody asked for */
}

static void input(struct httpc *c)
{
    ssize_t n = recv(c->io.fd, c->wire->input, SOCK_INPUT_SIZE, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        lost(c);
        return;
    }
    c->wire->now_ns = clock_mono_ns(&clock_system);
    buf_put(&c->in, c->wire->input, (size_t)n);
    buf_char(&c->in, 0); /* for strtoul() */
    c->in.n--;
    struct buf scratch = {0};
    struct str body = STR("");
    size_t size = response_size(buf_view(&c->in), &scratch, &body);
    if (size > 0 && c->busy)
        response(c, size, body);
    buf_free(&scratch);
}

static void ready(struct io *io, uint32_t events)
{
    struct httpc *c = list_of(io, struct httpc, io);
    if (c->connecting && sock_error(io->fd) != 0) {
        lost(c);
        return;
    }
    if (events & EPOLLOUT) {
        c->connecting = false;
        loop_change(c->wire->loop, io, EPOLLIN);
        flush(c);
    }
    if (c->io.fd >= 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        input(c);
}

void httpc_send(struct httpc *c, struct str request)
{
    assert(!c->busy);
    c->busy = true;
    buf_str(&c->out, request);
    if (c->io.fd >= 0) {
        flush(c);
        return;
    }
    int fd = sock_connect(c->wire);
    if (fd < 0) {
        lost(c);
        return;
    }
    c->io = (struct io){fd, ready};
    c->connecting = true;
    loop_add(c->wire->loop, &c->io, EPOLLIN | EPOLLOUT);
}
