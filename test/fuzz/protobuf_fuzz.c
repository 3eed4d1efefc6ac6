/* protobuf_fuzz.c - whatever a Protobuf client says is refused with a reason, or becomes JSON that comes back from either
 * numbering as it was.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "binary_trip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum wire_format formats[] = {FORMAT_PROTOBUF, FORMAT_PROTOBUF_OLDER};
    struct arena arena = {0};
    struct str json;
    enum data_form form;
    for (unsigned i = 0; i < 2; i++)
        if (trip_read(data, size, formats[i], &arena, &json, &form))
            for (unsigned j = 0; j < 2; j++)
                require(str_eq(json, trip_once(json, formats[j], form, &arena)));
    arena_free(&arena);
    return 0;
}
