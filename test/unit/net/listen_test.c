/* listen_test.c - listening on loopback.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <fcntl.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/listen.h"

enum { ACCEPTED_MAX = 16 };

struct fixture {
    struct loop *loop;
    struct listener *listener;
    int accepted[ACCEPTED_MAX];
    size_t count, turned_away;
    char error[256];
};

static void on_accepted(void *user, int fd, const struct sockaddr_storage *peer)
{
    struct fixture *f = user;
    assert_int_equal(peer->ss_family, AF_INET);
    f->accepted[f->count++] = fd;
}

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    log_setup(&(struct log_options){.filter = "off"});
    f->loop = loop_new(&clock_system, 16);
    f->listener = listener_new(f->loop, "127.0.0.1", 0, on_accepted, f, f->error);
    assert_non_null(f->listener);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    listener_close(f->listener);
    for (size_t i = 0; i < f->count; i++)
        close(f->accepted[i]);
    loop_free(f->loop);
    free(f);
    return 0;
}

static int dial(uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

static void accepted_sockets_do_not_block_and_do_not_delay(void **state)
{
    struct fixture *f = *state;
    int one = dial(listener_port(f->listener)), two = dial(listener_port(f->listener)), no_delay = 0;
    loop_turn(f->loop, 1000);
    assert_int_equal(f->count, 2);
    assert_true(fcntl(f->accepted[0], F_GETFL) & O_NONBLOCK);
    getsockopt(f->accepted[0], IPPROTO_TCP, TCP_NODELAY, &no_delay, &(socklen_t){sizeof no_delay});
    assert_true(no_delay);
    close(one);
    close(two);
}

static void shards_share_a_port(void **state)
{
    struct fixture *f = *state;
    struct listener *second =
        listener_new(f->loop, "127.0.0.1", listener_port(f->listener), on_accepted, f, f->error);
    assert_non_null(second);
    listener_close(second);
}

static void an_occupied_port_is_an_error_for_people(void **state)
{
    struct fixture *f = *state;
    char expected[256];
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof any;
    int fd = socket(AF_INET, SOCK_STREAM, 0); /* without SO_REUSEPORT */
    assert_int_equal(bind(fd, (struct sockaddr *)&any, size), 0);
    assert_int_equal(listen(fd, 1), 0);
    getsockname(fd, (struct sockaddr *)&any, &size);
    uint16_t port = ntohs(any.sin_port);
    assert_null(listener_new(f->loop, "127.0.0.1", port, on_accepted, f, f->error));
    snprintf(expected, sizeof expected, "cannot listen on 127.0.0.1:%u: Address already in use", port);
    assert_string_equal(f->error, expected);
    close(fd);
}

static void an_unknown_host_is_an_error(void **state)
{
    struct fixture *f = *state;
    assert_null(listener_new(f->loop, "256.0.0.1.invalid", 1, on_accepted, f, f->error));
    assert_non_null(strstr(f->error, "cannot listen on 256.0.0.1.invalid:1: "));
}

/* Neither spinning nor forgetting: the connection waits in the backlog. */
static void without_descriptors_it_rests_and_then_goes_on(void **state)
{
    struct fixture *f = *state;
    struct rlimit before, none;
    int client = dial(listener_port(f->listener));
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = (rlim_t)client + 1;
    setrlimit(RLIMIT_NOFILE, &none);
    loop_turn(f->loop, 1000);
    assert_int_equal(f->count, 0);
    assert_int_equal(wheel_count(loop_wheel(f->loop)), 1);
    setrlimit(RLIMIT_NOFILE, &before);
    uint64_t start_ms = loop_now_ms(f->loop);
    for (int i = 0; i < 100 && !f->count; i++)
        loop_turn(f->loop, 1000);
    assert_int_equal(f->count, 1);
    assert_in_range(loop_now_ms(f->loop) - start_ms, 90, 5000);
    close(client);
}

static void is_full(void *user)
{
    ((struct fixture *)user)->turned_away++;
}

/* Whoever opens sockets and says nothing must not take the store's files away. */
static void the_last_descriptors_are_left_to_others(void **state)
{
    enum { FILES = 64, TAKEN = FILES - FILES / 4 };
    struct fixture *f = *state;
    struct rlimit before, few;
    getrlimit(RLIMIT_NOFILE, &before);
    few = before;
    few.rlim_cur = FILES;
    setrlimit(RLIMIT_NOFILE, &few);
    listener_spare(f->listener, 1000, is_full);
    int first = dup(STDERR_FILENO), last = first;
    while (last < TAKEN - 1)
        last = dup(STDERR_FILENO);
    int client = dial(listener_port(f->listener));
    loop_turn(f->loop, 1000);
    assert_int_equal(f->turned_away, 1);
    assert_int_equal(f->count, 0);
    for (int fd = first; fd <= last; fd++)
        close(fd);
    int next = dial(listener_port(f->listener));
    for (int i = 0; i < 100 && !f->count; i++)
        loop_turn(f->loop, 1000);
    assert_int_equal(f->count, 1);
    assert_int_equal(f->turned_away, 1);
    close(client);
    close(next);
    setrlimit(RLIMIT_NOFILE, &before);
}

static void a_closed_listener_refuses(void **state)
{
    struct fixture *f = *state;
    uint16_t port = listener_port(f->listener);
    listener_close(f->listener);
    f->listener = NULL;
    assert_int_equal(dial(port), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(accepted_sockets_do_not_block_and_do_not_delay), TEST(shards_share_a_port),
        TEST(an_occupied_port_is_an_error_for_people),        TEST(an_unknown_host_is_an_error),
        TEST(without_descriptors_it_rests_and_then_goes_on),  TEST(the_last_descriptors_are_left_to_others),
        TEST(a_closed_listener_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
