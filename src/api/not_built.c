/* not_built.c - routes of the protocol that this build knows but does not serve: 501, so that nobody takes
 * them for a wrong address.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"

static void not_built(struct call *c, struct str text)
{
    call_refuse(c, fail(501, "not_implemented", text));
}

void serve_push(struct call *c)
{
    not_built(c, STR("Push notifications are not implemented by this build"));
}
