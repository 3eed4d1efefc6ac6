/* directory.h - which sockets this process has, whatever their shard.
 *
 * Striped locks, taken on connect, disconnect and when the API asks for an actor (chapter 3, 1.8); never per message.
 *
 * Threads: any. Ownership: an id is borrowed from directory_add() to directory_remove().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "wire/system.h"

struct directory;
struct directory *directory_new(void);
void directory_free(struct directory *d);
/* False if that id is in use: draw another one. */
bool directory_add(struct directory *d, const struct socket_id *id, enum wire_protocol protocol);
void directory_remove(struct directory *d, const struct socket_id *id);
/* False if no such socket is connected. */
bool directory_find(struct directory *d, struct socket_id id, enum wire_protocol *protocol);
