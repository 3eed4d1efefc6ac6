/* family.h - the four prefixes of event names (chapter 1, 1.4); nobody outside of this folder includes it.
 *
 *              commands      internal
 *      V1      pusher:       pusher_internal:
 *      V2      sockudo:      sockudo_internal:
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "wire/system.h"

enum { FAMILY_PREFIX_MAX = 17 };

/* FAMILY_NONE: *rest is the whole event. */
enum family family_of(struct str event, struct str *rest);
/* Empty for FAMILY_NONE. */
struct str family_prefix(enum family family, enum wire_protocol protocol);
