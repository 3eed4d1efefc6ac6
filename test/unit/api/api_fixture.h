/* api_fixture.h - signed requests over a socket pair to the real api on the real core of one shard, with a
 * memory store and its own clock.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "../support/core.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/api.h"
#include "base/digest.h"
#include "base/mem.h"
#include "ops/ops.h"
#include "session/revocation.h"

struct fixture {
    struct core *core;
    struct ops ops;
    struct ops_shard shard;
    struct revocations *revocations;
    struct api *api;
    struct loop *loop;
    struct conn_pool *pool;
    struct http_server *server;
    struct http_handler handler;
    int client;
    struct buf got;      /* the last response */
    const char *headers; /* extra lines for the next requests */
};

static inline void connect_client(struct fixture *f)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    f->client = fds[1];
    http_accept(f->server, fds[0], NULL);
}

static inline void start_api(struct fixture *f)
{
    struct core *core = f->core;
    f->loop = loop_new(&clock_system, 1024);
    f->pool = conn_pool_new(f->loop);
    f->shard = (struct ops_shard){f->loop, f->pool, &core->env};
    f->ops.config = core->config;
    f->ops.apps = core->env.apps;
    f->ops.store = core->env.store;
    f->ops.metrics = core->env.metrics;
    f->ops.shards = &f->shard;
    f->ops.shards_count = 1;
    f->revocations = revocations_new(&core->env);
    revocations_load(f->revocations);
    f->ops.api.revocations = f->revocations;
    ops_start(&f->ops);
    f->api = api_new(&core->env, &f->ops.api);
    f->handler = (struct http_handler){api_head, api_request};
    struct http_server_options options = {.body_max = 10 << 20};
    f->server = http_server_new(f->pool, &options, &f->handler, f->api);
    connect_client(f);
}

static inline int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->core = core_new();
    f->core->config->rate_limiter.enabled = false;
    f->headers = "";
    start_api(f);
    *state = f;
    return 0;
}

static inline int setup_limited(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->core = core_new();
    f->core->config->rate_limiter.enabled = true;
    f->core->config->rate_limiter.api = (struct rate_limit_config){.max_requests = 2, .window_seconds = 60};
    f->headers = "";
    start_api(f);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    close(f->client);
    http_server_free(f->server);
    conn_pool_free(f->pool);
    core_settle(f->core);
    api_free(f->api);
    ops_stop(&f->ops);
    loop_free(f->loop);
    revocations_free(f->revocations);
    core_free(f->core);
    buf_free(&f->got);
    free(f);
    return 0;
}

/* Lets everything happen that needs no time, then `ms` of time. */
static inline void settle(struct fixture *f, unsigned ms)
{
    for (int i = 0; i < 6; i++) {
        loop_turn(f->loop, 0);
        core_settle(f->core);
    }
    for (unsigned i = 0; i < ms; i++) {
        core_advance_ms(f->core, 1);
        loop_turn(f->loop, 0);
    }
    loop_turn(f->loop, 0);
}

static inline const char *read_response(struct fixture *f)
{
    for (ssize_t n; (n = read(f->client, buf_reserve(&f->got, 65536), 65536)) > 0;)
        f->got.n += (size_t)n;
    buf_char(&f->got, '\0');
    f->got.n--;
    return f->got.p;
}

