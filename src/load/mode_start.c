/* mode_start.c - from spawning a server to its first accepted connection, and to its first answer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "load/rig.h"

enum { LIMIT_S = 120, PAUSE_NS = 100000 };

static double ms_since(uint64_t from_ns)
{
    return (double)(clock_mono_ns(&clock_system) - from_ns) / 1e6;
}

/* A blocking connection, tried again until somebody listens; -1 if nobody does, or the server ended. */
static int connect_when_there(const struct sockaddr_in *to, pid_t server)
{
    uint64_t begun_ns = clock_mono_ns(&clock_system);
    while (ms_since(begun_ns) < LIMIT_S * 1000.0 && waitpid(server, NULL, WNOHANG) == 0) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (const struct sockaddr *)to, sizeof *to) == 0)
            return fd;
        close(fd);
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
    }
    return -1;
}

/* The status of GET /live, which only an accepted connection gets. */
static unsigned ask(int fd)
{
    struct str request = STR("GET /live HTTP/1.1\r\nHost: load\r\nConnection: close\r\n\r\n");
    char answer[512];
    if (send(fd, request.p, request.n, MSG_NOSIGNAL) != (ssize_t)request.n)
        return 0;
    ssize_t n = recv(fd, answer, sizeof answer - 1, 0);
    if (n < 13)
        return 0;
    answer[n] = 0;
    return (unsigned)strtoul(answer + 9, NULL, 10);
}

static bool measure(struct rig *rig, char *const *command)
{
    uint64_t begun_ns = clock_mono_ns(&clock_system);
    pid_t server = fork();
    if (server == 0) {
        execvp(command[0], command);
        perror(command[0]);
        _exit(127);
    }
    int fd = connect_when_there(&rig->wire.to, server);
    double connected_ms = ms_since(begun_ns);
    unsigned status = fd < 0 ? 0 : ask(fd);
    double answered_ms = ms_since(begun_ns);
    if (fd >= 0)
        close(fd);
    kill(server, SIGTERM);
    waitpid(server, NULL, 0);
    if (status == 0) {
        fprintf(stderr, "the server never answered\n");
        return false;
    }
    report_number(&rig->report, "connected_ms", connected_ms);
    report_number(&rig->report, "answered_ms", answered_ms);
    report_count(&rig->report, "status", status);
    return true;
}

int mode_start(const struct options *o)
{
    if (!o->command || !o->command[0]) {
        fprintf(stderr, "start: the server's command line goes behind --\n");
        return 2;
    }
    struct rig *rig = rig_new(o, "start");
    if (!rig)
        return 1;
    bool fine = measure(rig, o->command);
    return rig_free(rig) || !fine;
}
