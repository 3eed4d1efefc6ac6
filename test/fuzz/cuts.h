/* cuts.h - what a stream of bytes is taken for must not depend on how it is cut.
 *
 * input: [seed of the cuts][bytes]
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdlib.h>

#include "base/buf.h"
#include "base/random.h"

/* parse() writes down what it took the bytes for, which it got in steps of 1..step_max; seed: the input's first byte, for whatever it
 * has to choose. Aborts unless it writes the same for bytes that are whole and for bytes in steps of at most cut_max. */
static inline void same_however_cut(const uint8_t *data, size_t size, size_t cut_max,
                                    void (*parse)(struct buf *out, uint8_t seed, struct str bytes, struct random *r, size_t step_max))
{
    struct buf whole = {0}, cut = {0};
    struct random r;
    if (size < 2)
        return;
    random_from_seed(&r, data[0]);
    struct str bytes = str_make(data + 1, size - 1);
    parse(&whole, data[0], bytes, &r, SIZE_MAX / 2);
    parse(&cut, data[0], bytes, &r, 1 + data[0] % cut_max);
    if (!str_eq(buf_view(&whole), buf_view(&cut)))
        abort();
    buf_free(&whole);
    buf_free(&cut);
}
