/* unit.h - what every unit test starts with: cmocka, in the order its header wants, and views of bytes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/str.h"

#define assert_str(actual, literal) unit_assert_str((actual), STR(literal), __FILE__, __LINE__)
#define assert_absent(s) assert_null((s).p)

/* Fails the test and shows both, if they differ. */
void unit_assert_str(struct str actual, struct str expected, const char *file, int line);
