/* arena.c - a list of chunks; allocation moves a pointer in the newest.
 *
 *      chunk   [ header | used ... | free ... ]
 *                                  ^next      ^end
 *
 * A request larger than half a chunk gets a chunk of its own behind the newest, so that the free
 * rest of the newest is not wasted.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/arena.h"

#include <stdalign.h>
#include <stdlib.h>

#include "base/mem.h"

enum { ALIGN = 16, FIRST_CHUNK = 1024, CHUNK_MAX = 64 * 1024 };

struct arena_chunk {
    alignas(ALIGN) struct arena_chunk *older;
    size_t size; /* bytes behind the header */
};
_Static_assert(sizeof(struct arena_chunk) % ALIGN == 0, "the memory behind the header is aligned");

static struct arena_chunk *chunk_new(size_t size)
{
    struct arena_chunk *chunk = mem_alloc(sizeof *chunk + size);
    chunk->size = size;
    return chunk;
}

static void *alloc_alone(struct arena *a, size_t n)
{
    struct arena_chunk *chunk = chunk_new(n);
    chunk->older = a->chunks->older;
    a->chunks->older = chunk;
    return chunk + 1;
}

static void *alloc_slow(struct arena *a, size_t n)
{
    size_t size = a->chunks ? a->chunks->size * 2 : FIRST_CHUNK;
    if (size > CHUNK_MAX)
        size = CHUNK_MAX;
    if (a->chunks && n > size / 2)
        return alloc_alone(a, n);
    struct arena_chunk *chunk = chunk_new(n > size ? n : size);
    chunk->older = a->chunks;
    a->chunks = chunk;
    a->next = (char *)(chunk + 1) + n;
    a->end = (char *)(chunk + 1) + chunk->size;
    return chunk + 1;
}

void *arena_alloc(struct arena *a, size_t n)
{
    if (n > SIZE_MAX / 2)
        return mem_alloc(n); /* aborts with its message */
    n = (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if ((size_t)(a->end - a->next) < n || !a->next)
        return alloc_slow(a, n);
    void *p = a->next;
    a->next += n;
    return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
    return memset(arena_alloc(a, n), 0, n);
}

struct str arena_copy(struct arena *a, struct str s)
{
    if (!s.p)
        return s;
    char *copy = arena_alloc(a, s.n);
    if (s.n)
        memcpy(copy, s.p, s.n);
    return str_make(copy, s.n);
}

struct str arena_join(struct arena *a, struct str first, struct str second)
{
    char *both = arena_alloc(a, first.n + second.n);
    if (first.n)
        memcpy(both, first.p, first.n);
    if (second.n)
        memcpy(both + first.n, second.p, second.n);
    return str_make(both, first.n + second.n);
}

void arena_free(struct arena *a)
{
    for (struct arena_chunk *chunk = a->chunks, *older; chunk; chunk = older) {
        older = chunk->older;
        free(chunk);
    }
    *a = (struct arena){0};
}
