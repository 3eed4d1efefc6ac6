/* listen.c - accept until there is nothing more; rest for a moment when descriptors have run out.
 *
 * With every descriptor in use accept4() fails and the connection stays in the backlog, so that a level
 * triggered loop would spin and an edge triggered one forget it: the listener waits for its timer instead.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

enum { BACKLOG = 4096, ACCEPT_TURN_MAX = 16, REST_MS = 100 };

struct listener {
    struct loop *loop;
    struct io io;
    struct timer rest;
    void (*accepted)(void *user, int fd, const struct sockaddr_storage *peer);
    void (*full)(void *user);
    void *user;
    rlim_t fds_max; /* descriptors from there on are not taken; 0 = all are */
    enum { NOT_TOLD, TOLD } shortage;
};

static bool is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void take_a_rest(struct listener *l, int error)
{
    if (l->shortage == NOT_TOLD)
        log_warn("net", "cannot accept connections: %s; trying again every %d ms", strerror(error), REST_MS);
    l->shortage = TOLD;
    loop_change(l->loop, &l->io, 0);
    wheel_set(loop_wheel(l->loop), &l->rest, loop_now_ms(l->loop) + REST_MS);
}

/* Level triggered: what is left after ACCEPT_TURN_MAX is reported again. */
static void on_connections(struct io *io, uint32_t events)
{
    struct listener *l = list_of(io, struct listener, io);
    for (int i = 0; i < ACCEPT_TURN_MAX; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t size = sizeof peer;
        int fd = accept4(io->fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0 && l->fds_max > 0 && (rlim_t)fd >= l->fds_max) { /* the lowest free one is given */
            close(fd);
            l->full(l->user);
            take_a_rest(l, EMFILE);
            return;
        } else if (fd >= 0) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
            l->accepted(l->user, fd, &peer);
        } else if (is_shortage(errno)) {
            take_a_rest(l, errno);
            return;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } /* anything else is the error of one connection: the next */
    }
}

static void rested(struct timer *timer)
{
    struct listener *l = list_of(timer, struct listener, rest);
    loop_change(l->loop, &l->io, EPOLLIN);
}

static int open_socket(const struct addrinfo *address)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int)) == 0 &&
        bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* The first address of host that can be listened on; -1 with the reason in why. */
static int open_host(const char *host, uint16_t port, const char **why)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *addresses;
    char service[8];
    int fd = -1;
    snprintf(service, sizeof service, "%u", port);
    int error = getaddrinfo(host, service, &hints, &addresses);
    if (error) {
        *why = gai_strerror(error);
        return -1;
    }
    for (struct addrinfo *a = addresses; a && fd < 0; a = a->ai_next)
        fd = open_socket(a);
    if (fd < 0)
        *why = strerror(errno);
    freeaddrinfo(addresses);
    return fd;
}

struct listener *listener_new(struct loop *loop, const char *host, uint16_t port,
                              void (*accepted)(void *user, int fd, const struct sockaddr_storage *peer),
                              void *user, char error[256])
{
    const char *why = NULL;
    int fd = open_host(host, port, &why);
    if (fd < 0) {
        snprintf(error, 256, "cannot listen on %s:%u: %s", host, port, why);
        return NULL;
    }
    struct listener *l = mem_new(struct listener);
    l->loop = loop;
    l->io = (struct io){fd, on_connections};
    l->rest.fire = rested;
    l->accepted = accepted;
    l->user = user;
    int refused = loop_add(loop, &l->io, EPOLLIN);
    if (refused == 0)
        return l;
    snprintf(error, 256, "cannot listen on %s:%u: %s", host, port, strerror(-refused));
    close(fd);
    free(l);
    return NULL;
}

void listener_spare(struct listener *l, unsigned fds, void (*full)(void *user))
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return;
    rlim_t spare = fds < limit.rlim_cur / 4 ? fds : limit.rlim_cur / 4;
    l->fds_max = limit.rlim_cur - spare;
    l->full = full;
}

uint16_t listener_port(const struct listener *l)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    if (getsockname(l->io.fd, (struct sockaddr *)&address, &size) != 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

void listener_close(struct listener *l)
{
    if (!l)
        return;
    wheel_cancel(loop_wheel(l->loop), &l->rest);
    loop_remove(l->loop, &l->io);
    close(l->io.fd);
    free(l);
}