static inline void write_raw(struct fixture *f, struct str bytes)
{
    for (size_t at = 0; at < bytes.n;) {
        ssize_t n = write(f->client, bytes.p + at, bytes.n - at);
        at += n > 0 ? (size_t)n : 0;
        loop_turn(f->loop, 0);
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The query string, signed over `path` as it is. params: "a=1&b=2" or "". */
static inline void put_signed_query(struct fixture *f, struct buf *out, const char *method, const char *path,
                                    const char *params, const char *body, int64_t at_s)
{
    const struct app_config *app = f->core->app->config;
    char *parts[16], md5[33], hex[65];
    size_t count = 0;
    struct buf all = {0}, text = {0};
    buf_fmt(&all, "auth_key=%.*s&auth_timestamp=%lld&auth_version=1.0", STR_ARG(app->key), (long long)at_s);
    if (strcmp(method, "POST") == 0) {
        md5_hex(str_of(body), md5);
        buf_fmt(&all, "&body_md5=%s", md5);
    }
    if (params[0])
        buf_fmt(&all, "&%s", params);
    buf_str(out, buf_view(&all));
    buf_char(&all, '\0');
    for (char *save, *p = strtok_r(all.p, "&", &save); p; p = strtok_r(NULL, "&", &save))
        parts[count++] = p;
    qsort(parts, count, sizeof *parts, by_text);
    buf_fmt(&text, "%s\n%s\n", method, path);
    for (size_t i = 0; i < count; i++)
        buf_fmt(&text, "%s%s", i ? "&" : "", parts[i]);
    struct hmac_key *key = hmac_key_new(app->secret);
    hmac_sha256_hex(key, buf_view(&text), hex);
    hmac_key_free(key);
    buf_fmt(out, "&auth_signature=%s", hex);
    buf_free(&all);
    buf_free(&text);
}

static inline int64_t now_s(struct fixture *f)
{
    return clock_wall_ms(f->core->env.clock) / 1000;
}

static inline void send_request(struct fixture *f, const char *method, const char *path, const char *query,
                                const char *body)
{
    struct buf out = {0};
    buf_fmt(&out, "%s %s%s%s HTTP/1.1\r\nHost: a\r\n%s", method, path, query[0] ? "?" : "", query,
            f->headers);
    if (strcmp(method, "POST") == 0)
        buf_fmt(&out, "%sContent-Length: %zu\r\n\r\n%s",
                strstr(f->headers, "Content-Type") ? "" : "Content-Type: application/json\r\n", strlen(body),
                body);
    else
        buf_lit(&out, "\r\n");
    buf_clear(&f->got);
    write_raw(f, buf_view(&out));
    buf_free(&out);
}

/* Unsigned; the whole response. */
static inline const char *plain(struct fixture *f, const char *method, const char *path)
{
    send_request(f, method, path, "", "");
    settle(f, 0);
    return read_response(f);
}

/* "200 {...}": status and body. */
static inline const char *short_form(struct fixture *f)
{
    const char *whole = read_response(f), *body = strstr(whole, "\r\n\r\n");
    if (!body)
        return whole;
    struct buf text = {0};
    buf_put(&text, whole + 9, 4);
    buf_str(&text, str_of(body + 4));
    buf_char(&text, '\0');
    buf_free(&f->got);
    f->got = text;
    f->got.n--;
    return text.p;
}

/* Signed for one path and body, sent with another. */
static inline void send_signed_as(struct fixture *f, const char *method, const char *signed_path, const char *signed_body,
                                  const char *params, const char *path, const char *body)
{
    struct buf query = {0};
    put_signed_query(f, &query, method, signed_path, params, signed_body, now_s(f));
    buf_char(&query, '\0');
    send_request(f, method, path, query.p, body);
    buf_free(&query);
}

static inline void send_signed(struct fixture *f, const char *method, const char *path, const char *params,
                               const char *body)
{
    send_signed_as(f, method, path, body, params, path, body);
}

/* `rest` below /apps/{id}. */
static inline const char *post(struct fixture *f, const char *rest, const char *body)
{
    char path[512];
    snprintf(path, sizeof path, "/apps/%.*s%s", STR_ARG(f->core->app->id), rest);
    send_signed(f, "POST", path, "", body);
    settle(f, 0);
    return short_form(f);
}

static inline const char *get(struct fixture *f, const char *rest, const char *params)
{
    char path[512];
    snprintf(path, sizeof path, "/apps/%.*s%s", STR_ARG(f->core->app->id), rest);
    send_signed(f, "GET", path, params, "");
    settle(f, 0);
    return short_form(f);
}

#define assert_contains(text, part)                                                                          \
    do {                                                                                                     \
        const char *text_ = (text);                                                                          \
        if (!strstr(text_, (part)))                                                                          \
            fail_msg("'%s' is not in '%s'", (part), text_);                                                  \
    } while (0)
#define assert_starts(text, part)                                                                            \
    do {                                                                                                     \
        const char *text_ = (text);                                                                          \
        if (strncmp(text_, (part), strlen(part)) != 0)                                                       \
            fail_msg("'%s' does not begin with '%s'", text_, (part));                                        \
    } while (0)

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define LIMITED(name) cmocka_unit_test_setup_teardown(name, setup_limited, teardown)
