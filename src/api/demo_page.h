/* demo_page.h - the page that `GET /` shows while the demo profile runs; made from demo_page.html by the
 * Makefile.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stddef.h>

extern const char demo_page[];
extern const size_t demo_page_size; /* bytes, without a NUL */
