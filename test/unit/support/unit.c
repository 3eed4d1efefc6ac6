/* unit.c - assertions that show views of bytes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "unit.h"

void unit_assert_str(struct str actual, struct str expected, const char *file, int line)
{
    if (str_eq(actual, expected))
        return;
    print_error("got      \"%.*s\"\nexpected \"%.*s\"\n", STR_ARG(actual), STR_ARG(expected));
    _fail(file, line);
}
