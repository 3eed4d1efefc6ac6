/* filter_decimal.c - decimal numbers compared as the text they are: no rounding, no locale.
 *
 *      -012.50   sign -1, whole "12", fraction "5"
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/filter_parts.h"

struct decimal {
    int sign;                   /* 0 for zero */
    struct str whole, fraction; /* without leading, without trailing zeros */
};

static size_t digits(struct str s, size_t from)
{
    size_t i = from;
    while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
        i++;
    return i;
}

static bool parse(struct str text, struct decimal *out)
{
    bool has_sign = text.n && (text.p[0] == '-' || text.p[0] == '+');
    size_t start = has_sign, point = digits(text, start), end = point;
    if (point < text.n && text.p[point] == '.')
        end = digits(text, point + 1);
    size_t digits_count = end - start - (end > point);
    if (end != text.n || digits_count == 0)
        return false;
    while (start < point && text.p[start] == '0')
        start++;
    while (end > point && text.p[end - 1] == '0')
        end--;
    out->whole = str_make(text.p + start, point - start);
    out->fraction = end > point + 1 ? str_make(text.p + point + 1, end - point - 1) : STR("");
    out->sign = out->whole.n + out->fraction.n == 0 ? 0 : text.p[0] == '-' ? -1 : 1;
    return true;
}

static int sign_of(ptrdiff_t x)
{
    return (x > 0) - (x < 0);
}

int filter_compare_decimal(struct str a, struct str b)
{
    struct decimal x, y;
    if (!parse(a, &x) || !parse(b, &y))
        return -2;
    if (x.sign != y.sign)
        return x.sign < y.sign ? -1 : 1;
    int order = sign_of((ptrdiff_t)x.whole.n - (ptrdiff_t)y.whole.n);
    order = order ? order : sign_of(str_cmp(x.whole, y.whole));
    order = order ? order : sign_of(str_cmp(x.fraction, y.fraction));
    return x.sign < 0 ? -order : order;
}
