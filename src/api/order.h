/* order.h - the bodies of resets and purges (chapter 3, 2.7): what is to be done must be said twice, and why.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "api/body.h"

enum order_kind { ORDER_RESET, ORDER_PURGE };
struct order {
    struct str confirm_channel, confirm_operation, reason, requested_by, mode;
    struct number before_serial, before_time_ms;
};
/* From the request's body. */
struct failure order_read(struct call *c, enum order_kind kind, struct order *o);
/* The confirmations are those of the channel of the path and of the operation; there is a reason. */
struct failure order_check(struct call *c, const struct order *o, struct str operation);
