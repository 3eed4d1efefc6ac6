/* socket_id.c - two decimal numbers and a point.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>

#include "wire/out.h"
#include "wire/system.h"

void socket_id_print(char out[SOCKET_ID_TEXT], struct socket_id id)
{
    assert(id.a <= SOCKET_ID_PART_MAX);
    assert(id.b <= SOCKET_ID_PART_MAX);
    char *p = out_u64(out, id.a);
    *p++ = '.';
    p = out_u64(p, id.b);
    *p = 0;
}

/* In the one spelling that socket_id_print() gives it. */
static bool part_parse(struct str text, uint64_t *part)
{
    bool padded = text.n > 1 && text.p[0] == '0';
    return !padded && str_to_u64(text, part) && *part <= SOCKET_ID_PART_MAX;
}

bool socket_id_parse(struct str text, struct socket_id *id)
{
    struct str rest = text, first = str_split(&rest, '.');
    return rest.p && part_parse(first, &id->a) && part_parse(rest, &id->b) && (id->a | id->b) != 0;
}
