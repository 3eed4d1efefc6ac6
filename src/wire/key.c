/* key.c - comparing keys without decoding those that need none.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "wire/key.h"

bool key_means(struct str key_raw, struct str text)
{
    if (key_raw.n <= text.n || !memchr(key_raw.p, '\\', key_raw.n))
        return str_eq(key_raw, text);
    struct buf scratch = {0};
    bool same = str_eq(json_key_text(key_raw, &scratch), text);
    buf_free(&scratch);
    return same;
}
