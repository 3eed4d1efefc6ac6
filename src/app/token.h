/* token.h - capability tokens: who a client is and what it may do, signed by the app's owner (chapter 4, 4.3).
 *
 *      base64url(header) . base64url(claims) . base64url(HMAC-SHA256 over what stands before, with the app's secret)
 *
 *      header   alg = HS256, kid = the app's key; a token with `crit` is refused, since we know no extension
 *      claims   x-sockudo-client-id   1..TOKEN_NAME_MAX bytes           iat   at most TOKEN_LEEWAY_S ahead
 *               x-sockudo-capability  an object, or a string of it       exp   less than TOKEN_LEEWAY_S ago, at most
 *               jti                   1..TOKEN_NAME_MAX bytes                  TOKEN_LIFE_MAX_S after iat
 *                                                                        nbf   optional; at most TOKEN_LEEWAY_S ahead
 *
 * Whether it has been revoked is another question (session/revocation.h).
 *
 * Threads: on `shard`.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "app/app.h"
#include "app/capability.h"

enum { TOKEN_SIZE_MAX = 8192, TOKEN_NAME_MAX = 128, TOKEN_LEEWAY_S = 30, TOKEN_LIFE_MAX_S = 86400 };

struct token {
    struct str client_id, jti; /* in the arena */
    int64_t exp_s;             /* Unix time */
    struct capabilities *may;  /* the caller's */
};
/* NULL and *out, or static text: why it is no token of this app at that time. Takes time that does not depend on how much of a forged
 * signature is right. */
const char *token_read(struct app *app, unsigned shard, struct str jwt, int64_t now_s, struct arena *arena,
                       struct token *out);
