/* digest.c - OpenSSL behind four verbs.
 *
 * Fetching an algorithm or scheduling a key costs more than hashing a short message, so algorithms are
 * fetched once per process and a key is scheduled once per hmac_key.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/digest.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/mem.h"

static struct {
    pthread_once_t once;
    EVP_MD *md5, *sha256;
    EVP_MAC *hmac;
} algorithms = {.once = PTHREAD_ONCE_INIT};

static void require(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "OpenSSL: %s failed\n", what);
    abort();
}

static void fetch_all(void)
{
    algorithms.md5 = EVP_MD_fetch(NULL, "MD5", NULL);
    algorithms.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    algorithms.hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    require(algorithms.md5 && algorithms.sha256 && algorithms.hmac, "fetching MD5, SHA256, HMAC");
}

static void fetch_once(void)
{
    pthread_once(&algorithms.once, fetch_all);
}

struct hmac_key {
    EVP_MAC_CTX *mac;
};

struct hmac_key *hmac_key_new(struct str secret)
{
    fetch_once();
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", (char *)"SHA256", 0), OSSL_PARAM_END};
    struct hmac_key *key = mem_new(struct hmac_key);
    key->mac = EVP_MAC_CTX_new(algorithms.hmac);
    const char *bytes = secret.n ? secret.p : ""; /* NULL would mean "the key set before" */
    require(key->mac && EVP_MAC_init(key->mac, (const unsigned char *)bytes, secret.n, params), "HMAC key");
    return key;
}

void hmac_key_free(struct hmac_key *key)
{
    if (!key)
        return;
    EVP_MAC_CTX_free(key->mac);
    free(key);
}

void hmac_sha256(struct hmac_key *key, struct str message, unsigned char out[SHA256_SIZE])
{
    size_t n = 0;
    bool ok = EVP_MAC_init(key->mac, NULL, 0, NULL) &&
              EVP_MAC_update(key->mac, (const unsigned char *)message.p, message.n) &&
              EVP_MAC_final(key->mac, out, &n, SHA256_SIZE);
    require(ok && n == SHA256_SIZE, "HMAC");
}

static void digest(const EVP_MD *type, struct str bytes, unsigned char *out)
{
    require(EVP_Digest(bytes.p ? bytes.p : "", bytes.n, out, NULL, type, NULL), "digest");
}

static char *hex_write(char *out, const unsigned char *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    return out;
}

void hmac_sha256_hex(struct hmac_key *key, struct str message, char out[2 * SHA256_SIZE + 1])
{
    unsigned char raw[SHA256_SIZE];
    hmac_sha256(key, message, raw);
    *hex_write(out, raw, sizeof raw) = 0;
}

void md5_hex(struct str bytes, char out[2 * MD5_SIZE + 1])
{
    unsigned char raw[MD5_SIZE];
    fetch_once();
    digest(algorithms.md5, bytes, raw);
    *hex_write(out, raw, sizeof raw) = 0;
}

void sha256(struct str bytes, unsigned char out[SHA256_SIZE])
{
    fetch_once();
    digest(algorithms.sha256, bytes, out);
}

void hex_put(struct buf *out, const void *bytes, size_t n)
{
    hex_write(buf_reserve(out, 2 * n), bytes, n);
    out->n += 2 * n;
}

#define BASE62 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
static const char standard_alphabet[] = BASE62 "+/";
static const char url_alphabet[] = BASE62 "-_";

/* Three bytes become four characters; a rest of one or two becomes two or three. */
static size_t encode(char *out, struct str bytes, const char *alphabet)
{
    const unsigned char *p = (const unsigned char *)bytes.p;
    char *start = out;
    for (size_t i = 0; i < bytes.n; i += 3) {
        size_t here = bytes.n - i < 3 ? bytes.n - i : 3;
        uint32_t bits = (uint32_t)p[i] << 16;
        bits |= here > 1 ? (uint32_t)p[i + 1] << 8 : 0;
        bits |= here > 2 ? p[i + 2] : 0;
        for (size_t k = 0; k <= here; k++)
            *out++ = alphabet[bits >> (18 - 6 * k) & 63];
    }
    return (size_t)(out - start);
}

void base64url_put(struct buf *out, struct str bytes)
{
    out->n += encode(buf_reserve(out, bytes.n / 3 * 4 + 4), bytes, url_alphabet);
}

void base64_put(struct buf *out, struct str bytes)
{
    size_t n = encode(buf_reserve(out, bytes.n / 3 * 4 + 4), bytes, standard_alphabet);
    out->n += n;
    for (; n % 4; n++)
        buf_char(out, '=');
}

static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool base64url_decode(struct buf *out, struct str text)
{
    if (text.n % 4 == 1)
        return false;
    unsigned char *p = (unsigned char *)buf_reserve(out, text.n / 4 * 3 + 3), *start = p;
    uint32_t bits = 0;
    unsigned pending = 0; /* low bits of `bits` not yet written */
    for (size_t i = 0; i < text.n; i++) {
        int six = sextet(text.p[i]);
        if (six < 0)
            return false;
        bits = (bits << 6 | (uint32_t)six) & 0xFFFF;
        pending += 6;
        if (pending >= 8) {
            pending -= 8;
            *p++ = (unsigned char)(bits >> pending);
        }
    }
    if (bits & ((1u << pending) - 1))
        return false; /* one value, one text: a token must not have aliases */
    out->n += (size_t)(p - start);
    return true;
}

struct hash128 hash128(struct str bytes)
{
    XXH128_hash_t h = XXH3_128bits(bytes.p, bytes.n);
    return (struct hash128){h.high64, h.low64};
}
