/* redis_link.c - see redis_link.h. Level triggered: what a turn leaves unread is there in the next one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cluster/redis_link.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

enum { READ_BYTES = 16 << 10, READS_PER_TURN = 64 };

static void fail(struct redis_link *link, struct str why)
{
    redis_link_close(link);
    link->failed(link, why);
}

static void fail_fmt(struct redis_link *link, const char *what, const char *reason)
{
    struct buf why = {0};
    buf_fmt(&why, "%s:%u: %s%s", link->host, link->port, what, reason);
    fail(link, buf_view(&why));
    buf_free(&why);
}

static void fail_tls(struct redis_link *link)
{
    struct buf why = {0};
    tls_problem(link->tls, &why);
    buf_char(&why, '\0');
    fail_fmt(link, "", why.p);
    buf_free(&why);
}

static void poll_for(struct redis_link *link, uint32_t events)
{
    if (link->events != events)
        loop_change(link->loop, &link->io, events);
    link->events = events;
}

/* How many bytes that moved; 0 = none now, -1 = the link has failed. */
static ssize_t tls_moved(struct redis_link *link, enum tls_result result, size_t done)
{
    switch (result) {
    case TLS_DONE:
        return (ssize_t)done;
    case TLS_WANTS_READ:
    case TLS_WANTS_WRITE:
        return 0;
    case TLS_CLOSED:
        fail_fmt(link, "closed by the other side", "");
        return -1;
    case TLS_FAILED:
        break;
    }
    fail_tls(link);
    return -1;
}

/* ---- reading ---- */

/* The next bytes; 0 = none now, -1 = the link has failed. */
static ssize_t read_some(struct redis_link *link, char *p, size_t size)
{
    size_t done;
    if (link->tls == NULL) {
        ssize_t n = recv(link->io.fd, p, size, 0);
        if (n > 0)
            return n;
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        fail_fmt(link, n == 0 ? "closed by the other side" : "", n == 0 ? "" : strerror(errno));
        return -1;
    }
    enum tls_result result = tls_read(link->tls, p, size, &done);
    return tls_moved(link, result, done);
}

/* False when the link is no more. */
static bool take_replies(struct redis_link *link)
{
    for (void *reply;; freeReplyObject(reply)) {
        if (redisReaderGetReply(link->reader, &reply) != REDIS_OK) {
            fail_fmt(link, "not the Redis protocol: ", link->reader->errstr);
            return false;
        }
        if (reply == NULL)
            break;
        link->reply(link, reply);
        if (link->state != LINK_OPEN) {
            freeReplyObject(reply);
            return false;
        }
    }
    if (link->reader->len - link->reader->pos <= LINK_REPLY_MAX)
        return true;
    fail_fmt(link, "a reply is too large", "");
    return false;
}

static void read_replies(struct redis_link *link)
{
    char bytes[READ_BYTES];
    for (int i = 0; i < READS_PER_TURN; i++) {
        ssize_t n = read_some(link, bytes, sizeof bytes);
        if (n < 0)
            return;
        if (n == 0)
            return;
        redisReaderFeed(link->reader, bytes, (size_t)n);
        if (!take_replies(link))
            return;
    }
    if (!link->again_asked)
        loop_defer(link->loop, &link->again); /* TLS may hold bytes that epoll does not know of */
    link->again_asked = true;
}

static void read_again(struct task *task)
{
    struct redis_link *link = list_of(task, struct redis_link, again);
    link->again_asked = false;
    if (link->state == LINK_OPEN)
        read_replies(link);
}

/* ---- writing ---- */

static ssize_t write_some(struct redis_link *link, const char *p, size_t size)
{
    size_t done;
    if (link->tls == NULL) {
        ssize_t n = send(link->io.fd, p, size, MSG_NOSIGNAL);
        if (n >= 0)
            return n;
        if (errno == EAGAIN || errno == EINTR)
            return 0;
        fail_fmt(link, "", strerror(errno));
        return -1;
    }
    enum tls_result result = tls_write(link->tls, p, size, &done);
    return tls_moved(link, result, done);
}

