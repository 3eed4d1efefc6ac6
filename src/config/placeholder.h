/* placeholder.h - ${NAME} and ${NAME:-default} in the text of a configuration file (chapter 5, 1.3).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"

/* The value of a variable in a NULL-terminated list of "NAME=value"; absent if it is not there. */
struct str environment_get(char *const *environ_, struct str name);

/* Appends text with every placeholder replaced, also inside comments. False if some have neither a value nor
 * a default: their names are then in unresolved, "A, B", each once. */
bool placeholder_expand(struct str text, char *const *environ_, struct buf *out, struct buf *unresolved);
