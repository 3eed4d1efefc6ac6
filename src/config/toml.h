/* toml.h - a TOML text as a JSON text, so that one loader walks both.
 *
 * Date and time values become strings; infinity and not-a-number are refused, JSON has none. C++ reads this
 * header too, so it includes nothing of ours.
 *
 * Threads: pure. Nothing is thrown across this border.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct toml_error {
    unsigned line, column; /* from 1; 0 = unknown */
    char why[256];         /* cut when longer, never empty */
};

/* Calls put() once with the JSON text of one object. False and *error if text is no TOML; put() is then not
 * called. */
bool toml_to_json(const char *text, size_t size, void (*put)(void *ctx, const char *json, size_t size),
                  void *ctx, struct toml_error *error);

#ifdef __cplusplus
}
#endif
