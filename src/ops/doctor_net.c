/* doctor_net.c - our ports: free, or a server's that answers.
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

enum { ANSWER_MAX = 512 };

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
