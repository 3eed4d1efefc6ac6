/* key.h - what the key of a JSON member says; nobody outside of this folder includes it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/json.h"

/* Whether a raw key means `text`, whose characters need no escape. Decodes only what is longer than it and
 * escaped:
 * "\u0061i" is "ai" too. */
bool key_means(struct str key_raw, struct str text);
