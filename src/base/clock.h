/* clock.h - time as a handle, so that the core never asks the kernel itself.
 *
 * mono_ns: never goes back; for intervals, deadlines, order. wall_ms: Unix time; labels for people and the
 * signature window only, it may jump.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdint.h>

struct clock {
    uint64_t (*mono_ns)(const struct clock *clock);
    int64_t (*wall_ms)(const struct clock *clock);
};

extern const struct clock clock_system;

static inline uint64_t clock_mono_ns(const struct clock *c)
{
    return c->mono_ns(c);
}
static inline uint64_t clock_mono_ms(const struct clock *c)
{
    return c->mono_ns(c) / 1000000u;
}
static inline int64_t clock_wall_ms(const struct clock *c)
{
    return c->wall_ms(c);
}
