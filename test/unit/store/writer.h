/* writer.h - another process that writes until it is killed: the test's own program, as `<program> writer DIR FD`, which sends each
 * acknowledged position (8 bytes) through the pipe FD.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

/* Kills it once that many positions have come; the last one it had sent by then. */
static inline uint64_t writer_killed(struct fixture *f, const char *program, int positions)
{
    int fds[2];
    uint64_t acknowledged = 0, delivery;
    char fd[16];
    assert_int_equal(pipe(fds), 0);
    snprintf(fd, sizeof fd, "%d", fds[1]);
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", program, "writer", f->dir, fd, NULL);
        _exit(1);
    }
    close(fds[1]);
    for (int i = 0; i < positions && read(fds[0], &delivery, sizeof delivery) == sizeof delivery; i++)
        acknowledged = delivery;
    kill(child, SIGKILL);
    while (read(fds[0], &delivery, sizeof delivery) == sizeof delivery)
        acknowledged = delivery;
    waitpid(child, NULL, 0);
    close(fds[0]);
    return acknowledged;
}
