/* codes.h - error and close codes of both protocols (chapter 1, 8.3; chapter 4, 3.4).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

enum wire_code {
    CODE_GENERIC = 4000, /* never as a close code */
    CODE_APP_UNKNOWN = 4001,
    CODE_APP_DISABLED = 4003,
    CODE_OVER_QUOTA = 4004,
    CODE_UNAUTHORIZED = 4009,
    CODE_OVER_CAPACITY = 4100,
    CODE_RECONNECT = 4200,
    CODE_PONG_TIMEOUT = 4201,
    CODE_INACTIVE = 4202,
    CODE_CHANNEL = 4300,
    CODE_CLIENT_EVENT = 4301,
    CODE_LIMIT = 4302,
    CODE_PAYLOAD_TOO_LARGE = 40009,
    CODE_TOKEN_EXPIRED = 40142,
    CODE_TOKEN_REVOKED = 40160,
    CODE_MUTABLE_NOT_PERMITTED = 93002,
    CODE_AI_INVALID_HEADER = 104000,
    CODE_AI_HEADER_TOO_LARGE = 104001,
    CODE_AI_SPOOF = 104002,
    CODE_AI_EVENT_NOT_PERMITTED = 104003,
    CODE_AI_UNTIL_ATTACH_GAP = 104005,
    CODE_AI_OP_CONFLICT = 104006,
    CODE_PRESENCE_UPDATE_INVALID = 104009,
};

/* The symbolic name of a registry code ("ai_invalid_transport_header"), NULL for the others. */
const char *wire_code_name(int code);
