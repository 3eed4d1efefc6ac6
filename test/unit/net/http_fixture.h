/* http_fixture.h - a client on a socket pair talks to an HTTP server; included by the two tests of http.
 *
 * The handler answers each request with a line about it, "POST /a?b [body]", or holds it until the test
 * responds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "net/http.h"
#include "net/ws.h"

enum { HELD_MAX = 100, PATIENCE_TURNS = 3000, TIMEOUT_MS = 40 };

struct fixture {
    struct loop *loop;
    struct conn_pool *pool;
    struct http_server *server;
    int client;
    struct buf got; /* all that the client has read */
    enum { ANSWER, HOLD, REJECT_HEAD, UPGRADE } mode;
    struct http_request *held[HELD_MAX];
    size_t held_count;
    size_t heads, requests;
    struct conn *upgraded;
    struct buf upgraded_input;
};

static inline void respond(struct http_request *r, struct str body)
{
    http_respond(r, &(struct http_response){.status = 200, .content_type = STR("text/plain"), .body = body});
}

static inline void answer(struct http_request *r)
{
    struct buf line = {0};
    buf_fmt(&line, "%.*s %.*s?%.*s [%.*s]", STR_ARG(r->method_name), STR_ARG(r->path), STR_ARG(r->query),
            STR_ARG(r->body));
    respond(r, buf_view(&line));
    buf_free(&line);
}

static inline size_t upgraded_input(struct conn *c, char *bytes, size_t n)
{
    struct fixture *f = conn_user(c);
    buf_put(&f->upgraded_input, bytes, n);
    return n;
}

static inline void upgraded_closed(struct conn *c)
{
    ((struct fixture *)conn_user(c))->upgraded = NULL;
}

static const struct conn_protocol after_upgrade = {.input = upgraded_input, .closed = upgraded_closed};

static inline bool on_head(void *user, struct http_request *r)
{
    struct fixture *f = user;
    f->heads++;
    if (f->mode == REJECT_HEAD) {
        respond(r, STR("rejected"));
        return true;
    }
    if (f->mode == UPGRADE) {
        http_upgrade(r, &after_upgrade, f, &f->upgraded);
        return true;
    }
    return false;
}

static inline void on_request(void *user, struct http_request *r)
{
    struct fixture *f = user;
    f->requests++;
    if (f->mode == HOLD)
        f->held[f->held_count++] = r;
    else
        answer(r);
}

static const struct http_handler handler = {on_head, on_request};

static inline void connect_client(struct fixture *f)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    f->client = fds[1];
    http_accept(f->server, fds[0], NULL);
}

static inline int setup_with(void **state, struct http_server_options options)
{
    struct fixture *f = mem_new(struct fixture);
    f->loop = loop_new(&clock_system, 16);
    f->pool = conn_pool_new(f->loop);
    f->server = http_server_new(f->pool, &options, &handler, f);
    connect_client(f);
    *state = f;
    return 0;
}

static inline int setup(void **state)
{
    return setup_with(state, (struct http_server_options){.body_max = 100000});
}

static inline int setup_hasty(void **state)
{
    return setup_with(state, (struct http_server_options){100000, TIMEOUT_MS, TIMEOUT_MS, TIMEOUT_MS, TIMEOUT_MS});
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->client >= 0)
        close(f->client);
    http_server_free(f->server);
    conn_pool_free(f->pool);
    for (size_t i = 0; i < f->held_count; i++)
        if (f->held[i])
            respond(f->held[i], STR(""));
    loop_free(f->loop);
    buf_free(&f->got);
    buf_free(&f->upgraded_input);
    free(f);
    return 0;
}

/* Returns false once the server has closed. */
static inline bool client_reads(struct fixture *f)
{
    for (;;) {
        ssize_t n = read(f->client, buf_reserve(&f->got, 65536), 65536);
        if (n <= 0)
            return n < 0;
        f->got.n += (size_t)n;
    }
}

static const char *got(struct fixture *f)
{
    for (int i = 0; i < 5; i++)
        loop_turn(f->loop, 0);
    client_reads(f);
    buf_char(&f->got, '\0');
    f->got.n--;
    return f->got.p;
}

static inline void client_sends(struct fixture *f, const void *bytes, size_t n)
{
    for (size_t at = 0, tries = 0; at < n && tries < PATIENCE_TURNS; tries++) {
        ssize_t written = send(f->client, (const char *)bytes + at, n - at, MSG_NOSIGNAL);
        at += written > 0 ? (size_t)written : 0;
        loop_turn(f->loop, 0);
    }
}

static inline void sends(struct fixture *f, const char *text)
{
    client_sends(f, text, strlen(text));
}

static inline bool closed_by_server(struct fixture *f)
{
    for (int i = 0; i < PATIENCE_TURNS; i++) {
        if (!client_reads(f))
            return true;
        if (i > 20 && !wheel_count(loop_wheel(f->loop)))
            return false;
        loop_turn(f->loop, 1);
    }
    return false;
}

static inline size_t occurrences(const char *text, const char *part)
{
    size_t count = 0;
    for (; (text = strstr(text, part)); text += strlen(part))
        count++;
    return count;
}

#define assert_contains(text, part)                                                                          \
    do {                                                                                                     \
        if (!strstr((text), (part)))                                                                         \
            fail_msg("'%s' is not in '%s'", (part), (text));                                                 \
    } while (0)

#define HANDSHAKE(version, key)                                                                              \
    "GET /app/k HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"            \
    "Sec-WebSocket-Version: " version "\r\nSec-WebSocket-Key: " key "\r\n\r\n"
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define HASTY(name) cmocka_unit_test_setup_teardown(name, setup_hasty, teardown)
