/* order.c - see order.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/order.h"

#define FIELD(member, kind, required)                                                                        \
    {                                                                                                        \
#member, kind, required, offsetof(struct order, member)                                              \
    }
#define COMMON_FIELDS                                                                                        \
    FIELD(confirm_channel, FIELD_TEXT, true), FIELD(confirm_operation, FIELD_TEXT, true),                    \
        FIELD(reason, FIELD_TEXT, true), FIELD(requested_by, FIELD_TEXT, false)
static const struct field reset_fields[] = {COMMON_FIELDS};
static const struct field purge_fields[] = {
    COMMON_FIELDS,
    FIELD(mode, FIELD_TEXT, true),
    FIELD(before_serial, FIELD_U64, false),
    FIELD(before_time_ms, FIELD_I64, false),
};
#undef FIELD

struct failure order_read(struct call *c, enum order_kind kind, struct order *o)
{
    bool reset = kind == ORDER_RESET;
    size_t count = reset ? sizeof reset_fields / sizeof *reset_fields : sizeof purge_fields / sizeof *purge_fields;
    struct str object;
    struct failure refused = body_object(c, &object);
    return refused.status ? refused : body_read(c, object, reset ? reset_fields : purge_fields, count, o);
}

struct failure order_check(struct call *c, const struct order *o, struct str operation)
{
    if (!str_eq(o->confirm_channel, c->args[1]))
        return fail_input(STR("confirm_channel must exactly match the channel path"));
    if (!str_eq(o->confirm_operation, operation))
        return fail_fmt(c, 400, "invalid_input", "confirm_operation must be '%.*s'", STR_ARG(operation));
    if (str_trim(o->reason).n == 0)
        return fail_input(STR("reason must not be empty"));
    return NO_FAILURE;
}
