/* client_address.c - whose address counts behind proxies (chapter 5, 6.3).
 *
 *      X-Forwarded-For: spoofed, client, proxy1      trust_hops 2: "client"
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <arpa/inet.h>

#include "app/limiter.h"

static bool is_address(struct str text)
{
    char copy[INET6_ADDRSTRLEN];
    unsigned char bytes[16];
    if (text.n == 0 || text.n >= sizeof copy)
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    return inet_pton(AF_INET, copy, bytes) == 1 || inet_pton(AF_INET6, copy, bytes) == 1;
}

/* The n-th entry of a comma list from the right; the first if there are fewer. */
static struct str nth_from_right(struct str list, uint32_t n)
{
    struct str rest = list, entry = list;
    size_t entries = 0;
    while (rest.p) {
        str_split(&rest, ',');
        entries++;
    }
    size_t skip = entries > n ? entries - n : 0;
    for (rest = list; rest.p;) {
        entry = str_split(&rest, ',');
        if (skip-- == 0)
            break;
    }
    return str_trim(entry);
}

struct str client_address(struct str peer, struct str forwarded_for, struct str real_ip, uint32_t trust_hops)
{
    if (trust_hops && forwarded_for.p) {
        struct str entry = nth_from_right(forwarded_for, trust_hops);
        if (is_address(entry))
            return entry;
    }
    if (trust_hops && real_ip.p && is_address(str_trim(real_ip)))
        return str_trim(real_ip);
    return peer.n ? peer : STR("unknown_ip");
}
