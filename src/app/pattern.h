/* pattern.h - channel_name_pattern of a namespace: POSIX extended, with \d \w \s as people write them.
 *
 * A pattern that would mean something else here than in the reference's dialect is refused, not misread.
 *
 * Threads: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"

/* NULL, and a readable reason appended to error. Opaque: kept in app->patterns. */
void *pattern_new(struct str text, struct buf *error);
void pattern_free(void *pattern);
/* True if the pattern is found anywhere in text (anchor it with ^ and $). */
bool pattern_matches(void *pattern, struct str text);
