/* mem.c - malloc that never returns NULL.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

static void *or_die(void *p, size_t n)
{
    if (p)
        return p;
    fprintf(stderr, "out of memory: %zu bytes refused\n", n);
    abort();
}

void *mem_alloc(size_t n)
{
    return or_die(malloc(n ? n : 1), n);
}

void *mem_zalloc(size_t n)
{
    return or_die(calloc(1, n ? n : 1), n);
}

void *mem_realloc(void *p, size_t n)
{
    return or_die(realloc(p, n ? n : 1), n);
}
