/* mint.h - capability tokens as a backend makes them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "unit.h"

#include "base/digest.h"

/* header.claims.signature, in a buffer that the next call reuses; NUL-terminated. */
static inline struct str mint(struct str secret, const char *header, const char *claims)
{
    static char text[20000];
    struct buf out = {0};
    unsigned char mac[SHA256_SIZE];
    struct hmac_key *key = hmac_key_new(secret);
    base64url_put(&out, str_of(header));
    buf_char(&out, '.');
    base64url_put(&out, str_of(claims));
    hmac_sha256(key, buf_view(&out), mac);
    hmac_key_free(key);
    buf_char(&out, '.');
    base64url_put(&out, str_make(mac, sizeof mac));
    assert_true(out.n < sizeof text);
    memcpy(text, out.p, out.n);
    text[out.n] = '\0';
    struct str jwt = str_make(text, out.n);
    buf_free(&out);
    return jwt;
}

/* One that was made a little while before now_s and expires life_s after it. */
static inline const char *mint_for(struct str secret, struct str app_key, const char *client_id, const char *jti,
                                   const char *capability, int64_t now_s, int64_t life_s)
{
    char header[256], claims[2048];
    snprintf(header, sizeof header, "{\"alg\":\"HS256\",\"kid\":\"%.*s\"}", STR_ARG(app_key));
    snprintf(claims, sizeof claims,
             "{\"x-sockudo-client-id\":\"%s\",\"jti\":\"%s\",\"x-sockudo-capability\":%s,\"iat\":%lld,\"exp\":%lld}", client_id,
             jti, capability, (long long)now_s - 100, (long long)(now_s + life_s));
    return mint(secret, header, claims).p;
}
