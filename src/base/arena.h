/* arena.h - memory that is freed all at once.
 *
 * For what lives as long as one request: many small copies, one free. Not thread safe; an arena may be
 * handed from one thread to another with what it holds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/str.h"

struct arena_chunk;
struct arena {
    struct arena_chunk *chunks; /* newest first */
    char *next, *end;           /* free part of the newest */
};

/* Zeroed arena = empty. All memory 16-byte aligned; aborts when out of memory. */
void *arena_alloc(struct arena *a, size_t n);  /* uninitialised */
void *arena_zalloc(struct arena *a, size_t n); /* zeroed */
/* A copy in the arena; absent stays absent. */
struct str arena_copy(struct arena *a, struct str s);
/* Both, one behind the other, copied into the arena. */
struct str arena_join(struct arena *a, struct str first, struct str second);
void arena_free(struct arena *a);
