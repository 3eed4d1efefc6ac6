/* remote_fuzz.c - what another node sends is either no operation, or one that reads the same when written again, and whose fragments
 * make up its data.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "channel/remote.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void take_apart(const struct remote *r)
{
    struct str lengths = r->lengths, rest = r->data, fragment;
    uint32_t taken = 0;
    while (taken < r->count && remote_fragment(r, &lengths, &rest, &fragment)) {
        require(fragment.n <= r->data.n);
        taken++;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct remote r, again;
    struct buf bytes = {0};
    struct str rest = str_make((const char *)data, size);
    if (remote_kind_take(&rest) != REMOTE_OPERATION || !remote_read(rest, &r))
        return 0;
    take_apart(&r);
    remote_put(&bytes, &r);
    rest = buf_view(&bytes);
    require(remote_kind_take(&rest) == REMOTE_OPERATION && remote_read(rest, &again));
    require(again.first == r.first && again.count == r.count && str_eq(again.data, r.data) && str_eq(again.extras, r.extras));
    buf_free(&bytes);
    return 0;
}
