/* msgpack_fuzz.c - whatever a MessagePack client says is refused with a reason, or becomes JSON that says the same when it goes
 * to and fro once more.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "binary_trip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct str first, second;
    enum data_form form;
    if (trip_read(data, size, FORMAT_MSGPACK, &arena, &first, &form)) {
        /* Integers become doubles in headers, -0 an integer elsewhere: after one trip nothing changes any more. */
        second = trip_once(first, FORMAT_MSGPACK, form, &arena);
        require(str_eq(second, trip_once(second, FORMAT_MSGPACK, form, &arena)));
    }
    arena_free(&arena);
    return 0;
}
