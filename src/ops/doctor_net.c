/* doctor_net.c - our ports, and those who must answer: PostgreSQL and Redis.
 *
 * A backend is asked in the plainest way: a connection is made, and Redis, if it speaks without TLS, is asked for its time, so that
 * its password and our clock are tried as well. PostgreSQL's own part would put its question in ask_postgres's place: a row of
 * doctor_backends() is a name, an address and a function that gets the connected socket.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ops/doctor.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum { ANSWER_MAX = 512, SLOW_MS = 20, SKEW_MAX_MS = 1000 };

static struct addrinfo *resolve(struct str host, unsigned port, int flags)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags}, *found = NULL;
    char *name = str_dup(host), service[8];
    snprintf(service, sizeof service, "%u", port);
    if (getaddrinfo(name, service, &hints, &found) != 0)
        found = NULL;
    free(name);
    return found;
}

/* A connected socket, or -1 with errno. */
static int reach(struct str host, unsigned port)
{
    struct addrinfo *to = resolve(host, port, 0);
    if (to == NULL) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), problem = 0;
    struct timeval wait = {DOCTOR_WAIT_MS / 1000, DOCTOR_WAIT_MS % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait); /* holds for connect(2) too */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    if (connect(fd, to->ai_addr, to->ai_addrlen) != 0)
        problem = errno == EINPROGRESS ? ETIMEDOUT : errno;
    freeaddrinfo(to);
    if (problem != 0) {
        close(fd);
        errno = problem;
        return -1;
    }
    return fd;
}

/* What is answered to `question`, until it contains `end` or nothing comes any more. */
static struct str ask(int fd, struct str question, struct str end, char *space)
{
    size_t n = 0;
    if (send(fd, question.p, question.n, MSG_NOSIGNAL) != (ssize_t)question.n)
        return STR("");
    for (ssize_t got; n < ANSWER_MAX && (got = recv(fd, space + n, ANSWER_MAX - n, 0)) > 0;) {
        n += (size_t)got;
        if (str_find(str_make(space, n), end) >= 0)
            break;
    }
    return str_make(space, n);
}

/* ---- ports ---- */

static bool answers(struct str host, unsigned port, struct str request, struct str expected)
{
    char space[ANSWER_MAX];
    bool any = host.n == 0 || str_eq(host, STR("0.0.0.0"));
    int fd = reach(any ? STR("127.0.0.1") : host, port);
    if (fd < 0)
        return false;
    bool fine = str_starts(ask(fd, request, STR("\r\n\r\n"), space), expected);
    close(fd);
    return fine;
}

/* 0, or why nobody can listen there. */
static int try_port(struct str host, unsigned port)
{
    struct addrinfo *at = resolve(host, port, AI_PASSIVE);
    if (at == NULL)
        return EADDRNOTAVAIL;
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    int problem = bind(fd, at->ai_addr, at->ai_addrlen) == 0 ? 0 : errno;
    close(fd);
    freeaddrinfo(at);
    return problem;
}

static void check_port(struct doctor *d, const char *what, struct str host, unsigned port, struct str request, enum doctor_verdict otherwise)
{
    int problem = port == 0 ? 0 : try_port(host, port);
    if (problem == 0)
        doctor_say(d, DOCTOR_FINE, "port", "%s: %.*s:%u is free", what, STR_ARG(host), port);
    else if (problem == EADDRINUSE && answers(host, port, request, STR("HTTP/1.1 200")))
        doctor_say(d, DOCTOR_FINE, "port", "%s: a server answers at %.*s:%u already", what, STR_ARG(host), port);
    else
        doctor_say(d, otherwise, "port", "%s: cannot listen on %.*s:%u: %s", what, STR_ARG(host), port, strerror(problem));
}

void doctor_ports(struct doctor *d, const struct config *config)
{
    check_port(d, "clients", config->host, config->port, STR("GET /live HTTP/1.1\r\nHost: doctor\r\nConnection: close\r\n\r\n"),
               DOCTOR_FAILS);
    if (config->metrics.enabled)
        check_port(d, "metrics", config->metrics.host, config->metrics.port,
                   STR("HEAD /metrics HTTP/1.1\r\nHost: doctor\r\nConnection: close\r\n\r\n"), DOCTOR_WARNS);
}

