/* redis_server.h - a real redis-server (or Sentinel) for a test: on a free port, its files in a folder of its own below /tmp.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct redis_server {
    pid_t pid; /* 0 = not running */
    uint16_t port;
    char folder[64];
    const char *arguments[32]; /* behind --port and --dir; NULL-terminated, borrowed */
};

/* A port that nobody listens on just now. */
uint16_t redis_free_port(void);
/* A new folder, nothing started yet: the caller fills arguments, then redis_server_restart(). */
void redis_server_place(struct redis_server *server);
/* The same, and started; arguments: as on redis-server's command line, NULL-terminated. Returns when it answers. */
void redis_server_start(struct redis_server *server, const char *const *arguments);
/* The same, with the words "redis-server <folder>/sentinel.conf --sentinel". */
void redis_sentinel_start(struct redis_server *server, uint16_t master_port);
/* Again on the same port, empty. With --tls-cert-file among its arguments the port speaks TLS only. */
void redis_server_restart(struct redis_server *server);
void redis_server_kill(struct redis_server *server); /* SIGKILL */
/* Kills it if it runs, and removes the folder. */
void redis_server_free(struct redis_server *server);
/* Runs a shell command with $DIR and $PORT of the server; asserts that it succeeds. */
void redis_server_shell(const struct redis_server *server, const char *command);
