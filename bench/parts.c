/* parts.c - what an append cannot avoid, each part by itself, in CPU time.
 *
 *   parts echo REQUEST_BYTES RESPONSE_BYTES CONNECTIONS SECONDS [SERVER_CORE CLIENT_CORE]
 *       a loopback echo: CONNECTIONS clients send REQUEST_BYTES and wait for RESPONSE_BYTES; the server is
 * one epoll loop that reads and writes. CPU of the server process per request. parts digest CANONICAL_BYTES
 * BODY_BYTES one HMAC-SHA256 with a kept key over the canonical string, one MD5 over the body. parts put DIR
 * ROW_BYTES BATCH SECONDS RocksDB: one row of ROW_BYTES an append, BATCH rows in one synced write. CPU of all
 * threads per row. parts fdatasync DIR SECONDS 4 KiB appended to a file, then fdatasync(): how long one
 * takes.
 *
 * Prints one JSON object.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <rocksdb/c.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/hist.h"

#define SECOND_NS 1000000000ull

static uint64_t now(void)
{
    return clock_mono_ns(&clock_system);
}

static uint64_t cpu_of(pid_t pid)
{
    clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
    struct timespec t = {0};
    if (pid)
        clock_getcpuclockid(pid, &clock);
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static unsigned long argument(int argc, char **argv, int i, unsigned long otherwise)
{
    return i < argc ? strtoul(argv[i], NULL, 10) : otherwise;
}

static void stand_on(unsigned long core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    sched_setaffinity(0, sizeof set, &set);
}

/* ------------------------------------------------------------ echo */

enum { ECHO_MAX = 65536, EVENTS = 256 };

struct echo {
    size_t request_bytes, response_bytes;
    int listener;
    struct sockaddr_in at;
    size_t *read; /* by descriptor: bytes of the message under way */
};

static void watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* True when a whole message has arrived: it is then answered by `answer_bytes`. */
static int turn_around(struct echo *e, int fd, size_t message_bytes, size_t answer_bytes)
{
    static char bytes[ECHO_MAX];
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n <= 0)
        return 0;
    e->read[fd] += (size_t)n;
    if (e->read[fd] < message_bytes)
        return 0;
    e->read[fd] -= message_bytes;
    return send(fd, bytes, answer_bytes, MSG_NOSIGNAL) == (ssize_t)answer_bytes;
}

static void serve(struct echo *e)
{
    int epoll = epoll_create1(0);
    struct epoll_event events[EVENTS];
    watch(epoll, e->listener);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd != e->listener) {
                turn_around(e, fd, e->request_bytes, e->response_bytes);
                continue;
            }
            fd = accept4(e->listener, NULL, NULL, SOCK_NONBLOCK);
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
            watch(epoll, fd);
        }
    }
}

static int connect_to(struct echo *e)
{
    static const char first[ECHO_MAX];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(fd, (struct sockaddr *)&e->at, sizeof e->at) < 0) {
        perror("connect");
        exit(1);
    }
    send(fd, first, e->request_bytes, 0);
    return fd;
}

/* Requests answered within `seconds`. */
static uint64_t ask(struct echo *e, int epoll, double seconds)
{
    struct epoll_event events[EVENTS];
    uint64_t answered = 0, until_ns = now() + (uint64_t)(seconds * 1e9);
    while (now() < until_ns) {
        int count = epoll_wait(epoll, events, EVENTS, 100);
        for (int i = 0; i < count; i++)
            answered += (uint64_t)turn_around(e, events[i].data.fd, e->response_bytes, e->request_bytes);
    }
    return answered;
}

static void start_listening(struct echo *e)
{
    socklen_t size = sizeof e->at;
    e->at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    e->listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(e->listener, (struct sockaddr *)&e->at, size) < 0 || listen(e->listener, 1024) < 0 ||
        getsockname(e->listener, (struct sockaddr *)&e->at, &size) < 0) {
        perror("echo");
        exit(1);
    }
}

static int echo_main(int argc, char **argv)
{
    struct echo e = {.request_bytes = argument(argc, argv, 2, 600),
                     .response_bytes = argument(argc, argv, 3, 350),
                     .read = calloc(20000, sizeof(size_t))};
    unsigned long connections = argument(argc, argv, 4, 64), seconds = argument(argc, argv, 5, 3);
    start_listening(&e);
    pid_t server = fork();
    if (server == 0) {
        if (argc > 7)
            stand_on(argument(argc, argv, 6, 0));
        serve(&e);
    }
    if (argc > 7)
        stand_on(argument(argc, argv, 7, 1));
    int epoll = epoll_create1(0);
    for (unsigned long i = 0; i < connections; i++)
        watch(epoll, connect_to(&e));
    ask(&e, epoll, 0.5);
    uint64_t cpu_ns = cpu_of(server), begun_ns = now();
    uint64_t answered = ask(&e, epoll, (double)seconds);
    cpu_ns = cpu_of(server) - cpu_ns;
    double elapsed_s = (double)(now() - begun_ns) / 1e9;
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    printf("{\"requests\":%llu,\"per_s\":%.0f,\"cpu_us\":%.4f}\n", (unsigned long long)answered,
           (double)answered / elapsed_s, (double)cpu_ns / 1e3 / (double)answered);
    free(e.read);
    return 0;
}

