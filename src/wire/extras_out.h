/* extras_out.h - the `extras` of an envelope as a V2 client sees them; nobody outside of this folder includes
 * it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "wire/envelope.h"

/* Most that extras_out() writes. */
size_t extras_out_bound(const struct envelope *e);
/* `lead` and the object, or nothing if there is nothing to show. lead: static, e.g. ",\"extras\":". */
char *extras_out(char *p, const struct envelope *e, struct str lead);
enum { EXTRAS_LEAD_MAX = 16 };
