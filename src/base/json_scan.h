/* json_scan.h - what the checker and the walks of JSON share; nobody else includes it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/str.h"

#define EACH_BYTE(b) (0x0101010101010101u * (uint64_t)(b))

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the lowest bit is the first byte");

/* A high bit for each byte of `eight` that equals b, and perhaps for bytes above such a one: only the
 * lowest bit can be relied upon. */
static inline uint64_t json_equal_bytes(uint64_t eight, unsigned char b)
{
    uint64_t x = eight ^ EACH_BYTE(b);
    return (x - EACH_BYTE(1)) & ~x & EACH_BYTE(0x80);
}

static inline uint64_t json_load_eight(const char *p)
{
    uint64_t eight;
    memcpy(&eight, p, sizeof eight);
    return eight;
}

/* Index of the first marked byte; marks != 0. */
static inline int json_first_mark(uint64_t marks)
{
    return __builtin_ctzll(marks) / 8;
}

static inline bool json_is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static inline bool json_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline int json_hex_digit(char c)
{
    if (json_is_digit(c))
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits behind \u, or -1. */
static inline int32_t json_hex_four(const char *p, const char *end)
{
    int32_t unit = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = json_hex_digit(p[i]);
        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

static inline bool json_is_high_surrogate(int32_t unit)
{
    return unit >= 0xD800 && unit <= 0xDBFF;
}

static inline bool json_is_low_surrogate(int32_t unit)
{
    return unit >= 0xDC00 && unit <= 0xDFFF;
}
