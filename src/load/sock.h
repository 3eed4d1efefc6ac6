/* sock.h - what the connections of a load program share: where they connect to, the loop, one buffer to read
 * into.
 *
 * Threads: the loop's. Ownership: a wire is its user's and is borrowed by all connections on it; `input` is anybody's for the length of one
 * read. Errors: -errno. Limit: SOCK_INPUT_SIZE bytes a read.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/random.h"
#include "net/loop.h"
#include <netinet/in.h>

enum { SOCK_INPUT_SIZE = 256 * 1024 };

struct wire {
    struct loop *loop;
    bool loop_borrowed;
    struct sockaddr_in to;
    struct in_addr from; /* source address; 0 = the kernel's choice */
    struct str host; /* "127.0.0.1:6001", for the Host header */
    struct random random;
    uint64_t now_ns; /* taken after the last read */
    char input[SOCK_INPUT_SIZE];
};

/* host: an IPv4 address. False if it is none. */
bool wire_init(struct wire *wire, const char *host, unsigned port);
/* A further server on the loop of another wire, which is freed last. */
bool wire_init_beside(struct wire *wire, struct loop *loop, const char *host, unsigned port);
void wire_free(struct wire *wire);

/* A non-blocking connect with TCP_NODELAY: the descriptor, or -errno. */
int sock_connect(const struct wire *wire);
/* 0 once connected, else the errno that the connect ended with. */
int sock_error(int fd);
/* Sends what it can of out; what is left stays in it. 0, or -errno when the peer is gone. */
int sock_flush(int fd, struct buf *out);
/* Closes with a reset, so that thousands of ports are free again at once. */
void sock_reset(int fd);
