/* random.h - randomness as a handle: the kernel's in production, a seed's in tests and simulation.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdint.h>

struct random {
    uint64_t state[4]; /* xoshiro256**; one thread at a time */
};

void random_from_seed(struct random *r, uint64_t seed);
/* Seeded from getrandom(2); aborts if the kernel refuses. Not for secrets: nothing here makes any. */
void random_from_kernel(struct random *r);
uint64_t random_u64(struct random *r);
/* Uniform in [0, below); below > 0. */
uint64_t random_below(struct random *r, uint64_t below);
/* 36 characters of a version 4 UUID and a NUL. */
void random_uuid(struct random *r, char out[37]);
