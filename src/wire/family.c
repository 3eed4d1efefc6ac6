/* family.c - finding and choosing the prefix of an event name.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "wire/family.h"

static bool cut(struct str *text, struct str prefix)
{
    if (!str_starts(*text, prefix))
        return false;
    *text = str_from(*text, prefix.n);
    return true;
}

enum family family_of(struct str event, struct str *rest)
{
    struct str s = event;
    *rest = event;
    if (!cut(&s, STR("sockudo")) && !cut(&s, STR("pusher")))
        return FAMILY_NONE;
    bool internal = cut(&s, STR("_internal"));
    if (!cut(&s, STR(":")))
        return FAMILY_NONE;
    *rest = s;
    return internal ? FAMILY_INTERNAL : FAMILY_COMMAND;
}

struct str family_prefix(enum family family, enum wire_protocol protocol)
{
    static const struct str prefixes[][3] = {
        [WIRE_V1] = {[FAMILY_NONE] = STR(""),
                     [FAMILY_COMMAND] = STR("pusher:"),
                     [FAMILY_INTERNAL] = STR("pusher_internal:")},
        [WIRE_V2] = {[FAMILY_NONE] = STR(""),
                     [FAMILY_COMMAND] = STR("sockudo:"),
                     [FAMILY_INTERNAL] = STR("sockudo_internal:")},
    };
    return prefixes[protocol][family];
}
