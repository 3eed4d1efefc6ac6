/* action.c - the words of the five actions (chapter 3, 1.3). An ordinary message is shown under its own event
 * name; asked for words, it answers as a create.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "wire/envelope.h"

#define EVENT_PREFIX "sockudo:"
#define OPERATION_PREFIX "message."

static const struct str events[] = {
    [ACTION_CREATE] = STR(EVENT_PREFIX OPERATION_PREFIX "create"),
    [ACTION_UPDATE] = STR(EVENT_PREFIX OPERATION_PREFIX "update"),
    [ACTION_DELETE] = STR(EVENT_PREFIX OPERATION_PREFIX "delete"),
    [ACTION_APPEND] = STR(EVENT_PREFIX OPERATION_PREFIX "append"),
    [ACTION_ORDINARY] = STR(EVENT_PREFIX OPERATION_PREFIX "create"),
};

struct str action_event(enum store_action action)
{
    return events[action];
}

struct str action_operation(enum store_action action)
{
    return str_from(events[action], sizeof EVENT_PREFIX - 1);
}

struct str action_word(enum store_action action)
{
    return str_from(events[action], sizeof EVENT_PREFIX OPERATION_PREFIX - 1);
}
