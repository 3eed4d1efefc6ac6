/* mem.h - allocation that aborts with a message when memory is out (house rule).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stddef.h>

void *mem_alloc(size_t n);  /* uninitialised */
void *mem_zalloc(size_t n); /* zeroed */
void *mem_realloc(void *p, size_t n);
#define mem_new(type) ((type *)mem_zalloc(sizeof(type)))
