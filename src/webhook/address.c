/* address.c - which addresses are not the public internet (2.23, no. 16: webhooks.block_private_addresses).
 *
 * Asked when a connection is opened, with the address that it goes to: what a name resolves to then is what counts.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "webhook/internal.h"

#include <netinet/in.h>
#include <sys/socket.h>

/* IPv4: this host, private, shared, loopback, link-local, protocol assignments, documentation, benchmarks, multicast and above. */
static const struct {
    uint32_t network;
    unsigned bits;
} not_public[] = {
    {0x00000000, 8},  {0x0a000000, 8},  {0x64400000, 10}, {0x7f000000, 8},  {0xa9fe0000, 16}, {0xac100000, 12},
    {0xc0000000, 24}, {0xc0000200, 24}, {0xc0a80000, 16}, {0xc6120000, 15}, {0xc6336400, 24}, {0xcb007100, 24},
    {0xe0000000, 3},
};

static bool ip4_is_public(uint32_t address)
{
    for (size_t i = 0; i < sizeof not_public / sizeof *not_public; i++)
        if ((address ^ not_public[i].network) >> (32 - not_public[i].bits) == 0)
            return false;
    return true;
}

static uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Global unicast is 2000::/3; in it, 6to4 and what NAT64 prefixes carry are IPv4 addresses in disguise. */
static bool ip6_is_public(const unsigned char a[16])
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff}, nat64[12] = {0, 0x64, 0xff, 0x9b};
    if (memcmp(a, mapped, sizeof mapped) == 0 || memcmp(a, nat64, sizeof nat64) == 0)
        return ip4_is_public(big_endian(a + 12));
    if (a[0] == 0x20 && a[1] == 0x02)
        return ip4_is_public(big_endian(a + 2));
    bool teredo_or_documentation = a[0] == 0x20 && a[1] == 0x01 && ((a[2] == 0 && a[3] == 0) || (a[2] == 0x0d && a[3] == 0xb8));
    return (a[0] & 0xe0) == 0x20 && !teredo_or_documentation;
}

bool address_is_public(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ip4_is_public(ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr));
    if (address->sa_family == AF_INET6)
        return ip6_is_public(((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr);
    return false;
}
