/* webhook_record_fuzz.c - what the store holds as a webhook job: never trusted, and what is read is written the same.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>

#include "webhook/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record r, again;
    struct arena arena = {0};
    struct buf out = {0};
    uint64_t seq;
    seq_read(str_make(data, size < DEAD_ID_SIZE ? size : DEAD_ID_SIZE), &seq);
    if (record_read(str_make(data, size), &r, &arena)) {
        record_put(&out, &r);
        assert(record_read(buf_view(&out), &again, &arena));
        assert(str_eq(r.app_id, again.app_id) && str_eq(r.target_id, again.target_id) && str_eq(r.origin, again.origin));
        assert(r.index == again.index && r.events == again.events && r.time_ms == again.time_ms && r.single == again.single);
        assert(str_eq(r.body, again.body));
    }
    arena_free(&arena);
    buf_free(&out);
    return 0;
}
