/* listen.h - a listening TCP socket of one shard (SO_REUSEPORT, so that each shard has its own).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/str.h"
#include "net/loop.h"
#include <netinet/in.h>

struct listener;
/* host: name or address; port 0 = any free one (listener_port). NULL with a readable reason, for example
 * "cannot listen on 127.0.0.1:6001: Address already in use", in error[]. accepted() owns fd, which is
 * non-blocking with TCP_NODELAY. When the process runs out of descriptors the listener pauses for 100 ms,
 * and says so once. */
struct listener *listener_new(struct loop *loop, const char *host, uint16_t port,
                              void (*accepted)(void *user, int fd, const struct sockaddr_storage *peer),
                              void *user, char error[256]);
/* Of the open files that the process may have, it takes none of the last `fds` (of the last quarter, if that is less): a store that
 * cannot open its files is worse than a client that is turned away. Such a socket is closed at once, full() is told (by `user` of
 * listener_new()), and the listener pauses as above. The limit of the process is what it is now. */
void listener_spare(struct listener *l, unsigned fds, void (*full)(void *user));
uint16_t listener_port(const struct listener *l);
/* Stops accepting; the kernel refuses new connections. */
void listener_close(struct listener *l);