/* ------------------------------------------------------------ digests */

static int digest_main(int argc, char **argv)
{
    enum { ROUNDS = 400000 };
    size_t canonical = argument(argc, argv, 2, 220), body = argument(argc, argv, 3, 100);
    char *text = calloc(1, canonical + body + 1), hex[2 * SHA256_SIZE + 1];
    memset(text, 'a', canonical + body);
    struct hmac_key *key = hmac_key_new(STR("app-secret"));
    uint64_t begun_ns = cpu_of(0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        text[i % canonical] ^= 1;
        hmac_sha256_hex(key, str_make(text, canonical), hex);
    }
    uint64_t middle_ns = cpu_of(0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        text[i % body] ^= 1;
        md5_hex(str_make(text, body), hex);
    }
    uint64_t end_ns = cpu_of(0);
    printf("{\"hmac_us\":%.4f,\"md5_us\":%.4f}\n", (double)(middle_ns - begun_ns) / 1e3 / ROUNDS,
           (double)(end_ns - middle_ns) / 1e3 / ROUNDS);
    hmac_key_free(key);
    free(text);
    return 0;
}

/* ------------------------------------------------------------ the store's own price */

static void must(char *error)
{
    if (!error)
        return;
    fprintf(stderr, "rocksdb: %s\n", error);
    exit(1);
}

/* Rows as a store of appends writes them: one after the other in each of 64 messages. */
static void fill_batch(rocksdb_writebatch_t *batch, uint64_t *row, unsigned long rows, const char *value,
                       size_t bytes)
{
    rocksdb_writebatch_clear(batch);
    for (unsigned long i = 0; i < rows; i++, ++*row) {
        char key[32];
        snprintf(key, sizeof key, "r%08llu%022llu", (unsigned long long)(*row % 64),
                 (unsigned long long)*row);
        rocksdb_writebatch_put(batch, key, 31, value, bytes);
    }
}

static int put_main(int argc, char **argv)
{
    if (argc < 6)
        return 2;
    size_t bytes = argument(argc, argv, 3, 150);
    unsigned long rows = argument(argc, argv, 4, 32), seconds = argument(argc, argv, 5, 3);
    char *error = NULL, *value = calloc(1, bytes + 1);
    for (size_t i = 0; i < bytes; i++)
        value[i] = (char)('a' + (i * 7 + i / 13) % 26);
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_compression(options, rocksdb_no_compression);
    rocksdb_t *db = rocksdb_open(options, argv[2], &error);
    must(error);
    rocksdb_writeoptions_t *synced = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(synced, 1);
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    uint64_t row = 0, batches = 0, cpu_ns = cpu_of(0), begun_ns = now(),
             until_ns = begun_ns + seconds * SECOND_NS;
    for (; now() < until_ns; batches++) {
        fill_batch(batch, &row, rows, value, bytes);
        rocksdb_write(db, synced, batch, &error);
        must(error);
    }
    cpu_ns = cpu_of(0) - cpu_ns;
    printf("{\"rows\":%llu,\"rows_per_s\":%.0f,\"cpu_us\":%.4f,\"batch_ms\":%.4f}\n", (unsigned long long)row,
           (double)row / ((double)(now() - begun_ns) / 1e9), (double)cpu_ns / 1e3 / (double)row,
           (double)(now() - begun_ns) / 1e6 / (double)batches);
    rocksdb_close(db);
    free(value);
    return 0;
}

static int fdatasync_main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    char path[4096], block[4096];
    memset(block, 'b', sizeof block);
    snprintf(path, sizeof path, "%s/fdatasync.tmp", argv[2]);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    struct hist *h = hist_new_default();
    uint64_t until_ns = now() + argument(argc, argv, 3, 1) * SECOND_NS;
    while (fd >= 0 && now() < until_ns) {
        if (write(fd, block, sizeof block) != (ssize_t)sizeof block)
            break;
        uint64_t begun_ns = now();
        fdatasync(fd);
        hist_record(h, now() - begun_ns);
    }
    printf("{\"count\":%llu,\"p50_ms\":%.4f,\"mean_ms\":%.4f,\"p99_ms\":%.4f,\"max_ms\":%.4f}\n",
           (unsigned long long)hist_count(h), (double)hist_percentile(h, 50) / 1e6, hist_mean(h) / 1e6,
           (double)hist_percentile(h, 99) / 1e6, (double)hist_max(h) / 1e6);
    close(fd);
    unlink(path);
    hist_free(h);
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "echo") == 0)
        return echo_main(argc, argv);
    if (strcmp(what, "digest") == 0)
        return digest_main(argc, argv);
    if (strcmp(what, "put") == 0)
        return put_main(argc, argv);
    if (strcmp(what, "fdatasync") == 0)
        return fdatasync_main(argc, argv);
    fprintf(stderr, "usage: parts echo|digest|put|fdatasync ...\n");
    return 2;
}