void redis_link_flush(struct redis_link *link)
{
    if (link->state != LINK_OPEN)
        return;
    while (redis_link_pending(link) > 0) {
        ssize_t n = write_some(link, link->out.p + link->out_at, redis_link_pending(link));
        if (n < 0)
            return;
        if (n == 0) {
            poll_for(link, EPOLLIN | EPOLLOUT);
            return;
        }
        link->out_at += (size_t)n;
    }
    buf_clear(&link->out);
    link->out_at = 0;
    poll_for(link, EPOLLIN);
}

void redis_command(struct redis_link *link, const struct str *words, size_t count)
{
    struct buf *out = &link->out;
    buf_char(out, '*');
    buf_u64(out, count);
    for (size_t i = 0; i < count; i++) {
        buf_lit(out, "\r\n$");
        buf_u64(out, words[i].n);
        buf_lit(out, "\r\n");
        buf_str(out, words[i]);
    }
    buf_lit(out, "\r\n");
}

static void write_more(struct redis_link *link)
{
    redis_link_flush(link);
    if (link->state == LINK_OPEN && redis_link_pending(link) == 0)
        link->flushed(link);
}

/* ---- connecting ---- */

static int try_addresses(struct redis_link *link, int error);

static void is_open(struct redis_link *link)
{
    wheel_cancel(loop_wheel(link->loop), &link->late);
    link->state = LINK_OPEN;
    link->reader = redisReaderCreate();
    if (link->reader == NULL)
        abort();
    poll_for(link, EPOLLIN);
    link->opened(link);
}

static void shake_hands(struct redis_link *link)
{
    switch (tls_handshake(link->tls)) {
    case TLS_DONE:
        is_open(link);
        return;
    case TLS_WANTS_READ:
        poll_for(link, EPOLLIN);
        return;
    case TLS_WANTS_WRITE:
        poll_for(link, EPOLLOUT);
        return;
    case TLS_CLOSED:
    case TLS_FAILED:
        fail_tls(link);
    }
}

static void connected(struct redis_link *link)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(link->io.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
        error = try_addresses(link, error);
        if (error != 0)
            fail_fmt(link, "", strerror(error));
        return;
    }
    if (link->tls_client == NULL) {
        is_open(link);
        return;
    }
    link->tls = tls_new(link->tls_client, link->io.fd, str_of(link->host));
    link->state = LINK_SHAKING_HANDS;
    shake_hands(link);
}

