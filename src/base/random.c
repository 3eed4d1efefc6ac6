/* random.c - xoshiro256** 1.0 (Blackman and Vigna), seeded by splitmix64.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/random.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

static uint64_t rotate_left(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static uint64_t splitmix64(uint64_t *seed)
{
    uint64_t z = (*seed += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

void random_from_seed(struct random *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        r->state[i] = splitmix64(&seed);
}

void random_from_kernel(struct random *r)
{
    if (getrandom(r->state, sizeof r->state, 0) != (ssize_t)sizeof r->state) {
        perror("getrandom");
        abort();
    }
    if ((r->state[0] | r->state[1] | r->state[2] | r->state[3]) == 0)
        r->state[0] = 1; /* all zeros is the one state that never leaves itself */
}

uint64_t random_u64(struct random *r)
{
    uint64_t *s = r->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

/* Lemire's multiplication; the few values that would favour small results are drawn again. */
uint64_t random_below(struct random *r, uint64_t below)
{
    assert(below > 0);
    uint64_t unfair = (0 - below) % below;
    for (;;) {
        unsigned __int128 product = (unsigned __int128)random_u64(r) * below;
        if ((uint64_t)product >= unfair)
            return (uint64_t)(product >> 64);
    }
}

void random_uuid(struct random *r, char out[37])
{
    uint64_t a = random_u64(r), b = random_u64(r);
    a = (a & ~0xF000ull) | 0x4000;        /* version 4 */
    b = (b & ~(3ull << 62)) | 2ull << 62; /* variant 10 */
    snprintf(out, 37, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(a >> 32), (unsigned)(a >> 16) & 0xFFFF,
             (unsigned)a & 0xFFFF, (unsigned)(b >> 48), (unsigned long long)(b & 0xFFFFFFFFFFFFull));
}
