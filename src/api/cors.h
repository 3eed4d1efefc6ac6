/* cors.h - which pages of other origins may call us (chapter 2, 2.18; chapter 5, 7.4).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "config/config.h"

/* Header lines for a response to a request with that Origin (absent = none asked): none if the origin is not
 * allowed. In the arena, or static. */
struct str cors_headers(const struct config *config, struct str origin, struct arena *arena);
/* The further lines that answer a preflight. */
struct str cors_preflight_headers(const struct config *config, struct arena *arena);
