/* serial.c - positions as text; digits by hand, for two of them are printed into every frame.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "wire/item.h"

static void put_digits(char *out, uint64_t value)
{
    for (int i = 19; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

void serial_print(char out[SERIAL_SIZE + 1], uint64_t delivery, uint32_t stream8, uint64_t history)
{
    put_digits(out, delivery);
    out[20] = ':';
    for (int i = 0; i < 8; i++)
        out[21 + i] = "0123456789abcdef"[stream8 >> (28 - 4 * i) & 15];
    out[29] = ':';
    put_digits(out + 30, history);
    out[SERIAL_SIZE] = '\0';
}

static bool read_hex8(struct str s, uint32_t *value)
{
    *value = 0;
    for (size_t i = 0; i < 8; i++) {
        char c = s.p[i];
        if (c >= '0' && c <= '9')
            *value = *value << 4 | (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            *value = *value << 4 | (uint32_t)(c - 'a' + 10);
        else
            return false;
    }
    return true;
}

bool serial_parse(struct str text, uint64_t *delivery, uint32_t *stream8, uint64_t *history)
{
    return text.n == SERIAL_SIZE && text.p[20] == ':' && text.p[29] == ':' && str_to_u64(str_first(text, 20), delivery) &&
           read_hex8(str_from(text, 21), stream8) && str_to_u64(str_from(text, 30), history);
}
