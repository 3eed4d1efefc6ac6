/* map.h - a hash map from bytes to pointers.
 *
 * Keys are borrowed: they must live, unmoved, as long as their entry (usually a field of the value).
 * Open addressing, XXH3. Not thread safe. A zeroed map is empty and valid.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/str.h"

struct map_entry;
struct map {
    struct map_entry *entries;
    size_t count; /* live entries */
    size_t mask;  /* slots - 1; 0 = none allocated */
    size_t used;  /* live and deleted slots */
};

uint64_t map_hash(struct str key);
/* The value, or NULL. */
void *map_get(const struct map *m, struct str key);
/* Sets key to value (not NULL) and borrows this key from now on. Returns the value that was there before,
 * or NULL. */
void *map_put(struct map *m, struct str key, void *value);
/* Removes. Returns the value that was there, or NULL. */
void *map_del(struct map *m, struct str key);
/* Iterates in no order: *at starts as 0; returns NULL at the end. The map may lose the entry just
 * returned during the walk, but gain none. */
void *map_next(const struct map *m, size_t *at);
/* Frees the table, not keys or values. */
void map_free(struct map *m);
