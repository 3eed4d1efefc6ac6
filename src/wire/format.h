/* format.h - the wire formats of a V2 connection (chapter 1, section 9).
 *
 * The JSON frame is the canonical one: everything is written as JSON first, and a connection that reads another format gets that
 * frame converted, as one binary frame. The other way a binary frame becomes the JSON message that it stands for. V1 is always JSON.
 *
 *      {"event":"e","channel":"c","data":"x","serial":7}
 *      MessagePack   ["e","c",["string","x"],nil,nil,nil,nil,nil,nil,nil,7,nil,nil,nil,nil]      9.1
 *      Protobuf      1:"e" 2:"c" 3:{1:"x"} 11:7                                                 9.2
 *
 * What passes: all fifteen fields of the envelope (7.1). `data` that is a JSON string travels as a string, any other as JSON text,
 * and bytes that came as bytes as bytes (9.3; to JSON an array of numbers). Other keys of `extras` travel as plain values in
 * MessagePack; Protobuf has no place for them. Header numbers are doubles in both.
 *
 * Threads: pure functions. Limits: MessagePack may nest FORMAT_DEPTH_MAX deep; nothing is allocated by what a message claims,
 * only by the bytes that it has.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "wire/system.h"

/* FORMAT_PROTOBUF_OLDER: the field numbers that the .NET and Flutter SDKs write and read (9.2). */
enum wire_format { FORMAT_JSON, FORMAT_MSGPACK, FORMAT_PROTOBUF, FORMAT_PROTOBUF_OLDER };
enum { FORMATS = 4, FORMAT_DEPTH_MAX = 24 };

/* What the query parameters `format` and `client` ask for (1.2); both may be absent. False: no such format. */
bool wire_format_read(struct str format, struct str client, enum wire_format *out);

/* A converted frame, with one reference. json: a V2 JSON text frame of ours. format: not FORMAT_JSON. `form` says what the data
 * is: DATA_BYTES if it is an array of byte numbers that came as bytes. */
struct frame *frame_convert(const struct frame *json, enum wire_format format, enum data_form form);

/* client_message_read() for a binary frame of a connection of that format (JSON too). Reasons name the field. Also accepts the
 * other field numbers of Protobuf when a message shows by its wire types that it uses them. */
const char *client_message_decode(struct str bytes, enum wire_format format, struct arena *arena, struct client_message *out);
/* The V2 JSON message that a binary one stands for, in the arena; format: not FORMAT_JSON. NULL, or the reason. */
const char *binary_to_json(struct str bytes, enum wire_format format, struct arena *arena, struct str *json, enum data_form *form);
