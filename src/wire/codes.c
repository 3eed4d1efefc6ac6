/* codes.c - the registry of chapter 4, 3.4; the numbers of Pusher's protocol have no names.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "wire/codes.h"

#include <stddef.h>

static const struct {
    int code;
    const char *name;
} registry[] = {
    {40000, "bad_request"},
    {40003, "forbidden"},
    {CODE_PAYLOAD_TOO_LARGE, "payload_too_large"},
    {CODE_TOKEN_EXPIRED, "token_expired"},
    {CODE_TOKEN_REVOKED, "token_revoked"},
    {CODE_MUTABLE_NOT_PERMITTED, "mutable_not_permitted"},
    {CODE_AI_INVALID_HEADER, "ai_invalid_transport_header"},
    {CODE_AI_HEADER_TOO_LARGE, "ai_header_too_large"},
    {CODE_AI_SPOOF, "ai_client_id_spoof"},
    {CODE_AI_EVENT_NOT_PERMITTED, "ai_event_not_permitted"},
    {104004, "ai_rollup_window_invalid"},
    {CODE_AI_UNTIL_ATTACH_GAP, "ai_until_attach_gap"},
    {CODE_AI_OP_CONFLICT, "ai_op_duplicate_conflict"},
    {104007, "ai_stream_limit_exceeded"},
    {104008, "ai_capability_pattern_invalid"},
    {CODE_PRESENCE_UPDATE_INVALID, "ai_presence_update_invalid"},
    {104010, "ai_reserved"},
};

const char *wire_code_name(int code)
{
    for (size_t i = 0; i < sizeof registry / sizeof *registry; i++)
        if (registry[i].code == code)
            return registry[i].name;
    return NULL;
}