/* ---- backends ---- */

static void put_bulk(struct buf *out, struct str text)
{
    buf_fmt(out, "$%zu\r\n", text.n);
    buf_str(out, text);
    buf_lit(out, "\r\n");
}

static void put_login(struct buf *out, const struct redis_config *redis)
{
    if (redis->password.n == 0)
        return;
    buf_fmt(out, "*%d\r\n", redis->username.n > 0 ? 3 : 2);
    put_bulk(out, STR("AUTH"));
    if (redis->username.n > 0)
        put_bulk(out, redis->username);
    put_bulk(out, redis->password);
}

/* Redis answers TIME with two numbers: seconds, microseconds. */
static bool time_of(struct str answer, int64_t *at_ms)
{
    uint64_t seconds, us;
    int64_t at = str_find(answer, STR("*2\r\n"));
    struct str rest = at < 0 ? STR("") : str_from(answer, (size_t)at);
    struct str lines[5];
    for (int i = 0; i < 5; i++)
        lines[i] = str_trim(str_split(&rest, '\n'));
    if (!str_to_u64(lines[2], &seconds) || !str_to_u64(lines[4], &us))
        return false;
    *at_ms = (int64_t)(seconds * 1000 + us / 1000);
    return true;
}

static void ask_redis(struct doctor *d, int fd, const struct config *config, int64_t now_ms)
{
    char space[ANSWER_MAX];
    struct buf question = {0};
    int64_t theirs_ms;
    put_login(&question, &config->adapter.redis);
    buf_lit(&question, "*1\r\n");
    put_bulk(&question, STR("TIME"));
    buf_lit(&question, "*1\r\n");
    put_bulk(&question, STR("PING"));
    struct str answer = ask(fd, buf_view(&question), STR("PONG\r\n"), space);
    buf_free(&question);
    if (!time_of(answer, &theirs_ms)) {
        struct str line = str_split(&answer, '\r');
        doctor_say(d, DOCTOR_FAILS, "backends", "redis does not let us in: %.*s", STR_ARG(line));
        return;
    }
    double apart_s = (double)(theirs_ms - now_ms) / 1000;
    if (apart_s > SKEW_MAX_MS / 1000.0 || apart_s < -SKEW_MAX_MS / 1000.0)
        doctor_say(d, DOCTOR_WARNS, "clock", "the clock of redis is %.1f s apart from ours", apart_s);
}

static void check_backend(struct doctor *d, const char *name, struct str host, unsigned port,
                          void (*question)(struct doctor *d, int fd, const struct config *config, int64_t now_ms),
                          const struct config *config, int64_t now_ms)
{
    uint64_t began = clock_mono_ns(&clock_system);
    int fd = reach(host, port);
    double ms = (double)(clock_mono_ns(&clock_system) - began) / 1e6;
    if (fd < 0) {
        doctor_say(d, DOCTOR_FAILS, "backends", "%s: cannot reach %.*s:%u: %s", name, STR_ARG(host), port, strerror(errno));
        return;
    }
    doctor_say(d, ms > SLOW_MS ? DOCTOR_WARNS : DOCTOR_FINE, "backends", "%s: %.*s:%u connects in %.2f ms", name, STR_ARG(host), port, ms);
    if (question != NULL)
        question(d, fd, config, now_ms + (int64_t)ms);
    close(fd);
}

void doctor_backends(struct doctor *d, const struct config *config, int64_t now_ms)
{
    const struct redis_config *redis = &config->adapter.redis;
    if (config->history.enabled && config->history.backend == BACKEND_POSTGRES)
        check_backend(d, "postgres", config->postgres.host, config->postgres.port, NULL, config, now_ms);
    if (!config->adapter.redis_driver)
        return;
    for (size_t i = 0; i < redis->sentinels_count; i++)
        check_backend(d, "redis sentinel", redis->sentinels[i].host, redis->sentinels[i].port, NULL, config, now_ms);
    if (redis->sentinels_count == 0)
        check_backend(d, "redis", redis->host, redis->port, redis->master_tls.enabled ? NULL : ask_redis, config, now_ms);
}
