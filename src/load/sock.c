/* sock.c - TCP as a client needs it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

bool wire_init_beside(struct wire *wire, struct loop *loop, const char *host, unsigned port)
{
    wire->to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &wire->to.sin_addr) != 1)
        return false;
    struct buf name = {0};
    buf_fmt(&name, "%s:%u", host, port);
    wire->host = buf_view(&name);
    wire->loop = loop;
    wire->loop_borrowed = true;
    random_from_kernel(&wire->random);
    return true;
}

bool wire_init(struct wire *wire, const char *host, unsigned port)
{
    if (!wire_init_beside(wire, NULL, host, port))
        return false;
    wire->loop = loop_new(&clock_system, 64);
    wire->loop_borrowed = false;
    return true;
}

void wire_free(struct wire *wire)
{
    if (!wire->loop_borrowed)
        loop_free(wire->loop);
    free((char *)wire->host.p);
}

int sock_connect(const struct wire *wire)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (wire->from.s_addr != 0) {
        struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = wire->from};
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
        if (bind(fd, (const struct sockaddr *)&from, sizeof from) < 0) {
            int why = errno;
            close(fd);
            return -why;
        }
    }
    if (connect(fd, (const struct sockaddr *)&wire->to, sizeof wire->to) == 0 || errno == EINPROGRESS)
        return fd;
    int why = errno;
    close(fd);
    return -why;
}

int sock_error(int fd)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        return errno;
    return error;
}

int sock_flush(int fd, struct buf *out)
{
    size_t sent = 0;
    while (sent < out->n) {
        ssize_t n = send(fd, out->p + sent, out->n - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return -errno;
        if (n < 0)
            break;
        sent += (size_t)n;
    }
    buf_consume(out, sent);
    return 0;
}

void sock_reset(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}