static void ready(struct io *io, uint32_t events)
{
    struct redis_link *link = list_of(io, struct redis_link, io);
    if (link->state == LINK_CONNECTING) {
        connected(link);
        return;
    }
    if (link->state == LINK_SHAKING_HANDS) {
        shake_hands(link);
        return;
    }
    if (events & EPOLLOUT)
        write_more(link);
    if (link->state == LINK_OPEN && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        read_replies(link);
}

static void close_socket(struct redis_link *link)
{
    if (link->io.fd < 0)
        return;
    loop_remove(link->loop, &link->io);
    close(link->io.fd);
    link->io.fd = -1;
}

/* Begins with the next address that lets itself be tried: 0, or the errno of the last one. */
static int try_addresses(struct redis_link *link, int error)
{
    for (struct addrinfo *a; (a = link->address) != NULL;) {
        link->address = a->ai_next;
        close_socket(link);
        link->io.fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (link->io.fd < 0) {
            error = errno;
            continue;
        }
        setsockopt(link->io.fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        link->events = EPOLLOUT;
        loop_add(link->loop, &link->io, link->events);
        if (connect(link->io.fd, a->ai_addr, a->ai_addrlen) == 0 || errno == EINPROGRESS)
            return 0;
        error = errno;
    }
    return error;
}

static void is_late(struct timer *timer)
{
    fail_fmt(list_of(timer, struct redis_link, late), "", "no answer");
}

/* ---- names ---- */

/* Once posted it is the loop's, which waits for the thread's last breath before it frees it; abandoned before that, its thread's. */
struct lookup {
    struct task task;
    pthread_t thread;
    pthread_mutex_t lock; /* of the next two; held while posting, so that nobody posts to a loop that may be gone */
    struct redis_link *wanted_by; /* NULL = nobody any more */
    bool posted;
    char *host;
    char service[6];
    struct addrinfo *addresses;
    int error; /* of getaddrinfo() */
};

static void free_lookup(struct lookup *lookup)
{
    if (lookup->addresses != NULL)
        freeaddrinfo(lookup->addresses);
    pthread_mutex_destroy(&lookup->lock);
    free(lookup->host);
    free(lookup);
}

static void lookup_is_done(struct task *task)
{
    struct lookup *lookup = list_of(task, struct lookup, task);
    struct redis_link *link = lookup->wanted_by; /* changed by this thread only */
    pthread_join(lookup->thread, NULL);
    int error = lookup->error;
    if (link != NULL) {
        link->lookup = NULL;
        link->addresses = link->address = lookup->addresses;
        lookup->addresses = NULL;
    }
    free_lookup(lookup);
    if (link == NULL)
        return;
    if (error != 0) {
        fail_fmt(link, "", gai_strerror(error));
        return;
    }
    error = try_addresses(link, 0);
    if (error != 0)
        fail_fmt(link, "", strerror(error));
}

static void *look_up(void *arg)
{
    struct lookup *lookup = arg;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    lookup->error = getaddrinfo(lookup->host, lookup->service, &hints, &lookup->addresses);
    if (lookup->error != 0)
        lookup->addresses = NULL;
    for (;;) {
        pthread_mutex_lock(&lookup->lock);
        bool wanted = lookup->wanted_by != NULL;
        if (wanted)
            lookup->posted = mailbox_post(loop_mailbox(lookup->wanted_by->loop), &lookup->task) == MAILBOX_OK;
        bool posted = lookup->posted;
        pthread_mutex_unlock(&lookup->lock);
        if (!wanted)
            free_lookup(lookup);
        if (!wanted || posted)
            return NULL;
        usleep(10000); /* the mailbox is full */
    }
}

static void start_lookup(struct redis_link *link)
{
    struct lookup *lookup = mem_new(struct lookup);
    pthread_mutex_init(&lookup->lock, NULL);
    lookup->task.run = lookup_is_done;
    lookup->wanted_by = link;
    lookup->host = str_dup(str_of(link->host));
    snprintf(lookup->service, sizeof lookup->service, "%u", link->port);
    link->lookup = lookup;
    pthread_mutex_lock(&lookup->lock); /* `thread` is written before anybody asks for it */
    bool started = pthread_create(&lookup->thread, NULL, look_up, lookup) == 0;
    pthread_mutex_unlock(&lookup->lock);
    if (started)
        return;
    link->lookup = NULL;
    free_lookup(lookup); /* too many threads: the link's time runs out, and it is tried again */
}

static void abandon_lookup(struct redis_link *link)
{
    if (link->lookup == NULL)
        return;
    struct lookup *lookup = link->lookup;
    pthread_t thread = lookup->thread;
    link->lookup = NULL;
    pthread_mutex_lock(&lookup->lock);
    lookup->wanted_by = NULL;
    bool posted = lookup->posted;
    pthread_mutex_unlock(&lookup->lock);
    if (!posted)
        pthread_detach(thread);
}

/* ---- life ---- */

void redis_link_init(struct redis_link *link)
{
    link->io = (struct io){-1, ready};
    link->late.fire = is_late;
    link->again.run = read_again;
}

void redis_link_open(struct redis_link *link, struct str host, uint16_t port, struct tls_client *tls)
{
    assert(link->state == LINK_CLOSED);
    free(link->host);
    link->host = str_dup(host);
    link->port = port;
    link->tls_client = tls;
    link->state = LINK_CONNECTING;
    wheel_set(loop_wheel(link->loop), &link->late, loop_now_ms(link->loop) + LINK_CONNECT_MS);
    start_lookup(link);
}

void redis_link_close(struct redis_link *link)
{
    link->state = LINK_CLOSED;
    abandon_lookup(link);
    wheel_cancel(loop_wheel(link->loop), &link->late);
    tls_free(link->tls);
    link->tls = NULL;
    close_socket(link);
    if (link->addresses != NULL)
        freeaddrinfo(link->addresses);
    link->addresses = link->address = NULL;
    if (link->reader != NULL)
        redisReaderFree(link->reader);
    link->reader = NULL;
    buf_free(&link->out);
    link->out_at = 0;
}
