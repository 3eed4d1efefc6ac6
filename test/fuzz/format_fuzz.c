/* format_fuzz.c - any JSON object becomes a well-formed message of each binary format, whose data is what it was.
 *
 * What a client may not say (headers that are objects, deep extras) the server would not have said either, so it may be refused
 * when it is read again, but never as malformed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "binary_trip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_malformed(const char *wrong)
{
    return strstr(wrong, "malformed") || strstr(wrong, "does not fit") || strstr(wrong, "trailing");
}

static void same_data(struct str before, struct str after)
{
    struct buf one = {0}, two = {0};
    require(json_type(before) == json_type(after));
    if (json_is(before, JSON_STRING))
        require(str_eq(json_text(before, &one), json_text(after, &two)));
    else
        require(str_eq(before, after));
    buf_free(&one);
    buf_free(&two);
}

static void convert(struct str object, enum wire_format format, enum data_form form, struct arena *arena)
{
    struct str json;
    struct frame *f = trip_frame(object, format, form);
    enum data_form came = DATA_JSON;
    const char *wrong = binary_to_json(frame_payload(f), format, arena, &json, &came);
    require(!wrong || !is_malformed(wrong));
    if (!wrong && came == DATA_JSON)
        same_data(json_get(object, STR("data")), json_get(json, STR("data")));
    frame_drop(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct str object;
    if (json_check(str_make(data ? data : (const uint8_t *)"", size), &object, NULL) && json_is(object, JSON_OBJECT))
        for (unsigned format = FORMAT_JSON + 1; format < FORMATS; format++) {
            convert(object, format, DATA_JSON, &arena);
            convert(object, format, DATA_BYTES, &arena);
        }
    arena_free(&arena);
    return 0;
}
