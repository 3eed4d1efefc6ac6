/* directory.h - which sockets this process has, whatever their shard.
 *
 * Striped locks, taken on connect, disconnect and when the API asks for an actor (chapter 3, 1.8); never per message.
 *
 * Threads: any. Ownership: an entry is borrowed from directory_add() to directory_remove().
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "wire/system.h"

struct directory_entry { /* does not change while it is in the directory */
    struct socket_id id;
    uint16_t shard;
    uint8_t protocol; /* enum wire_protocol */
};

struct directory;
struct directory *directory_new(void);
void directory_free(struct directory *d);
/* False if its id is in use: draw another one. */
bool directory_add(struct directory *d, const struct directory_entry *entry);
void directory_remove(struct directory *d, const struct directory_entry *entry);
/* False if no such socket is connected; else *found is a copy. */
bool directory_find(struct directory *d, struct socket_id id, struct directory_entry *found);
/* The entry itself, or NULL: it stays for as long as the caller does not leave the shard that it names. */
const struct directory_entry *directory_find_own(struct directory *d, struct socket_id id, unsigned shard);
