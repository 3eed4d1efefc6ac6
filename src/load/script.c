/* script.c - see script.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/script.h"

#define FNV_PRIME 1099511628211ull

static uint64_t mix(uint64_t x) /* splitmix64 */
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

void script_token(const struct script *s, struct script_message m, uint32_t token, char *out)
{
    static const char letters[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .";
    uint64_t key = mix(s->seed ^ mix((uint64_t)m.session << 32 | m.number)), bits = 0;
    for (uint32_t i = 0; i < s->token_bytes; i++, bits >>= 6) {
        if (i % 10 == 0)
            bits = mix(key ^ (uint64_t)token << 20 ^ i / 10);
        out[i] = letters[bits & 63];
    }
}

int64_t script_find(const struct script *s, struct script_message m, uint32_t limit, struct str text)
{
    char token[SCRIPT_TOKEN_MAX];
    for (uint32_t i = 0; i < limit && text.n >= s->token_bytes; i++) {
        script_token(s, m, i, token);
        if (memcmp(text.p, token, s->token_bytes) == 0)
            return i;
    }
    return -1;
}

uint32_t script_match(const struct script *s, struct script_message m, uint32_t first, struct str text)
{
    char token[SCRIPT_TOKEN_MAX];
    uint32_t count = 0;
    for (; text.n >= s->token_bytes; text = str_from(text, s->token_bytes), count++) {
        script_token(s, m, first + count, token);
        if (memcmp(text.p, token, s->token_bytes) != 0)
            return count;
    }
    return count;
}

uint64_t script_hash(uint64_t hash, struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        hash = (hash ^ (unsigned char)text.p[i]) * FNV_PRIME;
    return hash;
}

uint64_t script_hash_message(const struct script *s, struct script_message m, uint32_t tokens)
{
    char token[SCRIPT_TOKEN_MAX];
    uint64_t hash = SCRIPT_HASH_EMPTY;
    for (uint32_t i = 0; i < tokens; i++) {
        script_token(s, m, i, token);
        hash = script_hash(hash, str_make(token, s->token_bytes));
    }
    return hash;
}
