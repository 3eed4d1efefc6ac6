/* binary_protobuf.h - what writing and reading Protobuf share; nobody outside of this folder includes it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stddef.h>

#include "envelope.pb-c.h"
#include "wire/binary.h"

/* Both numberings have one layout: a Pb__Message serves either, its descriptor says which. */
_Static_assert(sizeof(Pb__Message) == sizeof(Pb__OlderMessage), "one layout");
_Static_assert(offsetof(Pb__Message, stream_id) == offsetof(Pb__OlderMessage, stream_id), "one layout");
_Static_assert(offsetof(Pb__Message, serial) == offsetof(Pb__OlderMessage, serial), "one layout");
_Static_assert(offsetof(Pb__Message, extras) == offsetof(Pb__OlderMessage, extras), "one layout");
_Static_assert(offsetof(Pb__Message, delta_conflation_key) == offsetof(Pb__OlderMessage, delta_conflation_key), "one layout");

/* Where a text (ProtobufCBinaryData) or number (uint64_t) stands in a Pb__Message, and its protobuf_c_boolean. */
struct protobuf_place {
    size_t has, at;
};
extern const struct protobuf_place protobuf_places[FIELDS];

static inline const ProtobufCMessageDescriptor *protobuf_descriptor(enum wire_format format)
{
    return format == FORMAT_PROTOBUF_OLDER ? &pb__older_message__descriptor : &pb__message__descriptor;
}
