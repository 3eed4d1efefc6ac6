/* server.h - the parts put together: shards, store, listeners; start and stop.
 *
 *   main thread     server_start -> server_wait (signals) -> server_stop
 *   shard threads   loop -> connections -> http or ws -> api or sessions -> hub -> other shards, store
 *
 * Threads: all calls from the thread that starts the server.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "config/config.h"

struct server;

/* Listens when it returns. config is borrowed. NULL with one readable message in *error. */
struct server *server_start(const struct config *config, struct buf *error);
uint16_t server_port(const struct server *server);
/* Until SIGINT or SIGTERM. */
void server_wait(struct server *server);
/* Drains as chapter 5, 4.5 says, at most for the grace period and a second; a second signal ends the process at once. Frees. */
void server_stop(struct server *server);
