/* hist.c - log-linear buckets.
 *
 * The range is cut at powers of two, and each half-open range [2^k, 2^(k+1)) into the same number of
 * equal slots. With 4 slots a range (the real number comes from the digits):
 *
 *      values   0 1 2 3 4 5 6 7 | 8 10 12 14 | 16 20 24 28 | 32 40 ...
 *      slot     0 1 2 3 4 5 6 7 | 8  9 10 11 | 12 13 14 15 | 16 17 ...
 *      width    1               | 2          | 4           | 8
 *
 * So a slot is found with one count of leading zeros and one shift.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/hist.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define HOUR_NS 3600000000000u

struct hist {
    uint64_t value_max;
    int half_bits; /* log2 of the slots in a range */
    uint64_t count, sum, min, max;
    size_t slots;
    uint64_t slot[];
};

static int log2_floor(uint64_t value)
{
    return 63 - __builtin_clzll(value | 1);
}

static size_t slot_of(int half_bits, uint64_t value)
{
    int shift = log2_floor(value) - half_bits;
    if (shift <= 0)
        return value;
    return ((size_t)shift << half_bits) + (value >> shift);
}

/* The highest value that falls into the slot. */
static uint64_t slot_end(int half_bits, size_t slot)
{
    uint64_t half = 1ull << half_bits;
    if (slot < 2 * half)
        return slot;
    int shift = (int)(slot >> half_bits) - 1;
    uint64_t lowest = (half + (slot & (half - 1))) << shift;
    return lowest + ((1ull << shift) - 1);
}

struct hist *hist_new(uint64_t value_max, int digits)
{
    static const uint64_t powers[] = {1, 10, 100, 1000, 10000, 100000};
    assert(digits >= 1 && digits <= 5);
    int half_bits = log2_floor(powers[digits] - 1) + 1; /* width / value <= 1 / 10^digits */
    size_t slots = slot_of(half_bits, value_max) + 1;
    struct hist *h = mem_alloc(sizeof *h + slots * sizeof h->slot[0]);
    h->value_max = value_max;
    h->half_bits = half_bits;
    h->slots = slots;
    hist_reset(h);
    return h;
}

struct hist *hist_new_default(void)
{
    return hist_new(HOUR_NS, 3);
}

void hist_free(struct hist *h)
{
    free(h);
}

void hist_record_many(struct hist *h, uint64_t value, uint64_t count)
{
    uint64_t counted = value < h->value_max ? value : h->value_max;
    if (count == 0)
        return;
    h->slot[slot_of(h->half_bits, counted)] += count;
    h->count += count;
    h->sum += value * count;
    h->min = value < h->min ? value : h->min;
    h->max = value > h->max ? value : h->max;
}

void hist_record(struct hist *h, uint64_t value)
{
    hist_record_many(h, value, 1);
}

void hist_merge(struct hist *into, const struct hist *from)
{
    assert(into->half_bits == from->half_bits && into->value_max == from->value_max);
    for (size_t i = 0; i < from->slots; i++)
        into->slot[i] += from->slot[i];
    into->count += from->count;
    into->sum += from->sum;
    into->min = from->min < into->min ? from->min : into->min;
    into->max = from->max > into->max ? from->max : into->max;
}

void hist_reset(struct hist *h)
{
    memset(h->slot, 0, h->slots * sizeof h->slot[0]);
    h->count = h->sum = h->max = 0;
    h->min = UINT64_MAX;
}

uint64_t hist_count(const struct hist *h)
{
    return h->count;
}

uint64_t hist_min(const struct hist *h)
{
    return h->count ? h->min : 0;
}

uint64_t hist_max(const struct hist *h)
{
    return h->max;
}

double hist_mean(const struct hist *h)
{
    return h->count ? (double)h->sum / (double)h->count : 0;
}

/* How many of the count values make up `percent` of them, rounded up; at least one. */
static uint64_t rank_of(uint64_t count, double percent)
{
    double exact = percent / 100 * (double)count;
    uint64_t rank = exact <= 1 ? 1 : (uint64_t)exact;
    if ((double)rank < exact - 1e-6)
        rank++;
    return rank < count ? rank : count;
}

uint64_t hist_percentile(const struct hist *h, double percent)
{
    if (h->count == 0)
        return 0;
    uint64_t rank = rank_of(h->count, percent), seen = 0;
    for (size_t i = 0; i + 1 < h->slots; i++) {
        seen += h->slot[i];
        if (seen >= rank) {
            uint64_t end = slot_end(h->half_bits, i);
            return end < h->max ? end : h->max;
        }
    }
    return h->max; /* the last slot also holds what is beyond value_max */
}

bool hist_next(const struct hist *h, uint64_t *at, uint64_t *value_end, uint64_t *count)
{
    while (*at < h->slots) {
        size_t slot = (*at)++;
        if (h->slot[slot] == 0)
            continue;
        *value_end = slot_end(h->half_bits, slot);
        *count = h->slot[slot];
        return true;
    }
    return false;
}
