/* clock.c - the kernel's clocks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/clock.h"

#include <time.h>

static uint64_t system_mono_ns(const struct clock *clock)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int64_t system_wall_ms(const struct clock *clock)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

const struct clock clock_system = {.mono_ns = system_mono_ns, .wall_ms = system_wall_ms};
