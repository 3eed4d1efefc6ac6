/* http_fuzz.c - a client that sends anything, on a socket pair, to a real server with a clock that stands
 * still.
 *
 * However its bytes are cut, the same responses come back; nothing leaks, nothing is left over. The handler
 * answers, answers at the head, upgrades, responds late, echoes the body in parts or takes a part of it, as the
 * first letter of the path says.
 *
 * input: [seed of the cuts][bytes of a connection]
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cuts.h"
#include "net/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LATE_MAX = 64, TURNS_MAX = 1000 };

struct world {
    struct loop *loop;
    struct conn_pool *pool;
    struct http_server *server;
    struct http_request *late[LATE_MAX];
    size_t late_count;
    int client;
    struct buf *out;
};

static uint64_t still_ns(const struct clock *clock)
{
    return 1000000000;
}

static int64_t still_ms(const struct clock *clock)
{
    return 1000;
}

static const struct clock still = {still_ns, still_ms};

static void respond(struct http_request *r)
{
    struct buf body = {0};
    buf_fmt(&body, "%zu ", r->headers_count);
    buf_str(&body, r->target);
    for (size_t i = 0; i < r->headers_count; i++) {
        buf_str(&body, r->headers[i].name);
        buf_str(&body, r->headers[i].value);
    }
    buf_str(&body, r->body);
    http_respond(r, &(struct http_response){.status = 200, .body = buf_view(&body)});
    buf_free(&body);
}

static char choice(const struct http_request *r)
{
    return r->path.n > 1 ? r->path.p[1] : 'a';
}

static size_t upgraded_input(struct conn *c, char *bytes, size_t n)
{
    conn_send_bytes(c, str_make(bytes, n)); /* an echo */
    return n;
}

static void upgraded_closed(struct conn *c)
{
}

static const struct conn_protocol echo = {.input = upgraded_input, .closed = upgraded_closed};

/* How a body is cut depends on the socket: it comes back in one piece, with how it ended. */
struct echoed {
    struct buf body;
};

static void end_echo(struct http_request *r, char how)
{
    struct echoed *e = r->user;
    buf_char(&e->body, how);
    if (!http_can_stream(r)) {
        http_respond(r, &(struct http_response){.status = 200, .body = buf_view(&e->body)});
    } else {
        http_begin(r, &(struct http_response){.status = 200});
        http_part(r, buf_view(&e->body));
        http_finish(r);
    }
    buf_free(&e->body);
    free(e);
}

static void on_bytes(struct http_request *r, struct str bytes)
{
    struct echoed *e = r->user;
    buf_str(&e->body, bytes);
    if (choice(r) == 't' && e->body.n > 4) { /* has enough before the end */
        e->body.n = 4;
        end_echo(r, '-');
    } else if (e->body.n % 3 == 0) {
        http_body_pause(r);
        http_body_resume(r);
    }
}

static void on_ended(struct http_request *r, enum http_body_end how)
{
    end_echo(r, (char)('0' + how));
}

static void on_gone(struct http_request *r)
{
    end_echo(r, 'g');
}

static const struct http_stream in_parts = {.bytes = on_bytes, .ended = on_ended, .gone = on_gone};

static bool on_head(void *user, struct http_request *r)
{
    struct conn *upgraded;
    if (!r->upgrade && (choice(r) == 's' || choice(r) == 't')) {
        r->user = calloc(1, sizeof(struct echoed));
        http_stream(r, &in_parts);
        return false;
    }
    if (r->upgrade) {
        http_upgrade(r, &echo, NULL, &upgraded);
        return true;
    }
    if (choice(r) != 'h')
        return false;
    respond(r);
    return true;
}

static void on_request(void *user, struct http_request *r)
{
    struct world *w = user;
    if (choice(r) == 'l' && w->late_count < LATE_MAX)
        w->late[w->late_count++] = r;
    else
        respond(r);
}

static const struct http_handler handler = {on_head, on_request};

static void respond_late(struct world *w)
{
    while (w->late_count)
        respond(w->late[--w->late_count]); /* the last first */
}

/* True if anything came. */
static bool client_reads(struct world *w)
{
    ssize_t n = recv(w->client, buf_reserve(w->out, 65536), 65536, MSG_DONTWAIT);
    w->out->n += n > 0 ? (size_t)n : 0;
    return n > 0;
}

static void settle(struct world *w)
{
    for (int quiet = 0, turns = 0; quiet < 4 && turns < TURNS_MAX; turns++) {
        loop_turn(w->loop, 0);
        quiet = client_reads(w) ? 0 : quiet + 1;
    }
}

static void talk(struct world *w, struct str bytes, struct random *r, size_t step_max)
{
    while (bytes.n) {
        size_t step = 1 + random_below(r, step_max);
        ssize_t n = send(w->client, bytes.p, step < bytes.n ? step : bytes.n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            break; /* the server has closed */
        bytes = str_from(bytes, n > 0 ? (size_t)n : 0);
        loop_turn(w->loop, 0);
        client_reads(w);
    }
    settle(w);
    respond_late(w);
    settle(w);
    respond_late(w);
    settle(w);
}

static void converse(struct buf *out, uint8_t seed, struct str bytes, struct random *r, size_t step_max)
{
    int fds[2];
    struct world w = {.out = out};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0)
        abort();
    w.loop = loop_new(&still, 4);
    w.pool = conn_pool_new(w.loop);
    w.server = http_server_new(w.pool, &(struct http_server_options){.body_max = 1000}, &handler, &w);
    w.client = fds[1];
    http_accept(w.server, fds[0], NULL);
    talk(&w, bytes, r, step_max);
    close(w.client);
    loop_turn(w.loop, 0);
    http_server_free(w.server);
    conn_pool_free(w.pool);
    respond_late(&w);
    loop_free(w.loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    same_however_cut(data, size, 64, converse);
    return 0;
}
