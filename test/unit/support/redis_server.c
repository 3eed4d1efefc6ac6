/* redis_server.c - see redis_server.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "redis_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"
#include "unit.h"

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static struct sockaddr_in address_of(uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* Below the ephemeral range: a client that tries again and again while nobody listens would end up connected to itself. */
uint16_t redis_free_port(void)
{
    struct random random;
    random_from_kernel(&random);
    for (;;) {
        uint16_t port = (uint16_t)(10000 + random_below(&random, 22000));
        struct sockaddr_in address = address_of(port);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        bool is_free = bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
        close(fd);
        if (is_free)
            return port;
    }
}

static bool has_argument(const struct redis_server *server, const char *word)
{
    for (size_t i = 0; server->arguments[i] != NULL; i++)
        if (strcmp(server->arguments[i], word) == 0)
            return true;
    return false;
}

/* PING is answered by an error, too, while a password is missing: any answer will do. Of TLS, that somebody listens. */
static bool answers(const struct redis_server *server)
{
    uint16_t port = server->port;
    struct sockaddr_in address = address_of(port);
    char answer;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool ok = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (!has_argument(server, "--tls-cert-file"))
        ok = ok && send(fd, "PING\r\n", 6, MSG_NOSIGNAL) == 6 && recv(fd, &answer, 1, 0) == 1;
    close(fd);
    return ok;
}

/* False if it ends at once: somebody has taken the port meanwhile. */
static bool run(struct redis_server *server, char *const *words)
{
    server->pid = fork();
    assert_true(server->pid >= 0);
    if (server->pid == 0) {
        char log[96];
        snprintf(log, sizeof log, "%s/log", server->folder);
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execvp(words[0], words);
        _exit(127);
    }
    for (int i = 0; !answers(server); i++) {
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid) {
            server->pid = 0;
            return false;
        }
        if (i == 500)
            fail_msg("redis-server does not answer on port %u; see %s/log", server->port, server->folder);
        sleep_ms(20);
    }
    return true;
}

static bool run_server(struct redis_server *server)
{
    char port[8];
    const char *words[48] = {"redis-server", has_argument(server, "--tls-cert-file") ? "--tls-port" : "--port", port, "--dir", server->folder, "--save", "", "--bind", "127.0.0.1"};
    size_t count = 9;
    snprintf(port, sizeof port, "%u", server->port);
    for (size_t i = 0; server->arguments[i] != NULL; i++)
        words[count++] = server->arguments[i];
    return run(server, (char *const *)words);
}

void redis_server_restart(struct redis_server *server)
{
    for (int i = 0; server->port != 0 && i < 50; i++, sleep_ms(20)) /* its predecessor may take a moment to die */
        if (run_server(server))
            return;
    for (int i = 0; server->port == 0 && i < 5; i++) {
        server->port = redis_free_port();
        if (run_server(server))
            return;
        server->port = 0;
    }
    fail_msg("redis-server does not start; see %s/log", server->folder);
}

static void make_place(struct redis_server *server)
{
    snprintf(server->folder, sizeof server->folder, "/tmp/sockudo-redis-XXXXXX");
    assert_non_null(mkdtemp(server->folder));
}

void redis_server_place(struct redis_server *server)
{
    *server = (struct redis_server){0};
    make_place(server);
}

void redis_server_start(struct redis_server *server, const char *const *arguments)
{
    redis_server_place(server);
    for (size_t i = 0; arguments != NULL && arguments[i] != NULL; i++)
        server->arguments[i] = arguments[i];
    redis_server_restart(server);
}

static bool run_sentinel(struct redis_server *server, uint16_t master_port)
{
    char path[96];
    const char *words[] = {"redis-server", path, "--sentinel", NULL};
    snprintf(path, sizeof path, "%s/sentinel.conf", server->folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "port %u\nbind 127.0.0.1\ndir %s\nsentinel monitor mymaster 127.0.0.1 %u 1\n"
            "sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 3000\n",
            server->port, server->folder, master_port);
    fclose(file);
    return run(server, (char *const *)words);
}

void redis_sentinel_start(struct redis_server *server, uint16_t master_port)
{
    *server = (struct redis_server){0};
    make_place(server);
    for (int i = 0; i < 5; i++) {
        server->port = redis_free_port();
        if (run_sentinel(server, master_port))
            return;
    }
    fail_msg("the Sentinel does not start; see %s/log", server->folder);
}

void redis_server_kill(struct redis_server *server)
{
    if (server->pid == 0)
        return;
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

void redis_server_shell(const struct redis_server *server, const char *command)
{
    char text[2048];
    int n = snprintf(text, sizeof text, "DIR=%s PORT=%u; %s", server->folder, server->port, command);
    assert_true(n > 0 && (size_t)n < sizeof text);
    assert_int_equal(system(text), 0);
}

void redis_server_free(struct redis_server *server)
{
    redis_server_kill(server);
    if (server->folder[0] != '\0')
        redis_server_shell(server, "rm -rf \"$DIR\"");
    server->folder[0] = '\0';
}
