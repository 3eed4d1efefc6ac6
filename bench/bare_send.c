/* bare_send.c - the least that a fan-out can cost: accept N connections, then send() the same bytes to each.
 *
 *   bare_send PORT N
 *
 * The first N connections are subscribers; the one behind them says what to send: size in four bytes (low
 * byte first), then that many bytes, a frame as it goes on the wire. No event loop, no handshake, blocking
 * sockets. Ends when the control connection does.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int listen_on(unsigned port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 4096) < 0) {
        perror("bare_send");
        exit(1);
    }
    return fd;
}

static int next_connection(int listener)
{
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) {
        perror("accept");
        exit(1);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return fd;
}

static int read_all(int fd, void *to, size_t n)
{
    return recv(fd, to, n, MSG_WAITALL) == (ssize_t)n;
}

int main(int argc, char **argv)
{
    unsigned port = argc > 2 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    size_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    if (port == 0 || count == 0) {
        fprintf(stderr, "usage: bare_send PORT N\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int listener = listen_on(port);
    int *subscribers = calloc(count, sizeof *subscribers);
    for (size_t i = 0; i < count; i++)
        subscribers[i] = next_connection(listener);
    int control = next_connection(listener);
    char frame[65536];
    uint32_t size;
    while (read_all(control, &size, sizeof size) && size <= sizeof frame && read_all(control, frame, size))
        for (size_t i = 0; i < count; i++)
            send(subscribers[i], frame, size, 0);
    free(subscribers);
    return 0;
}
